"""Load by real cameras, and whether perf_analyzer and they agree on what a server serves."""

import json
import os
from dataclasses import replace

import pytest

from load import load_test
from load.camera_load import Served, stream_bytes_s
from load.measured import Level, Measured
from load.parts import parts_of
from load.servers import parse_cpus, pinned
from load.turns import Round, Turn, compare, summary, verdict
from support import toy


def perf(fps):
    return Turn(Measured(Level("concurrency", 10), "system", throughput=fps), fps)


def cameras(fps, dropped=100, count=4):
    due = 400
    return Served(
        cameras=count,
        fps=10,
        seconds=10,
        due=due,
        tracked=due - dropped,
        dropped=dropped,
        offered=1.0,
        served_fps=fps,
        server_fps=fps,
        latency_p50_ms=20.0,
        latency_p99_ms=30.0,
        core_ms={"engine": 28.0},
        cores={"engine": 1.0},
        pss_mb={"workers": 250.0},
        decode_ms=0.7,
        pixels=768 * 432,
        bytes_s=23_000,
        records_s=2.0,
        transport="system",
    )


# --- the comparison -----------------------------------------------------------------------------------


def test_a_machine_that_drifts_does_so_for_both():
    """The machine halves its speed over the rounds; both serve the same, so the ratio stays 1."""
    speeds = iter([100.0, 90.0, 80.0, 70.0, 60.0, 50.0, 40.0])
    rounds = compare(
        lambda: perf(next(speeds)),
        lambda: Turn(cameras(speed := next(speeds)), speed),
        3,
        lambda _: None,
    )
    found = summary(rounds)
    assert found["median"]["fps"] == pytest.approx(1.0, abs=0.01)
    assert found["agree"]
    assert "within 10%" in verdict(found)


@pytest.mark.parametrize(("fps", "agree"), [(95, True), (105, True), (85, False), (115, False)])
def test_ten_percent_is_the_bound(fps, agree):
    found = summary([Round(perf(100), Turn(cameras(fps), fps), perf(100))])
    assert found["agree"] is agree
    assert ("NOT within" in verdict(found)) is not agree


def test_a_server_elsewhere_is_compared_without_its_processor_time():
    elsewhere = [replace(turn, per_core_s=0.0) for turn in (perf(100), Turn(cameras(99), 0), perf(100))]
    found = summary([Round(*elsewhere)])
    assert found["agree"]
    assert "core second" not in verdict(found)
    assert parts_of() == []


def test_cameras_that_are_all_served_prove_nothing():
    found = summary([Round(perf(100), Turn(cameras(100, dropped=0), 100), perf(100))])
    assert not found["agree"]
    assert "cannot be compared" in verdict(found)


# --- the parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dropped", "kept_up"), [(0, True), (4, True), (5, False)])
def test_a_step_keeps_up_with_one_percent_of_drops(dropped, kept_up):
    assert cameras(10, dropped).kept_up is kept_up


def test_the_last_step_is_told_for_what_it_is():
    steps = [cameras(10, dropped).as_json() for dropped in (0, 100)]
    assert "did not keep up" in load_test.table(steps)[-1]
    assert "the limit lies higher" in load_test.table(steps[:1])[-1]


def test_processors_are_lent_and_given_back():
    ours = os.sched_getaffinity(0)
    first = min(ours)
    with pinned(parse_cpus(str(first))):
        assert os.sched_getaffinity(0) == {first}
    assert os.sched_getaffinity(0) == ours
    assert parse_cpus("") is None


@pytest.mark.parametrize("text", ["x", "100000", "3-1"])
def test_processors_that_are_not_there_are_refused(text):
    with pytest.raises(ValueError):
        parse_cpus(text)


def test_the_bytes_of_a_stream_are_those_of_its_packets(tmp_path):
    clip = toy.write_clip(tmp_path / "clip.mp4", [], seconds=4)
    assert stream_bytes_s(clip) == pytest.approx(clip.stat().st_size / 4, rel=0.1)


def test_only_one_of_cameras_and_fps_may_rise(capsys):
    with pytest.raises(SystemExit):
        load_test.parse(["--cameras", "1:2", "--fps", "5,10"])
    assert "not both" in capsys.readouterr().err


# --- everything at once -------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.triton
@pytest.mark.rtsp
def test_a_comparison_runs_end_to_end(toy_repository, tmp_path, capsys):
    clip = toy.write_clip(tmp_path / "clip.mp4", [toy.Passage(0, 2)], seconds=4)
    command = [
        "--model-repository",
        str(toy_repository),
        "--video",
        str(clip),
        "--folder",
        str(tmp_path / "load"),
    ]
    command += ["--cameras", "1", "--fps", "10", "--seconds", "2", "--settle", "0", "--compare", "1"]
    assert load_test.main(command) == 0
    found = json.loads((tmp_path / "load" / "load.json").read_text())["compare"]
    assert found["in_flight"] == 3
    (one,) = found["rounds"]
    served = one["cameras"]
    assert served["tracked"] > 0
    assert served["transport"] == "system"
    assert served["server_fps"] == pytest.approx(served["served_fps"], rel=0.5)
    assert {"engine", "tritonserver", "workers", "supervisor", "cameras"} <= set(served["core_ms"])
    assert served["pss_mb"]["workers"] > 0
    assert served["pixels"] == 320 * 192
    assert served["decode_ms"] > 0
    assert all(item["throughput"] > 0 for item in one["perf_analyzer"])
    assert "cameras" in capsys.readouterr().out
