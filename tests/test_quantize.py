"""INT8 networks: near their FP32 source, exported and said so, and built by a TensorRT builder."""

import json

import av
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import export
import graphs
import halve
import network_source
import qdq
import quantize
import repository
import rtx
from networks import NAMES, session
from sightline.errors import ServerError
from toy import Passage, write_clip

SHAPE = (192, 320)
DEPTH = 5  # layers between input and output


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of two pictures, and a clip."""
    folder = tmp_path_factory.mktemp("calibration")
    clip = write_clip(folder / "site.mp4", [Passage(0, 2)], seconds=2)
    rng = np.random.default_rng(0)
    for number in range(2):
        noise = rng.integers(0, 256, (120, 160, 3)).astype(np.uint8)
        with av.open(str(folder / f"{number}.png"), "w") as container:
            stream = container.add_stream("png", rate=1)
            stream.width, stream.height, stream.pix_fmt = 160, 120, "rgb24"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, "rgb24")))
            container.mux(stream.encode())
    return folder, clip


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """A network of five layers with SiLU between and one anchor for each 8x8, 16x16, 32x32 pixels."""
    rng = np.random.default_rng(1)
    nodes, weights, last = [], [], "pixels"
    for layer in range(DEPTH - 1):
        channels = 3 if layer == 0 else 8
        weight = rng.normal(0, 0.4, (8, channels, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{layer}"))
        nodes += [
            helper.make_node("Conv", [last, f"w{layer}"], [f"c{layer}"], name=f"conv{layer}", pads=[1] * 4),
            helper.make_node("Sigmoid", [f"c{layer}"], [f"s{layer}"], name=f"sigmoid{layer}"),
            helper.make_node("Mul", [f"c{layer}", f"s{layer}"], [f"m{layer}"], name=f"silu{layer}"),
        ]
        last = f"m{layer}"
    for stride in (8, 16, 32):
        weight = rng.normal(0, 0.05, (7, 8, stride, stride)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"h{stride}"))
        conv = helper.make_node(
            "Conv", [last, f"h{stride}"], [f"o{stride}"], name=f"head{stride}", strides=[stride, stride]
        )
        nodes += [conv, helper.make_node("Reshape", [f"o{stride}", "flat"], [f"f{stride}"])]
    nodes.append(helper.make_node("Concat", ["f8", "f16", "f32"], ["head"], axis=2))
    weights.append(numpy_helper.from_array(np.array([0, 7, -1]), "flat"))
    given = helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, ["b", 3, "h", "w"])
    made = helper.make_tensor_value_info("head", onnx.TensorProto.FLOAT, [None, 7, None])
    graph = helper.make_graph(nodes, "deep", [given], [made], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"names": NAMES, "license": "CC0"})
    path = tmp_path_factory.mktemp("deep") / "deep.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def int8(deep, pictures):
    """The network in INT8, and what was done."""
    folder, clip = pictures
    target = deep.with_name("deep-int8.onnx")
    options = quantize.Options(shape=SHAPE, pictures=8, first=1, last=1)
    return target, quantize.quantize_file(deep, target, [folder, clip], options)


def test_layers_at_both_ends_stay_and_the_others_are_int8(int8):
    target, done = int8
    model = onnx.load(target)
    onnx.checker.check_model(model, full_check=True)
    made_by = {name: node for node in model.graph.node for name in node.output}
    takes = {
        node.name: made_by[node.input[0]].op_type if node.input[0] in made_by else "picture"
        for node in model.graph.node
        if node.op_type == "Conv"
    }
    quantised = {name for name, kind in takes.items() if kind == "DequantizeLinear"}
    assert quantised == {"conv1", "conv2", "conv3"}
    assert done["kept_in_floating_point"] == 4
    assert done["pictures"] == 6  # two pictures, and half of eight from the clip


def test_int8_is_near_fp32_but_not_it(deep, int8, pictures):
    target, _ = int8
    options = quantize.Options(pictures=2)
    sent = next(quantize.pictures_of([pictures[1]], SHAPE, options))
    picture = quantize.numerics.network_input(sent)[None]
    (whole,) = session(str(deep)).run(None, {"pixels": picture})
    (rounded,) = session(str(target)).run(None, {"images": picture})
    error = np.abs(rounded - whole).mean() / np.abs(whole).mean()
    assert 0 < error < 0.1


def test_the_same_pictures_give_the_same_digest_and_others_another(deep, int8, pictures, tmp_path):
    _, done = int8
    folder, clip = pictures
    options = quantize.Options(shape=SHAPE, pictures=8, first=1, last=1)
    again = quantize.quantize_file(deep, tmp_path / "a.onnx", [folder, clip], options)
    other = quantize.quantize_file(deep, tmp_path / "b.onnx", [clip], options)
    assert again["calibration_sha256"] == done["calibration_sha256"] != other["calibration_sha256"]


def test_an_exported_version_says_how_it_became_int8(int8, tmp_path):
    source, done = int8
    target = tmp_path / "repository"
    version = export.export(export.Options(source, target, shape=SHAPE))
    manifest = repository.read_manifest(target, version)
    assert (manifest["precision"], manifest["floating_point"]) == ("int8", "fp16")
    assert manifest["quantisation"] == json.loads(json.dumps(done))
    assert "TYPE_FP16" in (target / "yolo" / "config.pbtxt").read_text()
    kinds = {node.op_type for node in onnx.load(target / "yolo" / "1" / "engine.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds


def test_the_processor_gets_unsigned_activations_that_mean_the_same(int8):
    """OpenVINO gives wrong heads for signed ones on x86; TensorRT takes no others."""
    model = network_source.read_source(int8[0], None).model
    unsigned = qdq.unsigned_activations(model)
    onnx.checker.check_model(unsigned, full_check=True)
    kinds = {item.name: item.data_type for item in unsigned.graph.initializer}
    activations = [node.input[2] for node in unsigned.graph.node if node.op_type == "QuantizeLinear"]
    assert {kinds[name] for name in activations} == {onnx.TensorProto.UINT8}
    assert onnx.TensorProto.INT8 in kinds.values()  # the weights
    picture = np.random.default_rng(2).uniform(0, 1, (1, 3, *SHAPE)).astype(np.float32)
    found = [session(each).run(None, {"images": picture})[0] for each in (model, unsigned)]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


def test_int8_beside_fp16_has_no_cast_before_a_layer(int8):
    model = network_source.read_source(int8[0], None).model
    half = halve.halve(model)
    made_by = {name: node.op_type for node in half.graph.node for name in node.output}
    weights = [made_by.get(node.input[1], "weight") for node in half.graph.node if node.op_type == "Conv"]
    assert weights.count("DequantizeLinear") == 3
    assert "Cast" not in weights
    picture = np.random.default_rng(2).uniform(0, 1, (1, 3, *SHAPE)).astype(np.float32)
    (whole,) = session(model).run(None, {"images": picture})
    (halved,) = session(half).run(None, {"images": picture.astype(np.float16)})
    assert np.abs(halved - whole).mean() < 0.05 * np.abs(whole).mean()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_builds_the_int8_network(precision, int8):
    source = network_source.read_source(int8[0], None)
    rows, columns = source.head.shape(*SHAPE, source.boxes)
    network = graphs.Network(*SHAPE, end_to_end=False, rows=rows, columns=columns, precision=precision)
    job = rtx.Job(export.engine_network(source.model, network), export.profiles(network)["yolo"])
    try:
        _, answers = rtx.build({"yolo": job})
    except ServerError as error:
        pytest.skip(str(error))
    assert answers["yolo"]["bytes"] > 0, answers["yolo"]


def test_what_cannot_be_quantised_is_refused(deep, int8, pictures, tmp_path):
    clip = pictures[1]
    with pytest.raises(quantize.NotQuantised, match="already"):
        quantize.quantize_file(int8[0], tmp_path / "x.onnx", [clip], quantize.Options(shape=SHAPE))
    with pytest.raises(quantize.NotQuantised, match="no picture"):
        quantize.quantize_file(deep, tmp_path / "x.onnx", [tmp_path], quantize.Options(shape=SHAPE))
    everything = quantize.Options(shape=SHAPE, pictures=2, first=9)
    with pytest.raises(quantize.NotQuantised, match="would be INT8"):
        quantize.quantize_file(deep, tmp_path / "x.onnx", [clip], everything)
    assert not (tmp_path / "x.onnx").exists()
