"""The one way to every handler: who asks, and whether they may, is settled before it is called."""

import inspect
import json
import logging
from collections.abc import Callable, Iterable, MutableMapping
from contextlib import suppress
from dataclasses import replace
from html import escape
from http import HTTPStatus
from pathlib import Path
from typing import Any, get_origin
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from sightline.access.rights import RIGHTS, Caller, Person, Right, allowed, allowed_for_some
from sightline.base.redact import harmless, redact
from sightline.base.same_origin import SameOrigin
from sightline.config.groups import HttpOptions
from sightline.errors import (
    AccessError,
    ConfigChanged,
    ConfigError,
    SightlineError,
    SignInRefused,
    StoreUnavailable,
    TooManyAttempts,
)
from sightline.supervisor.http.endpoint import JSON_TYPE, WEBSOCKET, Call, Endpoint
from sightline.supervisor.http.open_socket import LATER, POLICY
from sightline.supervisor.http.own_programs import PassedOn
from sightline.supervisor.http.seats import Turns
from sightline.supervisor.http.visitors import SAFE, Visitors, address_of, is_secure, wants_page

log = logging.getLogger(__name__)

LONG = "sightline.long"  # in a request's scope: its answer may take long
RETRY_S = 5
#: By error, the status that it becomes; the first that fits.
_STATUSES: tuple[tuple[type[SightlineError], int], ...] = (
    (ConfigChanged, 412),
    (TooManyAttempts, 429),
    (SignInRefused, 401),
    (AccessError, 400),
    (StoreUnavailable, 503),
    (SightlineError, 422),
)
#: Of every answer, unless it has its own: nothing of another site is loaded, and nothing is kept or framed.
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; media-src 'self' blob:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'self'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
}
_SHOWN = frozenset({"authorization", "cookie"})
_HSTS = "max-age=31536000"
#: By Pydantic's name of a mistake, what is said of it; of any other its own words.
_MISTAKES = {"extra_forbidden": "is not known here", "missing": "is required"}
#: What a browser shows in place of a page that cannot be had.
_PAGE = (Path(__file__).parent / "pages" / "refused.html").read_text(encoding="utf-8")
_NUL = "a NUL stands in no text here"  # nor does Postgres take one
_Message = MutableMapping[str, Any]


