"""What the console and reports read of events. Times are UTC epoch seconds; see :mod:`queries`.

Every query is bounded by cameras and time, which the index of the table is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select
from sqlmodel import col

from sightline.entities import EventKind
from sightline.store.read.queries import Span, bucket_key
from sightline.store.tables import EventRow, table_of


@dataclass(frozen=True, slots=True)
class CrossingSum:
    """How often a line was crossed one way in one bucket."""

    source: str
    place: str
    direction: str  # forward or backward
    bucket: float
    count: int


def read_events(
    connection: Connection,
    between: tuple[float, float],
    sources: Sequence[str],
    *,
    kinds: Sequence[EventKind] = (),
    limit: int | None,
) -> list[dict[str, Any]]:
    """The newest ``limit`` events of ``sources`` in [start, end), newest first, columns as in the database.

    Args:
        connection: to read with.
        between: start and end.
        sources: cameras; none gives nothing.
        kinds: kinds wanted; empty for all.
        limit: most rows to return; None for all.
    """
    query = select(*table_of(EventRow).columns).where(*_within(between, sources))
    if kinds:
        query = query.where(col(EventRow.kind).in_([kind.value for kind in kinds]))
    query = query.order_by(col(EventRow.event_time).desc(), col(EventRow.id)).limit(limit)
    return [dict(row) for row in connection.execute(query).mappings()]


def read_crossings(connection: Connection, span: Span, sources: Sequence[str]) -> list[CrossingSum]:
    """Crossings by camera, line and direction, summed in each bucket; a bucket without one has no row."""
    row = EventRow
    key = bucket_key(connection, col(row.event_time), span).label("bucket")
    names = (col(row.source), col(row.place), col(row.direction))
    query = select(key, *names, func.count()).where(*_within((span.start, span.end), sources))
    query = query.where(col(row.kind) == EventKind.CROSSING.value).group_by(key, *names)
    return [
        CrossingSum(source, place, direction or "", span.bucket_of(bucket), int(count))
        for bucket, source, place, direction, count in connection.execute(query)
    ]


def has_events(connection: Connection, sources: Sequence[str]) -> bool:
    """Whether any of ``sources`` has ever made an event."""
    query = select(col(EventRow.id)).where(col(EventRow.source).in_(sources)).limit(1)
    return connection.execute(query).first() is not None


def _within(between: tuple[float, float], sources: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    start, end = (datetime.fromtimestamp(edge, UTC) for edge in between)
    time = col(EventRow.event_time)
    return (time >= start, time < end, col(EventRow.source).in_(sources))
