"""What rules would have made of tracks that were kept, had lines, zones or thresholds been others.

The rules themselves run over the kept ways. Tracks do not touch each other there, so a thousand of them run
side by side as if they had begun at one moment; occupancy, which is of all of them, follows from when they
came and went. What was never tracked is not known: a lower ``min_score`` finds nothing more.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sightline.analysis.chain import frame_at
from sightline.analysis.classes import ClassTable
from sightline.analysis.observer import Observation
from sightline.analysis.options import AnalysisOptions
from sightline.analysis.rules import Rules
from sightline.analysis.rules.occupancy import HOLD_S, Occupancy
from sightline.analysis.timebase import Moment
from sightline.entities import PATH_UNIT, Detections, Event, EventKind, TrackPath, Tracks

STEP_S = 0.2  # between the frames that are played
MAX_FRAMES = 3000  # of a track; a longer one is played in longer steps
AT_ONCE = 1000  # tracks
ENOUGH = 0.4  # of its time a track must be as large as asked for


@dataclass(frozen=True, slots=True)
class Way:
    """Where a confirmed track has been."""

    track_id: int
    item_class: str
    score: float  # that two fifths of its boxes have at least
    times: NDArray[np.float64]  # [K] capture times, rising
    places: NDArray[np.float64]  # [K, 4] bottom centre x and y, width, height, shares of the picture

    @property
    def length_s(self) -> float:
        """From its first to its last point."""
        return float(self.times[-1] - self.times[0])


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Events of the same tracks by the options that hold and by others."""

    before: tuple[Event, ...]
    after: tuple[Event, ...]

    @property
    def added(self) -> tuple[Event, ...]:
        """Those that there would have been besides."""
        return _without(self.after, self.before)

    @property
    def gone(self) -> tuple[Event, ...]:
        """Those that there would not have been."""
        return _without(self.before, self.after)


def ways_of(paths: Iterable[TrackPath]) -> list[Way]:
    """The ways that pieces, in any order, are of."""
    by_track: dict[tuple[int, float], list[TrackPath]] = {}
    for path in paths:
        by_track.setdefault((path.track_id, path.first_time), []).append(path)
    ways = []
    for (track_id, _), pieces in by_track.items():
        pieces.sort(key=lambda path: path.start_time)
        points = {  # a piece begins where the one before it ends
            piece.start_time + milliseconds / 1000: places
            for piece in pieces
            for milliseconds, *places in piece.points
        }
        last = pieces[-1]
        times, places = np.array(list(points)), np.array(list(points.values())) / PATH_UNIT
        ways.append(Way(track_id, last.item_class, last.score, times, places))
    return ways


def compare(
    ways: Sequence[Way],
    before: AnalysisOptions,
    after: AnalysisOptions,
    *,
    min_score: float = 0.0,
    min_height: float = 0.0,
    step: Callable[[], None] = lambda: None,
) -> WhatIf:
    """Play the ways by both options; the two thresholds, of score and height of a box, are of the others.

    ``step`` is called before each frame that is played; what it raises ends that.
    """
    kept = [way for way in ways if way.score >= min_score and _is_as_high(way, min_height)]
    return WhatIf(events_of(ways, before, step), events_of(kept, after, step))


def events_of(
    ways: Sequence[Way], options: AnalysisOptions, step: Callable[[], None] = lambda: None
) -> tuple[Event, ...]:
    """What the rules make of them, in order of time; ``step``: as :func:`compare` has it."""
    ordered = sorted(ways, key=lambda way: way.length_s)
    events = [
        event
        for first in range(0, len(ordered), AT_ONCE)
        for event in _played(ordered[first : first + AT_ONCE], options, step)
    ]
    events += _crowds(events, options)
    return tuple(sorted(events, key=lambda event: (event.event_time, event.place, event.track_id)))


