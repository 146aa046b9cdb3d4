"""Counts by class, camera, zone, line and direction: over time, by hour of the week, and what is behind."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st
from sqlalchemy import Connection

from console import theme
from console.behind_bar import show_behind
from console.charts import NAMES_PX, Bars, count_chart, coverage_chart, heat_chart
from console.components.chart_component import show_chart
from console.count_figures import (
    SPLITS,
    CountChoice,
    Figures,
    WeekBefore,
    columns_of,
    file_of,
    read_figures,
    read_happened,
    read_rows,
    read_series,
    read_total,
    read_week_before,
    series_of,
)
from console.grid import (
    Cover,
    default_step,
    steps_for,
    total,
    typed_step,
    uncovered_s,
    uncovered_share,
)
from console.pages.overview_page import FLOW, flow_rows
from console.session import choose_range
from console.texts import DASH, WEEKDAYS, counted, duration, number, percent, plain, safe, step_name
from console.viewer import Viewer, now
from sightline.entities import CameraStatus, EventKind
from sightline.store.read import queries
from sightline.store.read.history import HeatCell, read_heat_map
from sightline.store.read.readonly import Database
from sightline.store.read.spans import Span
from sightline.store.rollups import DAY_S, HOUR_S

HOURS = "Hours of the week"
SHAPES = ("Together", "Each camera", HOURS, "Table")
MAX_PANELS = 12
MAX_COVER_ROWS = 16  # cameras that are drawn one below the other whether they have gaps or not
MAX_WINDOWS = 600_000  # summed while one waits
MAX_MARKS = 6
LONG_S = 2 * DAY_S
HEAT_S = 28 * DAY_S
ARRIVALS_NOTE = (
    "Those of the count that the camera had not counted before. The distinct objects of several rows in a "
    "row are the first one's count and the arrivals of the others."
)
TABLE_COLUMNS: Mapping[str, Any] = {
    "window_start": "Start",
    "window_end": "End",
    "source": "Camera",
    "place": "Place",
    "direction": "Direction",
    "item_class": "Class",
    "count": st.column_config.NumberColumn("Count"),
    "arrivals": st.column_config.NumberColumn("Arrivals", help=ARRIVALS_NOTE),
    "coverage": st.column_config.ProgressColumn(
        "Watched", min_value=0, max_value=1, format="percent", help="How much of the time was watched for it."
    ),
}


def render(viewer: Viewer) -> None:
    """The page."""
    theme.live(show, viewer)


def show(viewer: Viewer, connection: Connection) -> None:
    """Filters, then charts or a table."""
    statuses = queries.read_cameras(connection, viewer.cameras)
    names = [status.source for status in statuses]
    if not names:
        theme.no_camera(viewer)
        return
    windows = queries.read_latest_windows(connection, viewer.cameras, names)
    lengths = [round(item.window_end - item.window_start) for item in windows.values()]
    choice, shape, compare = _choose(viewer, names, max(lengths, default=60))
    if choice is None:
        return
    if shape == HOURS:
        _show_heat_map(viewer, connection, choice)
        return
    figures = _figures(_key(viewer.database, choice), choice, viewer.database)
    st.session_state["counts_known_classes"] = sorted(
        {*st.session_state["counts_known_classes"], *figures.classes}
    )
    over = choice.span.before(now()) if compare else None
    before = (
        _week_before(_key(viewer.database, choice, over), choice, over, figures, viewer.database)
        if over
        else None
    )
    _show_tiles(viewer, choice, figures, before, compare=over is not None)
    _show_notes(viewer, choice, figures)
    if shape == "Table":
        _show_table(viewer, connection, choice)
    elif shape == "Each camera":
        _show_panels(viewer, connection, choice, figures)
    else:
        _show_together(viewer, choice, figures, before)
        show_behind(viewer, connection, choice, figures)
        _show_changes(viewer, figures)
        _show_coverage(viewer, choice, figures)
        shown = [status for status in statuses if status.source in choice.sources]
        _show_flows(connection, choice, shown)


def _show_flows(connection: Connection, choice: CountChoice, statuses: list[CameraStatus]) -> None:
    crossings = read_happened(connection, choice, choice.span.whole(), EventKind.CROSSING, FLOW)
    theme.show_places(flow_rows(statuses, crossings, now()), "in this range")


# -- what is shown ----------------------------------------------------------------------------------------


def _choose(viewer: Viewer, names: list[str], window_s: int) -> tuple[CountChoice | None, str, bool]:
    """The filters (None, with a warning, where they cannot be shown), the shape, and whether to compare.

    Keys are stable: a refresh resets nothing.
    """
    first = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    chosen_range = choose_range(viewer, first, "counts")
    second = st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="filters_counts")
    sources = second.multiselect("Cameras", names, key="counts_cameras", placeholder="all cameras", width=230)
    known = st.session_state.setdefault("counts_known_classes", [])
    classes = second.multiselect("Classes", known, key="counts_classes", placeholder="all classes", width=190)
    is_free = st.session_state.get("counts_shape") != HOURS  # which has its own bars
    by = second.segmented_control(
        "By", [*SPLITS], default="Class", key="counts_by", required=True, disabled=not is_free
    )
    third = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    shape = third.segmented_control("Show", SHAPES, default=SHAPES[0], key="counts_shape", required=True)
    text = "Compare with the week before"
    compare = third.toggle(text, value=True, key="counts_compare", disabled=not is_free)
    if chosen_range is None:
        return None, shape, compare
    start, end = chosen_range
    step_s = _choose_step(first, window_s, end - start, fixed=not is_free)
    if isinstance(step_s, str):
        st.warning(step_s, icon=":material/date_range:")
        return None, shape, compare
    if step_s < HOUR_S and (end - start) / window_s * len(sources or names) > MAX_WINDOWS:
        st.warning(
            "That is too much to sum while you wait: choose hours, fewer cameras or a shorter range.",
            icon=":material/date_range:",
        )
        return None, shape, compare
    span = Span.over(start, end, step_s, viewer.zone)
    return CountChoice(viewer.cameras, span, tuple(sources or names), tuple(classes), by), shape, compare


def _choose_step(
    row: st.delta_generator.DeltaGenerator, window_s: int, length_s: float, *, fixed: bool
) -> int | str:
    """Seconds, or why not."""
    steps = steps_for(length_s, window_s)
    # Names that hold: of another one a browser would take the old for one that was written.
    names = {0: "automatic", **{step: step_name(step) for step in steps}}
    chosen = st.session_state.get("counts_step", 0)
    if chosen not in names and not isinstance(chosen, str):
        st.session_state["counts_step"] = 0
    step: int | str | None = row.selectbox(
        "Resolution",
        [0, *steps],
        key="counts_step",
        format_func=lambda value: names.get(value, str(value)),
        accept_new_options=True,
        disabled=fixed,
        width=170,
        help=f"Choose one, or write one: 10 min, 2 h. Counts are stored every {duration(window_s)}.",
    )
    return (
        typed_step(step, length_s, window_s)
        if isinstance(step, str)
        else step or default_step(length_s, steps)
    )


def _key(database: Database, choice: CountChoice, over: Span | None = None) -> str:
    """What cached figures go by. What is past holds; a long range is read once a minute."""
    span, at = over or choice.span, now()
    slot_s = 60 if span.end - span.start > LONG_S else 5
    return f"{id(database)} {choice!r} {over!r} {int(at // slot_s) if span.end > at - 60 else 0}"


@st.cache_data(ttl=900, max_entries=32, show_spinner="Reading …")
def _figures(key: str, _choice: CountChoice, _database: Database) -> Figures:
    del key  # stands for the arguments that are not hashed
    with _database.reading() as connection:
        return read_figures(connection, _choice, now())


@st.cache_data(ttl=900, max_entries=32, show_spinner="Reading the week before …")
def _week_before(
    key: str, _choice: CountChoice, _over: Span, _figures: Figures, _database: Database
) -> WeekBefore | None:
    del key
    with _database.reading() as connection:
        return read_week_before(connection, _choice, _over, _figures.rows)


# -- figures and charts -----------------------------------------------------------------------------------


def _show_tiles(
    viewer: Viewer, choice: CountChoice, figures: Figures, before: WeekBefore | None, *, compare: bool
) -> None:
    span, split = choice.span, choice.split
    form = "%-d %b %H:%M" if span.step_s < DAY_S else "%-d %b"
    ends = f"{viewer.clock(span.start, form)} to {viewer.clock(min(span.end, now()), form)}"
    ends += f", by {step_name(span.step_s)}"
    items = [
        (f"{split.what.capitalize()} in this range", number(figures.total), safe(ends), ""),
        _watched_tile(figures),
    ]
    if compare:
        items.insert(1, _week_tile(before, choice))
    sums = {at: total(counts.values()) for at, counts in figures.series.items()}
    if most := max(((count, at) for at, count in sums.items() if count), default=None):
        items.append((f"Busiest {step_name(span.step_s)}", number(most[0]), viewer.clock(most[1], form), ""))
    st.html(theme.tiles(items))


def _watched_tile(figures: Figures) -> tuple[str, str, str, str]:
    """How much of the cameras' time was watched."""
    share = figures.coverage
    if share is None:
        return "Watched", DASH, "no camera was there yet", ""
    note = f"{duration(figures.uncovered_s)} not watched: there may have been more"
    return (
        "Watched",
        percent(share),
        note if figures.uncovered_s else "all of it was watched",
        "warn" if share < 0.99 else "",
    )


