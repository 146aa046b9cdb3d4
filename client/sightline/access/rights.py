"""What each role may do; :func:`allowed` is the one place that decides."""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from sightline.entities import Role


class Right(StrEnum):
    """One thing that may be done."""

    SEE_HEALTH = "see_health"
    SIGN_IN = "sign_in"
    CHANGE_PASSWORD = "change_password"  # noqa: S105  one's own; no password
    SEE_WALL = "see_wall"
    SEE_LIVE = "see_live"
    ASK_FOR_MEDIA = "ask_for_media"
    SEE_STATUS = "see_status"
    SEE_COUNTS = "see_counts"
    SEE_EVENTS = "see_events"
    SEE_ALERTS = "see_alerts"
    SEE_CLIPS = "see_clips"
    ACKNOWLEDGE = "acknowledge"
    MUTE = "mute"
    SEE_METRICS = "see_metrics"
    SEE_CONFIG = "see_config"
    WRITE_CONFIG = "write_config"
    SWITCH_MODEL = "switch_model"
    PROBE = "probe"
    TEST_ROUTE = "test_route"
    MANAGE_PEOPLE = "manage_people"
    SEE_AUDIT = "see_audit"


@dataclass(frozen=True, slots=True)
class RightRule:
    """Who has a right."""

    least: Role | None  # the least role that has it; None: everybody, signed in or not
    of_camera: bool  # asked for one camera; for the program as a whole it takes all cameras
    meaning: str


RIGHTS: Mapping[Right, RightRule] = {
    Right.SEE_HEALTH: RightRule(None, False, "whether the program is alive and ready, for probes"),
    Right.SIGN_IN: RightRule(None, False, "sign in and out, and read what the API is"),
    Right.CHANGE_PASSWORD: RightRule(Role.VIEWER, False, "change one's own password"),
    Right.ASK_FOR_MEDIA: RightRule(None, False, "have a token of ours checked, for the media server"),
    Right.SEE_WALL: RightRule(Role.DISPLAY, True, "pictures of several cameras, and which are online"),
    Right.SEE_LIVE: RightRule(Role.VIEWER, True, "live pictures, video and detections"),
    Right.SEE_STATUS: RightRule(Role.VIEWER, True, "state and figures of a camera"),
    Right.SEE_COUNTS: RightRule(Role.VIEWER, True, "counts and their coverage"),
    Right.SEE_EVENTS: RightRule(Role.VIEWER, True, "events"),
    Right.SEE_ALERTS: RightRule(Role.VIEWER, True, "alerts, and what was said of them"),
    Right.SEE_CLIPS: RightRule(Role.VIEWER, True, "clips and their thumbnails"),
    Right.ACKNOWLEDGE: RightRule(Role.OPERATOR, True, "acknowledge and close alerts"),
    Right.MUTE: RightRule(Role.OPERATOR, True, "mute alerts"),
    Right.SEE_METRICS: RightRule(Role.OPERATOR, False, "`/metrics`: figures of all cameras, no pictures"),
    Right.SEE_CONFIG: RightRule(Role.ENGINEER, True, "the configuration, without its secrets"),
    Right.WRITE_CONFIG: RightRule(Role.ENGINEER, True, "change the configuration"),
    Right.SWITCH_MODEL: RightRule(Role.ENGINEER, True, "let a detector serve another version"),
    Right.PROBE: RightRule(Role.ENGINEER, False, "try a camera's URL"),
    Right.TEST_ROUTE: RightRule(Role.ENGINEER, False, "send a test by a route of alerts"),
    Right.MANAGE_PEOPLE: RightRule(Role.ADMIN, False, "accounts and tokens"),
    Right.SEE_AUDIT: RightRule(Role.ADMIN, False, "who did what"),
}


class How(StrEnum):
    """What showed who somebody is."""

    PASSWORD = "password"  # noqa: S105  no password
    OIDC = "oidc"
    LINK = "link"
    TOKEN = "token"  # noqa: S105  no token
    COMMAND_LINE = "command line"
    BROKER = "broker"  # a message of it
    NOTHING = "nothing"  # accounts are switched off


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is signed in, or a program with a token."""

    name: str
    role: Role
    cameras: frozenset[str] | None  # that are seen at all; None: all of them
    how: How
    must_change: bool = False  # the password, before anything else


def own_user() -> Person:
    """The user of this process, whatever its environment says: an admin."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user often has no name
        name = f"uid {os.getuid()}"
    return Person(name, Role.ADMIN, None, How.COMMAND_LINE)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for something, and from where."""

    person: Person | None  # None: nobody who is signed in
    address: str = ""  # of the network; "" for this machine's command line

    @property
    def name(self) -> str:
        """Of the person; "" of nobody."""
        return self.person.name if self.person else ""


def allowed(person: Person | None, right: Right, camera: str | None = None) -> bool:
    """Whether somebody, or nobody (None), may do something.

    Args:
        person: who asks.
        right: what for.
        camera: of which camera; None: of the program, or of all cameras at once. It does not matter for a
            right that is no camera's.
    """
    rule = RIGHTS[right]
    if rule.least is None:
        return True
    if person is None or person.role.rank < rule.least.rank:
        return False
    if person.must_change and right is not Right.CHANGE_PASSWORD:
        return False
    return not rule.of_camera or person.cameras is None or camera in person.cameras


def allowed_for_some(person: Person | None, right: Right) -> bool:
    """Whether somebody may do something at least of some camera, if there is one that they see."""
    return allowed(person and replace(person, cameras=None), right)
