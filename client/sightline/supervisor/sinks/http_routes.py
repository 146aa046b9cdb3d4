"""Ways of alerts over HTTP: PagerDuty, and a signed webhook."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sightline.base.http_request import HttpRefused, reach_server, send_request
from sightline.config.alerts import AlertPicture
from sightline.supervisor.sinks.route import DeliveryRefused, NotTaken, Route, key_of

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
            if self.picture is AlertPicture.ATTACHED:
                about["base64"] = base64.b64encode(picture.read_bytes()).decode()
        key = key_of(notification)
        body = json.dumps(
            {
                "schema": SCHEMA,
                "key": key,
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
            "Idempotency-Key": key,
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
        links = {"The console": notification["link"], "Recording": self.recording(notification)}
        event["links"] = [{"href": href, "text": text} for text, href in links.items() if href]
        post(self.url, json.dumps(event).encode(), {}, self.options.timeout_s)


def signature(secret: str, sent: str, body: bytes) -> str:
    """HMAC-SHA256 of ``sent`` (the time stamp as sent), a point, and the body; in hex, after ``v1=``."""
    return f"v1={hmac.new(secret.encode(), sent.encode() + b'.' + body, hashlib.sha256).hexdigest()}"


def post(url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> None:
    """POST JSON.

    Raises:
        DeliveryRefused: the answer says that it will never be taken.
        NotTaken: the answer says later.
        OSError: there is none.
    """
    try:
        send_request(url, body, {"Content-Type": "application/json", **headers}, timeout_s=timeout_s)
    except HttpRefused as error:
        problem = f"{error}: {error.body}"
        if error.code in _FINAL:
            raise DeliveryRefused(problem) from None
        raise NotTaken(problem) from None
