"""What every group of options shares: unknown keys are refused, values never change, effects are declared."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo


class Effect(StrEnum):
    """What applying a changed option takes."""

    HOT = "hot"  # applied between two frames
    CAMERA = "camera"  # the camera's stream is opened anew
    PROGRAM = "program"  # the program has to be restarted


#: Each field declares one of these as its ``json_schema_extra``.
HOT: JsonDict = {"effect": Effect.HOT.value}
CAMERA: JsonDict = {"effect": Effect.CAMERA.value}
PROGRAM: JsonDict = {"effect": Effect.PROGRAM.value}


class OptionGroup(BaseModel):
    """Base of every group of options."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def effect_of(field: FieldInfo) -> Effect | None:
    """What an option declares; None for a group of options."""
    extra = field.json_schema_extra
    return Effect(str(extra["effect"])) if isinstance(extra, dict) and "effect" in extra else None
