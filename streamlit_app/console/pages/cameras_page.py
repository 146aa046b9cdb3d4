"""Cameras: adding and removing them, lines and zones on their own pictures, streams, and what was changed."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import streamlit as st

from console import theme
from console.components.place_editor import Beneath, place_editor
from console.config_review import (
    READ_ONLY,
    Edits,
    Part,
    Proposal,
    opened,
    read_part,
    review,
    save_button,
    was_saved,
)
from console.pages.overview_page import CameraRowView, running_cameras
from console.place_edits import place_edits, places_in, places_of
from console.stream_choice import offer_streams, show_tried
from console.texts import NO_CAMERA_IS_YOURS, plain, safe
from console.viewer import Viewer
from console.what_if_preview import offer_what_if, shown_ways
from sightline.access.rights import Right
from sightline.config.yaml_edit import GONE
from sightline.config.yaml_text import parse_yaml

OPENED = "camera_opened"
PAGE_CAMERAS = 20
PROBE_TIMEOUT_S = 25.0
MOVED = (
    "This camera shows something else than when its lines and zones were drawn: they no longer lie where "
    "they were, and its counts are not relied on until that is mended."
)
CHANGES = 30
NO_URL = "Write the camera's URL first, such as rtsp://USER:PASSWORD@HOST/PATH."


@dataclass(frozen=True, slots=True)
class CameraEntry:
    """A camera as the list shows it."""

    name: str
    written: Any  # what the file says of it, masked
    row: CameraRowView | None  # None: it does not run


def render(viewer: Viewer) -> None:
    """The page: one camera if the address names it, a form to add one, or all."""
    if was_saved():
        st.session_state.pop(OPENED, None)  # this viewer's own change is no one else's
    name = st.query_params.get("camera", "")
    with theme.trying():
        if name:
            _render_one(viewer, name)
        elif "add" in st.query_params and viewer.may(Right.WRITE_CONFIG):
            _render_add(viewer)
        else:
            st.session_state.pop(OPENED, None)
            _render_all(viewer)


def _go(**query: str) -> None:
    st.query_params.from_dict(query)
    st.rerun()


def _path(name: str) -> str:
    return f"/api/v1/cameras/{quote(name, safe='')}/config"


# -- all of them --------------------------------------------------------------------------------------------


def _render_all(viewer: Viewer) -> None:
    entries, read_only = _entries(viewer)
    bar = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    wanted = bar.text_input("Search", key="cameras_search", placeholder="a camera's name", width=230)
    sees_all = viewer.may(Right.WRITE_CONFIG)
    if sees_all and bar.button(
        "Add a camera", icon=":material/add:", type="primary", key="add_camera", disabled=read_only
    ):
        _go(add="1")
    if read_only:
        st.warning(READ_ONLY, icon=":material/lock:")
    shown = [entry for entry in entries if wanted.casefold() in entry.name.casefold()]
    if not shown:
        remedy = "Search for another name." if wanted else "Add the first one by its URL."
        theme.state(
            "No camera is like that." if wanted else "There is no camera yet.", remedy, icon="videocam"
        )
    for entry in theme.page_of(shown, PAGE_CAMERAS, key="cameras_page"):
        with st.container(horizontal=True, vertical_alignment="center", border=True):
            st.html(_line_of(entry), width="stretch")
            if st.button(
                "Set up", key=f"open_{entry.name}", help=f"Lines, zones and stream of {entry.name}."
            ):
                _go(camera=entry.name)
    if sees_all:
        _render_changes(viewer, read_only=read_only)


def _entries(viewer: Viewer) -> tuple[list[CameraEntry], bool]:
    """The cameras of the file that this viewer sees, by name; and whether the file cannot be changed."""
    if viewer.may(Right.SEE_CONFIG):
        whole = viewer.api.get("/api/v1/config")
        cameras = parse_yaml(whole["text"], "the configuration").values.get("cameras")
        written: dict[str, Any] = cameras if isinstance(cameras, dict) else {}
        read_only: bool = whole["read_only"]
    else:
        parts = {name: Part(**viewer.api.get(_path(name))) for name in viewer.cameras or ()}
        written = {name: part.written for name, part in parts.items()}
        read_only = any(part.read_only for part in parts.values())
    rows = _rows(viewer)
    return [CameraEntry(name, written[name], rows.get(name)) for name in sorted(written)], read_only


def _rows(viewer: Viewer) -> dict[str, CameraRowView]:
    """The cameras that run, by name, and how they do."""
    return {row.status.source: row for row in running_cameras(viewer.api)}


def _state_of(entry: CameraEntry) -> tuple[str, str, str]:
    """A word, its tone, and a sentence."""
    options = entry.written if isinstance(entry.written, dict) else {}
    if options.get("enabled") is False:
        return "switched off", "idle", "It is kept in the configuration, and not watched."
    if entry.row is None:
        return "not running", "warn", "It is in the file; it is not running yet, or has a mistake."
    return entry.row.word, entry.row.tone, entry.row.message


def _line_of(entry: CameraEntry) -> str:
    """HTML."""
    word, tone, message = _state_of(entry)
    options = entry.written if isinstance(entry.written, dict) else {}
    rules: Any = options.get("rules")
    counts = [
        f"{number} {what if number > 1 else what[:-1]}"
        for what in ("lines", "zones")
        if isinstance(rules, dict) and (number := len(rules.get(what) or ()))
    ]
    note = " · ".join([safe(options.get("url", "")), *counts])
    return (
        f"<div><b>{safe(entry.name)}</b>&ensp;{theme.state_word(word, tone)} "
        f"<small>{safe(message)}</small>{theme.caption(note)}</div>"
    )


def _render_changes(viewer: Viewer, *, read_only: bool) -> None:
    history = theme.when_opened("What was changed", key="changes", icon="history")
    if history is None:  # dozens of differences, which a browser takes long over
        return
    with history:
        changes = viewer.api.get("/api/v1/changes", limit=CHANGES)
        if not changes:
            st.caption("Nothing was changed yet.")
        for change in changes:
            number = change["change_id"]
            when = viewer.clock(change["time"], "%Y-%m-%d %H:%M")
            with st.container(border=True):
                head = st.container(horizontal=True, vertical_alignment="center")
                told = "; ".join(change["changes"]) or "nothing in what runs"
                head.html(
                    f"<div><b>{safe(when)}</b> {safe(change['who'])}: {safe(told)}</div>", width="stretch"
                )
                if head.button("Undo", key=f"undo_{number}", icon=":material/undo:", disabled=read_only):
                    title = f"Undo the change of {when}"
                    review(viewer, Proposal(title, "POST", f"/api/v1/changes/{number}/undo"))
                st.code(change["difference"], language="diff")


# -- a new one ----------------------------------------------------------------------------------------------


def _render_add(viewer: Viewer) -> None:
    if st.button("All cameras", icon=":material/arrow_back:", key="to_cameras"):
        _go()
    st.html(theme.heading("Add a camera"))
    name = st.text_input("Name", key="new_name", placeholder="gate", max_chars=63, width=360).strip()
    url = st.text_input("URL", key="new_url", placeholder="rtsp://USER:PASSWORD@HOST/PATH").strip()
    text = "The camera's smaller stream, which is watched instead where there is one; Test looks for it."
    sub_url = st.text_input("Smaller stream (optional)", key="new_sub_url", help=text).strip()
    bar = st.container(horizontal=True, gap="small")
    test = bar.button("Test", icon=":material/network_check:", key="new_test")
    if test and (sub_url or not url):
        _probe(viewer, {"URL": url, **({"Smaller stream": sub_url} if sub_url else {})})
    elif not sub_url:
        offer_streams(viewer, url, look=test, main_key="new_url", sub_key="new_sub_url")
    if bar.button("Add", icon=":material/add:", type="primary", key="new_add"):
        if not (name and url):
            st.warning("A camera needs a name and a URL.", icon=":material/edit:")
            return
        if read_part(viewer.api, _path(name)).written is not None:
            st.warning("There is a camera of that name.", icon=":material/edit:")
            return
        edits: Edits = {("url",): url, **({("sub_url",): sub_url} if sub_url else {})}
        review(viewer, Proposal(f"Add camera {name}", "PUT", _path(name), edits, then={"camera": name}))


def _probe(viewer: Viewer, urls: Mapping[str, str]) -> None:
    """Look at each of some streams, and show what comes."""
    for label, url in urls.items():
        if not url:
            st.warning(NO_URL, icon=":material/edit:")
            continue
        with theme.trying(), st.spinner(f"{label}: looking at the stream …"):
            show_tried(label, viewer.api.post("/api/v1/probe", {"url": url}, timeout_s=PROBE_TIMEOUT_S))


# -- one of them --------------------------------------------------------------------------------------------


def _render_one(viewer: Viewer, name: str) -> None:
    bar = st.container(horizontal=True, vertical_alignment="center", gap="small")
    if bar.button("All cameras", icon=":material/arrow_back:", key="to_cameras"):
        _go()
    if not viewer.may(Right.SEE_CONFIG, name):
        theme.state(NO_CAMERA_IS_YOURS, "Choose one of those that you see.", icon="lock")
        return
    now_ = Part(**viewer.api.get(_path(name)))
    part = opened(OPENED, name, now_)
    fixed = now_.read_only or not viewer.may(Right.WRITE_CONFIG, name)
    with bar.container(width="stretch"):
        theme.fresh(lambda viewer: _show_state(viewer, name, now_.written), viewer)
    _switches(viewer, bar, name, part, fixed=fixed)
    if now_.read_only:
        st.warning(READ_ONLY, icon=":material/lock:")
    for problem in now_.problems:
        st.error(plain(problem), icon=":material/error:")
    places, stream = st.tabs(["Lines and zones", "Stream"])
    with places:
        proposed = _show_view(viewer, name, part, fixed=fixed)
        beneath = Beneath(proposed, shown_ways(name))
        drawn = place_editor(
            name, places_of(part), beneath, version=part.version, fixed=fixed, key=f"editor_{name}"
        )
        edits = place_edits(part, drawn) if drawn is not None else {}
        if not edits and now_.written != part.written:
            st.session_state[OPENED] = (name, now_)  # nothing of this viewer's would be lost
            st.rerun()
        if not fixed:
            bar = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
            with bar:
                _offer(viewer, name, part, edits, "Lines and zones", key="save_places")
            offer_what_if(viewer, bar, name, part, edits, key="places")
            if viewer.may(Right.WRITE_CONFIG):
                href = f"/alerts?{urlencode({'add': 'rule', 'camera': name})}"
                st.html(f'<a class="sl-link" href="{safe(href)}">Add an alert rule for this camera</a>')
    with stream:
        _render_stream(viewer, name, part, fixed=fixed)


def _show_state(viewer: Viewer, name: str, written: Any) -> None:
    word, tone, message = _state_of(CameraEntry(name, written, _rows(viewer).get(name)))
    st.html(f'<h2 class="sl-camera">{safe(name)}</h2>{theme.state_word(word, tone, message)}')


def _show_view(viewer: Viewer, name: str, part: Part, *, fixed: bool) -> list[dict[str, Any]]:
    """Say that the camera was moved; where its lines and zones would have to be, if that is known."""
    views = viewer.api.get("/api/v1/views")
    view = next((view for view in views if view["source"] == name and not view["fits"]), None)
    if view is None:
        return []
    proposal = view["proposal"] or {}
    proposed = places_in(proposal.get("rules"))
    say = [MOVED]
    if proposed:
        say.append("Where they would have to be is drawn dashed: look at it, take it, mend it, then save.")
    if gone := proposal.get("gone"):
        say.append(f"Out of sight now: {', '.join(gone)}.")
    st.warning(plain(" ".join(say)), icon=":material/screen_rotation:")
    if not fixed:
        text = "What the camera shows now is learnt anew; lines and zones stay where they are."
        if st.button("It is right as it is", key="accept_view", icon=":material/task_alt:", help=text):
            edits: Edits = {("view", "accepted"): time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())}
            title = f"The view of {name} is right"
            review(viewer, Proposal(title, "PUT", _path(name), edits, part.written, {"camera": name}))
    return proposed


def _switches(
    viewer: Viewer, bar: st.delta_generator.DeltaGenerator, name: str, part: Part, *, fixed: bool
) -> None:
    """Switch it off or on, and take it out of the configuration."""
    if not viewer.may(Right.WRITE_CONFIG, name):
        return
    on = bool((part.options or {}).get("enabled", True))
    icon = ":material/pause:" if on else ":material/play_arrow:"
    if bar.button("Switch off" if on else "Switch on", icon=icon, key="switch", disabled=fixed):
        edits: Edits = {("enabled",): False if on else GONE}
        title = f"Switch camera {name} {'off' if on else 'on'}"
        review(viewer, Proposal(title, "PUT", _path(name), edits, part.written, {"camera": name}))
    text = "Takes it out of the configuration; its counts, events and clips stay."
    if bar.button("Remove", icon=":material/delete:", key="remove", disabled=fixed, help=text):
        review(viewer, Proposal(f"Remove camera {name}", "DELETE", _path(name), base=part.written))


def _offer(viewer: Viewer, name: str, part: Part, edits: Edits, what: str, *, key: str) -> None:
    if save_button(key, ready=bool(edits)):
        review(
            viewer,
            Proposal(f"{what} of {name}", "PUT", _path(name), edits, part.written, {"camera": name}),
        )


def _render_stream(viewer: Viewer, name: str, part: Part, *, fixed: bool) -> None:
    options = part.options or {}
    written = part.written or {}
    keep = "Empty: it stays as it is. Passwords are never shown."
    url = st.text_input(
        "URL",
        key=f"url_{name}_{part.version}",
        placeholder=str(written.get("url", "")),
        help=keep,
        disabled=fixed,
    ).strip()
    sub_url = st.text_input(
        "Smaller stream",
        key=f"sub_url_{name}_{part.version}",
        placeholder=str(written.get("sub_url") or "none"),
        help=keep,
        disabled=fixed,
    ).strip()
    before = (options.get("stream") or {}).get("fps")
    fps = st.number_input(
        "Frames a second to look at",
        min_value=0.1,
        max_value=120.0,
        value=before,
        placeholder="all",
        key=f"fps_{name}_{part.version}",
        help="Empty: every frame that comes.",
        disabled=fixed,
        width=260,
    )
    classes = ", ".join((options.get("count") or {}).get("classes") or ())
    counted = st.text_input(
        "Classes that are counted",
        classes,
        key=f"classes_{name}_{part.version}",
        placeholder="all that the model has",
        help="With commas between them; empty: all.",
        disabled=fixed,
    )
    groups = ", ".join(options.get("groups") or ())
    shown_with = st.text_input(
        "Groups",
        groups,
        key=f"groups_{name}_{part.version}",
        placeholder="none",
        help="With which others it is shown on Live and on walls; with commas between them.",
        disabled=fixed,
    )
    if fixed:
        return
    edits: dict[tuple[str, ...], Any] = {}
    edits |= {("url",): url} if url else {}
    edits |= {("sub_url",): sub_url} if sub_url else {}
    edits |= {("stream", "fps"): fps} if fps != before else {}
    names = _names(counted)
    edits |= {("count", "classes"): names or None} if ", ".join(names) != classes else {}
    names = _names(shown_with)
    edits |= {("groups",): names or GONE} if ", ".join(names) != groups else {}
    line = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    urls = {label: new for label, new in (("URL", url), ("Smaller stream", sub_url)) if new}
    text = "Looks at the new URLs; how the present ones do is said above."
    test = line.button(
        "Test", icon=":material/network_check:", key="test_stream", help=text, disabled=not urls
    )
    with line:
        _offer(viewer, name, part, edits, "Stream", key="save_stream")
    if test:
        _probe(viewer, urls)
    if ("count", "classes") in edits:
        offer_what_if(viewer, line, name, part, edits, key="stream")


def _names(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
