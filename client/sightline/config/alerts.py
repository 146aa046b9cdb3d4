"""``alerts``: which events people are told of, when, and by which way."""

import re
import string
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from sightline.config.option_group import OptionGroup, hot, matching
from sightline.entities import EventKind

#: What a message may say, with an example of each.
MESSAGE_FIELDS = {
    "camera": "yard",
    "place": "gate",
    "kind": "enter",
    "item_class": "person",
    "rule": "night",
    "severity": "warning",
    "time": "2026-01-01 23:00:00",
    "value": "5",
    "count": "1",
}


DAY_MIN = 24 * 60
MIN_SECRET = 5  # characters; shorter parts of a URL are words, ports and the like


class Severity(StrEnum):
    """How bad it is, mildest first."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Day(StrEnum):
    """A day of the week."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


_DAYS = tuple(Day)


def _minutes(value: Any) -> Any:
    """Minutes since midnight, of HH:MM; YAML itself reads an unquoted 22:00 as 1320."""
    if isinstance(value, str) and re.fullmatch(r"\d\d?:[0-5]\d", value.strip(), re.ASCII):
        hours, _, minutes = value.partition(":")
        value = int(hours) * 60 + int(minutes)
    elif isinstance(value, int) and 0 < value < 60:
        value = None  # an hour alone, most likely
    if isinstance(value, int) and 0 <= value <= DAY_MIN:
        return value
    raise PydanticCustomError("time", "must be a time of day as HH:MM")


def _http_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no port
    except ValueError as error:
        raise PydanticCustomError("url", "is no URL: must be http(s)://HOST:PORT/…") from error
    if not re.fullmatch(r"[!-~]+", url):
        raise PydanticCustomError("url", "must be http(s)://HOST/…, with other characters written as %XX")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise PydanticCustomError("url", "must be http(s)://HOST/…, without a user")
    return url


def _secret_http_url(url: SecretStr) -> SecretStr:
    _http_url(url.get_secret_value())
    return url


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:  # ZoneInfoNotFoundError is a KeyError
        text = "{name} is no time zone; write it as Europe/Berlin or UTC"
        raise PydanticCustomError("timezone", text, {"name": repr(name)}) from error
    return name


def _template(text: str) -> str:
    try:
        parts = [part[1:] for part in string.Formatter().parse(text) if part[1] is not None]
    except ValueError as error:
        raise PydanticCustomError("message", "is no template: {error}", {"error": str(error)}) from error
    for field, spec, conversion in parts:
        if spec or conversion:
            raise PydanticCustomError("message", "may name fields in braces, and no formats of them")
        if field not in MESSAGE_FIELDS:
            problem = "has no field {field}; there are {fields}"
            values = {"field": f"{{{field}}}", "fields": ", ".join(f"{{{name}}}" for name in MESSAGE_FIELDS)}
            raise PydanticCustomError("message", problem, values)
    return text


TimeOfDay = Annotated[
    int, BeforeValidator(_minutes), WithJsonSchema({"type": ["string", "integer"], "maximum": DAY_MIN})
]
_NAME = r"[a-z][a-z0-9_]{0,49}"
RouteName = Annotated[
    str,
    matching(_NAME, "a name is 1 to 50 small letters, digits or '_', first a letter"),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"}),
]
_Item = TypeVar("_Item")


def _some(values: tuple[_Item, ...]) -> tuple[_Item, ...]:
    if not values:
        raise PydanticCustomError("empty", "is empty, so that nothing would ever match; leave it out for all")
    return values


Some = Annotated[tuple[_Item, ...], AfterValidator(_some)]


