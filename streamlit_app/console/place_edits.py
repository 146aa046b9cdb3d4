"""Lines and zones of a camera, between the configuration and the editor."""

from collections.abc import Mapping, Sequence
from typing import Any

from console.config_review import Edits, Part
from sightline.config.yaml_edit import GONE

KINDS = {"line": "lines", "zone": "zones"}
_KEYS = ("points", "classes", "loiter_s", "max_occupancy")


def places_of(part: Part) -> list[dict[str, Any]]:
    """The places in force; those of the file where it has mistakes."""
    return places_in((part.options or part.written or {}).get("rules"))


def places_in(rules: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Those of ``rules`` as the configuration has them."""
    return [
        {"kind": kind, "name": name, **{key: place.get(key) for key in _KEYS}}
        for kind, group in KINDS.items()
        for name, place in ((rules or {}).get(group) or {}).items()
    ]


def place_edits(part: Part, drawn: Sequence[dict[str, Any]]) -> Edits:
    """What is to stand in the file for places as they were drawn: only what is another than before."""
    edits: dict[tuple[str, ...], Any] = {}
    for kind, group in KINDS.items():
        before = {place["name"]: _values(place) for place in places_of(part) if place["kind"] == kind}
        after = {place["name"]: _values(place) for place in drawn if place["kind"] == kind}
        if after == before:
            continue
        written = ((part.written or {}).get("rules") or {}).get(group)
        if not isinstance(written, dict):  # what holds for all cameras is replaced as a whole
            edits["rules", group] = {name: _set_in(values) for name, values in after.items()}
            continue
        edits |= {("rules", group, name): GONE for name in before.keys() - after.keys()}
        for name, values in after.items():
            if name not in before:
                edits["rules", group, name] = _set_in(values)
                continue
            for key, value in values.items():
                if value != before[name][key]:
                    edits["rules", group, name, key] = GONE if value is None else value
    return edits


def _set_in(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _values(place: Mapping[str, Any]) -> dict[str, Any]:
    """As either side has it: a browser writes 10.0 as 10."""
    points = [[float(x), float(y)] for x, y in place["points"]]
    return {key: place.get(key) for key in _KEYS} | {"points": points}
