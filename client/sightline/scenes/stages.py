"""The whole still part of a scene, textures included (needs OpenCV)."""

from __future__ import annotations

from sightline.scenes.indoorstages import factory_stage, shop_stage
from sightline.scenes.scene import place_things
from sightline.scenes.spec import SceneSpec
from sightline.scenes.stage import Stage
from sightline.scenes.streetstage import street_stage


def stage_of(spec: SceneSpec) -> Stage:
    """Ground, walls and things."""
    stage = {"street": street_stage, "factory": factory_stage, "shop": shop_stage}[spec.scene](spec)
    place_things(spec, stage)
    return stage
