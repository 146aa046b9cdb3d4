"""What stands before every page of the console: nobody gets one who is not signed in."""

import asyncio
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from typing import Any
from urllib.parse import quote

from google.protobuf.message import DecodeError
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse
from streamlit.proto.BackMsg_pb2 import BackMsg

from console.api import Api, SupervisorAway, accounts_are_off
from console.console_options import SupervisorPort
from console.proxy import PREFIXES, Proxy, refuse
from console.texts import (
    CLOSED,
    CLOSED_REMEDY,
    CONSOLE_AWAY,
    CONSOLE_AWAY_REMEDY,
    CROWDED,
    CROWDED_REMEDY,
    NO_SUCH_PAGE,
    NO_SUCH_PAGE_WAY,
    NOT_OPENED,
    OPENING,
    OPENING_SLOWLY,
    UNUSABLE,
    safe,
)
from sightline.access.attempts import network_of
from sightline.access.rights import How, Person
from sightline.entities import Role
from sightline.errors import ConfigError
from sightline.supervisor.http.api_wall import WALL_PAGE
from sightline.supervisor.http.door import LONG
from sightline.supervisor.http.http_server import MAX_CONNECTIONS
from sightline.supervisor.http.open_socket import POLICY
from sightline.supervisor.http.visitors import address_of, is_from_here, wants_page

log = logging.getLogger(__name__)

HEALTH = "/_stcore/health"  # for probes
MAX_OF_ONE = MAX_CONNECTIONS // 2  # requests and WebSockets under way that one address may have
ASK_S = 5.0  # whether whoever has a page open is still signed in
SLOW_S, RELOAD_S = 20.0, 5.0  # a page says that it opens slowly; one that has lost a script loads again
LOOK_S = 0.25  # whether Streamlit says something that has words of our own
LEAVE_S = 10.0  # a page that asks itself has gone to the sign-in by then
_ONLY_READ = frozenset({"GET", "HEAD"})
#: What pages say to Streamlit. The rest is for who writes them: ``clear_cache`` empties what all pages share.
_SAID = frozenset({"rerun_script", "stop_script", "app_heartbeat", "backend_operation_request"})
#: Of every answer of our own; Streamlit's pages need scripts and styles that stand in them.
_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"SAMEORIGIN",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"frame-ancestors 'self'; object-src 'none'; base-uri 'self'",
}
#: How Streamlit begins to say that nothing answers, and what operators are told instead.
_AWAY = {"Connection error": CONSOLE_AWAY, "Streamlit server is not": CONSOLE_AWAY_REMEDY}
#: Of a page whose scripts do not come: one of them is lost, as by a restart, or they are slow; or whose
#: console is gone.
_WATCH = f"""<script>(() => {{
const say = (text) => {{
  const told = document.querySelector(".opening");
  if (told) told.textContent = text;
  return told;
}};
let lost = false;
const reload = () => setTimeout(() => location.reload(), {RELOAD_S * 1000:.0f});
const again = () => say({json.dumps(NOT_OPENED)}) && reload();
addEventListener("error", ({{ target }}) => {{
  if (lost || !(target instanceof HTMLScriptElement)) return;
  lost = true;
  document.readyState === "loading" ? addEventListener("DOMContentLoaded", again) : again();
}}, true);
setTimeout(() => lost || say({json.dumps(OPENING_SLOWLY)}), {SLOW_S * 1000:.0f});
const away = Object.entries({json.dumps(_AWAY)});
setInterval(() => {{
  const dialog = document.querySelector("[role=dialog]");
  const words = dialog && document.createTreeWalker(dialog, NodeFilter.SHOW_TEXT);
  while (words?.nextNode()) {{
    const said = words.currentNode;
    for (const [begins, ours] of away) if (said.nodeValue.startsWith(begins)) said.nodeValue = ours;
  }}
}}, {LOOK_S * 1000:.0f});
}})()</script>""".encode()
#: What stands in Streamlit's page, and what is sent in its place; React takes what is in its root away.
_INSTEAD = {
    b"<title>Streamlit</title>": b"<title>Sightline</title><style>:root{color-scheme:light dark}"
    b".opening{font:1.1rem system-ui,sans-serif;text-align:center;margin-top:30vh;opacity:.7}</style>"
    + _WATCH,
    b'<div id="root"></div>': f'<div id="root"><p class="opening" role="status">{OPENING}</p></div>'.encode(),
}
#: What the address of a page may look like; scripts, pictures and files have other ones.
_NAME = re.compile(r"/([^/._][^/.]*)/?")
_Message = MutableMapping[str, Any]