def _week_tile(before: WeekBefore | None, choice: CountChoice) -> tuple[str, str, str, str]:
    """How this range compares with the one a week before."""
    if before is None:
        return "A week before", DASH, "no camera was there then", ""
    now_, then = before.now, before.then
    note = f"now {number(now_)}; of each {step_name(choice.span.step_s)} that is over"
    if before.coverage < 0.99:
        note += f"; only {percent(before.coverage)} of it was watched"
    change = ""
    if now_ is not None and then:
        change = f" <small>{100 * (now_ - then) / then:+.0f} % now</small>"
    return "A week before", number(then) + change, note, ""


def _show_notes(viewer: Viewer, choice: CountChoice, figures: Figures) -> None:
    """What has to be known to read the figures."""
    span = choice.span
    if figures.longest_window_s > span.step_s:
        st.info(
            f"Counts of {duration(figures.longest_window_s)} are stored in this range: choose a resolution "
            "of at least that.",
            icon=":material/info:",
        )
    if span.start < figures.gone_before:
        st.info(
            f"Before {viewer.clock(figures.gone_before, '%-d %b %Y %H:%M')} only whole hours are kept: "
            "choose a resolution of an hour or more to see that time.",
            icon=":material/info:",
        )
    begun = [
        f"{safe(name)} {viewer.clock(time, '%-d %b %H:%M')}"
        for name, time in sorted(figures.first.items(), key=lambda item: item[1])
        if span.start < time < span.end
    ]
    if begun:
        rest = f", and {len(begun) - MAX_MARKS} more later" if len(begun) > MAX_MARKS else ""
        text = f"Began in this range: {', '.join(begun[:MAX_MARKS])}{rest}. The time before is not missing."
        st.html(theme.caption(text))


