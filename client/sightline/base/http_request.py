"""Small requests to other people's servers: one try, no redirects, and errors in words."""

import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from sightline.base.deadline import Deadline

MAX_BODY = 16_384  # bytes of a refusal that are read; what is shown is cut when it has been masked


class HttpRefused(OSError):
    """The answer is no success.

    Attributes:
        code: the status.
        body: what the server says of it. As the reason in the error itself, it may be of any characters, and
            repeat what is secret in the URL.
    """

    def __init__(self, code: int, reason: str, body: str) -> None:
        super().__init__(f"the answer is {code} {reason}")
        self.code, self.body = code, body


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """A redirect is an answer like another: what is sent goes to nobody else."""


class _Request(urllib.request.Request):
    deadline: Deadline

    def connection(self, kind: type[HTTPConnection]) -> Any:
        """What makes a connection that ends at the deadline."""

        def make(host: str, **options: Any) -> HTTPConnection:
            made = kind(host, **options)
            vars(made)["_create_connection"] = self.deadline.connect
            return made

        return make


class _Http(urllib.request.HTTPHandler):
    def http_open(self, request: Any) -> Any:
        return self.do_open(request.connection(HTTPConnection), request)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, request: Any) -> Any:
        return self.do_open(request.connection(HTTPSConnection), request)


_OPENER = urllib.request.build_opener(_NoRedirects, _Http, _Https)


def send_request(
    url: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    timeout_s: float,
    max_answer: int = 0,
) -> bytes:
    """Ask for a URL; POST if there is a body. The answer's first bytes. No error of ours names the URL.

    Args:
        url: http or https.
        body: what is posted.
        headers: besides those that HTTP needs.
        timeout_s: for all of it, however slowly the other side goes on speaking.
        max_answer: so many bytes of the answer are read.

    Raises:
        HttpRefused: the answer is no success; a redirect is none.
        OSError: there is no answer.
    """
    headers = {"User-Agent": "sightline", **(headers or {})}
    request = _Request(url, body, headers)
    with _in_words(timeout_s), Deadline(timeout_s) as request.deadline:
        try:
            with _OPENER.open(request, timeout=timeout_s) as answer:
                return bytes(answer.read(max_answer))
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
    with _in_words(timeout_s), Deadline(timeout_s) as deadline:
        vars(connection)["_create_connection"] = deadline.connect
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
