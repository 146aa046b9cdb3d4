"""What differs between two configurations, key by key, and what each difference takes to apply."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, SecretStr

from sightline.config.camera import Camera
from sightline.config.groups import CameraOptions, Config
from sightline.config.option_group import Effect, effect_of


@dataclass(frozen=True, slots=True)
class Change:
    """One option that differs.

    Attributes:
        key: its dotted path, as ``track.confirm_s`` or ``rules.zones.yard``.
        effect: what applying it takes.
        detail: old and new value where they are short and no secret; else what happened to it.
        camera: whose option; "" for one of the whole program.
    """

    key: str
    effect: Effect
    detail: str
    camera: str = ""

    def __str__(self) -> str:
        where = f"camera {self.camera!r}, " if self.camera else ""
        return f"{where}{self.key} {self.detail}"


def camera_changes(old: Camera, new: Camera) -> tuple[Change, ...]:
    """What differs between two states of one camera."""
    return tuple(_differences(old, new, "", new.name))


def program_changes(old: Config, new: Config) -> tuple[Change, ...]:
    """What differs outside the cameras and their defaults."""
    left_out = {"cameras", *CameraOptions.model_fields}
    return tuple(_differences(old, new, "", "", left_out))


def _differences(
    old: BaseModel, new: BaseModel, prefix: str, camera: str, left_out: Collection[str] = ()
) -> Iterator[Change]:
    for name, field in type(new).model_fields.items():
        before, after = getattr(old, name), getattr(new, name)
        if name in left_out or before == after:
            continue
        key = prefix + name
        effect = effect_of(field) or Effect.CAMERA  # a group that appears or disappears as a whole
        if isinstance(before, dict) and isinstance(after, dict):  # lines and zones, by name
            for item in sorted(before.keys() | after.keys()):
                if before.get(item) != after.get(item):
                    what = "removed" if item not in after else "changed" if item in before else "added"
                    yield Change(f"{key}.{item}", effect, what, camera)
        elif isinstance(before, BaseModel) and isinstance(after, BaseModel):
            yield from _differences(before, after, f"{key}.", camera)
        elif isinstance(before, SecretStr) or isinstance(after, SecretStr):
            yield Change(key, effect, "changed", camera)
        else:
            yield Change(key, effect, f"{_text(before)} → {_text(after)}", camera)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