class Hours(OptionGroup):
    """Hours of some days of the week. Hours over midnight belong to the day on which they begin."""

    days: Some[Day] | None = hot(None, "mon, tue, wed, thu, fri, sat, sun; null: every day.")
    begin: TimeOfDay = hot(0, "From this time of day on, HH:MM.")
    end: TimeOfDay = hot(DAY_MIN, "Until this time of day; earlier than begin: of the next day.")

    def holds(self, time: float, zone: tzinfo) -> bool:
        """Whether they hold at ``time`` (UTC epoch seconds), in the time zone that they are written for."""
        now = datetime.fromtimestamp(time, zone)
        minutes = now.hour * 60 + now.minute
        today, yesterday = (_DAYS[day.weekday()] for day in (now, now - timedelta(days=1)))

        def is_day(name: Day) -> bool:
            return self.days is None or name in self.days

        if self.begin < self.end:
            return is_day(today) and self.begin <= minutes < self.end
        return (is_day(today) and minutes >= self.begin) or (is_day(yesterday) and minutes < self.end)


class AlertRule(OptionGroup):
    """One rule: what of, when, how loud, and by which routes."""

    cameras: Some[str] | None = hot(
        None, "Cameras; null: all, and the program itself. What the canary plays is told if it is named."
    )
    kinds: tuple[EventKind, ...] = hot(..., "Kinds of events.", min_length=1)
    places: Some[str] | None = hot(None, "Names of lines and zones; null: all.")
    classes: Some[str] | None = hot(None, "Class names; null: all, and events without a class.")
    schedule: Hours | None = hot(None, "Hours in which it holds; null: always.")
    min_dwell_s: float = hot(0.0, "Only of what lasts at least so long; events that last.", ge=0, le=86_400)
    min_count: int = hot(0, "Occupancy: only of at least so many.", ge=0)
    severity: Severity = hot(Severity.WARNING, "info, warning, error, critical.")
    message: Annotated[str, AfterValidator(_template)] = hot(
        "{kind} {place} at {camera}", "One line, with fields in braces.", min_length=1, max_length=500
    )
    routes: tuple[RouteName, ...] = hot((), "Names of the routes; none: it is only listed.")
    cooldown_s: float = hot(
        60.0, "Events at the same place that follow within so long join the alert.", ge=0, le=86_400
    )
    quiet: Hours | None = hot(None, "Hours in which nobody is told, but for critical; null: none.")
    escalate_after_s: float | None = hot(
        None, "Not acknowledged for so long: others are told.", gt=0, le=86_400
    )
    escalate_to: tuple[RouteName, ...] = hot((), "Names of the routes that are told then.")


class AlertPicture(StrEnum):
    """How the picture of an event goes with its alert."""

    ATTACHED = "attached"
    PATH = "path"  # on this machine
    NONE = "none"


WAYS = ("apprise", "webhook", "pagerduty")
#: In URLs of e-mails: what people have to read in an error, and no secret.
_OPEN_IN_MAILS = frozenset({"to", "cc", "bcc", "from", "name", "reply", "smtp", "mode"})


def _secrets_in(url: str) -> Iterator[str]:
    """A URL, and what it consists of: any part may be a token. For e-mails, servers and people are none."""
    scheme, _, rest = url.partition("://")
    if scheme.lower() in {"mailto", "mailtos"}:
        address, _, query = rest.partition("?")
        options = (option.partition("=")[::2] for option in query.split("&"))
        rest = (
            address.rpartition("@")[0]
            + "&"
            + "&".join(value for name, value in options if name.lower() not in _OPEN_IN_MAILS)
        )
    for part in (url, *re.split(r"[/:@?&=,;#]+", rest)):
        yield from (text for text in (part, unquote(part)) if len(text) >= MIN_SECRET)


def _longest_first(texts: Iterable[str]) -> list[str]:
    return sorted(set(texts), key=len, reverse=True)


