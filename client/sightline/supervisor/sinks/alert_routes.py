"""The ways by which people and programs are told: PagerDuty, a signed webhook, and all that Apprise knows.

Each route is a durable sink that takes the notifications which name it: at least once, each with a key that
stays the same, in a thread of its own. What the other side refuses for good is given up, said and counted.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import logging
import math
import re
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sightline.base.extras import require_extra
from sightline.base.http_request import HttpRefused, reach_server, send_request
from sightline.base.redact import redact
from sightline.config import Camera, Config
from sightline.config.alerts import AlertPicture, AlertRoute, Severity
from sightline.config.groups import ClipOptions
from sightline.config.recording_options import RecordingOptions
from sightline.entities import EventKind, picture_name
from sightline.errors import ConfigError, StoreUnavailable
from sightline.store.kinds import NOTIFICATION, PendingRow
from sightline.supervisor.sinks.sink import DurableSink, PartlyDelivered

log = logging.getLogger(__name__)

PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
_PAGERDUTY_ACTIONS = {
    "acknowledged": "acknowledge",
    "resolved": "resolve",
    "false_alarm": "resolve",
    "escalated": "trigger",
    "opened": "trigger",
    "more": "trigger",
    "test": "trigger",
}
SCHEMA = "sightline.alert.v1"
#: Answers that are for good. Others may pass: a proxy answers 404 while what is behind it starts anew.
_FINAL = frozenset({400, 410, 413, 422})
#: Libraries of Apprise's services.
_TALKATIVE = ("urllib3", "requests", "requests_oauthlib", "oauthlib", "slixmpp", "gntp", "markdown")
#: The reason in a line of Apprise's; a URL that stands before it is left out.
_REASON = re.compile(r"(?:Socket|I/O) Exception: (?:.*\(Caused by )?(.*)", re.DOTALL)
_HOST_IN_URL = ("jsons", "forms", "xmls")  # services whose URL names the server itself
MAX_ATTEMPTS = 10  # so often a notification may fail while the target takes others
#: Steps whose notifications show the event's picture.
_WITH_PICTURE = frozenset({"opened", "more", "escalated"})
PICTURE_S, PICTURE_STEP_S = 0.3, 0.01  # so long after the notification a picture is waited for
MAX_MISSES = 5  # failures one after another: the target is away, and the rest waits


class DeliveryRefused(Exception):
    """The other side will never take this notification."""


class Route(DurableSink):
    """One route. What is refused for good, or fails again and again while others are taken, is given up."""

    default_picture = AlertPicture.ATTACHED

    def __init__(self, name: str, options: AlertRoute) -> None:
        self.name = f"route:{name}"
        self.route, self.options = name, options
        self.given_up = 0
        self.tests: dict[
            str, str
        ] = {}  # by alert id, of those that were tests: what went wrong, "" if nothing
        self._failures: Counter[str] = Counter()  # by key
        self._failed: list[str] = []  # ids of alerts of which something was given up
        self.note_failed: Callable[[str, str], object] = lambda alert_id, route: None
        self._clips: Mapping[str, ClipOptions] = {}  # of the cameras that keep any
        self.picture = options.picture or self.default_picture
        self._secrets = options.secrets
        self._recording = RecordingOptions()

    def update(self, config: Config) -> None:
        """Link to recordings as the configuration says."""
        self._recording = config.recording

    def recording(self, notification: Mapping[str, Any]) -> str:
        """Where the recording of the notification's alert is played; empty: nowhere."""
        alert = notification["alert"]
        if not self._recording.url or not alert:  # which is empty in a test
            return ""
        return self._recording.link(notification["source"], alert["event_time"], alert["end_time"])

    def update_cameras(self, cameras: Mapping[str, Camera]) -> None:
        """Learn which cameras keep pictures of their events, and where."""
        self._clips = {name: camera.clips for name, camera in cameras.items() if camera.clips.enabled}

    def wants(self, row: PendingRow) -> bool:
        """Notices that name it."""
        return row.kind is NOTIFICATION and self.route in row.values["routes"]

    def deliver(self, rows: Sequence[PendingRow]) -> None:
        """Send each notification, those of an alert in their order; one alert's trouble holds up no other's.

        A test that fails is over: whoever has asked for it is told, and nobody wants it later.

        Raises:
            PartlyDelivered: some were not taken, and come again.
        """
        taken: set[str] = set()
        over: set[str] = set()  # tests that failed
        failed: dict[str, tuple[PendingRow, str]] = {}  # by alert
        misses = 0  # since something was taken
        for row in rows:
            alert, is_test = row.values["alert_id"], row.values["transition"] == "test"
            if alert in failed or (misses >= MAX_MISSES and not is_test):
                continue
            problem, again = self._try(row)
            if is_test:
                self.tests[alert] = problem
            if not again:
                taken.add(row.key)
                self._failures.pop(row.key, None)
                misses = 0
            elif is_test:
                over.add(row.key)
            else:
                failed[alert] = row, problem
                misses += 1
        self._failures.update(row.key for row, _ in failed.values() if taken)
        for alert, (row, problem) in list(failed.items()):
            if self._failures[row.key] >= MAX_ATTEMPTS:
                self._give_up(row, problem)
                taken.add(row.key)
                del failed[alert], self._failures[row.key]
        if failed:
            raise PartlyDelivered(next(iter(failed.values()))[1], taken | over)

    def _try(self, row: PendingRow) -> tuple[str, bool]:
        """Send a notification; what went wrong, if anything, and whether to try it again."""
        try:
            self._send(row)
        except DeliveryRefused as error:
            return f"given up: {self._give_up(row, self.masked(error))}", False
        except Exception as error:  # noqa: BLE001  whatever a library raises
            return self.masked(error) or type(error).__name__, True
        return "", False

    def masked(self, text: object) -> str:
        """A text of another program without what is secret in the options: URLs of services hold tokens."""
        text = redact(text)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _send(self, row: PendingRow) -> None:
        """Send a notification with its picture; it may be the picture alone that is not taken."""
        picture = self._picture(row)
        try:
            self.send(row.values, picture)
        except Exception:
            if picture is None or self.picture is not AlertPicture.ATTACHED:
                raise
            self.send(row.values)

    def _picture(self, row: PendingRow) -> Path | None:
        """The picture of the newest event, which is written at about the time of the notification."""
        values, alert = row.values, row.values["alert"]
        clips = self._clips.get(values["source"])
        if (
            clips is None
            or self.picture is AlertPicture.NONE
            or values["transition"] not in _WITH_PICTURE
            or alert["kind"] not in clips.kinds
        ):
            return None
        path: Path = (clips.folder / values["source"] / picture_name(alert["events"][-1])).resolve()
        patience_s = min(PICTURE_S, values["notification_time"] + PICTURE_S - time.time())
        deadline_s = time.monotonic() + patience_s
        while not path.exists():
            if time.monotonic() >= deadline_s:
                return None
            time.sleep(PICTURE_STEP_S)
        return path

    def tick(self) -> None:
        """Note at the alerts what could not be told of them; while the database is away, later."""
        with contextlib.suppress(StoreUnavailable):
            while self._failed:
                self.note_failed(self._failed[0], self.route)
                self._failed.pop(0)

    def _give_up(self, row: PendingRow, problem: str) -> str:
        kind = row.values["alert"].get("kind")
        if kind in {None, EventKind.DELIVERY_FAILED}:  # a test, or what tells of such a failure itself
            self.given_up += 1
        else:
            self.give_up()
        self._failed.append(row.values["alert_id"])
        log.error("alert %r by route %s is given up: %s", row.values["title"], self.route, problem)
        return problem

    def probe(self) -> str:
        """Go as far as the other side lets us without a notification."""
        try:
            return self.reach()
        except Exception as error:  # noqa: BLE001  whatever a library raises
            raise OSError(self.masked(error) or type(error).__name__) from None

    @abstractmethod
    def reach(self) -> str:
        """Connect, and log in where that is something of its own; what came of it, in words."""

    @abstractmethod
    def send(self, notification: Mapping[str, Any], picture: Path | None = None) -> None:
        """Send one notification, given by the fields of :class:`~sightline.entities.Notification`.

        Args:
            notification: what to send.
            picture: the JPEG of its event, if there is one and the options want it.

        Raises:
            DeliveryRefused: it will never be taken.
            OSError: it was not taken, and may be later.
        """


