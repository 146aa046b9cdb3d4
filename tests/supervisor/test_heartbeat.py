"""The heartbeat: while all is well, and only then; a monitor that is away is told of once."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from sightline.config import Config
from sightline.config.alerts import AlertOptions, HeartbeatOptions
from sightline.supervisor.heartbeat import Heartbeat
from support.waiting import until


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """A monitor's URL, and the paths that it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(500 if "broken" in self.path else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", paths
    server.shutdown()
    server.server_close()


def options(url: str | None, every_s: float = 0.02) -> HeartbeatOptions:
    checked = HeartbeatOptions.model_validate({"url": url})
    return checked.model_copy(update={"every_s": every_s})  # quicker than people may write


def test_it_stops_while_something_is_wrong_and_follows_a_change(asked: tuple[str, list[str]]) -> None:
    url, paths = asked
    problems: list[str] = []
    heartbeat = Heartbeat(options(f"{url}/beat"), lambda: problems)
    heartbeat.start()
    until(lambda: len(paths) > 2)
    problems.append("results do not reach the database")
    time.sleep(0.1)
    count = len(paths)
    time.sleep(0.2)
    assert len(paths) == count
    problems.clear()
    until(lambda: len(paths) > count)
    heartbeat.update(Config(alerts=AlertOptions(heartbeat=options(f"{url}/other", 60))))
    until(lambda: "/other" in paths)
    heartbeat.stop()


@pytest.mark.parametrize("path", ["broken/T0KEN", "nobody"])
def test_a_monitor_that_is_away_is_told_of_once_and_without_its_url(
    path: str, asked: tuple[str, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    url, _ = asked
    heartbeat = Heartbeat(options(f"{url}/{path}" if "/" in path else "http://127.0.0.1:1/T0KEN"), lambda: [])
    with caplog.at_level(logging.INFO):
        heartbeat.start()
        until(lambda: "not reached" in caplog.text)
        time.sleep(0.2)
        heartbeat.update(Config(alerts=AlertOptions(heartbeat=options(f"{url}/beat", 60))))
        until(lambda: "is reached again" in caplog.text)
    heartbeat.stop()
    assert caplog.text.count("not reached") == 1
    assert "T0KEN" not in caplog.text


def test_what_a_monitor_answers_is_shown_as_one_short_line_without_its_token(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as client:
                client.recv(1000)
                client.sendall(b"HTTP/1.1 500 no /T0KENT0KEN \x1b[2J" + b"x" * 60_000 + b"\r\n\r\n")

        Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/T0KENT0KEN"
        heartbeat = Heartbeat(options(url, 60), lambda: [])
        heartbeat.start()
        until(lambda: "not reached" in caplog.text)
        heartbeat.stop()
    [line] = [record.getMessage() for record in caplog.records]
    assert "500 no" in line and "T0KEN" not in line and line.isprintable() and len(line) < 300
