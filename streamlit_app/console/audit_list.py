"""Who did what, as a part of the page People: searched, page by page, and as a file."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import streamlit as st

from console import theme
from console.people_fields import midnight
from console.texts import number, safe
from console.viewer import Viewer
from sightline.access.audit import Action
from sightline.store.read.downloads import as_csv

AUDIT = "/api/v1/audit"
PAGE_ENTRIES = 50
ASKED_AT_ONCE = 1000
MAX_FILE_ROWS = 50_000
COLUMNS = ("time", "who", "how", "address", "action", "target", "outcome", "detail")
HEADS = {"Time": "", "Who": "name", "What": "", "Of what": "", "Detail": "wide", "From": ""}


def render_audit(viewer: Viewer) -> None:
    """What was looked for, the newest first."""
    query = _choose(viewer)
    chosen, pages = st.session_state.get("audit_pages", (None, [None]))
    if chosen != query:  # something else is looked for: begin with the newest
        pages = [None]
    before = {} if pages[-1] is None else {"before": pages[-1]}
    entries = viewer.api.get(AUDIT, limit=PAGE_ENTRIES + 1, **query, **before)
    shown = entries[:PAGE_ENTRIES]
    if not shown:
        theme.state("Nothing was done that is like that.", "Look for something else.", icon="search_off")
    else:
        st.html(theme.table(HEADS, [_row(viewer, entry) for entry in shown]))
    line = st.container(horizontal=True, vertical_alignment="center", gap="small")
    if line.button("Newer", key="newer_entries", icon=":material/chevron_left:", disabled=len(pages) == 1):
        _turn(query, pages[:-1])
    if line.button(
        "Older", key="older_entries", icon=":material/chevron_right:", disabled=len(entries) <= PAGE_ENTRIES
    ):
        _turn(query, [*pages, shown[-1]["entry_id"]])
    line.download_button(
        "CSV",
        data=partial(_file, viewer, query),
        file_name="sightline-audit.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
        key="download_audit",
        help=f"All that is like that, at most {number(MAX_FILE_ROWS)} rows; UTC.",
    )


def _turn(query: Mapping[str, Any], pages: list[int | None]) -> None:
    st.session_state["audit_pages"] = (query, pages)
    st.rerun()


def _choose(viewer: Viewer) -> dict[str, Any]:
    """The API's query."""
    bar = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    who = bar.text_input("Who", key="people_who", placeholder="a name", width=170).strip()
    action = bar.selectbox(
        "What",
        ["", *Action],
        key="people_action",
        format_func=lambda name: words(name) or "anything",
        width=190,
    )
    text = "A camera, an account, an alert: what stands in the target or the detail."
    about = bar.text_input("Camera or text", key="people_about", width=190, help=text).strip()
    first = bar.date_input("From", None, key="people_from", width=150)
    last = bar.date_input("To", None, key="people_to", width=150)
    query: dict[str, Any] = {"who": who, "action": action, "about": about}
    query |= {"start": midnight(viewer, first)} if first else {}
    query |= {"end": midnight(viewer, last + timedelta(days=1))} if last else {}
    return {name: value for name, value in query.items() if value}


def words(action: str) -> str:
    """What was done, as it is read."""
    return action.replace("_", " ")


def _row(viewer: Viewer, entry: Mapping[str, Any]) -> theme.Row:
    mark = ' <b class="bad">refused</b>' if entry["outcome"] != "done" else ""
    cells = [
        theme.moment(entry["time"], viewer, "%Y-%m-%d %H:%M:%S"),
        safe(entry["who"]) or '<span class="idle">nobody known</span>',
        safe(words(entry["action"])) + mark,
        safe(entry["target"]),
        safe(entry["detail"]),
        f"<small>{safe(' '.join(filter(None, (entry['address'], entry['how']))))}</small>",
    ]
    return "", cells


def _file(viewer: Viewer, query: Mapping[str, Any]) -> bytes:
    rows = ({**entry, "time": datetime.fromtimestamp(entry["time"], UTC)} for entry in _all(viewer, query))
    return as_csv(list(rows), COLUMNS)


def _all(viewer: Viewer, query: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    before: dict[str, int] = {}
    for _ in range(MAX_FILE_ROWS // ASKED_AT_ONCE):
        entries = viewer.api.get(AUDIT, limit=ASKED_AT_ONCE, **query, **before)
        yield from entries
        if len(entries) < ASKED_AT_ONCE:
            return
        before = {"before": entries[-1]["entry_id"]}
