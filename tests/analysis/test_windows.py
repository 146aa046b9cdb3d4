"""Windows against a plain re-telling of the rules, with kills and resumes at any point."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.analysis.classes import ClassTable
from sightline.analysis.counts.windows import MIN_GRACE_S, SETTLE_S, WindowCounter
from sightline.analysis.observer import Doubt
from sightline.analysis.options import AnalysisOptions
from sightline.entities import ClockSource, CountWindow, ModelInfo, SourceWindow, Tracks
from support.observations import Watched

NAMES = ("person", "car", "dog")
T0 = 1_767_225_600.0  # 2026-01-01T00:00:00Z, a multiple of every window length
Seen = tuple[int, int, bool]  # track id, class id, confirmed


def tracks_of(*seen: Seen, first_time: float = 0.0) -> Tracks:
    n = len(seen)
    return Tracks(
        np.array([s[0] for s in seen], np.int64),
        np.zeros((n, 4), np.float32),
        np.ones(n, np.float32),
        np.array([s[1] for s in seen], np.int32),
        np.full(n, first_time, np.float64),
        np.array([s[2] for s in seen], np.bool_),
    )


class TimedCounter:
    """A counter, and the time of the frames that it sees."""

    def __init__(self, options: AnalysisOptions, state: Any = None) -> None:
        self.frame = Watched(NAMES, state=state and state["timebase"])
        self.windows = WindowCounter(options, self.frame.classes, state=state and state["windows"])
        self.rows = self.windows.rows
        self.version = "yolo/1"

    def observe(self, tracks: Tracks, time: float, clock: ClockSource = ClockSource.PTS) -> None:
        self.windows.observe(self.frame(time, tracks, clock_source=clock, model_version=self.version))

    def tick(self, now: float) -> None:
        """Silence."""
        self.windows.tick(now, silent=True)

    def finish(self) -> None:
        self.windows.end(0.0)

    def snapshot(self) -> dict[str, Any]:
        return {"timebase": self.frame.timebase.snapshot(), "windows": self.windows.snapshot()}


def counter(window_s: int = 60, *, state: Any = None, **options: Any) -> TimedCounter:
    return TimedCounter(AnalysisOptions("gate", window_s=window_s, config_hash="abc", **options), state)


@dataclass
class Rows:
    """What a database would hold after the rows handed out so far."""

    counts: dict[tuple[float, str], int] = field(default_factory=dict)
    arrivals: dict[tuple[float, str], int | None] = field(default_factory=dict)
    ends: dict[float, float] = field(default_factory=dict)
    sources: dict[float, SourceWindow] = field(default_factory=dict)

    def take(self, rows: tuple[Sequence[CountWindow], Sequence[SourceWindow]]) -> Rows:
        for count in rows[0]:
            self.counts[count.window_start - T0, count.item_class] = count.count
            self.arrivals[count.window_start - T0, count.item_class] = count.arrivals
        for source in rows[1]:
            self.sources[source.window_start - T0] = source
            self.ends[source.window_start - T0] = source.window_end - T0
        return self

    def distinct(self, start: float = -math.inf, end: float = math.inf) -> int:
        """Tracks seen in the windows that begin in [start, end): the first one's count, later arrivals."""
        keys = [key for key, count in self.counts.items() if count and start <= key[0] < end]
        first = min(keys, default=(0.0, ""))[0]
        return sum(self.counts[key] if key[0] == first else self.arrivals[key] or 0 for key in keys)

    @property
    def coverage(self) -> dict[float, float]:
        return {start: row.coverage for start, row in self.sources.items()}


def watch(made: TimedCounter, times: Iterable[float], *seen: Seen) -> None:
    for time in times:
        made.observe(tracks_of(*seen), T0 + time, ClockSource.PTS)


def every(step: float, start: float, end: float) -> list[float]:
    return [start + i * step for i in range(round((end - start) / step))]


