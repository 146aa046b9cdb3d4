"""The rows of one camera, as the scoreboard needs them."""

from __future__ import annotations

from sightline.simulation.selftest.evidence import ClaimedEvent
from sightline.store.read.event_queries import read_events
from sightline.store.read.queries import Span, read_counts, read_watched
from sightline.store.read.readonly import Database

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
