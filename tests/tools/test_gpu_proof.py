"""The program that measures on a GPU: its dry run here, and what its report says of rows."""

import json
from pathlib import Path

import numpy as np
import pytest

from gpu import gpu_proof
from sightline.base.cuda import has_gpu
from sightline.entities import Detections
from sightline.errors import ServerError
from sightline.models.evaluation.onnx_engine import BareEngine, open_session
from sightline.models.export import exporter
from sightline.serving.server import TritonServer
from support import toy

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
    missing = [one for one in others if not one["case"].startswith("PyTorch")]
    assert len(missing) == 7
    assert {one["problem"] for one in missing} == {gpu_proof.NO_GPU}
    for transport in ("grpc", "system"):
        way = f"boxes against the CPU's, {transport}, pictures ready on the host"
        assert found["CPU, dry run", way]["note"].startswith("0 of ")
    page = (tmp_path / "report" / "gpu.md").read_text()
    assert "dry run: no figure of it counts" in page
    assert "Default form" not in page
    assert "TensorRT-RTX, fp16" in capfd.readouterr().err


@pytest.mark.triton
@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU: the server would serve")
def test_the_stand_in_says_that_it_needs_a_gpu(tmp_path):
    network = toy.write_network(tmp_path / "toy.onnx")
    exporter.export_network(exporter.ExportOptions(network, tmp_path / "models", shape=(192, 320)))
    name, packages = gpu_proof.stand_in(tmp_path / "models", tmp_path / "stand-in")
    log = tmp_path / "triton.log"
    server = TritonServer(tmp_path / "stand-in", config_name=name, packages=packages, log_path=log)
    with pytest.raises(ServerError, match="no NVIDIA driver"):
        server.start()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_network_on_pytorch_gives_the_candidates_of_the_numerics(precision, tmp_path):
    torch = pytest.importorskip("torch")
    from gpu import torchnet

    network = Path(__file__).parents[2] / "models" / "sightline.onnx"
    models = tmp_path / "models"
    exporter.export_network(exporter.ExportOptions(network, models, shape=(192, 320), precision=precision))
    torchnet.save(models / "yolo" / "1" / "engine.onnx", tmp_path / "network.pt")
    detector = torchnet.TorchDetector(tmp_path / "network.pt", (192, 320), "cpu")
    frames = np.random.default_rng(0).integers(16, 236, (3, 288, 320), np.uint8)
    halves = torch.from_numpy(frames)
    found = detector.run([halves[:1], halves[1:]])
    session = open_session((models / "yolo" / "1" / "model.onnx").read_bytes())
    engine = BareEngine(session, (192, 320), ())
    for rows, boxes in zip(found, [engine.detect(frame, 0.0) for frame in frames], strict=True):
        assert rows[0, 4] == pytest.approx(boxes.scores[0], abs=1e-5 if precision == "fp32" else 5e-3)


def boxes(*found):
    xyxy = np.array([one[:4] for one in found], np.float32).reshape(-1, 4)
    return Detections(
        xyxy, np.array([one[4] for one in found], np.float32), np.array([one[5] for one in found], np.int32)
    )


def test_boxes_of_two_detectors_are_compared():
    first = boxes((0.1, 0.1, 0.3, 0.3, 0.9, 1), (0.5, 0.5, 0.7, 0.7, 0.8, 1), (0, 0, 1, 1, 0.2, 1))
    assert gpu_proof.compare([first], [first]) == "0 of 2 differ, edges by 0, scores by 0"
    moved = boxes((0.11, 0.1, 0.3, 0.3, 0.85, 1), (0.5, 0.5, 0.7, 0.7, 0.8, 2))
    # One has another class: each lacks the other's.
    assert gpu_proof.compare([first], [moved]) == "2 of 2 differ, edges by 0.01, scores by 0.05"
    assert gpu_proof.compare([first], [boxes()]) == "2 of 2 differ, edges by 0, scores by 0"


def rows(*figures, **more):
    return [
        {"case": case, "way": way, "fps": fps, "p50_ms": 1, "p99_ms": 2} | more for case, way, fps in figures
    ]


def of_form(form, *figures, label="fp16"):
    return rows(*((f"{label}, {form}", way, fps) for way, fps in figures), form=form, label=label)


@pytest.mark.parametrize(("fused", "default"), [(1100, "fused"), (1010, "ensemble"), (900, "ensemble")])
def test_runs_are_gathered_and_decide_the_default(fused, default, tmp_path):
    gpu_proof.write(tmp_path, ABOUT, of_form("ensemble", ("cuda", 1000), ("grpc", 10)))
    # Another precision, and a label that only sounds like a form, decide nothing.
    gpu_proof.write(tmp_path, ABOUT, of_form("fused", ("cuda", 9000), label="int8"))
    gpu_proof.write(tmp_path, ABOUT, rows(("a fused network", "cuda", 9000)))
    assert "default form" not in (tmp_path / "gpu.md").read_text()
    gpu_proof.write(tmp_path, ABOUT, of_form("fused", ("cuda", 5000)))
    page = gpu_proof.write(tmp_path, ABOUT, of_form("fused", ("cuda", fused)))  # measured again
    assert f"fp16: default form **{default}**; one plan reaches {fused / 1000:.3f}" in page
    assert page.count("| fp16, fused |") == 1
    assert page.count("| fp16, ensemble |") == 2


def test_the_whole_path_is_judged_against_the_bare_engine(tmp_path):
    found = rows(("a", "video to boxes", 96), ("b", "video to boxes", 90))
    page = gpu_proof.write(tmp_path, ABOUT, [{**one, "of_bare": one["fps"] / 100} for one in found])
    assert "a: the whole path reaches 0.96 of the engine: enough." in page
    assert "b: the whole path reaches 0.9 of the engine: too little." in page
