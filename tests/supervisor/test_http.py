"""The supervisor's HTTP port: what it says, and that no client can use it up."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psutil
import pytest

from sightline.camera.messages import Report
from sightline.config.loader import HttpOptions
from sightline.entities import CameraState, CameraStatus
from sightline.store.writer import WriterHealth
from sightline.supervisor.http import bounded_protocol
from sightline.supervisor.http.http_server import HttpServer
from support.waiting import until

HEALTH = WriterHealth(
    state="ok",
    alarm=False,
    pending_records=0,
    spooled_records=0,
    oldest_age_s=0.0,
    dropped_records=0,
    rejected_rows=0,
    dropped_outbox_rows=0,
    written_records=5,
    failures=0,
    last_success_time=100.0,
    write_s=0.01,
    last_error="",
)


class FakeSupervisor:
    """Shows what a test puts in."""

    beat_s = float("inf")

    def __init__(self) -> None:
        self.cameras = [CameraStatus("gate", CameraState.ONLINE, "", 100.0)]

    def statuses(self) -> list[CameraStatus]:
        return self.cameras

    def reports(self) -> dict[str, Report]:
        return {status.source: Report(status, None, {}) for status in self.cameras}

    def restarts(self) -> dict[str, int]:
        return {"gate": 1}


@pytest.fixture
def supervisor() -> FakeSupervisor:
    return FakeSupervisor()


@pytest.fixture
def server(supervisor: FakeSupervisor) -> Iterator[HttpServer]:
    http: Any = HttpServer(HttpOptions(host="127.0.0.1", port=0), supervisor, lambda: HEALTH)  # type: ignore[arg-type]
    http.start()
    until(lambda: http._server.started)
    yield http
    http.stop()


def get(server: HttpServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(server.url + path, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def connect(server: HttpServer) -> socket.socket:
    return socket.create_connection(server._socket.getsockname(), timeout=10)


# -- what it says -----------------------------------------------------------------------------------------


def test_ready_once_every_camera_has_its_detector(server: HttpServer, supervisor: FakeSupervisor) -> None:
    assert get(server, "/readyz")[0] == 200
    supervisor.cameras.append(CameraStatus("yard", CameraState.STARTING, "", 100.0))
    status, body = get(server, "/readyz")
    assert (status, json.loads(body)["waiting"]) == (503, {"yard": "starting"})


# -- that no client can use it up -------------------------------------------------------------------------


def test_half_open_connections_neither_pile_up_nor_keep_probes_out(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_protocol, "MAX_CONNECTIONS", 20)
    before = psutil.Process().num_fds()
    with ExitStack() as stack:
        for _ in range(100):
            half = stack.enter_context(connect(server))
            half.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        until(lambda: psutil.Process().num_fds() - before <= 100 + 20 + 5)
        assert get(server, "/healthz")[0] == 200


def test_a_header_that_does_not_end_is_given_up(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_protocol, "REQUEST_TIMEOUT_S", 0.3)
    with connect(server) as silent, connect(server) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        assert_closed(silent)
        assert_closed(slow)
    with connect(server) as second:  # whose second request does not end
        second.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\n")
        assert b"200 OK" in second.recv(65_536)
        assert_closed(second)


def assert_closed(client: socket.socket) -> None:
    try:
        while client.recv(65_536):
            pass
    except ConnectionResetError:
        pass


def test_a_client_that_is_too_slow_to_read_is_given_up(
    server: HttpServer, supervisor: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_protocol, "REQUEST_TIMEOUT_S", 0.5)
    many = [CameraStatus(f"camera {n}", CameraState.ONLINE, "x" * 2000, 100.0) for n in range(5000)]
    supervisor.cameras = many  # more than the sockets hold
    with connect(server) as reader:
        reader.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: bool(server._server.server_state.connections), timeout_s=5)
        until(lambda: not server._server.server_state.connections, timeout_s=20)
