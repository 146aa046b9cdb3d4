"""The rows of one camera, as the scoreboard needs them."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlmodel import col

from sightline.simulation.selftest.evidence import ClaimedEvent
from sightline.store.tables import CountWindowRow, EventRow, SourceWindowRow


def read_events(connection: Connection, source: str, since: datetime | None = None) -> list[ClaimedEvent]:
    """Every event of a camera, by time; those from ``since`` on."""
    row = EventRow
    chosen = (row.kind, row.place, row.direction, row.item_class, row.track_id, row.event_time,
              row.created_at, row.value, row.unseen)  # fmt: skip
    query = sa.select(*(col(item) for item in chosen)).where(col(row.source) == source)
    if since is not None:
        query = query.where(col(row.event_time) >= since)
    found = connection.execute(query.order_by(col(row.event_time))).all()
    return [
        ClaimedEvent(
            kind=item.kind,
            place=item.place,
            direction=item.direction,
            item_class=item.item_class,
            track_id=item.track_id,
            event_time=item.event_time.timestamp(),
            created_at=item.created_at.timestamp(),
            value=item.value,
            unseen=item.unseen,
        )
        for item in found
    ]


def read_counts(connection: Connection, source: str) -> dict[str, int]:
    """Counts by class, added over the windows."""
    row = CountWindowRow
    total = sa.func.sum(col(row.count))
    query = sa.select(col(row.item_class), total).where(col(row.source) == source)
    return {name: int(count) for name, count in connection.execute(query.group_by(col(row.item_class)))}


def read_watched(connection: Connection, source: str) -> tuple[float, int]:
    """Seconds that were watched, and frames dropped, added over the windows."""
    row = SourceWindowRow
    chosen = (col(row.coverage), col(row.window_start), col(row.window_end), col(row.dropped_frames))
    found = connection.execute(sa.select(*chosen).where(col(row.source) == source)).all()
    watched_s = sum(share * (end - start).total_seconds() for share, start, end, _ in found)
    return float(watched_s), sum(int(dropped) for *_, dropped in found)
