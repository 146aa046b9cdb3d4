"""Routes of alerts: real HTTP servers, a real SMTP server, and what the other side may answer."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.base.network_cures import cure_for
from sightline.base.redact import MAX_OUTSIDE
from sightline.config import Camera, parse_config
from sightline.config.alerts import AlertRoute
from sightline.entities import Alert, AlertState, Notification, picture_name
from sightline.errors import ConfigError, SightlineError
from sightline.features.kept_files import write_private
from sightline.simulation.rtsp_server import free_port
from sightline.store.kinds import PendingRow, pending_row
from sightline.supervisor.sinks import kept_mail
from sightline.supervisor.sinks.apprise_route import Apprise
from sightline.supervisor.sinks.http_routes import PagerDuty, Webhook, signature
from sightline.supervisor.sinks.route import MAX_ATTEMPTS, PICTURE_S, TEST_S, DeliveryRefused
from sightline.supervisor.sinks.sink import PartlyDelivered
from sightline.video.picture import encode_jpeg
from support.certificates import tls_files
from support.listeners import HookServer, Mail

SECRET = "a secret"


def notification(
    ordinal: int = 0,
    transition: str = "opened",
    route: str = "there",
    *,
    alert: str = "5c0e6a3a-0000-5000-8000-000000000000",
    text: str = "text",
    kind: str = "enter",
    age_s: float = 1000.0,
) -> PendingRow:
    about = Alert(
        alert, "night", "gate", "enter", "yard", "person", None, "warning",
        AlertState.NEW, 100.0, 101.0, 101.0,
    )  # fmt: skip
    values = (
        time.time() - age_s,
        "gate",
        "warning",
        "enter yard at gate",
        text,
        "https://example.org/events",
        {"count": 1, "kind": kind, "events": ["an event"]},
    )
    return pending_row(Notification(about.alert_id, ordinal, transition, (route,), *values), 1)


@pytest.fixture
def server() -> Iterator[HookServer]:
    made = HookServer()
    yield made
    made.close()


@pytest.fixture
def mail() -> Iterator[Mail]:
    made = Mail(free_port())
    made.start()
    yield made
    made.stop()


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


def test_a_webhook_is_signed_and_names_its_key(server: HookServer) -> None:
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


def test_what_is_told_of_an_event_has_a_link_to_its_recording(server: HookServer, mail: Mail) -> None:
    url = "http://127.0.0.1:9996/get?path={camera}&start={start}&duration={seconds}"
    config = parse_config({"recording": {"url": url}, "cameras": {"gate": {"url": "rtsp://h/"}}}).options
    wanted = "http://127.0.0.1:9996/get?path=gate&start=1970-01-01T00%3A01%3A30.000Z&duration=35.0"
    row = notification()
    row.values["alert"] = {"event_time": 100.0, "end_time": 105.0}
    for route in (webhook(server.url), pagerduty(server.url), apprise(mail.url)):
        route.deliver([row])
        route.update(config)
        route.deliver([row])
    told = [{"href": row.values["link"], "text": "The console"}]
    assert [body.get("recording", body.get("links")) for body in server.bodies] == [
        *("", wanted),
        *(told, [*told, {"href": wanted, "text": "Recording"}]),
    ]
    texts = [message.get_body(("plain",)).get_content() for message in mail.messages]
    assert [wanted in text for text in texts] == [False, True]
    test = notification()
    test.values["alert"] = {}
    webhook(server.url).deliver([test])
    assert server.bodies[-1]["recording"] == ""


def test_pagerduty_sees_one_incident_from_its_trigger_to_its_end(server: HookServer) -> None:
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


@pytest.mark.parametrize("code", [500, 503, 429, 408, 401, 404])
def test_what_may_pass_is_tried_again(server: HookServer, code: int) -> None:
    server.answers = [(code, {})]
    route = webhook(server.url)
    with pytest.raises(OSError, match=str(code)):
        route.deliver([notification()])
    route.deliver([notification()])
    assert (len(server.requests), route.given_up) == (2, 0)


@pytest.mark.parametrize("code", [400, 410, 413, 422])
def test_what_is_refused_for_good_is_given_up_and_the_next_one_goes_on(
    server: HookServer, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = [(code, {})]
    route = webhook(server.url)
    route.deliver([notification(), notification(1)])
    assert (len(server.requests), route.given_up) == (2, 1)
    assert f"given up: the answer is {code}" in caplog.text


def test_a_redirect_is_not_followed(server: HookServer) -> None:
    other = HookServer()
    server.answers = [(307, {"Location": other.url})]
    with contextlib.suppress(OSError, DeliveryRefused):
        webhook(server.url).send(notification().values)
    assert (len(server.requests), other.requests) == (1, [])
    other.close()


def test_what_alone_fails_holds_up_no_other_alert_and_is_given_up_in_the_end(
    server: HookServer, caplog: pytest.LogCaptureFixture
) -> None:
    route = webhook(server.url)
    poison = notification(alert="poison")
    for attempt in range(MAX_ATTEMPTS):
        server.answers = [(500, {}), (202, {})]
        rows = [poison, notification(1, alert="poison"), notification(alert=f"good {attempt}")]
        if attempt < MAX_ATTEMPTS - 1:
            with pytest.raises(PartlyDelivered, match="500") as error:
                route.deliver(rows)
            assert error.value.taken == {rows[2].key}
        else:
            with contextlib.suppress(PartlyDelivered):
                route.deliver(rows)
    assert route.given_up == 1
    assert "given up: the answer is 500" in caplog.text
    assert [body["key"] for body in server.bodies].count("poison.1") == 0, "in order, so not before the first"


def test_a_target_that_is_away_is_asked_a_few_times_and_nothing_is_given_up() -> None:
    route = webhook("http://127.0.0.1:1/")
    asked = []
    route.send = lambda values, picture=None: asked.append(values) or refuse()  # type: ignore[method-assign,func-returns-value]

    def refuse() -> None:
        raise ConnectionRefusedError("refused")

    rows = [notification(alert=str(number)) for number in range(100)]
    for _ in range(3 * MAX_ATTEMPTS):
        with pytest.raises(PartlyDelivered, match="refused") as error:
            route.deliver(rows)
        assert error.value.taken == set()
    assert (len(asked), route.given_up) == (3 * MAX_ATTEMPTS * 5, 0)


def test_a_test_that_fails_is_over_and_counts_against_no_alert() -> None:
    route = webhook("http://127.0.0.1:1/")
    rows = [notification(alert=str(number)) for number in range(MAX_ATTEMPTS)]
    for number in range(2 * MAX_ATTEMPTS):
        test = notification(alert=f"test {number}", transition="test", age_s=0)
        with pytest.raises(PartlyDelivered, match="refused") as error:
            route.deliver([*rows, test])
        assert error.value.taken == {test.key}
        assert "refused" in route.tests[f"test {number}"]
    route.deliver([test])
    assert route.given_up == 0


def test_a_test_that_nobody_waits_for_any_more_is_not_sent(server: HookServer) -> None:
    route = webhook(server.url)
    route.deliver([notification(alert="old", transition="test", age_s=TEST_S + 1)])
    route.deliver([notification(alert="new", transition="test", age_s=0)])
    assert [body["key"] for body in server.bodies] == ["new.0"]
    assert ("not sent" in route.tests["old"], route.tests["new"]) == (True, "")


def test_what_a_server_answers_is_shown_as_one_short_line(server: HookServer) -> None:
    server.answers, server.body = [(500, {})], b"no\r\n2026-11-29 all is well\x1b[2J" * 1000
    with pytest.raises(OSError, match="500") as error:
        webhook(server.url).deliver([notification()])
    assert str(error.value).isprintable() and len(str(error.value)) <= MAX_OUTSIDE


def test_of_a_secret_in_a_long_answer_no_part_is_left(server: HookServer) -> None:
    for room in range(MAX_OUTSIDE - 60, MAX_OUTSIDE):
        server.answers = [(500, {})]
        server.body = b"x" * room + b" at /services/T0KENT0KEN/hook " + b"x" * 500
        with pytest.raises(OSError, match="500") as error:
            webhook(server.url.replace("/hook", "/services/T0KENT0KEN/hook")).deliver([notification()])
        assert "T0" not in str(error.value)


@pytest.mark.parametrize("answer", [(404, b"Cannot POST /services/T0KEN/hook"), (410, b"no T0KEN/hook here")])
def test_what_the_other_side_repeats_of_a_secret_stays_secret(
    answer: tuple[int, bytes], server: HookServer, caplog: pytest.LogCaptureFixture
) -> None:
    code, server.body = answer
    server.answers = [(code, {})]
    route = webhook(server.url.replace("/hook", "/services/T0KEN/hook"))
    problem = ""
    try:
        route.deliver([notification()])
    except OSError as error:
        problem = str(error)
    assert str(code) in problem + caplog.text
    assert "T0KEN" not in problem + caplog.text


# -- Apprise ---------------------------------------------------------------------------------------------


def apprise(url: str, **options: Any) -> Apprise:
    return Apprise("there", AlertRoute.model_validate({"apprise": url, **options}))


def test_an_email_says_what_where_and_when(mail: Mail) -> None:
    apprise(mail.url).deliver([notification()])
    [message] = mail.messages
    assert message["Subject"] == "enter yard at gate"
    assert message["To"] == "guards@example.org"
    body = message.get_body(("plain", "html"))
    assert body is not None
    text = body.get_content()
    assert "text" in text and "https://example.org/events" in text


def test_emails_follow_each_other_at_once(mail: Mail) -> None:
    started_s = time.monotonic()
    apprise(mail.url).deliver([notification(number) for number in range(4)])
    assert len(mail.messages) == 4
    assert time.monotonic() - started_s < 5, "the library waits 5.5 s between two"


def test_emails_share_a_connection_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Mail(free_port())
    first.start()
    route = apprise(first.url)
    for number in range(4):
        route.deliver([notification(number)])
        route.tick()
    first.stop()  # and hangs up
    assert (len(first.messages), len(first.sessions)) == (4, 1)
    with pytest.raises(OSError, match="submitting email"):
        route.deliver([notification(4)])
    second = Mail(first.port)
    second.start()
    route.deliver([notification(4)])
    assert (len(second.messages), len(second.sessions)) == (1, 1), "at the first attempt"
    monkeypatch.setattr(kept_mail, "MAX_MAILS", 2)
    for number in range(5, 8):
        route.deliver([notification(number)])
    assert (len(second.messages), len(second.sessions)) == (4, 2), "it has been used often enough"
    monkeypatch.setattr(kept_mail, "KEEP_S", 0.0)
    route.tick()
    route.deliver([notification(8)])
    assert (len(second.messages), len(second.sessions)) == (5, 3), "it has not been used for long"
    route.close()
    second.stop()


PEOPLE = "good@example.org,gone@example.org"


def several(mail: Mail, **options: Any) -> Apprise:
    return apprise(mail.url.replace("guards@example.org", PEOPLE), **options)


@pytest.mark.parametrize("more", ["", "&cc=third@example.org"])
def test_one_address_that_is_refused_for_good_is_given_up_and_the_others_are_told_once(
    mail: Mail, more: str, caplog: pytest.LogCaptureFixture
) -> None:
    mail.refusals["gone@example.org"] = "550 5.1.1 no such user"
    route = apprise(mail.url.replace("guards@example.org", PEOPLE) + more)
    route.deliver([notification()])
    assert mail.told.count("good@example.org") == 1
    assert mail.told.count("third@example.org") == bool(more)
    assert (route.given_up, route.gave_up_s is None) == (1, False)
    assert "given up: gone@example.org: 550 5.1.1 no such user" in caplog.text


def test_an_address_that_is_refused_for_now_is_tried_again_alone(mail: Mail) -> None:
    mail.refusals["gone@example.org"] = "450 4.2.0 come back later"
    route = several(mail)
    for _ in range(3):
        with pytest.raises(PartlyDelivered, match=r"450 4\.2\.0 come back later"):
            route.deliver([notification()])
    assert mail.told == ["good@example.org"]
    mail.refusals.clear()
    route.deliver([notification()])
    route.deliver([notification(1)])
    assert mail.told == ["good@example.org", "gone@example.org"] * 2
    assert route.given_up == 0


def test_targets_of_other_services_are_told_once_too(mail: Mail) -> None:
    route = apprise("json://127.0.0.1:1/")
    [service] = route._apprise
    tried: list[str] = []

    def send(**_: Any) -> bool:
        for target in ("good", "gone"):
            if not service.is_delivered(target):
                tried.append(target)
                if target == "good":
                    service.mark_delivered(target)
        return False

    service.send = send
    for _ in range(3):
        with pytest.raises(PartlyDelivered):
            route.deliver([notification()])
    assert tried == ["good", "gone", "gone", "gone"]


@pytest.mark.parametrize("server", ["example.org", "192.0.2.1"])
def test_a_password_that_would_go_out_in_clear_is_warned_of(server: str) -> None:
    people = "to=a@example.org&from=b@example.org"
    assert "mailtos://" in apprise(f"mailto://user:T0KEN@{server}?{people}").warning
    for safe in (
        f"mailtos://user:T0KEN@{server}?{people}",
        f"mailto://user:T0KEN@{server}?{people}&mode=starttls",
        f"mailto://{server}?{people}",
        f"mailto://user:T0KEN@127.0.0.1:25?{people}",
        f"json://user:T0KEN@{server}",
    ):
        assert apprise(safe).warning == ""


def drip(greeting: bytes, line: bytes) -> Iterator[int]:
    """The port of a server that greets, and then goes on and on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError):
                client.sendall(greeting)
                while True:
                    client.sendall(line)
                    time.sleep(0.1)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=speak, args=[listener.accept()[0]], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("url", "greeting", "line"),
    [
        ("mailto://127.0.0.1:{}?mode=insecure&to=a@example.org&from=b@example.org", b"", b"220-hello\r\n"),
        ("mailto://127.0.0.1:{}?mode=ssl&to=a@example.org&from=b@example.org", b"\x16\x03\x03\x3f\xff", b"x"),
        ("http://127.0.0.1:{}/", b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("http://127.0.0.1:{}/", b"HTTP/1.1 200 OK\r\nX: ", b"a"),
        ("http://127.0.0.1:{}/", b"HTTP/1.1 500 no\r\n\r\n", b"a"),
    ],
)
def test_a_server_that_never_ends_is_left_when_the_time_of_the_delivery_is_over(
    url: str, greeting: bytes, line: bytes
) -> None:
    with contextlib.contextmanager(drip)(greeting, line) as port:
        make = apprise if url.startswith("mailto") else webhook
        began_s = time.monotonic()
        with pytest.raises(OSError, match=r"no answer within 0\.5 s|timed out"):
            make(url.format(port), timeout_s=0.5).deliver([notification()])
        assert time.monotonic() - began_s < 3


