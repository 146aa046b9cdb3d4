"""The detector as one graph: against the three functions of the numerics, in ONNX Runtime; and its export."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from sightline.base.letterbox import letterbox_i420
from sightline.models.export import exporter, graphs, network_source
from sightline.models.registry import repository
from sightline.serving import model_configs
from sightline.serving.runtime import numerics
from support import toy
from support.networks import end_to_end_network, same, scene, session

SHARED = Path(os.environ.get("SIGHTLINE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
FLOOR = 0.1
BOXES = ("num_dets", "det_boxes", "det_scores", "det_classes")
#: Boxes in shares of the picture, and scores: FP16 holds 11 bits of a score, and half a pixel of a box.
NEAR = {"fp32": 1e-5, "fp16": 4e-3}


def parts(path, size, precision):
    source = network_source.read_source(path, None)
    network = source.spec(size, precision)
    return source, network, exporter.engine_network(source.model, network)


def reference(source, frame, size):
    head = session(source.model).run(None, {"images": numerics.network_input(frame)[None]})[0][0]
    return numerics.boxes_from_head(head, size, FLOOR)


def whole(model, frames):
    """Boxes of each picture, out of the one graph."""
    answers = session(model).run(list(BOXES), {"frame": frames})
    for count, boxes, scores, classes in zip(*answers, strict=True):
        yield boxes[: count[0]], scores[: count[0]], classes[: count[0]]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return toy.write_network(tmp_path_factory.mktemp("network") / "toy.onnx")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("size", [(192, 320), (180, 320), (192, 256)])
def test_one_graph_gives_what_the_three_functions_give(network, size, precision):
    source, sizes, engine = parts(network, (192, 320), precision)
    frames = np.stack([letterbox_i420(scene(size), (192, 320))[0], np.full((288, 320), 128, np.uint8)])
    found = list(whole(graphs.fused_graph(engine, sizes, FLOOR, "onnx"), frames))
    assert [len(one[1]) for one in found] == [2, 0]
    for frame, one in zip(frames, found, strict=True):
        same(one, reference(source, frame, (192, 320)), NEAR[precision])


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_graph_up_to_its_nms_and_the_numerics_give_the_same(network, precision):
    source, sizes, engine = parts(network, (192, 320), precision)
    frame = scene((192, 320))
    answers = session(graphs.fused_graph(engine, sizes, FLOOR, None)).run(["best"], {"frame": frame[None]})
    assert answers[0].shape == (1, 6, 1260)  # every anchor: there are fewer than the numerics' limit
    same(
        numerics.boxes_from_head(answers[0][0], (192, 320), FLOOR),
        reference(source, frame, (192, 320)),
        NEAR[precision],
    )


def test_an_end_to_end_network_needs_no_nms_in_one_graph(tmp_path):
    onnx.save(end_to_end_network(), tmp_path / "tiny.onnx")
    source, sizes, engine = parts(tmp_path / "tiny.onnx", (192, 320), "fp32")
    model = graphs.fused_graph(engine, sizes, FLOOR, None)
    assert [item.name for item in model.graph.output] == list(BOXES)
    frame = scene((192, 320))
    (found,) = whole(model, frame[None])
    assert len(found[1])
    same(found, reference(source, frame, (192, 320)), 1e-5)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_yolov8n_as_one_graph_finds_what_the_functions_find(precision):
    path, pictures = SHARED / "models/yolov8n.onnx", sorted((SHARED / "coco128").rglob("*.jpg"))[:3]
    if not path.is_file() or not pictures:
        pytest.skip("models/yolov8n.onnx and coco128 of the shared folder are not here")
    source, sizes, engine = parts(path, (384, 640), precision)
    model = session(graphs.fused_graph(engine, sizes, FLOOR, "onnx"))
    rest = session(graphs.fused_graph(engine, sizes, FLOOR, None))
    for picture in pictures:
        rgb = cv2.resize(cv2.imread(str(picture)), (480, 360), interpolation=cv2.INTER_AREA)
        frame, _ = letterbox_i420(cv2.cvtColor(rgb, cv2.COLOR_BGR2YUV_I420), (384, 640))
        expected = reference(source, frame, (384, 640))
        count, boxes, scores, classes = (
            values[0] for values in model.run(list(BOXES), {"frame": frame[None]})
        )
        (head,) = rest.run(["best"], {"frame": frame[None]})[0]
        assert head.shape == (84, numerics.MAX_CANDIDATES)
        for found in (
            (boxes[: count[0]], scores[: count[0]], classes[: count[0]]),
            numerics.boxes_from_head(head, (384, 640), FLOOR),
        ):
            strong = [values[found[1] >= 0.25] for values in found]  # FP16 may move a box over the floor
            wanted = [values[expected[1] >= 0.25] for values in expected]
            assert len(wanted[1])
            same(strong, wanted, {"fp32": 1e-4, "fp16": 2e-2}[precision])


def test_export_writes_both_forms_of_the_one_graph_and_the_version_is_sound(network, tmp_path):
    assert (
        exporter.export_network(
            exporter.ExportOptions(network, tmp_path / "models", shape=(192, 320), fused=True)
        )
        == 1
    )
    folder = tmp_path / "models" / "detector" / "1"
    assert {"engine.onnx", "engine.json", "rtx.onnx", "model.py", "rtx.py"} <= {
        p.name for p in folder.iterdir()
    }
    assert json.loads((folder / "engine.json").read_text())["frame"][2] == [8, 288, 320]
    kinds = {node.op_type for node in onnx.load(folder / "engine.onnx").graph.node}
    assert "EfficientNMS_TRT" in kinds
    assert repository.problems(tmp_path / "models", 1) == []
    (folder / "rtx.onnx").write_bytes(b"another")
    assert "detector/1/rtx.onnx is not the file" in repository.problems(tmp_path / "models", 1)[0]


def config_of(path):
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


@pytest.mark.parametrize("name", ["fused", "rtx"])
def test_the_configuration_has_the_detectors_contract_and_follows_export_and_switch(name, network, tmp_path):
    folder = tmp_path / "models"
    exporter.export_network(exporter.ExportOptions(network, folder, shape=(192, 320), fused=True))
    path = folder / "detector" / "configs" / f"{name}.served.pbtxt"
    config, ensemble = config_of(path), config_of(folder / "detector/configs/ensemble.served.pbtxt")
    assert [item.name for item in config.output] == list(BOXES)
    assert [item.data_type for item in config.output] == [item.data_type for item in ensemble.output]
    assert [(one.name, one.data_type) for one in config.input] == [
        (one.name, one.data_type) for one in ensemble.input
    ]
    assert config.max_batch_size == exporter.MAX_BATCH
    assert list(config.model_warmup[0].inputs["frame"].dims) == [288, 320]
    said = {key: value.string_value for key, value in config.parameters.items()}
    assert json.loads(said["class_names"]) == list(toy.CLASSES)
    assert (said["network_height"], said["precision"]) == ("192", "fp16")
    if name == "fused":
        outputs = onnx.load(folder / "detector" / "1" / "engine.onnx").graph.output
        sides = {item.name: [d.dim_value for d in item.type.tensor_type.shape.dim][1:] for item in outputs}
        assert {item.name: list(item.dims) for item in config.output} == sides
    exporter.export_network(exporter.ExportOptions(network, folder, shape=(192, 320), fused=True))
    assert list(config_of(path).version_policy.specific.versions) == [1]
    model_configs.choose(folder, "detector", 2)
    switched = config_of(path)
    assert list(switched.version_policy.specific.versions) == [2]
    assert switched.parameters["precision"].string_value == "fp16"
