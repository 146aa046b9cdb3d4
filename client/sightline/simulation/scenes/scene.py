"""A scene from its spec: the world, what stands in it, and its pictures (these need the extra ``scenes``)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sightline.errors import ServerError
from sightline.simulation.scenes import factory, shop, street
from sightline.simulation.scenes.arrays import U8
from sightline.simulation.scenes.mesh import Mesh, Stage
from sightline.simulation.scenes.spec import SceneSpec, camera_of
from sightline.simulation.scenes.visibility import FrameTruth, TruthObserver
from sightline.simulation.scenes.world import Snapshot, World

#: What puts the still things of a scene on its stage; needs no textures.
THINGS = {"street": street.place_things, "factory": factory.place_things, "shop": shop.place_things}
_WORLDS: dict[str, Callable[[SceneSpec], World]] = {
    "street": street.StreetWorld,
    "factory": factory.FactoryWorld,
    "shop": shop.ShopWorld,
}


def world_of(spec: SceneSpec) -> World:
    """A new world, before its first step."""
    return _WORLDS[spec.scene](spec)


def still_of(spec: SceneSpec) -> list[Mesh]:
    """The still meshes that can hide an actor."""
    stage = Stage((0.0, 1.0), (0.0, 1.0))
    THINGS[spec.scene](spec, stage)
    return stage.meshes + stage.walls


def painter(spec: SceneSpec) -> Callable[[Snapshot], U8]:
    """What draws snapshots, uint8 sRGB [height, width, 3]; takes seconds. ``ServerError`` without OpenCV."""
    try:
        from sightline.simulation.scenes.render import Renderer  # noqa: PLC0415 - OpenCV is an extra
        from sightline.simulation.scenes.stages import stage_of  # noqa: PLC0415
    except ImportError as error:
        raise ServerError("pictures of scenes need OpenCV: pip install 'sightline[scenes]'") from error
    return Renderer(spec, stage_of(spec), camera_of(spec)).draw


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """A picture, uint8 sRGB [height, width, 3] without a time code, and what is true of it."""

    picture: U8
    truth: FrameTruth


def samples(spec: SceneSpec, fps: float, length_s: float, start_s: float = 0.0) -> Iterator[LabelledPicture]:
    """LabelledPicture i is at start + i / fps seconds; a low rate gives pictures that differ more."""
    paint, observer, world = painter(spec), TruthObserver(camera_of(spec), still_of(spec)), world_of(spec)
    for i in range(round(length_s * fps)):
        snapshot = world.at(start_s + i / fps)
        yield LabelledPicture(paint(snapshot), observer.look(snapshot))