def test_what_a_place_is_called_is_no_markup_of_an_email(mail: Mail) -> None:
    apprise(mail.url).deliver([notification(text="<b onclick=x>yard</b>")])
    [message] = mail.messages
    for part in message.walk():
        if part.get_content_type() == "text/html":
            assert "<b onclick" not in part.get_content()


# -- pictures --------------------------------------------------------------------------------------------


@pytest.fixture
def cameras(tmp_path: Path) -> Mapping[str, Camera]:
    clips = {"enabled": True, "folder": str(tmp_path / "cl?ps & more")}
    (tmp_path / "cl?ps & more" / "gate").mkdir(parents=True)
    return parse_config({"cameras": {"gate": {"url": "rtsp://h/", "clips": clips}}}).cameras


def picture_of(cameras: Mapping[str, Camera]) -> Path:
    return cameras["gate"].clips.folder / "gate" / picture_name("an event")


JPEG = encode_jpeg(np.full((96, 64), 128, np.uint8))


def test_the_picture_of_an_event_arrives_with_its_email(mail: Mail, cameras: Mapping[str, Camera]) -> None:
    picture_of(cameras).write_bytes(JPEG)
    route = apprise(mail.url)
    route.update_cameras(cameras)
    route.deliver([notification(), notification(1, "more"), notification(2, "resolved")])
    opened, more, resolved = ([*message.iter_attachments()] for message in mail.messages)
    for [attachment] in (opened, more):
        assert attachment.get_content_type() == "image/jpeg"
        assert attachment.get_content() == JPEG
    assert resolved == [], "it shows what has begun"


