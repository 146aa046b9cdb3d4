"""How this user's programs on this machine ask the one that runs: by a key that nobody else can read."""

import os
import secrets
import ssl
import stat
import urllib.request
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from hmac import compare_digest
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers

from sightline.config.groups import HttpOptions
from sightline.errors import ServerError

KEY_FILE = "key"
#: With the key, whoever passes requests on shows that it is one of this user's programs: the console.
KEY_HEADER = "x-sightline-key"
_App = Callable[..., Awaitable[None]]


def own_key(folder: Path) -> str:
    """The key; made where there is none.

    Args:
        folder: of the program's commands, which nobody else may enter.

    Raises:
        ServerError: it is another user's, or cannot be written.
    """
    path, draft = folder / KEY_FILE, folder / f".{KEY_FILE}.{os.getpid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != 0o700:  # nor is it a link
            raise PermissionError(None, "the folder is not this user's alone")
        if not path.exists():
            draft.touch(mode=0o600)
            draft.write_text(secrets.token_urlsafe(32))
            with suppress(FileExistsError):
                path.hardlink_to(draft)  # whole from the first moment, and never another
            draft.unlink()
        return path.read_text()
    except OSError as error:
        raise ServerError(f"{path}: {error.strerror or error}") from error


def fetch_own(options: HttpOptions, folder: Path, path: str, *, timeout_s: float = 5.0) -> bytes:
    """What the running program answers to one of its own user's.

    Args:
        options: where it listens.
        folder: of its commands.
        path: of what is asked for.
        timeout_s: for the answer.

    Raises:
        OSError: there is no answer, it is an error, or the program is another user's.
    """
    key = folder / KEY_FILE  # not there where it could not be written
    headers = {"Authorization": f"Bearer {key.read_text()}"} if key.exists() else {}
    request = urllib.request.Request(f"{options.url}{path}", headers=headers)  # noqa: S310  http or https
    with urllib.request.urlopen(request, timeout=timeout_s, context=own_tls(options.tls_cert)) as answer:  # noqa: S310
        return bytes(answer.read())


class PassedOn:
    """An ASGI application that believes this user's console, by the key, for whom it passes a request on.

    The console has looked at Host and Origin itself, and says the viewer's address and how it was asked in
    ``X-Forwarded-For`` and ``X-Forwarded-Proto``.

    Args:
        app: gets what the console passes on.
        others: gets everything else.
        key: this user's programs' own; "": there is none.
    """

    def __init__(self, app: _App, others: _App, key: str) -> None:
        self._app, self._others, self._key = app, others, key.encode()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer as if the viewer had asked himself."""
        headers = Headers(scope=scope) if "headers" in scope else Headers()
        shown = headers.get(KEY_HEADER, "").encode()
        if not (self._key and compare_digest(shown, self._key)):
            await self._others(scope, receive, send)
            return
        scheme = "https" if headers.get("x-forwarded-proto") == "https" else "http"
        # In place: the connection looks at the same scope to see how long an answer may take.
        scope["client"] = (headers.get("x-forwarded-for", ""), 0)
        scope["scheme"] = scheme.replace("http", "ws") if scope["type"] == "websocket" else scheme
        await self._app(scope, receive, send)


def own_tls(certificate: Path | None) -> ssl.SSLContext | None:
    """Trusts the program's own certificate and no other: its names are not those of loopback."""
    if certificate is None:
        return None
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
