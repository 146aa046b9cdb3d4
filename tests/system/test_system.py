"""The whole system with real parts: RTSP server, Triton, database, processes; and what happens when they die.

The network is the toy one, the clips are synthesised: every count is known.
"""

import os
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sightline.entities import STAGES
from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer, free_port, player
from support.system import System, leftovers
from support.toy import BLUE, RED, Passage, write_clip
from support.waiting import until

pytestmark = [pytest.mark.triton, pytest.mark.rtsp]

SIX = [Passage(1, 3), Passage(3, 5, BLUE), Passage(8, 10), Passage(10, 12, BLUE), Passage(15, 18)]
SIX_SECONDS = 20
TRUTH = {"person": 3, "car": 2}
GATE = {"gate": {"points": [[0.4, 0.2], [0.4, 0.95]]}}  # in everybody's way, from left to right
HERE = {"here": {"points": [[0, 0.5], [0.3, 0.5], [0.3, 1], [0, 1]], "loiter_s": 3}}
MIDDLE_S = [1.84, 3.84, 8.84, 10.84, 16.27]  # when the middle of each box is at the gate


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "six.mp4", SIX, seconds=SIX_SECONDS)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RtspServer]:
    """A camera in front of which one person stands for ever (the loop joins without a jump)."""
    folder = tmp_path_factory.mktemp("standing")
    path = write_clip(folder / "standing.mp4", [Passage(0, 1e6)], seconds=5)
    with RtspServer({"standing": path, "other": path}) as server:
        yield server


