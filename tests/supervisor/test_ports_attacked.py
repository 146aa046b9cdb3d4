"""The supervisor's port and the console's, held by somebody who means ill: others are answered even so."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect

from sightline.access.rights import Right
from sightline.supervisor.http import http_server
from sightline.supervisor.http.endpoint import Call, Endpoint, Taken
from sightline.supervisor.http.visitors import NobodyElse
from support.certificates import make_certificate
from support.console_site import console_site
from support.console_world import World
from support.front import served
from support.waiting import until

#: What somebody sends and then waits.
HELD = {
    "nothing": b"",
    "half a header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    "half a body": b'POST /auth/sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"na',
}
SOON_S = 2.0
ELSEWHERE = "127.0.0.2"  # another machine, as far as anybody can tell


class Name(Taken):
    name: str


def _hello(call: Call) -> str:
    """Say hello."""
    return f"hello {call.taken.name}" if call.taken else "hello"


ENDPOINTS = [
    Endpoint("POST", "/auth/sign-in", Right.SIGN_IN, _hello, takes=Name, gives=str),
    Endpoint("GET", "/healthz", Right.SEE_HEALTH, _hello, gives=str),
]


@dataclass(frozen=True)
class Port:
    """One that is attacked, and what an ordinary browser asks it for."""

    address: tuple[str, int]
    process: psutil.Process
    path: str
    cookie: str = ""
    tls: ssl.SSLContext | None = None

    @property
    def held(self) -> int:
        """Connections of which the process has a descriptor."""
        every = self.process.net_connections("tcp")
        return sum(one.laddr.port == self.address[1] and one.status != psutil.CONN_LISTEN for one in every)

    def visit(self) -> None:
        """As a browser that has not been here before; it is answered soon."""
        began_s = time.monotonic()
        host, port = self.address
        connection = http.client.HTTPConnection(host, port, timeout=SOON_S)
        if self.tls is not None:
            connection = http.client.HTTPSConnection("localhost", port, timeout=SOON_S, context=self.tls)
        with closing(connection):
            connection.request("GET", self.path, headers={"Cookie": self.cookie})
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (200, True)
        assert time.monotonic() - began_s < SOON_S


def ended(connections: list[socket.socket]) -> int:
    """How many of them the other side has ended; none of them is sent anything."""
    count = 0
    for connection in connections:
        connection.setblocking(False)
        try:
            count += connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            pass
        except ConnectionError:
            count += 1
    return count


@contextmanager
def supervisor(folder: Path, certificate: dict[str, str]) -> Iterator[Port]:
    tls = ssl.create_default_context(cafile=certificate["tls_cert"]) if certificate else None
    with served(ENDPOINTS, NobodyElse(), **certificate) as front:
        yield Port(front.address, psutil.Process(), "/healthz", tls=tls)


@contextmanager
def console(folder: Path, certificate: dict[str, str]) -> Iterator[Port]:
    pytest.importorskip("streamlit", reason="the console's packages are not installed")
    tls = ssl.create_default_context(cafile=certificate["tls_cert"]) if certificate else None
    world = World(f"sqlite:///{folder}/sightline.db")
    world.program("all", time.time() + 3600)
    world.camera("gate", time.time() + 3600)
    with console_site(world, folder, certificate=certificate) as site:
        name = "__Host-sightline" if certificate else "sightline"
        cookie = f"{name}={site.people.session('viewer')}"
        port = int(site.url.rpartition(":")[2])
        yield Port(("127.0.0.1", port), psutil.Process(site.pid), "/", cookie, tls)


@pytest.fixture(scope="module", params=[supervisor, console], ids=lambda made: made.__name__)
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    with request.param(tmp_path_factory.mktemp("port"), {}) as made:
        yield made


@pytest.mark.fault(24)
@pytest.mark.parametrize("sent", HELD.values(), ids=HELD)
def test_what_is_held_open_keeps_no_others_out_and_uses_no_descriptors_up(
    port: Port, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(port.address, timeout=10)) for _ in range(300)
        ]
        for connection in connections:
            with suppress(OSError):  # it has given way already
                connection.sendall(sent)
        until(lambda: ended(connections) >= 300 - http_server.MAX_CONNECTIONS, 5)
        until(lambda: port.held <= http_server.MAX_CONNECTIONS)
        for _ in range(3):
            port.visit()
    until(lambda: port.held == 0, 5)
    assert not caplog.records, "whoever means ill fills no log"


def test_whoever_holds_most_gives_way(port: Port) -> None:
    elsewhere = partial(socket.create_connection, port.address, timeout=10, source_address=(ELSEWHERE, 0))
    with ExitStack() as stack:
        first = stack.enter_context(socket.create_connection(port.address, timeout=10))
        first.sendall(HELD["half a header"])
        connections = [stack.enter_context(elsewhere()) for _ in range(300)]
        until(lambda: ended(connections) >= 301 - http_server.MAX_CONNECTIONS, 5)
        first.sendall(b"1\r\n\r\n")
        assert first.recv(9) == b"HTTP/1.1 "


def test_what_does_not_go_on_is_given_up(port: Port) -> None:
    before_mb = port.process.memory_info().rss / 1e6
    with ExitStack() as stack:
        for _ in range(60):
            for sent in HELD.values():
                stack.enter_context(socket.create_connection(port.address, timeout=10)).sendall(sent)
        until(lambda: port.held > 170)
        until(lambda: port.held == 0, http_server.REQUEST_TIMEOUT_S + 3)
    assert port.process.memory_info().rss / 1e6 - before_mb < 10


@pytest.mark.parametrize("made", [supervisor, console], ids=lambda made: made.__name__)
def test_handshakes_that_do_not_end_use_up_no_descriptors(
    made: Callable[[Path, dict[str, str]], Port], tmp_path: Path
) -> None:
    with made(tmp_path, make_certificate(tmp_path, "localhost")) as port, ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(port.address, timeout=10)) for _ in range(600)
        ]
        until(lambda: ended(connections) >= 600 - http_server.MAX_HANDSHAKES, 10)
        until(lambda: port.held <= http_server.MAX_HANDSHAKES + 1)
        for _ in range(5):
            port.visit()


# -- the console's WebSockets --------------------------------------------------------------------------------


def deaf_page(port: Port, asks: bytes) -> socket.socket:
    """The WebSocket of a page that asks for what it shows, and reads nothing of it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(20)
    client.bind((ELSEWHERE, 0))
    client.connect(port.address)
    host = f"127.0.0.1:{port.address[1]}"
    head = (
        "GET /_stcore/stream HTTP/1.1", f"Host: {host}", f"Origin: http://{host}", f"Cookie: {port.cookie}",
        "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol: streamlit",
    )  # fmt: skip
    client.sendall("\r\n".join([*head, "", ""]).encode())
    if client.recv(12) == b"HTTP/1.1 101":
        client.sendall(Frame(Opcode.BINARY, asks).serialize(mask=True))
    return client


