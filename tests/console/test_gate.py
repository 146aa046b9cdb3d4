"""The console as one address: who is let in, and what is passed on to the supervisor, and how."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

pytest.importorskip("streamlit", reason="the console's packages are not installed")

import streamlit
from streamlit.proto.BackMsg_pb2 import BackMsg

from console import api, gate, proxy, texts
from console.pages import PAGES
from sightline.access.rights import Right
from sightline.entities import Role
from sightline.supervisor.http.api_wall import WallDoor
from sightline.supervisor.http.endpoint import WEBSOCKET, Call, Endpoint, Taken
from sightline.supervisor.http.own_programs import KEY_FILE, KEY_HEADER
from sightline.supervisor.http.sign_in_pages import SignInPages
from sightline.supervisor.http.visitors import NobodyElse
from support.certificates import make_certificate
from support.console_server import port_of_front, running_console
from support.front import Answer, Front, known, served
from support.people import PASSWORD, ROOT, People, people_of
from support.waiting import until

PAGE = {"Accept": "text/html,*/*"}


class Anything(Taken):
    text: str


@dataclass
class Upstream:
    """Handlers of the supervisor's side, and what became of them."""

    parts: int = 0
    watching: int = 0
    said: list[str] = field(default_factory=list)
    chunk: bytes = b"x" * 1000
    pause_s: float = 0.02

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/api/v1/who", Right.SIGN_IN, self.who, gives=dict[str, Any]),
            Endpoint(
                "POST",
                "/api/v1/say",
                Right.CHANGE_PASSWORD,
                self.say,
                takes=Anything,
                gives=str,
                max_body=1 << 23,
            ),
            Endpoint("GET", "/api/v1/elsewhere", Right.SIGN_IN, self.elsewhere, media="text/plain"),
            Endpoint("GET", "/live/a b.mjpg", Right.SEE_LIVE, self.stream, media="text/plain", long=True),
            Endpoint("GET", "/live/broken.mjpg", Right.SIGN_IN, self.broken, media="text/plain", long=True),
            Endpoint(WEBSOCKET, "/ws/echo", Right.SEE_LIVE, self.echo),
        ]

    def who(self, call: Call) -> dict[str, Any]:
        """Who asks, and how."""
        headers = dict(call.connection.headers)
        person = call.caller.person
        return {
            "name": person and person.name,
            "address": call.caller.address,
            "scheme": call.connection.url.scheme,
            "headers": headers,
        }

    def say(self, call: Call) -> str:
        """Take something."""
        return str(len(call.taken.text))

    def elsewhere(self, call: Call) -> Response:
        """Where a provider would send people back to."""
        return RedirectResponse(str(call.connection.base_url.replace(path="/auth/back")))

    async def stream(self, _: Call) -> Response:
        """Something that goes on."""

        async def parts() -> AsyncIterator[bytes]:
            self.watching += 1
            try:
                while True:
                    self.parts += 1
                    yield self.chunk
                    await asyncio.sleep(self.pause_s)
            finally:
                self.watching -= 1

        return StreamingResponse(parts(), media_type="multipart/x-mixed-replace; boundary=b")

    async def broken(self, _: Call) -> Response:
        """Something that breaks off."""

        async def parts() -> AsyncIterator[bytes]:
            yield b"begun"
            raise OSError("a test breaks it off")

        return StreamingResponse(parts())

    async def echo(self, socket: WebSocket, call: Call) -> None:
        """What is said, until somebody says "end"."""
        await socket.accept()
        self.watching += 1
        try:
            await socket.send_text(call.caller.address)
            while (text := await socket.receive_text()) != "end":
                await socket.send_text(text)
            await socket.close(1008, "it has ended")
        except WebSocketDisconnect:
            pass
        finally:
            self.watching -= 1


async def pages(scope: Any, receive: Any, send: Any) -> None:
    """In Streamlit's place."""
    if scope["type"] == "websocket":
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        await socket.send_text("a page")
        if "stay" in socket.query_params:
            with suppress(WebSocketDisconnect):
                while True:
                    said = await socket.receive()
                    if said["type"] == "websocket.disconnect":
                        break
                    await socket.send({**said, "type": "websocket.send"})
        else:
            await socket.close()
    else:
        await PlainTextResponse("a page")(scope, receive, send)


