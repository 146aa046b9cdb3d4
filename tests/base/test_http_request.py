"""Small requests and what to do about errors of the network, with real sockets."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sightline.base.http_request import HttpRefused, reach_server, send_request
from sightline.base.network_cures import ELSEWHERE, cure_for
from support.certificates import tls_files
from support.listeners import HookServer


@contextmanager
def silent() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield int(server.getsockname()[1])


@contextmanager
def chatty(said: bytes) -> Iterator[int]:
    """A port that says something that is no HTTP, once."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def talk() -> None:
            connection, _ = server.accept()
            with closing(connection):
                connection.recv(1000)
                connection.sendall(said)

        threading.Thread(target=talk, daemon=True).start()
        yield int(server.getsockname()[1])


@pytest.fixture
def server() -> Iterator[HookServer]:
    made = HookServer()
    yield made
    made.close()


def test_a_request_is_sent_and_a_refusal_has_its_reason(server: HookServer) -> None:
    send_request(server.url, b"{}", {"Idempotency-Key": "1"}, timeout_s=5)
    server.answers = [(503, {})]
    with pytest.raises(HttpRefused, match=r"^the answer is 503 Service Unavailable$") as error:
        send_request(server.url, b"{}", timeout_s=5)
    assert (error.value.code, error.value.body) == (503, "no")
    [(headers, body), _] = server.requests
    assert (headers["Idempotency-Key"], headers["User-Agent"], body) == ("1", "sightline", b"{}")


def test_a_redirect_is_an_answer_and_nobody_else_is_asked(server: HookServer) -> None:
    other = HookServer()
    server.answers = [(code, {"Location": other.url}) for code in (301, 302, 307, 308)]
    for code in (301, 302, 307, 308):
        with pytest.raises(HttpRefused, match=str(code)) as error:
            send_request(server.url, b"{}", timeout_s=5)
        assert "write the address that it leads to" in cure_for(str(error.value))
    assert other.requests == []
    other.close()


@pytest.mark.parametrize(
    ("url", "problem", "cure"),
    [
        ("http://127.0.0.1:1/T0KEN", "Connection refused", "nothing listens there"),
        ("http://nowhere.invalid/T0KEN", "not known|resolution", "the name does not resolve"),
        (f"http://{'x' * 70}.invalid/T0KEN", "too long", ELSEWHERE),
    ],
)
def test_who_cannot_be_reached_is_told_with_the_cure_and_without_the_url(
    url: str, problem: str, cure: str
) -> None:
    with pytest.raises(OSError, match=problem) as asked:
        send_request(url, timeout_s=2)
    with pytest.raises(OSError, match=problem) as reached:
        reach_server(url, 2)
    for error in (asked, reached):
        assert cure in cure_for(str(error.value)) and "T0KEN" not in repr(error.value)


def test_a_server_that_says_nothing_or_no_http() -> None:
    with silent() as port:
        with pytest.raises(OSError, match=r"no answer within 0\.2 s") as error:
            send_request(f"http://127.0.0.1:{port}/T0KEN", timeout_s=0.2)
        assert "firewalls" in cure_for(str(error.value))
        assert reach_server(f"http://127.0.0.1:{port}/T0KEN", 2) == "127.0.0.1 can be reached"
        with pytest.raises(OSError, match=r"no answer within 0\.2 s|handshake"):
            reach_server(f"https://127.0.0.1:{port}/", 0.2)
    with (
        chatty(b"SSH-2.0-OpenSSH\r\n") as port,
        pytest.raises(OSError, match=r"no HTTP answer \(BadStatusLine\)"),
    ):
        send_request(f"http://127.0.0.1:{port}/", timeout_s=2)


def test_a_certificate_that_is_not_trusted_and_no_tls_at_all(tmp_path: Path, server: HookServer) -> None:
    secure = HookServer()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls_files(tmp_path))
    secure.server.socket = context.wrap_socket(secure.server.socket, server_side=True)
    url = secure.url.replace("http:", "https:")
    for reach in (lambda: reach_server(url, 5), lambda: send_request(url, b"", timeout_s=5)):
        with pytest.raises(OSError, match="certificate verify failed") as error:
            reach()
        assert "not trusted" in cure_for(str(error.value))
    with pytest.raises(OSError, match="SSL") as error:
        reach_server(server.url.replace("http:", "https:"), 5)
    assert "do not agree on TLS" in cure_for(str(error.value))
    assert secure.requests == server.requests == []
    secure.close()


def test_where_a_proxy_is_set_the_server_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert "by a proxy" in reach_server("https://example.org/", 2)
    with pytest.raises(OSError, match="refused"):
        reach_server("https://127.0.0.1:1/", 2)
