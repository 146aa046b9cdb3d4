"""Rows for the table and the CSV: stored windows, or sums at a coarser resolution. No Streamlit here."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from console.grid import Bucket, cover_buckets
from console.session import now
from sightline.store.read.queries import CountSum, Span, Watched, read_counts, read_watched, read_window_rows
from sightline.store.read.readonly import Database

CSV_ROWS = 200_000
CSV_COLUMNS = ("id", "source", "item_class", "count", "window_start", "window_end", "created_at", "coverage")


@dataclass(frozen=True, slots=True)
class Choice:
    """What the filters say."""

    span: Span
    window_s: int
    sources: tuple[str, ...]
    classes: tuple[str, ...]  # empty: all
    by_camera: bool
    panels: bool
    table: bool


def csv_of(database: Database, choice: Choice) -> bytes:
    """The chosen rows as CSV: UTC ISO times, columns as in the database, and ``coverage``."""
    with database.reading() as connection:
        watched = read_watched(connection, choice.span, choice.sources)
        rows = rows_of(connection, choice, watched, CSV_ROWS)
    for row in rows:
        for key in ("window_start", "window_end", "created_at"):
            if row.get(key) is not None:
                row[key] = row[key].isoformat()
    out = io.StringIO()
    writer = csv.DictWriter(out, [name for name in CSV_COLUMNS if not rows or name in rows[0]])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def rows_of(
    connection: Connection, choice: Choice, watched: list[Watched], limit: int
) -> list[dict[str, object]]:
    """Stored windows at their own resolution, sums at a coarser one."""
    if choice.span.step_s <= choice.window_s:
        rows = read_window_rows(connection, choice.span, choice.sources, limit)
        wanted = {*choice.classes, ""}
        return [row for row in rows if not choice.classes or row["item_class"] in wanted]
    counts = read_counts(connection, choice.span, choice.sources, by_source=True, by_class=True)
    by_place: dict[tuple[float, str], list[CountSum]] = {}
    for row in counts:
        if not choice.classes or row.item_class in choice.classes:
            by_place.setdefault((row.bucket, row.source), []).append(row)
    rows = []
    covers = {name: cover_buckets(choice.span, watched, [name], now()) for name in choice.sources}
    for name, buckets in covers.items():
        for bucket in buckets:
            if bucket.expected_s > 0:
                rows += _bucket_rows(name, bucket, by_place.get((bucket.start, name), []))
    return sorted(rows, key=lambda row: (row["window_start"], row["source"], row["item_class"]))[-limit:]


def _bucket_rows(source: str, bucket: Bucket, counts: Sequence[CountSum]) -> list[dict[str, object]]:
    found = [(row.item_class, row.count) for row in counts] or [("", 0 if bucket.watched_s else None)]
    return [
        {
            "source": source,
            "item_class": item_class,
            "count": count,
            "window_start": datetime.fromtimestamp(bucket.start, UTC),
            "window_end": datetime.fromtimestamp(bucket.end, UTC),
            "coverage": round(bucket.coverage, 4),
        }
        for item_class, count in found
    ]
