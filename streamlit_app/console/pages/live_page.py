"""Live: what the cameras see now, all of them or one, and how each does."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import streamlit as st
from sqlalchemy import Connection

from console import theme
from console.api import ApiRefused, SupervisorAway
from console.components.live_components import Tile, live_picture, live_tiles
from console.pages.overview_page import CameraRowView, read_totals, running_cameras
from console.texts import NO_CAMERA_IS_YOURS, age, counted, happened, number, safe
from console.viewer import Viewer, now
from sightline.access.rights import Right
from sightline.store.read import queries
from sightline.store.rollups import DAY_S

#: As many as one stream shows well; a grid of the HTTP port has at most 36.
PAGE_TILES = 16
SIZES_PX = {"Small": 220, "Medium": 340, "Large": 560}
FILTERS = ("search", "group")  # as they stand in the page's address
EVENTS = 12
MUTES_S = {"15 min": 900, "1 h": 3600, "8 h": 8 * 3600}


def render(viewer: Viewer) -> None:
    """The page: one camera if the address names it, else all."""
    name = st.query_params.get("camera", "")
    if name:
        _render_one(viewer, name)
    else:
        with theme.trying():
            _render_all(viewer)


# -- all of them --------------------------------------------------------------------------------------------


def _render_all(viewer: Viewer) -> None:
    is_wall = "wall" in st.query_params
    grouped = groups_of(viewer.api.get("/api/v1/wall"))
    row = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    for name in FILTERS:  # what the address says, until something else is chosen here
        st.session_state.setdefault(f"live_{name}", st.query_params.get(name, ""))
    wanted = row.text_input("Search", key="live_search", placeholder="a camera's name", width=230)
    group = _choose_group(row, grouped)
    for name, value in zip(FILTERS, (wanted, group), strict=True):
        if value != st.query_params.get(name, ""):
            st.query_params.from_dict({**st.query_params, name: value} if value else _without(name))
    only = row.segmented_control("Show", ["All", "In trouble"], default="All", key="live_only", required=True)
    size = row.segmented_control("Size", [*SIZES_PX], default="Medium", key="live_size", required=True)
    overlay = row.toggle("Boxes and zones", value=True, key="live_overlay")
    if row.button(
        "Wall", icon=":material/fullscreen:", key="open_wall", help="Pictures alone, over the window."
    ):
        _go(wall="1")

    def show(viewer: Viewer) -> None:
        cameras = running_cameras(viewer.api)  # by name, since operators know where to look
        names = grouped.get(group)
        rows = [row for row in cameras if is_wanted(row, wanted, names, trouble_only=only != "All")]
        if not cameras:
            theme.no_camera(viewer)
            return
        if not rows:
            remedy = "Search for another name, choose another group, or show all."
            theme.state("No camera is like that.", remedy, icon="search_off")
            if is_wall and st.button("Leave the wall", key="leave_wall"):
                _go()
            return
        shown = theme.page_of(rows, PAGE_TILES, key="live_page")
        st.html(f'<p class="sl-caption">{summary(rows)}</p>')
        chosen = live_tiles(
            [tile_of(row, now()) for row in shown],
            overlay=overlay,
            least_px=SIZES_PX[size],
            wall=is_wall,
            key="tiles",
        )
        if chosen is not None:
            _go(**({"camera": chosen} if chosen else {}))

    theme.fresh(show, viewer)


def _choose_group(row: st.delta_generator.DeltaGenerator, grouped: Mapping[str, Collection[str]]) -> str:
    """The group that is to be shown; "": every camera."""
    if not grouped:
        return ""
    if st.session_state["live_group"] not in grouped:
        st.session_state["live_group"] = ""
    return row.selectbox(
        "Group", ["", *grouped], key="live_group", format_func=lambda name: name or "all cameras", width=200
    )


def _without(name: str) -> dict[str, str]:
    return {key: value for key, value in st.query_params.items() if key != name}


def _go(**query: str) -> None:
    """To all cameras, one of them, or the wall; what was searched for stays in the address."""
    kept = {name: value for name in FILTERS if (value := st.query_params.get(name, ""))}
    st.query_params.from_dict({**query, **kept})
    st.rerun()


def groups_of(cameras: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """The groups of the configuration, by name, and the cameras in each."""
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for camera in cameras:
        for name in camera["groups"]:
            groups[name].add(camera["name"])
    return dict(sorted(groups.items()))


def is_wanted(row: CameraRowView, text: str, names: Collection[str] | None, *, trouble_only: bool) -> bool:
    """Whether a camera is one of those that somebody looks for; ``names``: of the group, if one is chosen."""
    name = row.status.source
    in_group = names is None or name in names
    return in_group and text.casefold() in name.casefold() and not (trouble_only and row.tone == "good")


def summary(rows: Sequence[CameraRowView]) -> str:
    """How many cameras there are, and how they do; HTML."""
    tones = Counter(row.tone for row in rows)
    words = [counted(len(rows), "camera")]
    if tones["bad"]:
        words.append(f'<b class="bad">{tones["bad"]} in trouble</b>')
    if tones["warn"]:
        words.append(
            f'<b class="warn">{tones["warn"]} with {"a warning" if tones["warn"] == 1 else "warnings"}</b>'
        )
    return " · ".join([*words, *(["all well"] if tones["good"] == len(rows) else [])])


def tile_of(row: CameraRowView, at: float) -> Tile:
    """What a camera's tile says."""
    inside = row.status.occupancy
    note = " · ".join(f"{count} in {place}" for place, count in inside.items()) if row.is_live else ""
    if not row.is_live and row.status.last_frame_time:
        note = f"last picture {age(at - row.status.last_frame_time)} ago"
    return Tile(row.status.source, row.word, row.tone, row.message, note)


