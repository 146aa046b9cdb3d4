"""Names of cameras, resolved beforehand: no time-out reaches FFmpeg while it waits for a name server."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from sightline.base.side_threads import SideThreads
from sightline.errors import SourceUnreachable

#: A resolver that waits for dead servers keeps its thread for 20 s; cameras that come later wait for a
# thread.
_THREADS = SideThreads("names", 8)


def check_name(url: str, timeout_s: float, threads: SideThreads = _THREADS) -> None:
    """Resolve the host's name of a camera's URL.

    Raises:
        SourceUnreachable: it does not resolve, or not within ``timeout_s``.
    """
    host = urlsplit(url).hostname
    if not host or _is_address(host):
        return
    try:
        threads.run(lambda: socket.getaddrinfo(host, None), timeout_s)
    except TimeoutError:
        raise SourceUnreachable(f"no name server has answered for {host!r} within {timeout_s:g} s") from None
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceUnreachable(f"the host's name {host!r} does not resolve ({reason})") from error


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