def _show_together(viewer: Viewer, choice: CountChoice, figures: Figures, before: WeekBefore | None) -> None:
    span, zone = choice.span, viewer.zone
    names = [name for name, _ in figures.totals]
    colours = theme.colours(names)
    st.html(theme.legend(figures.totals, colours, figures.together))
    chosen = st.session_state.get("counts_bar")
    bars = Bars(
        span=span,
        zone=zone,
        buckets=figures.together,
        counts=figures.series,
        colours=colours,
        before=before.buckets if before else {},
        marks=_marks(viewer, figures),
        chosen=chosen if chosen in span.edges[:-1] else None,
    )
    label = f"{choice.split.what.capitalize()} over time; the table below has the same numbers"
    chart = count_chart(bars, height_px=300, left_px=NAMES_PX)
    show_chart(chart, label, key="bar_chart", on_pick=_pick)
    dashed = "Dashed: the same time a week before. " if before and before.buckets else ""
    st.html(theme.caption(f"{dashed}Press a bar for what is behind it. {choice.split.note}"))
    if figures.lacking:
        st.caption(f"Not seen for a time, since the model lacks them: {plain(', '.join(figures.lacking))}.")
    theme.figures_table("counts", span, figures.together, figures.series, names, viewer)


def _pick(begin: float) -> None:
    """A bar was pressed; pressed again it stays, and is let go of where its name stands."""
    st.session_state["counts_bar"] = begin


