"""Sinks: at least once for durable ones, the newest for lossy ones, and none holds up anything else."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest.mock import Mock

import pytest

from examples import json_lines
from sightline.camera.messages import Report
from sightline.config import parse_config
from sightline.entities import CameraState, CameraStatus, Checkpoint, Event, EventKind
from sightline.store.kinds import PendingRow, pending_row
from sightline.store.lease import Lease
from sightline.store.outbox import Outbox
from sightline.store.spool import Spool
from sightline.supervisor.sinks import SINKS, DurableSink, make_sinks, wanted_by
from sightline.supervisor.sinks.sink import DurableRunner
from support.running_hub import running
from support.waiting import until

OPTIONS = parse_config({"cameras": {"gate": {"url": "rtsp://127.0.0.1:1/x"}}}).options


def event(number: int) -> Event:
    return Event("gate", EventKind.ENTER, "door", number, "person", 100.0 + number, 101.0 + number)


def report(*rows: Event, camera: str = "gate", frames: int = 0) -> Report:
    status = CameraStatus(camera, CameraState.ONLINE, "", 100.0, frames_total=frames)
    return Report(status, Checkpoint(camera, rows, {"rows": len(rows)}), {})


class Recorder(DurableSink):
    """A durable sink that remembers, and fails or hangs on demand."""

    def __init__(self, name: str = "recorder") -> None:
        self.name = name
        self.tracks: list[int] = []
        self.problem = ""
        self.go = threading.Event()
        self.go.set()
        self.closed = False

    def deliver(self, rows: Sequence[PendingRow]) -> None:
        self.go.wait()
        if self.problem:
            raise OSError(self.problem)
        self.tracks += [row.values["track_id"] for row in rows]

    def close(self) -> None:
        self.closed = True


class Screen:
    """A lossy sink that can be held up."""

    name = "screen"

    def __init__(self) -> None:
        self.shown: list[tuple[str, int]] = []
        self.go = threading.Event()

    def show(self, report: Report) -> None:
        self.go.wait()
        if report.status.source == "broken":
            raise ValueError("no such camera")
        self.shown.append((report.status.source, report.status.frames_total))

    def close(self) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Failures are retried at once.
    monkeypatch.setattr(DurableRunner.__init__, "__kwdefaults__", {"retry_s": (0.02, 0.05)})
    return tmp_path


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(folder / "counts.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


# -- an example: one new file, one line of registration ---------------------------------------------------


@pytest.fixture
def lines(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    """Registers the example sink; gives the tracks in its file."""
    path = folder / "events.jsonl"
    monkeypatch.setenv("EXAMPLE_JSON_LINES", str(path))
    monkeypatch.setattr("sightline.supervisor.sinks.SINKS", [*SINKS, json_lines.make])

    def read() -> list[int]:
        text = path.read_text() if path.exists() else ""
        return [json.loads(line)["track_id"] for line in text.splitlines()]

    return read


def test_an_example_sink_is_one_file_and_one_line(folder: Path, lines: Callable[[], list[int]]) -> None:
    with running(folder, *make_sinks(OPTIONS)) as hub:
        hub.take(report(event(1), event(2)))
        until(lambda: lines() == [1, 2])
        with locked(folder):  # the database is away: told from the spool
            hub.take(report(event(3)))
            until(lambda: lines() == [1, 2, 3])
        hub.take(report(event(4)))
    with running(folder, *make_sinks(OPTIONS)) as hub:  # a restart doubles nothing
        hub.take(report(event(5)))
        until(lambda: 5 in lines())
    assert lines() == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("lines")
def test_two_sinks_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.supervisor.sinks.SINKS", [json_lines.make, json_lines.make])
    with pytest.raises(ValueError, match="json_lines"):
        make_sinks(OPTIONS)


VICTIM = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
folder = Path(sys.argv[2])
from examples.json_lines import JsonLines
from sightline.entities import Checkpoint, Event, EventKind
from sightline.store.writer import Writer
from sightline.supervisor.hub import Hub
from sightline.supervisor.sinks import wanted_by

class Deadly(JsonLines):
    def deliver(self, messages):
        super().deliver(messages)
        os.kill(os.getpid(), signal.SIGKILL)

sink = Deadly(folder / "events.jsonl")
from support.stored import database_options
options = database_options(f"sqlite:///{folder}/counts.db", folder / "spool.db")
writer = Writer(options, sinks=wanted_by([sink]))
hub = Hub(writer, [sink])
writer.put(Checkpoint("gate", (Event("gate", EventKind.ENTER, "door", 1, "person", 101.0, 102.0),), {}))
signal.pause()
"""


def test_kill_9_between_delivery_and_commit_delivers_again(
    folder: Path, lines: Callable[[], list[int]]
) -> None:
    command = [sys.executable, "-c", VICTIM, str(Path(__file__).parents[1]), str(folder)]
    assert subprocess.run(command, check=False, timeout=60).returncode == -9
    assert lines() == [1]
    with running(folder, *make_sinks(OPTIONS)) as hub:
        until(lambda: lines() == [1, 1])  # at least once
        hub.take(report(event(2)))
        until(lambda: lines() == [1, 1, 2])