class Gate:
    """An ASGI application: the supervisor's paths go to the supervisor, pages to those who are signed in.

    Args:
        app: the pages.
        port_of: gives the supervisor's HTTP port; ConfigError: it cannot be told.
    """

    def __init__(self, app: Any, port_of: Callable[[], SupervisorPort]) -> None:
        self._app, self._port_of, self._proxy = app, port_of, Proxy(port_of)
        self._open: Counter[str] = Counter()  # what is under way, by address

    async def __call__(self, scope: _Message, receive: Any, send: Any) -> None:
        """Answer, or say why not."""
        if scope["type"] == "lifespan" or scope["path"] == HEALTH:
            await self._app(scope, receive, send)
            return
        scope[LONG] = True  # files, streams, downloads: as long as the browser reads them
        network = network_of(address_of(HTTPConnection(scope)))
        if self._open[network] >= MAX_OF_ONE:
            await refuse(scope, receive, send, 503, CROWDED, CROWDED_REMEDY)
            return
        self._open[network] += 1
        try:
            await self._answer(scope, receive, send)
        finally:
            self._open[network] -= 1
            self._open += Counter()  # forgets who has nothing open

    async def _answer(self, scope: _Message, receive: Any, send: Any) -> None:
        try:
            app = await self._app_for(scope)
        except ConfigError as error:
            log.error("%s", error)
            detail = safe(error) if is_from_here(HTTPConnection(scope)) else ""
            await refuse(scope, receive, send, 503, UNUSABLE, detail)
        except SupervisorAway as error:
            log.warning("%s", error)
            await refuse(scope, receive, send, 503, error.problem, error.remedy)
        else:
            await app(scope, receive, send)

    async def _app_for(self, scope: _Message) -> Any:
        """What answers."""
        connection, port = HTTPConnection(scope), self._port_of()
        address, here = address_of(connection), is_from_here(connection)
        if scope["path"].startswith(PREFIXES):  # the supervisor asks itself who may
            if not here and await run_in_threadpool(accounts_are_off, port):
                return _closed
            return self._proxy
        asked = Api.of(port, connection.cookies, address)
        person = await run_in_threadpool(asked.person)
        if person is not None and person.role is Role.DISPLAY:
            return _to_wall
        if person is not None and not person.must_change and (here or person.how is not How.NOTHING):
            return partial(self._give_page, partial(_is_still_here, asked, person))
        return _closed if await run_in_threadpool(accounts_are_off, port) else _to_sign_in

    async def _give_page(
        self, is_still_here: Callable[[], bool], scope: _Message, receive: Any, send: Any
    ) -> None:
        if scope["type"] == "websocket":
            await _while_here(self._app, is_still_here, scope, receive, send)
            return
        if scope.get("method", "GET") not in _ONLY_READ:  # Streamlit would keep what is sent in memory
            await refuse(scope, receive, send, 405, "Nothing is taken here.")
            return

        async def send_with_headers(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS.items()]
            await send(message)

        if wants_page(HTTPConnection(scope)):
            if (named := _NAME.fullmatch(scope["path"])) and named[1] not in _titles():
                await _no_such_page(scope, receive, send, named[1])
                return
            plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
            await self._app({**scope, "headers": plain}, receive, Opening(send_with_headers))
        else:
            await self._app(scope, receive, send_with_headers)


