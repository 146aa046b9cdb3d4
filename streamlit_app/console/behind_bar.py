"""What is behind a bar of the page Counts: its events and tracks, each with the clip that shows it."""

from itertools import pairwise

import streamlit as st
from sqlalchemy import Connection

from console import happenings, theme
from console.components.review_components import QueueRow, alert_queue
from console.count_figures import CountChoice, Figures
from console.grid import Cover, total
from console.texts import number
from console.viewer import Viewer
from sightline.access.rights import Right
from sightline.store.read.event_search import EventSearch, read_event_page
from sightline.store.read.kept_ways import read_track_paths
from sightline.store.rollups import DAY_S

MAX_BEHIND = 50
BEHIND = ("Events", "Tracks")


def show_behind(viewer: Viewer, connection: Connection, choice: CountChoice, figures: Figures) -> None:
    """Events and tracks of one bucket, with their clips."""
    ends = dict(pairwise(choice.span.edges))
    starts = [bucket.start for bucket in figures.together if bucket.cover not in {Cover.FUTURE, Cover.BEFORE}]
    if st.session_state.get("counts_bar") not in starts:
        st.session_state["counts_bar"] = None
    form = "%a %-d %b %H:%M" if choice.span.step_s < DAY_S else "%a %-d %b"

    def label(start: float) -> str:
        count = number(total(figures.series.get(start, {}).values()))
        return f"{viewer.clock(start, form)} to {viewer.clock(ends[start], form)}: {count}"

    st.html(theme.heading("Behind a bar", "the events, tracks and clips that were counted in it"))
    row = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    start = row.selectbox(
        "Bar", starts[::-1], key="counts_bar", index=None, format_func=label, width=380, placeholder="none"
    )
    if start is None:
        st.html(theme.caption("Press a bar of the chart, or choose one here."))
        return
    what = row.segmented_control("What", BEHIND, default=BEHIND[0], key="counts_behind", required=True)
    between = start, ends[start]
    if what == "Tracks":
        _show_tracks(viewer, connection, choice, between)
    elif viewer.may_some(Right.SEE_EVENTS):
        _show_events(viewer, connection, choice, between)


def _show_events(
    viewer: Viewer, connection: Connection, choice: CountChoice, between: tuple[float, float]
) -> None:
    kinds = (choice.split.kind.value,) if choice.split.kind else ()
    search = EventSearch(between, choice.sources, kinds=kinds, classes=choice.classes)
    page = read_event_page(connection, choice.cameras, search, limit=MAX_BEHIND)
    clips = happenings.clips_of(viewer, connection, [happenings.moment_of(row) for row in page.rows])
    rows = happenings.event_rows(viewer, page.rows, clips)
    nothing = "No event of these cameras and classes was in it; see Tracks."
    if (chosen := _choose_one(rows, nothing, page.after is not None)) is not None:
        at, side = chosen
        with side:
            happenings.show_event(viewer, page.rows[at], clips[at], key="clip_counts")


def _show_tracks(
    viewer: Viewer, connection: Connection, choice: CountChoice, between: tuple[float, float]
) -> None:
    paths = read_track_paths(
        connection, choice.cameras, between, choice.sources, MAX_BEHIND + 1, classes=choice.classes
    )
    more, paths = len(paths) > MAX_BEHIND, paths[:MAX_BEHIND]
    clips = happenings.clips_of(viewer, connection, [(path.source, path.start_time) for path in paths])
    rows = happenings.track_rows(viewer, paths, clips)
    if (
        chosen := _choose_one(rows, "No track of these cameras and classes is kept of it.", more)
    ) is not None:
        at, side = chosen
        with side:
            happenings.show_track(viewer, paths[at], clips[at], key="clip_counts")


def _choose_one(
    rows: list[QueueRow], nothing: str, more: bool
) -> tuple[int, st.delta_generator.DeltaGenerator] | None:
    """Rows to choose from: the number of the chosen one, and where it is shown; None: there is none."""
    if not rows:
        st.html(theme.caption(nothing))
        return None
    ids = [row.id for row in rows]
    chosen = st.session_state.get("counts_item")
    left, right = st.columns([1, 1.6], gap="medium")
    with left:
        if picked := alert_queue(rows, chosen if chosen in ids else ids[0], key="queue_counts"):
            st.session_state["counts_item"] = picked
            st.rerun(scope="fragment")
        if more:
            st.html(theme.caption(f"The newest {MAX_BEHIND}; the page Events has all events."))
    return ids.index(chosen) if chosen in ids else 0, right
