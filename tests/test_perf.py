"""perf_analyzer against the served detector: it runs, and its report is kept."""

import csv

import pytest

import export
import perf
import toy


@pytest.mark.triton
@pytest.mark.parametrize("transport", ["none", "system"])
def test_the_report_is_kept(transport, tmp_path, capsys):
    repository = tmp_path / "repository"
    export.export(export.Options(toy.write_network(tmp_path / "toy.onnx"), repository, shape=(192, 320)))
    clip = toy.write_clip(tmp_path / "clip.mp4", [toy.Passage(0, 2)], seconds=2)
    command = ["--input", str(clip), "--shared-memory", transport, "--concurrency", "2"]
    command += ["--requests", "40"]  # this test measures nothing, and a busy machine is never stable
    command += ["--model-repository", str(repository), "--folder", str(tmp_path / "perf")]
    assert perf.main(command) == 0
    assert "Throughput:" in capsys.readouterr().out
    assert "Throughput:" in (tmp_path / "perf" / f"detector-{transport}.txt").read_text()
    with (tmp_path / "perf" / f"detector-{transport}.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["Inferences/Second"]) > 0


def test_a_server_that_is_away_is_told(tmp_path, capsys):
    command = ["--url", "127.0.0.1:9", "--http-url", "http://127.0.0.1:9", "--folder", str(tmp_path)]
    assert perf.main(command) == 1
    assert "gives no answer" in capsys.readouterr().err
