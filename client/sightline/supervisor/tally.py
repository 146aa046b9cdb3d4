"""What a run over recorded files has counted, in words."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from sightline.entities import Checkpoint, CountWindow, Event, EventKind, SourceWindow


class Tally:
    """Sums up the rows of every camera, each window as its last row tells it. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str, float], CountWindow] = {}
        self._watched: dict[tuple[str, float], SourceWindow] = {}
        self._crossings: dict[Any, Event] = {}

    def take(self, checkpoint: Checkpoint) -> None:
        """Add a camera's rows."""
        with self._lock:
            for row in checkpoint.rows:
                match row:
                    case CountWindow():
                        self._counts[row.source, row.item_class, row.window_start] = row
                    case SourceWindow():
                        self._watched[row.source, row.window_start] = row
                    case Event(kind=EventKind.CROSSING):
                        key = (row.source, row.place, row.track_id, row.first_time, row.ordinal)
                        self._crossings[key] = row

    def lines(self, cameras: Iterable[str]) -> Iterator[str]:
        """For each camera its distinct objects by class, crossings by line and direction, and coverage."""
        with self._lock:
            for camera in cameras:
                objects: Counter[str] = Counter()
                lacking = set()
                for row in (row for row in self._counts.values() if row.source == camera):
                    objects[row.item_class] += row.count if row.arrivals is None else row.arrivals
                    lacking |= {row.item_class} if row.coverage is not None else set()
                counted = ", ".join(f"{name} {count}" for name, count in objects.most_common() if count)
                yield f"camera {camera}: {counted or 'nothing counted'}"
                if lacking:
                    yield f"  not seen for a time, since the model lacks them: {', '.join(sorted(lacking))}"
                events = [event for event in self._crossings.values() if event.source == camera]
                crossings = Counter(
                    (event.place, event.direction or "", event.item_class) for event in events
                )
                for (line, direction, item_class), count in sorted(crossings.items()):
                    yield f"  line {line}, {direction}: {item_class} {count}"
                watched = [row for row in self._watched.values() if row.source == camera]
                watched_s = sum(row.coverage * (row.window_end - row.window_start) for row in watched)
                yield f"  watched {watched_s:.1f} s of video, in {len(watched)} windows"
