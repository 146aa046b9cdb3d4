"""The program that measures on a GPU: its dry run here, and what its report says of rows."""

import json

import pytest

import export
import gpu_proof
import toy
from gpuproof import report
from sightline.cuda import has_gpu
from sightline.errors import ServerError
from sightline.tritonserver import TritonServer

ABOUT = {"dry_run": False, "date": "2026-01-01", "gpu": "L4", "machine": "x", "command": "y"}


@pytest.mark.long
@pytest.mark.triton
@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU: the dry run would measure on it")
def test_the_dry_run_goes_through_every_step_and_invents_no_figure(tmp_path, capfd):
    network = toy.write_network(tmp_path / "toy.onnx")
    clip = toy.write_clip(tmp_path / "clip.mp4", [toy.Passage(0, 1)], seconds=1)
    arguments = [str(network), "--shape", "192x320", "--video", str(clip), "--dry-run"]
    assert gpu_proof.main([*arguments, "--folder", str(tmp_path / "report")]) == 0
    rows = json.loads((tmp_path / "report" / "gpu.json").read_text())["rows"]
    found = {(one["case"], one["way"]): one for one in rows}
    for way, transport, decoder in (
        ("grpc, pictures ready on the host", "grpc", ""),
        ("system, pictures ready on the host", "system", ""),
        ("video to boxes", "system", "cpu: no NVIDIA driver here"),
    ):
        measured = found["CPU, dry run", way]
        assert measured["fps"] > 0
        assert (measured["transport"], measured["decoder"]) == (transport, decoder)
    others = [one for key, one in found.items() if "cuda" in key[1] or key[0] != "CPU, dry run"]
    assert len(others) == 5
    assert {one["problem"] for one in others} == {gpu_proof.NO_GPU}
    page = (tmp_path / "report" / "gpu.md").read_text()
    assert "dry run: no figure of it counts" in page
    assert "Default form" not in page
    assert "TensorRT-RTX, fp16" in capfd.readouterr().err


@pytest.mark.triton
@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU: the server would serve")
def test_the_stand_in_says_that_it_needs_a_gpu(tmp_path):
    network = toy.write_network(tmp_path / "toy.onnx")
    export.export(export.Options(network, tmp_path / "models", shape=(192, 320)))
    case = gpu_proof.stand_in(tmp_path / "models", tmp_path / "stand-in")
    with pytest.raises(ServerError, match="no NVIDIA driver"):
        TritonServer(case.repository, config_name="rtx", log_path=tmp_path / "triton.log").start()


def rows(*figures):
    return [{"case": case, "way": way, "fps": fps, "p50_ms": 1, "p99_ms": 2} for case, way, fps in figures]


@pytest.mark.parametrize(("fused", "default"), [(1100, "fused"), (1010, "ensemble"), (900, "ensemble")])
def test_runs_are_gathered_and_decide_the_default(fused, default, tmp_path):
    report.write(tmp_path, ABOUT, rows(("ensemble fp16", "cuda", 1000), ("ensemble fp16", "grpc", 10)))
    assert "Default form" not in (tmp_path / "gpu.md").read_text()
    report.write(tmp_path, ABOUT, rows(("fused fp16", "cuda", 5000)))
    page = report.write(tmp_path, ABOUT, rows(("fused fp16", "cuda", fused))).read_text()  # measured again
    assert f"Default form: **{default}**; one plan reaches {fused / 1000:.3f}" in page
    assert page.count("| fused fp16 |") == 1
    assert page.count("| ensemble fp16 |") == 2


def test_the_whole_path_is_judged_against_the_bare_engine(tmp_path):
    found = rows(("a", "video to boxes", 96), ("b", "video to boxes", 90))
    page = report.write(tmp_path, ABOUT, [{**one, "of_bare": one["fps"] / 100} for one in found]).read_text()
    assert "a: the whole path reaches 0.96 of the engine: enough." in page
    assert "b: the whole path reaches 0.9 of the engine: too little." in page
