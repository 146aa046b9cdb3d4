"""What the pipeline wrote about one camera, rows and kept tracks, on the scene's clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.features.track_log import TrackedFrame
from sightline.simulation.selftest.ground_truth import Happening
from sightline.store.read.queries import Span, read_counts, read_events, read_watched
from sightline.store.read.readonly import Database


@dataclass(frozen=True, slots=True)
class ClaimedEvent:
    """A row of ``events``; times in UTC epoch seconds."""

    kind: str
    place: str
    direction: str | None
    item_class: str
    track_id: int
    event_time: float
    created_at: float
    value: float | None = None
    unseen: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything about one camera that is scored.

    Attributes:
        frames: as kept, oldest first.
        events: rows of ``events``.
        counts: of ``count_windows`` by class, added over the windows.
        watched_s: seconds of coverage, added over ``source_windows``.
        dropped_frames: the same rows' drops.
        began_time: UTC epoch seconds at which second 0 was due to be taken; None when pictures say so.
        fps: frames a second that the camera sends.
    """

    frames: tuple[TrackedFrame, ...]
    events: tuple[ClaimedEvent, ...]
    counts: dict[str, int]
    watched_s: float
    dropped_frames: int
    began_time: float | None
    fps: float


class SceneClock:
    """From capture time to the scene's time, by the time codes that were read."""

    def __init__(self, frames: Sequence[TrackedFrame]) -> None:
        known = [(f.capture_time, f.scene_s) for f in frames if f.scene_s is not None]
        self._capture: NDArray[np.float64] = np.array([c for c, _ in known])
        self._scene: NDArray[np.float64] = np.array([s for _, s in known])

    def __len__(self) -> int:
        return len(self._scene)

    def scene_s(self, capture_time: float) -> float:
        """The scene's time at a capture time; beyond the frames, with the nearest one's offset."""
        i = int(np.searchsorted(self._capture, capture_time))
        if i == 0 or i == len(self._capture):
            nearest = min(i, len(self._capture) - 1)
            return float(self._scene[nearest] + capture_time - self._capture[nearest])
        before, after = self._capture[i - 1], self._capture[i]
        share = (capture_time - before) / max(after - before, 1e-9)
        return float(self._scene[i - 1] + (self._scene[i] - self._scene[i - 1]) * share)


def claims(evidence: Evidence) -> list[Happening]:
    """Crossings, entries and exits among the events, on the scene's clock."""
    clock = SceneClock(evidence.frames)
    if not len(clock):
        return []
    return [
        Happening(
            clock.scene_s(event.event_time),
            event.place,
            event.direction or event.kind,
            event.item_class,
            event.track_id,
            hidden=event.unseen and event.kind != "crossing",
        )
        for event in evidence.events
        if event.kind in ("crossing", "enter", "leave")
    ]


def latencies_s(evidence: Evidence) -> tuple[list[float], list[float]]:
    """Seconds from the moment a picture was due to be taken to its tracks, and to the rows of its events."""
    tracked = [
        f.tracked_time - due
        for f in evidence.frames
        if (due := _due_time(f, evidence.began_time)) is not None
    ]
    clock = SceneClock(evidence.frames)
    offsets = [
        f.scene_s - due
        for f in evidence.frames
        if f.scene_s is not None and (due := _due_time(f, evidence.began_time)) is not None
    ]
    if not offsets:
        return tracked, []
    offset = float(np.median(offsets))  # of the scene's clock against UTC
    return tracked, [
        event.created_at - (clock.scene_s(event.event_time) - offset) for event in evidence.events
    ]


def _due_time(frame: TrackedFrame, began_time: float | None) -> float | None:
    if frame.due_time is not None:
        return frame.due_time
    if began_time is None or frame.scene_s is None:
        return None
    return began_time + frame.scene_s


_EVER = Span.over(0.0, 4e9, 4_000_000_000)  # one bucket, until 2096


def claimed_events(database: Database, camera: str, since: float = 0.0) -> list[ClaimedEvent]:
    """Every event of a camera from ``since`` (UTC epoch seconds) on, by time."""
    with database.reading() as connection:
        rows = read_events(connection, (since, _EVER.end), [camera], limit=None)
    return [
        ClaimedEvent(
            kind=row["kind"],
            place=row["place"],
            direction=row["direction"],
            item_class=row["item_class"],
            track_id=row["track_id"],
            event_time=row["event_time"].timestamp(),
            created_at=row["created_at"].timestamp(),
            value=row["value"],
            unseen=row["unseen"],
        )
        for row in reversed(rows)
    ]


def total_counts(database: Database, camera: str) -> dict[str, int]:
    """Counts by class, added over the windows."""
    with database.reading() as connection:
        sums = read_counts(connection, _EVER, [camera], by_source=False, by_class=True)
    return {row.item_class: row.count for row in sums}


def total_watched(database: Database, camera: str) -> tuple[float, int]:
    """Seconds that were watched, and frames dropped, added over the windows."""
    with database.reading() as connection:
        sums = read_watched(connection, _EVER, [camera])
    return sum(row.watched_s for row in sums), sum(row.dropped_frames for row in sums)
