"""Who looks at a page, what they may see and do, and how they want to see it."""

import time
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

import streamlit as st

from console.api import Api
from console.console_options import SupervisorPort
from sightline.access.rights import Person, Right, allowed, allowed_for_some
from sightline.config.recording_options import RecordingOptions
from sightline.entities import Role
from sightline.store.read.readonly import Database
from sightline.store.read.seen import Cameras


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whoever looks at one browser's page; given anew in every run of a page."""

    person: Person
    api: Api  # asked as this person
    database: Database
    zone: ZoneInfo
    refresh_s: float | None
    engineer: bool = False  # engineers' words and figures are shown
    sound: bool = False  # something new is heard
    recording: RecordingOptions = field(default_factory=RecordingOptions)  # links from events to recordings

    @property
    def role(self) -> Role:
        """What they may do, in one word."""
        return self.person.role

    @property
    def cameras(self) -> Cameras:
        """The cameras that they see, for every query; None: all, and the program itself."""
        return self.person.cameras

    def may(self, right: Right, camera: str | None = None) -> bool:
        """Whether they may do something; ``camera`` None: of the program, or of all cameras at once."""
        return allowed(self.person, right, camera)

    def may_some(self, right: Right) -> bool:
        """Whether they may do something of at least some camera."""
        return allowed_for_some(self.person, right)

    def is_still_here(self) -> bool:
        """Whether they are still signed in, as the same person with the same rights."""
        return self.api.person() == self.person

    def clock(self, time_: float, form: str = "%H:%M:%S") -> str:
        """A moment in the viewer's zone."""
        return datetime.fromtimestamp(time_, self.zone).strftime(form)


def now() -> float:
    """The wall clock, UTC epoch seconds."""
    return time.time()


def api_of_browser(supervisor: SupervisorPort) -> Api:
    """The API as the browser of this session asks it."""
    return Api.of(supervisor, st.context.cookies, st.context.ip_address or "127.0.0.1")
