"""From a scene's spec to its pictures (needs OpenCV: the extra ``scenes``), alone or with their truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sightline.errors import ServerError
from sightline.simulation.scenes.arrays import U8
from sightline.simulation.scenes.scene import still_of, world_of
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.viewpoints import camera_of
from sightline.simulation.scenes.visibility import FrameTruth, TruthObserver
from sightline.simulation.scenes.world import Snapshot


def painter(spec: SceneSpec) -> Callable[[Snapshot], U8]:
    """What draws the scene: snapshot -> uint8 sRGB [height, width, 3]. Making it takes seconds.

    Raises:
        ServerError: OpenCV is not installed.
    """
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
