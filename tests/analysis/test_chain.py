"""One camera's analysis as a whole: hot changes, late confirmation, restarts and upgrades."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sightline.analysis.chain import SKIPPED_IDS, CameraAnalysis, frame_at
from sightline.analysis.classes import ClassTable
from sightline.analysis.options import AnalysisOptions, TrackerOptions, analysis_options
from sightline.config import parse_config
from sightline.config.zones import Line, Zone
from sightline.entities import CountWindow, Detections, Event, EventKind, ModelInfo, Result, SourceWindow
from support.damaged import Damage, damage, damages

T0 = 1_767_225_600.0  # a multiple of every window length
LEFT = Zone(points=((0.1, 0.2), (0.45, 0.2), (0.45, 0.95), (0.1, 0.95)))
RIGHT = Zone(points=((0.55, 0.2), (0.9, 0.2), (0.9, 0.95), (0.55, 0.95)))
WIDE = Zone(points=((0.05, 0.1), (0.95, 0.1), (0.95, 0.95), (0.05, 0.95)))
Person = tuple[float, float, int]  # x of the feet, score, class id
PERSON: Person = (0.3, 0.9, 0)
CAR: Person = (0.7, 0.9, 1)


def model(version: str = "m-1", names: Sequence[str] = ("person", "car")) -> ModelInfo:
    return ModelInfo("detector", version, tuple(names), 192, 320, "fp32", 0.1)


class Database:
    """What a database would hold of a camera, and whether a stored count ever fell."""

    def __init__(self) -> None:
        self.counts: dict[tuple[float, float, str], int] = {}
        self.sources: dict[tuple[float, float], SourceWindow] = {}
        self.events: list[Event] = []
        self.fell: list[CountWindow] = []

    def take(self, analysis: CameraAnalysis) -> None:
        """A checkpoint."""
        counts, sources = analysis.rows()
        results: Iterable[Result] = (*counts, *sources, *analysis.take_results())
        for row in results:
            if isinstance(row, CountWindow):
                key = row.window_start - T0, row.window_end - T0, row.item_class
                if row.count < self.counts.get(key, 0):
                    self.fell.append(row)
                self.counts[key] = row.count
            elif isinstance(row, SourceWindow):
                self.sources[row.window_start - T0, row.window_end - T0] = row
            elif isinstance(row, Event):
                self.events.append(row)

    def stored(self) -> dict[str, list[dict[str, Any]]]:
        """The rows, as the store puts them beside a state."""
        counts = [
            {
                "source": "gate",
                "item_class": name,
                "count": count,
                "window_start": T0 + start,
                "window_end": T0 + end,
            }
            for (start, end, name), count in self.counts.items()
        ]
        return {"count": counts, "window": [asdict(row) for row in self.sources.values()]}

    @property
    def story(self) -> list[tuple[str, str, int]]:
        """Kind, place and number of every event."""
        return [(event.kind.value, event.place, event.ordinal) for event in self.events]


def options(**values: Any) -> AnalysisOptions:
    return AnalysisOptions("gate", **values)


def camera(state: Any = None, **values: Any) -> CameraAnalysis:
    analysis = CameraAnalysis(options(**values), state=state)
    analysis.use_model(model())
    return analysis


def boxes(*people: Person) -> Detections:
    rows = [(x - 0.03, 0.5, x + 0.03, 0.8) for x, _, _ in people]
    return Detections(
        np.array(rows, np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in people], np.float32),
        np.array([class_id for _, _, class_id in people], np.int32),
    )


def watch(
    analysis: CameraAnalysis, start: float, end: float, *people: Person, database: Database | None = None
) -> set[int]:
    """Ten frames a second with these people; the ids that were confirmed at the end."""
    confirmed: set[int] = set()
    for frame in range(round((end - start) * 10)):
        tracks = analysis.observe(frame_at(T0 + start + frame / 10), boxes(*people)).tracks
        confirmed = set(tracks.ids[tracks.confirmed].tolist())
        if database is not None:
            database.take(analysis)
    return confirmed


# -- hot changes ------------------------------------------------------------------------------------


def test_a_higher_threshold_holds_from_the_next_frame_on_and_tracks_go_on() -> None:
    analysis = camera()
    assert watch(analysis, 0, 2, PERSON) == {1}
    analysis.update(options(tracker=TrackerOptions(min_score=0.95)))
    assert watch(analysis, 2, 4, PERSON, (0.6, 0.9, 0)) == {1}, "the second one is below the threshold"
    analysis.update(options())
    assert watch(analysis, 4, 6, PERSON, (0.6, 0.9, 0)) == {1, 2}


def test_a_shorter_confirmation_confirms_who_is_there() -> None:
    analysis = camera(tracker=TrackerOptions(confirm_s=30.0))
    assert watch(analysis, 0, 5, PERSON) == set()
    analysis.update(options(tracker=TrackerOptions(confirm_s=1.0)))
    assert watch(analysis, 5, 5.6, PERSON) == {1}


def test_a_longer_gap_is_borne_when_the_options_say_so() -> None:
    analysis = camera(max_gap_s=2.0)
    watch(analysis, 0, 2, PERSON)
    analysis.update(options(max_gap_s=60.0))
    assert watch(analysis, 10, 10.1, PERSON) == {1}
    analysis.update(options(max_gap_s=2.0))
    assert watch(analysis, 20, 22, PERSON) == {2}


def test_a_moved_zone_begins_anew_and_its_neighbour_goes_on() -> None:
    database, analysis = Database(), camera(zones={"left": LEFT, "right": RIGHT})
    people = PERSON, (0.7, 0.9, 0)
    watch(analysis, 0, 5, *people, database=database)
    assert database.story == [("enter", "left", 0), ("enter", "right", 0)]
    analysis.update(options(zones={"right": RIGHT, "left": WIDE}))
    watch(analysis, 5, 8, *people, database=database)
    assert database.story[2:] == [("enter", "left", 1), ("enter", "left", 0)], "both are in the wider zone"
    assert [event.event_time - T0 for event in database.events[2:]] == pytest.approx([5.0, 5.0], abs=0.11)
    watch(analysis, 8, 13, database=database)
    leaves = [event for event in database.events if event.kind == "leave"]
    assert {(event.place, round(event.value or 0)) for event in leaves} == {("right", 8), ("left", 3)}


def test_a_place_that_goes_and_comes_back_never_names_two_events_alike() -> None:
    database, analysis = Database(), camera(zones={"left": LEFT})
    watch(analysis, 0, 3, PERSON, database=database)
    analysis.update(options(zones={"right": RIGHT}))
    watch(analysis, 3, 6, PERSON, database=database)
    analysis.update(options())
    watch(analysis, 6, 9, PERSON, database=database)
    state = json.loads(json.dumps(analysis.snapshot()))  # a restart in between forgets nothing
    analysis = camera(state)
    analysis.update(options(zones={"left": LEFT}))
    watch(analysis, 9, 12, PERSON, database=database)
    assert database.story == [("enter", "left", 0), ("enter", "left", 1)]
    assert len({event.track_id for event in database.events}) == 1
    assert database.events[1].event_time - T0 == pytest.approx(9.0, abs=0.11), "not when the track began"


def test_a_zone_given_to_a_camera_without_places_is_entered_from_then_on() -> None:
    database, analysis = Database(), camera()
    watch(analysis, 0, 20, PERSON, database=database)
    analysis.update(options(zones={"left": LEFT.model_copy(update={"loiter_s": 5.0})}))
    watch(analysis, 20, 24, PERSON, database=database)
    assert database.story == [("enter", "left", 0)]
    assert database.events[0].event_time - T0 == pytest.approx(20.0, abs=0.11)
    watch(analysis, 24, 26, PERSON, database=database)
    assert database.story[1:] == [("loiter", "left", 1)]


def test_a_way_while_there_were_no_places_crosses_nothing() -> None:
    line = Line(points=((0.5, 0.95), (0.5, 0.05)))
    database, analysis = Database(), camera(lines={"gate": line})
    watch(analysis, 0, 2, PERSON, database=database)
    analysis.update(options())
    for frame in range(40):
        watch(analysis, 2 + frame / 10, 2.1 + frame / 10, (0.3 + frame / 100, 0.9, 0), database=database)
    analysis.update(options(lines={"gate": line}))
    assert watch(analysis, 6, 9, (0.7, 0.9, 0), database=database) == {1}
    assert database.events == []


def test_a_change_ends_no_visit_of_someone_who_is_hidden() -> None:
    database, analysis = Database(), camera(zones={"left": LEFT})
    watch(analysis, 0, 10, PERSON, database=database)
    watch(analysis, 10, 11, database=database)
    analysis.update(options(zones={"left": LEFT, "right": RIGHT}))
    watch(analysis, 11, 12, database=database)
    watch(analysis, 12, 14, PERSON, database=database)
    assert database.story == [("enter", "left", 0)]


def test_a_shorter_loiter_s_and_another_bound_hold_while_the_visit_lasts() -> None:
    database, analysis = Database(), camera(zones={"left": LEFT})
    watch(analysis, 0, 5, PERSON, database=database)
    changed = LEFT.model_copy(update={"loiter_s": 6.0, "max_occupancy": 0})
    analysis.update(options(zones={"left": changed}))
    watch(analysis, 5, 8, PERSON, database=database)
    assert sorted(database.story) == [("enter", "left", 0), ("loiter", "left", 1), ("occupancy", "left", 0)]


def test_a_class_taken_away_and_given_back_loses_no_count() -> None:
    database, analysis = Database(), camera()
    watch(analysis, 0, 5, PERSON, CAR, database=database)
    analysis.update(options(classes=("car",)))
    watch(analysis, 5, 10, PERSON, CAR, (0.5, 0.9, 0), database=database)
    assert database.counts == {(0, 60, "person"): 1, (0, 60, "car"): 1}
    analysis.update(options(classes=None))
    watch(analysis, 10, 15, PERSON, CAR, (0.5, 0.9, 0), database=database)
    assert database.counts == {(0, 60, "person"): 2, (0, 60, "car"): 1}
    assert database.fell == []


def test_another_window_length_begins_when_the_open_window_ends_and_nothing_stored_falls() -> None:
    database, analysis = Database(), camera()
    watch(analysis, 0, 40, PERSON, database=database)
    analysis.update(options(window_s=30))
    watch(analysis, 40, 70, PERSON, (0.5, 0.9, 0), database=database)
    assert database.counts == {(0, 60, "person"): 2, (60, 90, "person"): 2}
    analysis.update(options(window_s=300))
    watch(analysis, 70, 100, (0.8, 0.9, 0), database=database)
    analysis.end(T0 + 100)
    database.take(analysis)
    assert database.counts[90, 300, "person"] == 1
    assert database.fell == []
    assert sum(row.coverage * (row.window_end - row.window_start) for row in database.sources.values()) == (
        pytest.approx(100.0, abs=0.01)
    )


def test_a_restart_with_another_window_length_goes_on_in_the_open_window() -> None:
    database, analysis = Database(), camera()
    watch(analysis, 0, 40, PERSON, database=database)
    state = json.loads(json.dumps(analysis.snapshot()))
    analysis = camera(state, window_s=30)
    watch(analysis, 40, 45, PERSON, database=database)
    analysis = camera(json.loads(json.dumps(analysis.snapshot())))
    watch(analysis, 45, 50, (0.6, 0.9, 0), database=database)
    assert database.counts == {(0, 60, "person"): 2}
    assert database.fell == []


# -- late confirmation and late frames --------------------------------------------------------------


def test_a_track_confirmed_long_after_its_window_counts_in_it() -> None:
    database = Database()
    analysis = camera(tracker=TrackerOptions(confirm_s=30.0))
    watch(analysis, 0, 55, database=database)
    watch(analysis, 55, 90, PERSON, database=database)
    assert database.counts == {(0, 60, "person"): 1, (60, 120, "person"): 1}


def test_a_camera_whose_clock_may_be_off_keeps_its_windows_open_for_as_long() -> None:
    for max_clock_skew_s, late_frames in ((60.0, 0), (10.0, 9)):
        analysis = camera(max_clock_skew_s=max_clock_skew_s)
        watch(analysis, 0, 58, PERSON)
        for tick in range(8):  # silence; our own clock is 50 s ahead of the camera's
            analysis.tick(T0 + 58 + 50 + tick / 4)
        watch(analysis, 59, 59.9, PERSON)
        figures = {figure.name: figure.value for figure in analysis.figures()}
        assert figures["windows_late_frames_total"] == late_frames


def test_a_wall_clock_that_jumps_makes_no_silence() -> None:
    analysis = camera()
    watch(analysis, 0, 1, PERSON)
    silent = [analysis.tick(T0 + time) for time in (1.0, 1.25, 3601.5, 3601.75, 3602.0)]
    assert silent == [False, False, False, True, True], "the jump counts as half a second"
    watch(analysis, 1, 1.1, PERSON)
    assert not analysis.tick(T0 + 3602.25)


# -- classes ----------------------------------------------------------------------------------------


def test_an_observation_never_speaks_of_two_numberings() -> None:
    analysis = camera()
    later = model("m-2", ("dog", "person"))
    seen = analysis.observe(frame_at(T0), replace(boxes((0.3, 0.9, 1)), model=later))
    assert [seen.classes.name(number) for number in seen.detections.class_ids.tolist()] == ["person"]
    assert [seen.classes.name(number) for number in seen.tracks.class_ids.tolist()] == ["person"]
    assert (seen.detections.model, seen.model_version) == (None, "m-2")


# -- restarts and upgrades --------------------------------------------------------------------------


def test_a_state_of_the_release_before_goes_on() -> None:
    """One person in the zone for 2.7 s, another seen for 0.3 s: each part kept a time of its own."""
    state = json.loads(Path(__file__).with_name("resume_before_timebase.json").read_text())
    database, analysis = Database(), camera(state, zones={"yard": Zone(points=YARD)})
    assert watch(analysis, 2.8, 3.2, (0.5, 0.9, 0), PERSON, database=database) == {1, 2}
    assert database.counts == {(0, 60, "person"): 2}
    assert database.sources[0, 60].coverage == pytest.approx(3.1 / 60, abs=1e-4)
    assert [(event.track_id, event.event_time - T0) for event in database.events] == [(2, 2.5)]
    watch(analysis, 3.2, 8, database=database)
    dwell = {event.track_id: event.value for event in database.events if event.kind == "leave"}
    assert dwell == {1: pytest.approx(3.1), 2: pytest.approx(0.6)}
    assert watch(analysis, 8, 10, (0.7, 0.9, 0)) == {3 + SKIPPED_IDS}


def test_a_restored_state_is_left_as_it_is() -> None:
    analysis = camera(zones={"left": LEFT})
    watch(analysis, 0, 2, PERSON)
    analysis.rows()
    state = analysis.snapshot()
    written = json.dumps(state)
    for _ in range(2):  # a camera may be started from it more than once
        again = camera(state, zones={"left": LEFT})
        watch(again, 2, 300, PERSON, CAR)
        again.rows()
        watch(again, 300, 450)
        again.rows()
        assert json.dumps(state) == written


YARD = ((0.2, 0.2), (0.8, 0.2), (0.8, 0.95), (0.2, 0.95))


@pytest.mark.parametrize("broken", ["timebase", "tracker", "rules", "windows"])
def test_a_part_of_a_state_that_cannot_be_used_begins_anew(
    broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    analysis = camera(zones={"left": LEFT})
    watch(analysis, 0, 2, PERSON)
    state = json.loads(json.dumps(analysis.snapshot())) | {broken: {"version": 99}}
    database, analysis = Database(), camera(state, zones={"left": LEFT})
    ids = watch(analysis, 2, 4, PERSON, database=database)
    assert "camera gate" in caplog.text
    assert "begin anew" in caplog.text
    if broken == "tracker":
        assert ids == {2 + SKIPPED_IDS}, "an id is never given twice"
        assert database.counts == {(0, 60, "person"): 2}
    else:
        assert ids == {1}
        assert database.counts.get((0, 60, "person"), 1) == 1


@settings(max_examples=150, deadline=None)
@given(found=st.lists(damages, min_size=1, max_size=3))
@example(found=[("windows", [5, 0, 3], "x")])  # a track that lives is of another class there
def test_a_damaged_state_ends_no_camera_and_lowers_no_count(found: list[Damage]) -> None:
    places = {"zones": {"left": LEFT}, "lines": {"middle": Line(points=((0.5, 0.2), (0.5, 0.95)))}}
    database, analysis = Database(), camera(**places)
    watch(analysis, 40, 42, PERSON, CAR, (0.48, 0.9, 0), database=database)
    state = json.loads(json.dumps(analysis.snapshot()))
    for one in found:
        state = damage(state, *one)
    state = (
        {**state, "stored": database.stored()} if isinstance(state, dict) else {"stored": database.stored()}
    )
    analysis = camera(state, **places)
    for start in (43, 62):
        watch(analysis, start, start + 2, (0.52, 0.9, 0))
        analysis.tick(T0 + start + 2)
        database.take(analysis)
    assert database.fell == []
    json.dumps(analysis.snapshot(), allow_nan=False)


def test_the_options_of_a_camera() -> None:
    written = {
        "url": "rtsp://there/1",
        "detect": {"min_score": 0.3, "dedupe_iou": 0.5},
        "track": {"confirm_s": 1, "max_lost_s": 4, "max_gap_s": 20},
        "count": {"window_s": 30, "classes": ["car"]},
        "stream": {"max_clock_skew_s": 5},
        "rules": {"lines": {"door": {"points": [[0.1, 0.1], [0.9, 0.9]]}}},
    }
    found = parse_config({"cameras": {"gate": written}}).cameras["gate"]
    assert analysis_options(found) == AnalysisOptions(
        camera="gate",
        tracker=TrackerOptions(min_score=0.3, dedupe_iou=0.5, confirm_s=1.0, max_lost_s=4.0),
        max_gap_s=20.0,
        window_s=30,
        classes=("car",),
        lines={"door": Line(points=((0.1, 0.1), (0.9, 0.9)))},
        config_hash=found.config_hash,
        max_clock_skew_s=5.0,
    )


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        (("car", "truck"), True),
        (("Light-Truck", "police car"), True),
        (("bicycle", "motorcycle"), True),
        (("person", "rider"), True),
        (("pedestrian", "people"), True),
        (("bicycle", "rider"), False),  # one sits on the other
        (("person", "car"), False),
        (("", "car"), False),
    ],
)
def test_classes_that_detectors_confuse_are_known_by_their_names(names: tuple[str, str], alike: bool) -> None:
    assert ClassTable(enumerate(names)).alike(0, 1) is alike


def test_vehicles_whose_class_flickers_cross_once_each() -> None:
    grainy = json.loads((Path(__file__).parent / "class_flicker.json").read_text())
    names = tuple(grainy["classes"].get(str(number), f"class {number}") for number in range(8))
    line = Line(points=tuple(map(tuple, grainy["line"])))
    analysis = CameraAnalysis(AnalysisOptions("cam", lines={"line": line}))
    rows = np.array(grainy["boxes"], np.float32)
    for time in grainy["times"]:
        seen = rows[np.isclose(rows[:, 0], time)]
        found = Detections(seen[:, 1:5], seen[:, 5], seen[:, 6].astype(np.int32), model(names=names))
        analysis.observe(frame_at(1.7e9 + time), found)
    analysis.end(1.7e9 + grainy["times"][-1])
    events = [result for result in analysis.take_results() if isinstance(result, Event)]
    assert [event.direction for event in events] == ["backward"] * 8
    assert len({event.track_id for event in events}) == 8


def hidden(share: float, every_s: float) -> Callable[[float, np.random.Generator], np.ndarray]:
    """A parked car at y = 0.6 of whose height ``share`` is hidden every other ``every_s``."""
    return lambda time, _: np.array([0, 0, 0, (1 if time // every_s % 2 else -1) * share])


def hidden_left_and_right(share: float, every_s: float) -> Callable[[float, np.random.Generator], np.ndarray]:
    """One of whose width ``share`` is hidden, from the left and from the right by turns."""
    left, right = np.array([share, 0, 0, 0]), np.array([0, 0, -share, 0])
    return lambda time, _: left if time // every_s % 2 else right


def trembling(spread: float, cut: float = 0.0) -> Callable[[float, np.random.Generator], np.ndarray]:
    """A parked car whose sides tremble, and whose box is too short now and then."""

    def sides(_: float, random: np.random.Generator) -> np.ndarray:
        return random.normal(0, spread, 4) - (0, 0, 0, 0.4 * (random.random() < cut))

    return sides


@pytest.mark.parametrize("fps", [5, 30])
@pytest.mark.parametrize(
    "sides",
    [
        hidden(0.25, 8),
        hidden(0.45, 30),
        hidden(0.2, 2),
        trembling(0.05),
        trembling(0.1),
        trembling(0.02, 0.2),
        hidden_left_and_right(0.25, 8),
        hidden_left_and_right(0.3, 20),
    ],
)
def test_a_parked_car_on_a_line_crosses_it_once_at_most(
    fps: int, sides: Callable[[float, np.random.Generator], np.ndarray]
) -> None:
    places = {"lines": {"l": Line(points=((0, 0.6), (1, 0.6))), "v": Line(points=((0.5, 0), (0.5, 1)))}}
    places["zones"] = {"z": Zone(points=((0, 0.6), (1, 0.6), (1, 1), (0, 1)))}
    places["zones"]["right"] = Zone(points=((0.5, 0.2), (1, 0.2), (1, 0.9), (0.5, 0.9)))
    analysis, random = CameraAnalysis(options(**places)), np.random.default_rng(3)
    for frame in range(fps * 240):
        box = np.array([0.4, 0.45, 0.6, 0.6]) + sides(frame / fps, random) * (0.2, 0.15, 0.2, 0.15)
        car = Detections(np.float32([box]), np.float32([0.8]), np.int32([1]), model())
        analysis.observe(frame_at(1.7e9 + frame / fps), car)
    analysis.end(1.7e9 + 240)
    once = {EventKind.CROSSING, EventKind.ENTER}
    events = [result for result in analysis.take_results() if isinstance(result, Event)]
    assert Counter(e.place for e in events if e.kind in once).most_common(1) in ([], [(mock.ANY, 1)])


@pytest.mark.parametrize("fps", [5, 30])
def test_a_car_that_is_a_truck_as_well_now_and_then_enters_once(fps: int) -> None:
    zone = Zone(points=((0.2, 0.2), (0.9, 0.2), (0.9, 0.9), (0.2, 0.9)))
    analysis, random = CameraAnalysis(options(zones={"z": zone})), np.random.default_rng(5)
    names, twice = ("person", "car", "truck"), False
    for frame in range(fps * 120):
        if random.random() < 1 / fps:
            twice = random.random() < 0.3
        boxes = np.array([[0.4, 0.45, 0.6, 0.6], [0.4, 0.39, 0.6, 0.6]])  # IoU 0.71
        boxes += random.normal(0, 0.02, (2, 4)) * (0.2, 0.15, 0.2, 0.15)
        scores = np.float32([0.2 if twice and random.random() < 0.3 else 0.8, 0.5])
        count = 1 + twice
        found = Detections(
            np.float32(boxes[:count]), scores[:count], np.int32([1, 2][:count]), model(names=names)
        )
        analysis.observe(frame_at(1.7e9 + frame / fps), found)
    analysis.end(1.7e9 + 120)
    kinds = [result.kind for result in analysis.take_results() if isinstance(result, Event)]
    assert kinds.count(EventKind.ENTER) == 1