class AlertRoute(OptionGroup):
    """One way to people or programs: one of apprise, webhook and pagerduty."""

    apprise: SecretStr | None = hot(None, "A URL of Apprise: e-mail, SMS, Slack, Teams, ntfy and more.")
    webhook: Annotated[SecretStr, AfterValidator(_secret_http_url)] | None = hot(
        None, "http(s) URL that is sent signed JSON."
    )
    secret: SecretStr | None = hot(None, "Key of the webhook's signature (HMAC-SHA256).")
    pagerduty: SecretStr | None = hot(None, "Routing key of a service of PagerDuty (Events API v2).")
    min_severity: Severity = hot(Severity.INFO, "Milder alerts are not told.")
    timeout_s: float = hot(10.0, "Of one delivery.", gt=0, le=60)
    picture: AlertPicture | None = hot(
        None, "The event's picture: attached, path, none; null: attached, by a webhook its path."
    )

    @model_validator(mode="after")
    def _check(self) -> "AlertRoute":
        if sum(getattr(self, name) is not None for name in WAYS) != 1:
            raise PydanticCustomError("route", "must have one of apprise, webhook and pagerduty")
        for name in (*WAYS, "secret"):
            if (value := getattr(self, name)) is not None and not value.get_secret_value().strip():
                raise PydanticCustomError("route", "{name} must not be empty", {"name": name})
        if (self.secret is None) == (self.way == "webhook"):
            raise PydanticCustomError("route", "a webhook needs a secret, and nothing else has one")
        if (self.picture is AlertPicture.PATH and self.way != "webhook") or (
            self.picture is AlertPicture.ATTACHED and self.way == "pagerduty"
        ):
            problem = "picture: path is for webhooks, and PagerDuty takes none; write attached or none"
            raise PydanticCustomError("route", problem)
        return self

    @property
    def way(self) -> str:
        """Which of the three it is."""
        return next(name for name in WAYS if getattr(self, name) is not None)

    @property
    def secrets(self) -> list[str]:
        """What must stand in no text, longest first: each secret, and what it consists of.

        The URL of a service has its tokens in any part, and an error may name one part alone.
        """
        given = (self.apprise, self.webhook, self.secret, self.pagerduty)
        return _longest_first(part for one in given if one for part in _secrets_in(one.get_secret_value()))


class HeartbeatOptions(OptionGroup):
    """An outside monitor that is asked while all is well: a program that is dead tells nobody."""

    url: Annotated[SecretStr, AfterValidator(_secret_http_url)] | None = hot(
        None, "Asked (GET) while all is well; null: none."
    )
    every_s: float = hot(60.0, "So often.", ge=5, le=3600)

    @property
    def secrets(self) -> list[str]:
        """What must stand in no text; see :attr:`AlertRoute.secrets`."""
        return _longest_first(_secrets_in(self.url.get_secret_value())) if self.url else []


class AlertOptions(OptionGroup):
    """``alerts``: who is told of which events."""

    rules: dict[RouteName, AlertRule] = hot({}, "Rules by name.", max_length=200)
    routes: dict[RouteName, AlertRoute] = hot({}, "Routes by name.", max_length=50)
    timezone: Annotated[str, AfterValidator(_zone)] = hot("UTC", "Of schedules and messages.")
    public_url: Annotated[str, AfterValidator(_http_url)] | None = hot(
        None, "The console's address as people reach it, for links."
    )
    heartbeat: HeartbeatOptions = Field(HeartbeatOptions(), description="An outside monitor that is asked.")

    @model_validator(mode="after")
    def _check(self) -> "AlertOptions":
        for name, rule in self.rules.items():
            for route in (*rule.routes, *rule.escalate_to):
                if route not in self.routes:
                    values = {"rule": name, "route": route, "routes": ", ".join(self.routes) or "none"}
                    text = "rule {rule} names the route {route}, and there are: {routes}"
                    raise PydanticCustomError("route", text, values)
            if (rule.escalate_after_s is None) != (not rule.escalate_to):
                text = "rule {rule}: escalate_after_s and escalate_to need each other"
                raise PydanticCustomError("escalate", text, {"rule": name})
        return self