def _show_changes(viewer: Viewer, figures: Figures) -> None:
    """What the violet lines mean."""
    marks = _marks(viewer, figures)
    if shown := marks[-MAX_MARKS:]:
        lines = "".join(
            f'<li title="{theme.exactly(at, viewer)}">{viewer.clock(at, "%-d %b %H:%M")}: {safe(what)}</li>'
            for at, what in shown
        )
        more = f", the last {MAX_MARKS} of {len(marks)}" if len(marks) > MAX_MARKS else ""
        st.html(theme.heading("Changes", f"violet lines{more}") + f'<ul class="sl-caption">{lines}</ul>')


def _show_coverage(viewer: Viewer, choice: CountChoice, figures: Figures) -> None:
    """What each camera watched; of many, those that have gaps."""
    covers = {name: buckets for name, buckets in figures.covers.items() if name in figures.first}
    gaps = {
        name: buckets
        for name, buckets in covers.items()
        if any(bucket.cover in {Cover.NOT, Cover.PARTLY} for bucket in buckets)
    }
    whole = len(covers) - len(gaps)
    few = len(covers) <= MAX_COVER_ROWS
    shown = covers if few else gaps
    note = "" if few or not whole else f"{counted(whole, 'more camera')} watched all of it"
    st.html(theme.heading("Watched", note))
    if shown:
        chart = coverage_chart(shown, choice.span, viewer.zone)
        show_chart(chart, "What each camera watched; a table follows", key="counts_coverage")
    if place := theme.table_place("coverage"):
        body: list[theme.Row] = []
        for name, buckets in covers.items():
            gap = uncovered_share(buckets)
            share = DASH if gap is None else percent(1.0 - gap)
            body.append(("", [safe(name), share, duration(uncovered_s(buckets))]))
        place.html(theme.table({"Camera": "name", "Watched": "num", "Not watched": "num"}, body))


def _marks(viewer: Viewer, figures: Figures) -> list[tuple[float, str]]:
    """What has changed when, of all cameras together."""
    cameras: dict[tuple[float, str], list[str]] = {}
    for mark in figures.marks:
        versions = f" ({mark.before} → {mark.after})" if viewer.engineer else ""
        words = f"another model counts{versions}" if mark.what == "model" else "the settings were changed"
        cameras.setdefault((mark.time, words), []).append(mark.source)
    return [
        (time, f"{words}: {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}")
        for (time, words), names in cameras.items()
    ]


def _show_panels(viewer: Viewer, connection: Connection, choice: CountChoice, figures: Figures) -> None:
    """A small chart for each camera."""
    colours: dict[str, str] = {}
    if choice.split.kind is None:
        colours = theme.colours([name for name, _ in figures.totals])
        st.html(theme.legend(figures.totals, colours, figures.together))
    for name in choice.sources[:MAX_PANELS]:
        own = replace(choice, sources=(name,))
        rows = read_series(connection, own, choice.span)
        series, whole = series_of(rows), read_total(connection, own, choice.span, rows)
        names = sorted({row.name for row in rows})
        st.html(theme.heading(safe(name), number(whole)))
        own_colours = {row: colours[row] for row in names if row in colours} or theme.colours(names)
        bars = Bars(choice.span, viewer.zone, figures.covers[name], series, own_colours)
        chart = count_chart(bars, height_px=95, left_px=NAMES_PX)
        show_chart(chart, f"Counts of {name} over time; a table follows", key=f"counts_panel_{name}")
        theme.figures_table(f"counts_{name}", choice.span, figures.covers[name], series, names, viewer)
    hidden = len(choice.sources) - MAX_PANELS
    if hidden > 0:
        more = counted(hidden, "more camera is", "more cameras are")
        st.caption(f"{more} not drawn; choose up to {MAX_PANELS} under Cameras.")


