"""What the pipeline wrote about one camera, rows and kept tracks, on the scene's clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

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


def scene_clock(frames: Sequence[TrackedFrame]) -> Callable[[float], float] | None:
    """The scene's time at a capture time, by the time codes that were read; None where none was.

    Beyond the frames the nearest one's offset holds.
    """
    known = [(frame.capture_time, frame.scene_s) for frame in frames if frame.scene_s is not None]
    if not known:
        return None
    capture, scene = np.array(known).T
    first = capture[0]  # from which times are counted: epoch seconds would cost digits
    offsets = scene - (capture - first)
    return lambda time: float(time - first + np.interp(time - first, capture - first, offsets))


def claims(evidence: Evidence) -> list[Happening]:
    """Crossings, entries and exits among the events, on the scene's clock."""
    scene_s = scene_clock(evidence.frames)
    if scene_s is None:
        return []
    happenings = []
    for e in evidence.events:
        if e.kind in ("crossing", "enter", "leave"):
            what, unseen = e.direction or e.kind, e.unseen and e.kind != "crossing"
            time_s = scene_s(e.event_time)
            happenings.append(Happening(time_s, e.place, what, e.item_class, e.track_id, unseen))
    return happenings


def latencies_s(evidence: Evidence) -> tuple[list[float], list[float]]:
    """Seconds from the moment a picture was due to be taken to its tracks, and to the rows of its events."""

    def due_time(frame: TrackedFrame) -> float | None:
        if frame.due_time is not None or evidence.began_time is None or frame.scene_s is None:
            return frame.due_time
        return evidence.began_time + frame.scene_s

    dues = [(frame, due) for frame in evidence.frames if (due := due_time(frame)) is not None]
    tracked = [frame.tracked_time - due for frame, due in dues]
    offsets = [frame.scene_s - due for frame, due in dues if frame.scene_s is not None]
    scene_s = scene_clock(evidence.frames)
    if scene_s is None or not offsets:
        return tracked, []
    offset = float(np.median(offsets))  # of the scene's clock against UTC
    return tracked, [e.created_at - (scene_s(e.event_time) - offset) for e in evidence.events]


_EVER = Span.over(0.0, 4e9, 4_000_000_000)  # one bucket, until 2096
_COLUMNS = tuple(field.name for field in fields(ClaimedEvent))


def claimed_events(database: Database, camera: str, since: float = 0.0) -> list[ClaimedEvent]:
    """Every event of a camera from ``since`` (UTC epoch seconds) on, by time."""
    with database.reading() as connection:
        rows = read_events(connection, (since, _EVER.end), [camera], limit=None)
    times = ("event_time", "created_at")
    return [
        ClaimedEvent(**{n: row[n].timestamp() if n in times else row[n] for n in _COLUMNS})
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
