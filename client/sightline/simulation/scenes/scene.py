"""A scene from its spec: the world, the camera, and what stands in it. Nothing here needs a picture."""

from __future__ import annotations

from sightline.simulation.scenes.factory import FactoryWorld
from sightline.simulation.scenes.factorythings import place_things as place_factory
from sightline.simulation.scenes.mesh import Mesh
from sightline.simulation.scenes.shop import ShopWorld
from sightline.simulation.scenes.shopthings import place_things as place_shop
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.staging import Stage
from sightline.simulation.scenes.street import StreetWorld
from sightline.simulation.scenes.streetthings import place_things as place_street
from sightline.simulation.scenes.world import World


def world_of(spec: SceneSpec) -> World:
    """A new world, before its first step."""
    if spec.scene == "street":
        return StreetWorld(spec)
    return FactoryWorld(spec) if spec.scene == "factory" else ShopWorld(spec)


def place_things(spec: SceneSpec, stage: Stage) -> None:
    """Put the still things of a scene on its stage."""
    {"street": place_street, "factory": place_factory, "shop": place_shop}[spec.scene](spec, stage)


def still_of(spec: SceneSpec) -> list[Mesh]:
    """What stands in the scene and can hide somebody."""
    stage = Stage((0.0, 1.0), (0.0, 1.0))
    place_things(spec, stage)
    return stage.meshes + stage.walls
