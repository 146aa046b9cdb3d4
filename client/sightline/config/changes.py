"""What differs between two configurations, key by key, and what each difference takes to apply."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, SecretStr

from sightline.config.camera import Camera, CameraOptions
from sightline.config.loader import Config
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
                    yield Change(f"{key}.{item}", effect, _item_detail(item, before, after), camera)
        elif isinstance(before, BaseModel) and isinstance(after, BaseModel):
            yield from _differences(before, after, f"{key}.", camera)
        else:
            yield Change(key, effect, _detail(before, after), camera)


def _item_detail(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    return "removed" if name not in after else "changed" if name in before else "added"


def _detail(before: Any, after: Any) -> str:
    if isinstance(before, SecretStr) or isinstance(after, SecretStr):
        return "changed"
    return f"{_text(before)} → {_text(after)}"


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
