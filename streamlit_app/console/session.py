"""The database, the time zone, the refresh interval and the range: what every page needs."""

from datetime import datetime, timedelta
from datetime import time as clock_time
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import streamlit as st

from console import grid
from console.api import Api, SupervisorAway
from console.console_options import ConsoleOptions
from console.texts import plain, seen_text
from console.viewer import Viewer, now
from sightline.access.rights import How, Person
from sightline.entities import Role
from sightline.store.read.readonly import Database

REFRESH_S = {"3 s": 3.0, "10 s": 10.0, "1 min": 60.0, "off": None}


@st.cache_resource(max_entries=4, show_spinner=False, on_release=lambda database: database.close())
def open_database(url: str) -> Database:
    """One engine for all viewers."""
    return Database(url)


@cache
def _all_zones() -> tuple[str, ...]:
    """Hundreds of files are looked at for them."""
    return tuple(sorted(available_timezones() - {"localtime"}))


def choose_viewer(person: Person, api: Api, options: ConsoleOptions) -> Viewer:
    """Two small menus: the time zone and the like, and who is signed in."""
    database = open_database(options.database_url)
    own = st.context.timezone or "UTC"
    try:
        ZoneInfo(own)
    except (ZoneInfoNotFoundError, ValueError):
        own = "UTC"
    zones = list(dict.fromkeys(["UTC", own, *_all_zones()]))
    menus = st.container(horizontal=True, gap="small", width="content")
    with menus.popover("View", icon=":material/tune:", width="content"):
        index, text = zones.index(own), "Times are stored in UTC."
        zone = st.selectbox("Time zone", zones, index=index, key="zone", help=text)
        refresh = st.segmented_control("Refresh", [*REFRESH_S], default="3 s", key="refresh", required=True)
        text = "Latencies, stages, transport and model."
        engineer = st.toggle("Technical details", sees_details(person), key="engineer", help=text)
        sound = st.toggle("Sound when an alert is new", value=False, key="sound")
        st.caption(plain(database.label))
    with menus.popover(plain(person.name), icon=":material/person:", width="content"):
        _show_person(person, api)
    return Viewer(
        person=person,
        api=api,
        database=database,
        zone=ZoneInfo(zone),
        refresh_s=REFRESH_S[refresh],
        engineer=engineer,
        sound=sound,
        recording=options.recording,
    )


def sees_details(person: Person) -> bool:
    """Whether somebody has chosen the engineer's view; those who are engineers have, until they say no."""
    return bool(st.session_state.get("engineer", person.role.rank >= Role.ENGINEER.rank))


def _show_person(person: Person, api: Api) -> None:
    """Who is signed in, and how to end that."""
    if person.how is How.NOTHING:
        st.caption("Accounts are switched off: whoever sits at this machine may do everything.")
        return
    st.text(f"{person.name}, {person.role}")
    st.caption(f"Sees {plain(seen_text(person.cameras))}.")
    if person.how is How.PASSWORD:
        st.link_button("Change the password", "/auth/sign-in", icon=":material/key:", width="stretch")
    if st.button("Sign out", key="sign_out", icon=":material/logout:", width="stretch"):
        try:
            api.sign_out()
        except SupervisorAway as error:
            st.error(plain(error))
        else:
            st.rerun()


def choose_range(
    viewer: Viewer, row: st.delta_generator.DeltaGenerator, page: str
) -> tuple[float, float] | None:
    """Start and end, epoch seconds; None, with a warning, if they cannot be shown."""
    names = [*grid.RANGES_S, grid.CUSTOM]
    name = row.segmented_control("Range", names, default="1 h", key=f"{page}_range", required=True)
    if name != grid.CUSTOM:
        return now() - grid.RANGES_S[name], now()
    today = datetime.fromtimestamp(now(), viewer.zone).date()
    line = st.container(horizontal=True, gap="small")
    first = line.date_input("From", today - timedelta(days=1), key=f"{page}_from_day", width=150)
    first_time = line.time_input("at", clock_time(0, 0), key=f"{page}_from_time", width=110)
    last = line.date_input("To", today, key=f"{page}_to_day", width=150)
    last_time = line.time_input("at", clock_time(23, 59), key=f"{page}_to_time", width=110)
    chosen = grid.custom_range(first, first_time, last, last_time, viewer.zone)
    if isinstance(chosen, str):
        st.warning(chosen, icon=":material/date_range:")
        return None
    return chosen
