"""People: who may sign in, which programs and wall displays may ask, and who did what."""

from typing import Any
from urllib.parse import quote

import streamlit as st

from console import theme
from console.audit_list import render_audit
from console.people_fields import (
    camera_names,
    choose_cameras,
    choose_end,
    choose_role,
    done,
    link_to,
    show_line,
    show_once,
)
from console.texts import ago, plain, seen_text
from console.token_list import render_tokens
from console.viewer import Viewer, now
from sightline.access.rights import How
from sightline.entities import PERSON_ROLES, Role

PEOPLE = "/api/v1/people"
PAGE_PEOPLE = 20
BY_LINK, BY_PASSWORD = "By a link that I pass on", "By a password that I tell"
LINK_TEXT = "Pass this link on to {}. It works once, within three days; a password is chosen there."


def render(viewer: Viewer) -> None:
    """The page."""
    if viewer.person.how is How.NOTHING:
        remedy = "Switch them on: access.enabled in config.yml."
        theme.state("Accounts are switched off, so nobody has one.", remedy, icon="group_off")
        return
    if told := st.session_state.pop("told_people", ""):
        st.toast(plain(told), icon=":material/check:")
    parts = {"Accounts": _render_accounts, "Tokens and displays": render_tokens, "Audit": render_audit}
    part = st.segmented_control(
        "Part", [*parts], default="Accounts", key="people_part", required=True, label_visibility="collapsed"
    )
    with theme.trying():
        parts[part](viewer)


def _render_accounts(viewer: Viewer) -> None:
    bar = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    wanted = bar.text_input("Search", key="people_search", placeholder="a name", width=230)
    if bar.button("Add a person", icon=":material/person_add:", type="primary", key="add_person"):
        _add(viewer)
    people = [item for item in viewer.api.get(PEOPLE) if wanted.casefold() in item["name"].casefold()]
    if not people:
        theme.state("Nobody is called like that.", "Search for another name.", icon="search_off")
    for person in theme.page_of(people, PAGE_PEOPLE, key="people_page"):
        with st.container(horizontal=True, vertical_alignment="center", border=True):
            show_line(person["name"], state_of(viewer, person, now()), _facts(person))
            text = f"Role, cameras and password of {plain(person['name'])}."
            if st.button("Change", key=f"change_{person['name']}", help=text):
                _change(viewer, person)


def state_of(viewer: Viewer, person: dict[str, Any], at: float) -> tuple[str, str, str]:
    """How an account does: a word, its tone, and a sentence."""
    if not person["enabled"]:
        return "closed", "idle", "Nobody can sign in here."
    if (ends := person["expires_at"]) is not None and ends <= at:
        return "ended", "idle", f"Since {viewer.clock(ends, '%Y-%m-%d')}."
    if (locked := person["locked_until"]) is not None and locked > at:
        return "locked", "warn", f"Too many wrong passwords; until {viewer.clock(locked, '%H:%M')}."
    if not person["has_password"] and not person["of_provider"]:
        if person["seen_at"] is not None:  # only the demo's link signs somebody in without one
            return "open", "good", "There is no password: the demo's link signs in."
        return "invited", "warn", "There is no password yet: it is chosen by a link."
    message = "The password is changed at the next sign-in." if person["must_change"] else ""
    return "open", "good", message if ends is None else f"Until {viewer.clock(ends, '%Y-%m-%d')}. {message}"


def _facts(person: dict[str, Any]) -> list[str]:
    seen = person["seen_at"]
    last = "not seen yet" if seen is None else f"seen {ago(now() - seen)}"
    of_provider = ["from the identity provider"] if person["of_provider"] else []
    return [person["role"], seen_text(person["cameras"]), last, *of_provider]


def _path(name: str, more: str = "") -> str:
    return f"{PEOPLE}/{quote(name, safe='')}{more}"


# -- one more -----------------------------------------------------------------------------------------------


