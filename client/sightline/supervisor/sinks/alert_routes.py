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
import time
import urllib.error
import urllib.request
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sightline.base.extras import require_extra
from sightline.base.redact import redact
from sightline.config import Camera, Config
from sightline.config.alerts import AlertPicture, AlertRoute, Severity
from sightline.config.groups import ClipOptions
from sightline.config.recording_options import RecordingOptions
from sightline.entities import EventKind, picture_name
from sightline.errors import SightlineError, StoreUnavailable
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

        Raises:
            PartlyDelivered: some were not taken, and come again.
        """
        taken: set[str] = set()
        failed: dict[str, tuple[PendingRow, str]] = {}  # by alert
        misses = 0  # since something was taken
        for row in rows:
            alert, problem = row.values["alert_id"], ""
            if alert in failed or misses >= MAX_MISSES:
                continue
            try:
                self._send(row)
            except DeliveryRefused as error:
                problem = f"given up: {self._give_up(row, self.masked(error))}"
            except Exception as error:  # noqa: BLE001  whatever a library raises
                problem = self.masked(error) or type(error).__name__
                failed[alert] = row, problem
                misses += 1
            if alert not in failed:
                taken.add(row.key)
                self._failures.pop(row.key, None)
                misses = 0
            if row.values["transition"] == "test":
                self.tests[alert] = problem
        self._failures.update(row.key for row, _ in failed.values() if taken)
        for alert, (row, problem) in list(failed.items()):
            if self._failures[row.key] >= MAX_ATTEMPTS:
                self._give_up(row, problem)
                taken.add(row.key)
                del failed[alert], self._failures[row.key]
        if failed:
            raise PartlyDelivered(next(iter(failed.values()))[1], taken)

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
        url = self.options.webhook.get_secret_value() if self.options.webhook else ""
        post(url, body, headers, self.options.timeout_s)


class PagerDuty(Route):
    """Events API v2: one incident for an alert, triggered, acknowledged and resolved under one key.

    It takes pictures by their public addresses alone, and they have none.
    """

    default_picture = AlertPicture.NONE
    url = PAGERDUTY_URL

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
        lines.setLevel(logging.WARNING)
        lines.propagate = False
        lines.addHandler(logging.NullHandler())
        self._apprise = apprise.Apprise()
        url = options.apprise.get_secret_value() if options.apprise else ""
        if not self._apprise.add(url):
            raise SightlineError(f"alerts.routes.{name}.apprise is no URL that Apprise knows")
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


def signature(secret: str, sent: str, body: bytes) -> str:
    """HMAC-SHA256 of ``sent`` (the time stamp as sent), a point, and the body; in hex, after ``v1=``."""
    return f"v1={hmac.new(secret.encode(), sent.encode() + b'.' + body, hashlib.sha256).hexdigest()}"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """A redirect is an answer like another: what is signed goes to nobody else."""


_OPENER = urllib.request.build_opener(_NoRedirects)


def post(url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> None:
    """POST JSON.

    Raises:
        DeliveryRefused: the answer says that it will never be taken.
        OSError: no answer, or one that says later.
    """
    headers = {"Content-Type": "application/json", "User-Agent": "sightline", **headers}
    request = urllib.request.Request(url, body, headers)  # noqa: S310  the configuration allows http(s) alone
    try:
        with _OPENER.open(request, timeout=timeout_s):
            return
    except urllib.error.HTTPError as error:
        with error:
            text = error.read(500).decode(errors="replace").strip()
        problem = f"the answer is {error.code} {error.reason}: {text}"
        if error.code in _FINAL:
            raise DeliveryRefused(problem) from None
        raise OSError(problem) from None
    except HTTPException as error:
        raise OSError(f"no HTTP answer: {error!r}") from None


def make(config: Config) -> list[Route]:
    """A sink for each route."""
    kinds: dict[str, Callable[[str, AlertRoute], Route]] = {
        "apprise": Apprise,
        "webhook": Webhook,
        "pagerduty": PagerDuty,
    }
    routes = [
        kind(name, options)
        for name, options in config.alerts.routes.items()
        for key, kind in kinds.items()
        if getattr(options, key) is not None
    ]
    for route in routes:
        route.update(config)
    return routes
