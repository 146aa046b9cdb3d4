"""Results as keyed records: what the writer merges, spools and stores.

A newer record replaces the older one of its key, so any number of retries gives the same rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sightline.entities import CameraStatus, Checkpoint, Event, SourceWindow

_SEPARATOR = "\x1f"


class Kind(StrEnum):
    """What a record is, and how it meets a row that is there."""

    COUNT = "count"  # replaces
    WINDOW = "window"  # replaces
    UNWATCHED = "unwatched"  # a source window that stands only where there is none
    RESUME = "resume"  # replaces; never dropped
    STATUS = "status"  # replaces; never dropped
    EVENT = "event"  # stands once it is there
    DRIFT = "drift"  # replaces


@dataclass(frozen=True, slots=True)
class Record:
    """One row on its way to the database."""

    kind: Kind
    source: str
    key: str
    sequence: int  # of the checkpoint it came with; rising
    window_start: float  # UTC epoch seconds; an event's own time; infinite for records of a camera
    values: Mapping[str, Any]  # JSON-able fields of the entity


def records_of(checkpoint: Checkpoint, sequence: int) -> Iterator[Record]:
    """A checkpoint's rows and events, then its resume state."""
    source = checkpoint.source
    for count in checkpoint.count_windows:
        key = _key("count", source, count.item_class, count.window_start, count.window_end)
        yield Record(Kind.COUNT, source, key, sequence, count.window_start, asdict(count))
    for window in checkpoint.source_windows:
        yield _window_record(Kind.WINDOW, window, sequence)
    for event in checkpoint.events:
        yield Record(Kind.EVENT, source, _event_key(event), sequence, event.event_time, asdict(event))
    for hour in checkpoint.drift_windows:
        key = _key("drift", source, hour.window_start, hour.model_version)
        yield Record(Kind.DRIFT, source, key, sequence, hour.window_start, asdict(hour))
    resume = {"resume": dict(checkpoint.resume)}
    yield Record(Kind.RESUME, source, _key("resume", source), sequence, math.inf, resume)


def unwatched_records(windows: Iterable[SourceWindow], sequence: int) -> Iterator[Record]:
    """Windows of which nothing was watched; they never replace a row."""
    return (_window_record(Kind.UNWATCHED, window, sequence) for window in windows)


def status_record(status: CameraStatus, sequence: int) -> Record:
    """A camera's live status."""
    key = _key("status", status.source)
    return Record(Kind.STATUS, status.source, key, sequence, math.inf, asdict(status))


def merge(into: MutableMapping[str, Record], records: Iterable[Record]) -> None:
    """Put each record in the place of the older one of its key, at the end of the order."""
    for record in records:
        if record.kind is Kind.UNWATCHED and record.key in into:
            continue
        into.pop(record.key, None)
        into[record.key] = record


def _window_record(kind: Kind, window: SourceWindow, sequence: int) -> Record:
    key = _key("window", window.source, window.window_start, window.window_end)
    return Record(kind, window.source, key, sequence, window.window_start, asdict(window))


def _event_key(event: Event) -> str:
    names = (event.source, event.kind.value, event.place, event.track_id, event.first_time, event.ordinal)
    return _key("event", *names)


def _key(*parts: object) -> str:
    return _SEPARATOR.join(str(part) for part in parts)