class Webhook(Route):
    """JSON by POST, signed: ``docs/alerts.md`` says how the other side checks it."""

    default_picture = AlertPicture.PATH

    def reach(self) -> str:
        """Connect to the server; see :meth:`Route.reach`."""
        return reach_server(self._url, self.options.timeout_s)

    @property
    def _url(self) -> str:
        return self.options.webhook.get_secret_value() if self.options.webhook else ""

    def send(self, notification: Mapping[str, Any], picture: Path | None = None) -> None:
        """Send one notification; see :meth:`Route.send`."""
        about: dict[str, str] | None = None
        if picture is not None:
            about = {"path": str(picture), "media_type": "image/jpeg"}
        if picture is not None and about is not None and self.picture is AlertPicture.ATTACHED:
            about["base64"] = base64.b64encode(picture.read_bytes()).decode()
        body = json.dumps(
            {
                "schema": SCHEMA,
                "key": f"{notification['alert_id']}.{notification['ordinal']}",
                "transition": notification["transition"],
                "time": datetime.fromtimestamp(notification["notification_time"], UTC).isoformat(),
                "title": notification["title"],
                "text": notification["text"],
                "link": notification["link"],
                "recording": self.recording(notification),
                "severity": notification["severity"],
                "alert": notification["alert"],
                "picture": about,
            }
        ).encode()
        sent = str(int(time.time()))
        secret = self.options.secret.get_secret_value() if self.options.secret else ""
        headers = {
            "Sightline-Timestamp": sent,
            "Sightline-Signature": signature(secret, sent, body),
            "Idempotency-Key": f"{notification['alert_id']}.{notification['ordinal']}",
        }
        post(self._url, body, headers, self.options.timeout_s)


