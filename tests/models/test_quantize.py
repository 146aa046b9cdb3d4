"""INT8 and FP8 networks: near their FP32 source, exported and said so, and built by a TensorRT builder."""

import json

import av
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from sightline.cli import build_parser, main
from sightline.cli.model_commands import PRECISIONS, check
from sightline.errors import EvaluationError, NetworkUnusable, ServerError
from sightline.models.evaluation import comparison
from sightline.models.export import exporter, halve, network_source, quantize, rtx_engines
from sightline.serving.model_configs import read_manifest
from support.networks import NAMES, session
from support.toy import Passage, write_clip

SHAPE = (192, 320)
DEPTH = 5  # layers between input and output
CHANNELS = 16  # the fewest that FP8 convolutions have


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
        channels = 3 if layer == 0 else CHANNELS
        weight = rng.normal(0, 0.3, (CHANNELS, channels, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{layer}"))
        nodes += [
            helper.make_node("Conv", [last, f"w{layer}"], [f"c{layer}"], name=f"conv{layer}", pads=[1] * 4),
            helper.make_node("Sigmoid", [f"c{layer}"], [f"s{layer}"], name=f"sigmoid{layer}"),
            helper.make_node("Mul", [f"c{layer}", f"s{layer}"], [f"m{layer}"], name=f"silu{layer}"),
        ]
        last = f"m{layer}"
    for stride in (8, 16, 32):
        weight = rng.normal(0, 0.05, (7, CHANNELS, stride, stride)).astype(np.float32)
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
    options = quantize.QuantizeOptions(shape=SHAPE, pictures=8, first=1, last=1)
    return target, quantize.quantize_file(deep, target, [folder, clip], options)


@pytest.fixture(scope="module")
def fp8(deep, pictures):
    """The network in FP8, and what was done: its ends stay because FP8 has no such convolutions."""
    target = deep.with_name("deep-fp8.onnx")
    options = quantize.QuantizeOptions(shape=SHAPE, pictures=8, precision="fp8")
    return target, quantize.quantize_file(deep, target, list(pictures), options)


@pytest.fixture(scope="module", params=network_source.QUANTISED)
def quantised(request):
    """Either of them."""
    return request.getfixturevalue(request.param)


def test_layers_at_both_ends_stay_and_the_others_are_quantised(quantised):
    target, done = quantised
    model = onnx.load(target)
    onnx.checker.check_model(model, full_check=True)
    made_by = {name: node for node in model.graph.node for name in node.output}
    takes = {
        node.name: made_by[node.input[0]].op_type if node.input[0] in made_by else "picture"
        for node in model.graph.node
        if node.op_type == "Conv"
    }
    assert {name for name, kind in takes.items() if kind == "DequantizeLinear"} == {"conv1", "conv2", "conv3"}
    read = network_source.read_source(target, None).quantisation
    assert read == json.loads(json.dumps(done))
    assert done["kept_in_floating_point"] == 4
    assert done["pictures"] == 6  # two pictures, and half of eight from the clip


def test_it_is_near_fp32_but_not_it(deep, quantised, pictures):
    target, _ = quantised
    options = quantize.QuantizeOptions(pictures=2)
    sent = next(quantize.pictures_of([pictures[1]], SHAPE, options))
    picture = quantize.numerics.network_input(sent)[None]
    (whole,) = session(str(deep)).run(None, {"pixels": picture})
    (rounded,) = session(str(target)).run(None, {"images": picture})
    error = np.abs(rounded - whole).mean() / np.abs(whole).mean()
    assert 0 < error < 0.1


def test_the_same_pictures_give_the_same_digest_and_others_another(deep, int8, pictures, tmp_path):
    _, done = int8
    folder, clip = pictures
    options = quantize.QuantizeOptions(shape=SHAPE, pictures=8, first=1, last=1)
    again = quantize.quantize_file(deep, tmp_path / "a.onnx", [folder, clip], options)
    other = quantize.quantize_file(deep, tmp_path / "b.onnx", [clip], options)
    assert again["calibration_sha256"] == done["calibration_sha256"] != other["calibration_sha256"]


def test_an_exported_version_says_how_it_was_quantised(quantised, tmp_path):
    source, done = quantised
    target = tmp_path / "repository"
    version = exporter.export_network(exporter.ExportOptions(source, target, shape=SHAPE))
    manifest = read_manifest(target, version)
    assert (manifest["precision"], manifest["floating_point"]) == (done["precision"], "fp16")
    assert manifest["quantisation"] == json.loads(json.dumps(done))
    assert "TYPE_FP16" in (target / "yolo-1/configs/ensemble.served.pbtxt").read_text()
    kinds = {node.op_type for node in onnx.load(target / "yolo" / "1" / "engine.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds


def test_the_processor_gets_unsigned_activations_that_mean_the_same(int8):
    """OpenVINO gives wrong heads for signed ones on x86; TensorRT takes no others."""
    model = network_source.read_source(int8[0], None).model
    unsigned = exporter.unsigned_activations(model)
    onnx.checker.check_model(unsigned, full_check=True)
    kinds = {item.name: item.data_type for item in unsigned.graph.initializer}
    activations = [node.input[2] for node in unsigned.graph.node if node.op_type == "QuantizeLinear"]
    assert {kinds[name] for name in activations} == {onnx.TensorProto.UINT8}
    assert onnx.TensorProto.INT8 in kinds.values()  # the weights
    picture = np.random.default_rng(2).uniform(0, 1, (1, 3, *SHAPE)).astype(np.float32)
    found = [session(each).run(None, {"images": picture})[0] for each in (model, unsigned)]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


def test_beside_fp16_no_cast_stands_before_a_layer(quantised):
    model = network_source.read_source(quantised[0], None).model
    half = halve.halve(model)
    made_by = {name: node.op_type for node in half.graph.node for name in node.output}
    weights = [made_by.get(node.input[1], "weight") for node in half.graph.node if node.op_type == "Conv"]
    assert weights.count("DequantizeLinear") == 3
    assert "Cast" not in weights
    picture = np.random.default_rng(2).uniform(0, 1, (1, 3, *SHAPE)).astype(np.float32)
    (whole,) = session(model).run(None, {"images": picture})
    (halved,) = session(half).run(None, {"images": picture.astype(np.float16)})
    assert np.abs(halved - whole).mean() < 0.05 * np.abs(whole).mean()


def test_fp8_numbers_are_those_of_the_weights_rounded_to_four_bits(deep, fp8):
    """E4M3 keeps three bits after the first: nothing is off by more than a sixteenth, but what is near 0."""
    whole = numpy_helper.to_array(next(w for w in onnx.load(deep).graph.initializer if w.name == "w1"))
    constants = {item.name: item for item in onnx.load(fp8[0]).graph.initializer}
    numbers = numpy_helper.to_array(constants["w1_quantized"]).astype(np.float32)
    scale = numpy_helper.to_array(constants["w1_scale"])[:, None, None, None]
    assert np.abs(numbers).max(axis=(1, 2, 3)) == pytest.approx(448)  # each channel's range is used
    np.testing.assert_allclose(numbers * scale, whole, rtol=1 / 16, atol=float(scale.max()) / 512)
    activations = [node for node in onnx.load(fp8[0]).graph.node if node.op_type == "QuantizeLinear"]
    assert {constants[node.input[2]].data_type for node in activations} == {network_source.FP8}


def test_fp8_takes_the_range_of_the_oddest_picture_and_int8_the_mean(int8, fp8):
    ranges = {}
    for precision, (path, _) in (("int8", int8), ("fp8", fp8)):
        graph = onnx.load(path).graph
        constants = {item.name: item for item in graph.initializer}
        scales = {node.input[0]: node.input[1] for node in graph.node if node.op_type == "QuantizeLinear"}
        ranges[precision] = {
            name: float(numpy_helper.to_array(constants[scale])) * network_source.MAX_NUMBER[precision]
            for name, scale in scales.items()
        }
    assert len(ranges["int8"]) == 3
    assert set(ranges["int8"]) == set(ranges["fp8"])
    assert all(ranges["fp8"][name] > 1.001 * mean for name, mean in ranges["int8"].items())


def test_tensorrt_builds_it_and_fp8_only_for_gpus_that_have_it(quantised):
    source = network_source.read_source(quantised[0], None)
    jobs = {}
    for precision, capability in (("fp32", None), ("fp16", None), ("fp16", "8.6"), ("fp16", "8.9")):
        network = source.spec(SHAPE, precision)
        model, shapes = exporter.engine_network(source.model, network), exporter.profiles(network)["yolo"]
        jobs[f"{precision} {capability}"] = rtx_engines.Job(model, shapes, capability=capability)
    try:
        _, answers = rtx_engines.build(jobs)
    except ServerError as error:
        pytest.skip(str(error))
    refused = {name: " ".join(answer["errors"]) for name, answer in answers.items() if answer["errors"]}
    if source.quantisation["precision"] == "int8":
        assert refused == {}
    else:
        assert list(refused) == ["fp16 8.6"]
        assert "HW-specific datatypes: fp8_e4m3" in refused["fp16 8.6"]


def test_one_command_compares_every_precision_in_every_way(deep, fp8, pictures, tmp_path):
    folder, _ = pictures
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "images").symlink_to(folder)
    images = [{"id": at, "file_name": f"{at}.png", "width": 160, "height": 120} for at in range(2)]
    box = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [10, 10, 60, 60], "area": 3600, "iscrowd": 0}
    found = {"images": images, "annotations": [box], "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "set" / "annotations.json").write_text(json.dumps(found))
    command = [str(deep), "--data", str(tmp_path / "set"), "--report", str(tmp_path / "report")]
    command += ["--shape", "192x320", "--calibrate", str(folder)]
    options = check(build_parser().parse_args(["model", "evaluate", *command, "--all"]))
    wanted, refused = comparison.contenders(
        {"deep": dict.fromkeys(PRECISIONS)}, options.precision, options.through
    )
    assert len(wanted) == 10
    assert set(refused) == {"fp16 served", "fp16 ensemble"}  # the others are measured, these cannot be here
    assert main(["model", "evaluate", *command, "--precision", ",".join(PRECISIONS)]) == 0
    written = json.loads((tmp_path / "report" / "report.json").read_text())
    labels = [f"{precision} engine" for precision in PRECISIONS]
    assert [run["label"] for run in written["runs"]] == labels
    assert list(written["differences"]) == labels[1:]
    assert len({run["model_sha256"] for run in written["runs"]}) == 3  # FP16 is made of the FP32 file
    with pytest.raises(EvaluationError, match="is fp8 and cannot be run as int8"):
        comparison.onnx_engine.BareEngine.load(fp8[0], "int8", SHAPE)


def test_what_cannot_be_quantised_is_refused(deep, int8, pictures, tmp_path):
    clip = pictures[1]
    with pytest.raises(NetworkUnusable, match="already"):
        quantize.quantize_file(int8[0], tmp_path / "x.onnx", [clip], quantize.QuantizeOptions(shape=SHAPE))
    with pytest.raises(NetworkUnusable, match="no picture"):
        quantize.quantize_file(deep, tmp_path / "x.onnx", [tmp_path], quantize.QuantizeOptions(shape=SHAPE))
    everything = quantize.QuantizeOptions(shape=SHAPE, pictures=2, first=9)
    with pytest.raises(NetworkUnusable, match="would be INT8"):
        quantize.quantize_file(deep, tmp_path / "x.onnx", [clip], everything)
    assert not (tmp_path / "x.onnx").exists()