def finished(made: TimedCounter) -> Rows:
    made.finish()
    return Rows().take(made.rows())


# -- counts -------------------------------------------------------------------------------------------


def test_a_track_counts_once_in_each_window_that_saw_it() -> None:
    made = counter()
    watch(made, every(0.1, 50, 70), (1, 0, True))
    watch(made, every(0.1, 70, 75), (1, 0, True), (2, 0, True), (3, 1, True))
    assert finished(made).counts == {(0, "person"): 1, (60, "person"): 2, (60, "car"): 1}


def test_the_end_of_a_window_belongs_to_the_next() -> None:
    made = counter()
    watch(made, [59.9], (1, 0, True))
    watch(made, [60.0], (2, 0, True))
    assert finished(made).counts == {(0, "person"): 1, (60, "person"): 1}


def test_an_unconfirmed_track_does_not_count() -> None:
    made = counter()
    watch(made, every(0.1, 0, 1), (1, 0, False))
    assert finished(made).counts == {}


def test_a_track_confirmed_later_counts_where_it_was_first_seen() -> None:
    made = counter()
    rows = Rows()
    watch(made, [59.8, 59.9], (1, 0, False))
    watch(made, [60.0, 60.1], (1, 0, False))
    assert rows.take(made.rows()).counts == {}
    watch(made, [60.3], (1, 0, True))
    assert rows.take(made.rows()).counts == {(0, "person"): 1, (60, "person"): 1}


def test_a_first_box_that_was_not_reported_counts_too() -> None:
    made = counter()
    watch(made, [59.5])
    made.observe(tracks_of((1, 0, True), first_time=T0 + 59.9), T0 + 60.2, ClockSource.PTS)
    assert finished(made).counts == {(0, "person"): 1, (60, "person"): 1}


def test_a_class_that_changes_moves_and_the_old_row_is_written_as_zero() -> None:
    made = counter()
    rows = Rows()
    watch(made, [0.0], (1, 1, True), (2, 1, True))
    assert rows.take(made.rows()).counts == {(0, "car"): 2}
    watch(made, [0.1], (1, 0, True), (2, 1, True))
    assert rows.take(made.rows()).counts == {(0, "car"): 1, (0, "person"): 1}
    watch(made, [0.2], (2, 0, True))
    assert rows.take(made.rows()).counts == {(0, "car"): 0, (0, "person"): 2}


def test_only_the_classes_asked_for_are_counted() -> None:
    made = counter(classes=("car",))
    watch(made, [0.0], (1, 0, True), (2, 1, True), (3, 9, True))
    assert finished(made).counts == {(0, "car"): 1}


def test_a_class_that_the_model_does_not_name_is_not_lost() -> None:
    made = counter()
    watch(made, [0.0], (1, 7, True))
    assert finished(made).counts == {(0, "class_7"): 1}


def test_a_late_frame_counts_while_its_window_is_open_and_never_after() -> None:
    made = counter()
    rows = Rows()
    watch(made, [59.0], (1, 0, True))
    watch(made, [61.0])
    watch(made, [59.5], (2, 0, True))
    watch(made, [60 + MIN_GRACE_S, 61 + MIN_GRACE_S])
    rows.take(made.rows())
    watch(made, [59.8], (3, 0, True))
    watch(made, [62 + MIN_GRACE_S])
    assert rows.take(made.rows()).counts == {(0, "person"): 2}
    assert [figure.value for figure in made.windows.figures()] == [1]


def test_an_ended_track_keeps_its_count_and_leaves_memory() -> None:
    made = counter(window_s=86_400)
    for i in range(1000):
        watch(made, every(0.5, i * 2.0, i * 2.0 + 2), (i, 0, True))
        if i % 10 == 0:
            made.rows()
    assert len(made.windows.snapshot()["tracks"]) <= SETTLE_S / 2 + 11
    assert finished(made).counts == {(0, "person"): 1000}


# -- arrivals -----------------------------------------------------------------------------------------


