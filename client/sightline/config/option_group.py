"""What every group of options shares: unknown keys are refused, effects are declared, changes are told."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError


class Effect(StrEnum):
    """What applying a changed option takes."""

    HOT = "hot"  # applied between two frames
    CAMERA = "camera"  # the camera's stream is opened anew
    PROGRAM = "program"  # the program has to be restarted


@dataclass(frozen=True, slots=True)
class Change:
    """One option that differs."""

    key: str  # its dotted path, as ``track.confirm_s`` or ``rules.zones.yard``
    effect: Effect  # what applying it takes
    detail: str  # old and new value where they are short and no secret; else what happened to it
    camera: str = ""  # whose option; "" for one of the whole program

    def __str__(self) -> str:
        where = f"camera {self.camera!r}, " if self.camera else ""
        return f"{where}{self.key} {self.detail}"


class OptionGroup(BaseModel):
    """Base of every group of options."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_true_for_one(cls, value: Any, info: ValidationInfo) -> Any:
        wanted = cls.model_fields[str(info.field_name)].annotation
        is_group = isinstance(wanted, type) and issubclass(wanted, OptionGroup)
        if isinstance(value, bool) and wanted is not bool and not is_group:
            raise PydanticCustomError("bool", "is not true or false; write its value")
        return value

    def changes_to(
        self, new: Self, *, prefix: str = "", camera: str = "", left_out: Collection[str] = ()
    ) -> Iterator[Change]:
        """What differs between this state of a group and another, option by option, but for ``left_out``."""
        for name, field in type(new).model_fields.items():
            before, after = getattr(self, name), getattr(new, name)
            if name in left_out or before == after:
                continue
            key = prefix + name
            effect = effect_of(field) or Effect.CAMERA  # a group that appears or disappears as a whole
            if isinstance(before, dict) and isinstance(after, dict):  # lines and zones, by name
                for item in sorted(before.keys() | after.keys()):
                    if before.get(item) != after.get(item):
                        what = "removed" if item not in after else "changed" if item in before else "added"
                        yield Change(f"{key}.{item}", effect, what, camera)
            elif isinstance(before, OptionGroup) and isinstance(after, OptionGroup):
                yield from before.changes_to(after, prefix=f"{key}.", camera=camera)
            elif isinstance(before, SecretStr) or isinstance(after, SecretStr):
                yield Change(key, effect, "changed", camera)
            else:
                yield Change(key, effect, f"{_text(before)} → {_text(after)}", camera)


def matching(pattern: str, problem: str) -> AfterValidator:
    """What a text must look like as a whole, and what is said where it does not."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise PydanticCustomError("pattern", problem)
        return text

    return AfterValidator(check)


def _option(effect: Effect, default: Any, description: str, **bounds: Any) -> Any:
    """A field: its default (``...``: it must be given), its meaning, pydantic's bounds and its effect."""
    return Field(default, description=description, json_schema_extra={"effect": effect.value}, **bounds)


#: Each option is one of these: applied at once, with the camera opened anew, or with the program restarted.
hot, reopens, restarts = (partial(_option, effect) for effect in Effect)


def effect_of(field: FieldInfo) -> Effect | None:
    """What an option declares; None for a group of options."""
    extra = field.json_schema_extra
    return Effect(str(extra["effect"])) if isinstance(extra, dict) and "effect" in extra else None


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
