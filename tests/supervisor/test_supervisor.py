"""Placing, watching and restarting of workers, with fake ones and a clock of our own."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.base import limits
from sightline.camera.messages import EXIT_HANGING, RemoveCamera, Retry, UpdateCamera, UpdateWorker
from sightline.config import LoadedConfig, parse_config
from sightline.entities import CameraState, CameraStatus
from sightline.errors import SourceUnusable
from sightline.store.spooled_store import WriterHealth
from sightline.supervisor.control import Control, make_plan
from sightline.supervisor.hub import Hub
from sightline.supervisor.supervisor import Supervisor
from sightline.supervisor.workers import SILENT_S, START_S, STARTS_AT_ONCE
from support.fake_workers import FakeClock, FakeHandle, FakeWorkers


class WriterInMemory:
    """The writer's side that the hub uses."""

    def __init__(self, resume: dict[str, Any] | None = None) -> None:
        self.resume = resume or {}
        self.statuses: list[CameraStatus] = []
        self.unwatched: list[Any] = []
        self.results: list[Any] = []

    def resume_states(self) -> dict[str, Any]:
        return self.resume

    def put(self, checkpoint: Any) -> None:
        pass

    def put_status(self, status: CameraStatus) -> None:
        self.statuses.append(status)

    def mark_unwatched(self, windows: Any) -> None:
        self.unwatched += windows

    def put_results(self, results: Any) -> None:
        self.results += results

    def health(self) -> WriterHealth:
        return WriterHealth()

    def open_events(self) -> None:
        return None


def config_of(names: str, per_worker: int = 4, **options: Any) -> LoadedConfig:
    cameras = {name: {"url": f"rtsp://h/{name}"} for name in names.split()}
    return parse_config({"cameras": cameras, "cameras_per_worker": per_worker, **options})


