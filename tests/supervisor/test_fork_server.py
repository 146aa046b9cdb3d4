"""Real processes: workers forked by a real server. No camera of theirs answers, and there is no Triton."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sightline.camera.messages import AddCamera, CameraSpec, Stop, WorkerReport, WorkerSpec
from sightline.config import TritonOptions, parse_config
from sightline.simulation.rtsp_server import free_port
from sightline.supervisor.fork_server import EXIT_UNKNOWN, ForkedWorkers, WorkerProcess
from support.waiting import until


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkedWorkers]:
    monkeypatch.setenv("SIGHTLINE_DOOR_PASSWORD", "hunter2")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2] / "client"))
    workers = ForkedWorkers()
    yield workers
    workers.close()


class Worker:
    """One of them, and what it has reported."""

    def __init__(self, forked: ForkedWorkers, name: str) -> None:
        self.reports: list[WorkerReport] = []
        spec = WorkerSpec(name, TritonOptions(url="127.0.0.1:1"), log_level="error")
        self.handle: WorkerProcess = forked.start(spec, self.reports.append)

    def until_heard(self) -> None:
        before = len(self.reports)
        until(lambda: len(self.reports) > before, 60)


def test_workers_are_forked_and_hold_no_secrets_of_the_environment(forked: ForkedWorkers) -> None:
    first = Worker(forked, "worker-1")
    first.until_heard()  # the server has imported everything
    others = [Worker(forked, f"worker-{i}") for i in range(2, 6)]
    for worker in others:
        until(lambda worker=worker: worker.reports and worker.handle.pid, 60)
    workers = [first, *others]
    assert len({worker.handle.pid for worker in workers}) == 5
    environments = [psutil.Process(worker.handle.pid).environ() for worker in workers]
    assert not any("hunter2" in str(environment) for environment in environments)
    assert not any("SIGHTLINE_DOOR_PASSWORD" in environment for environment in environments)
    for worker in workers:
        worker.handle.send(Stop())
    for worker in workers:
        worker.handle.finish(20.0)
        assert worker.handle.exit_code == 0


def test_workers_may_open_as_many_files_as_the_system_allows(forked: ForkedWorkers) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1), hard))
    try:
        worker = Worker(forked, "worker-1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    worker.until_heard()
    assert psutil.Process(worker.handle.pid).rlimit(psutil.RLIMIT_NOFILE) == (hard, hard)
    worker.handle.kill()
    worker.handle.finish(5.0)


@pytest.mark.fault(24)
def test_a_killed_worker_shows_and_its_neighbours_go_on(forked: ForkedWorkers) -> None:
    victim, neighbour = Worker(forked, "worker-1"), Worker(forked, "worker-2")
    cameras = {"cam": {"url": f"rtsp://127.0.0.1:{free_port()}/x"}}
    camera = parse_config({"cameras": cameras}).cameras["cam"]
    neighbour.handle.send(AddCamera(CameraSpec(camera)))
    victim.until_heard()
    os.kill(victim.handle.pid, signal.SIGKILL)
    until(lambda: victim.handle.exit_code is not None, 20)
    assert victim.handle.exit_code == -signal.SIGKILL
    victim.handle.finish(1.0)
    until(lambda: neighbour.reports and neighbour.reports[-1].reports, 20)
    assert neighbour.reports[-1].reports[0].status.source == "cam"
    neighbour.handle.kill()
    neighbour.handle.finish(5.0)
    assert neighbour.handle.exit_code == -signal.SIGKILL


def test_workers_outlive_a_killed_server_and_the_next_start_makes_another(forked: ForkedWorkers) -> None:
    old = Worker(forked, "worker-1")
    old.until_heard()
    server = psutil.Process(old.handle.pid).parent()
    assert server is not None
    server.kill()
    server.wait(10)
    old.until_heard()
    new = Worker(forked, "worker-2")
    new.until_heard()
    old.until_heard()
    for worker in (old, new):
        worker.handle.send(Stop())
        worker.handle.finish(20.0)
    assert new.handle.exit_code == 0
    assert old.handle.exit_code == EXIT_UNKNOWN, "nobody was there to reap it"


def test_a_server_that_does_not_fork_any_more_is_replaced(forked: ForkedWorkers) -> None:
    first = Worker(forked, "worker-1")
    first.until_heard()
    server = psutil.Process(first.handle.pid).parent()
    assert server is not None
    server.suspend()
    stuck = Worker(forked, "worker-2")
    stuck.handle.kill()
    started = time.monotonic()
    stuck.handle.finish(1.0)
    assert time.monotonic() - started < 10
    assert stuck.handle.exit_code == EXIT_UNKNOWN
    third = Worker(forked, "worker-3")
    third.until_heard()
    first.until_heard()
    for worker in (first, third):
        worker.handle.send(Stop())
        worker.handle.finish(20.0)
