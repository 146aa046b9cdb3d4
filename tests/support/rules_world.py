"""Walks of invented people, as the tracker would report them, for the tests of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sightline.analysis.options import AnalysisOptions
from sightline.analysis.rules import Rules
from sightline.config.zones import Line, Zone
from sightline.entities import Event, EventEnd, Tracks
from support.observations import Watched

EPOCH = 1_767_225_600.0
RATES = (5, 10, 15, 30)
CLASSES = ("person", "car")
Walk = Callable[[float], tuple[float, float] | None]  # seconds -> where the feet are; None: not seen
SIZE = (0.06, 0.2)

UPWARD = Line(points=((0.5, 0.9), (0.5, 0.1)))  # looks up: its left is the left of the picture
SQUARE = Zone(points=((0.4, 0.4), (0.6, 0.4), (0.6, 0.6), (0.4, 0.6)))


class WatchedRules:
    """Rules, and the time of the frames that they see."""

    def __init__(self, options: AnalysisOptions, state: dict[str, Any] | None = None) -> None:
        self.ends: list[EventEnd] = []
        saved = None if state is None else state["timebase"]
        self.frame = Watched(CLASSES, max_gap_s=options.max_gap_s, state=saved)
        self.rules = Rules(options, self.frame.classes, state=state and state["rules"])

    def observe(self, tracks: Tracks, time: float) -> list[Event]:
        return self.take(self.rules.observe(self.frame(time, tracks)))

    def take(self, results: Iterable[Event | EventEnd]) -> list[Event]:
        """The events; their ends are kept apart."""
        found = list(results)
        self.ends += [result for result in found if isinstance(result, EventEnd)]
        return [result for result in found if isinstance(result, Event)]

    def snapshot(self) -> dict[str, Any]:
        return {"timebase": self.frame.timebase.snapshot(), "rules": self.rules.snapshot()}


def rules(
    lines: Mapping[str, Line] | None = None,
    zones: Mapping[str, Zone] | None = None,
    *,
    state: dict[str, Any] | None = None,
    **options: Any,
) -> WatchedRules:
    return WatchedRules(AnalysisOptions("door", lines=lines or {}, zones=zones or {}, **options), state)


def tracks_at(
    walks: Sequence[Walk],
    now: float,
    *,
    confirm_s: float = 0.5,
    class_ids: Sequence[int] | None = None,
    begins: Sequence[float] | None = None,
) -> Tracks:
    """The tracks 1, 2, … at ``now`` seconds; each begins when ``begins`` says (0)."""
    begins = begins or [0.0] * len(walks)
    rows = [
        (number + 1, place, begins[number])
        for number, walk in enumerate(walks)
        if now >= begins[number] - 1e-9 and (place := walk(now)) is not None
    ]
    kinds = class_ids or [0] * len(walks)
    width, height = SIZE
    boxes = [(x - width / 2, y - height, x + width / 2, y) for _, (x, y), _ in rows]
    return Tracks(
        ids=np.array([row[0] for row in rows], np.int64),
        xyxy=np.clip(np.array(boxes, np.float32).reshape(-1, 4), 0, 1),
        scores=np.full(len(rows), 0.9, np.float32),
        class_ids=np.array([kinds[row[0] - 1] for row in rows], np.int32),
        first_times=np.array([EPOCH + row[2] for row in rows]),
        confirmed=np.array([now - row[2] >= confirm_s - 1e-6 for row in rows], bool),
    )


def times(fps: float, start: float, end: float) -> list[float]:
    return [start + number / fps for number in range(round((end - start) * fps) + 1)]


def play(made: WatchedRules, walks: Sequence[Walk], seconds: Iterable[float], **options: Any) -> list[Event]:
    """Every event of a run, in order of what happened."""
    found: list[Event] = []
    for now in seconds:
        found += made.observe(tracks_at(walks, now, **options), EPOCH + now)
    return sorted(found, key=lambda event: (event.event_time, event.kind))


def story(events: Iterable[Event]) -> list[tuple[str, str | None, float]]:
    """(kind, direction, seconds to a tenth) of each event."""
    return [(event.kind.value, event.direction, round(event.event_time - EPOCH, 1)) for event in events]


def straight(start: tuple[float, float], end: tuple[float, float], seconds: float) -> Walk:
    """From one place to another in so many seconds, then standing."""

    def walk(now: float) -> tuple[float, float]:
        share = min(1.0, now / seconds)
        return tuple(a + (b - a) * share for a, b in zip(start, end, strict=True))  # type: ignore[return-value]

    return walk