class World:
    """A supervisor, its fake workers, and time."""

    def __init__(self, names: str, resume: dict[str, Any] | None = None, **options: Any) -> None:
        self.clock = FakeClock()
        self.workers = FakeWorkers(self.clock)
        self.writer = WriterInMemory(resume)
        self.config = config_of(names, **options)
        self.supervisor = Supervisor(
            self.config, Hub(self.writer), start_worker=self.workers.start, clock=self.clock
        )
        self.supervisor.apply(make_plan(config_of(""), self.config, self.config.options))

    def reload(self, config: LoadedConfig) -> None:
        self.supervisor.apply(make_plan(self.config, config, self.config.options))
        self.config = config

    def pass_time(self, seconds: float, step_s: float = 0.5) -> None:
        """Tick; those that live report themselves."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now += step_s
            for handle in self.workers.alive:
                if handle.obeys:
                    handle.heard_s = self.clock.now
            self.supervisor.tick()

    def tick(self) -> list[FakeHandle]:
        self.supervisor.tick()
        return self.workers.alive

    def states(self) -> dict[str, str]:
        return {status.source: status.state.value for status in self.supervisor.statuses()}


def test_cameras_share_workers_up_to_the_limit() -> None:
    world = World("a b c d e f", per_worker=4)
    assert [handle.cameras for handle in world.tick()] == [["a", "b", "c", "d"], ["e", "f"]]


def test_the_owner_of_a_camera_is_the_worker_in_which_it_runs_now() -> None:
    world = World("a b c", per_worker=2)
    first, second = world.tick()
    owners = [world.supervisor.owner_of(name) for name in "abc"]
    assert owners == [first, first, second]
    assert world.supervisor.live.owner_of("c") is second
    first.kill()
    world.tick()
    assert world.supervisor.owner_of("a") is None
    world.pass_time(5)
    successor = world.supervisor.owner_of("a")
    assert successor is not None
    assert successor not in {first, second}
    with pytest.raises(LookupError):
        world.supervisor.owner_of("nowhere")


def test_sinks_are_told_of_the_cameras_at_the_start_and_after_a_reload(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[list[str]] = []
    monkeypatch.setattr(Hub, "update_cameras", lambda hub, cameras: told.append([*cameras]))
    world = World("a b")
    world.tick()
    world.reload(config_of("b c"))
    world.tick()
    assert (told[0], told[-1]) == (["a", "b"], ["b", "c"])


def test_a_new_camera_joins_a_worker_and_a_removed_one_leaves_the_others_alone() -> None:
    world = World("a b")
    (worker,) = world.tick()
    world.reload(config_of("a b c"))
    assert world.tick() == [worker]
    world.tick()
    assert worker.cameras == ["a", "b", "c"]
    world.reload(config_of("a c"))
    world.tick()
    world.tick()
    assert worker.sent[-1] == RemoveCamera("b")
    assert world.states() == {"a": "starting", "c": "starting"}
    assert world.writer.statuses[-1].state is CameraState.STOPPED
    assert world.writer.statuses[-1].message == "not in the configuration"


def test_a_running_camera_that_becomes_misconfigured_is_shown_so() -> None:
    world = World("a b")
    world.tick()
    cameras = {"a": {"url": "rtsp://h/a"}, "b": {"url": "ftp://h/b"}}
    world.reload(parse_config({"cameras": cameras, "cameras_per_worker": 4}))
    world.tick()
    world.tick()
    assert world.states() == {"a": "starting", "b": "misconfigured"}
    newest = {status.source: status for status in world.writer.statuses}
    assert newest["b"].state is CameraState.MISCONFIGURED
    assert "ftp" in newest["b"].message


def test_a_report_that_cannot_be_taken_deafens_no_other_camera(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World("a b")
    (worker,) = world.tick()

    def put(checkpoint: Any) -> None:
        if checkpoint.source == "a":
            raise TypeError("no kind of row")

    monkeypatch.setattr(world.writer, "put", put)
    worker.report("a", "b", resume={"count": 1})
    assert [status.source for status in world.writer.statuses] == ["b"]
    assert world.states() == {"a": "online", "b": "online"}
    assert "camera a: what it reports cannot be taken" in caplog.text


def test_a_disabled_camera_is_shown_so_from_the_start_and_once_it_is_added() -> None:
    def config(**enabled: bool) -> LoadedConfig:
        cameras = {name: {"url": f"rtsp://h/{name}", "enabled": on} for name, on in enabled.items()}
        return parse_config({"cameras": cameras, "cameras_per_worker": 4})

    world = World("")
    world.reload(config(a=True, b=False))
    (worker,) = world.tick()
    assert worker.cameras == ["a"]

    def shown() -> dict[str, tuple[str, str]]:
        newest = {status.source: status for status in world.writer.statuses}
        return {name: (status.state.value, status.message) for name, status in newest.items()}

    off = ("stopped", "enabled: false")
    assert shown() == {"b": off}
    world.reload(config(a=False, b=False, c=False))
    worker.obeys = False
    world.tick()
    assert shown() == {"b": off, "c": off}, "the worker still has the first one"
    worker.report("a", last=True)
    world.tick()
    assert shown() == {"a": off, "b": off, "c": off}
    world.reload(config(b=True))
    world.tick()
    assert world.workers.alive[-1].cameras == ["b"]


def test_a_worker_without_cameras_ends() -> None:
    world = World("a b", per_worker=1)
    assert len(world.tick()) == 2
    world.reload(config_of("a", per_worker=1))
    world.pass_time(2)
    assert [handle.cameras for handle in world.workers.alive] == [["a"]]


def test_a_changed_camera_starts_again_from_its_last_report_and_not_before_it() -> None:
    world = World("a b", resume={"a": {"old": 1}})
    (worker,) = world.tick()
    assert worker.spec_of("a").resume == {"old": 1}
    worker.report("a", resume={"new": 2})
    worker.obeys = False
    world.reload(
        parse_config(
            {"cameras": {"a": {"url": "rtsp://h/other"}, "b": {"url": "rtsp://h/b"}}, "cameras_per_worker": 4}
        )
    )
    world.pass_time(1)
    assert worker.cameras == ["a", "b"], "its worker has not let go of it yet"
    worker.report("a", resume={"newest": 3}, last=True)
    world.pass_time(1)
    assert worker.cameras == ["a", "b", "a"]
    assert worker.spec_of("a").resume == {"newest": 3}


def test_a_camera_switched_off_and_on_again_goes_on_from_what_it_reported_last() -> None:
    world = World("a b", resume={"a": {"count": 1}})
    (worker,) = world.tick()
    worker.report("a", resume={"count": 13})
    for names in ("b", "a b", "b", "a b"):
        world.reload(config_of(names))
        worker.obeys = False
        world.tick()
        worker.report("a", resume={"count": 13}, last=True) if names == "b" else None
        world.tick()
    assert worker.spec_of("a").resume == {"count": 13}


@given(st.lists(st.sampled_from(["as it was", "disabled", "a typo", "gone", "another url"]), max_size=12))
@settings(max_examples=60, deadline=None)
def test_no_sequence_of_reloads_loses_what_a_camera_reported(states: list[str]) -> None:
    cameras: dict[str, dict[str, Any]] = {
        "as it was": {"url": "rtsp://h/a"},
        "disabled": {"url": "rtsp://h/a", "enabled": False},
        "a typo": {"url": "rtps://h/a"},
        "another url": {"url": "rtsp://h/other"},
    }
    world, count = World("a b", resume={"a": {"count": 1}}), 1
    (worker,) = world.tick()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yml"
        path.write_text("cameras: {}\n")
        control = Control(path, world.config, world.supervisor.apply)
        for state in [*states, "as it was"]:
            a = {"a": cameras[state]} if state in cameras else {}
            path.write_text(
                json.dumps({"cameras_per_worker": 4, "cameras": {**a, "b": {"url": "rtsp://h/b"}}})
            )
            control.reload("test")
            assert control.state()["last"]["outcome"] == "applied"
            worker.obeys = False
            told = len(worker.sent)
            world.tick()
            if RemoveCamera("a") in worker.sent[told:]:
                count += 1
                worker.report("a", resume={"count": count}, last=True)
            world.pass_time(1)
            worker.heard_s = world.clock.now
            runs = state in {"as it was", "another url"}
            assert world.states().get("a") == (
                "misconfigured" if state == "a typo" else world.states().get("a")
            )
            assert ("a" in world.states()) == (runs or state == "a typo")
            assert worker.spec_of("a").resume == {"count": count} or not runs


@pytest.mark.fault(27)
def test_a_camera_with_a_typo_is_shown_as_misconfigured_also_when_its_worker_has_let_go_of_it() -> None:
    world = World("a b")
    world.tick()
    world.reload(
        parse_config(
            {"cameras": {"a": {"url": "rtps://h/a"}, "b": {"url": "rtsp://h/b"}}, "cameras_per_worker": 4}
        )
    )
    world.pass_time(2)
    last = [status.state for status in world.writer.statuses if status.source == "a"][-1]
    assert last is CameraState.MISCONFIGURED


def test_a_hot_change_reaches_the_worker_and_nothing_starts_anew() -> None:
    world = World("a b")
    (worker,) = world.tick()
    changed = parse_config({
        "cameras": {"a": {"url": "rtsp://h/a", "track": {"confirm_s": 2}}, "b": {"url": "rtsp://h/b"}},
        "cameras_per_worker": 4,
    })  # fmt: skip
    world.reload(changed)
    world.tick()
    assert worker.sent[-1] == UpdateCamera(changed.cameras["a"])
    assert worker.cameras == ["a", "b"]


def test_options_of_the_program_reach_the_workers_that_run() -> None:
    world = World("a b", per_worker=1)
    workers = world.tick()
    world.reload(config_of("a b", per_worker=1, open_limit=3, log_level="debug"))
    world.tick()
    assert all(worker.sent[-1] == UpdateWorker(3, "debug") for worker in workers)
    assert [worker.cameras for worker in workers] == [["a"], ["b"]]


@pytest.mark.fault(24)
def test_a_dead_worker_comes_back_with_all_its_cameras_and_their_newest_states() -> None:
    world = World("a b c d", resume={"a": {"n": 0}})
    (worker,) = world.tick()
    worker.report("a", "b", resume={"n": 1})
    worker.exit_code = -9
    world.tick()
    assert world.states()["a"] == "offline"
    assert world.workers.alive == []
    world.pass_time(1)
    (successor,) = world.workers.alive
    assert successor.cameras == ["a", "b", "c", "d"]
    assert successor.spec_of("a").resume == {"n": 1}
    assert world.supervisor.restarts() == dict.fromkeys("abcd", 1)


@pytest.mark.fault(24)
def test_a_silent_worker_is_killed_and_a_starting_one_has_more_time() -> None:
    world = World("a")
    (worker,) = world.tick()
    worker.obeys = False
    world.pass_time(SILENT_S - 1)
    assert not worker.killed
    world.workers.hear_at_once = world.workers.obeys = False
    world.pass_time(3)
    assert worker.killed
    (successor,) = world.workers.alive
    world.pass_time(START_S - 4)
    assert not successor.killed, "a start has a deadline of its own"
    world.pass_time(5)
    assert successor.killed


@pytest.mark.fault(28)
def test_few_workers_start_at_once() -> None:
    world = World("a b c d e f g h i j", per_worker=1)
    world.workers.hear_at_once = False
    for _ in range(3):
        assert len(world.tick()) == STARTS_AT_ONCE
    for handle in world.workers.alive:
        handle.report()
    assert len(world.tick()) == 2 * STARTS_AT_ONCE


@pytest.mark.fault(24)
def test_a_start_that_fails_is_tried_again_later_and_ends_nothing() -> None:
    world = World("a b", per_worker=1)
    world.workers.refuse = True
    world.pass_time(2)
    assert "Resource temporarily unavailable" in world.supervisor.statuses()[0].message
    world.workers.refuse = False
    world.pass_time(40)
    assert sorted(handle.cameras for handle in world.workers.alive) == [["a"], ["b"]]


def test_starts_that_fail_are_not_the_cameras_fault() -> None:
    world = World("a b c d")
    world.workers.refuse = True
    world.pass_time(60)
    world.workers.refuse = False
    world.pass_time(40)
    assert [handle.cameras for handle in world.workers.alive] == [["a", "b", "c", "d"]]


def test_deaths_that_lie_far_apart_divide_nothing() -> None:
    world = World("a b c d")
    world.tick()
    for _ in range(6):
        (worker,) = world.workers.alive
        world.pass_time(400, step_s=5)
        worker.exit_code = -9
        world.pass_time(2)
    assert [handle.cameras for handle in world.workers.alive] == [["a", "b", "c", "d"]]


def test_delays_grow_with_each_failure() -> None:
    world = World("a")
    starts = []
    for _ in range(6):
        (worker,) = world.tick()
        starts.append(world.clock.now)
        worker.exit_code = 1
        world.supervisor.tick()
        while not world.workers.alive:
            world.clock.now += 0.1
            world.supervisor.tick()
    gaps = [b - a for a, b in pairwise(starts)]
    assert gaps[0] < 1
    assert gaps[-1] > 1.9


@pytest.mark.fault(2)
def test_a_camera_that_hangs_moves_to_a_worker_of_its_own_and_its_neighbours_resume_at_once() -> None:
    world = World("a b c")
    (worker,) = world.tick()
    worker.report("a", "b", "c", resume={"n": 5}, hanging=("b",))
    worker.exit_code = EXIT_HANGING
    world.tick()
    (successor,) = world.tick()
    assert successor.cameras == ["a", "c"], "without a delay"
    assert successor.spec_of("a").resume == {"n": 5}
    b = next(status for status in world.supervisor.statuses() if status.source == "b")
    assert b.state is CameraState.OFFLINE
    assert "hung" in b.message
    world.pass_time(2)
    assert [handle.cameras for handle in world.workers.alive] == [["a", "c"], ["b"]]
    world.reload(config_of("a b c d"))
    world.pass_time(1)
    assert world.workers.alive[1].cameras == ["b"], "nobody joins it"


@pytest.mark.fault(24)
def test_a_worker_that_keeps_dying_is_divided_until_its_culprit_is_alone() -> None:
    world = World("a b c d")
    world.tick()
    for _ in range(12):
        for handle in world.workers.alive:
            if "c" in handle.cameras:
                handle.exit_code = -11
        world.pass_time(35)
    groups = sorted(handle.cameras for handle in world.workers.alive)
    assert ["c"] in groups
    assert sum(len(group) for group in groups) == 4
    healthy = [handle for handle in world.workers.alive if "c" not in handle.cameras]
    assert all(handle.heard_s for handle in healthy)


def test_a_restarted_camera_keeps_the_back_off_of_its_source() -> None:
    world = World("a")
    (worker,) = world.tick()
    worker.report("a", retry=Retry(failures=5, wait_s=30.0))
    world.clock.now += 10
    worker.exit_code = -9
    world.tick()
    while not world.workers.alive:
        world.clock.now += 0.1
        world.supervisor.tick()
    (successor,) = world.workers.alive
    retry = successor.spec_of("a").retry
    assert retry.failures == 5
    assert 18 < retry.wait_s < 20


def test_windows_that_end_without_a_worker_are_marked() -> None:
    world = World("a")
    (worker,) = world.tick()
    assert world.writer.unwatched == []
    worker.exit_code = -9
    world.tick()
    assert [window.coverage for window in world.writer.unwatched] == [0.0]


@pytest.mark.parametrize("state", [CameraState.ENDED, CameraState.UNUSABLE])
def test_recorded_files_that_have_ended_end_the_program(state: CameraState) -> None:
    clock, writer = FakeClock(), WriterInMemory()
    workers = FakeWorkers(clock)
    start: Callable[..., FakeHandle] = workers.start

    def play(spec: Any, on_report: Any) -> FakeHandle:
        handle = start(spec, on_report)
        send = handle.send

        def ending(message: Any) -> None:
            send(message)
            if message in handle.sent and hasattr(message, "spec"):
                handle.report(message.spec.camera.name, state=state, last=True)

        handle.send = ending
        return handle

    supervisor = Supervisor(config_of("a b"), Hub(writer), until_end=True, start_worker=play, clock=clock)
    usable = state is CameraState.ENDED
    with contextlib.nullcontext() if usable else pytest.raises(SourceUnusable, match=r"camera a: .*camera b"):
        supervisor.run()
    assert workers.alive == []
    assert {status.state for status in writer.statuses} == {state}


def test_the_supervisor_holds_no_camera_and_imports_nothing_for_one() -> None:
    code = "import sightline.supervisor.supervisor, sys; "
    code += "print({'av', 'grpc', 'tritonclient'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_what_a_worker_reports_is_shown_with_what_holds_its_camera_back() -> None:
    world = World("a b")
    (worker,) = world.tick()
    slow = {"fps": 1.0, "due_fps": 5.0}
    for _ in range(12):
        worker.report("a", **slow)
        worker.report("b")
        world.pass_time(1.0)
    worker.report("a", **slow)
    by_name = {status.source: status for status in world.supervisor.statuses()}
    [notice] = world.supervisor.notices()
    assert by_name["a"].notices == (notice.text,)
    assert notice.text.startswith("overload: 1 of 2 cameras analyse 1.0 of 5.0 frames/s")
    assert (by_name["b"].notices, by_name["b"].warnings) == ((), ())
    assert [s.notices for s in world.writer.statuses if s.source == "a"][-1] == (notice.text,)
    worker.exit_code = 1
    world.tick()
    assert {s.source: s for s in world.supervisor.statuses()}["a"].notices == ()


def test_a_recorded_file_that_has_ended_waits_for_no_detector() -> None:
    world = World("a b")
    (worker,) = world.tick()
    worker.report("a", state=CameraState.UNUSABLE, detector_message="not connected yet", last=True)
    for _ in range(12):
        worker.report("b")
        world.pass_time(1.0)
    assert world.supervisor.notices() == ()
    worker.report("b", detector_message="refused")
    world.pass_time(8.0)
    assert "1 of 1 cameras have no detector (refused)" in world.supervisor.notices()[0].text


def test_limits_of_the_system_that_are_too_low_are_said_with_numbers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "raise_to", lambda kind, needed: min(needed, 500))
    monkeypatch.setattr(limits, "processes", lambda needed: 256)
    World(" ".join(f"c{number}" for number in range(100)), per_worker=1).tick()
    files, threads = [text for text in caplog.messages if "of which" in text]
    assert re.search(r"100 cameras in 100 processes need about \d+ open files .*, of which 500 are", files)
    assert re.search(r"need about \d+ processes and threads, of which 256 are allowed: raise it", threads)