def test_a_picture_that_comes_a_moment_later_is_waited_for(mail: Mail, cameras: Mapping[str, Camera]) -> None:
    route = apprise(mail.url)
    route.update_cameras(cameras)
    late = threading.Timer(0.1, lambda: write_private(picture_of(cameras), JPEG))
    late.start()
    route.deliver([notification(age_s=0)])
    late.join()
    [attachment] = mail.messages[0].iter_attachments()
    assert attachment.get_content() == JPEG


@pytest.mark.parametrize(
    ("given", "waits_s"),
    [
        ({"age_s": 0}, PICTURE_S),  # it never comes
        ({"age_s": 10}, 0),  # a retry
        ({"age_s": 0, "kind": "leave"}, 0),  # has no clips
        ({"age_s": 0, "transition": "resolved"}, 0),
    ],
)
def test_a_picture_is_waited_for_briefly_and_only_where_one_may_come(
    server: HookServer, cameras: Mapping[str, Camera], given: dict[str, Any], waits_s: float
) -> None:
    route = webhook(server.url)
    route.update_cameras(cameras)
    began_s = time.monotonic()
    route.deliver([notification(**given), notification(1, **given)])
    assert waits_s <= time.monotonic() - began_s < waits_s + 0.2, "once for all of one moment"
    assert [body["picture"] for body in server.bodies] == [None, None]


