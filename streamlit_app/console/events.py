"""Events: crossings of lines over time, and the newest events as table and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st
from sqlalchemy import Connection

from console import look, ranges
from console.charts import LEFT_PX, count_chart
from console.filters import choose_range
from console.grid import cover_buckets
from console.session import View, now
from console.texts import safe
from sightline.entities import EventKind
from sightline.store.read.event_queries import CrossingSum, has_events, read_crossings, read_events
from sightline.store.read.queries import Span, read_cameras, read_watched
from sightline.store.read.readonly import Database

TABLE_ROWS = 1000
CSV_ROWS = 200_000
FINEST_S = 60
CSV_COLUMNS = (
    "id",
    "source",
    "kind",
    "place",
    "item_class",
    "track_id",
    "event_time",
    "direction",
    "value",
    "x",
    "y",
    "unseen",
    "confirmed_time",
    "created_at",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the filters say."""

    span: Span
    sources: tuple[str, ...]
    kinds: tuple[EventKind, ...]  # empty: all


def show(view: View, connection: Connection) -> None:
    """Filters, crossings, table."""
    names = [report.status.source for report in read_cameras(connection)]
    if not has_events(connection, names):
        look.state(
            "No camera has made an event yet.",
            "Give a camera lines or zones in config.yml, as docs/rules.md says; who crosses them, enters or "
            "stays then stands here.",
            icon="timeline",
        )
        return
    wanted = _choose(view, names)
    if wanted is None:
        return
    _show_crossings(view, connection, wanted)
    _show_table(view, connection, wanted)


def _choose(view: View, names: list[str]) -> Wanted | None:
    row = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    chosen = choose_range(view, row, "events")
    if isinstance(chosen, str):
        st.warning(chosen, icon=":material/date_range:")
        return None
    sources = row.multiselect("Cameras", names, key="events_cameras", placeholder="all cameras", width=230)
    kinds = row.multiselect(
        "Kinds", [kind.value for kind in EventKind], key="events_kinds", placeholder="all kinds", width=230
    )
    step_s = ranges.default_step(chosen.length_s, ranges.steps_for(chosen.length_s, FINEST_S))
    span = ranges.span_of(chosen, step_s, view.zone, now())
    return Wanted(span, tuple(sources or names), tuple(EventKind(kind) for kind in kinds))


def _show_crossings(view: View, connection: Connection, wanted: Wanted) -> None:
    """Crossings by line and direction over time; what was not watched is hatched."""
    if wanted.kinds and EventKind.CROSSING not in wanted.kinds:
        return
    crossings = read_crossings(connection, wanted.span, wanted.sources)
    if not crossings:
        return
    totals, series = series_of(crossings)
    colours = look.colours([name for name, _ in totals])
    watched = read_watched(connection, wanted.span, wanted.sources)
    buckets = cover_buckets(wanted.span, watched, wanted.sources, now())
    st.html('<h2 class="sl-h">Crossings</h2>')
    st.html(look.legend(totals, colours, buckets))
    chart = count_chart(buckets, series, colours, wanted.span, view.zone, height=220, left_px=LEFT_PX)
    st.altair_chart(chart, key="events_chart", alt="Crossings by line and direction over time")


def series_of(
    crossings: Sequence[CrossingSum],
) -> tuple[list[tuple[str, int]], dict[float, dict[str, int]]]:
    """(line and direction, total), largest first; and bucket -> line and direction -> count."""
    totals: dict[str, int] = {}
    series: dict[float, dict[str, int]] = {}
    for row in crossings:
        name = f"{row.source} · {row.place} · {row.direction}"
        totals[name] = totals.get(name, 0) + row.count
        bucket = series.setdefault(row.bucket, {})
        bucket[name] = bucket.get(name, 0) + row.count
    return sorted(totals.items(), key=lambda item: (-item[1], item[0])), series


def _show_table(view: View, connection: Connection, wanted: Wanted) -> None:
    between = wanted.span.start, wanted.span.end
    rows = read_events(connection, between, wanted.sources, kinds=wanted.kinds, limit=TABLE_ROWS + 1)
    st.html('<h2 class="sl-h">Newest events</h2>')
    if not rows:
        look.state(
            "Nothing happened in this range.", "Choose a longer range, or more kinds.", icon="search_off"
        )
        return
    frame = pd.DataFrame([_line(view, row) for row in rows[:TABLE_ROWS]])
    st.dataframe(frame, key="events_table", hide_index=True, height=440, placeholder="")
    note = f"The newest {TABLE_ROWS} events; the CSV has all. " if len(rows) > TABLE_ROWS else ""
    note += f"Times in {safe(view.zone.key)}. Unseen: the passage itself was not seen; "
    note += "the track began or ended there."
    start = datetime.fromtimestamp(wanted.span.start, UTC)
    look.table_foot(
        note,
        lambda: csv_of(view.database, wanted),
        f"sightline-events-{start:%Y%m%dT%H%MZ}.csv",
        key="download_events_csv",
        columns="as in the database",
    )


def _line(view: View, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as people read it."""
    is_dwell = row["kind"] in {EventKind.LEAVE, EventKind.LOITER}
    present = f"{row['value']:.0f} present" if row["kind"] == EventKind.OCCUPANCY else ""
    return {
        "Time": view.clock(row["event_time"].timestamp(), "%Y-%m-%d %H:%M:%S.%f")[:-5],
        "Camera": row["source"],
        "Kind": row["kind"],
        "Place": row["place"],
        "Class": row["item_class"],
        "Direction": " ".join(filter(None, (row["direction"] or "", present))),
        "Dwell, s": round(row["value"], 1) if is_dwell else None,
        "Unseen": "unseen" if row["unseen"] else "",
        "Track": row["track_id"] or None,
    }


def csv_of(database: Database, wanted: Wanted) -> bytes:
    """The chosen events as CSV, newest first: UTC ISO times, columns as in the database."""
    with database.reading() as connection:
        between = wanted.span.start, wanted.span.end
        rows = read_events(connection, between, wanted.sources, kinds=wanted.kinds, limit=CSV_ROWS)
    for row in rows:
        for key in ("event_time", "confirmed_time", "created_at"):
            row[key] = row[key].isoformat()
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()
