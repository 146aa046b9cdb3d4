"""Counts by camera and class over time, as charts, table and CSV."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st
from sqlalchemy import Connection

from console import theme
from console.charts import LEFT_PX, count_chart, coverage_chart
from console.grid import Bucket, Stack, cover_buckets, default_step, stack_counts, steps_for, total
from console.pages.overview_page import flow_rows
from console.session import choose_range
from console.texts import CSV_ROWS, duration, number, safe, step_name
from console.viewer import Viewer, now
from sightline.store.read import queries
from sightline.store.read.downloads import as_csv
from sightline.store.read.queries import CountSum, Watched
from sightline.store.read.readonly import Database
from sightline.store.read.seen import Cameras, seen
from sightline.store.read.spans import Span

CSV_COLUMNS = (
    *("id", "source", "item_class", "count", "window_start", "window_end", "created_at", "arrivals"),
    "coverage",
)
MAX_PANELS = 12
ARRIVALS_NOTE = (
    "Those of the count that the camera had not counted before. The distinct objects of several rows in a "
    "row are the first one's count and the arrivals of the others."
)
LONG_S = 2 * 86_400
MAX_WINDOWS = 4_000_000  # about ten seconds of SQLite
NOTE = (
    "Every figure is a number of distinct objects, each camera's for itself: one that is seen in two bars "
    "stands in both, and once in the total. Unknown: counted before Sightline told arrivals apart."
)


@dataclass(frozen=True, slots=True)
class CountFilter:
    """The filters of the page Counts."""

    cameras: Cameras  # that the viewer sees
    span: Span
    window_s: int
    sources: tuple[str, ...]
    classes: tuple[str, ...]  # empty: all
    by_camera: bool
    panels: bool
    table: bool


def render(viewer: Viewer) -> None:
    """The page."""
    theme.live(show, viewer)


def show(viewer: Viewer, connection: Connection) -> None:
    """Filters, then charts or table."""
    statuses = queries.read_cameras(connection, viewer.cameras)
    names = [status.source for status in statuses]
    if not names:
        remedy = "Add cameras to config.yml and start “sightline run”; counts appear with the first window."
        theme.state(theme.NO_CAMERA, remedy, icon="videocam_off")
        return
    windows = queries.read_latest_windows(connection, viewer.cameras, names)
    lengths = [round(item.window_end - item.window_start) for item in windows.values()]
    chosen = _choose(viewer, names, max(lengths, default=60))
    if chosen is None:
        return
    crossings = queries.read_crossings(connection, viewer.cameras, chosen.span, chosen.sources)
    shown = [status for status in statuses if status.source in chosen.sources]
    theme.show_places(flow_rows(shown, crossings, now()), "in this range")
    watched, sums = _read(viewer.database, connection, chosen)
    longest = max((row.longest_window_s for row in watched), default=0.0)
    if longest > chosen.span.step_s:
        st.info(
            f"Windows of {duration(longest)} are stored in this range: choose a resolution of at least that.",
            icon=":material/info:",
        )
    if chosen.table:
        _show_table(viewer, connection, chosen, watched)
    else:
        _show_charts(viewer, chosen, watched, sums)


def _choose(viewer: Viewer, names: list[str], window_s: int) -> CountFilter | None:
    """The filters; None, with a warning, if they cannot be shown. Stable keys: a refresh resets nothing."""
    first = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    chosen_range = choose_range(viewer, first, "counts")
    if chosen_range is None:
        return None
    start, end = chosen_range
    length_s = round(end - start)
    step_s = _choose_step(first, window_s, length_s)
    sources = first.multiselect("Cameras", names, key="counts_cameras", placeholder="all cameras", width=230)
    known = st.session_state.setdefault("counts_known_classes", [])
    classes = first.multiselect("Classes", known, key="counts_classes", placeholder="all classes", width=190)
    split = first.segmented_control(
        "Colour by", ["Class", "Camera"], default="Class", key="counts_split", required=True
    )
    shape = first.segmented_control(
        "Show", ["Together", "Each camera", "Table"], default="Together", key="counts_shape", required=True
    )
    windows = length_s / window_s * len(sources or names)
    if windows > MAX_WINDOWS:
        st.warning(
            f"This range holds {number(windows)} windows, too many to sum while you wait: choose fewer "
            "cameras or a shorter range.",
            icon=":material/date_range:",
        )
        return None
    return CountFilter(
        cameras=viewer.cameras,
        span=Span.over(start, end, step_s, viewer.zone),
        window_s=window_s,
        sources=tuple(sources or names),
        classes=tuple(classes),
        by_camera=split == "Camera",
        panels=shape == "Each camera",
        table=shape == "Table",
    )


def _choose_step(row: st.delta_generator.DeltaGenerator, window_s: int, length_s: float) -> int:
    steps = steps_for(length_s, window_s)
    names = {step: f"window ({step_name(step)})" if step == window_s else step_name(step) for step in steps}
    automatic = default_step(length_s, steps)
    names[0] = f"auto: {names[automatic]}"
    if st.session_state.get("counts_step", 0) not in names:
        st.session_state["counts_step"] = 0
    help_text = "Not finer than the stored windows."
    step = row.selectbox(
        "Resolution", [0, *steps], key="counts_step", format_func=names.__getitem__, width=170, help=help_text
    )
    return step or automatic


def _read(
    database: Database, connection: Connection, chosen: CountFilter
) -> tuple[list[Watched], list[CountSum]]:
    """Watched time and counts; a long range is cached: for a minute, or for good if it lies in the past."""
    span = chosen.span
    if span.end - span.start <= LONG_S:
        return (
            queries.read_watched(connection, chosen.cameras, span, chosen.sources),
            queries.read_counts(connection, chosen.cameras, span, chosen.sources),
        )
    slot = int(now() // 60) if span.end > now() - 60 else 0
    key = f"{id(database)} {span.start} {span.end} {span.step_s} {span.zone} {slot}"
    return _read_long(key, seen(chosen.cameras, chosen.sources), chosen, database)


@st.cache_data(ttl=900, max_entries=16, show_spinner="Reading a long range …")
def _read_long(
    key: str, sources: list[str], _chosen: CountFilter, _database: Database
) -> tuple[list[Watched], list[CountSum]]:
    del key  # stands for the arguments that are not hashed
    with _database.reading() as connection:
        watched = queries.read_watched(connection, _chosen.cameras, _chosen.span, sources)
        return watched, queries.read_counts(connection, _chosen.cameras, _chosen.span, sources)


def _show_charts(viewer: Viewer, chosen: CountFilter, watched: list[Watched], counts: list[CountSum]) -> None:
    span, zone = chosen.span, viewer.zone
    known = st.session_state["counts_known_classes"]  # classes that can be chosen; the list only grows
    st.session_state["counts_known_classes"] = sorted({*known, *(row.item_class for row in counts)})
    totals, series = _stacked(counts, chosen)
    colours = theme.colours([name for name, _ in totals])
    everything = cover_buckets(span, watched, chosen.sources, now())
    st.html(theme.legend(totals, colours, everything))
    if not chosen.panels:
        chart = count_chart(everything, series, colours, span, zone, height=330, left_px=LEFT_PX)
        st.altair_chart(chart, key="counts_chart", alt="Counts over time")
        st.html(theme.heading("Watched"))
        covers = {name: cover_buckets(span, watched, [name], now()) for name in chosen.sources}
        coverage = coverage_chart(covers, span, zone)
        st.altair_chart(coverage, key="counts_coverage", alt="What each camera watched")
    for name in chosen.sources[:MAX_PANELS] if chosen.panels else ():
        totals, series = _stacked([row for row in counts if row.source == name], chosen)
        buckets = cover_buckets(span, watched, [name], now())
        st.html(theme.heading(safe(name), number(total(count for _, count in totals))))
        chart = count_chart(buckets, series, colours, span, zone, height=120)
        st.altair_chart(chart, key=f"counts_panel_{name}", alt=f"Counts of {name} over time")
    lacking = sorted({f"{row.item_class} ({row.source})" for row in counts if row.blind_s})
    if lacking:
        st.caption(f"Not seen for a time, since the model lacks them: {safe(', '.join(lacking))}.")
    hidden = len(chosen.sources) - MAX_PANELS
    if chosen.panels and hidden > 0:
        st.caption(f"{hidden} more cameras are not drawn; choose up to {MAX_PANELS} under Cameras.")
    st.html(theme.caption(NOTE))


def _stacked(counts: Sequence[CountSum], chosen: CountFilter) -> Stack:
    by_camera = chosen.by_camera
    return stack_counts(counts, lambda source, name: source if by_camera else name, chosen.classes)


def _show_table(viewer: Viewer, connection: Connection, chosen: CountFilter, watched: list[Watched]) -> None:
    rows = rows_of(connection, chosen, watched, theme.TABLE_ROWS + 1)
    if not rows:
        theme.state("Nothing is stored for this range.", "Choose a longer range.", icon="search_off")
        return
    frame = pd.DataFrame(rows[-theme.TABLE_ROWS :][::-1])
    for key in ("window_start", "window_end"):
        frame[key] = [viewer.clock(value.timestamp(), "%Y-%m-%d %H:%M:%S") for value in frame[key]]
    columns: dict[str, Any] = {
        "window_start": "Start",
        "window_end": "End",
        "source": "Camera",
        "item_class": "Class",
        "count": st.column_config.NumberColumn("Count", help="Distinct objects that were seen."),
        "arrivals": st.column_config.NumberColumn("Arrivals", help=ARRIVALS_NOTE),
        "coverage": st.column_config.ProgressColumn(
            "Coverage", min_value=0, max_value=1, format="percent", help="How much of it was watched for it."
        ),
    }
    shown = frame[list(columns)]
    st.dataframe(
        shown, key="counts_table", hide_index=True, height=520, placeholder="unknown", column_config=columns
    )
    note = f"The newest {theme.TABLE_ROWS} rows; the CSV has all. " if len(rows) > theme.TABLE_ROWS else ""
    note += f"Times in {safe(viewer.zone.key)}; unknown: not watched, of a class that the model lacks, or "
    note += f"stored without arrivals by an earlier release. {ARRIVALS_NOTE}"
    csv = partial(csv_of, viewer.database, chosen)
    theme.table_foot("counts", note, csv, chosen.span, columns="as in the database, and coverage")


def csv_of(database: Database, chosen: CountFilter) -> bytes:
    """The chosen rows as CSV, with the columns of the database and ``coverage``."""
    with database.reading() as connection:
        watched = queries.read_watched(connection, chosen.cameras, chosen.span, chosen.sources)
        rows = rows_of(connection, chosen, watched, CSV_ROWS)
    return as_csv(rows, [name for name in CSV_COLUMNS if not rows or name in rows[0]])


def rows_of(
    connection: Connection, chosen: CountFilter, watched: list[Watched], limit: int
) -> list[dict[str, Any]]:
    """Stored windows at their own resolution, longer ones made of them at a coarser one."""
    if chosen.span.step_s <= chosen.window_s:
        rows = queries.read_window_rows(connection, chosen.cameras, chosen.span, chosen.sources, limit)
        return [row for row in rows if not chosen.classes or row["item_class"] in {*chosen.classes, ""}]
    sums: dict[tuple[float, str], list[CountSum]] = {}
    for row in queries.read_counts(connection, chosen.cameras, chosen.span, chosen.sources):
        if not chosen.classes or row.item_class in chosen.classes:
            sums.setdefault((row.bucket, row.source), []).append(row)
    rows = [
        {
            "source": name,
            "item_class": row.item_class,
            "count": row.count if row.count != 0 or coverage else None,
            "window_start": datetime.fromtimestamp(bucket.start, UTC),
            "window_end": datetime.fromtimestamp(bucket.end, UTC),
            "arrivals": row.arrivals if row.count != 0 or coverage else None,
            "coverage": coverage,
        }
        for name in chosen.sources
        for bucket in cover_buckets(chosen.span, watched, [name], now())
        if bucket.expected_s > 0
        for row in _with_zero(sums.get((bucket.start, name), []), name, bucket)
        for coverage in [round(max(0.0, bucket.watched_s - row.blind_s) / bucket.expected_s, 4)]
    ]
    return sorted(rows, key=lambda row: (row["window_start"], row["source"], row["item_class"]))[-limit:]


def _with_zero(counts: list[CountSum], source: str, bucket: Bucket) -> list[CountSum]:
    """A bucket's sums; where nothing was counted, one for all the classes that could be seen comes first."""
    zero = CountSum(source, "", bucket.start, 0, 0)
    return counts if any(row.count != 0 for row in counts) else [zero, *counts]
