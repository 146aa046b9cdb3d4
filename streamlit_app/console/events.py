"""Events: crossings of lines over time, and the newest events as table and CSV."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st
from sqlalchemy import Connection

from console import ranges, theme
from console.charts import LEFT_PX, count_chart
from console.csv_rows import CSV_ROWS, csv_bytes
from console.filters import choose_range
from console.grid import cover_buckets, stack
from console.session import Viewer, now
from console.texts import safe
from sightline.entities import EventKind
from sightline.store.read.queries import (
    Span,
    has_events,
    read_cameras,
    read_crossings,
    read_events,
    read_watched,
)
from sightline.store.read.readonly import Database

TABLE_ROWS = 1000
MIN_STEP_S = 60
CSV_COLUMNS = (
    *("id", "source", "kind", "place", "item_class", "track_id", "event_time", "direction", "value"),
    *("x", "y", "unseen", "confirmed_time", "created_at"),
)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """The filters of the page."""

    span: Span
    sources: tuple[str, ...]
    kinds: tuple[EventKind, ...]  # empty: all


def show(viewer: Viewer, connection: Connection) -> None:
    """Filters, crossings, table."""
    names = [report.status.source for report in read_cameras(connection)]
    if not has_events(connection, names):
        theme.state(
            "No camera has made an event yet.",
            "Give a camera lines or zones in config.yml, as docs/rules.md says; crossings, visits and "
            "occupancy then appear here.",
            icon="timeline",
        )
        return
    chosen = _choose(viewer, names)
    if chosen is None:
        return
    _show_crossings(viewer, connection, chosen)
    _show_table(viewer, connection, chosen)


def _choose(viewer: Viewer, names: list[str]) -> EventFilter | None:
    row = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    period = choose_range(viewer, row, "events")
    if isinstance(period, str):
        st.warning(period, icon=":material/date_range:")
        return None
    sources = row.multiselect("Cameras", names, key="events_cameras", placeholder="all cameras", width=230)
    kinds = row.multiselect(
        "Kinds", [kind.value for kind in EventKind], key="events_kinds", placeholder="all kinds", width=230
    )
    step_s = ranges.default_step(period.length_s, ranges.steps_for(period.length_s, MIN_STEP_S))
    span = ranges.span_of(period, step_s, viewer.zone, now())
    return EventFilter(span, tuple(sources or names), tuple(EventKind(kind) for kind in kinds))


def _show_crossings(viewer: Viewer, connection: Connection, chosen: EventFilter) -> None:
    """Crossings by line and direction over time."""
    if chosen.kinds and EventKind.CROSSING not in chosen.kinds:
        return
    crossings = read_crossings(connection, chosen.span, chosen.sources)
    if not crossings:
        return
    totals, series = stack(
        (f"{row.source} · {row.place} · {row.direction}", row.bucket, row.count) for row in crossings
    )
    colours = theme.colours([name for name, _ in totals])
    watched = read_watched(connection, chosen.span, chosen.sources)
    buckets = cover_buckets(chosen.span, watched, chosen.sources, now())
    st.html(theme.heading("Crossings"))
    st.html(theme.legend(totals, colours, buckets))
    chart = count_chart(buckets, series, colours, chosen.span, viewer.zone, height=220, left_px=LEFT_PX)
    st.altair_chart(chart, key="events_chart", alt="Crossings by line and direction over time")


def _show_table(viewer: Viewer, connection: Connection, chosen: EventFilter) -> None:
    between = chosen.span.start, chosen.span.end
    rows = read_events(connection, between, chosen.sources, kinds=chosen.kinds, limit=TABLE_ROWS + 1)
    st.html(theme.heading("Newest events"))
    if not rows:
        remedy = "Choose a longer range, or more kinds."
        theme.state("Nothing happened in this range.", remedy, icon="search_off")
        return
    frame = pd.DataFrame([_cells(viewer, row) for row in rows[:TABLE_ROWS]])
    st.dataframe(frame, key="events_table", hide_index=True, height=440, placeholder="")
    note = f"The newest {TABLE_ROWS} events; the CSV has all. " if len(rows) > TABLE_ROWS else ""
    note += f"Times in {safe(viewer.zone.key)}. Unseen: the crossing itself was not seen; "
    note += "the track began or ended there."
    start = datetime.fromtimestamp(chosen.span.start, UTC)
    theme.table_foot(
        note,
        lambda: csv_of(viewer.database, chosen),
        f"sightline-events-{start:%Y%m%dT%H%MZ}.csv",
        key="download_events_csv",
        columns="as in the database",
    )


def _cells(viewer: Viewer, row: Mapping[str, Any]) -> dict[str, Any]:
    """An event of the database, formatted for the table."""
    is_dwell = row["kind"] in {EventKind.LEAVE, EventKind.LOITER}
    present = f"{row['value']:.0f} present" if row["kind"] == EventKind.OCCUPANCY else ""
    return {
        "Time": viewer.clock(row["event_time"].timestamp(), "%Y-%m-%d %H:%M:%S.%f")[:-5],
        "Camera": row["source"],
        "Kind": row["kind"],
        "Place": row["place"],
        "Class": row["item_class"],
        "Direction": " ".join(filter(None, (row["direction"] or "", present))),
        "Dwell, s": round(row["value"], 1) if is_dwell else None,
        "Unseen": "unseen" if row["unseen"] else "",
        "Track": row["track_id"] or None,
    }


def csv_of(database: Database, chosen: EventFilter) -> bytes:
    """The chosen events as CSV, newest first, with the columns of the database."""
    with database.reading() as connection:
        between = chosen.span.start, chosen.span.end
        rows = read_events(connection, between, chosen.sources, kinds=chosen.kinds, limit=CSV_ROWS)
    return csv_bytes(rows, CSV_COLUMNS)