class PagerDuty(Route):
    """Events API v2: one incident for an alert, triggered, acknowledged and resolved under one key.

    It takes pictures by their public addresses alone, and they have none.
    """

    default_picture = AlertPicture.NONE
    url = PAGERDUTY_URL

    def reach(self) -> str:
        """Connect to the service; see :meth:`Route.reach`."""
        return f"{reach_server(self.url, self.options.timeout_s)}; its key was not tried"

    def send(self, notification: Mapping[str, Any], picture: Path | None = None) -> None:
        """Send one notification; see :meth:`Route.send`."""
        key = self.options.pagerduty.get_secret_value() if self.options.pagerduty else ""
        event = {
            "routing_key": key,
            "event_action": _PAGERDUTY_ACTIONS[notification["transition"]],
            "dedup_key": notification["alert_id"],
            "payload": {
                "summary": notification["title"][:1024],
                "source": notification["source"] or "sightline",
                "severity": notification["severity"],
                "timestamp": datetime.fromtimestamp(notification["notification_time"], UTC).isoformat(),
                "custom_details": {"text": notification["text"]},
            },
        }
        if notification["link"]:
            event |= {"client": "Sightline", "client_url": notification["link"]}
        links = {"The alert in the console": notification["link"], "Recording": self.recording(notification)}
        event["links"] = [{"href": href, "text": text} for text, href in links.items() if href]
        post(self.url, json.dumps(event).encode(), {}, self.options.timeout_s)