@dataclass(frozen=True)
class Console:
    url: str
    front: Front
    people: People
    upstream: Upstream

    def ask(
        self, path: str, method: str = "GET", body: Any = None, *, session: str = "", **headers: str
    ) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent |= {"Cookie": f"other=1; sightline={session}"} if session else {}
        data = None if body is None else json.dumps(body).encode()
        sent |= {"Content-Type": "application/json"} if data is not None else {}
        with closing(http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=20)) as connection:
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    @contextmanager
    def stream(self, session: str) -> Iterator[http.client.HTTPResponse]:
        with closing(http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=20)) as connection:
            connection.request("GET", "/live/a%20b.mjpg?n=1", headers={"Cookie": f"sightline={session}"})
            yield connection.getresponse()

    def socket(self, path: str, session: str = "", **headers: str) -> ClientConnection:
        sent = {"Origin": self.url} | ({"Cookie": f"sightline={session}"} if session else {})
        return connect(self.url.replace("http", "ws") + path, additional_headers={**sent, **headers})


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    with people_of(f"sqlite:///{tmp_path}/people.db") as made:
        made.add("Anna")
        yield made


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(api, "FRESH_S", 0.05)
    yield
    api._person.cache_clear()


@pytest.fixture
def console(people: People, upstream: Upstream, tmp_path: Path) -> Iterator[Console]:
    own = [*SignInPages(people.accounts).endpoints(), *WallDoor(people.tokens).endpoints()]
    with (
        served([*own, *upstream.endpoints()], known(people)) as front,
        running_console(port_of_front(front, tmp_path), pages) as url,
    ):
        yield Console(url, front, people, upstream)


# Who is let in


def test_nobody_gets_a_page_and_is_led_back_after_signing_in(console: Console) -> None:
    away = console.ask("/counts?zone=a&b=c%2Fd", **PAGE)
    assert away.status == 303
    assert away.headers["location"] == "/auth/sign-in?next=/counts%3Fzone%3Da%26b%3Dc%252Fd"
    assert b"<form" in console.ask("/auth/sign-in").body
    for path in (
        "/",
        "/static/js/index.js",
        "/media/ab.png",
        "/_stcore/host-config",
        "/_stcore/upload_file/1/2",
    ):
        assert console.ask(path).status == 401, path
    assert console.ask("/", "POST", {}, **PAGE).status == 401
    with pytest.raises(InvalidStatus, match="403"):
        console.socket("/_stcore/stream")
    assert console.ask("/_stcore/health").body == b"a page"


def test_a_page_says_whose_it_is_before_its_scripts_have_come() -> None:
    """In Streamlit's own page of today: what is replaced in it must be there."""
    given = (Path(streamlit.__file__).parent / "static" / "index.html").read_bytes()
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def answer(kind: bytes, status: int, *parts: bytes) -> bytes:
        opening, headers = gate.Opening(send), [(b"content-type", kind), (b"content-length", b"%d" % 9)]
        sent.clear()
        await opening({"type": "http.response.start", "status": status, "headers": headers})
        for part in parts:
            more = part is not parts[-1]
            await opening({"type": "http.response.body", "body": part, "more_body": more})
        return b"".join(message["body"] for message in sent[1:])

    page = asyncio.run(answer(b"text/html; charset=utf-8", 200, given[:1000], given[1000:]))
    assert b"<title>Sightline</title>" in page
    assert texts.OPENING.encode() in page
    assert page.index(b"addEventListener") < page.index(b'type="module"'), "it hears of lost scripts"
    assert b"Streamlit</title>" not in page
    assert dict(sent[0]["headers"])[b"content-length"] == str(len(page)).encode()
    assert asyncio.run(answer(b"text/html", 404, b"<title>", b"Streamlit</title>")).endswith(
        b"Streamlit</title>"
    )
    assert asyncio.run(answer(b"text/javascript", 200, given)) == given
    assert dict(sent[0]["headers"])[b"content-length"] == b"9"


