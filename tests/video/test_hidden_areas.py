"""What is covered between analysed pictures, before a track's first box and after its last one."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.config.groups import Blurred
from sightline.entities import Detections, Tracks
from sightline.video.blur import Area, area_of
from sightline.video.hidden_areas import EVERYTHING, HOLD_S, LEAD_S, NO_TRACK, HiddenAreas, hidden_rows

PERSON = (0.2, 0.2, 0.3, 0.6)


def moved(by: float, box: Area = PERSON) -> Area:
    return box[0] + by, box[1], box[2] + by, box[3]


def covers(areas: list[Area], box: Area) -> bool:
    """Whether one of them covers all of a box."""
    return any(
        (np.array(area[:2]) <= np.array(box[:2]) + 1e-6).all()
        and (np.array(area[2:]) >= np.array(box[2:]) - 1e-6).all()
        for area in areas
    )


def seen_from(begin: int, end: int, speed: float = 0.0, frames: int = 50) -> HiddenAreas:
    """Five pictures a second were analysed; a track moves through those of some numbers."""
    return HiddenAreas(
        (n / 5, [(7, *moved(speed * n / 5))] if begin <= n <= end else []) for n in range(frames)
    )


def test_between_two_boxes_the_area_goes_along() -> None:
    hidden = seen_from(10, 20, speed=0.1)
    for time_s in np.arange(2.0, 4.0, 0.04):
        [area] = hidden.at(float(time_s))
        assert area == pytest.approx(moved(0.1 * time_s), abs=1e-6)


def test_a_track_is_covered_before_its_first_box_and_after_its_last_where_it_is_likely_to_be() -> None:
    hidden = seen_from(10, 20, speed=0.1)
    for time_s in (2.0 - LEAD_S + 0.01, 1.9, 4.1, 4.0 + HOLD_S - 0.01):
        areas = hidden.at(time_s)
        assert covers(areas, moved(0.1 * time_s)), time_s
        assert covers(areas, moved(0.2 if time_s < 2 else 0.4)), "it may have stood there"
    assert hidden.at(2.0 - LEAD_S - 0.05) == hidden.at(4.0 + HOLD_S + 0.05) == []


def test_where_pictures_are_far_apart_a_track_is_covered_from_the_one_before_to_the_one_after() -> None:
    hidden = HiddenAreas((1.5 * n, [(7, *PERSON)] if n == 2 else []) for n in range(5))
    assert all(covers(hidden.at(time_s), PERSON) for time_s in (1.55, 2.2, 3.0, 4.4))
    assert hidden.at(1.4) == hidden.at(4.6) == []


def test_a_track_that_was_hidden_for_a_second_is_covered_on_its_way() -> None:
    hidden = HiddenAreas((n / 5, [(7, *moved(n / 50))] if n not in range(11, 15) else []) for n in range(30))
    assert all(covers(hidden.at(time_s), moved(time_s / 10)) for time_s in (2.1, 2.5, 2.9))


def test_a_box_of_no_track_is_covered_from_the_picture_before_to_the_one_after() -> None:
    hidden = HiddenAreas((n / 5, [(NO_TRACK, *PERSON)] if n == 10 else []) for n in range(20))
    assert all(hidden.at(time_s) == [PERSON] for time_s in (1.85, 2.0, 2.15))
    assert hidden.at(1.79) == hidden.at(2.21) == []


def test_what_was_not_analysed_is_covered_whole() -> None:
    hidden = HiddenAreas((time_s, []) for time_s in (1.0, 1.2, 4.0))
    assert [hidden.at(time_s) for time_s in (0.9, 2.0, 4.1)] == [[EVERYTHING]] * 3
    assert hidden.at(1.0) == hidden.at(1.1) == hidden.at(4.0) == []
    assert HiddenAreas([]).at(1.0) == [EVERYTHING]


def of_boxes(*xyxy: Area) -> np.ndarray:
    return np.array(xyxy, np.float32).reshape(-1, 4)


def test_a_track_is_covered_with_the_detectors_box_of_it_and_other_boxes_alone() -> None:
    xyxy = of_boxes(moved(0.02), moved(0.4))
    detections = Detections(xyxy, np.array([0.9, 0.1], np.float32), np.zeros(2, np.int32))
    one = np.ones(1)
    tracks = Tracks(
        np.array([7]),
        of_boxes(PERSON),
        one.astype(np.float32),
        np.zeros(1, np.int32),
        one,
        one.astype(bool),
    )
    rows = hidden_rows([Blurred.PERSONS], tracks, ["person"], detections, ["person", "person"])
    by_track = {track: area for track, *area in rows}
    assert set(by_track) == {7, NO_TRACK}
    assert covers([tuple(by_track[7])], PERSON)
    assert covers([tuple(by_track[7])], moved(0.02))
    assert covers([tuple(by_track[NO_TRACK])], moved(0.4))
    assert hidden_rows([Blurred.VEHICLES], tracks, ["person"], detections, ["person", "person"]) == []
    assert len(hidden_rows([Blurred.BOXES], tracks, ["crate"], detections, ["crate", "crate"])) == 2


@pytest.mark.parametrize(
    ("asked", "name", "covered"),
    [
        (Blurred.FACES, "person", (0.0, 0.5)),
        (Blurred.PLATES, "car", (0.25, 1.0)),
        (Blurred.PERSONS, "Person", (0.0, 1.0)),
        (Blurred.VEHICLES, "truck", (0.0, 1.0)),
        (Blurred.BOXES, "anything", (0.0, 1.0)),
        (Blurred.FACES, "car", None),
    ],
)
def test_what_is_covered_of_a_box(asked: Blurred, name: str, covered: tuple[float, float] | None) -> None:
    area = area_of([asked], (0.0, 0.0, 1.0, 1.0), name)
    if covered is None:
        assert area is None
    else:
        assert area is not None
        assert (max(area[1], 0.0), min(area[3], 1.0)) == pytest.approx(covered)
