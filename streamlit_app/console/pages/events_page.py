"""Events: crossings of lines over time, and the newest events, troubles too, as table and CSV."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st
from sqlalchemy import Connection

from console import theme
from console.charts import LEFT_PX, count_chart
from console.grid import cover_buckets, default_step, stack, steps_for
from console.session import choose_range
from console.texts import CSV_ROWS, safe
from console.viewer import Viewer, now
from sightline.config.recording_options import RecordingOptions
from sightline.entities import EventKind, lasts
from sightline.store.read import queries
from sightline.store.read.downloads import as_csv
from sightline.store.read.readonly import Database
from sightline.store.read.seen import Cameras
from sightline.store.read.spans import Span

MIN_STEP_S = 60
CSV_COLUMNS = (
    *("id", "source", "kind", "place", "item_class", "track_id", "event_time", "direction", "value"),
    *("x", "y", "unseen", "end_time", "media_s", "first_time", "ordinal", "confirmed_time", "created_at"),
)
NO_RECORDING = RecordingOptions()
PROGRAM = ""  # the source of what troubles the program itself


@dataclass(frozen=True, slots=True)
class EventFilter:
    """The filters of the page."""

    cameras: Cameras  # that the viewer sees
    span: Span
    sources: tuple[str, ...]  # cameras, and the program
    kinds: tuple[EventKind, ...]  # empty: all


def render(viewer: Viewer) -> None:
    """The page."""
    theme.live(show, viewer)


def show(viewer: Viewer, connection: Connection) -> None:
    """Filters, crossings, table."""
    names = [status.source for status in queries.read_cameras(connection, viewer.cameras)]
    if viewer.cameras is None:
        names.append(PROGRAM)
    if not queries.has_events(connection, viewer.cameras, names):
        theme.state(
            "No camera has made an event yet.",
            "Give a camera lines or zones in config.yml, as docs/rules.md says; crossings, visits and "
            "occupancy then appear here, and so does what troubles the system.",
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
    if period is None:
        return None
    sources = row.multiselect(
        "Cameras", names, key="events_cameras", placeholder="all cameras", width=230, format_func=_camera
    )
    known = [kind.value for kind in EventKind]
    kinds = row.multiselect("Kinds", known, key="events_kinds", placeholder="all kinds", width=230)
    start, end = period
    step_s = default_step(round(end - start), steps_for(round(end - start), MIN_STEP_S))
    span = Span.over(start, end, step_s, viewer.zone)
    chosen_kinds = tuple(EventKind(kind) for kind in kinds)
    return EventFilter(viewer.cameras, span, tuple(sources or names), chosen_kinds)


def _show_crossings(viewer: Viewer, connection: Connection, chosen: EventFilter) -> None:
    """Crossings by line and direction over time."""
    if chosen.kinds and EventKind.CROSSING not in chosen.kinds:
        return
    cameras = [source for source in chosen.sources if source != PROGRAM]
    crossings = queries.read_crossings(connection, chosen.cameras, chosen.span, cameras)
    if not crossings:
        return
    totals, series = stack(
        (f"{row.source} · {row.place} · {row.direction}", row.bucket, row.count) for row in crossings
    )
    colours = theme.colours([name for name, _ in totals])
    watched = queries.read_watched(connection, chosen.cameras, chosen.span, cameras)
    buckets = cover_buckets(chosen.span, watched, cameras, now())
    st.html(theme.heading("Crossings"))
    st.html(theme.legend(totals, colours, buckets))
    chart = count_chart(buckets, series, colours, chosen.span, viewer.zone, height=220, left_px=LEFT_PX)
    st.altair_chart(chart, key="events_chart", alt="Crossings by line and direction over time")


def _show_table(viewer: Viewer, connection: Connection, chosen: EventFilter) -> None:
    rows = _read(connection, viewer.recording, chosen, theme.TABLE_ROWS + 1)
    st.html(theme.heading("Newest events"))
    if not rows:
        remedy = "Choose a longer range, or more kinds."
        theme.state("Nothing happened in this range.", remedy, icon="search_off")
        return
    frame = pd.DataFrame([_cells(viewer, row) for row in rows[: theme.TABLE_ROWS]])
    links = {"Recording": st.column_config.LinkColumn(display_text="play")}
    st.dataframe(frame, key="events_table", hide_index=True, height=440, placeholder="", column_config=links)
    note = f"The newest {theme.TABLE_ROWS} events; the CSV has all. " if len(rows) > theme.TABLE_ROWS else ""
    note += f"Times in {safe(viewer.zone.key)}. Unseen: the crossing itself was not seen; "
    note += "the track began or ended there."
    csv = partial(csv_of, viewer.database, chosen, viewer.recording)
    theme.table_foot("events", note, csv, chosen.span, columns="as in the database")


def _cells(viewer: Viewer, row: Mapping[str, Any]) -> dict[str, Any]:
    """An event of the database, formatted for the table."""
    until = ""
    if lasts(row["kind"], row["direction"]):
        until = _time(viewer, row["end_time"]) if row["end_time"] else "goes on"
    is_dwell = row["kind"] in {EventKind.LEAVE, EventKind.LOITER}
    form = {EventKind.OCCUPANCY: "{:.0f} present", EventKind.CLOCK_STEP: "{:+.1f} s"}.get(row["kind"], "")
    return {
        "Time": _time(viewer, row["event_time"]),
        "Until": until,
        "Camera": _camera(row["source"]),
        "Kind": row["kind"],
        "Place": row["place"],
        "Class": row["item_class"],
        "Direction": " ".join(filter(None, (row["direction"] or "", form.format(row["value"])))),
        "Dwell, s": round(row["value"], 1) if is_dwell else None,
        "Unseen": "unseen" if row["unseen"] else "",
        "Track": row["track_id"] or None,
        **({"Recording": row["recording"] or None} if "recording" in row else {}),
    }


def _camera(source: str) -> str:
    return "Sightline" if source == PROGRAM else source


def _time(viewer: Viewer, moment: datetime) -> str:
    return viewer.clock(moment.timestamp(), "%Y-%m-%d %H:%M:%S.%f")[:-5]


def _read(
    connection: Connection, recording: RecordingOptions, chosen: EventFilter, limit: int
) -> list[dict[str, Any]]:
    """Rows of the database, and where the recording of each is played, if there are any."""
    between = chosen.span.start, chosen.span.end
    rows = queries.read_events(
        connection, chosen.cameras, between, chosen.sources, kinds=chosen.kinds, limit=limit
    )
    for row in rows if recording.url else ():
        end_time = row["end_time"] and row["end_time"].timestamp()
        row["recording"] = recording.link(row["source"], row["event_time"].timestamp(), end_time)
    return rows


def csv_of(database: Database, chosen: EventFilter, recording: RecordingOptions = NO_RECORDING) -> bytes:
    """The chosen events as CSV, newest first, with the columns of the database, and links to recordings."""
    columns = (*CSV_COLUMNS, "recording") if recording.url else CSV_COLUMNS
    with database.reading() as connection:
        return as_csv(_read(connection, recording, chosen, CSV_ROWS), columns)
