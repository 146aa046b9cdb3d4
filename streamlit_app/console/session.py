"""The database, the time zone, the refresh interval and the range: what every page needs."""

import argparse
import os
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from datetime import time as clock_time
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import streamlit as st

from console import grid
from sightline.config import load_config
from sightline.config.recording_options import RecordingOptions
from sightline.store.read.readonly import Database

URL_VARIABLE = "SIGHTLINE_DATABASE_URL"
REFRESH_S = {"3 s": 3.0, "10 s": 10.0, "1 min": 60.0, "off": None}


@dataclass(frozen=True, slots=True)
class Viewer:
    """The database, time zone and refresh interval of one browser session."""

    database: Database
    zone: ZoneInfo
    refresh_s: float | None
    recording: RecordingOptions = field(default_factory=RecordingOptions)  # links from events to recordings

    def clock(self, time_: float, form: str = "%H:%M:%S") -> str:
        """A moment in the viewer's zone."""
        return datetime.fromtimestamp(time_, self.zone).strftime(form)


def now() -> float:
    """The wall clock, UTC epoch seconds."""
    return time.time()


def console_options() -> tuple[str, RecordingOptions]:
    """The database's URL, and how events are linked to recordings.

    From the environment (the database alone), else from ``-- --config FILE``, else from ``config.yml`` here,
    else the defaults.

    Raises:
        ConfigError: the configuration cannot be read.
    """
    if url := os.environ.get(URL_VARIABLE):
        return url, RecordingOptions()
    parser = argparse.ArgumentParser(prog="streamlit run streamlit_app/app.py --", exit_on_error=False)
    parser.add_argument("--config", "-c", type=Path)
    named: Path | None = parser.parse_known_args(sys.argv[1:])[0].config
    path = named or Path("config.yml")
    if named is None and not path.is_file():
        return "sqlite:///sightline.db", RecordingOptions()
    options = load_config(path).options
    return options.database.url.get_secret_value(), options.recording


@st.cache_resource(max_entries=4, show_spinner=False, on_release=lambda database: database.close())
def open_database(url: str) -> Database:
    """One engine for all viewers."""
    return Database(url)


@st.cache_data(show_spinner=False)
def _all_zones() -> list[str]:
    return sorted(available_timezones() - {"localtime"})


def choose_viewer(database: Database, recording: RecordingOptions) -> Viewer:
    """The small menu with the time zone and the refresh interval."""
    own = st.context.timezone or "UTC"
    try:
        ZoneInfo(own)
    except (ZoneInfoNotFoundError, ValueError):
        own = "UTC"
    zones = list(dict.fromkeys(["UTC", own, *_all_zones()]))
    with st.popover("View", icon=":material/tune:", width="content"):
        index, text = zones.index(own), "Times are stored in UTC."
        zone = st.selectbox("Time zone", zones, index=index, key="zone", help=text)
        refresh = st.segmented_control("Refresh", [*REFRESH_S], default="3 s", key="refresh", required=True)
        st.caption(database.label)
    return Viewer(database, ZoneInfo(zone), REFRESH_S[refresh], recording)


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
