"""Numbers and times formatted for people. Others' text goes through ``safe`` or ``plain``."""

import re
from collections.abc import Iterable
from html import escape

from sightline.base.redact import harmless, redact
from sightline.entities import AlertState, CameraStatus

DASH = "\u2013"
CSV_ROWS = 200_000
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

AWAY = "Sightline does not answer."
AWAY_REMEDY = "Start it with “sightline run”; this page comes back by itself."
DATABASE_AWAY = "The database does not answer."
DATABASE_AWAY_REMEDY = "Sightline counts on and keeps its results meanwhile; this page comes back by itself."
NO_NEWS = "Whether there are new alerts cannot be told now."
#: Of so many cameras, for whoever does not look for the cause.
CANNOT_COUNT = "Nothing is counted by {}: what recognises objects does not answer; it is asked again."
HELD_BACK = "Fast objects may be missed by {}: there is more to do than can be done. Tell an engineer."
CLOSED = "Accounts are switched off, so only browsers on Sightline's own machine are let in."
CLOSED_REMEDY = "Switch them on: access.enabled in config.yml."
NO_SUCH_PAGE = "The console has no page of this name."
NO_SUCH_PAGE_WAY = ("Go to Live", "/")
OPENING = "Sightline is opening …"
OPENING_SLOWLY = "Sightline is opening slowly. If nothing comes, reload the page."
NOT_OPENED = "Sightline has not been loaded whole; it is tried again …"
CONSOLE_AWAY = "The console does not answer."
CONSOLE_AWAY_REMEDY = "It is being restarted, or the way to it is cut. This page comes back by itself."
CROWDED = "Too much is open from your address."
CROWDED_REMEDY = "Close other pages of Sightline; this one comes back by itself."
UNUSABLE = "The console's configuration cannot be used; its log says why."
PICTURE_WORDS = {"waiting": "waiting for a picture …", "refused": "no picture now", "live": ""}
CLIP_WORDS = {
    "broken": "This browser cannot play the clip; download it, or let Sightline make copies (h264_copy).",
    "gone": "The clip is no longer there: clips are deleted after some time.",
    "away": "The clip cannot be loaded now.",
}
#: What somebody has done at a place, by the event's kind; what is not here is told by its name.
DEEDS_SEEN = {
    "crossing": "crossed",
    "enter": "entered",
    "leave": "left",
    "loiter": "stays in",
    "occupancy": "crowd in",
}
#: A trouble of the system's own, by the event's kind.
TROUBLE_WORDS = {
    "camera_offline": "Did not answer",
    "triton_away": "The detector did not answer",
    "database_away": "The database took nothing; results waited",
    "spool_filling": "The room for results that wait ran short",
    "overload": "More to do than could be done",
    "clock_step": "The camera's clock was set",
    "delivery_failed": "Messages could not be delivered",
    "upload_failed": "Clips could not be copied",
    "clips_failed": "Clips could not be written",
    "output_failed": "Its video could not be sent to the media server",
    "view_covered": "Covered, or saw nothing",
    "view_frozen": "Sent the same picture all of the time",
    "view_defocused": "Out of focus",
    "view_moved": "Turned away",
}
#: What results go to besides the database, by the sink's name; a route of alerts has its own.
SINK_WORDS = {"alerts": "Alerts", "kafka": "Kafka", "mqtt": "MQTT", "uploads": "Copies of clips"}
ROUTE_PREFIX = "route:"
#: Sinks that take nothing on: they keep the folder of clips in order. What each does, and that it could not.
CHORE_WORDS = {
    "clip_retention": ("Deleting old clips", "Old clips could not be deleted"),
    "clip_sweep": ("Tidying the folder of clips", "The folder of clips could not be tidied"),
}
ALERT_WORDS = {
    AlertState.WAITING: "waiting",
    AlertState.NEW: "new",
    AlertState.ACKNOWLEDGED: "acknowledged",
    AlertState.RESOLVED: "resolved",
    AlertState.FALSE_ALARM: "false alarm",
    AlertState.PASSED: "passed",
    AlertState.JOINED: "joined another",
}
OVER_UNSEEN = "over, unseen"
PROGRAM = "Sightline"  # where no camera is meant
NO_CAMERA = "There is no camera yet."
NO_CAMERA_REMEDY = "Add the first one by its URL; it is seen here within seconds."
NO_CAMERA_ASK = "Ask an engineer to add the first one."
NONE_OF_YOURS = "None of your cameras is running."
NONE_OF_YOURS_REMEDY = "Ask an admin which cameras you are to see."
NO_CAMERA_IS_YOURS = "This camera is not one of yours."
NOT_YOURS = "This page is not for your role."
NOT_YOURS_REMEDY = "Choose another one, or ask an admin."