def test_a_camera_without_clips_costs_no_wait(server: HookServer) -> None:
    route = webhook(server.url)
    route.update_cameras(parse_config({"cameras": {"gate": {"url": "rtsp://h/"}}}).cameras)
    began_s = time.monotonic()
    route.deliver([notification(age_s=0)])
    assert time.monotonic() - began_s < 0.2


@pytest.mark.parametrize("way", ["path", "attached", "none"])
def test_a_webhook_is_given_the_picture_as_the_options_say(
    server: HookServer, cameras: Mapping[str, Camera], way: str
) -> None:
    picture_of(cameras).write_bytes(JPEG)
    route = webhook(server.url, picture=way)
    route.update_cameras(cameras)
    route.deliver([notification()])
    [body] = server.bodies
    about = {"path": str(picture_of(cameras)), "media_type": "image/jpeg"}
    content = {"base64": base64.b64encode(JPEG).decode()} if way == "attached" else {}
    assert body["picture"] == (None if way == "none" else about | content)


def test_an_alert_whose_picture_is_not_taken_goes_without_it(
    server: HookServer, cameras: Mapping[str, Camera]
) -> None:
    picture_of(cameras).write_bytes(JPEG)
    server.answers = [(413, {})]
    route = webhook(server.url, picture="attached")
    route.update_cameras(cameras)
    route.deliver([notification()])
    assert [body["picture"] is None for body in server.bodies] == [False, True]
    assert (len({body["key"] for body in server.bodies}), route.given_up) == (1, 0)


