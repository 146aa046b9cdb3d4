"""perf_analyzer against the served detector: sweeps, bounds, and reports that say what was measured."""

import csv
import json
import xml.etree.ElementTree as ET
from argparse import ArgumentTypeError

import pytest

from load import analyzer, perf
from load.analyzer import Level, Measured, measure, parse_concurrency, parse_rates
from load.perf import highest_rate
from support import toy

SECOND = 10**9


def steady(rate, latency_ms, seconds=10):
    """Requests at a constant rate, each answered after the same time."""
    return [
        (round(i / rate * SECOND), round((i / rate + latency_ms / 1e3) * SECOND))
        for i in range(int(rate * seconds))
    ]


# --- from times to numbers ----------------------------------------------------------------------------


def test_rate_and_percentiles_come_from_the_times_of_the_requests():
    found = measure(steady(20, 50), Level("rate", 20), "none", 1.25)
    assert found.throughput == pytest.approx(20, rel=0.01)
    assert found.percentiles_ms == dict.fromkeys(("p50", "p90", "p95", "p99"), pytest.approx(50))
    assert found.stable


def test_the_warm_up_and_the_end_without_load_are_left_out():
    cold = [(i, i + 2 * SECOND) for i in range(19)]  # answered late, all at once
    found = measure(
        [*cold, *((3 * SECOND + a, 3 * SECOND + b) for a, b in steady(10, 20))],
        Level("rate", 10),
        "none",
        1.25,
    )
    assert found.percentiles_ms["p99"] == pytest.approx(20)
    assert found.throughput == pytest.approx(10, rel=0.02)


def test_an_unsteady_level_is_told_with_what_was_measured():
    calm, busy = steady(20, 20, 6), [(6 * SECOND + a, 6 * SECOND + b) for a, b in steady(10, 400, 6)]
    found = measure(calm + busy, Level("concurrency", 4), "system", 1.25)
    assert not found.stable
    assert found.spread > 1.25
    assert found.throughput > 0
    text = "\n".join(perf.table([found]))
    assert "**unstable" in text
    assert f"{found.throughput:.1f}" in text


def test_a_window_without_any_answer_is_no_steady_level():
    gap = [*steady(50, 1, 4), *((8 * SECOND + a, 8 * SECOND + b) for a, b in steady(50, 1, 4))]
    assert measure(gap, Level("rate", 50), "none", 9.0).spread == float("inf")


def test_too_few_requests_are_refused():
    with pytest.raises(ValueError, match="too few"):
        measure(steady(3, 1, 2), Level("rate", 3), "none", 1.25)


@pytest.mark.parametrize(
    "text", ["", '{"experiments":[{"requests":[{"timestamp":1,"response_outputs":[{"x":']
)
def test_times_that_break_off_are_told_from_times(text, tmp_path):
    path = tmp_path / "raw.json"
    path.write_text(text)
    assert analyzer.read_times(path) is None
    assert analyzer.read_times(tmp_path / "none") is None
    request = {"timestamp": 1, "response_timestamps": [3]}
    path.write_text(
        json.dumps({"experiments": [{"requests": [request, {**request, "response_timestamps": []}]}]})
    )
    assert analyzer.read_times(path) == [(1, 3)]


# --- the search ---------------------------------------------------------------------------------------


def times(p99_ms):
    return {"p50": p99_ms / 2, "p90": p99_ms, "p95": p99_ms, "p99": p99_ms}


def server(capacity):
    """Answers up to its capacity in 20 ms, and beyond it late; remembers what it was asked."""
    asked = []

    def at(level):
        asked.append(level.value)
        late = level.value > capacity
        return Measured(
            level, "none", throughput=level.value, percentiles_ms=times(500.0 if late else 20.0), stable=True
        )

    return at, asked


def test_bisection_ends_in_a_bracket_around_the_capacity():
    at, asked = server(61.0)
    found = highest_rate(at, 100.0, (5, 200), precision=0.02)
    assert found.holds <= 61.0 < found.fails
    assert found.fails - found.holds <= 0.02 * found.holds
    assert len(asked) == len(found.tried) < 30
    assert f"{found.holds:g} a second held" in str(found)
    assert f"{found.fails:g} did not" in str(found)


@pytest.mark.parametrize(("capacity", "text"), [(1.0, "did not hold"), (1000.0, "nothing higher was tried")])
def test_a_search_that_finds_no_bracket_says_so(capacity, text):
    at, _ = server(capacity)
    assert text in str(highest_rate(at, 100.0, (5, 200)))


