"""SIGTERM in every state that a test can make: the end comes within 10 s, and nothing is left behind."""

from __future__ import annotations

import contextlib
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import Postgres
from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer
from support.fake_triton import FakeTriton
from support.system import System
from support.toy import Passage, write_clip
from support.waiting import until

MAX_STOP_S = 10.0
NOBODY = "127.0.0.1:1"
GONE = {"gone": {"url": f"rtsp://{NOBODY}/x"}}


class World:
    """What a state is made of; everything in it ends with the test."""

    def __init__(self, folder: Path, request: pytest.FixtureRequest) -> None:
        self.folder, self._request = folder, request
        self.parts = contextlib.ExitStack()

    def fixture(self, name: str) -> Any:
        return self._request.getfixturevalue(name)

    def run(
        self, cameras: dict[str, Any] = GONE, *, triton_url: str = NOBODY, wait: bool = True, **options: Any
    ) -> System:
        """Sightline in a folder of its own; with ``wait`` it has begun."""
        system = System(self.folder, cameras, triton_url=triton_url, **options)
        self.parts.enter_context(system)
        if wait:
            until(lambda: len(system.workers()) > 0, 30)
        return system

    def film(self, **streams: float) -> dict[str, Any]:
        """Cameras in front of which a person stands, at so many frames a second."""
        clip = write_clip(self.folder / "clip.mp4", [Passage(0, 1e6)], seconds=5)
        rtsp = self.parts.enter_context(RtspServer(dict.fromkeys(streams, clip)))
        return {name: {"url": rtsp.url(name), "stream": {"fps": fps}} for name, fps in streams.items()}

    def stand_still(self, *processes: psutil.Process) -> None:
        """Stop processes until the test is over."""
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)
            self.parts.callback(_go_on, process)

    def freeze_postgres(self) -> None:
        server = psutil.Process(self.fixture("postgres").pid)
        self.stand_still(*server.children(recursive=True), server)

    def server(self, serve: Callable[[socket.socket], object]) -> int:
        """The port of a camera that does ``serve`` with each connection."""
        listener = self.parts.enter_context(socket.create_server(("127.0.0.1", 0), backlog=512))

        def accept() -> None:
            with contextlib.suppress(OSError):  # the test is over
                while True:
                    serve(listener.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        return int(listener.getsockname()[1])

    def silent(self, count: int) -> dict[str, Any]:
        """Cameras that accept and then say nothing."""
        kept: list[socket.socket] = []
        port = self.server(kept.append)
        return {f"silent-{i}": {"url": f"rtsp://127.0.0.1:{port}/{i}"} for i in range(count)}


def _go_on(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGCONT)


def starting(world: World) -> System:
    system = world.run(wait=False)
    time.sleep(1.0)
    return system


def storm(world: World) -> System:
    port = world.server(lambda connection: connection.close())
    cameras = {f"cam-{i}": {"url": f"rtsp://127.0.0.1:{port}/{i}"} for i in range(60)}
    system = world.run(cameras, open_limit=60)
    until(lambda: sum(f"camera cam-{i}: " in system.log() for i in range(60)) == 60, 60)
    return system


def opening(world: World) -> System:
    system = world.run(world.silent(20), open_limit=20)
    system.until_state("silent-0", "connecting")
    return system


def reloading(world: World) -> System:
    """Every worker is being replaced, and each has a camera that is opening."""
    cameras = world.silent(20)
    system = world.run(cameras, cameras_per_worker=4)
    system.until_state("silent-19", "connecting")
    system.options["triton"]["url"] = "127.0.0.1:2"
    system.write_config(cameras)
    system.reload()
    time.sleep(0.5)
    return system


def overload(world: World) -> System:
    triton = world.parts.enter_context(FakeTriton())
    triton.answer = lambda _: time.sleep(0.5) or []  # type: ignore[func-returns-value]
    system = world.run(world.film(a=10, b=10, c=10), triton_url=triton.url)
    until(lambda: system.camera("c").get("dropped_total", 0) > 10, 60)
    return system


def triton_stands_still(world: World) -> System:
    server = world.parts.enter_context(
        TritonServer(world.fixture("toy_repository"), log_path=world.folder / "triton.log")
    )
    system = world.run(world.film(a=10), triton_url=server.grpc_url)
    system.until_frames("a", 10)
    process = psutil.Process(server.pid)
    world.stand_still(process, *process.children(recursive=True))
    time.sleep(1.0)
    return system


def triton_is_away(world: World) -> System:
    system = world.run(world.film(a=10))
    system.until_state("a", "no_detector")
    return system


def database_stands_still(world: World) -> System:
    postgres: Postgres = world.fixture("postgres")
    system = world.run(database_url=postgres.new_database())
    until(lambda: system.get("/healthz")[0] == 200)
    world.freeze_postgres()
    time.sleep(2.0)
    return system


def database_stands_still_at_the_start(world: World) -> System:
    postgres: Postgres = world.fixture("postgres")
    url = postgres.new_database()
    world.freeze_postgres()
    system = world.run(database_url=url, wait=False)
    time.sleep(3.0)
    return system


def database_is_locked(world: World) -> System:
    system = world.run()
    until(lambda: system.get("/healthz")[0] == 200)
    lock = world.parts.enter_context(
        contextlib.closing(sqlite3.connect(world.folder / "sightline.db", isolation_level=None))
    )
    lock.execute("BEGIN EXCLUSIVE")
    until(lambda: system.get("/healthz")[0] == 503)
    return system


def everything_stands_still(world: World) -> System:
    """Workers and the database, and clients hold connections to the HTTP port."""
    postgres: Postgres = world.fixture("postgres")
    system = world.run(world.silent(4), database_url=postgres.new_database())
    system.until_state("silent-3", "connecting")
    world.stand_still(*system.workers())
    world.freeze_postgres()
    port = system.options["http"]["port"]
    for request in (b"", b"GET /status HTTP/1.1\r\n", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"):
        world.parts.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(request)
    return system


def canary_is_drawn(world: World) -> System:
    canary = {"enabled": True, "folder": str(world.folder / "canary")}
    system = world.run(canary=canary)
    until(lambda: any("scenes" in " ".join(p.cmdline()) for p in family(system)), 60)
    return system


def stand_by(world: World) -> System:
    owner = world.run()
    until(lambda: owner.get("/healthz")[0] == 200)
    world.folder = world.folder / "second"
    world.folder.mkdir()
    system = world.run(database_url=owner.database_url, arguments=("--standby",), wait=False)
    until(lambda: "standby" in system.get("/healthz")[1], 30)
    return system


STATES = [
    *[starting, storm, opening, reloading, overload, triton_is_away, triton_stands_still],
    *[database_is_locked, database_stands_still, database_stands_still_at_the_start, everything_stands_still],
    *[canary_is_drawn, stand_by],
]


def family(system: System) -> list[psutil.Process]:
    assert system.process is not None
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(system.process.pid).children(recursive=True)
    return []


def runs(process: psutil.Process) -> bool:
    """Whether it has not ended; one that init has yet to reap has."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    world = World(tmp_path, request)
    with world.parts:
        yield world


@pytest.mark.fault(29)
@pytest.mark.long
@pytest.mark.parametrize("make_state", STATES, ids=lambda make_state: make_state.__name__)
def test_sigterm_ends_everything_in_time_and_nothing_is_left(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_state: Callable[[World], System]
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    system = make_state(world)
    processes = family(system)
    started = time.monotonic()
    system.send(signal.SIGTERM)
    code = system.wait(60)
    took_s = time.monotonic() - started
    assert took_s < MAX_STOP_S, system.log()
    # Before it has begun nothing has to be brought to an end.
    assert code in ({0, 143, -signal.SIGTERM} if "start" in make_state.__name__ else {0}), system.log()
    assert "Traceback" not in system.log()
    _, alive = psutil.wait_procs(processes, timeout=2.0)
    assert not [one for one in alive if runs(one)]
    marks = [f"-{one.pid}-" for one in processes]
    memory = [path.name for path in Path("/dev/shm").iterdir() if any(mark in path.name for mark in marks)]
    assert memory == []
    assert [path.name for path in temporary.iterdir()] == []


@pytest.mark.fault(29)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_server_of_streams_leaves_nothing_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    clip = write_clip(tmp_path / "clip.mp4", [Passage(0, 1e6)], seconds=1)
    code = (
        "import signal, sys, time, pathlib; from sightline.simulation.rtsp_server import RtspServer\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it\n"
        "with RtspServer({'a': pathlib.Path(sys.argv[1])}): print('serves', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(clip)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"serves\n"
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        process.wait(10)
    assert not psutil.wait_procs(children, timeout=10)[1]
    assert list(temporary.iterdir()) == []


#: A command that has made a temporary folder, as `sightline model export` does.
COMMAND = """
import argparse, sys, tempfile, time
import sightline.cli.main

def command(_):
    with tempfile.TemporaryDirectory():
        print("works", flush=True)
        time.sleep(60)

parser = argparse.ArgumentParser()
parser.set_defaults(command=command)
module = sys.modules["sightline.cli.main"]
module.build_parser = lambda: parser
sys.exit(module.main([]))
"""


@pytest.mark.fault(29)
def test_a_command_takes_its_temporary_folder_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", COMMAND], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"works\n"
        process.terminate()
        assert process.wait(10) == 143
    assert list(tmp_path.iterdir()) == []
