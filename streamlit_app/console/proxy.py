"""The supervisor's HTTP port, as a part of the console: a browser sees one address."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import h11
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, JSONResponse, Response
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from console.console_options import SupervisorPort
from console.texts import AWAY, AWAY_REMEDY, safe
from sightline.supervisor.http.own_programs import KEY_HEADER
from sightline.supervisor.http.visitors import wants_page

log = logging.getLogger(__name__)

PREFIXES = ("/api/", "/live/", "/ws/", "/auth/")
MAX_OPEN = 200  # requests and WebSockets that are passed on at once
MAX_BODY = 4 << 20
MAX_COMING, BODY_S = 32, 10.0  # bodies that are on their way here, and how long one may take
CONNECT_S = 5.0
FIRST_S = 60.0  # to the answer's head: a probe of a camera takes its time
#: A browser that takes nothing for so long is given up.
STALLED_S = 60.0
CHUNK = 65_536
#: What the system keeps of a stream on its way here: of pictures, few.
MAX_UNREAD = 131_072
MAX_MESSAGE = 1 << 20
#: Of one connection, or ours to say.
_OWN = frozenset({
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade"),
    *("transfer-encoding", "content-length", "expect", "forwarded", "x-real-ip", KEY_HEADER),
    *("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"),
})  # fmt: skip
#: Of an answer: uvicorn says these itself.
_NOT_GIVEN = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"date", b"server"})
_Message = MutableMapping[str, Any]


@dataclass(eq=False, slots=True)
class Proxy:
    """An ASGI application that passes requests on to the supervisor, and the answers back as they come.

    The viewer's address and scheme go along; Host and Origin, which have been looked at before, stay.

    Args:
        port_of: gives the supervisor's HTTP port.
    """

    port_of: Callable[[], SupervisorPort]
    open: int = 0  # how many are under way
    coming: int = 0  # bodies; whoever sends them slowly keeps no others out

    async def __call__(self, scope: _Message, receive: Any, send: Any) -> None:
        """Answer a request, or a WebSocket, for as long as both sides are there."""
        body = await self._body(scope, receive, send)
        if body is None:
            return
        if self.open >= MAX_OPEN:
            await refuse(
                scope, receive, send, 503, "Too many requests are under way.", "Try again in a moment."
            )
            return
        self.open += 1
        try:
            if scope["type"] == "websocket":
                await _pass_on_socket(self.port_of(), scope, receive, send)
            else:
                await _pass_on_request(self.port_of(), scope, body, receive, send)
        finally:
            self.open -= 1

    async def _body(self, scope: _Message, receive: Any, send: Any) -> bytes | None:
        """A request's body; None: there is nothing to be passed on."""
        if not {"content-length", "transfer-encoding"} & set(Headers(scope=scope)):
            return b""
        if self.coming >= MAX_COMING:
            await refuse(scope, receive, send, 503, "Too much is being sent.", "Try again in a moment.")
            return None
        self.coming += 1
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_S):
                while len(body) <= MAX_BODY:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if not message.get("more_body"):
                        return bytes(body)
            await refuse(scope, receive, send, 413, f"At most {MAX_BODY} bytes are taken.")
        except TimeoutError:
            await refuse(scope, receive, send, 408, f"What is sent has to come within {BODY_S:g} s.")
        finally:
            self.coming -= 1
        return None


async def refuse(
    scope: _Message,
    receive: Any,
    send: Any,
    status: int,
    problem: str,
    remedy: str = "",
    *,
    way: tuple[str, str] | None = None,
) -> None:
    """Say why there is no answer: as a page where a browser shows one, else as the API does.

    ``way`` is a link's text and address.
    """
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1013 if status >= 500 else 1008})
        return
    text = " ".join(filter(None, (problem, remedy)))
    retry = {"retry-after": "5"} if status == 503 else {}
    answer: Response = JSONResponse({"error": text}, status, retry)
    if wants_page(HTTPConnection(scope)):
        answer = HTMLResponse(_page(problem, remedy, way, again=status == 503), status, retry)
    answer.headers["cache-control"] = "no-store"
    await answer(scope, receive, send)


def _page(problem: str, remedy: str, way: tuple[str, str] | None, *, again: bool) -> str:
    """A page that needs nothing else; it asks again by itself, or does not."""
    refresh = '<meta http-equiv="refresh" content="5">' if again else ""
    link = f'<p><a href="{safe(way[1])}">{safe(way[0])}</a></p>' if way else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{refresh}<title>Sightline</title>'
        '<meta name="viewport" content="width=device-width"><style>:root{color-scheme:light dark;'
        "font-family:system-ui,sans-serif}main{max-width:32rem;margin:18vh auto;padding:0 1rem;"
        "text-align:center}h1{font-size:1.25rem}p{opacity:.75}</style></head>"
        f'<body><main role="alert"><h1>{safe(problem)}</h1><p>{safe(remedy)}</p>{link}</main></body></html>'
    )


def _headers(port: SupervisorPort, scope: _Message) -> list[tuple[str, str]]:
    kept = [(name, value) for name, value in Headers(scope=scope).items() if name not in _OWN]
    address = (scope.get("client") or ("",))[0]
    return kept + list(port.on_behalf_of(address, secure=scope["scheme"] in {"https", "wss"}).items())


def _target(scope: _Message) -> str:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (path + (b"?" + query if query else b"")).decode("latin-1")


# -- requests -----------------------------------------------------------------------------------------------