class Opening:
    """Sends a page with our name in it, and what it says until Streamlit's scripts have come.

    Without it a page stays white for seconds on a slow machine, and for good where a script is lost.
    """

    def __init__(self, send: Any) -> None:
        self._send = send
        self._start: _Message | None = None  # of a page, held back until its length is known
        self._body = b""

    async def __call__(self, message: _Message) -> None:
        """Send it on, or keep it until the page is whole."""
        if message["type"] == "http.response.start":
            headers = dict(message["headers"])
            if headers.get(b"content-type", b"").startswith(b"text/html") and message["status"] == 200:
                self._start = message
                return
        if self._start is None:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        for given, ours in _INSTEAD.items():
            self._body = self._body.replace(given, ours)
        kept = [(name, value) for name, value in self._start["headers"] if name != b"content-length"]
        # A HEAD has no body, and says nothing of its length then.
        length = [(b"content-length", str(len(self._body)).encode())] if self._body else []
        await self._send({**self._start, "headers": [*kept, *length]})
        await self._send({**message, "body": self._body})


@cache
def _titles() -> dict[str, str]:
    """Of the pages, by the paths of their addresses; they are imported once Streamlit runs."""
    return {page.path: page.title for page in import_module("console.pages").PAGES}


async def _while_here(
    app: Any, is_still_here: Callable[[], bool], scope: _Message, receive: Any, send: Any
) -> None:
    """Let a page's WebSocket be open until the sign-in ends, whatever the page does then."""
    ended = asyncio.create_task(_until_ended(is_still_here))

    async def receive_while_here() -> _Message:
        while not ended.done():
            coming = asyncio.ensure_future(receive())
            try:
                await asyncio.wait((coming, ended), return_when=asyncio.FIRST_COMPLETED)
                if coming.done() and _is_said_by_pages(coming.result()):
                    message: _Message = coming.result()
                    return message
            finally:
                coming.cancel()
        await send({"type": "websocket.close", "code": POLICY, "reason": "the sign-in has ended"})
        return {"type": "websocket.disconnect", "code": POLICY}

    async def send_while_here(message: _Message) -> None:
        if not ended.done():  # it may be closed already, and what is said then is an error
            await send(message)

    try:
        await app(scope, receive_while_here, send_while_here)
    finally:
        ended.cancel()


def _is_said_by_pages(message: _Message) -> bool:
    said = message.get("bytes")
    with suppress(DecodeError):  # Streamlit says so itself
        return not said or BackMsg.FromString(said).WhichOneof("type") in _SAID
    return True


async def _until_ended(is_still_here: Callable[[], bool]) -> None:
    while await run_in_threadpool(is_still_here):
        await asyncio.sleep(ASK_S)
    await asyncio.sleep(LEAVE_S)


def _is_still_here(asked: Api, person: Person) -> bool:
    """Whether it is still the same person, with the same rights; while nobody can tell, it is."""
    try:
        return asked.person() == person
    except SupervisorAway:
        return True


async def _no_such_page(scope: _Message, receive: Any, send: Any, name: str) -> None:
    """Streamlit would show the first page under this address, with a box in front of it."""
    if name == _titles()[""].lower():  # the first page has the bare address, but this one is typed as well
        await RedirectResponse("/", 303)(scope, receive, send)
    else:
        await refuse(scope, receive, send, 404, NO_SUCH_PAGE, way=NO_SUCH_PAGE_WAY)


async def _closed(scope: _Message, receive: Any, send: Any) -> None:
    await refuse(scope, receive, send, 403, CLOSED, CLOSED_REMEDY)


async def _to_sign_in(scope: _Message, receive: Any, send: Any) -> None:
    """Send a browser that wants a page to where one signs in, and back afterwards."""
    query = scope["query_string"].decode("latin-1")
    wanted = quote(scope["path"] + (f"?{query}" if query else ""), safe="/")
    await _lead(scope, receive, send, f"/auth/sign-in?next={wanted}", (401, "sign in first"))


async def _to_wall(scope: _Message, receive: Any, send: Any) -> None:
    """Send a wall display to its wall: nothing else of the console is for it."""
    await _lead(scope, receive, send, WALL_PAGE, (403, "a wall display shows its wall alone"))


async def _lead(scope: _Message, receive: Any, send: Any, path: str, refusal: tuple[int, str]) -> None:
    """Send a browser that wants a page to another one; whatever else is asked for is refused."""
    if scope["type"] == "websocket" or scope["method"] != "GET" or not wants_page(HTTPConnection(scope)):
        await refuse(scope, receive, send, *refusal)
    else:
        await RedirectResponse(path, 303, {"cache-control": "no-store"})(scope, receive, send)