def _show_heat_map(viewer: Viewer, connection: Connection, choice: CountChoice) -> None:
    """Hours of the week; of the range, or where that is short of the last four weeks."""
    start, end = choice.span.start, min(choice.span.end, now())
    if end - start < HEAT_S / 2:
        start, end = now() - HEAT_S, now()
    cells = read_heat_map(
        connection, choice.cameras, (start, end), choice.sources, viewer.zone, choice.classes
    )
    form = "%-d %b %Y"
    when = f"{viewer.clock(start, form)} to {viewer.clock(end, form)}, the hours that are over"
    st.html(theme.heading("Objects by the hour of the week", when))
    if not any(cell.watched_h for cell in cells):
        remedy = "An hour is shown here once it is over. Or choose a longer range."
        theme.state("Nothing was watched in this range.", remedy, icon="search_off")
        return
    label = "Objects an hour by weekday and hour; a table follows"
    show_chart(heat_chart(cells), label, key="counts_heat")
    note = "Distinct objects in an hour that one camera watched: the stronger the colour, the more."
    note += " Hatched: never watched."
    st.html(theme.caption(f"{note} Times in {safe(viewer.zone.key)}."))
    if place := theme.table_place("heat"):
        heads = {"Hour": "name", **dict.fromkeys(WEEKDAYS, "num")}
        by_hour = [[cell for cell in cells if cell.hour == hour] for hour in range(24)]
        body: list[theme.Row] = [
            ("", [f"{hour:02}:00", *map(_heat_cell, row)]) for hour, row in enumerate(by_hour)
        ]
        place.html(theme.table(heads, body))


def _heat_cell(cell: HeatCell) -> str | tuple[str, str]:
    if cell.per_hour is None:
        return "unknown"
    return f"{cell.per_hour:.1f}", f'title="{cell.count} in {cell.watched_h:.1f} watched hours"'


# -- the table --------------------------------------------------------------------------------------------


def _show_table(viewer: Viewer, connection: Connection, choice: CountChoice) -> None:
    rows = read_rows(connection, choice, now())
    if not rows:
        theme.state("Nothing is stored for this range.", "Choose a longer range.", icon="search_off")
        return
    frame = pd.DataFrame(rows[-theme.TABLE_ROWS :][::-1])
    for key in ("window_start", "window_end"):
        frame[key] = [viewer.clock(value.timestamp(), "%Y-%m-%d %H:%M:%S") for value in frame[key]]
    columns = {name: how for name, how in TABLE_COLUMNS.items() if name in columns_of(choice)}
    st.dataframe(
        frame[list(columns)],
        key="counts_table",
        hide_index=True,
        height=520,
        placeholder="unknown",
        column_config=columns,
    )
    note = f"The newest {theme.TABLE_ROWS} rows; the files have all. " if len(rows) > theme.TABLE_ROWS else ""
    note += f"Times in {safe(viewer.zone.key)}. {choice.split.note}"
    make = partial(make_file, viewer.database, choice)
    described = f"columns {', '.join(columns_of(choice))}"
    theme.downloads(viewer, "counts", note, make, choice.span.start, columns=described)


def make_file(database: Database, choice: CountChoice, form: str) -> bytes:
    """The chosen rows as a file."""
    with database.reading() as connection:
        return file_of(connection, choice, now(), form)
