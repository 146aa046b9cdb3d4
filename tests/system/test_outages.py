"""One run in which everything fails once: no window is lost or doubled, and coverage tells the gaps.

A person stands in view all the time, so every window that was watched counts exactly one. Outages last
``SIGHTLINE_OUTAGE_S`` seconds (8 here; 60 shows the same for a minute).
"""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sightline.entities import EventKind
from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer
from sightline.supervisor.troubles import HOLD_S
from support.system import System, leftovers
from support.toy import Passage, write_clip
from support.waiting import until

pytestmark = [pytest.mark.triton, pytest.mark.rtsp, pytest.mark.long, pytest.mark.timeout(600)]

OUTAGE_S = float(os.environ.get("SIGHTLINE_OUTAGE_S", "8"))
WINDOW_S = 2


@pytest.fixture
def rtsp(tmp_path: Path) -> Iterator[RtspServer]:
    clip = write_clip(tmp_path / "standing.mp4", [Passage(0, 1e6)], seconds=5)
    with RtspServer({"door": clip}) as server:
        yield server


@pytest.fixture
def triton(toy_repository: Path, tmp_path: Path) -> Iterator[TritonServer]:
    server = TritonServer(toy_repository, log_path=tmp_path / "triton.log")
    server.start()
    yield server
    server.stop()


def settle(system: System) -> None:
    """Counting again, for three windows."""
    system.until_state("door", "online", timeout_s=30 + OUTAGE_S)
    system.until_frames("door", 30 * WINDOW_S)


@pytest.mark.fault(14)
@pytest.mark.fault(20)
def test_counting_resumes_after_everything_has_failed_once(
    tmp_path: Path, rtsp: RtspServer, triton: TritonServer
) -> None:
    outages: dict[str, tuple[float, float]] = {}

    here = {"here": {"points": [[0, 0.5], [0.3, 0.5], [0.3, 1], [0, 1]]}}
    cameras = {"door": {"url": rtsp.url("door"), "stream": {"stall_timeout_s": 4}, "rules": {"zones": here}}}
    system = System(tmp_path, cameras, triton_url=triton.grpc_url, count={"window_s": WINDOW_S})
    with system:
        settle(system)
        began = time.time()

        started = time.time()
        os.kill(triton.pid, signal.SIGKILL)
        triton.stop()
        system.until_state("door", "no_detector")
        time.sleep(OUTAGE_S)
        outages["triton"] = (started, time.time())
        triton.start()
        ready = time.monotonic()
        until(lambda: system.camera("door")["state"] == "online")
        assert time.monotonic() - ready < 5
        settle(system)

        started = time.time()
        rtsp.stop()
        system.until_state("door", "offline")
        time.sleep(max(OUTAGE_S, HOLD_S[EventKind.CAMERA_OFFLINE][0] + 3))
        outages["rtsp"] = (started, time.time())
        rtsp.start()
        settle(system)

        started = time.time()
        lock = sqlite3.connect(tmp_path / "sightline.db", isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
        until(lambda: system.get("/healthz")[0] == 503)
        time.sleep(OUTAGE_S)
        lock.execute("ROLLBACK")
        lock.close()
        until(lambda: system.get("/healthz")[0] == 200)
        outages["database"] = (started, time.time())
        settle(system)

        (victim,) = system.workers()
        victim.send_signal(signal.SIGKILL)
        victim.wait(5)
        until(lambda: len(system.workers()) == 1)
        settle(system)

        ended = time.time()
        system.stop()
    check(system, began, ended, outages)
    check_events(system, outages)
    assert leftovers() == []


def check(system: System, began: float, ended: float, outages: dict[str, tuple[float, float]]) -> None:
    """Every window of the run once, one person in each that was watched, and gaps where nobody watched."""
    coverage = {to_epoch(row["window_start"]): row["coverage"] for row in system.rows("source_windows")}
    persons = {to_epoch(row["window_start"]): row["count"] for row in system.rows("count_windows")}
    first = (began // WINDOW_S + 1) * WINDOW_S
    whole = [first + i * WINDOW_S for i in range(int((ended - first) // WINDOW_S))]
    assert [start for start in whole if start not in coverage] == [], "windows are missing"
    assert len(system.rows("source_windows")) == len(coverage), "windows are doubled"
    assert set(persons.values()) == {1}, "somebody was counted twice"
    watched = {start for start in whole if coverage[start] > 0.3}
    assert watched <= set(persons), "a watched window has lost its count"
    blind = {start for start in whole if coverage[start] == 0.0}
    assert not blind & {start for start, count in persons.items() if count}
    for name in ("triton", "rtsp"):
        start, end = outages[name]
        inside = [coverage[w] for w in whole if start + 2 * WINDOW_S < w < end - WINDOW_S]
        assert inside, f"the outage of {name} was too short to see"
        assert max(inside) == 0.0, f"the outage of {name} does not show"
    start, end = outages["database"]
    inside = [coverage[w] for w in whole if start < w < end - WINDOW_S]
    assert min(inside) > 0.9, "a locked database stopped the watching"


def check_events(system: System, outages: dict[str, tuple[float, float]]) -> None:
    """One visit through all of it, since nobody has left; each outage is a trouble that is as long."""
    assert [event["kind"] for event in system.events("door")] == ["enter"]
    for name, kind, source in (
        ("triton", EventKind.TRITON_AWAY, ""),
        ("rtsp", EventKind.CAMERA_OFFLINE, "door"),
        ("database", EventKind.DATABASE_AWAY, ""),
    ):
        [row] = system.troubles(kind, source)
        start, end = outages[name]
        assert start <= row["event_time"].timestamp() <= start + 15, kind
        assert end - 2 <= row["end_time"].timestamp() <= end + 30, kind


def to_epoch(stored: str) -> float:
    """SQLite's text as epoch seconds."""
    return datetime.fromisoformat(stored).replace(tzinfo=UTC).timestamp()