class Door:
    """The ASGI application of the HTTP port.

    Args:
        endpoints: all there are.
        visitors: tells who asks.
        key: of programs of the user that runs this one, on this machine; "": there is none.
    """

    def __init__(self, endpoints: Iterable[Endpoint], visitors: Visitors, key: str = "") -> None:
        self.endpoints, self._visitors, self.key = tuple(endpoints), visitors, key
        self._turns = Turns()
        handlers = {HTTPException: _http_error, SightlineError: _own_error}
        routes = [self._route(endpoint) for endpoint in self.endpoints]
        self._app = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]

    async def __call__(self, scope: _Message, receive: Any, send: Any) -> None:
        """Answer a request, with the headers that all answers have."""

        async def send_with_headers(message: _Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                more = dict(_HEADERS)
                if is_secure(HTTPConnection(scope)):
                    more["strict-transport-security"] = _HSTS
                pairs = [(name.encode(), value.encode()) for name, value in more.items()]
                message["headers"] = [*message["headers"], *(pair for pair in pairs if pair[0] not in own)]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def at(self, options: HttpOptions) -> PassedOn:
        """What answers at an address: web pages of others, and other names, are refused there."""
        return PassedOn(self, SameOrigin(self, options.allowed_hosts), self.key)

    def _route(self, endpoint: Endpoint) -> BaseRoute:
        if endpoint.method == WEBSOCKET:

            async def open_socket(socket: WebSocket) -> None:
                try:
                    call = await self._let_in(endpoint, socket)
                except (HTTPException, SightlineError) as error:
                    away = isinstance(error, StoreUnavailable)
                    await socket.close(LATER if away else POLICY)  # answered with 403
                    return
                await endpoint.handler(socket, call)

            return WebSocketRoute(endpoint.path, open_socket)

        dump = None if endpoint.gives is None else TypeAdapter(endpoint.gives).dump_json

        async def answer(request: Request) -> Response:
            call = await self._let_in(endpoint, request)
            request.scope[LONG] = endpoint.long
            async with self._turns.of(call.caller):
                given = await _call(endpoint.handler, call)
            if isinstance(given, Response):
                return given
            if dump is None:
                return Response(status_code=204)
            return Response(dump(given), media_type="application/json")

        return Route(endpoint.path, answer, methods=[endpoint.method])

    async def _let_in(self, endpoint: Endpoint, connection: HTTPConnection) -> Call:
        """The call, whose sender is known and may make it; who may not does not get a body read.

        Raises:
            HTTPException: the sender may not, or what is sent is not what the endpoint takes.
        """
        person = await self._person(endpoint, connection)
        if "\0" in connection.scope["path"] or b"%00" in connection.scope["query_string"]:
            raise HTTPException(400, _NUL)
        if isinstance(connection, Request) and connection.method not in SAFE:
            values = await _body_of(endpoint, connection)
        else:
            values = _query_of(endpoint, connection)
        return await self._checked(endpoint, connection, person, values)

    async def _person(self, endpoint: Endpoint, connection: HTTPConnection) -> Person | None:
        """Who asks, if they have the right for anything at all.

        Raises:
            HTTPException: they have not; 401 where nobody is known.
        """
        if RIGHTS[endpoint.right].least is None:
            with suppress(HTTPException, StoreUnavailable):  # it is answered whoever asks, with less
                return await self._who(connection)
            return None
        person = await self._who(connection)
        if not allowed_for_some(person, endpoint.right):
            raise _refusal(person, endpoint.right)
        return person

    async def _who(self, connection: HTTPConnection) -> Person | None:
        if _SHOWN.isdisjoint(connection.headers.keys()):  # nothing is looked up: probes wait for no thread
            return self._visitors.person_of(connection)
        return await run_in_threadpool(self._visitors.person_of, connection)

    async def _checked(
        self, endpoint: Endpoint, connection: HTTPConnection, person: Person | None, values: Any
    ) -> Call:
        """The call, whose sender may make it.

        Raises:
            HTTPException: the sender may not, or what is sent is not what the endpoint takes.
        """
        taken = _taken(endpoint, values)
        call = Call(connection, Caller(person, address_of(connection)), endpoint.right, taken, None)
        camera: str | None = None
        if isinstance(endpoint.camera, str):
            camera = connection.path_params[endpoint.camera]
        elif endpoint.camera is not None:
            camera = await run_in_threadpool(endpoint.camera, call) or None
        if not endpoint.each and not allowed(person, endpoint.right, camera):
            if isinstance(endpoint.camera, str) and allowed_for_some(person, endpoint.right):
                raise HTTPException(403, "this camera is not one of those that you see")
            raise _refusal(person, endpoint.right)
        return replace(call, camera=camera)

    async def still_allowed(self, call: Call) -> bool:
        """Whether whoever made a call may still do so: what stays open asks every few seconds.

        Raises:
            StoreUnavailable: it cannot be told.
        """
        person = await self._who(call.connection)
        return person == call.caller.person


async def _call(handler: Callable[[Call], Any], call: Call) -> Any:
    if inspect.iscoroutinefunction(handler):
        return await handler(call)
    return await run_in_threadpool(handler, call)


def _taken(endpoint: Endpoint, values: Any) -> Any:
    if endpoint.takes is None:
        return None
    try:
        return endpoint.takes.model_validate(values)
    except ValidationError as error:  # told without what was sent, which may be a secret
        mistakes = error.errors(include_url=False, include_context=False, include_input=False)
        texts = []
        for item in mistakes:
            said = _MISTAKES.get(item["type"], item["msg"].removeprefix("Value error, "))
            texts.append(": ".join(filter(None, (".".join(map(str, item["loc"])), said))))
        raise HTTPException(422, "; ".join(texts)) from None


def _refusal(person: Person | None, right: Right) -> HTTPException:
    """What is told to somebody who may not; no camera is named, since they may not have named it either."""
    if person is None:
        return HTTPException(401, "sign in, or show a token", {"www-authenticate": "Bearer"})
    if person.must_change:
        why = "change the password first"
    elif allowed_for_some(person, right):
        why = "this takes somebody who sees the camera that it is about, or all of them"
    else:
        why = f"this takes the role {RIGHTS[right].least}; yours is {person.role}"
    return HTTPException(403, why)


def _query_of(endpoint: Endpoint, connection: HTTPConnection) -> dict[str, Any]:
    """What stands in the query; of a list's key all values."""
    fields = endpoint.takes.model_fields if endpoint.takes else {}
    found: dict[str, Any] = dict(connection.query_params)
    for name in set(found) & set(fields):
        if get_origin(fields[name].annotation) is tuple:
            found[name] = connection.query_params.getlist(name)
    return found


async def _body_of(endpoint: Endpoint, request: Request) -> Any:
    """The JSON that is sent, or a text of another type; {} where nothing is.

    Raises:
        HTTPException: it is too large, of another type than the endpoint takes, or does not wholly come.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > endpoint.max_body:
                raise HTTPException(413, f"at most {endpoint.max_body} bytes are taken")
    except ClientDisconnect as error:  # nobody reads the answer; it is no fault of ours to be logged
        raise HTTPException(400, "its body did not wholly come") from error
    if not body:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != endpoint.sent:
        raise HTTPException(415, f"send it with Content-Type: {endpoint.sent}")
    if b"\0" in body or b"\\u0000" in body:
        raise HTTPException(400, _NUL)
    try:
        return json.loads(body) if endpoint.sent == JSON_TYPE else {"text": body.decode()}
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"is not {endpoint.sent}") from error


# -- errors -----------------------------------------------------------------------------------------------


def _error(request: Request, status: int, text: str, headers: Any = None) -> Response:
    """Why there is nothing: as a page where a browser shows it to somebody, else as JSON."""
    text = harmless(text)
    if not wants_page(request):
        return JSONResponse({"error": text}, status_code=status, headers=headers)
    way = ""
    if status in {401, 403}:
        path = request.url.path
        query = "" if path.startswith("/auth/") else f"?next={quote(path)}"
        way = f'<p><a href="/auth/sign-in{escape(query)}">Sign in</a></p>'
    told = escape(text[:1].upper() + text[1:])
    return HTMLResponse(_PAGE.format(text=told, way=way), status_code=status, headers=headers)


async def _http_error(request: Request, error: HTTPException) -> Response:
    detail = error.detail or HTTPStatus(error.status_code).phrase
    return _error(request, error.status_code, detail, error.headers)


async def _own_error(request: Request, error: SightlineError) -> Response:
    status = next(status for kind, status in _STATUSES if isinstance(error, kind))
    wait_s = max(1, round(error.wait_s)) if isinstance(error, TooManyAttempts) else RETRY_S
    headers = {"retry-after": str(wait_s)} if status in {429, 503} else None
    if status == 503:
        log.warning("HTTP: %s %r: %s", request.method, request.url.path, redact(error))
        return _error(request, status, "the database does not answer; try again", headers)
    return _error(request, status, redact(error.told if isinstance(error, ConfigError) else error), headers)