#: With Postgres it is a long one: tests/test_acceptance.py plays into both at once.
@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.long)])
def database_url(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "sqlite" else request.getfixturevalue("postgres").new_database()


def test_counts_over_rtsp_are_exact(
    tmp_path: Path, toy_triton: TritonServer, clip: Path, database_url: str | None
) -> None:
    with (
        RtspServer({"six": player(clip, "--once")}) as server,
        System(
            tmp_path,
            {"six": {"url": server.url("six"), "rules": {"lines": GATE}}},
            triton_url=toy_triton.grpc_url,
            database_url=database_url,
        ) as system,
    ):
        system.until_state("six", "online")
        until(lambda: system.camera("six").get("reconnects_total"), SIX_SECONDS + 30)  # played to its end
        assert system.stop() < 10
        assert system.counts("six") == TRUTH
        (window,) = system.rows("source_windows")
        watched_s = window["coverage"] * 86_400
        assert SIX_SECONDS - 2 < watched_s < SIX_SECONDS + 1
        assert window["model_version"].startswith("toy-1-")
        check_crossings(system.events("six"))
    assert leftovers() == []


def check_crossings(events: list[dict[str, Any]]) -> None:
    """Everybody crossed the gate once, from its left to its right, at their time."""
    assert [(e["kind"], e["place"], e["direction"]) for e in events] == [("crossing", "gate", "forward")] * 5
    assert [e["item_class"] for e in events] == ["person", "car", "person", "car", "person"]
    gaps = [b - a for a, b in pairwise(MIDDLE_S)]
    times = [e["event_time"].timestamp() for e in events]
    assert [b - a for a, b in pairwise(times)] == pytest.approx(gaps, abs=0.2)


def test_a_recorded_file_loses_no_frame(tmp_path: Path, toy_triton: TritonServer, clip: Path) -> None:
    cameras = {"six": {"url": str(clip)}, "half": {"url": str(clip), "stream": {"fps": 5}}}
    everywhere = {"room": {"points": [[0, 0], [1, 0], [1, 1], [0, 1]]}}
    system = System(
        tmp_path,
        cameras,
        triton_url=toy_triton.grpc_url,
        arguments=("--until-end",),
        allow={"files": True},
        rules={"lines": GATE, "zones": everywhere},
    )
    with system:
        assert system.wait(60) == 0, system.log()
    told = system.log()
    assert "camera six: " in told
    assert "  line gate, forward: " in told
    for name in cameras:
        events = system.events(name)
        check_crossings([event for event in events if event["kind"] == "crossing"])
        visits = [event["kind"] for event in events if event["place"] == "room"]
        assert visits == ["enter", "leave"] * 5  # the last one is still there when the file ends
    assert system.counts("six") == system.counts("half") == TRUTH
    by_source = {row["source"]: row for row in system.rows("source_windows")}
    assert by_source["six"]["effective_fps"] == pytest.approx(10, abs=0.2)
    assert by_source["half"]["effective_fps"] == pytest.approx(5, abs=0.2)
    assert [row["dropped_frames"] for row in by_source.values()] == [0, 0]
    assert leftovers() == []


@pytest.mark.fault(13)
@pytest.mark.fault(14)
def test_triton_is_awaited_and_its_restart_is_survived(
    tmp_path: Path, toy_repository: Path, standing: RtspServer
) -> None:
    server = TritonServer(toy_repository, grpc_port=free_port(), log_path=tmp_path / "triton.log")
    with System(
        tmp_path,
        {"door": {"url": standing.url("standing")}},
        triton_url=server.grpc_url,
        track={"max_lost_s": 2, "max_gap_s": 120},
    ) as system:
        system.until_state("door", "no_detector")
        code, body = system.get("/readyz")
        assert code == 503
        assert server.grpc_url in body
        server.start()
        try:
            system.until_state("door", "online")
            assert system.get("/readyz")[0] == 200
            system.until_frames("door", 20)
            assert system.counts("door") == {"person": 1}
            os.kill(server.pid, signal.SIGKILL)
            server.stop()
            system.until_state("door", "no_detector")
            server.start()
            system.until_state("door", "online")
            system.until_frames("door", 20)
        finally:
            server.stop()
        system.stop()
        assert system.counts("door") == {"person": 1}, "the person who stood there was counted again"
    assert leftovers() == []


@pytest.mark.fault(18)
def test_killed_workers_come_back_and_nothing_is_counted_twice(
    tmp_path: Path, toy_triton: TritonServer, standing: RtspServer
) -> None:
    cameras = {"door": {"url": standing.url("standing")}, "other": {"url": standing.url("other")}}
    with System(
        tmp_path, cameras, triton_url=toy_triton.grpc_url, rules={"zones": HERE}, cameras_per_worker=1
    ) as system:
        system.until_state("door", "online")
        system.until_state("other", "online")
        for _ in range(3):
            system.until_frames("door", 15)
            victim, *_ = system.workers()
            victim.send_signal(signal.SIGKILL)
            until(lambda gone=victim.pid: gone not in [w.pid for w in system.workers()])
            until(lambda: len(system.workers()) == 2)
            for name in cameras:
                system.until_state(name, "online")
                system.until_frames(name, 5)
        assert leftovers() == [], "a killed worker's segment was not reclaimed"
        system.stop()
        assert system.counts("door") == {"person": 1}
        assert system.counts("other") == {"person": 1}
        for name in cameras:  # one visit through all of it
            assert [event["kind"] for event in system.events(name)] == ["enter", "loiter"]
    assert leftovers() == []


@pytest.mark.fault(18)
def test_a_recorded_file_whose_worker_is_killed_goes_on_where_it_was(
    tmp_path: Path, toy_triton: TritonServer
) -> None:
    passages = [Passage(2 + 4 * i, 5 + 4 * i, BLUE if i % 3 == 2 else RED) for i in range(90)]
    clip = write_clip(tmp_path / "long.mp4", passages, seconds=364)
    with System(
        tmp_path,
        {"door": {"url": str(clip), "rules": {"lines": GATE}}},
        triton_url=toy_triton.grpc_url,
        arguments=("--until-end",),
        allow={"files": True},
        count={"window_s": 20},
    ) as system:
        for _ in range(3):
            system.until_frames("door", 200)
            victim, *_ = system.workers()
            victim.send_signal(signal.SIGKILL)
            until(lambda gone=victim.pid: gone not in [worker.pid for worker in system.workers()])
        assert system.wait(90) == 0, system.log()
    assert system.arrivals("door") == {"person": 60, "car": 30}
    assert len(system.events("door")) == 90
    windows = system.rows("source_windows")
    assert sum(20 * row["coverage"] for row in windows) == pytest.approx(364, abs=0.2)
    assert [row["dropped_frames"] for row in windows] == [0] * len(windows)
    assert leftovers() == []


@pytest.mark.fault(18)
def test_a_killed_supervisor_takes_its_workers_along_and_the_next_one_goes_on(
    tmp_path: Path, toy_triton: TritonServer, standing: RtspServer
) -> None:
    with System(
        tmp_path,
        {"door": {"url": standing.url("standing")}},
        triton_url=toy_triton.grpc_url,
        rules={"zones": HERE},
    ) as system:
        system.until_state("door", "online")
        until(lambda: system.counts("door") == {"person": 1})
        until(lambda: [event["kind"] for event in system.events("door")] == ["enter"])
        workers = system.workers()
        system.kill()
        assert not any(worker.is_running() for worker in workers)
        system.start()
        system.until_state("door", "online")
        system.until_frames("door", 20)
        until(lambda: len(system.events("door")) > 1)
        assert (
            'sightline_events_total{camera="door",kind="loiter",place="here"} 1.0'
            in system.get("/metrics")[1]
        )
        system.stop()
        assert system.counts("door") == {"person": 1}
        assert [event["kind"] for event in system.events("door")] == ["enter", "loiter"]
    assert leftovers() == []


def test_a_reload_touches_only_the_cameras_that_changed(
    tmp_path: Path, toy_triton: TritonServer, standing: RtspServer
) -> None:
    door, other = {"url": standing.url("standing")}, {"url": standing.url("other")}
    with System(tmp_path, {"door": door}, triton_url=toy_triton.grpc_url, cameras_per_worker=1) as system:
        system.until_state("door", "online")
        (first,) = system.workers()
        system.write_config({"door": door, "new": other, "bad": {"url": "ftp://x"}})
        system.reload()
        system.until_state("new", "online")
        assert first.is_running()
        assert system.camera("bad")["state"] == "misconfigured"
        assert "'bad'" in system.camera("bad")["message"]
        system.write_config({"door": door, "new": {**other, "stream": {"fps": 5}}})
        system.reload()
        until(lambda: 4 < system.camera("new").get("fps", 0) < 6)
        assert first.is_running()
        (tmp_path / "config.yml").write_text("cameras: [")
        system.reload()
        until(lambda: "nothing was changed" in system.log())
        system.write_config({"new": {**other, "stream": {"fps": 5}}})
        system.reload()
        until(lambda: not first.is_running())
        until(lambda: {row["source"]: row["state"] for row in system.rows("cameras")}["door"] == "stopped")
        system.stop()


def test_the_profile_stands_in_metrics_and_in_the_database(
    tmp_path: Path, toy_triton: TritonServer, standing: RtspServer
) -> None:
    with System(
        tmp_path,
        {"door": {"url": standing.url("standing"), "stream": {"fps": 5}}},
        triton_url=toy_triton.grpc_url,
    ) as system:
        system.until_state("door", "online")
        until(lambda: "triton_queue" in system.camera("door").get("stages_ms", {}))
        stages = set(system.camera("door")["stages_ms"])
        assert stages >= set(STAGES)
        assert "triton_compute" not in stages, "the network answers from threads that Triton does not time"
        page = system.get("/metrics")[1]
        assert 'sightline_stage_seconds_bucket{camera="door",le="+Inf",stage="infer"}' in page
        assert 'sightline_gate_skipped_frames_total{camera="door"}' in page
        assert system.get("/healthz")[0] == 200
        system.stop()
        (row,) = system.rows("cameras")
        assert row["state"] == "stopped"


@pytest.mark.fault(29)
def test_sigterm_during_an_outage_ends_in_time(tmp_path: Path) -> None:
    with System(tmp_path, {"gone": {"url": "rtsp://127.0.0.1:1/x"}}, triton_url="127.0.0.1:1") as system:
        system.until_state("gone", "offline")
        assert system.stop() < 10
    assert leftovers() == []
