"""The database, the time zone and the refresh interval: what every page needs."""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import streamlit as st

from sightline.config import load_config
from sightline.errors import ConfigError
from sightline.store.read.readonly import Database

URL_VARIABLE = "SIGHTLINE_DATABASE_URL"
REFRESH_S = {"3 s": 3.0, "10 s": 10.0, "1 min": 60.0, "off": None}


@dataclass(frozen=True, slots=True)
class Viewer:
    """The database, time zone and refresh interval of one browser session."""

    database: Database
    zone: ZoneInfo
    refresh_s: float | None

    def clock(self, time_: float, form: str = "%H:%M:%S") -> str:
        """A moment in the viewer's zone."""
        return datetime.fromtimestamp(time_, self.zone).strftime(form)


def now() -> float:
    """The wall clock, UTC epoch seconds."""
    return time.time()


def database_url() -> str:
    """From the environment, else from ``-- --config FILE``, else from ``config.yml`` here, else the default.

    Raises:
        ConfigError: the configuration cannot be read.
    """
    if url := os.environ.get(URL_VARIABLE):
        return url
    parser = argparse.ArgumentParser(prog="streamlit run streamlit_app/app.py --", exit_on_error=False)
    parser.add_argument("--config", "-c", type=Path)
    named: Path | None = parser.parse_known_args(sys.argv[1:])[0].config
    path = named or Path("config.yml")
    if named is None and not path.is_file():
        return "sqlite:///sightline.db"
    return load_config(path).options.database.url.get_secret_value()


@st.cache_resource(max_entries=4, show_spinner=False, on_release=lambda database: database.close())
def open_database(url: str) -> Database:
    """One engine for all viewers."""
    return Database(url)


def find_database() -> Database | ConfigError:
    """The database to show, or what is wrong with the configuration that should name it."""
    try:
        return open_database(database_url())
    except ConfigError as error:
        return error


def choose_viewer(database: Database) -> Viewer:
    """The small menu with the time zone and the refresh interval."""
    zones, default = _zones()
    with st.popover("View", icon=":material/tune:", width="content"):
        zone = st.selectbox(
            "Time zone", zones, index=zones.index(default), key="zone", help="Times are stored in UTC."
        )
        refresh = st.segmented_control(
            "Refresh", list(REFRESH_S), default="3 s", key="refresh", required=True
        )
        st.caption(database.label)
    return Viewer(database, ZoneInfo(zone), REFRESH_S[refresh])


@st.cache_data(show_spinner=False)
def _all_zones() -> list[str]:
    return sorted(available_timezones() - {"UTC", "localtime"})


def _zones() -> tuple[list[str], str]:
    """The time zones to choose from, and the browser's own."""
    name = st.context.timezone or "UTC"
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        name = "UTC"
    first = list(dict.fromkeys(["UTC", name]))
    return first + [zone for zone in _all_zones() if zone not in first], name
