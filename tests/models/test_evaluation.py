"""The comparison of networks: its arithmetic against references, and FP16 against FP32 on real pictures."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from faster_coco_eval import COCO, COCOeval_faster
from onnx import TensorProto, helper, numpy_helper

from sightline.cli import main
from sightline.errors import NetworkUnusable
from sightline.models.evaluation import accuracy_report, comparison, onnx_engine
from sightline.models.evaluation.average_precision import (
    CONFIDENCES,
    BootstrapInterval,
    bootstrap_draws,
    mean_average_precisions,
    measure,
)
from sightline.models.evaluation.cocoset import CocoSet, match
from sightline.models.export import halve
from support.networks import raw_network, session

NAMES = ("person", "car", "dog")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A made-up set of 40 pictures, and boxes of a detector that often errs."""
    rng = np.random.default_rng(5)
    folder = tmp_path_factory.mktemp("set")
    images, annotations, rows = [], [], []
    for picture in range(1, 41):
        images.append({"id": picture, "file_name": f"{picture}.png", "width": 640, "height": 480})
        for _ in range(int(rng.integers(0, 6))):
            left, top, width, height = (float(x) for x in rng.uniform([0, 0, 20, 20], [500, 350, 120, 120]))
            box, category = [left, top, width, height], int(rng.integers(1, 4))
            item = {"id": len(annotations) + 1, "image_id": picture, "category_id": category, "bbox": box}
            item |= {"area": width * height, "iscrowd": int(rng.uniform() < 0.1)}
            annotations.append(item)
            for _ in range(int(rng.integers(0, 4))):
                moved = np.array(box) + rng.normal(0, 6, 4)
                said = category if rng.uniform() < 0.8 else 1
                rows.append([picture, *np.maximum(moved, 1).tolist(), float(rng.uniform()), said])
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES, 1)]
    found = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(found))
    return CocoSet.read(folder), rows


def test_the_matches_give_the_figures_of_coco(world):
    data, rows = world
    matches = match(rows, data)
    figures = measure(matches)
    resampled = mean_average_precisions(matches, bootstrap_draws(len(data.images), draws=2))
    assert 0.1 < figures["map50_95"] < 0.9
    assert resampled["map50_95"][0] == pytest.approx(figures["map50_95"], abs=1e-4)
    assert resampled["map50"][0] == pytest.approx(figures["map50"], abs=1e-4)
    assert np.mean(figures["map_at"]) == pytest.approx(figures["map50_95"])
    assert figures["map_at"][5] == pytest.approx(figures["map75"])


def test_the_figures_are_those_of_faster_coco_eval(world):
    data, rows = world
    figures = measure(match(rows, data))
    truth = COCO(str(data.annotations))
    judged = COCOeval_faster(truth, truth.loadRes(np.array(rows, np.float64)), iouType="bbox")
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    assert (figures["map50_95"], figures["map50"], figures["map75"]) == pytest.approx(
        judged.stats[:3], abs=1e-4
    )
    table = judged.eval["precision"][:, :, :, 0, -1]  # IoU, recall, class
    np.testing.assert_allclose(figures["curves"]["precision_at_recall"], table[0].mean(axis=1), atol=1e-9)
    for number, name in enumerate(NAMES):
        expected = table[:, :, number].mean(), table[0, :, number].mean()
        assert figures["per_class"][name] == pytest.approx(expected, abs=1e-4)
    assert measure({})["map50_95"] == 0


def test_curves_are_counts_of_boxes_above_a_confidence(world):
    data, rows = world
    matches = match(rows, data)
    curves = measure(matches)["curves"]
    place = 100
    sure = [row for row in rows if row[5] >= CONFIDENCES[place]]
    again = match(sure, data)
    right = sum(int(found.right[0].sum()) for found in again.values())
    wrong = sum(int((~found.right[0] & ~found.ignored[0]).sum()) for found in again.values())
    truth = sum(int(found.truth.sum()) for found in again.values())
    assert curves["precision"][place] == pytest.approx(right / (right + wrong))
    assert curves["recall"][place] == pytest.approx(right / truth)
    assert curves["recall"][-1] <= curves["recall"][0]


def test_an_interval_holds_no_difference_of_equals_and_finds_a_worse_one(world):
    data, rows = world
    weights = bootstrap_draws(len(data.images), draws=200)
    whole = mean_average_precisions(match(rows, data), weights)["map50"]
    halved = mean_average_precisions(match(rows[::5], data), weights)["map50"]
    same = BootstrapInterval.of(whole, whole)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    worse = BootstrapInterval.of(whole, halved)
    assert worse.low <= worse.value <= worse.high < 0