def test_a_track_arrives_in_the_first_window_that_counts_it() -> None:
    made = counter()
    watch(made, every(0.1, 50, 130), (1, 0, True))
    watch(made, every(0.1, 130, 135), (1, 0, True), (2, 0, True), (3, 1, True))
    rows = finished(made)
    assert rows.counts == {(0, "person"): 1, (60, "person"): 1, (120, "person"): 2, (120, "car"): 1}
    assert rows.arrivals == {(0, "person"): 1, (60, "person"): 0, (120, "person"): 1, (120, "car"): 1}
    assert rows.distinct() == 3


def test_a_late_frame_moves_an_arrival_to_the_window_before() -> None:
    made = counter()
    rows = Rows()
    watch(made, [59.0])
    watch(made, [61.0], (1, 0, True))
    assert rows.take(made.rows()).arrivals == {(60, "person"): 1}
    watch(made, [59.5], (1, 0, True))
    assert rows.take(made.rows()).arrivals == {(0, "person"): 1, (60, "person"): 0}


def test_a_track_that_is_confirmed_after_its_first_window_was_closed_arrives_later() -> None:
    made = counter(window_s=1)
    watch(made, every(0.5, 0, MIN_GRACE_S + 3), (1, 0, False))
    watch(made, [MIN_GRACE_S + 3], (1, 0, True))
    rows = finished(made)
    assert rows.distinct() == 1
    assert sum(value or 0 for value in rows.arrivals.values()) == 1


def test_a_class_corrected_after_the_first_window_was_closed_makes_no_second_arrival() -> None:
    made = counter()
    rows = Rows()
    watch(made, every(0.5, 0, 80), (1, 0, True))
    watch(made, every(0.5, 80, 130), (1, 1, True))
    rows.take(finished_rows(made))
    assert rows.counts == {(0, "person"): 1, (60, "car"): 1, (120, "car"): 1}
    assert rows.arrivals == {(0, "person"): 1, (60, "car"): 0, (120, "car"): 0}
    assert rows.distinct() == 1


def test_what_an_earlier_release_began_has_unknown_arrivals_and_nothing_arrives_twice() -> None:
    made = counter()
    watch(made, every(0.5, 0, 20), (1, 0, True))
    made.rows()
    state = made.snapshot()
    windows = state["windows"]
    windows |= {"version": 2, "covered_until": T0 + 19.5, "closed": []}
    windows["tracks"] = {"1": ["person", True, 0.0]}
    for window in windows["windows"]:
        del window["arrivals_known"]
        window["settled"], window["written"] = {}, {"person": 1}
    made = counter(state=json.loads(json.dumps(state)))
    watch(made, every(0.5, 20, 70), (1, 0, True), (2, 0, True))
    rows = finished(made)
    assert rows.counts == {(0, "person"): 2, (60, "person"): 2}
    assert rows.arrivals == {(0, "person"): None, (60, "person"): 0}


# -- options that change ------------------------------------------------------------------------------


def change(made: TimedCounter, **options: Any) -> None:
    made.windows.update(replace(made.windows._options, **options))


@pytest.mark.parametrize(("before", "after"), [(10, 3600), (3600, 10), (10, 60), (60, 10), (12, 20)])
def test_windows_of_another_length_do_not_overlap_and_count_nothing_twice(before: int, after: int) -> None:
    made = counter(before)
    rows = Rows()
    watch(made, every(0.5, 0, 1807), (1, 0, True))
    rows.take(made.rows())
    change(made, window_s=after)
    watch(made, every(0.5, 1807, 3700), (1, 0, True), (2, 0, True))
    rows.take(finished_rows(made))
    edges = sorted(rows.ends.items())
    assert all(end == start for (_, end), (start, _) in pairwise(edges))
    assert rows.distinct() == 2
    assert all(row.coverage == 1 for row in list(rows.sources.values())[1:-1])