def test_a_rate_that_is_refused_or_not_reached_does_not_hold():
    slow = Measured(Level("rate", 100), "none", throughput=60, percentiles_ms=times(5.0))
    refused = Measured(Level("rate", 100), "none", problem="refused by the server")
    for answer in (slow, refused):
        assert highest_rate(lambda _, answer=answer: answer, 100.0, (5, 200)).holds == 0


def test_one_pause_of_the_machine_fails_no_rate():
    at, asked = server(61.0)

    def paused_once(level):
        found = at(level)
        if len(asked) == 2:  # the highest rate, which would hold
            return Measured(level, "none", throughput=level.value, percentiles_ms=times(900.0))
        return found

    assert highest_rate(paused_once, 100.0, (5, 50)).fails is None


# --- what is written ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"), [("1:4", [1, 2, 3, 4]), ("10:50:20", [10, 30, 50]), ("8", [8]), ("1,8,2", [1, 2, 8])]
)
def test_levels_are_read(text, values):
    assert [level.value for level in parse_rates(text)] == values


@pytest.mark.parametrize("text", ["", "a", "4:1", "1:9:0", "0", "-1", "1:2:3:4", "1:100000"])
def test_levels_that_are_none_are_refused(text):
    with pytest.raises(ArgumentTypeError):
        parse_rates(text)


def test_requests_in_flight_are_whole_numbers():
    with pytest.raises(ArgumentTypeError, match="whole"):
        parse_concurrency("1.5")


def test_the_report_is_kept_in_four_forms(tmp_path):
    found = [measure(steady(rate, 10 * rate), Level("rate", rate), "system", 1.25) for rate in (10, 20)] + [
        Measured(Level("rate", 900), "system", problem="refused by the server: Exceeds maximum queue size")
    ]
    at, _ = server(61.0)
    page = perf.write(tmp_path, {"date": "today"}, found, highest_rate(at, 100.0, (5, 200)))
    assert "refused by the server" in page
    assert "held p99 <= 100 ms" in page
    whole = json.loads((tmp_path / "report.json").read_text())
    assert whole["measured"][1]["level"] == {"kind": "rate", "value": 20}
    assert whole["bracket"]["holds"] <= 61 < whole["bracket"]["fails"]
    with (tmp_path / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["p99_ms"]) == pytest.approx(100, rel=0.01)
    ET.parse(tmp_path / "latency.svg")


def test_a_chart_holds_every_finite_point():
    lines = {"a < b": [(0, 1), (2, float("inf")), (3, 4)], "two": []}
    root = ET.fromstring(perf.line_chart(lines))
    (line,) = root.findall(".//{*}g[@id='a < b']")
    assert len(line.findall(".//{*}use")) == 2  # a marker each


# --- the real program ---------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.triton
def test_sweeps_by_both_transports_and_the_bound_on_the_real_server(toy_triton, tmp_path, capsys):
    clip = toy.write_clip(tmp_path / "clip.mp4", [toy.Passage(0, 2)], seconds=2)
    command = ["--input", str(clip), "--shared-memory", "none,system", "--concurrency", "2"]
    command += ["--requests", "40", "--p99-ms", "60000", "--between", "20:40"]  # any machine holds that
    command += [
        "--url",
        toy_triton.grpc_url,
        "--http-url",
        f"unix:{toy_triton.folder}/http",
        "--folder",
        str(tmp_path / "perf"),
    ]
    assert perf.main(command) == 0
    assert "| none | 2 in flight |" in capsys.readouterr().out
    whole = json.loads((tmp_path / "perf" / "report.json").read_text())
    assert [item["transport"] for item in whole["measured"]] == ["none", "system"]
    assert {item["level"]["value"] for item in whole["bracket"]["tried"]} == {20, 40}
    for item in [*whole["measured"], *whole["bracket"]["tried"]]:
        assert item["throughput"] > 0
        assert 0 < item["percentiles_ms"]["p50"] <= item["percentiles_ms"]["p99"]
        assert item["problem"] == ""
    with (tmp_path / "perf" / "detector-system-concurrency-2.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["Inferences/Second"]) > 0


def test_cuda_is_refused_with_the_reason_where_there_is_no_gpu(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(analyzer, "has_gpu", lambda: False)
    command = ["--shared-memory", "system,cuda", "--url", "127.0.0.1:9", "--folder", str(tmp_path)]
    assert perf.main(command) == 1
    assert "CUDA shared memory needs an NVIDIA GPU" in capsys.readouterr().err


def test_a_server_that_is_away_is_told(tmp_path, capsys):
    command = ["--url", "127.0.0.1:9", "--http-url", "http://127.0.0.1:9", "--folder", str(tmp_path)]
    assert perf.main(command) == 1
    assert "gives no answer" in capsys.readouterr().err