def test_emulated_fp16_rounds_every_result():
    weight = (np.eye(2) * 1.001).astype(np.float32).reshape(2, 2, 1, 1)
    nodes = [
        helper.make_node("Conv", ["pixels", "w"], ["sum"]),
        helper.make_node("Conv", ["sum", "w"], ["again"]),
        helper.make_node("Identity", ["again"], ["head"]),
    ]
    sides = ["batch", 2, 1, 2]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, sides)],
        [helper.make_tensor_value_info("head", TensorProto.FLOAT, sides)],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    picture = np.array([0.1, 0.5003, 0.7, 1 / 3], np.float32).reshape(1, 2, 1, 2)
    factor = np.float32(np.float16(1.001))
    wanted = picture.astype(np.float16)
    for _ in range(2):
        wanted = (wanted.astype(np.float32) * factor).astype(np.float16)
    (found,) = session(onnx_engine.emulate(halve.halve(model))).run(None, {"pixels": picture})
    np.testing.assert_array_equal(found, wanted.astype(np.float32))


def test_emulation_survives_the_optimiser_of_the_runtime():
    """Were the casts taken out as superfluous, the result would be that of FP32 with rounded weights."""
    model = raw_network(84, size=(64, 96))
    picture = np.random.default_rng(3).uniform(0, 1, (1, 3, 64, 96)).astype(np.float32)
    emulated = onnx_engine.emulate(halve.halve(model)).SerializeToString()
    found = {}
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        engine = onnxruntime.InferenceSession(emulated, options, providers=["CPUExecutionProvider"])
        (found[level],) = engine.run(None, {"pixels": picture})
        assert (found[level] == found[level].astype(np.float16)).all()
    assert np.abs(found["ORT_DISABLE_ALL"] - found["ORT_ENABLE_ALL"]).max() < 0.01


def test_an_operator_that_rounds_in_an_unknown_way_is_refused():
    model = raw_network(84, size=(64, 96))
    first = model.graph.node[0]
    tanh = helper.make_node("Tanh", ["pixels"], ["bent"])
    model.graph.node.insert(0, tanh)
    first = model.graph.node[1]
    first.input[0] = "bent"
    with pytest.raises(NetworkUnusable, match="Tanh"):
        onnx_engine.emulate(halve.halve(model))


def test_what_cannot_be_run_is_said_and_not_left_out(tmp_path):
    onnx.save(raw_network(), tmp_path / "a.onnx")
    files = {"a": comparison.files_of(tmp_path / "a.onnx")}
    wanted, refused = comparison.contenders(files, ("fp32", "fp16", "int8"), ("engine", "served"))
    assert [each.label for each in wanted] == ["fp32 engine", "fp16 engine", "fp32 served"]
    assert set(refused) == {"int8 engine", "fp16 served", "int8 served"}


# -- FP16 against FP32 on real pictures -------------------------------------------------------------------

MOST_LOST = 0.002  # mAP50-95


@pytest.fixture(scope="module")
def fp16_report(shared_accuracy, tmp_path_factory):
    """The report on YOLOv8n, FP32 and FP16, and its folder."""
    data, runs = shared_accuracy
    folder = tmp_path_factory.mktemp("accuracy")
    accuracy_report.write(folder, comparison.describe(runs, {}, data, draws=200), "pytest")
    return folder, json.loads((folder / "report.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fp16_is_as_accurate_as_fp32(fp16_report):
    _, found = fp16_report
    whole, rounded = found["runs"]
    assert found["images"] == 128
    assert (whole["precision"], rounded["precision"]) == ("fp32", "fp16")
    assert whole["map50_95"] == pytest.approx(0.4575, abs=0.005)  # the served detector's
    assert whole["detections"] != rounded["detections"] or whole["curves"] != rounded["curves"]
    assert abs(rounded["map50_95"] - whole["map50_95"]) <= MOST_LOST
    assert abs(rounded["map50"] - whole["map50"]) <= MOST_LOST
    interval = found["differences"]["fp16 engine"]["map50_95"]
    assert interval["low"] <= interval["value"] <= interval["high"]
    assert rounded["bytes"] < whole["bytes"] * 0.6


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_curve_is_drawn(fp16_report):
    folder, found = fp16_report
    for run in found["runs"]:
        assert len(run["map_at"]) == 10
        assert len(run["per_class"]) == 71
        assert {len(run["curves"][name]) for name in ("precision", "recall", "f1")} == {201}
        assert len(run["curves"]["precision_at_recall"]) == 101
    text = (folder / "report.md").read_text()
    for name in ("map-by-iou.png", "confidence.png", "precision-recall.png"):
        assert f"]({name})" in text
        picture = (folder / name).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 10_000
    assert "fp16 engine" in text


def test_the_command_refuses_what_does_not_go_together(capsys):
    for wrong in (["a.onnx"], ["a.onnx", "--video", "b.mp4"], ["a.onnx", "b.onnx", "--data", "c"]):
        with pytest.raises(SystemExit):
            main(["model", "evaluate", *wrong])
        assert "error" in capsys.readouterr().err