def test_a_class_that_the_network_lacks_has_a_coverage_of_its_own_in_its_rows() -> None:
    """The other classes keep theirs; another network that has it ends that, and a restart does not."""
    lacking = ModelInfo("d", "old", ("person", "car"), 32, 32, "fp32", 0.1)
    knowing = replace(lacking, version="new", class_names=("person", "car", "forklift"))
    made = counter(classes=("person", "forklift"))
    made.windows.use_model(lacking)
    watch(made, every(0.5, 0, 30), (1, 0, True))
    counts, [source] = made.rows()
    found = {row.item_class: (row.count, row.arrivals, row.coverage) for row in counts}
    assert found == {"person": (1, 1, None), "forklift": (0, 0, 0.0)}
    assert source.coverage == pytest.approx(0.5, abs=0.02)
    watch(made, every(0.5, 30, 60), (1, 0, True))
    assert [row.item_class for row in made.rows()[0]] == [], "nothing new is known of it"
    made = counter(classes=("person", "forklift"), state=json.loads(json.dumps(made.snapshot())))
    made.windows.use_model(knowing)
    watch(made, every(0.5, 60, 120), (2, 0, True))
    made.finish()
    rows = {(row.window_start - T0, row.item_class): row.coverage for row in made.rows()[0]}
    assert rows == {
        (0, "person"): None,
        (0, "forklift"): pytest.approx(0.0, abs=0.01),
        (60, "person"): None,
    }


def test_a_class_taken_away_keeps_its_count_and_goes_on_when_given_back() -> None:
    made = counter(3600)
    rows = Rows()
    watch(made, every(0.5, 0, 10), *((i, 0, True) for i in range(16)))
    rows.take(made.rows())
    change(made, classes=("car",))
    watch(made, every(0.5, 10, 200), (20, 1, True), (3, 1, True))
    assert rows.take(made.rows()).counts == {(0, "person"): 16, (0, "car"): 1}
    change(made, classes=None)
    watch(made, every(0.5, 200, 210), (21, 0, True))
    rows.take(finished_rows(made))
    assert rows.counts == rows.arrivals == {(0, "person"): 17, (0, "car"): 1}


# -- what was watched ---------------------------------------------------------------------------------


def test_full_windows_and_the_ends_of_a_stream() -> None:
    made = counter()
    watch(made, every(0.1, 30, 150))
    rows = finished(made)
    assert rows.coverage == {0: pytest.approx(0.5), 60: 1.0, 120: pytest.approx(0.5)}
    assert rows.sources[60].effective_fps == pytest.approx(10, abs=0.01)
    assert rows.sources[120].effective_fps == pytest.approx(10, abs=0.01)
    assert rows.counts == {}


def test_a_gap_is_not_watched_and_its_windows_have_no_row() -> None:
    made = counter()
    watch(made, every(0.1, 0, 30))
    watch(made, every(0.1, 200, 240))
    assert finished(made).coverage == {0: pytest.approx(0.5), 180: pytest.approx(40 / 60)}


@pytest.mark.parametrize(
    ("interval_s", "gap_s", "is_watched"),
    [(0.1, 0.9, True), (0.1, 1.1, False), (2.0, 5.9, True), (2.0, 6.1, False)],
)
def test_what_a_gap_is_depends_on_the_usual_interval(
    interval_s: float, gap_s: float, is_watched: bool
) -> None:
    made = counter()
    watch(made, [*every(interval_s, 0, 10 * interval_s), 9 * interval_s + gap_s])
    first_s = 0.0 if interval_s > 1 else interval_s  # so long an interval is believed the second time
    last_s = (gap_s if is_watched else interval_s) + interval_s  # and the last frame's own
    watched_s = first_s + 8 * interval_s + last_s
    assert finished(made).coverage[0] == pytest.approx(watched_s / 60, abs=1e-5)