# -- durable sinks ----------------------------------------------------------------------------------------


def test_a_failing_sink_is_tried_again_shown_and_holds_up_no_other(folder: Path) -> None:
    failing, other = Recorder("failing"), Recorder("other")
    failing.problem = "refused for rtsp://user:hunter2@host/x"
    with running(folder, failing, other) as hub:
        hub.take(report(event(1)))
        hub.take(report(event(2)))
        until(lambda: other.tracks == [1, 2])
        until(lambda: hub.sinks()[0].failures > 2)
        health, fine = hub.sinks()
        assert (health.ok, health.delivered, fine.ok, fine.delivered) == (False, 0, True, 2)
        assert "refused" in health.last_error
        assert "hunter2" not in health.last_error
        failing.problem = ""
        until(lambda: failing.tracks == [1, 2])
        until(lambda: hub.sinks()[0].ok)
    assert failing.closed


def test_a_sink_that_hangs_is_shown_and_the_end_does_not_wait_for_it(folder: Path) -> None:
    hanging = Recorder()
    hanging.slow_s = 0.05
    hanging.go.clear()
    started = time.monotonic()
    with running(folder, hanging) as hub:
        hub.take(report(event(1)))
        until(lambda: "no answer" in hub.sinks()[0].last_error)
    assert time.monotonic() - started < 10
    hanging.go.set()


def test_a_sink_is_left_alone_until_the_database_is_ours() -> None:
    ticks: list[float] = []
    sink, outbox = (
        Recorder(),
        Mock(is_open=lambda: False, is_alone=lambda: False, is_away=lambda: False, read=lambda *_: []),
    )
    sink.tick_s, sink.tick = 0.02, lambda: ticks.append(time.monotonic())  # type: ignore[method-assign]
    runner = DurableRunner(sink, outbox)
    runner.start()
    time.sleep(0.2)
    assert ticks == [], "what a stand-by's sink knew by then would be old when it takes over"
    outbox.is_open = lambda: True
    until(lambda: ticks)
    runner.stop(5)


def test_what_an_earlier_program_has_spooled_is_written_before_a_sink_looks(folder: Path) -> None:
    spool = Spool(folder / "spool.db", 1_000_000)
    spool.put([pending_row(event(1), 1)])
    lease = Lease(spool)
    outbox = Outbox("sqlite://", spool, {}, lease, is_away=lambda: False, wake_writer=lambda: None)
    assert not outbox.is_open(), "another program may own the database"
    lease._held_until_s = float("inf")
    assert not outbox.is_open(), "rows wait"
    spool.remove_up_to(1)
    assert outbox.is_open()
    spool.put([pending_row(event(2), 2)])
    assert outbox.is_open(), "the database has gone away since, and rows of our own wait"
    spool.close()


# -- lossy sinks ------------------------------------------------------------------------------------------


def test_a_slow_lossy_sink_gets_the_newest_of_each_camera(folder: Path) -> None:
    screen = Screen()
    with running(folder, screen) as hub:
        assert wanted_by([screen]) == {}
        for frames in range(5):
            hub.take(report(frames=frames))
            hub.take(report(camera="broken"))
            hub.take(report(camera="yard", frames=10 * frames))
        screen.go.set()
        until(lambda: {("gate", 4), ("yard", 40)} <= set(screen.shown))
        until(lambda: hub.sinks()[0].failures > 0)
        hub.take(report(frames=99))
        until(lambda: screen.shown[-1] == ("gate", 99))
        until(lambda: hub.sinks()[0].ok)
        health = hub.sinks()[0]
        assert health.dropped + health.delivered + health.failures == 16
        assert health.dropped >= 11


# -- the hub ----------------------------------------------------------------------------------------------


def test_the_hub_keeps_the_newest_report_and_resume_state_of_each_camera(folder: Path) -> None:
    with running(folder) as hub:
        assert hub.resume_of("gate") == {}
        hub.take(report(event(1), frames=1))
        hub.take(report(frames=2, camera="yard"))
        hub.take(report(event(2), event(3), frames=3))
        assert hub.resume_of("gate") == {"rows": 2}
        frames = {name: item.status.frames_total for name, item in hub.reports().items()}
        assert frames == {"gate": 3, "yard": 2}
        hub.set_status(CameraStatus("gate", CameraState.OFFLINE, "worker ended", 200.0))
        newest = hub.reports().get("gate")
        assert newest is not None
        assert newest.status.message == "worker ended"
        hub.forget("gate")
        assert list(hub.reports()) == ["yard"]
        assert hub.resume_of("gate") == {"rows": 2}
    with running(folder) as hub:
        assert hub.resume_of("gate") == {"rows": 2}
