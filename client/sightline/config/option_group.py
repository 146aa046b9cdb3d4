"""What every group of options shares: unknown keys are refused, values never change, effects are declared."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


class Effect(StrEnum):
    """What applying a changed option takes."""

    HOT = "hot"  # applied between two frames
    CAMERA = "camera"  # the camera's stream is opened anew
    PROGRAM = "program"  # the program has to be restarted


class OptionGroup(BaseModel):
    """Base of every group of options."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _option(effect: Effect, default: Any, description: str, **bounds: Any) -> Any:
    """A field: its default (``...``: it must be given), its meaning, pydantic's bounds and its effect."""
    return Field(default, description=description, json_schema_extra={"effect": effect.value}, **bounds)


#: Each option is one of these: applied at once, with the camera opened anew, or with the program restarted.
hot, reopens, restarts = (partial(_option, effect) for effect in Effect)


def effect_of(field: FieldInfo) -> Effect | None:
    """What an option declares; None for a group of options."""
    extra = field.json_schema_extra
    return Effect(str(extra["effect"])) if isinstance(extra, dict) and "effect" in extra else None
