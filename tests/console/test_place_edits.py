"""What is written for lines and zones that were drawn."""

from __future__ import annotations

from typing import Any

import pytest

from sightline.config.yaml_edit import GONE

pytest.importorskip("streamlit", reason="the console's packages are not installed")

from console.config_review import Part, with_edits
from console.place_edits import place_edits, places_of

HALL = {"points": [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]], "max_occupancy": 5}
DOOR = {"points": [[0.3, 0.9], [0.3, 0.2]], "classes": ["person"]}
NOT_SET = {"classes": None, "loiter_s": None, "max_occupancy": None}


def part(written: dict[str, Any], lines: dict[str, Any], zones: dict[str, Any]) -> Part:
    """As the API tells it: all defaults are in ``options``."""
    rules = {
        "lines": {name: {"classes": None, **line} for name, line in lines.items()},
        "zones": {name: {**NOT_SET, **zone} for name, zone in zones.items()},
    }
    return Part(written=written, options={"rules": rules}, version="1")


OWN = part(
    {"url": "u", "rules": {"lines": {"door": DOOR}, "zones": {"hall": HALL}}}, {"door": DOOR}, {"hall": HALL}
)


def drawn(of: Part, **changes: dict[str, Any]) -> list[dict[str, Any]]:
    return [place | changes.get(place["name"], {}) for place in places_of(of)]


def test_what_was_not_changed_is_not_written() -> None:
    assert place_edits(OWN, drawn(OWN)) == {}
    as_a_browser_writes_it = {"points": [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]], "max_occupancy": 5}
    assert place_edits(OWN, drawn(OWN, hall=as_a_browser_writes_it)) == {}


def test_one_value_of_a_place_leaves_its_others_to_others() -> None:
    edits = place_edits(OWN, drawn(OWN, hall={"loiter_s": 10}))
    assert edits == {("rules", "zones", "hall", "loiter_s"): 10}
    theirs = {"url": "u", "rules": {"zones": {"hall": {**HALL, "max_occupancy": 7}}}}
    assert with_edits(theirs, edits)["rules"]["zones"]["hall"] == {**HALL, "max_occupancy": 7, "loiter_s": 10}
    assert place_edits(OWN, drawn(OWN, hall={"max_occupancy": None})) == {
        ("rules", "zones", "hall", "max_occupancy"): GONE
    }


def test_a_place_that_is_renamed_goes_and_comes() -> None:
    edits = place_edits(OWN, drawn(OWN, hall={"name": "stairs"}))
    assert edits == {("rules", "zones", "hall"): GONE, ("rules", "zones", "stairs"): HALL}
    assert with_edits(OWN.written, edits)["rules"] == {"lines": {"door": DOOR}, "zones": {"stairs": HALL}}


def test_places_of_all_cameras_are_replaced_by_the_cameras_own() -> None:
    shared = part({"url": "u"}, {"door": DOOR}, {"hall": HALL})
    edits = place_edits(shared, drawn(shared, hall={"loiter_s": 10}))
    assert edits == {("rules", "zones"): {"hall": {**HALL, "loiter_s": 10}}}
    assert with_edits(shared.written, edits) == {
        "url": "u",
        "rules": {"zones": {"hall": {**HALL, "loiter_s": 10}}},
    }


def test_a_camera_that_is_new_has_its_first_zone() -> None:
    new = part({"url": "u"}, {}, {})
    zone = {"kind": "zone", "name": "hall", **NOT_SET, **HALL}
    assert place_edits(new, [zone]) == {("rules", "zones"): {"hall": HALL}}
