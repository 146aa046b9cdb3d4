"""Load by real cameras, and whether perf_analyzer and they agree on what a server serves."""

import json
import os
from argparse import ArgumentTypeError

import pytest

from load import load_test
from load.camera_load import kept_up, stream_size
from load.load_test import Turn, compare, summary, verdict
from load.servers import parse_cpus, parts_of, pinned
from support import toy


def perf(fps):
    return Turn(fps, fps, {"throughput": fps})


def cameras(fps, dropped=100):
    return Turn(fps, fps, {"served_fps": fps, "kept_up": kept_up(400 - dropped, dropped, 90.0, 500.0)})


# --- the comparison -----------------------------------------------------------------------------------


def test_a_machine_that_drifts_does_so_for_both():
    """The machine halves its speed over the rounds; both serve the same, so the ratio stays 1."""
    speeds = iter([100.0, 90.0, 80.0, 70.0, 60.0, 50.0, 40.0])
    rounds = compare(lambda: perf(next(speeds)), lambda: cameras(next(speeds)), 3)
    found = summary(rounds)
    assert found["median"]["fps"] == pytest.approx(1.0, abs=0.01)
    assert found["agree"]
    assert "within 10%" in verdict(found)


@pytest.mark.parametrize(("fps", "agree"), [(95, True), (105, True), (85, False), (115, False)])
def test_ten_percent_is_the_bound(fps, agree):
    found = summary([(perf(100), cameras(fps), perf(100))])
    assert found["agree"] is agree
    assert ("NOT within" in verdict(found)) is not agree


def test_a_server_elsewhere_is_compared_without_its_processor_time():
    found = summary([tuple(turn._replace(per_core_s=0.0) for turn in (perf(100), cameras(99), perf(100)))])
    assert found["agree"]
    assert "core second" not in verdict(found)
    assert parts_of() == []


def test_cameras_that_are_all_served_prove_nothing():
    found = summary([(perf(100), cameras(100, dropped=0), perf(100))])
    assert not found["agree"]
    assert "cannot be compared" in verdict(found)


# --- the parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dropped", "p99_ms", "fine"),
    [(0, 90.0, True), (4, 90.0, True), (5, 90.0, False), (0, 501.0, False), (0, None, False)],
)
def test_a_step_keeps_up_with_one_percent_of_drops_and_answers_in_time(dropped, p99_ms, fine):
    assert kept_up(400 - dropped, dropped, p99_ms, 500.0) is fine


def test_the_last_step_is_told_for_what_it_is():
    same = {"cameras": 4, "fps": 10, "due": 400, "served_fps": 10.0, "server_fps": 10.0, "offered": 1.0}
    same |= {"latency_p50_ms": 20.0, "latency_p99_ms": 30.0, "core_ms": {"engine": 28.0}}
    steps = [{**same, "dropped": dropped, "kept_up": not dropped} for dropped in (0, 100)]
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
    with pytest.raises(ArgumentTypeError):
        parse_cpus(text)


def test_the_bytes_of_a_stream_are_those_of_its_packets(tmp_path):
    clip = toy.write_clip(tmp_path / "clip.mp4", [], seconds=4)
    assert stream_size(clip) == (320 * 192, pytest.approx(clip.stat().st_size / 4, rel=0.1))


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
