"""Routes of alerts: real HTTP servers, a real SMTP server, and what the other side may answer."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sightline.config.alerts import AlertRoute
from sightline.entities import Alert, AlertState, Notification
from sightline.store.kinds import PendingRow, pending_row
from sightline.supervisor.sinks.alert_routes import DeliveryRefused, PagerDuty, Webhook, signature

SECRET = "a secret"


def notification(ordinal: int = 0, transition: str = "opened", route: str = "there") -> PendingRow:
    alert = Alert(
        "5c0e6a3a-0000-5000-8000-000000000000", "night", "gate", "enter", "yard", "person", None, "warning",
        AlertState.NEW, 100.0, 101.0, 101.0,
    )  # fmt: skip
    values = (
        101.0,
        "gate",
        "warning",
        "enter yard at gate",
        "text",
        "https://example.org/events",
        {"count": 1},
    )
    return pending_row(Notification(alert.alert_id, ordinal, transition, (route,), *values), 1)


class Server:
    """An HTTP server that remembers what it is sent, and answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []  # then 202
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((dict(self.headers), body))
                code, headers = outer.answers.pop(0) if outer.answers else (202, {})
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"no")

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.requests]


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.server.shutdown()
    made.server.server_close()


def webhook(url: str, **options: Any) -> Webhook:
    return Webhook("there", AlertRoute.model_validate({"webhook": url, "secret": SECRET, **options}))


def pagerduty(url: str) -> PagerDuty:
    route = PagerDuty("there", AlertRoute.model_validate({"pagerduty": "a key"}))
    route.url = url
    return route


def test_a_route_wants_the_notices_that_name_it() -> None:
    route = webhook("http://127.0.0.1:1/")
    assert (route.name, route.wants(notification()), route.wants(notification(route="other"))) == (
        "route:there",
        True,
        False,
    )


def test_a_webhook_is_signed_and_names_its_key(server: Server) -> None:
    webhook(server.url).deliver([notification(), notification(1, "resolved")])
    for number, (headers, body) in enumerate(server.requests):
        assert headers["Sightline-Signature"] == signature(SECRET, headers["Sightline-Timestamp"], body)
        assert (
            headers["Idempotency-Key"]
            == json.loads(body)["key"]
            == f"{notification().values['alert_id']}.{number}"
        )
    assert [body["transition"] for body in server.bodies] == ["opened", "resolved"]
    assert server.bodies[0]["schema"] == "sightline.alert.v1"
    assert signature("another", headers["Sightline-Timestamp"], body) != headers["Sightline-Signature"]


def test_pagerduty_sees_one_incident_from_its_trigger_to_its_end(server: Server) -> None:
    steps = ("opened", "more", "acknowledged", "resolved")
    pagerduty(server.url).deliver([notification(number, step) for number, step in enumerate(steps)])
    assert [body["event_action"] for body in server.bodies] == [
        "trigger",
        "trigger",
        "acknowledge",
        "resolve",
    ]
    assert {body["dedup_key"] for body in server.bodies} == {notification().values["alert_id"]}
    assert {body["routing_key"] for body in server.bodies} == {"a key"}
    assert server.bodies[0]["payload"]["severity"] == "warning"


@pytest.mark.parametrize("code", [500, 503, 429, 408])
def test_what_may_pass_is_tried_again(server: Server, code: int) -> None:
    server.answers = [(code, {})]
    route = webhook(server.url)
    with pytest.raises(OSError, match=str(code)):
        route.deliver([notification()])
    route.deliver([notification()])
    assert (len(server.requests), route.given_up) == (2, 0)


@pytest.mark.parametrize("code", [400, 401, 404, 410])
def test_what_is_refused_for_good_is_given_up_and_the_next_one_goes_on(
    server: Server, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = [(code, {})]
    route = webhook(server.url)
    route.deliver([notification(), notification(1)])
    assert (len(server.requests), route.given_up) == (2, 1)
    assert f"given up: the answer is {code}" in caplog.text


def test_a_redirect_is_not_followed(server: Server) -> None:
    other = Server()
    server.answers = [(307, {"Location": other.url})]
    with contextlib.suppress(OSError, DeliveryRefused):
        webhook(server.url).send(notification().values)
    assert (len(server.requests), other.requests) == (1, [])
    other.server.shutdown()


def test_nobody_listens_and_the_secret_is_not_in_the_error() -> None:
    with pytest.raises(OSError, match="refused") as error:
        webhook("http://127.0.0.1:1/hidden").deliver([notification()])
    assert "hidden" not in str(error.value) and SECRET not in str(error.value)
