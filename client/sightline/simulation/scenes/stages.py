"""The whole still part of a scene, textures included (needs OpenCV)."""

from __future__ import annotations

from sightline.simulation.scenes.indoorstages import factory_stage, shop_stage
from sightline.simulation.scenes.scene import place_things
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.staging import Stage
from sightline.simulation.scenes.streetstage import street_stage


def stage_of(spec: SceneSpec) -> Stage:
    """Ground, walls and things."""
    stage = {"street": street_stage, "factory": factory_stage, "shop": shop_stage}[spec.scene](spec)
    place_things(spec, stage)
    return stage