async def _pass_on_request(
    port: SupervisorPort, scope: _Message, body: bytes, receive: Any, send: Any
) -> None:
    headers = [*_headers(port, scope), ("connection", "close")]
    if body or scope["method"] not in {"GET", "HEAD", "OPTIONS"}:
        headers.append(("content-length", str(len(body))))
    request = h11.Request(method=scope["method"], target=_target(scope), headers=headers)
    try:
        async with _exchange(port) as exchange:
            answer = await exchange.ask(request, body)
            gone = asyncio.create_task(_until_gone(receive))
            giving = asyncio.create_task(exchange.give(answer, send))
            try:
                await asyncio.wait((gone, giving), return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
                giving.cancel()
                await asyncio.wait((gone, giving))
            if not giving.cancelled() and (error := giving.exception()) is not None:
                if not isinstance(error, OSError):  # of which a time-out is one, too
                    raise error
                log.info("%s: %s", scope["path"], error or "the browser took nothing any more")
    except _Away as away:
        log.warning("%s: %s", port.url, away)
        await refuse(scope, receive, send, 503, AWAY, AWAY_REMEDY)


class _Away(Exception):
    """There is no answer."""


@dataclass(eq=False, slots=True)
class _Exchange:
    """One request and its answer, on a connection of their own."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    http: h11.Connection

    async def ask(self, request: h11.Request, body: bytes) -> h11.Response:
        """Send the request; the answer's head.

        Raises:
            _Away: there is none.
        """
        parts = [request, *([h11.Data(data=body)] if body else []), h11.EndOfMessage()]
        try:
            async with asyncio.timeout(FIRST_S):
                self.writer.write(b"".join(self.http.send(part) or b"" for part in parts))
                await self.writer.drain()
                while not isinstance(event := await self._next(), h11.Response):
                    if not isinstance(event, h11.InformationalResponse):
                        raise _Away("the answer ended before it began")
                return event
        except (OSError, TimeoutError, h11.ProtocolError) as error:
            raise _Away(str(error) or type(error).__name__) from error

    async def give(self, answer: h11.Response, send: Any) -> None:
        """Pass the answer on, as it comes, no faster than it is taken.

        Raises:
            OSError: it breaks off.
        """
        headers = [(name, value) for name, value in answer.headers if name not in _NOT_GIVEN]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
        more = True
        while more:
            try:
                event = await self._next()
            except h11.RemoteProtocolError as error:
                raise ConnectionError("the supervisor's answer broke off") from error
            more = isinstance(event, h11.Data)
            data = bytes(event.data) if isinstance(event, h11.Data) else b""
            async with asyncio.timeout(STALLED_S):
                await send({"type": "http.response.body", "body": data, "more_body": more})

    async def _next(self) -> Any:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.reader.read(CHUNK))
        return event


@asynccontextmanager
async def _exchange(port: SupervisorPort) -> AsyncIterator[_Exchange]:
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(port.host, port.port, ssl=port.tls, limit=CHUNK)
    except (OSError, TimeoutError) as error:
        raise _Away(str(error) or "no connection in time") from error
    try:
        _bound(writer)
        yield _Exchange(reader, writer, h11.Connection(h11.CLIENT))
    finally:
        writer.transport.abort()


def _bound(writer: Any) -> None:
    """Keep few pictures on the way: one that is old when it is shown is worse than none."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MAX_UNREAD)


async def _until_gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


# -- WebSockets ---------------------------------------------------------------------------------------------


async def _pass_on_socket(port: SupervisorPort, scope: _Message, receive: Any, send: Any) -> None:
    await receive()  # websocket.connect
    headers = [item for item in _headers(port, scope) if not item[0].startswith("sec-websocket-")]
    names = dict(headers)
    scheme = "ws" if port.certificate is None else "wss"
    try:
        upstream = await connect(
            f"{scheme}://{names['host']}{_target(scope)}",
            host=port.host,
            port=port.port,
            additional_headers=[item for item in headers if item[0] not in {"host", "origin"}],
            origin=names.get("origin"),  # type: ignore[arg-type]
            ssl=port.tls,
            compression=None,
            open_timeout=CONNECT_S,
            max_size=MAX_MESSAGE,
            max_queue=1,
            user_agent_header=None,
            proxy=None,
        )
    except (OSError, TimeoutError, InvalidHandshake):
        await send({"type": "websocket.close", "code": 1013})
        return
    try:
        _bound(upstream.transport)
        await send({"type": "websocket.accept", "subprotocol": upstream.subprotocol})
        there = asyncio.create_task(_up(receive, upstream))
        back = asyncio.create_task(_down(upstream, send))
        try:
            await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
        finally:
            there.cancel()
            back.cancel()
            await asyncio.wait((there, back))
    finally:
        await upstream.close()


async def _up(receive: Any, upstream: ClientConnection) -> None:
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        await upstream.send(message["bytes"] if text is None else text)


async def _down(upstream: ClientConnection, send: Any) -> None:
    try:
        async for message in upstream:
            kind = "text" if isinstance(message, str) else "bytes"
            async with asyncio.timeout(STALLED_S):
                await send({"type": "websocket.send", kind: message})
    except ConnectionClosed:
        pass
    await send({
        "type": "websocket.close",
        "code": upstream.close_code if upstream.close_code in range(1000, 1015) else 1011,
        "reason": upstream.close_reason or "",
    })  # fmt: skip