# -- one of them --------------------------------------------------------------------------------------------


def _render_one(viewer: Viewer, name: str) -> None:
    if not viewer.may(Right.SEE_LIVE, name):
        theme.state(NO_CAMERA_IS_YOURS, "Choose one of those that you see.", icon="lock")
        return
    bar = st.container(horizontal=True, vertical_alignment="center", gap="small")
    if bar.button("All cameras", icon=":material/grid_view:", key="to_all", shortcut="Escape"):
        _go()
    for label, icon, step, key in (
        ("Previous", "chevron_left", -1, "Left"),
        ("Next", "chevron_right", 1, "Right"),
    ):
        if bar.button(label, icon=f":material/{icon}:", key=f"to_{label}", shortcut=key):
            _go(camera=_neighbour(viewer, name, step))
    overlay = bar.toggle("Boxes and zones", value=True, key="live_overlay")
    picture, side = st.columns([2.2, 1], gap="medium")
    with picture:
        live_picture(name, overlay=overlay, zone=viewer.zone.key, key=f"picture_{name}")
        _show_controls(viewer, name)
    with side:

        def show_state(viewer: Viewer) -> None:
            found = [row for row in running_cameras(viewer.api) if row.status.source == name]
            if not found:
                theme.state(
                    "There is no such camera now.", "It may have been taken out of the configuration."
                )
                return
            st.html(state_of(found[0], viewer, now()))

        theme.fresh(show_state, viewer)

        def show_last(viewer: Viewer, connection: Connection) -> None:
            st.html(_today(viewer, name) + _last_events(viewer, connection, name))

        theme.live(show_last, viewer)


def _neighbour(viewer: Viewer, name: str, step: int) -> str:
    """The next camera of those that were looked for."""
    with theme.trying():
        text, group = (st.query_params.get(key, "") for key in FILTERS)
        chosen = groups_of(viewer.api.get("/api/v1/wall")).get(group)
        names = [
            row.status.source
            for row in running_cameras(viewer.api)
            if is_wanted(row, text, chosen, trouble_only=False)
        ]
        if name in names:
            return names[(names.index(name) + step) % len(names)]
    return name


