"""Web pages of other people keep out: their names in ``Host`` and ``Origin`` are refused (DNS rebinding)."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
LOOPBACK = ("localhost", "127.0.0.1", "::1")  # names of this machine itself


class SameOrigin:
    """An ASGI application: it answers 403 unless a request is meant for this server and comes from its pages.

    ``Host`` has to be loopback, the address that was connected to, or one of ``names``. ``Origin``, which
    browsers send for other sites' pages, has to be the same as ``Host``, or one of ``names``.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], names: Iterable[str] = ()) -> None:
        self._app = app
        self._names = {name.lower() for name in names}.difference(LOOPBACK)

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Pass the request on, or refuse it."""
        kind = scope["type"]
        if kind == "lifespan" or self._allows(scope):
            await self._app(scope, receive, send)
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: answered with 403
        else:
            text = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 403, "headers": text})
            await send({"type": "http.response.body", "body": b"unknown Host, or foreign Origin\n"})

    def _allows(self, scope: _Message) -> bool:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        here = {*LOOPBACK, (scope.get("server") or ("",))[0]}
        return (
            len(hosts) == 1
            and _hostname(f"//{hosts[0]}") in here | self._names
            and all(
                origin.partition("://")[2] == hosts[0] or _hostname(origin) in self._names
                for origin in origins
            )
        )


def _hostname(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:  # brackets that hold no address
        return ""
