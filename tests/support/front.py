"""Requests to the HTTP port, as whoever a test wants to be."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import Any

from sightline.config.groups import HttpOptions
from sightline.supervisor.http.door import Door
from sightline.supervisor.http.endpoint import Endpoint
from sightline.supervisor.http.http_server import HttpServer
from sightline.supervisor.http.visitors import KnownPeople, Visitors
from support.people import People
from support.waiting import until

KEY = "the key of this user's own programs"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return self.json["error"] if self.body[:1] == b"{" else ""

    @property
    def session(self) -> str:
        """What the cookie holds that is set; "" where none is."""
        name, _, rest = self.headers.get("set-cookie", "").partition("=")
        return rest.partition(";")[0].strip('"') if name.endswith("sightline") else ""


@dataclass(frozen=True)
class Front:
    """The port."""

    server: HttpServer

    @property
    def origin(self) -> str:
        return self.server.url

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.server._socket.getsockname()[:2]
        return host, port

    @property
    def connections(self) -> set[Any]:
        """Those that are open now."""
        return self.server._server.server_state.connections

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: Any = None,
        *,
        token: str = "",
        session: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """As a program with a token, as a page of ours with a cookie, or as nobody."""
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        sent |= {"Cookie": f"sightline={session}", "Origin": self.origin} if session else {}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent |= {"Content-Type": "application/json"} if data is not None else {}
        with closing(http.client.HTTPConnection(*self.address, timeout=20)) as connection:
            connection.request(method, path, data, {**sent, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    def shake_hands(self, path: str, *, headers: Mapping[str, str] | None = None, **who: Any) -> Answer:
        """Ask for a WebSocket: 101 where it is opened; it is closed at once."""
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        upgrade |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
        return self.ask(path, headers={**upgrade, **(headers or {})}, **who)

    def post(self, path: str, body: Any = None, **who: Any) -> Answer:
        return self.ask(path, "POST", body, **who)


def known(people: People) -> KnownPeople:
    return KnownPeople(people.accounts, people.tokens, KEY)


@contextmanager
def served(endpoints: Iterable[Endpoint], visitors: Visitors, **options: Any) -> Iterator[Front]:
    with served_door(Door(endpoints, visitors, KEY), **options) as front:
        yield front


@contextmanager
def served_door(door: Door, **options: Any) -> Iterator[Front]:
    with started(HttpServer(HttpOptions.model_validate({"port": 0, **options}), door.at)) as server:
        yield Front(server)


@contextmanager
def started(server: HttpServer) -> Iterator[HttpServer]:
    server.start()
    try:
        until(lambda: server.has_started)
        yield server
    finally:
        server.stop()
