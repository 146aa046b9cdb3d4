"""A detector that is slower than its cameras, and none at all: what the program says, on real processes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer, free_port
from sightline.store.read.queries import read_cameras
from sightline.store.read.readonly import Database
from sightline.supervisor.http.http_server import MAX_CONNECTIONS
from sightline.supervisor.workers import (
    FILES_PER_CAMERA,
    FILES_PER_WORKER,
    OTHER_THREADS,
    SUPERVISOR_FILES,
    THREADS_PER_CAMERA,
    THREADS_PER_WORKER,
    WORKER_FILES,
)
from support.system import System
from support.toy import Passage, write_clip
from support.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.rtsp]

SAID = "overload: 2 of 2 cameras analyse"
SLEEP_S = 0.2  # a request, one after the other: five frames a second


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    clip = write_clip(tmp_path_factory.mktemp("standing") / "standing.mp4", [Passage(0, 1e6)], seconds=5)
    with RtspServer({"standing": clip}) as server:
        yield server.url("standing")


@pytest.fixture(scope="module")
def slow_triton(toy_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """The toy network behind a program that sleeps before each picture."""
    folder = tmp_path_factory.mktemp("slow")
    repository = Path(shutil.copytree(toy_repository, folder / "repository", symlinks=True))
    program = repository / "detector" / "1" / "model.py"
    text = program.read_text().replace("from pathlib", "import time\nfrom pathlib", 1)
    loop = "for request in requests:\n"
    assert loop in text
    program.write_text(text.replace(loop, f"{loop}            time.sleep({SLEEP_S})\n", 1))
    with TritonServer(repository, log_path=folder / "log") as server:
        yield server


def notices(system: System) -> dict[str, str]:
    body = system.get("/status")[1]
    return {item["cause"]: item["text"] for item in json.loads(body)["notices"]} if body else {}


def bottleneck(system: System) -> tuple[str, list[str], str] | None:
    """What limits first: what, whom, and the sentence."""
    body = system.get("/status")[1]
    limits = json.loads(body)["limits"] if body else []
    return (limits[0]["limiter"], sorted(limits[0]["cameras"]), limits[0]["text"]) if limits else None


def require_within_estimates(system: System, cameras: int) -> None:
    """Processes hold no more descriptors and threads than the limits are compared with."""
    assert system.process is not None
    supervisor, (worker,) = psutil.Process(system.process.pid), system.workers()
    assert supervisor.num_fds() <= SUPERVISOR_FILES - MAX_CONNECTIONS + FILES_PER_WORKER
    assert worker.num_fds() <= WORKER_FILES + cameras * FILES_PER_CAMERA
    assert worker.num_threads() <= THREADS_PER_WORKER + cameras * THREADS_PER_CAMERA
    assert supervisor.num_threads() <= OTHER_THREADS


@pytest.mark.fault(12)
@pytest.mark.triton
def test_a_slow_detector_is_said_in_words_with_its_figures_until_it_is_helped(
    tmp_path: Path, slow_triton: TritonServer, standing: str
) -> None:
    cameras: dict[str, dict[str, Any]] = {name: {"url": standing} for name in ("a", "b")}
    with System(tmp_path, cameras, triton_url=slow_triton.grpc_url) as system:
        until(lambda: notices(system).get("detector", "").startswith(SAID), 60, every_s=0.5)
        text = notices(system)["detector"]
        found = re.search(
            r"analyse ([\d.]+) of ([\d.]+) frames/s; .* takes (\d+) ms for a frame, ([\d.]+) frames/s in all "
            r"where ([\d.]+) are due; what helps",
            text,
        )
        assert found is not None, text
        fps, due, infer_ms, in_all, due_in_all = map(float, found.groups())
        assert due == pytest.approx(10, abs=1.5)
        assert (in_all, due_in_all) == pytest.approx((2 * fps, 2 * due), abs=0.2)
        assert in_all == pytest.approx(1 / SLEEP_S, abs=1.5)
        assert infer_ms >= 1000 * SLEEP_S
        assert "2 cameras analyse" in system.log()
        assert system.get("/readyz")[0] == 200
        assert 'sightline_held_back_cameras{cause="detector"} 2.0' in system.get("/metrics")[1]
        sentence = "All 2 cameras are analysed too seldom: the detector is busy all of the time."
        assert bottleneck(system) == ("detector", ["a", "b"], sentence)
        until(lambda: "the detector is too slow" in system.camera("a")["message"], 5)
        require_within_estimates(system, len(cameras))
        database = Database(system.database_url)

        def shown() -> set[str]:  # to the console
            with database.reading() as connection:
                statuses = read_cameras(connection, None)
                return {text[: len(SAID)] for status in statuses for text in status.notices}

        until(lambda: shown() == {SAID}, 5)
        system.write_config({name: {"url": standing, "stream": {"fps": 1}} for name in cameras})
        system.reload()
        until(lambda: "detector" not in notices(system), 60, every_s=0.5)
        until(lambda: bottleneck(system) is None, 20, every_s=0.5)
        assert re.search(r"the overload of the detector toy-1\S* is over, after \d+ s", system.log())
        until(lambda: shown() == set(), 5)
        database.close()
        system.stop()


@pytest.mark.fault(12)
@pytest.mark.triton
def test_the_newest_frame_wins_drops_are_counted_and_memory_is_flat(
    tmp_path: Path, slow_triton: TritonServer
) -> None:
    fps, size, in_flight = 10, (640, 384), 3
    clip = write_clip(tmp_path / "standing.mp4", [Passage(0, 1e6)], seconds=5, fps=fps, size=size)
    triton = {"url": slow_triton.grpc_url, "in_flight": in_flight}
    with RtspServer({"a": clip}) as server:
        cameras = {"a": {"url": server.url("a")}}
        with System(tmp_path, cameras, triton_url=slow_triton.grpc_url, triton=triton) as system:
            system.until_state("a", "online")
            system.until_frames("a", 20)  # buffers have the size that they will have
            (worker,) = system.workers()
            before, memory, ages_s = system.camera("a"), [worker.memory_info().rss], []
            for _ in range(15):
                time.sleep(1)
                after = system.camera("a")
                ages_s.append(after["status_time"] - after["last_frame_time"])
                memory.append(worker.memory_info().rss)
            assert system.stop() < 10
    took_s = after["status_time"] - before["status_time"]
    tracked, dropped = (after[name] - before[name] for name in ("frames_total", "dropped_total"))
    assert tracked / took_s == pytest.approx(1 / SLEEP_S, rel=0.15), "the detector is never idle"
    assert (tracked + dropped) / took_s == pytest.approx(fps, rel=0.1), "each frame is one or the other"
    # A frame waits for those in flight before it and for no other; a status is a second old at most.
    assert max(ages_s) < (in_flight + 2) * SLEEP_S + 1
    assert after["latency_p99_ms"] < 1000 * (in_flight + 1) * SLEEP_S + 250
    assert dropped * size[0] * size[1] * 1.5 > 20e6, "bytes that a leak of them would take"
    assert max(memory) - memory[0] < 5e6, memory


@pytest.mark.fault(13)
def test_without_triton_the_program_says_what_it_waits_for(tmp_path: Path, standing: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    with System(tmp_path, {"door": {"url": standing}}, triton_url=address) as system:
        until(lambda: "waiting for Triton" in system.log(), 30)
        [line] = [line for line in system.log().splitlines() if "waiting for Triton" in line]
        assert re.search(
            rf"waiting for Triton at {address} since 2\S+ \S+ UTC: 1 of 1 cameras have no detector \(.+\); "
            r"start it \(`sightline triton serve`\), load the model or correct triton.url",
            line,
        )
        command = [sys.executable, "-m", "sightline", "status", "-c", str(tmp_path / "config.yml")]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert f"\nwaiting for Triton at {address} since" in shown
        assert "results: ok; owner: sightline on " in shown
        sentence = "Camera door is not analysed: the detector does not answer."
        assert bottleneck(system) == ("triton", ["door"], sentence)
        code, body = system.get("/readyz")
        assert (code, "waiting for Triton" in body) == (503, True)
        system.stop()
