"""Ways of tracks: thinned, in pieces, and what rules make of them is what they made of the tracks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from sightline.analysis.chain import CameraAnalysis, frame_at
from sightline.analysis.options import AnalysisOptions, analysis_options
from sightline.analysis.what_if import compare, events_of, ways_of
from sightline.config import parse_config
from sightline.config.zones import Line, Zone
from sightline.entities import PATH_PIECE_S, Detections, Event, EventKind, ModelInfo, TrackPath
from sightline.features.track_paths import MAX_POINTS, WRITE_EVERY_S, TrackPaths

T0 = 1_790_000_000.0
NAMES = ("person", "car")
#: Where an object is, so many seconds after it came: left, top, right, bottom; None: it has gone.
Moves = Callable[[float], tuple[float, float, float, float] | None]
CAMERA = parse_config({"cameras": {"gate": {"url": "rtsp://gate/1"}}}).cameras["gate"]
DOOR = Line(points=((0.5, 0.0), (0.5, 1.0)))
YARD = Zone(points=((0.3, 0.3), (0.7, 0.3), (0.7, 0.9), (0.3, 0.9)), loiter_s=4.0)


def walk(begin: float, x: float, speed: float, y: float = 0.6, stop_s: float = 0.0) -> Moves:
    """From one side to the other, waiting in the middle."""

    def at(time: float) -> tuple[float, float, float, float] | None:
        passed = time - begin
        if passed < 0:
            return None
        middle_s = abs((0.5 - x) / speed)
        passed -= min(max(0.0, passed - middle_s), stop_s)
        left = x + speed * passed
        return (left, y - 0.2, left + 0.08, y) if -0.05 < left < 1.0 else None

    return at


def run(
    objects: Sequence[Moves], options: AnalysisOptions, length_s: float, fps: float = 5.0, score: float = 0.9
) -> tuple[list[Event], list[TrackPath], dict[int, list[tuple[float, ...]]]]:
    """Events, rows (the newest of each piece), and where the tracker had each track."""
    analysis, paths = CameraAnalysis(options), TrackPaths(CAMERA)
    analysis.use_model(ModelInfo("", "", NAMES, 0, 0, "", 0.0))
    rows: dict[tuple[int, float], TrackPath] = {}
    seen_at: dict[int, list[tuple[float, ...]]] = {}
    random = np.random.default_rng(7)

    def keep(found: Sequence[TrackPath]) -> None:
        rows.update({(row.track_id, row.start_time): row for row in found})

    for number in range(int(length_s * fps)):
        now = T0 + number / fps
        boxes = [box for box in (moves(number / fps) for moves in objects) if box is not None]
        xyxy = np.array(boxes, np.float32).reshape(-1, 4)
        xyxy += random.normal(0, 0.001, xyxy.shape).astype(np.float32)
        scores = np.full(len(xyxy), score, np.float32)
        seen = analysis.observe(frame_at(now), Detections(xyxy, scores, np.zeros(len(xyxy), np.int32)))
        for track_id, (left, top, right, bottom) in zip(
            seen.tracks.ids.tolist(), seen.tracks.xyxy.tolist(), strict=True
        ):
            place = (now, (left + right) / 2, bottom, right - left, bottom - top)
            seen_at.setdefault(track_id, []).append(place)
        keep(paths.observe(seen))
    keep(paths.end(T0 + length_s))
    analysis.end(T0 + length_s)
    events = [item for item in analysis.take_results() if isinstance(item, Event)]
    return events, list(rows.values()), seen_at


def options(**more: object) -> AnalysisOptions:
    return replace(analysis_options(CAMERA), lines={"door": DOOR}, zones={"yard": YARD}, **more)  # type: ignore[arg-type]


CROWD = [
    *(walk(2.0 * n, 0.0, 0.09, y=0.5 + 0.04 * (n % 3)) for n in range(6)),
    *(walk(3.0 * n + 1, 0.9, -0.12, y=0.75 + 0.03 * (n % 3), stop_s=2.0 * n) for n in range(5)),
]


def what(events: Sequence[Event]) -> Counter[tuple[object, ...]]:
    return Counter((event.kind, event.place, event.direction) for event in events)


def test_the_way_passes_where_the_track_was() -> None:
    _, rows, seen_at = run(CROWD, options(), 60.0)
    assert len({row.track_id for row in rows}) >= len(CROWD)
    for way in ways_of(rows):
        for time, *place in seen_at[way.track_id]:
            there = [np.interp(time, way.times, column) for column in way.places.T]
            for value, expected, room in zip(there, place, (0.05, 0.05, 0.15, 0.15), strict=True):
                side = place[2] if room == 0.05 else place[3]
                assert abs(value - expected) <= room * max(side, place[2], place[3]) + 0.0015
    assert sum(len(row.points) for row in rows) < sum(map(len, seen_at.values())) / 3, "thinned"
    assert all(row.places == ("door", "yard") for row in rows if row.end_time - row.start_time > 5)
    assert {row.score for row in rows} == {0.9}


def test_a_way_has_few_points_however_it_winds() -> None:
    def wind(time: float) -> tuple[float, float, float, float]:
        x, y = 0.5 + 0.3 * math.sin(time * 0.31), 0.6 + 0.3 * math.sin(time * 0.47)
        return (x - 0.05, y - 0.2, x + 0.05, y)

    _, rows, seen_at = run([wind], options(), 300.0)
    assert max(len(seen) for seen in seen_at.values()) > 1000
    assert all(len(row.points) <= MAX_POINTS + 1 for row in rows)


def test_a_long_way_is_cut_into_pieces_and_written_while_it_goes_on() -> None:
    def stand(_: float) -> tuple[float, float, float, float]:
        return (0.4, 0.4, 0.5, 0.6)

    analysis, paths = CameraAnalysis(options()), TrackPaths(CAMERA)
    analysis.use_model(ModelInfo("", "", NAMES, 0, 0, "", 0.0))
    written: list[TrackPath] = []
    for number in range(int(2.5 * PATH_PIECE_S)):
        box = np.array([stand(number)], np.float32)
        boxes = Detections(box, np.ones(1, np.float32), np.zeros(1, np.int32))
        written += paths.observe(analysis.observe(frame_at(T0 + number), boxes))
    pieces = sorted({row.start_time for row in written})
    assert len(pieces) == 3
    assert all(row.end_time - row.start_time <= PATH_PIECE_S + 1 for row in written)
    times = [row.end_time for row in written]
    assert max(later - earlier for earlier, later in pairwise(times)) <= WRITE_EVERY_S + 1
    assert len({row.first_time for row in written}) == 1
    newest = {row.start_time: row for row in written}
    [way] = ways_of([*newest.values(), *paths.end(T0)])
    assert way.length_s == pytest.approx(2.5 * PATH_PIECE_S - 1, abs=1.5)


def test_what_was_never_certain_leaves_no_way() -> None:
    def flash(time: float) -> tuple[float, float, float, float] | None:
        return (0.4, 0.4, 0.5, 0.6) if int(time * 5) % 20 == 0 else None

    _, rows, _ = run([flash], options(), 30.0)
    assert rows == []


def test_rules_make_of_kept_ways_what_they_made_of_the_tracks() -> None:
    events, rows, _ = run(CROWD, options(), 60.0)
    assert len(what(events)) >= 5, "crossings both ways, visits and loiterers"
    played = events_of(ways_of(rows), options())
    assert what(played) == what(events)
    for kind in (EventKind.CROSSING, EventKind.ENTER):
        times = (sorted(e.event_time for e in some if e.kind is kind) for some in (events, played))
        for live, again in zip(*times, strict=True):
            assert again == pytest.approx(live, abs=0.3)


@pytest.mark.parametrize(
    "change",
    [
        {"zones": {"yard": YARD.model_copy(update={"loiter_s": 8.0})}},
        {
            "zones": {
                "yard": Zone(points=((0.55, 0.3), (0.95, 0.3), (0.95, 0.95), (0.55, 0.95)), loiter_s=4.0)
            }
        },
        {"zones": {"yard": YARD.model_copy(update={"max_occupancy": 2})}},
        {"lines": {"door": Line(points=((0.2, 0.62), (0.8, 0.62)))}},
    ],
    ids=["loiter_s", "zone", "occupancy", "line"],
)
def test_other_options_give_the_events_that_there_would_have_been(change: dict[str, object]) -> None:
    _, rows, _ = run(CROWD, options(), 60.0)
    changed = replace(options(), **change)  # type: ignore[arg-type]
    live, _, _ = run(CROWD, changed, 60.0)
    found = compare(ways_of(rows), options(), changed)
    assert what(found.after) == what(live)
    assert what(found.before) != what(found.after)
    assert what(found.before) + what(found.added) == what(found.after) + what(found.gone)


def test_thresholds_of_score_and_height_leave_tracks_out() -> None:
    _, rows, _ = run(CROWD, options(), 60.0, score=0.6)
    ways = ways_of(rows)
    assert compare(ways, options(), options(), min_score=0.5).gone == ()
    assert compare(ways, options(), options(), min_score=0.7).after == ()
    assert compare(ways, options(), options(), min_height=0.15).gone == ()
    assert compare(ways, options(), options(), min_height=0.25).after == ()
