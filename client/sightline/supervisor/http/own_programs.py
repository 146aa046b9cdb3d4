"""How this user's programs on this machine ask the one that runs: by a key that nobody else can read."""

import os
import secrets
import ssl
import stat
import urllib.request
from contextlib import suppress
from pathlib import Path

from sightline.config.groups import HttpOptions
from sightline.errors import ServerError

KEY_FILE = "key"


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
    key = folder / KEY_FILE  # not there where accounts are switched off
    headers = {"Authorization": f"Bearer {key.read_text()}"} if key.exists() else {}
    request = urllib.request.Request(f"{options.url}{path}", headers=headers)  # noqa: S310  http or https
    with urllib.request.urlopen(request, timeout=timeout_s, context=_own_tls(options)) as answer:  # noqa: S310
        return bytes(answer.read())


def _own_tls(options: HttpOptions) -> ssl.SSLContext | None:
    """Trusts the program's own certificate and no other: its names are not those of loopback."""
    if options.tls_cert is None:
        return None
    context = ssl.create_default_context(cafile=str(options.tls_cert))
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
