"""The GPU's graphs: against the numerics in ONNX Runtime, and through a TensorRT parser and builder."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from sightline.errors import ServerError
from sightline.models.export import graphs, halve, network_source, rtx_engines
from sightline.serving.runtime import numerics
from support.networks import end_to_end_network, raw_network, session

NETWORK = graphs.NetworkSpec(384, 640, end_to_end=False, rows=84, columns=5040, precision="fp32")
END_TO_END = graphs.NetworkSpec(384, 640, end_to_end=True, rows=300, columns=6)
GREY_LEVELS = {"fp32": 0.01, "fp16": 0.13}  # FP16 keeps 11 bits: 1/8 of a grey level near white
FLOOR = 0.1


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("size", [(384, 640), (64, 96), (640, 384)])
def test_preprocess_is_the_numerics(size, precision):
    network = graphs.NetworkSpec(*size, end_to_end=False, rows=84, columns=5040, precision=precision)
    model = graphs.preprocess_graph(network)
    onnx.checker.check_model(model, full_check=True)
    frames = np.random.default_rng(0).integers(0, 256, (2, size[0] * 3 // 2, size[1]), dtype=np.uint8)
    (images,) = session(model).run(None, {"frame": frames})
    assert images.dtype == (np.float16 if precision == "fp16" else np.float32)
    for frame, image in zip(frames, images, strict=True):
        difference = np.abs(image.astype(np.float32) - numerics.network_input(frame)).max() * 255
        assert difference <= GREY_LEVELS[precision]


def random_head(rng, objects):
    """[84, 5040]: weak noise, and some objects with many overlapping boxes each."""
    head = np.zeros((84, 5040), np.float32)
    head[:2], head[2:4] = rng.uniform(20, 360, (2, 5040)), rng.uniform(5, 120, (2, 5040))
    head[4:] = rng.uniform(0, FLOOR / 2, (80, 5040))
    for number, place in enumerate(rng.choice(500, objects, replace=False) * 10):
        cluster = slice(place, place + 10)
        head[:4, cluster] = head[:4, place : place + 1] + rng.uniform(-3, 3, (4, 10))
        head[4 + number % 80, cluster] = rng.uniform(FLOOR, 1, 10)
    return head


@pytest.mark.parametrize("objects", [(0, 3), (40, 400)])
def test_postprocess_is_the_numerics(objects):
    rng = np.random.default_rng(1)
    heads = np.stack([random_head(rng, number) for number in objects])
    model = graphs.postprocess_graph(NETWORK, FLOOR, "onnx")
    onnx.checker.check_model(model, full_check=True)
    answer = session(model).run(None, {"output0": heads})
    check_boxes(answer, heads)


def test_end_to_end_postprocess_is_the_numerics():
    rng = np.random.default_rng(2)
    heads = rng.uniform(0, 1, (2, 300, 6)).astype(np.float32)
    heads[..., :4] *= 380
    heads[..., 5] = rng.integers(0, 80, (2, 300))
    heads[1, 5:, 4] = 0
    model = graphs.postprocess_graph(END_TO_END, FLOOR)
    onnx.checker.check_model(model, full_check=True)
    answer = session(model).run(None, {"output0": heads})
    check_boxes(answer, heads)


def check_boxes(answer, heads):
    for count, boxes, scores, classes, head in zip(*answer, heads, strict=True):
        wanted_boxes, wanted_scores, wanted_classes = numerics.boxes_from_head(head, (384, 640), FLOOR)
        found = int(count[0])
        assert found == len(wanted_scores)
        np.testing.assert_allclose(scores[:found], wanted_scores, atol=1e-6)
        np.testing.assert_allclose(boxes[:found], wanted_boxes, atol=1e-6)
        assert classes[:found].tolist() == wanted_classes.tolist()


def test_plugin_node_has_the_numerics_numbers():
    nodes = graphs.postprocess_graph(NETWORK, FLOOR).graph.node
    node = next(node for node in nodes if node.op_type == "EfficientNMS_TRT")
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    assert attributes["iou_threshold"] == pytest.approx(numerics.NMS_IOU)
    assert attributes["score_threshold"] == pytest.approx(FLOOR)
    assert attributes["max_output_boxes"] == numerics.MAX_DETECTIONS
    assert attributes["class_agnostic"] == 0
    assert attributes["box_coding"] == 0  # corners


def test_halved_network_agrees_and_keeps_its_output_fp32():
    model = raw_network(84, size=(64, 96))
    half = halve.halve(model)
    onnx.checker.check_model(half, full_check=True)
    picture = np.random.default_rng(3).uniform(0, 1, (2, 3, 64, 96)).astype(np.float32)
    (whole,) = session(model).run(None, {"pixels": picture})
    (halved,) = session(half).run(None, {"pixels": picture.astype(np.float16)})
    assert halved.dtype == np.float32
    np.testing.assert_allclose(halved, whole, rtol=5e-3)
    assert half.ByteSize() < model.ByteSize() * 0.6


# TensorRT-RTX parses and builds without a GPU. It has neither the EfficientNMS plugin nor an NMS layer, so
# graphs are built around that node: what goes into it becomes outputs, what comes out of it inputs.


@pytest.fixture(scope="module")
def built():
    """What TensorRT-RTX makes of each graph of a raw head, in both precisions, and of an end-to-end head."""
    jobs = {}
    for precision in ("fp32", "fp16"):
        network = graphs.NetworkSpec(384, 640, end_to_end=False, rows=84, columns=5040, precision=precision)
        source = read(raw_network(84, names=str([f"class{number}" for number in range(80)])))
        jobs |= {
            f"{name}|{precision}": job for name, job in rtx_engines.parts(source, network, FLOOR).items()
        }
    source = read(end_to_end_network(boxes=300))
    jobs |= {f"{name}|end2end": job for name, job in rtx_engines.parts(source, END_TO_END, FLOOR).items()}
    try:
        _, answers = rtx_engines.build(jobs)
    except ServerError as error:
        pytest.skip(str(error))
    return answers


def read(model):
    """A network with the names that an export gives its input and output."""
    network_source._rename(model)
    return model


PICTURES = {"fp32": "FLOAT", "fp16": "HALF"}
BOXES = {
    "num_dets": ["INT32", -1, 1],
    "det_boxes": ["FLOAT", -1, 300, 4],
    "det_scores": ["FLOAT", -1, 300],
    "det_classes": ["INT32", -1, 300],
}
#: Output of each graph of a raw head; None for what TensorRT-RTX cannot build.
WANTED = {
    "preprocess": {"images": [None, -1, 3, 384, 640]},
    "yolo": {"output0": ["FLOAT", -1, 84, 5040]},
    "postprocess around its NMS": {"det_boxes": ["FLOAT", -1, 300, 4]},
    "detector, one graph, around its NMS": {"det_boxes": ["FLOAT", -1, 300, 4]},
    "detector up to its NMS (rtx.onnx)": {"best": ["FLOAT", -1, 84, 2048]},
}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("part", WANTED)
def test_tensorrt_builds_every_part_for_a_range_of_batches(part, precision, built):
    answer = built[f"{part}|{precision}"]
    assert answer["errors"] == []
    assert answer["bytes"] > 0
    for name, (kind, *shape) in WANTED[part].items():
        assert answer["outputs"][name] == [kind or PICTURES[precision], *shape]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_rtx_lacks_the_nms_and_nothing_else(precision, built):
    for part in ("postprocess", "detector, one graph"):
        assert rtx_engines.cells([built[f"{part}|{precision}"]])[-1] == "the plugin EfficientNMS_TRT"
    onnx_nms = built[f"postprocess, ONNX NMS|{precision}"]
    assert rtx_engines.cells([onnx_nms]) == ["parses, does not build", "an NMS layer"]


def test_tensorrt_builds_an_end_to_end_detector_whole(built):
    for part in ("postprocess", "detector, one graph"):
        assert built[f"{part}|end2end"]["errors"] == []
        assert built[f"{part}|end2end"]["outputs"] == BOXES


def test_the_table_of_the_docs_is_what_the_runtime_does(built):
    """``sightline model rtx table`` wrote it, of YOLOv8n; these differ in their weights alone."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "gpu.md").read_text()
    rows = dict(re.findall(r"^\| (.+?) \| (\w.*? \| \w.*? \|.*) \|$", text, re.MULTILINE))
    parts = {name.split("|")[0] for name in built if not name.endswith("end2end")}
    for part in parts:
        both = [built[f"{part}|{precision}"] for precision in ("fp32", "fp16")]
        assert rows[part] == " | ".join(rtx_engines.cells(both))