def test_whoever_signs_in_here_gets_pages_until_the_sign_in_ends(console: Console) -> None:
    origin = {"Origin": console.url}
    given = console.ask("/auth/sign-in", "POST", {"name": "anna", "password": PASSWORD}, **origin)
    assert (given.status, bool(given.session)) == (200, True)
    page = console.ask("/counts", session=given.session, **PAGE)
    assert (page.status, page.body) == (200, b"a page")
    assert page.headers["x-frame-options"] == "SAMEORIGIN"
    with console.socket("/_stcore/stream", given.session) as socket:
        assert socket.recv() == "a page"
    console.people.accounts.disable("Anna", ROOT)
    time.sleep(0.1)
    assert console.ask("/counts", session=given.session, **PAGE).status == 303
    with pytest.raises(InvalidStatus, match="403"):
        console.socket("/_stcore/stream", given.session)


def test_an_address_that_is_no_pages_is_said_to_be_none(console: Console) -> None:
    session = console.people.session("Anna")
    live = console.ask("/live", session=session, **PAGE)
    assert (live.status, live.headers["location"]) == (303, "/")
    none = console.ask("/no-such", session=session, **PAGE)
    assert (none.status, texts.NO_SUCH_PAGE.encode() in none.body) == (404, True)
    assert b'href="/"' in none.body
    for path in ["/", "/counts/", "/media/a.csv", *(f"/{page.path}" for page in PAGES)]:
        assert console.ask(path, session=session, **PAGE).body == b"a page", path
    assert console.ask("/no-such", **PAGE).status == 303, "nobody hears which pages there are"