def shown_s(port: Port, asks: bytes) -> float:
    """Seconds until a page is there as a whole, for somebody elsewhere than those who read nothing."""
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

    began_s, host = time.monotonic(), f"127.0.0.1:{port.address[1]}"
    headers = {"Cookie": port.cookie, "Origin": f"http://{host}"}
    port.visit()
    with connect(f"ws://{host}/_stcore/stream", additional_headers=headers, max_size=None) as page:
        page.send(asks)
        while ForwardMsg.FromString(page.recv(60)).WhichOneof("type") != "script_finished":
            pass
    return time.monotonic() - began_s


@pytest.mark.long
def test_pages_that_read_nothing_leave_places_for_others_and_are_cut_off(tmp_path: Path) -> None:
    with console(tmp_path, {}) as port, ExitStack() as stack:
        from streamlit.proto.BackMsg_pb2 import BackMsg

        message = BackMsg()
        message.rerun_script.query_string = ""
        asks = message.SerializeToString()
        shown_s(port, asks)  # by the first one Python's modules are read
        before, before_mb = port.process.num_fds(), port.process.memory_info().rss / 1e6
        for _ in range(200):
            stack.enter_context(deaf_page(port, asks))
        assert port.held <= http_server.MAX_CONNECTIONS // 2
        port.visit()
        until(lambda: shown_s(port, asks) < SOON_S)  # once what those asked for has been drawn
        until(lambda: port.held == 0, 90)
        assert shown_s(port, asks) < SOON_S
        # Streamlit keeps at most 128 pages that have gone, for two minutes, each with an event loop.
        assert port.process.num_fds() - before < 3 * 128 + 20
        assert port.process.memory_info().rss / 1e6 - before_mb < 60