def happened(kind: str, place: str, item_class: str, direction: str | None = None) -> str:
    """An event in a few words: Person entered yard."""
    if place in CHORE_WORDS and kind not in DEEDS_SEEN:
        return CHORE_WORDS[place][1]
    words = DEEDS_SEEN.get(kind, kind.replace("_", " "))
    said = " ".join(filter(None, (item_class, words, place, direction)))
    return said[:1].upper() + said[1:]


def sink_words(name: str) -> str:
    """What a sink is to people."""
    if name.startswith(ROUTE_PREFIX):
        return f"Alerts by {name.removeprefix(ROUTE_PREFIX)}"
    return CHORE_WORDS[name][0] if name in CHORE_WORDS else SINK_WORDS.get(name, name)


def trouble_words(kind: str, place: str) -> str:
    """A trouble of the system's own in a few words; ``place`` is of the event."""
    if place in CHORE_WORDS:
        return CHORE_WORDS[place][1]
    return TROUBLE_WORDS.get(kind, kind.replace("_", " "))


def safe(text: object) -> str:
    """``text`` without credentials and what steers how it is shown, for use inside HTML."""
    return escape(redact(harmless(text)), quote=True)


def plain(text: object) -> str:
    """As :func:`safe`, for labels and messages, which take Markdown."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", redact(harmless(text)))


def number(value: float | None) -> str:
    """A whole number with thin groups: 12 345."""
    if value is None:
        return "unknown"
    return f"{value:,.0f}".replace(",", "\u202f")


def counted(count: int, one: str, many: str = "") -> str:
    """How many of something there are: 1 camera, 2 cameras; ``many`` where it does not end in s alone."""
    return f"{number(count)} {one if count == 1 else many or f'{one}s'}"


def age(seconds: float | None) -> str:
    """How long ago: 0.4 s, 42 s, 3 min, 2 h, 5 d."""
    if seconds is None:
        return "never"
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    return duration(seconds)


def seen_text(cameras: Iterable[str] | None) -> str:
    """Which cameras somebody sees."""
    return "all cameras" if cameras is None else ", ".join(sorted(cameras)) or "no camera"


def ago(seconds: float) -> str:
    """When something was, for what need not be known to the second."""
    return f"{duration(seconds)} ago" if seconds >= 60 else "just now"


def duration(seconds: float) -> str:
    """A length of time in its two largest units."""
    seconds = max(0, round(seconds))
    for unit, size, small, small_size in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60)):
        if seconds >= size:
            rest = seconds % size // small_size
            return f"{seconds // size} {unit} {rest} {small}" if rest else f"{seconds // size} {unit}"
    return f"{seconds // 60} min" if seconds >= 60 else f"{seconds} s"


def percent(share: float) -> str:
    """0..1 as a percentage that says 100 % only when it is."""
    if 0.995 <= share < 1:
        return f"{int(share * 1000) / 10:.1f} %"
    return f"{share * 100:.0f} %" if share >= 0.01 or share == 0 else "<1 %"


def drops(status: CameraStatus) -> str:
    """Frames dropped, and their share if there are any; HTML."""
    dropped = status.dropped_total
    share = f" <small>{percent(dropped / (status.frames_total + dropped))}</small>" if dropped else ""
    return number(dropped) + share


def milliseconds(value: float | None) -> str:
    """Milliseconds with as many digits as matter."""
    if value is None:
        return DASH
    if value >= 10_000:
        return f"{value / 1000:.0f} s"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def step_name(step_s: int) -> str:
    """A length of bucket by its name."""
    names = {60: "minute", 300: "5 min", 900: "15 min", 3600: "hour", 86_400: "day", 604_800: "week"}
    return names.get(step_s, duration(step_s))
