"""The tokens of programs and wall displays, as a part of the page People."""

from typing import Any
from urllib.parse import quote, urlencode

import streamlit as st

from console import theme
from console.people_fields import (
    ROLE_WORDS,
    camera_names,
    choose_cameras,
    choose_role,
    done,
    link_to,
    show_line,
    show_once,
)
from console.texts import ago, plain, seen_text
from console.viewer import Viewer, now
from sightline.entities import PERSON_ROLES, Role

TOKENS = "/api/v1/tokens"
PAGE_TOKENS = 20
DISPLAY, PROGRAM = "A wall display", "A program"
DISPLAY_TEXT = "Open this link on the display, or make it the page with which its browser starts."
PROGRAM_TEXT = "The program shows this token in each request: Authorization: Bearer …"


def render_tokens(viewer: Viewer) -> None:
    """Those that work, or all there ever were, and one more."""
    bar = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    if bar.button("Make a token", icon=":material/add:", type="primary", key="make_token"):
        _make(viewer)
    ended_too = bar.toggle("Also those that have ended", key="people_ended")
    tokens = [
        token for token in reversed(viewer.api.get(TOKENS)) if ended_too or state_of_token(token)[1] == "good"
    ]
    if not tokens:
        text = "Programs and wall displays show who they are by one."
        theme.state("There is no token that works.", text, icon="key_off")
    for token in theme.page_of(tokens, PAGE_TOKENS, key="people_tokens_page"):
        with st.container(horizontal=True, vertical_alignment="center", border=True):
            state = state_of_token(token)
            show_line(token["name"], state, _facts(viewer, token))
            if state[1] == "good":
                with st.popover("Revoke", key=f"end_{token['token_id']}", width="content"):
                    st.caption("Whatever shows it is let in no longer, at once and for good.")
                    if st.button(f"Revoke {plain(token['name'])}", key=f"revoke_{token['token_id']}"):
                        viewer.api.ask("DELETE", f"{TOKENS}/{quote(token['token_id'], safe='')}")
                        done(f"Token {token['name']} is revoked.")


def state_of_token(token: dict[str, Any]) -> tuple[str, str, str]:
    """Whether it works: a word, its tone, and a sentence."""
    if token["revoked_at"] is not None:
        return "revoked", "idle", ""
    if token["expires_at"] <= now():
        return "ended", "idle", ""
    return "works", "good", ROLE_WORDS[Role(token["role"])].capitalize() + "."


def _facts(viewer: Viewer, token: dict[str, Any]) -> list[str]:
    used = token["used_at"]
    return [
        token["role"],
        seen_text(token["cameras"]),
        f"until {viewer.clock(token['expires_at'], '%Y-%m-%d')}",
        "not used yet" if used is None else f"used {ago(now() - used)}",
        f"made by {token['created_by']} on {viewer.clock(token['created_at'], '%Y-%m-%d')}",
    ]


@st.dialog("Make a token", on_dismiss="rerun")
def _make(viewer: Viewer) -> None:
    theme.require_viewer(viewer)
    form, secret = st.empty(), ""
    with theme.trying(), form.container():
        what = st.segmented_control(
            "For", [DISPLAY, PROGRAM], default=DISPLAY, key="token_for", required=True
        )
        is_display = what == DISPLAY
        name = st.text_input("Name", key="token_name", max_chars=64, placeholder="what it is for")
        if is_display:
            role = Role.DISPLAY
            st.caption(f"It {ROLE_WORDS[role]}: no page, no counts, no events.")
        else:
            role = choose_role(PERSON_ROLES, Role.VIEWER, key="token_role")
        cameras = choose_cameras(camera_names(viewer), None, key="token_cameras")
        groups = _choose_groups(viewer) if is_display else []
        days = st.number_input("Days", 1, 3650, 3650 if is_display else 365, key=f"token_days_{what}")
        if st.button("Make it", type="primary", key="token_make", disabled=not name.strip()):
            body = {"name": name.strip(), "role": role, "cameras": cameras, "days": days}
            secret = viewer.api.post(TOKENS, body)["token"]
    if secret:
        form.empty()
        query = f"?{urlencode({'group': groups}, doseq=True)}" if groups else ""
        shown = link_to(f"/auth/wall{query}", secret) if is_display else secret
        show_once(DISPLAY_TEXT if is_display else PROGRAM_TEXT, shown)


def _choose_groups(viewer: Viewer) -> list[str]:
    """Of which groups a wall shows the cameras; none: of all."""
    names = sorted({name for camera in viewer.api.get("/api/v1/wall") for name in camera["groups"]})
    if not names:
        return []
    text = "The link shows these alone; what the display may see is said by the cameras above."
    return st.multiselect("Groups", names, key="token_groups", placeholder="all", help=text)