def test_a_page_that_stays_open_ends_with_its_sign_in(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever kept the socket, and not the page, went on asking with the rights of before."""
    monkeypatch.setattr(gate, "ASK_S", 0.05)
    monkeypatch.setattr(gate, "LEAVE_S", 0.1)
    with console.socket("/_stcore/stream?stay=1", console.people.session("Anna")) as socket:
        assert socket.recv() == "a page"
        time.sleep(0.5)
        socket.send("still here")
        assert socket.recv() == "still here"
        console.people.accounts.set_cameras("Anna", ["gate"], ROOT)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


def test_a_page_says_what_pages_say_and_nothing_for_all_of_them(console: Console) -> None:
    """Any viewer could empty what all pages share, and with it close the database there."""
    kept = [BackMsg(app_heartbeat=True), BackMsg(stop_script=True)]
    dropped = [BackMsg(clear_cache=True), BackMsg(load_git_info=True), BackMsg(set_run_on_save=True)]
    with console.socket("/_stcore/stream?stay=1", console.people.session("Anna")) as socket:
        assert socket.recv() == "a page"
        for message in (*dropped, kept[0], *dropped, kept[1]):
            socket.send(message.SerializeToString())
        assert [socket.recv(timeout=20) for _ in kept] == [message.SerializeToString() for message in kept]
        socket.send(b"\xff no message")
        assert socket.recv(timeout=20) == b"\xff no message"


@pytest.mark.parametrize("session", ["forged", "x" * 600, '"', "é"])
def test_a_forged_session_is_nobodys(console: Console, session: str) -> None:
    assert console.ask("/", session=session, **PAGE).status == 303


def test_a_password_that_has_to_be_changed_comes_first(console: Console) -> None:
    console.people.add("Ben", must_change=True)
    assert console.ask("/", session=console.people.session("Ben"), **PAGE).status == 303


def test_a_wall_display_is_led_to_its_wall_and_gets_no_page_or_socket_of_the_console(
    console: Console,
) -> None:
    token = console.people.tokens.create("lobby", Role.DISPLAY, ROOT, days=3650)
    opened = console.ask("/auth/wall", "POST", {"link": token}, Origin=console.url)
    assert (opened.status, opened.session) == (200, token)
    for path in ("/", "/counts", "/people", "/?camera=gate"):
        led = console.ask(path, session=token, **PAGE)
        assert (led.status, led.headers["location"]) == (303, "/live/pages/wall"), path
    for path in ("/", "/static/js/index.js", "/media/ab.png", "/_stcore/host-config"):
        assert console.ask(path, session=token).status == 403, path
    for path in ("/_stcore/stream", "/ws/echo"):
        with pytest.raises(InvalidStatus, match="403"):
            console.socket(path, token)
    assert console.ask("/live/a%20b.mjpg", session=token).status == 403
    console.people.tokens.revoke("lobby", ROOT)
    time.sleep(0.1)
    assert console.ask("/", session=token, **PAGE).headers["location"] == "/auth/sign-in?next=/"


def test_where_accounts_are_off_this_machine_may_look_and_no_other(
    upstream: Upstream, people: People, tmp_path: Path
) -> None:
    with (
        served(upstream.endpoints(), NobodyElse()) as front,
        running_console(port_of_front(front, tmp_path), pages, proxies=["127.0.0.1"]) as url,
    ):
        console = Console(url, front, people, upstream)
        far = {"X_Forwarded_For": "192.0.2.7"}
        assert console.ask("/").status == 200
        assert console.ask("/", **far).status == 403
        assert b"<h1>Accounts are switched off" in console.ask("/", **far, **PAGE).body
        assert console.ask("/api/v1/who").json["name"] == "anybody"
        (tmp_path / KEY_FILE).unlink()  # then the supervisor takes the console's address for the browser's
        assert console.ask("/api/v1/who", **far).status == 403


def test_where_accounts_are_off_a_proxy_that_is_not_known_lets_nobody_in(
    upstream: Upstream, people: People, tmp_path: Path
) -> None:
    with (
        served(upstream.endpoints(), NobodyElse()) as front,
        running_console(port_of_front(front, tmp_path), pages) as url,
    ):
        console = Console(url, front, people, upstream)
        for far in ("192.0.2.7", "192.0.2.7, 127.0.0.1"):
            for path in ("/", "/counts", "/api/v1/who", "/live/a%20b.mjpg"):
                assert console.ask(path, X_Forwarded_For=far).status == 403, path
            with pytest.raises(InvalidStatus, match="403"):
                console.socket("/ws/echo", **{"X-Forwarded-For": far})
        assert console.ask("/", X_Forwarded_For="127.0.0.1").status == 200


def test_while_the_supervisor_is_away_the_page_says_so_and_looks_again(console: Console) -> None:
    session = console.people.session()
    console.front.server.stop()
    time.sleep(0.1)
    for path in ("/counts", "/auth/sign-in"):
        page = console.ask(path, session=session, **PAGE)
        assert (page.status, page.headers["retry-after"]) == (503, "5")
        assert b"Sightline does not answer." in page.body
        assert b'http-equiv="refresh"' in page.body
    answer = console.ask("/api/v1/who", session=session)
    assert (answer.status, answer.error[:26]) == (503, "Sightline does not answer.")
    with pytest.raises(InvalidStatus):
        console.socket("/ws/echo", session)


def test_bodies_that_do_not_come_keep_nobody_out_and_are_given_up(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "MAX_COMING", 4)
    monkeypatch.setattr(proxy, "BODY_S", 0.5)
    address = urlsplit(console.url)
    head = "POST /auth/sign-in HTTP/1.1", f"Host: {address.netloc}", "Content-Length: 100", "", '{"na'
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=10))
            for _ in range(4)
        ]
        for one in slow:
            one.sendall("\r\n".join(head).encode())
        refused = until_given(lambda: console.ask("/auth/sign-in", "POST", {}, Origin=console.url), 503)
        assert "Try again" in refused.error
        assert console.ask("/api/v1/who").status == 200, "what sends nothing is not kept out"
        for one in slow:
            assert b" 408 " in one.recv(65_536)
        given = console.ask(
            "/auth/sign-in", "POST", {"name": "anna", "password": PASSWORD}, Origin=console.url
        )
        assert given.status == 200


def until_given(ask: Callable[[], Answer], status: int) -> Answer:
    answers: list[Answer] = []
    until(lambda: answers.append(ask()) or answers[-1].status == status, 5)
    return answers[-1]


def test_one_address_cannot_take_all_places(
    people: People, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "MAX_OF_ONE", 3)
    endpoints = [*SignInPages(people.accounts).endpoints(), *upstream.endpoints()]
    session = people.session()
    with (
        served(endpoints, known(people)) as front,
        running_console(port_of_front(front, tmp_path), pages, proxies=["127.0.0.1"]) as url,
        ExitStack() as stack,
    ):
        console = Console(url, front, people, upstream)
        near, far = {"X-Forwarded-For": "2001:db8::7"}, {"X_Forwarded_For": "2001:db8:0:1::7"}
        for _ in range(3):
            stack.enter_context(console.socket("/ws/echo", session, **near)).recv()
        refused = console.ask("/", session=session, X_Forwarded_For="2001:db8::8", **PAGE)
        assert (refused.status, b"Too much is open" in refused.body) == (503, True)
        with pytest.raises(InvalidStatus, match="403"):
            console.socket("/ws/echo", session, **near)
        assert console.ask("/", session=session, **far, **PAGE).status == 200
        assert console.ask("/_stcore/health", X_Forwarded_For="2001:db8::7").status == 200
        stack.close()
        until_given(lambda: console.ask("/", session=session, X_Forwarded_For="2001:db8::7"), 200)


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_pages_take_nothing_that_is_sent(console: Console, method: str) -> None:
    sent = {"session": console.people.session(), "Origin": console.url}
    assert console.ask("/_stcore/upload_file/1/2", method, {"a": 1}, **sent).status == 405


# What is passed on


def test_the_viewers_address_reaches_the_supervisor_and_what_a_browser_says_of_it_does_not(
    console: Console, tmp_path: Path
) -> None:
    told = console.ask(
        "/api/v1/who",
        session=console.people.session(),
        X_Forwarded_For="203.0.113.9",
        X_Forwarded_Proto="https",
        Forwarded="for=203.0.113.9",
        **{KEY_HEADER: "guessed"},
    ).json
    assert (told["name"], told["address"], told["scheme"]) == ("Anna", "127.0.0.1", "http")
    assert told["headers"]["host"] == urlsplit(console.url).netloc
    assert "forwarded" not in told["headers"]
    with running_console(port_of_front(console.front, tmp_path), pages, proxies=["127.0.0.1"]) as behind:
        told = Console(behind, console.front, console.people, console.upstream).ask(
            "/api/v1/who", X_Forwarded_For="203.0.113.9", X_Forwarded_Proto="https"
        )
        assert (told.json["address"], told.json["scheme"]) == ("203.0.113.9", "https")


def test_the_audit_and_the_limit_of_attempts_know_the_viewers_address(
    console: Console, tmp_path: Path
) -> None:
    with running_console(port_of_front(console.front, tmp_path), pages, proxies=["127.0.0.1"]) as behind:
        viewed = Console(behind, console.front, console.people, console.upstream)
        body = {"name": "anna", "password": PASSWORD}
        signed = viewed.ask("/auth/sign-in", "POST", body, Origin=behind, X_Forwarded_For="203.0.113.9")
        assert signed.status == 200
    assert console.people.audit()[-1].address == "203.0.113.9"


def test_without_the_key_the_supervisor_believes_nothing(console: Console, tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_text("another user's")
    told = console.ask("/api/v1/who").json
    assert told["address"] == "127.0.0.1"
    assert console.front.ask("/api/v1/who", headers={KEY_HEADER: "", "X-Forwarded-For": "1.2.3.4"}).json[
        "address"
    ] == ("127.0.0.1")


def test_a_name_that_the_console_is_asked_by_need_not_be_the_supervisors(console: Console) -> None:
    told = console.ask("/api/v1/elsewhere", Host="console.example:8501", Origin="http://console.example:8501")
    assert told.headers["location"] == "http://console.example:8501/auth/back"
    assert console.front.ask("/api/v1/who", headers={"Host": "console.example"}).status == 403


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
def test_other_peoples_pages_get_nothing(console: Console, headers: dict[str, str]) -> None:
    session = console.people.session()
    assert console.ask("/api/v1/who", session=session, **headers).status == 403
    assert console.ask("/", session=session, **headers).status == 403
    with pytest.raises(InvalidStatus, match=r"40[03]"):  # a second Host is no HTTP
        console.socket("/ws/echo", session, **headers)


def test_a_stream_comes_as_it_is_made_and_ends_with_the_browser(console: Console) -> None:
    with console.stream(console.people.session()) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "multipart/x-mixed-replace; boundary=b"
        assert stream.headers["content-encoding"] is None
        stream.read(1000)
        assert console.upstream.parts < 50
        assert console.upstream.watching == 1
    until(lambda: console.upstream.watching == 0, 10)


def test_a_browser_that_does_not_read_holds_its_stream_up_and_nothing_grows(console: Console) -> None:
    console.upstream.chunk, console.upstream.pause_s = b"x" * 100_000, 0.0
    with console.stream(console.people.session()) as stream:
        stream.read(1)
        parts = -1
        while parts != console.upstream.parts:
            parts = console.upstream.parts
            time.sleep(0.5)
        assert parts * 100_000 < 12_000_000, "what the system keeps of both connections, and no more"
    until(lambda: console.upstream.watching == 0, 10)


def test_a_browser_that_takes_nothing_any_more_is_given_up(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "STALLED_S", 0.5)
    console.upstream.chunk, console.upstream.pause_s = b"x" * 100_000, 0.0
    with console.stream(console.people.session()) as stream:
        stream.read(1)
        until(lambda: console.upstream.watching == 0, 20)


def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(console: Console) -> None:
    with pytest.raises(http.client.IncompleteRead):
        console.ask("/live/broken.mjpg")


def test_bodies_are_passed_on_and_bounded(console: Console) -> None:
    sent = {"session": console.people.session(), "Origin": console.url}
    assert console.ask("/api/v1/say", "POST", {"text": "x" * 2_000_000}, **sent).json == "2000000"
    assert console.ask("/api/v1/say", "POST", {"text": "x" * 5_000_000}, **sent).status == 413
    assert (
        console.ask("/api/v1/say", "POST", {"text": "x"}, session=sent["session"]).status == 403
    )  # no Origin


def test_no_more_than_so_many_are_passed_on_at_once(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "MAX_OPEN", 1)
    with console.stream(console.people.session()) as stream:
        stream.read(1)
        assert console.ask("/api/v1/who").status == 503
    until(lambda: console.ask("/api/v1/who").status == 200, 10)


def test_a_websocket_is_passed_on_both_ways_and_closes_as_the_supervisor_says(console: Console) -> None:
    session = console.people.session()
    with console.socket("/ws/echo", session) as socket:
        assert socket.recv() == "127.0.0.1"
        socket.send("hello")
        assert socket.recv() == "hello"
        socket.send("end")
        with pytest.raises(ConnectionClosed):
            socket.recv()
        assert (socket.close_code, socket.close_reason) == (1008, "it has ended")
    with console.socket("/ws/echo", session) as socket:
        socket.recv()
        assert console.upstream.watching == 1
    until(lambda: console.upstream.watching == 0, 10)
    with pytest.raises(InvalidStatus, match="403"):
        console.socket("/ws/echo")


def test_a_supervisor_with_tls_is_asked_by_its_own_certificate_alone(
    people: People, upstream: Upstream, tmp_path: Path
) -> None:
    endpoints = [*SignInPages(people.accounts).endpoints(), *upstream.endpoints()]
    with (
        served(endpoints, known(people), **make_certificate(tmp_path)) as front,
        running_console(port_of_front(front, tmp_path), pages) as url,
    ):
        console = Console(url, front, people, upstream)
        assert console.ask("/", session=people.session(), **PAGE).status == 200
        assert console.ask("/api/v1/who").json["scheme"] == "http"  # as the browser asks
        with console.socket("/ws/echo", people.session()) as socket:
            socket.recv()
