"""The wall clock is set an hour forward and back under a program that runs."""

import os
import re
import signal
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer
from support.system import System, leftovers
from support.toy import Passage, write_clip
from support.waiting import until

PRELOAD = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")  # Debian: libfaketime
#: libfaketime 0.9.10 makes Python's sleep, until a time of the monotonic clock, fail with EINVAL.
SLEEP = "import threading, time; time.sleep = threading.Event().wait"
HOUR_S, WINDOW_S = 3600, 2


class WallClock:
    """What a program that runs in :attr:`environment` takes for the wall clock; all else is as it is."""

    def __init__(self, folder: Path) -> None:
        if not PRELOAD.is_file():
            pytest.skip(f"no {PRELOAD} (Debian: libfaketime)")
        self._file = folder / "clock"
        self.set(0)
        (folder / "sitecustomize.py").write_text(f"{SLEEP}\n")
        self.environment = {
            "LD_PRELOAD": str(PRELOAD),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH")))),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, ahead_s: int) -> None:
        """Step to so many seconds before or after the true time."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{ahead_s:+d}\n")
        draft.replace(self._file)


@pytest.mark.fault(23)
@pytest.mark.long
@pytest.mark.triton
@pytest.mark.rtsp
def test_a_wall_clock_set_forward_and_back_by_an_hour(tmp_path: Path, toy_triton: TritonServer) -> None:
    clip = write_clip(tmp_path / "standing.mp4", [Passage(0, 1e6)], seconds=5)
    clock = WallClock(tmp_path)
    with (
        RtspServer({"door": clip}) as server,
        System(
            tmp_path,
            {"door": {"url": server.url("door")}},
            triton_url=toy_triton.grpc_url,
            count={"window_s": WINDOW_S},
            environment=clock.environment,
        ) as system,
    ):
        system.until_state("door", "online")
        started_s = time.monotonic()
        watch(system)
        workers = system.workers()
        clock.set(HOUR_S)
        until(lambda: system.camera("door")["status_time"] > time.time() + HOUR_S - 60, 10)
        watch(system)
        clock.set(0)
        until(lambda: "was set back by 36" in system.log(), 10)
        watch(system)
        assert system.workers() == workers, "a watchdog took the step for silence"
        assert system.camera("door")["reconnects_total"] == 0
        frames = system.camera("door")["frames_total"]
        workers[0].send_signal(signal.SIGKILL)  # its successor begins in what is the past to its states
        until(lambda: system.camera("door").get("frames_total", frames) < frames, 30)
        system.until_state("door", "online")
        watch(system)
        took_s = time.monotonic() - started_s
        restarts = re.findall(r"^sightline_worker_restarts_total.* (.*)$", system.get("/metrics")[1], re.M)
        assert restarts == ["1.0"], "more than the one that was killed"
        assert system.stop() < 10
    check_windows(system, took_s)
    assert leftovers() == []


def watch(system: System) -> None:
    """Two windows of frames, and all is well meanwhile."""
    for _ in range(4):
        system.until_frames("door", WINDOW_S * 10 // 2)
        status = system.camera("door")
        assert status["state"] == "online", status
        assert system.get("/healthz")[0] == 200
        assert system.get("/readyz")[0] == 200, "the lease was taken for expired"
    assert status["coverage"] > 0.5


def check_windows(system: System, took_s: float) -> None:
    """No window twice, none negative, no second credited twice, and in each one person."""
    rows = sorted(system.rows("source_windows"), key=lambda row: row["window_start"])
    spans = [(to_epoch(row["window_start"]), to_epoch(row["window_end"])) for row in rows]
    assert all(start < end for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    watched_s = sum(row["coverage"] * (end - start) for row, (start, end) in zip(rows, spans, strict=True))
    assert took_s / 2 < watched_s < took_s + 3
    assert {row["count"] for row in system.rows("count_windows")} == {1}
    assert sum(row["arrivals"] for row in system.rows("count_windows")) == 2  # an hour's gap ends the track


def to_epoch(stored: str) -> float:
    """SQLite's text as epoch seconds."""
    return datetime.fromisoformat(stored).replace(tzinfo=UTC).timestamp()