def test_a_silent_stream_closes_its_windows_with_coverage_zero() -> None:
    made = counter()
    rows = Rows()
    watch(made, every(0.1, 0, 30))
    for second in range(30, 60 * 4):
        made.tick(T0 + second)
        rows.take(made.rows())
    assert rows.coverage == {0: pytest.approx(0.5), 60: 0.0, 120: 0.0, 180: 0.0}
    assert rows.sources[120].clock_source == ""
    assert len(made.windows.snapshot()["windows"]) <= 2


def test_a_stream_that_never_came_has_coverage_zero() -> None:
    made = counter()
    made.tick(T0 + 5)
    assert Rows().take(made.rows()).coverage == {0: 0.0}
    assert made.windows.coverage == 0.0


def test_coverage_so_far() -> None:
    made = counter()
    watch(made, every(0.5, 0, 20.5))
    assert made.windows.coverage == pytest.approx(1.0)
    for second in range(20, 41):
        made.tick(T0 + second)
    assert made.windows.coverage == pytest.approx(20.5 / 40)


def test_drops_clock_and_model_of_a_window() -> None:
    made = counter()
    rows = Rows()
    made.observe(tracks_of(), T0, ClockSource.RTCP)
    rows.take(made.rows(5))
    made.observe(tracks_of(), T0 + 1, ClockSource.ARRIVAL)
    made.version = "yolo/2"
    made.observe(tracks_of(), T0 + 2, ClockSource.PTS)
    rows.take(made.rows(7))
    made.observe(tracks_of(), T0 + 61, ClockSource.PTS)
    rows.take(made.rows(8))
    assert [rows.sources[s].dropped_frames for s in (0, 60)] == [7, 1]
    assert [rows.sources[s].clock_source for s in (0, 60)] == ["arrival", "pts"]
    assert rows.sources[0].model_version == "yolo/2"


# -- clocks that step (fault 23) ----------------------------------------------------------------------