def _played(ways: Sequence[Way], options: AnalysisOptions, step: Callable[[], None]) -> Iterator[Event]:
    """The events of ways that begin at one moment, each at its own time."""
    names = sorted({way.item_class for way in ways})
    classes = ClassTable()
    numbers = dict(zip(names, classes.lookup(names).tolist(), strict=False))
    zones = {name: zone.model_copy(update={"max_occupancy": None}) for name, zone in options.zones.items()}
    rules = Rules(replace(options, zones=zones), classes)
    ids = np.arange(1, len(ways) + 1)
    class_ids = np.array([numbers[way.item_class] for way in ways], np.int32)
    lengths = np.array([way.length_s for way in ways])
    step_s = max(STEP_S, float(lengths[-1]) / MAX_FRAMES)
    boxes_of = [_boxes(way, step_s) for way in ways]
    frames = np.array([len(boxes) for boxes in boxes_of])
    found: list[Event] = []
    for number in range(int(frames[-1])):
        step()
        now, live = number * step_s, np.flatnonzero(frames > number)
        boxes = np.array([boxes_of[index][number] for index in live.tolist()])
        tracks = Tracks(
            ids[live],
            boxes.astype(np.float32),
            np.ones(len(live), np.float32),
            class_ids[live],
            np.zeros(len(live)),
            np.ones(len(live), bool),
        )
        moment = Moment(now, step_s, step_s, now, step_s, gap=False, blind=False, covered=(now - step_s, now))
        seen = Observation(frame_at(now), Detections.empty(), tracks, classes, moment)
        found += (event for event in rules.observe(seen) if isinstance(event, Event))
    found += (event for event in rules.end(float(lengths[-1])) if isinstance(event, Event))
    for event in found:
        way = ways[event.track_id - 1]
        begun = float(way.times[0])
        yield replace(
            event,
            track_id=way.track_id,
            event_time=event.event_time + begun,
            confirmed_time=event.confirmed_time + begun,
            first_time=begun,
            media_s=None,
        )


def _boxes(way: Way, step_s: float) -> NDArray[np.float64]:
    """Left, top, right and bottom every so often, and where it was last: [frames, 4]."""
    times = np.append(np.arange(way.times[0], way.times[-1], step_s), way.times[-1])
    x, y, width, height = (np.interp(times, way.times, column) for column in way.places.T)
    return np.stack([x - width / 2, y - height, x + width / 2, y], axis=1)


def _crowds(events: Sequence[Event], options: AnalysisOptions) -> list[Event]:
    """Events of zones that hold too many, by when tracks came and went."""
    occupancy = Occupancy(options.camera, options.zones)
    if not occupancy:
        return []
    number_of = {name: number for number, name in enumerate(options.zones)}
    present = np.zeros(len(number_of), np.int64)
    moves = sorted(
        (event.event_time, 1 if event.kind is EventKind.ENTER else -1, event.place)
        for event in events
        if event.kind in {EventKind.ENTER, EventKind.LEAVE}
    )
    found: list[Event] = []
    for index, (time, change, place) in enumerate(moves):
        present[number_of[place]] += change
        occupancy.changed(place, time)
        after = moves[index + 1][0] if index + 1 < len(moves) else time + 2 * HOLD_S
        for moment in (time, time + HOLD_S) if after > time + HOLD_S else (time,):
            found += (event for event in occupancy.observe(present, moment) if isinstance(event, Event))
    return found


def _is_as_high(way: Way, min_height: float) -> bool:
    """For long enough."""
    heights = way.places[:, 3]
    if len(heights) == 1 or min_height <= 0:
        return bool(heights[0] >= min_height)
    grid = np.linspace(way.times[0], way.times[-1], 64)
    return bool((np.interp(grid, way.times, heights) >= min_height).mean() >= ENOUGH)


def _without(events: Sequence[Event], others: Sequence[Event]) -> tuple[Event, ...]:
    """Those of which there is none that is alike and within a second among the others."""

    def begun(event: Event) -> float:
        """When the visit began that was long enough, however long that is; else when it happened."""
        return event.event_time - ((event.value or 0.0) if event.kind is EventKind.LOITER else 0.0)

    def what(event: Event) -> tuple[object, ...]:
        return event.kind, event.place, event.track_id, event.direction

    known: dict[tuple[object, ...], list[float]] = {}
    for event in others:
        known.setdefault(what(event), []).append(begun(event))
    return tuple(
        event
        for event in events
        if not any(abs(time - begun(event)) <= 1.0 for time in known.get(what(event), ()))
    )