class Apprise(Route):
    """E-mail, SMS, chat and more, by the library Apprise."""

    def __init__(self, name: str, options: AlertRoute) -> None:
        super().__init__(name, options)
        require_extra("apprise", f"route {name} needs Apprise", "alerts")
        import apprise  # noqa: PLC0415  a second of imports, for those who use it

        from sightline.supervisor.sinks import kept_mail  # noqa: PLC0415

        self._types = {
            Severity.INFO: apprise.NotifyType.INFO,
            Severity.WARNING: apprise.NotifyType.WARNING,
            Severity.ERROR: apprise.NotifyType.FAILURE,
            Severity.CRITICAL: apprise.NotifyType.FAILURE,
        }
        self._text_format = apprise.NotifyFormat.TEXT
        self._mail = kept_mail
        for library in _TALKATIVE:  # their lines name URLs, and with them tokens; what failed is told by us
            logging.getLogger(library).setLevel(logging.CRITICAL + 1)
        lines = logging.getLogger("apprise")
        lines.setLevel(logging.DEBUG)  # those of the reasons go into its results
        lines.addFilter(_only_reasons)
        lines.propagate = False
        lines.addHandler(logging.NullHandler())
        self._apprise = apprise.Apprise()
        url = options.apprise.get_secret_value() if options.apprise else ""
        if not self._apprise.add(url):
            cure = "see https://appriseit.com/services/ for those there are"
            raise ConfigError(f"alerts.routes.{name}.apprise", f"is no URL that Apprise knows; {cure}")
        for service in self._apprise:
            service.socket_connect_timeout = service.socket_read_timeout = options.timeout_s
            if service.secure_protocol == "mailtos":
                service.request_rate_per_sec = 0  # a mail server of one's own takes more than one in 5.5 s

    def send(self, notification: Mapping[str, Any], picture: Path | None = None) -> None:
        """Send one notification; see :meth:`Route.send`. Services that take no files are given the text."""
        result = self._apprise.notify(
            body="\n".join(
                filter(None, (notification["text"], notification["link"], self.recording(notification)))
            ),
            title=notification["title"],
            notify_type=self._types[Severity(notification["severity"])],
            body_format=self._text_format,
            attach=f"file://{quote(str(picture))}" if picture else None,
            log_level=logging.DEBUG,
        )
        if not result:
            reasons = dict.fromkeys(entry.message for entry in result.logs())
            raise OSError("; ".join(reasons) or "the service did not take it")

    def tick(self) -> None:
        """Let go of connections to mail servers that are not used, too."""
        super().tick()
        self._mail.CONNECTIONS.close(self._mail.KEEP_S)

    def close(self) -> None:
        """Close all of them."""
        self._mail.CONNECTIONS.close()

    def reach(self) -> str:
        """Log in to mail servers, connect to others as far as it is known where; see :meth:`Route.reach`."""
        return ", ".join(map(self._reach, self._apprise))

    def _reach(self, service: Any) -> str:
        from apprise.plugins.email.smtp import AppriseSMTPController  # noqa: PLC0415

        timeout_s = self.options.timeout_s
        if hasattr(service, "smtp_host"):
            server = (service.smtp_host, service.port, service.secure_mode, service.user, service.password)
            with AppriseSMTPController(*server, service.verify_certificate, math.ceil(timeout_s)):
                has = "has logged us in" if service.user else "answers"
                return f"the mail server {service.smtp_host} {has}"
        url = getattr(type(service), "notify_url", "")
        if service.secure_protocol in _HOST_IN_URL:
            port = f":{service.port}" if service.port else ""
            url = f"{'https' if service.secure else 'http'}://{service.host}{port}/"
        if not (isinstance(url, str) and re.match(r"https?://[\w.-]+(?::\d+)?(?:/|$)", url)):
            return f"a URL of {service.service_name}, which was not tried"
        return f"{service.service_name}: {reach_server(url, timeout_s)}"


def _only_reasons(record: logging.LogRecord) -> bool:
    """Of the lines of the lowest level those that say what went wrong; others hold whole messages."""
    if record.levelno >= logging.WARNING:
        return True
    if not str(record.msg).startswith(("Socket Exception: ", "I/O Exception: ")):
        return False  # before it is put together: it may hold a picture
    reason = _REASON.match(record.getMessage())
    if reason is not None:
        record.msg, record.args = reason[1], ()
    return reason is not None


def signature(secret: str, sent: str, body: bytes) -> str:
    """HMAC-SHA256 of ``sent`` (the time stamp as sent), a point, and the body; in hex, after ``v1=``."""
    return f"v1={hmac.new(secret.encode(), sent.encode() + b'.' + body, hashlib.sha256).hexdigest()}"


def post(url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> None:
    """POST JSON.

    Raises:
        DeliveryRefused: the answer says that it will never be taken.
        OSError: no answer, or one that says later.
    """
    try:
        send_request(url, body, {"Content-Type": "application/json", **headers}, timeout_s=timeout_s)
    except HttpRefused as error:
        problem = f"{error}: {error.body}"
        if error.code in _FINAL:
            raise DeliveryRefused(problem) from None
        raise OSError(problem) from None


def make_route(name: str, options: AlertRoute) -> Route:
    """One route.

    Raises:
        SightlineError: a library is not installed, or does not know the URL.
    """
    kinds: dict[str, Callable[[str, AlertRoute], Route]] = {
        "apprise": Apprise,
        "webhook": Webhook,
        "pagerduty": PagerDuty,
    }
    return kinds[options.way](name, options)


def make(config: Config) -> list[Route]:
    """A sink for each route."""
    routes = [make_route(name, options) for name, options in config.alerts.routes.items()]
    for route in routes:
        route.update(config)
    return routes
