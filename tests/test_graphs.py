"""The GPU's graphs: against the numerics in ONNX Runtime, and through a TensorRT parser and builder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import graphs
import halve
from networks import raw_network, session
from sightline import numerics

NETWORK = graphs.Network(384, 640, end_to_end=False, rows=84, columns=5040, precision="fp32")
END_TO_END = graphs.Network(384, 640, end_to_end=True, rows=300, columns=6)
GREY_LEVELS = {"fp32": 0.01, "fp16": 0.13}  # FP16 keeps 11 bits: 1/8 of a grey level near white
FLOOR = 0.1
RTX = Path(__file__).resolve().parent.parent / ".sightline" / "tensorrt-rtx"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("size", [(360, 640), (384, 640), (384, 214), (2, 2), (100, 640), (382, 638)])
def test_preprocess_is_the_numerics(size, precision):
    network = graphs.Network(384, 640, end_to_end=False, rows=84, columns=5040, precision=precision)
    model = graphs.preprocess_graph(network)
    onnx.checker.check_model(model, full_check=True)
    frames = np.random.default_rng(0).integers(0, 256, (2, size[0] * 3 // 2, size[1]), dtype=np.uint8)
    images, letterboxes = session(model).run(None, {"frame": frames})
    assert images.dtype == (np.float16 if precision == "fp16" else np.float32)
    for frame, image, letterbox in zip(frames, images, letterboxes, strict=True):
        padded, wanted = numerics.letterbox_i420(frame, (384, 640))
        difference = np.abs(image.astype(np.float32) - numerics.network_input(padded)).max() * 255
        assert difference <= GREY_LEVELS[precision]
        assert letterbox.tolist() == wanted.tolist()


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
    letterboxes = np.array([[0, 12, 640, 360], [20, 0, 600, 384]], np.float32)
    model = graphs.postprocess_graph(NETWORK, FLOOR, "onnx")
    onnx.checker.check_model(model, full_check=True)
    answer = session(model).run(None, {"output0": heads, "letterbox": letterboxes})
    check_boxes(answer, heads, letterboxes)


def test_end_to_end_postprocess_is_the_numerics():
    rng = np.random.default_rng(2)
    heads = rng.uniform(0, 1, (2, 300, 6)).astype(np.float32)
    heads[..., :4] *= 380
    heads[..., 5] = rng.integers(0, 80, (2, 300))
    heads[1, 5:, 4] = 0
    letterboxes = np.array([[0, 12, 640, 360], [20, 0, 600, 384]], np.float32)
    model = graphs.postprocess_graph(END_TO_END, FLOOR)
    onnx.checker.check_model(model, full_check=True)
    answer = session(model).run(None, {"output0": heads, "letterbox": letterboxes})
    check_boxes(answer, heads, letterboxes)


def check_boxes(answer, heads, letterboxes):
    for count, boxes, scores, classes, head, letterbox in zip(*answer, heads, letterboxes, strict=True):
        wanted_boxes, wanted_scores, wanted_classes = numerics.boxes_from_head(head, letterbox, FLOOR)
        found = int(count[0])
        assert found == len(wanted_scores)
        np.testing.assert_allclose(scores[:found], wanted_scores, atol=1e-6)
        np.testing.assert_allclose(boxes[:found], wanted_boxes, atol=1e-6)
        assert classes[:found].tolist() == wanted_classes.tolist()


def test_plugin_node_has_the_numerics_numbers():
    node = plugin_node(graphs.postprocess_graph(NETWORK, FLOOR))
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


def plugin_node(model):
    return next(node for node in model.graph.node if node.op_type == "EfficientNMS_TRT")


# TensorRT-RTX parses and builds without a GPU. It has neither the EfficientNMS plugin nor an NMS layer, so
# the graph is built around that node: what goes into it becomes outputs, what comes out of it inputs.


def without_plugin(model):
    node = plugin_node(model)
    model.graph.node.remove(node)
    boxes = next(item for item in model.graph.output if item.name == "det_boxes")
    fed = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in node.input]
    del model.graph.output[:]
    model.graph.output.extend([boxes, *fed])
    shape = ["batch", 300, 4]
    model.graph.input.append(helper.make_tensor_value_info("nms_boxes", onnx.TensorProto.FLOAT, shape))
    return model


BUILD = """
import json, sys
import tensorrt_rtx as trt

