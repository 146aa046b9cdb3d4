"""Events: what happened and what troubled the system, searched, with the clip of each."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

import streamlit as st
from sqlalchemy import Connection

from console import happenings, theme
from console.components.review_components import alert_queue
from console.grid import CUSTOM
from console.session import choose_range
from console.texts import CSV_ROWS, DEEDS_SEEN, PROGRAM, number, safe
from console.viewer import Viewer
from sightline.config.recording_options import RecordingOptions
from sightline.store.read import queries
from sightline.store.read.downloads import FORMS
from sightline.store.read.event_search import EventSearch, Key, read_event, read_event_names, read_event_page
from sightline.store.read.readonly import Database
from sightline.store.read.seen import Cameras

COLUMNS = (
    *("id", "source", "kind", "place", "item_class", "track_id", "event_time", "direction", "value"),
    *("x", "y", "unseen", "end_time", "media_s", "first_time", "ordinal", "confirmed_time", "created_at"),
)
PAGE_ROWS = 50
NOTHING = "Nothing like that happened in this range."
DIRECTIONS = {"forward": "forward, in", "backward": "backward, out", "above": "above", "below": "below"}


def render(viewer: Viewer) -> None:
    """The page."""
    theme.live(show, viewer)


def show(viewer: Viewer, connection: Connection) -> None:
    """Filters, a page of events, and the one that is looked at."""
    names = [status.source for status in queries.read_cameras(connection, viewer.cameras)]
    if viewer.cameras is None:
        names.append("")  # the program itself
    search = _choose(viewer, connection, names)
    if search is None:
        return
    pages: list[Key] = _pages(search)
    page = read_event_page(
        connection, viewer.cameras, search, limit=PAGE_ROWS, after=pages[-1] if pages else None
    )
    named = _named(viewer, connection)
    if not page.rows and named is None:
        theme.state(
            NOTHING,
            "Choose a longer range or fewer filters. Events come from lines and zones, which are drawn under "
            "Cameras; what troubles the system is told here, too.",
            icon="search_off",
        )
    else:
        _show_rows(viewer, connection, page.rows, named)
    _turn(pages, page.after)
    if page.rows:
        note = f"Times in {safe(viewer.zone.key)}. The files have all events that were found"
        note += f", the newest {number(CSV_ROWS)} at most."
        make = partial(make_file, viewer.database, viewer.cameras, search, viewer.recording)
        theme.downloads(viewer, "events", note, make, search.between[0], columns="columns as in the database")


def _choose(viewer: Viewer, connection: Connection, names: list[str]) -> EventSearch | None:
    row = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    between = choose_range(viewer, row, "events")
    text = row.text_input(
        "Search",
        key="events_text",
        placeholder="camera, kind, place or class",
        icon=":material/search:",
        width=260,
    )
    if between is None:
        return None
    known = read_event_names(connection, viewer.cameras, between, names)
    filters = st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="filters_events")

    def choose(label: str, key: str, options: list[str], words: Mapping[str, str]) -> tuple[str, ...]:
        # What is chosen stays, also where it has not happened in the range that is chosen now.
        kept = [*options, *(name for name in st.session_state.get(key, ()) if name not in options)]
        chosen: list[str] = filters.multiselect(
            label,
            kept,
            key=key,
            placeholder="all",
            width=200,
            format_func=lambda name: words.get(name, name),
        )
        return tuple(chosen)

    kinds = {kind: DEEDS_SEEN.get(kind, kind.replace("_", " ")) for kind in known.kinds}
    return EventSearch(
        between=between,
        sources=choose("Cameras", "events_cameras", names, {"": PROGRAM}) or tuple(names),
        kinds=choose("Kinds", "events_kinds", list(known.kinds), kinds),
        places=choose("Lines and zones", "events_places", list(known.places), {}),
        classes=choose("Classes", "events_classes", list(known.classes), {}),
        directions=choose("Directions", "events_directions", list(DIRECTIONS), DIRECTIONS),
        text=text,
    )


def _pages(search: EventSearch) -> list[Key]:
    """After which events the pages before this one ended; another search begins with the first."""
    period = st.session_state["events_range"]
    chosen = replace(search, between=search.between if period == CUSTOM else (0.0, 0.0)), period
    former = st.session_state.get("events_search")
    if former != chosen:
        if former is not None:
            st.query_params.pop("event", None)
        st.session_state["events_search"], st.session_state["events_pages"] = chosen, []
    pages: list[Key] = st.session_state["events_pages"]
    return pages


def _turn(pages: list[Key], after: Key | None) -> None:
    """To newer and older ones."""
    if not pages and after is None:
        return
    line = st.container(horizontal=True, vertical_alignment="center", gap="small")
    icon = ":material/chevron_{}:".format  # left or right
    line.button("Newer", icon=icon("left"), key="to_newer", disabled=not pages, on_click=_newer)
    line.button(
        "Older",
        icon=icon("right"),
        key="to_older",
        disabled=after is None,
        on_click=pages.append,
        args=(after,),
    )
    line.html(theme.caption(f"Page {len(pages) + 1}"))


def _newer() -> None:
    st.session_state["events_pages"].pop()


def _named(viewer: Viewer, connection: Connection) -> dict[str, Any] | None:
    """The event that the address names, which may be older than those that are searched for."""
    try:
        event_id = UUID(st.query_params.get("event", ""))
    except ValueError:
        return None
    return read_event(connection, viewer.cameras, event_id)


def _show_rows(
    viewer: Viewer, connection: Connection, rows: list[dict[str, Any]], named: dict[str, Any] | None
) -> None:
    shown = named or rows[0]
    *clips, clip = happenings.clips_of(
        viewer, connection, [happenings.moment_of(row) for row in [*rows, shown]]
    )
    left, right = st.columns([1, 1.6], gap="medium")
    with left:
        if not rows:
            st.html(theme.caption(NOTHING))
        picked = alert_queue(happenings.event_rows(viewer, rows, clips), str(shown["id"]), key="queue_events")
        if picked:
            st.query_params["event"] = picked
            st.rerun(scope="fragment")
    with right:
        happenings.show_event(viewer, shown, clip, key="clip_events")


def make_file(
    database: Database, cameras: Cameras, search: EventSearch, recording: RecordingOptions, form: str
) -> bytes:
    """All that were found as a file, newest first: the columns of the database, and links to recordings."""
    with database.reading() as connection:
        rows = read_event_page(connection, cameras, search, limit=CSV_ROWS).rows
    for row in rows if recording.url else ():
        end_time = row["end_time"] and row["end_time"].timestamp()
        row["recording"] = recording.link(row["source"], row["event_time"].timestamp(), end_time)
    return FORMS[form](rows, (*COLUMNS, "recording") if recording.url else COLUMNS)
