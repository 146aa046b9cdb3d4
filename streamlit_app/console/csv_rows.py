"""Rows for the table and the CSV: stored windows, or sums at a coarser resolution. No Streamlit here."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from console.grid import Bucket, cover_buckets
from console.session import now
from sightline.store.read.queries import CountSum, Span, Watched, read_counts, read_watched, read_window_rows
from sightline.store.read.readonly import Database

CSV_ROWS = 200_000
CSV_COLUMNS = ("id", "source", "item_class", "count", "window_start", "window_end", "created_at", "coverage")


@dataclass(frozen=True, slots=True)
class CountFilter:
    """The filters of the page Counts."""

    span: Span
    window_s: int
    sources: tuple[str, ...]
    classes: tuple[str, ...]  # empty: all
    by_camera: bool
    panels: bool
    table: bool


def csv_bytes(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> bytes:
    """Rows as CSV, with times in ISO 8601, UTC."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns)
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {key: value.isoformat() if isinstance(value, datetime) else value for key, value in row.items()}
        )
    return out.getvalue().encode()


def csv_of(database: Database, chosen: CountFilter) -> bytes:
    """The chosen rows as CSV, with the columns of the database and ``coverage``."""
    with database.reading() as connection:
        watched = read_watched(connection, chosen.span, chosen.sources)
        rows = rows_of(connection, chosen, watched, CSV_ROWS)
    return csv_bytes(rows, [name for name in CSV_COLUMNS if not rows or name in rows[0]])


def rows_of(
    connection: Connection, chosen: CountFilter, watched: list[Watched], limit: int
) -> list[dict[str, Any]]:
    """Stored windows at their own resolution, sums at a coarser one."""
    if chosen.span.step_s <= chosen.window_s:
        rows = read_window_rows(connection, chosen.span, chosen.sources, limit)
        return [row for row in rows if not chosen.classes or row["item_class"] in {*chosen.classes, ""}]
    by_bucket: dict[tuple[float, str], list[CountSum]] = {}
    for row in read_counts(connection, chosen.span, chosen.sources, by_source=True, by_class=True):
        if not chosen.classes or row.item_class in chosen.classes:
            by_bucket.setdefault((row.bucket, row.source), []).append(row)
    rows = [
        row
        for name in chosen.sources
        for bucket in cover_buckets(chosen.span, watched, [name], now())
        if bucket.expected_s > 0
        for row in _bucket_rows(name, bucket, by_bucket.get((bucket.start, name), []))
    ]
    return sorted(rows, key=lambda row: (row["window_start"], row["source"], row["item_class"]))[-limit:]


def _bucket_rows(source: str, bucket: Bucket, sums: Sequence[CountSum]) -> list[dict[str, Any]]:
    nothing: list[tuple[str, int | None]] = [("", 0 if bucket.watched_s else None)]
    return [
        {
            "source": source,
            "item_class": item_class,
            "count": count,
            "window_start": datetime.fromtimestamp(bucket.start, UTC),
            "window_end": datetime.fromtimestamp(bucket.end, UTC),
            "coverage": round(bucket.coverage, 4),
        }
        for item_class, count in [(row.item_class, row.count) for row in sums] or nothing
    ]