def state_of(row: CameraRowView, viewer: Viewer, at: float) -> str:
    """A camera's name, state and who is in its zones; HTML."""
    status = row.status
    head = f'<h2 class="sl-camera">{safe(status.source)}</h2>'
    facts: dict[str, str] = {}
    if status.last_frame_time:
        facts["Last frame"] = f"{age(at - status.last_frame_time)} ago"
    facts |= {f"In {place}": number(count) for place, count in status.occupancy.items() if row.is_live}
    if viewer.engineer and row.is_live:
        facts["Frames a second"] = f"{status.fps:.1f}"
        facts["Latency p50 / p99"] = f"{status.latency_p50_ms or 0:.0f} / {status.latency_p99_ms or 0:.0f} ms"
        facts["Model"], facts["Transport"] = status.model_version, status.transport
    return head + theme.state_word(row.word, row.tone, row.message) + theme.facts(facts)


def _today(viewer: Viewer, name: str) -> str:
    totals = read_totals(viewer.database, viewer.zone.key, 60, (name,), viewer.cameras).by_class
    facts = {item_class: number(count) for item_class, count in totals.items()} or {"Counted": "0"}
    return theme.heading("Today", "distinct objects") + theme.facts(facts)


def _last_events(viewer: Viewer, connection: Connection, name: str) -> str:
    at = now()
    rows = queries.read_events(connection, viewer.cameras, (at - DAY_S, at + 60), [name], limit=EVENTS)
    body = [("", _event_cells(viewer, row)) for row in rows]
    head = theme.heading("Last events", "of 24 hours")
    if not body:
        return head + theme.caption("Nothing has happened.")
    return head + theme.table({"Time": "", "What": "wide"}, body)


def _event_cells(viewer: Viewer, row: Mapping[str, Any]) -> list[str]:
    what = safe(happened(row["kind"], row["place"], row["item_class"], row["direction"]))
    link = f'<a class="sl-link" href="/events?event={row["id"]}" target="_self">{what}</a>'
    return [theme.moment(row["event_time"].timestamp(), viewer), link]


def _has_video(viewer: Viewer, name: str) -> bool:
    """Whether the camera's own video can be seen."""
    try:
        return bool(viewer.api.get(f"/api/v1/cameras/{quote(name, safe='')}/video")["whep"])
    except (ApiRefused, SupervisorAway):  # what is wrong is said beside the picture
        return False


def _show_controls(viewer: Viewer, name: str) -> None:
    bar = st.container(horizontal=True, vertical_alignment="center", gap="small")
    url = f"/live/{quote(name, safe='')}.jpg?size=large"
    bar.link_button(
        "Still picture", url, icon=":material/photo_camera:", help="In a tab of its own, to be saved."
    )
    if _has_video(viewer, name):
        video = f"/live/{quote(name, safe='')}"
        bar.link_button("Video", video, icon=":material/videocam:", help="As it comes from the camera.")
    if viewer.may(Right.SEE_CONFIG, name):
        setting = f"/cameras?camera={quote(name, safe='')}"
        bar.link_button("Set up", setting, icon=":material/settings_video_camera:", help="Lines and zones.")
    if not viewer.may(Right.MUTE, name):
        return
    with bar.popover("Mute alerts", icon=":material/notifications_off:", width="content"):
        st.caption("Nobody is told of this camera's alerts for so long; they are still kept.")
        for label, seconds in MUTES_S.items():
            if st.button(label, key=f"mute_{label}", width="stretch"):
                with theme.trying():
                    viewer.api.post("/api/v1/mutes", {"camera": name, "until": now() + seconds})
                    st.toast(f"Alerts of {name} are muted for {label}.", icon=":material/notifications_off:")
        if st.button("Not any more", key="mute_end", width="stretch"):
            with theme.trying():
                viewer.api.post("/api/v1/mutes", {"camera": name, "until": 0})
                st.toast(f"Alerts of {name} are told again.", icon=":material/notifications:")