def build(path, profile):
    builder = trt.Builder(trt.Logger(trt.Logger.INTERNAL_ERROR))
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, builder.logger)
    if not parser.parse_from_file(path):
        return {"parse_error": [parser.get_error(i).desc() for i in range(parser.num_errors)]}
    config, shapes = builder.create_builder_config(), builder.create_optimization_profile()
    for name, three in profile.items():
        shapes.set_shape(name, *three)
    config.add_optimization_profile(shapes)
    plan = builder.build_serialized_network(network, config)
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    shapes = {o.name: [o.dtype.name, *o.shape] for o in outputs}
    return {"bytes": plan.nbytes if plan else 0, "outputs": shapes}

print(json.dumps({path: build(path, profile) for path, profile in json.load(sys.stdin).items()}))
"""


@pytest.fixture(scope="session")
def rtx_python():
    """A Python with TensorRT-RTX, made once and kept outside the project's own environment."""
    python = RTX / "bin" / "python"
    if not (RTX / ".ready").is_file():
        wanted = "tensorrt-rtx-cu12==1.7.1.116"
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(RTX)],
            [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", wanted],
        ):
            try:
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=240)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                pytest.skip(f"{wanted} cannot be installed here: {str(error.stderr)[-200:]}")
        (RTX / ".ready").touch()
    return python


@pytest.fixture(scope="module")
def built(rtx_python, tmp_path_factory):
    """What TensorRT-RTX makes of each graph."""
    folder = tmp_path_factory.mktemp("graphs")
    frame = {"frame": [[1, 3, 2], [4, 576, 640], [8, 576, 640]]}
    letterbox = {"letterbox": [[1, 4], [4, 4], [8, 4]]}
    raw = {"output0": [[n, 84, 5040] for n in (1, 4, 8)], **letterbox}
    kept = {"nms_boxes": [[n, 300, 4] for n in (1, 4, 8)]}
    fp16 = graphs.Network(384, 640, end_to_end=False, rows=84, columns=5040, precision="fp16")
    jobs = {
        "preprocess_fp32": (graphs.preprocess_graph(NETWORK), frame),
        "preprocess_fp16": (graphs.preprocess_graph(fp16), frame),
        "yolo_fp16": (
            halve.halve(raw_network(84, size=(384, 640))),
            {"pixels": [[n, 3, 384, 640] for n in (1, 4, 8)]},
        ),
        "plugin": (graphs.postprocess_graph(NETWORK, FLOOR), raw),
        "around_plugin": (without_plugin(graphs.postprocess_graph(NETWORK, FLOOR)), raw | kept),
        "end_to_end": (
            graphs.postprocess_graph(END_TO_END, FLOOR),
            {"output0": [[n, 300, 6] for n in (1, 4, 8)], **letterbox},
        ),
    }
    given = {}
    for name, (model, profile) in jobs.items():
        path = folder / f"{name}.onnx"
        onnx.save(model, path)
        given[str(path)] = profile
    environment = {key: text for key, text in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        [rtx_python, "-c", BUILD],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    return {Path(path).stem: answer for path, answer in answers.items()}


def test_tensorrt_builds_preprocess(built):
    for name, kind in (("preprocess_fp32", "FLOAT"), ("preprocess_fp16", "HALF")):
        assert built[name]["bytes"] > 0, built[name]
        outputs = built[name]["outputs"]
        assert outputs == {"images": [kind, -1, 3, 384, 640], "letterbox": ["FLOAT", -1, 4]}


def test_tensorrt_builds_the_halved_network(built):
    assert built["yolo_fp16"]["bytes"] > 0, built["yolo_fp16"]
    assert built["yolo_fp16"]["outputs"] == {"head": ["FLOAT", -1, 84, 5040]}


def test_tensorrt_builds_postprocess_around_the_plugin(built):
    assert built["around_plugin"]["bytes"] > 0, built["around_plugin"]
    assert built["around_plugin"]["outputs"]["det_boxes"] == ["FLOAT", -1, 300, 4]


def test_tensorrt_rtx_lacks_the_plugin_and_nothing_else(built):
    (problem,) = built["plugin"]["parse_error"]
    assert "Plugin not found" in problem


def test_tensorrt_builds_end_to_end_postprocess(built):
    assert built["end_to_end"]["bytes"] > 0, built["end_to_end"]
    wanted = {
        "num_dets": ["INT32", -1, 1],
        "det_boxes": ["FLOAT", -1, 300, 4],
        "det_scores": ["FLOAT", -1, 300],
        "det_classes": ["INT32", -1, 300],
    }
    assert built["end_to_end"]["outputs"] == wanted