def test_an_email_is_sent_without_its_picture_only_where_that_was_refused(
    mail: Mail, cameras: Mapping[str, Camera]
) -> None:
    picture_of(cameras).write_bytes(JPEG)
    route = several(mail)
    route.update_cameras(cameras)
    mail.refusals["gone@example.org"] = "450 4.2.0 come back later"
    for _ in range(2):
        with pytest.raises(PartlyDelivered):
            route.deliver([notification()])
    assert mail.told == ["good@example.org"]
    mail.refusals = {"picture": "552 5.3.4 too large"}
    route.deliver([notification(1)])
    assert mail.told == ["good@example.org"] * 2 + ["gone@example.org"]
    assert [len([*message.iter_attachments()]) for message in mail.messages] == [1, 0, 0]
    assert route.given_up == 0


def test_pagerduty_is_given_a_link_and_waits_for_no_picture(
    server: HookServer, cameras: Mapping[str, Camera]
) -> None:
    route = pagerduty(server.url)
    route.update_cameras(cameras)
    began_s = time.monotonic()
    route.deliver([notification(age_s=0)])
    assert time.monotonic() - began_s < 0.2
    [link] = server.bodies[0]["links"]
    assert link["href"] == "https://example.org/events"


@pytest.mark.parametrize(
    "wrong",
    [
        {"apprise": "json://127.0.0.1", "picture": "path"},
        {"pagerduty": "key", "picture": "attached"},
        {"webhook": "http://127.0.0.1/", "secret": "key", "picture": "mail"},
    ],
)
def test_how_pictures_go_is_checked(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"routes\.there.*picture|routes\.there\.picture"):
        parse_config({"alerts": {"routes": {"there": wrong}}})


# -- what is given up ------------------------------------------------------------------------------------


def test_people_are_told_of_what_is_given_up_but_not_of_what_tells_of_it(server: HookServer) -> None:
    route = webhook(server.url)
    noted: list[tuple[str, str]] = []
    route.note_failed = lambda alert, name: noted.append((alert, name))
    server.answers = [(422, {})] * 2
    route.deliver([notification(kind="delivery_failed")])
    assert (route.given_up, route.gave_up_s) == (1, None), "it would be told for ever"
    route.deliver([notification(1)])
    assert (route.given_up, route.gave_up_s is None) == (2, False)
    route.tick()
    route.tick()
    assert noted == [(notification().values["alert_id"], "there")] * 2


