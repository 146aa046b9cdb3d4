"""What the parts of the page People share: which cameras somebody sees, and secrets that are shown once."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from datetime import time as clock_time
from urllib.parse import urlsplit

import streamlit as st

from console import theme
from console.texts import safe
from console.viewer import Viewer
from sightline.entities import Role

#: What each role may do, in an operator's words; each may do what those before it may.
ROLE_WORDS = {
    Role.DISPLAY: "shows pictures on a wall, and nothing else",
    Role.VIEWER: "sees pictures, counts, events and alerts",
    Role.OPERATOR: "deals with alerts and mutes them, too",
    Role.ENGINEER: "sets cameras and alerts up, too",
    Role.ADMIN: "manages people, too",
}


def camera_names(viewer: Viewer) -> list[str]:
    """Those that run, as far as the viewer sees them."""
    return [camera["name"] for camera in viewer.api.get("/api/v1/wall")]


def choose_role(roles: Sequence[Role], before: Role, *, key: str, disabled: bool = False) -> Role:
    """A role, with what it may do."""
    return st.selectbox(
        "Role",
        roles,
        index=roles.index(before),
        key=key,
        format_func=lambda role: f"{role}: {ROLE_WORDS[role]}",
        disabled=disabled,
    )


def choose_cameras(
    names: Iterable[str], before: Sequence[str] | None, *, key: str, disabled: bool = False
) -> list[str] | None:
    """The cameras that somebody is to see; None: all."""
    text = "All cameras, also those to come"
    if st.toggle(text, value=before is None, key=f"{key}_all", disabled=disabled):
        return None
    chosen = st.multiselect(
        "Cameras",
        sorted({*names, *(before or ())}),
        default=before or [],
        key=f"{key}_some",
        placeholder="none: no camera at all",
        disabled=disabled,
    )
    return sorted(chosen)


def midnight(viewer: Viewer, day: date) -> float:
    """When a day begins in the viewer's zone, epoch seconds."""
    return datetime.combine(day, clock_time(0, 0), viewer.zone).timestamp()


def choose_end(viewer: Viewer, before: float | None, *, key: str, disabled: bool = False) -> float | None:
    """From when on an account is closed: the beginning of a day in the viewer's zone; None: never."""
    day = datetime.fromtimestamp(before, viewer.zone).date() if before else None
    text = "It is closed from the beginning of that day on. Empty: it stays open."
    chosen: date | None = st.date_input("Ends on", day, key=key, help=text, disabled=disabled, width=200)
    if chosen is None:
        return None
    return before if chosen == day else midnight(viewer, chosen)


def link_to(path: str, secret: str) -> str:
    """A link of this console, whose secret stands in the fragment: no server's log has it."""
    parts = urlsplit(st.context.url or "")
    return f"{parts.scheme}://{parts.netloc}{path}#{secret}"


def show_once(text: str, secret: str) -> None:
    """Something that nobody can be shown again."""
    st.success(text, icon=":material/key:")
    st.code(secret, language=None, wrap_lines=True)
    st.caption("It is shown only now. Copy it before you close this.")


def show_line(name: str, state: tuple[str, str, str], facts: Iterable[str]) -> None:
    """A line of a list: a name, how it does (word, tone and sentence), and facts."""
    word, tone, message = state
    note = safe(" · ".join(facts))
    st.html(
        f"<div><b>{safe(name)}</b>&ensp;{theme.state_word(word, tone)} <small>{safe(message)}</small>"
        f"{theme.caption(note)}</div>",
        width="stretch",
    )


def done(text: str) -> None:
    """Close a dialog, and say what was done on the page below."""
    st.session_state["told_people"] = text
    st.rerun()
