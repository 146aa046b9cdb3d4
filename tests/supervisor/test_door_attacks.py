"""The door as somebody would try it who means ill: each of these was an answer, a crash or a stand-still."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from sightline.access.rights import Right
from sightline.entities import Role
from sightline.supervisor.http.endpoint import WEBSOCKET, Call, Endpoint
from sightline.supervisor.http.visitors import NobodyElse
from support.front import Front, known, served
from support.people import PASSWORD, ROOT, People, people_of
from support.shop import BODIES, GATE, Shop, ask, closed, shop_of
from support.waiting import until


@pytest.fixture
def people(database_url: str) -> Iterator[People]:
    with people_of(database_url, attempts_per_address=10_000, attempts_per_name=10_000) as made:
        made.add("admin", Role.ADMIN)
        yield made


@pytest.fixture
def shop(people: People, tmp_path: Path) -> Iterator[Shop]:
    with shop_of(people, tmp_path) as made:
        yield made


@pytest.fixture
def front(shop: Shop) -> Front:
    return shop.front


# -- what is sent is odd ------------------------------------------------------------------------------------

ODD_PATHS = (
    "%00",
    "a%00b",
    "..",
    "%2e%2e",
    "..%2f..%2fetc%2fpasswd",
    "%0d%0aX-Evil:1",
    "%ed%a0%80",
    "a" * 4000,
)
ODD_NUMBERS = ("9" * 30, "9" * 400, "9" * 5000, "-1", "nan", "inf", "1e308", "0x10", "", "\u0661")


def test_odd_names_in_paths_are_names_that_are_not_there(front: Front, shop: Shop) -> None:
    token = shop.people.tokens.create("t", Role.ADMIN, ROOT, days=1)
    for endpoint in shop.endpoints:
        for name in ("{camera}", "{alert}", "{name}", "{token}", "{route}", "{file}", "{session}"):
            for odd in ODD_PATHS if name in endpoint.path else ():
                path = endpoint.path.replace(name, odd).replace("{start_time:float}", "1790000000.5")
                path = path.replace("{camera}", GATE).replace("{file}", "video").replace("{session}", "x")
                body = BODIES.get(f"{endpoint.method} {endpoint.path}")
                answer = front.ask(path, endpoint.method, body, token=token)
                any_name = endpoint.path in {"/api/v1/routes/{route}/test", "/live/{camera}"}
                assert 400 <= answer.status < 500 or (any_name and answer.status == 200), (path, answer)
                assert "x-evil" not in answer.headers
                assert b"root:" not in answer.body


def test_odd_numbers_are_refused_or_find_nothing(front: Front, shop: Shop) -> None:
    token = shop.people.tokens.create("t", Role.ADMIN, ROOT, days=1)
    for endpoint in shop.endpoints:
        if endpoint.method == "GET" and endpoint.takes is not None and "oidc" not in endpoint.path:
            for name in endpoint.takes.model_fields:
                for odd in (*ODD_NUMBERS, "%00"):
                    path = endpoint.path.replace("{camera}", GATE)
                    answer = front.ask(f"{path}?{name}={quote(odd, safe='%')}", token=token)
                    assert answer.status < 500, (path, name, odd, answer)
    for odd in ODD_NUMBERS:
        path = f"/api/v1/cameras/{GATE}/clips/{quote(odd)}/video"
        assert front.ask(path, token=token).status == 404, odd
        path = f"/api/v1/changes/{quote(odd)}/undo"
        assert front.ask(path, "POST", token=token, headers={"If-Match": "x"}).status == 404, odd
        assert front.ask(path, "POST").status in {401, 404}, odd


ODD_BODIES = (
    b"[" * 60_000, b'{"a":' * 10_000, b"1" * 60_000, b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b"\x00",
    b'{"name": "\\u0000", "password": "\\u0000"}', b'{"name": "\\ud800", "password": "\\ud800"}',
    b'{"name": "a", "name": "b", "password": 1e999}', b'{"name": {"a": 1}, "password": []}',
    b'{"__proto__": 1}',
)  # fmt: skip


@pytest.mark.parametrize("body", ODD_BODIES, ids=lambda body: repr(body[:12]))
def test_odd_bodies_are_refused(front: Front, shop: Shop, body: bytes) -> None:
    token = shop.people.tokens.create("t", Role.ADMIN, ROOT, days=1)
    for endpoint in shop.endpoints:
        if endpoint.takes is not None and endpoint.method not in {"GET", WEBSOCKET}:
            path = endpoint.path.replace("{alert}", "alert-gate").replace("{name}", "admin")
            with closing(http.client.HTTPConnection(*front.address, timeout=20)) as connection:
                headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
                connection.request(endpoint.method, path, body, headers)
                answer = connection.getresponse()
                assert 400 <= answer.status < 500, (path, answer.status, answer.read())
    assert shop.done == []


@pytest.mark.parametrize("header", ["Content-Length", "Transfer-Encoding"])
def test_a_body_that_does_not_end_is_cut_off(front: Front, header: str) -> None:
    with socket.create_connection(front.address, timeout=20) as client:
        size = "99999999999" if header == "Content-Length" else "chunked"
        head = f"POST /auth/sign-in HTTP/1.1\r\nHost: localhost\r\n{header}: {size}\r\n\r\n"
        client.sendall(head.encode())
        chunk = b"x" * 65_536 if header == "Content-Length" else b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        answer = b""
        try:
            for _ in range(100):
                client.sendall(chunk)
            answer = client.recv(65_536)
        except OSError:
            pass
        assert not answer or b" 413 " in answer
    assert front.ask("/healthz").status in {200, 503}


@pytest.mark.parametrize(
    "request_text",
    [
        "GET /status HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        "GET /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "GET /status HTTP/1.1\r\nHost : localhost\r\n\r\n",
        "GET /status HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "GET /status HTTP/1.1\r\nHost: localhost\r\n X: folded\r\n\r\n",
        "GET http://evil.example/status HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET /status HTTP/1.1\r\n\r\n",
        "GET //evil.example/%2e%2e/status/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_smuggled_headers_reach_nothing(front: Front, request_text: str) -> None:
    with socket.create_connection(front.address, timeout=20) as client:
        client.sendall(request_text.encode())
        answer = client.recv(65_536)
    assert answer.split()[1] in {b"400", b"401", b"403", b"404", b"501"}, answer
    assert b"location" not in answer.lower()


@pytest.mark.parametrize("origin", ["http://[evil", "http://[::1", "null", "//127.0.0.1", "x://", "é"])
def test_an_origin_that_is_none_is_refused_in_silence(
    front: Front, caplog: pytest.LogCaptureFixture, origin: str
) -> None:
    with caplog.at_level(logging.INFO):
        assert front.ask("/auth/me", headers={"Origin": origin}).status == 403
        answer = front.shake_hands("/ws/events", headers={"Origin": origin})
        assert answer.status == 403
    assert [record for record in caplog.records if record.exc_info] == []


# -- ranges --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ranges",
    [
        ",".join(f"{n}-{n}" for n in range(0, 9000, 2)),
        ",".join(["0-"] * 15_000),
        "9" * 4000 + "-",
        "-" * 60_000,
    ],
)
def test_many_ranges_cost_no_more_than_the_file(front: Front, shop: Shop, ranges: str) -> None:
    token = shop.people.tokens.create("t", Role.VIEWER, ROOT, days=1)
    [clip, *_] = front.ask("/api/v1/clips", token=token).json
    before = psutil.Process().cpu_times().user
    answer = front.ask(clip["video"], token=token, headers={"Range": f"bytes={ranges}"})
    assert answer.status in {200, 206, 400, 416}
    assert len(answer.body) < 2000
    assert psutil.Process().cpu_times().user - before < 2.0


# -- who somebody is -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("forwarded", ["127.0.0.1", "::1", "203.0.113.9", "127.0.0.1, 203.0.113.9"])
def test_a_header_makes_nobody_another(front: Front, shop: Shop, forwarded: str) -> None:
    names = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Forwarded-Host", "True-Client-IP")
    headers = dict.fromkeys(names, forwarded)
    sent = {"name": "admin", "password": "wrong wrong wrong"}
    assert front.post("/auth/sign-in", sent, headers={**headers, "X-Forwarded-Proto": "https"}).status == 401
    assert shop.people.audit()[-1].address == "127.0.0.1"
    for endpoint in closed(shop.endpoints):
        assert ask(front, endpoint, headers=headers).status in {401, 403}


def _hello(call: Call) -> str:
    """Say hello."""
    return "hello"


def test_without_accounts_a_proxy_on_this_machine_lets_nobody_in() -> None:
    seen = Endpoint("GET", "/status", Right.SEE_STATUS, _hello, gives=str)
    with served([seen], NobodyElse()) as front:
        assert front.ask("/status").status == 200
        assert front.ask("/status", headers={"X-Forwarded-For": "127.0.0.1"}).status == 200
        for forwarded in ("203.0.113.9", "203.0.113.9, 127.0.0.1", "nonsense"):
            assert front.ask("/status", headers={"X-Forwarded-For": forwarded}).status == 401


def test_a_session_that_somebody_brings_along_is_not_taken_up(front: Front, shop: Shop) -> None:
    fixed = "A" * 43
    sent = {"name": "admin", "password": PASSWORD}
    answer = front.post("/auth/sign-in", sent, session=fixed)
    assert answer.status == 200
    assert answer.session not in {"", fixed}
    assert front.ask("/api/v1/people", session=fixed).status == 401
    assert front.ask("/api/v1/people", session=answer.session).status == 200


def test_of_two_changes_of_one_version_one_is_made(front: Front, shop: Shop) -> None:
    token = shop.people.tokens.create("t", Role.ADMIN, ROOT, days=1)
    read = front.ask("/api/v1/config", token=token).json
    match = {"If-Match": read["version"]}
    start = threading.Barrier(6)

    def change(number: int) -> int:
        text = f"{read['text']}# change {number}\n"
        start.wait(30)
        return front.ask("/api/v1/config", "PUT", {"text": text}, token=token, headers=match).status

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(change, range(6))) == [200, *[412] * 5]
    for wrong in ("*", 'W/"x"', f'{read["version"]}, "x"', "é"):
        answer = front.ask(
            "/api/v1/config", "PUT", {"text": "cameras: {}"}, token=token, headers={"If-Match": wrong}
        )
        assert answer.status == 412, wrong


# -- what is told --------------------------------------------------------------------------------------------


def test_no_secret_stands_in_any_answer_or_log(
    front: Front, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    token = shop.people.tokens.create("t", Role.ADMIN, ROOT, days=1)
    session = front.post("/auth/sign-in", {"name": "admin", "password": PASSWORD}).session
    version = front.ask("/api/v1/config", token=token).json["version"]
    secrets = [token, session, PASSWORD, "hunter2", "s3cr3t-of-mail"]
    mistakes = (
        "cameras: {gate: {url: 'rtsp://u:hunter2@h/', nonsense: 'rtsp://u:hunter2@h/'}}",
        "cameras: {gate: {url: 'gopher://u:hunter2@h/'}}",
        "cameras: {gate: {url: ['rtsp://u:hunter2@h/']}}",
        "database: {url: 'mysql://u:hunter2@h/x'}\ncameras: {}",
        "streams: {mqtt: {host: 1, password: {a: s3cr3t-of-mail}}}\ncameras: {}",
        "access: {oidc: {client_secret: [s3cr3t-of-mail]}}\ncameras: {}",
        "log_level: 'rtsp://u:hunter2@h/'\ncameras: {}",
        "cameras: {gate: {url: 'rtsp://u:hunter2@h/'",
    )
    answers = []
    with caplog.at_level(logging.DEBUG):
        for text in mistakes:
            sent = {"text": text, "try_only": True}
            answers.append(
                front.ask("/api/v1/config", "PUT", sent, token=token, headers={"If-Match": version})
            )
        for endpoint in shop.endpoints:
            if endpoint.method != WEBSOCKET and "sign-out" not in endpoint.path:
                answers += [ask(front, endpoint, token=token), ask(front, endpoint, session=session)]
        answers.append(front.post("/auth/sign-in", {"name": PASSWORD, "password": PASSWORD}))
        answers.append(front.post("/auth/sign-in", {"name": 1, "password": [PASSWORD]}))
        answers.append(front.post("/api/v1/probe", {"url": {"a": "rtsp://u:hunter2@h/"}}, token=token))
    assert not [answer for answer in answers if answer.status == 500]
    texts = [answer.body.decode("latin-1") for answer in answers] + [caplog.text]
    texts.append(json.dumps([repr(entry) for entry in shop.people.audit()]))
    for secret in secrets:
        assert not any(secret in text for text in texts), secret


def test_one_person_keeps_not_all_threads_and_others_are_answered(people: People) -> None:
    """A hundred slow questions of one viewer kept everybody else waiting, who signs in as well."""
    go_on = threading.Event()

    def slow(_: Call) -> str:
        """Takes long."""
        return str(go_on.wait(30))

    def quick(_: Call) -> str:
        """Takes no time."""
        return "quick"

    path = partial(Endpoint, "GET", right=Right.SEE_HEALTH, gives=str)
    endpoints = [path("/slow", handler=slow), path("/quick", handler=quick)]
    greedy, other = (people.tokens.create(name, Role.VIEWER, ROOT, days=1) for name in ("greedy", "other"))
    with served(endpoints, known(people)) as front, ThreadPoolExecutor(60) as pool:
        try:
            waiting = [pool.submit(front.ask, "/slow", token=greedy) for _ in range(60)]
            until(lambda: len(front.connections) >= 60, 20)
            time.sleep(0.5)
            for token in (other, ""):
                began_s = time.monotonic()
                assert front.ask("/quick", token=token).json == "quick"
                assert time.monotonic() - began_s < 5
        finally:
            go_on.set()
        assert {answer.result().status for answer in waiting} == {200}