SECRET_URLS = (
    "mailto://user:T0KENT0KEN@127.0.0.1:1?mode=insecure&to=a@example.org&from=b@example.org",
    "json://user:T0KENT0KEN@127.0.0.1:1/T0KENT0KEN",
    "form://127.0.0.1:1/T0KENT0KEN?+X-Key=T0KENT0KEN",
    "ntfy://:T0KENT0KEN@127.0.0.1:1/T0KENT0KEN",
)


@pytest.mark.parametrize("url", SECRET_URLS)
def test_no_line_of_any_level_and_no_error_holds_a_secret(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(1):
        route = apprise(url, timeout_s=1)
        with pytest.raises(OSError, match=r".") as error:
            route.deliver([notification()])
    assert "T0KEN" not in caplog.text + repr(error.value) + str(error.value.__cause__)


def test_a_url_that_apprise_does_not_know_is_told_without_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(1), pytest.raises(SightlineError, match=r"routes\.there\.apprise") as error:
        apprise("nosuchservice://T0KENT0KEN")
    assert "T0KEN" not in caplog.text + str(error.value)


def test_nobody_listens_and_the_secret_is_not_in_the_error() -> None:
    with pytest.raises(OSError, match="refused") as error:
        webhook("http://127.0.0.1:1/hidden").deliver([notification()])
    assert "hidden" not in str(error.value) and SECRET not in str(error.value)


# -- why it is not delivered, and tries that tell nobody ---------------------------------------------------


def mail_with(password: str, url_password: str, tls: tuple[Path, Path] | None = None) -> Iterator[str]:
    """A mail server with a password, and the URL of a route to it."""
    mail = Mail(free_port(), password, tls)
    mail.start()
    yield mail.url.replace("//", f"//user:{url_password}@")
    mail.stop()
    assert mail.messages == []


def problems_of(route: Apprise) -> list[str]:
    """What a try and a delivery say."""
    with pytest.raises(OSError, match=r".") as tried:
        route.probe()
    with pytest.raises(OSError, match=r".") as delivered:
        route.deliver([notification()])
    return [str(tried.value), str(delivered.value)]


def test_a_wrong_password_of_a_mail_server_is_told_as_such() -> None:
    with contextlib.contextmanager(mail_with)("hunter2hunter2", "wr0ng-w0rd") as url:
        for problem in problems_of(apprise(url)):
            assert "535" in problem and "w0rd" not in problem
            assert "check user name and password" in cure_for(problem)


@pytest.mark.parametrize(
    ("host", "words", "cure"),
    [
        ("nowhere.invalid:25", r"not known|resolution", "the name does not resolve"),
        ("127.0.0.1:1", "refused", "nothing listens there"),
    ],
)
@pytest.mark.parametrize("scheme", ["mailto", "json"])
def test_a_service_that_cannot_be_reached_is_told_with_the_reason(
    scheme: str, host: str, words: str, cure: str
) -> None:
    query = "?mode=insecure&to=a@example.org&from=b@example.org" * (scheme == "mailto")
    for problem in problems_of(apprise(f"{scheme}://user:T0KENT0KEN@{host}/{query}", timeout_s=2)):
        assert re.search(words, problem) and cure in cure_for(problem)
        assert "T0KEN" not in problem and "0x" not in problem


def test_a_mail_server_without_tls_or_with_an_untrusted_certificate_is_told(
    mail: Mail, tmp_path: Path
) -> None:
    for problem in problems_of(apprise(mail.url.replace("insecure", "starttls"))):
        assert "do not agree on TLS" in cure_for(problem), problem
    with contextlib.contextmanager(mail_with)("", "", tls_files(tmp_path)) as url:
        for problem in problems_of(apprise(url.replace("user:@", ""))):
            assert "certificate verify failed" in problem
            assert "not trusted" in cure_for(problem)


def test_tries_that_succeed_tell_nobody(server: HookServer, mail: Mail) -> None:
    with contextlib.contextmanager(mail_with)("hunter2hunter2", "hunter2hunter2") as url:
        assert apprise(url).probe() == "the mail server 127.0.0.1 has logged us in"
    assert apprise(mail.url).probe() == "the mail server 127.0.0.1 answers"
    assert webhook(server.url).probe() == "127.0.0.1 can be reached"
    assert pagerduty(server.url).probe() == "127.0.0.1 can be reached; its key was not tried"
    assert apprise(server.url.replace("http:", "json:")).probe() == "JSON: 127.0.0.1 can be reached"
    assert "which was not tried" in apprise("gotify://127.0.0.1/T0KENT0KEN").probe()
    assert (server.requests, mail.messages) == ([], [])
