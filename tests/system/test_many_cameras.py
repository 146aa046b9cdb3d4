"""Many cameras in one process, with real parts: a killed worker, and a shared one that changes."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import av
import pytest

from sightline.features import track_log
from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer
from support.system import System, leftovers
from support.toy import Passage, write_clip
from support.waiting import until

NAMES = [f"cam-{i}" for i in range(8)]
HERE = {"here": {"points": [[0, 0.5], [0.3, 0.5], [0.3, 1], [0, 1]]}}
GAP_S = 3.0


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a camera in front of which a person stands; a client of ours keeps it playing."""
    clip = write_clip(tmp_path_factory.mktemp("standing") / "standing.mp4", [Passage(0, 1e6)], seconds=5)
    stop = threading.Event()

    def keep_playing(url: str) -> None:
        while not stop.is_set():
            with contextlib.suppress(av.FFmpegError), av.open(url, options={"rtsp_transport": "tcp"}) as one:
                for _ in one.demux(video=0):
                    if stop.is_set():
                        return

    with RtspServer({"standing": clip}) as server:
        keeper = threading.Thread(target=keep_playing, args=(server.url("standing"),), daemon=True)
        keeper.start()
        yield server.url("standing")
        stop.set()
        keeper.join(10)


@pytest.mark.fault(18)
@pytest.mark.long
@pytest.mark.triton
@pytest.mark.rtsp
def test_a_killed_worker_with_eight_cameras_loses_and_doubles_nothing(
    tmp_path: Path, toy_triton: TritonServer, standing: str
) -> None:
    with System(
        tmp_path,
        {name: {"url": standing} for name in NAMES},
        triton_url=toy_triton.grpc_url,
        count={"window_s": 2},
        rules={"zones": HERE},
        track_log={"folder": str(tmp_path / "tracks")},
    ) as system:
        for name in NAMES:
            system.until_state(name, "online")
            system.until_frames(name, 30)
        (worker,) = system.workers()
        before = {(row["source"], row["window_start"]): row for row in system.rows("count_windows")}
        events = {name: system.events(name) for name in NAMES}
        killed = time.time()
        worker.send_signal(signal.SIGKILL)
        worker.wait(5)
        for name in NAMES:
            system.until_frames(name, 30)
        assert len(system.workers()) == 1
        system.stop()
        after = {(row["source"], row["window_start"]): row for row in system.rows("count_windows")}
        assert len(after) == len(system.rows("count_windows")), "a row is doubled"
        assert all(after[key]["count"] >= row["count"] for key, row in before.items()), "a row is lost"
        assert {row["count"] for row in after.values()} == {1}, "a person was counted twice"
        gaps = {}
        for name in NAMES:
            assert [event["kind"] for event in system.events(name)] == ["enter"]
            assert system.events(name)[0]["id"] == events[name][0]["id"]
            times = [item.capture_time for item in track_log.read(tmp_path / "tracks", name)]
            gaps[name] = max(b - a for a, b in pairwise(times) if b > killed - 1)
            # Less than a second without a frame is no hole in what was watched, and the killed worker's log
            # lacks the lines that it had not written yet.
            if gaps[name] > 1.1 + track_log.FLUSH_S:
                windows = [row for row in system.rows("source_windows") if row["source"] == name]
                assert min(row["coverage"] for row in windows[1:-1]) < 0.9, "the gap does not show"
        assert max(gaps.values()) < GAP_S, gaps
    assert leftovers() == []


@pytest.mark.triton
@pytest.mark.rtsp
def test_cameras_of_a_shared_worker_come_change_and_go_without_touching_each_other(
    tmp_path: Path, toy_triton: TritonServer, standing: str
) -> None:
    camera = {"url": standing}
    with System(tmp_path, {"a": camera, "b": camera}, triton_url=toy_triton.grpc_url) as system:
        for name in ("a", "b"):
            system.until_state(name, "online")
        (worker,) = system.workers()
        system.write_config({"a": camera, "b": {**camera, "rules": {"zones": HERE}}, "c": camera})
        system.reload()
        system.until_state("c", "online")
        system.write_config({"a": camera, "c": {**camera, "stream": {"stall_timeout_s": 5}}})
        system.reload()
        until(lambda: {row["source"]: row["state"] for row in system.rows("cameras")}["b"] == "stopped")
        system.until_frames("c", 20)
        system.until_frames("a", 10)
        assert [process.pid for process in system.workers()] == [worker.pid]
        assert system.camera("a")["reconnects_total"] == 0
        assert "camera_restarts" not in system.camera("a")["message"]
        system.stop()
    assert system.counts("a") == {"person": 1}
    assert leftovers() == []
