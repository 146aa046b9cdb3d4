"""A scene from its spec: the world, the camera, and what stands in it. Nothing here needs OpenCV."""

from __future__ import annotations

from sightline.simulation.scenes import factory, shop, street
from sightline.simulation.scenes.mesh import Mesh
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.staging import Stage
from sightline.simulation.scenes.world import World

_WORLDS: dict[str, type[street.StreetWorld | factory.FactoryWorld | shop.ShopWorld]] = {
    "street": street.StreetWorld,
    "factory": factory.FactoryWorld,
    "shop": shop.ShopWorld,
}
_THINGS = {"street": street.place_things, "factory": factory.place_things, "shop": shop.place_things}


def world_of(spec: SceneSpec) -> World:
    """A new world, before its first step."""
    return _WORLDS[spec.scene](spec)


def place_things(spec: SceneSpec, stage: Stage) -> None:
    """Put the still things of a scene on its stage."""
    _THINGS[spec.scene](spec, stage)


def still_of(spec: SceneSpec) -> list[Mesh]:
    """The still meshes that can hide an actor."""
    stage = Stage((0.0, 1.0), (0.0, 1.0))
    place_things(spec, stage)
    return stage.meshes + stage.walls