@st.dialog("Add a person", on_dismiss="rerun")
def _add(viewer: Viewer) -> None:
    theme.require_viewer(viewer)
    form, invited = st.empty(), ""
    with theme.trying(), form.container():
        name = st.text_input("Name", key="new_person", max_chars=64, help="To sign in by, in any capitals.")
        role = choose_role(PERSON_ROLES, Role.VIEWER, key="new_person_role")
        cameras = choose_cameras(camera_names(viewer), None, key="new_person_cameras")
        ends = choose_end(viewer, None, key="new_person_ends")
        way = st.radio("First sign-in", [BY_LINK, BY_PASSWORD], key="new_person_way")
        password = None
        if way == BY_PASSWORD:
            text = "It is changed at the first sign-in."
            password = st.text_input(
                "Password, 12 characters or more", type="password", key="new_person_password", help=text
            )
        if st.button("Add", type="primary", key="new_person_add", disabled=not name.strip()):
            body = {"name": name.strip(), "role": role, "cameras": cameras, "expires_at": ends}
            made = viewer.api.post(PEOPLE, body | {"password": password})
            if password is not None:
                done(f"{made['name']} is added.")
            invited = made["name"]
    if invited:
        form.empty()
        with theme.trying():
            _show_invitation(viewer, invited)


def _show_invitation(viewer: Viewer, name: str) -> None:
    made = viewer.api.post(_path(name, "/invitation"))
    show_once(LINK_TEXT.format(plain(name)), link_to("/auth/invitation?next=/", made["link"]))


# -- one of them --------------------------------------------------------------------------------------------


@st.dialog("Account", on_dismiss="rerun")
def _change(viewer: Viewer, person: dict[str, Any]) -> None:
    theme.require_viewer(viewer)
    name, fixed = person["name"], person["of_provider"]
    show_line(name, state_of(viewer, person, now()), _facts(person))
    if fixed:
        st.caption("Role and cameras follow the identity provider's groups.")
    with theme.trying():
        role = choose_role(PERSON_ROLES, Role(person["role"]), key=f"role_{name}", disabled=fixed)
        seen = choose_cameras(camera_names(viewer), person["cameras"], key=f"of_{name}", disabled=fixed)
        ends = choose_end(viewer, person["expires_at"], key=f"ends_{name}", disabled=not person["enabled"])
        changed: dict[str, Any] = {"role": role} if role != person["role"] else {}
        changed |= {"cameras": seen} if seen != person["cameras"] else {}
        changed |= {"enabled": True, "expires_at": ends} if ends != person["expires_at"] else {}
        st.caption(f"Every change signs {plain(name)} out.")
        if st.button("Save", type="primary", key=f"save_{name}", disabled=not changed):
            viewer.api.ask("PUT", _path(name), changed)
            done(f"{name} is changed.")
        _offer_more(viewer, person)


def _offer_more(viewer: Viewer, person: dict[str, Any]) -> None:
    """Another password, the end of sign-ins, closing and opening."""
    name, row = person["name"], st.container(horizontal=True, gap="small")
    icon = ":material/lock_open:" if not person["enabled"] else ":material/block:"
    if row.button("Close the account" if person["enabled"] else "Open", key=f"switch_{name}", icon=icon):
        viewer.api.ask("PUT", _path(name), {"enabled": not person["enabled"], "expires_at": None})
        done(f"{name} is {'closed' if person['enabled'] else 'open'}.")
    if not person["enabled"]:
        return
    is_locked = state_of(viewer, person, now())[0] == "locked"
    if is_locked and row.button("Unlock", key=f"unlock_{name}", icon=":material/lock_open:"):
        viewer.api.ask("PUT", _path(name), {"enabled": True, "expires_at": person["expires_at"]})
        done(f"{name} is unlocked.")
    if row.button("Sign out everywhere", key=f"sign_out_{name}", icon=":material/logout:"):
        viewer.api.ask("DELETE", _path(name, "/sign-ins"))
        done(f"{name} is signed out everywhere.")
    text = "A link by which another password is chosen; until then the present one stays."
    if not person["of_provider"] and row.button(
        "Link for a new password", key=f"invite_{name}", icon=":material/link:", help=text
    ):
        _show_invitation(viewer, name)
