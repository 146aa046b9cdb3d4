"""That the database is away is told while it is, whenever that begins, and under one key."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from conftest import Postgres
from sightline.config import LoadedConfig, load_config
from sightline.entities import Event, EventKind
from sightline.store import lease as lease_module
from sightline.store.database import WRITE_TIMEOUT_S, Store
from sightline.store.spooled_store import SLOW_S
from sightline.store.writer import Writer
from sightline.supervisor.hub import Hub
from sightline.supervisor.sinks import make_sinks, wanted_by
from sightline.supervisor.sinks.sink import DurableRunner
from sightline.supervisor.supervisor import Supervisor
from sightline.supervisor.troubles import HOLD_S
from support.fake_workers import FakeClock, FakeWorkers
from support.listeners import HookServer
from support.stored import read_rows
from support.waiting import until

SECRET = "0123456789abcdef"


@pytest.fixture
def hook() -> Iterator[HookServer]:
    server = HookServer()
    yield server
    server.close()


@pytest.fixture
def configure(tmp_path: Path, hook: HookServer) -> Callable[[str], LoadedConfig]:
    """The configuration of a program on a database, whose alerts go to the hook."""

    def make(url: str) -> LoadedConfig:
        rule = {"kinds": ["database_away", "overload", "enter"], "routes": ["hook"], "cooldown_s": 0}
        values = {
            "cameras": {"gate": {"url": "rtsp://127.0.0.1:1/x", "enabled": False}},
            "database": {"url": url, "spool_path": str(tmp_path / "spool.db")},
            "alerts": {"rules": {"all": rule}, "routes": {"hook": {"webhook": hook.url, "secret": SECRET}}},
        }
        path = tmp_path / "config.yml"
        path.write_text(yaml.safe_dump(values))
        return load_config(path)

    return make


@contextlib.contextmanager
def program(config: LoadedConfig) -> Iterator[Writer]:
    """One that runs no camera."""
    sinks = make_sinks(config.options)
    writer = Writer(config.options.database, flush_every_s=0.1, sinks=wanted_by(sinks))
    hub = Hub(writer, sinks)
    supervisor = Supervisor(config, hub, start_worker=FakeWorkers(FakeClock()).start)
    thread = threading.Thread(target=supervisor.run, daemon=True)
    thread.start()
    try:
        yield writer
    finally:
        supervisor.stop()
        thread.join()
        hub.close()
        writer.close()


@contextlib.contextmanager
def locked(url: str) -> Iterator[None]:
    path = url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def told(hook: HookServer) -> list[tuple[str, str]]:
    return [(body["alert"]["kind"], body["transition"]) for body in hook.bodies]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/counts.db"
    with contextlib.closing(Store(url)) as store:
        store.open()
    return url


@pytest.mark.fault(20)
def test_a_program_that_starts_without_its_database_tells_that_once_however_often_it_starts(
    sqlite_url: str, configure: Callable[[str], LoadedConfig], hook: HookServer
) -> None:
    config = configure(sqlite_url)
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(sqlite_url))
        began = time.monotonic()
        with program(config):
            until(lambda: told(hook) == [("database_away", "opened")], 20)
            assert time.monotonic() - began < 10
        with program(config) as writer:
            time.sleep(HOLD_S[EventKind.DATABASE_AWAY][0] + 2)
            assert len(hook.requests) == 1, "it has been told"
            stack.close()  # the database is back
            until(lambda: len(hook.requests) == 2, 30)
            until(lambda: not writer.health().pending_records)
            time.sleep(0.5)
    assert told(hook) == [("database_away", "opened"), ("database_away", "resolved")]
    [event] = read_rows(sqlite_url, "events")
    [alert] = read_rows(sqlite_url, "alerts")
    assert event["end_time"] is not None
    assert (alert["state"], alert["notifications"]) == ("resolved", 2)
    assert {body["alert"]["alert_id"] for body in hook.bodies} == {alert["alert_id"]}
    assert len(read_rows(sqlite_url, "notifications")) == 2


@pytest.mark.fault(20)
def test_what_troubles_the_program_is_told_in_a_long_outage_and_what_cameras_see_when_it_is_over(
    sqlite_url: str,
    configure: Callable[[str], LoadedConfig],
    hook: HookServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease_module, "LEASE_S", 1.0)
    with program(configure(sqlite_url)) as writer:
        until(lambda: writer.health().owns_database)
        with locked(sqlite_url):
            until(lambda: told(hook) == [("database_away", "opened")], 20)
            until(lambda: not writer.health().owns_database)
            now = time.time()
            visit = Event("gate", EventKind.ENTER, "yard", 1, "person", now, now, first_time=now)
            writer.put_results([visit, Event("", EventKind.OVERLOAD, "decoder", 0, "", now, now)])
            until(lambda: len(hook.requests) == 2, 10)
            time.sleep(0.5)
            assert told(hook)[1:] == [("overload", "opened")], "another program may tell of the visit"
        until(lambda: ("enter", "opened") in told(hook), 30)
        until(lambda: ("database_away", "resolved") in told(hook), 30)
    assert len({body["key"] for body in hook.bodies}) == len(hook.requests), "nothing was told twice"


@pytest.mark.fault(20)
def test_a_postgres_that_hangs_is_told_within_seconds(
    postgres: Postgres,
    configure: Callable[[str], LoadedConfig],
    hook: HookServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert SLOW_S + HOLD_S[EventKind.DATABASE_AWAY][0] < WRITE_TIMEOUT_S, "told when it is given up"
    monkeypatch.setitem(DurableRunner.__init__.__kwdefaults__, "retry_s", (0.2, 1.0))
    url = postgres.new_database()
    with program(configure(url)) as writer:
        until(lambda: writer.health().owns_database)
        server = psutil.Process(postgres.pid)
        family: list[Any] = [*server.children(recursive=True), server]
        for process in family:
            process.send_signal(signal.SIGSTOP)
        try:
            stopped = time.monotonic()
            until(lambda: told(hook) == [("database_away", "opened")], 30)
            assert time.monotonic() - stopped < 11
        finally:
            for process in family:
                process.send_signal(signal.SIGCONT)
        until(lambda: ("database_away", "resolved") in told(hook), 30)
    assert len(hook.requests) == 2