@pytest.mark.fault(23)
def test_a_wall_clock_an_hour_ahead_does_not_close_the_windows_of_a_running_stream() -> None:
    made = counter()
    rows = Rows()
    for second in range(240):
        watch(made, every(0.1, second, second + 1), (second // 60, 0, True))
        made.windows.tick(T0 + second + (3600 if second >= 30 else 0), silent=False)
        rows.take(made.rows())
    rows.take(finished_rows(made))
    assert rows.counts == {(60.0 * k, "person"): 1 for k in range(4)}
    assert rows.coverage == {0: 1.0, 60: 1.0, 120: 1.0, 180: pytest.approx(1.0)}


def test_a_clock_that_jumps_by_days_leaves_a_hole_not_a_million_rows() -> None:
    made = counter(window_s=1)
    watch(made, every(0.1, 0, 5), (1, 0, True))
    watch(made, every(0.1, 9 * 86_400, 9 * 86_400 + 5), (2, 0, True))
    rows = finished(made)
    assert len(rows.sources) == 10
    assert sum(rows.counts.values()) == 10


def test_a_silent_stream_whose_clock_goes_ahead_and_back_counts_on() -> None:
    made = counter()
    rows = Rows()
    watch(made, every(0.1, 0, 10), (1, 0, True))
    for second in range(10, 20):
        made.tick(T0 + second + 3600)
    for second in range(20, 25):
        made.tick(T0 + second)
    watch(made, every(0.1, 60, 130), (2, 0, True))
    rows.take(made.rows())
    watch(made, every(0.1, 3600, 3610), (3, 0, True))
    rows.take(finished_rows(made))
    assert rows.counts == {(0, "person"): 1, (60, "person"): 1, (120, "person"): 1, (3600, "person"): 1}
    assert all(row.window_end > row.window_start for row in rows.sources.values())


@pytest.mark.fault(6)
def test_a_capture_time_that_goes_back_makes_no_negative_time() -> None:
    made = counter()
    watch(made, every(0.1, 7200, 7210), (1, 0, True))
    watch(made, every(0.1, 3600, 3610), (2, 0, True))
    rows = finished(made)
    assert rows.counts == {(7200, "person"): 1, (3600, "person"): 1}
    assert min(rows.coverage.values()) >= 0


@pytest.mark.fault(23)
def test_coverage_goes_on_after_a_clock_that_was_ahead_went_back_and_a_worker_restarted() -> None:
    made = counter()
    rows = Rows()
    watch(made, every(0.1, 0, 30))
    watch(made, every(0.1, 7200, 7230))
    made = resumed(made, 60)
    watch(made, every(0.1, 60, 180))
    rows.take(finished_rows(made))
    assert [rows.coverage[start] for start in (60, 120)] == [pytest.approx(1, abs=0.01)] * 2
    watch(made, every(0.1, 100, 110))  # again: no instant is credited twice
    assert rows.take(finished_rows(made)).coverage[60] == pytest.approx(1, abs=0.01)


def finished_rows(made: TimedCounter) -> tuple[Sequence[CountWindow], Sequence[SourceWindow]]:
    made.finish()
    return made.rows()


# -- kill and resume ----------------------------------------------------------------------------------


def resumed(made: TimedCounter, window_s: int) -> TimedCounter:
    return counter(window_s, state=json.loads(json.dumps(made.snapshot())))


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[float, list[Seen], str]]:
    """Frames with gaps, changing classes and late confirmation, and what happens after each frame."""
    steps = st.sampled_from([0.1, 0.1, 0.1, 0.2, 0.5, 2.0, 30.0])
    time, first_id, confirmed = draw(st.floats(0, 120)), 0, set[int]()
    frames = []
    for _ in range(draw(st.integers(1, 40))):
        time = round(time + draw(steps), 3)
        first_id += draw(st.sampled_from([0, 0, 0, 1]))
        ids = draw(st.sets(st.integers(first_id, first_id + 3), max_size=4))
        confirmed |= {i for i in ids if draw(st.booleans())}
        seen = [(i, draw(st.sampled_from([0, 0, 0, 1, 2])), i in confirmed) for i in sorted(ids)]
        frames.append((time, seen, draw(st.sampled_from(["", "", "commit", "kill", "lose and kill"]))))
    return frames


def truth(frames: list[tuple[float, list[Seen], str]], window_s: int) -> dict[float, dict[int, str]]:
    """What each window counts, told the slow way: tracks and their classes."""
    counted: dict[float, dict[int, str]] = {}
    for start in sorted({math.floor(time / window_s) * window_s for time, _, _ in frames}):
        ids: set[int] = set()
        known: dict[int, tuple[str, bool]] = {}
        for time, seen, _ in frames:
            if time >= start + window_s + MIN_GRACE_S:
                break
            known |= {i: (NAMES[c], sure) for i, c, sure in seen}
            if start <= time < start + window_s:
                ids |= {i for i, _, _ in seen}
        if sure := {i: known[i][0] for i in ids if known[i][1]}:
            counted[start] = sure
    return counted


@settings(max_examples=150, deadline=None)
@given(frames=streams(), window_s=st.sampled_from([1, 5, 60]))
def test_kills_at_any_point_change_no_row(frames: list[tuple[float, list[Seen], str]], window_s: int) -> None:
    """A successor resumes from the last commit and is fed what came since; nothing is lost or doubled."""
    through = counter(window_s)
    killed = committed = counter(window_s)
    database, since = Rows(), list[tuple[float, list[Seen]]]()
    state = json.dumps(committed.snapshot())
    for time, seen, what in frames:
        watch(through, [time], *seen)
        watch(killed, [time], *seen)
        since.append((time, seen))
        if what == "commit":
            database.take(killed.rows())
            state, since = json.dumps(killed.snapshot()), []
        elif what:
            if what == "lose and kill":
                killed.rows()  # handed out, never written
            killed = counter(window_s, state=json.loads(state))
            for again, seen_again in since:
                watch(killed, [again], *seen_again)
    wanted = finished(through)
    database.take(finished_rows(killed))
    counted = truth(frames, window_s)
    counts = Counter((start, name) for start, tracks in counted.items() for name in tracks.values())
    assert {key: n for key, n in database.counts.items() if n} == counts
    assert {key: n for key, n in wanted.counts.items() if n} == counts
    assert database.sources == wanted.sources
    assert {key: database.arrivals[key] for key in counts} == {key: wanted.arrivals[key] for key in counts}
    assert wanted.distinct() == len({i for tracks in counted.values() for i in tracks})
    for first in counted:  # a track that was out of sight for the whole first window may be missing, no more
        distinct = {i for start, tracks in counted.items() if start >= first for i in tracks}
        hidden = {i for start, tracks in counted.items() if start < first for i in tracks} - set(
            counted[first]
        )
        assert len(distinct - hidden) <= wanted.distinct(first) <= len(distinct)
    assert all(0 <= row.coverage <= 1 for row in wanted.sources.values())


def test_a_resumed_counter_goes_on_in_the_same_window() -> None:
    made = counter()
    rows = Rows()
    watch(made, every(0.1, 0, 20), (1, 0, True))
    rows.take(made.rows())
    made = resumed(made, 60)
    watch(made, every(0.1, 40, 60), (2, 0, True))
    rows.take(finished_rows(made))
    assert rows.counts == {(0, "person"): 2}
    assert rows.coverage[0] == pytest.approx((20 + 20) / 60, abs=0.01)


def test_a_state_that_is_not_one_is_refused() -> None:
    with pytest.raises(ValueError, match="state of counts"):
        WindowCounter(AnalysisOptions("gate"), ClassTable(), state={"version": 2})
    with pytest.raises(ValueError, match="version"):
        WindowCounter(AnalysisOptions("gate"), ClassTable(), state={"version": 4})


def test_what_is_seen_in_doubt_is_counted_but_not_watched() -> None:
    made = counter(60)
    watch(made, every(1, 0, 21), (1, 0, True))
    made.windows.take_doubt(Doubt(T0 + 20, certain=False))
    watch(made, every(1, 21, 31), (2, 0, True))
    assert Rows().take(made.rows()).coverage == {0.0: pytest.approx(20 / 60, abs=1e-5)}
    made.windows.take_doubt(Doubt(T0 + 10, certain=True))  # it had begun earlier than it could be suspected
    watch(made, every(1, 31, 41))
    assert Rows().take(made.rows()).coverage == {0.0: pytest.approx(10 / 60, abs=1e-5)}
    made.windows.take_doubt(None)
    watch(made, every(1, 41, 60))
    rows = finished(made)
    assert rows.coverage == {0.0: pytest.approx(30 / 60, abs=1e-5)}, "from 40 on it is watched again"
    assert rows.counts == {(0.0, "person"): 2}


def test_a_doubt_that_passes_has_been_none() -> None:
    made = counter(60)
    watch(made, every(1, 0, 50))
    made.windows.take_doubt(Doubt(T0 + 49, certain=False))
    watch(made, every(1, 50, 65))
    assert Rows().take(made.rows()).coverage[0.0] == pytest.approx(49 / 60, abs=1e-5)
    made.windows.take_doubt(None)
    watch(made, every(1, 65, 121))
    assert finished(made).coverage[0.0] == 1
    assert finished(made).coverage.get(60.0, 1) == 1


def test_a_window_that_closes_in_doubt_was_not_watched() -> None:
    made = counter(10)
    watch(made, every(1, 0, 10))
    made.windows.take_doubt(Doubt(T0 + 9, certain=False))
    watch(made, every(1, 10, 40))
    made.windows.take_doubt(None)
    rows = Rows().take(made.rows())
    assert rows.coverage[10.0] == 0, "it closed before it was known to be right"
    assert rows.coverage[20.0] == 1
