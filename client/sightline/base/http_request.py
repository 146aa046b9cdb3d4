"""Small requests to other people's servers: one try, no redirects, and errors in words."""

import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

MAX_BODY = 500  # bytes of a refusal that are kept


class HttpRefused(OSError):
    """The answer is no success.

    Attributes:
        code: the status.
        body: the beginning of what the server says of it; it may repeat what is secret in the URL.
    """

    def __init__(self, code: int, reason: str, body: str) -> None:
        super().__init__(f"the answer is {code} {reason}")
        self.code, self.body = code, body


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """A redirect is an answer like another: what is sent goes to nobody else."""


_OPENER = urllib.request.build_opener(_NoRedirects)


def send_request(
    url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, *, timeout_s: float
) -> None:
    """Ask for a URL; POST if there is a body. No error names the URL.

    Raises:
        HttpRefused: the answer is no success; a redirect is none.
        OSError: there is no answer.
    """
    headers = {"User-Agent": "sightline", **(headers or {})}
    request = urllib.request.Request(url, body, headers)  # noqa: S310  the configuration allows http(s) alone
    with _in_words(timeout_s):
        try:
            _OPENER.open(request, timeout=timeout_s).close()
        except urllib.error.HTTPError as error:
            with error:
                text = error.read(MAX_BODY).decode(errors="replace").strip()
            raise HttpRefused(error.code, error.reason, text) from None


def reach_server(url: str, timeout_s: float) -> str:
    """Connect to the server of a URL, check its certificate, and ask nothing; what came of it, in words.

    Raises:
        OSError: it cannot be reached.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return f"{host} is reached by a proxy, which was not tried"
    connection = {"http": HTTPConnection, "https": HTTPSConnection}[parts.scheme](
        host, parts.port, timeout=timeout_s
    )
    with _in_words(timeout_s):
        try:
            connection.connect()
        finally:
            connection.close()
    return f"{host} can be reached"


@contextmanager
def _in_words(timeout_s: float) -> Iterator[None]:
    """Errors of the libraries as an OSError with the reason."""
    try:
        yield
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise OSError(f"no answer within {timeout_s:g} s") from None
        raise OSError(str(error.reason)) from None
    except TimeoutError:
        raise OSError(f"no answer within {timeout_s:g} s") from None
    except UnicodeError:
        raise OSError("the host's name is too long for one") from None
    except HTTPException as error:
        raise OSError(f"no HTTP answer ({type(error).__name__})") from None
