"""An FP32 network into an INT8 or FP8 one, by calibration pictures.

ONNX Runtime's static quantisation writes QuantizeLinear and DequantizeLinear into the graph (QDQ): the same
file runs in ONNX Runtime, in OpenVINO and, as explicit quantisation, in TensorRT. Convolutions take INT8, or
FP8 (E4M3) in the same places with the same ranges (symmetric; weights by channel); what lies between them
stays in floating point, and so do the first and last layers that --first and --last name. Pictures go the way
of a camera's frame: decoded by PyAV, scaled to fit, I420, letterboxed.
"""

import contextlib
import copy
import hashlib
import json
import logging
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper, version_converter

from sightline.base.letterbox import letterbox_i420
from sightline.entities import Frame
from sightline.errors import EvaluationError, NetworkUnusable
from sightline.models.evaluation.cocoset import frames_of, scaled_i420
from sightline.models.export import graphs, halve, network_source
from sightline.models.export.network_source import FP8, MAX_NUMBER
from sightline.models.registry.repository import sha256
from sightline.serving.runtime import numerics

PICTURE_KINDS = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
MIN_SCALE = 6.3e-5  # of a tensor: a normal FP16 number
#: TensorRT's FP8 convolutions want so many channels on both sides, and no larger kernels (in weights).
FP8_CHANNELS, FP8_KERNEL = 16, 32


@dataclass(frozen=True, slots=True)
class QuantizeOptions:
    """How to quantise."""

    shape: tuple[int, int] = (384, 640)  # height and width at which activations are looked at
    pictures: int = 64  # how many are taken, evenly from all that are given
    first: int = 0  # so many layers from the input, and up to the output (``last``), stay in floating point
    last: int = 0
    precision: str = "int8"  # of :data:`network_source.QUANTISED`


def quantize_file(
    source: Path, target: Path, given: Sequence[Path], options: QuantizeOptions
) -> dict[str, Any]:
    """Write the quantised network; gives what was done, which is in the file's metadata, too.

    Raises a NetworkUnusable when there are no pictures, nothing to quantise, or no network with a known head.
    """
    read = network_source.read_source(source, None)
    if read.quantisation:
        raise NetworkUnusable(f"{source.name} is quantised already")
    network = network_source.network_shape(read.model, options.shape)
    pictures = [letterbox_i420(sent, network)[0] for sent in pictures_of(given, network, options)]
    if not pictures:
        raise NetworkUnusable("no picture or video is among what --calibrate names")
    model, kept = _quantized(read.model, pictures, options)
    done = {
        "by": f"ONNX Runtime {onnxruntime.__version__}, static QDQ",
        "source_sha256": sha256(source),
        "calibration_sha256": hashlib.sha256(b"".join(picture.tobytes() for picture in pictures)).hexdigest(),
        "calibration_sets": [path.name for path in given],
        **asdict(replace(options, shape=network, pictures=len(pictures))),
        "kept_in_floating_point": kept,
    }
    known = {item.key: item.value for item in read.model.metadata_props}
    helper.set_model_props(model, known | {network_source.QUANTISATION: json.dumps(done)})
    target.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, target)
    return done


def pictures_of(
    given: Sequence[Path], network: tuple[int, int], options: QuantizeOptions
) -> Iterator[numerics.U8]:
    """I420 pictures of files and folders as a client would send them, evenly from all."""
    files = [file for path in given for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    stills = [path for path in files if path.suffix.lower() in PICTURE_KINDS]
    videos = [path for path in given if path.is_file() and path not in stills]
    share = options.pictures // max(len(videos) + bool(stills), 1)
    places = np.linspace(0, len(stills) - 1, min(share, len(stills))).astype(int)
    for path, most in [*((stills[place], 1) for place in places), *((path, share) for path in videos)]:
        yield from (scaled_i420(frame, network) for frame in _evenly(path, most))


def _evenly(path: Path, most: int) -> Iterator[Frame]:
    """Up to so many frames, evenly over the file."""
    try:
        with av.open(str(path)) as container:
            count = container.streams.video[0].frames or most
    except (av.FFmpegError, IndexError) as error:
        raise EvaluationError(f"{path.name} cannot be read: {error}") from error
    wanted = set(np.linspace(0, count - 1, min(most, count)).astype(int).tolist())
    return (frame for frame in frames_of(path) if frame.index in wanted)


def _quantized(
    model: onnx.ModelProto, pictures: Sequence[numerics.U8], options: QuantizeOptions
) -> tuple[onnx.ModelProto, int]:
    """The QDQ network, and how many of its convolutions are not quantised."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.quant_utils import TENSOR_NAME_QUANT_SUFFIX
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="sightline-quantize-") as folder, contextlib.ExitStack() as quiet:
        # The library prints and warns about what is done on purpose here.
        quiet.callback(logging.disable, logging.root.manager.disable)
        quiet.enter_context(contextlib.redirect_stdout(sys.stderr))
        logging.disable(logging.WARNING)
        given, plain, made = (str(Path(folder) / f"{name}.onnx") for name in ("given", "plain", "int8"))
        onnx.save(model, given)
        quant_pre_process(given, plain, skip_symbolic_shape=True)
        prepared = onnx.load(plain)
        kept = _kept(prepared.graph, options)
        layers = [node.name for node in prepared.graph.node if node.op_type == "Conv"]
        if len(kept) == len(layers):
            raise NetworkUnusable(
                f"none of its {len(layers)} convolutions would be {options.precision.upper()}: "
                "lower --first and --last"
            )
        left = ({"images": numerics.network_input(picture)[None]} for picture in pictures)
        quantize_static(
            plain,
            made,
            SimpleNamespace(get_next=lambda: next(left, None)),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=sorted(kept),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": True,  # TensorRT has no zero points
                "WeightSymmetric": True,
                "QuantizeBias": False,  # TensorRT takes biases in floating point
                "OpTypesToExcludeOutputQuantization": ["Conv"],  # a sigmoid wants the exact sum
                "MinimumRealRange": 2 * MAX_NUMBER[options.precision] * MIN_SCALE,
                # INT8: the mean of the pictures' ranges, since that of the oddest one makes the steps wide.
                # FP8's steps grow with the number: there only what is cut off costs.
                "CalibMovingAverage": options.precision == "int8",
            },
        )
        quantised = onnx.load(made)
    used = {node.domain for node in quantised.graph.node}
    graphs.refill(quantised.opset_import, [item for item in quantised.opset_import if item.domain in used])
    if graphs.opset_of(quantised) < halve.FP16_SCALES:
        quantised = version_converter.convert_version(quantised, halve.FP16_SCALES)
    if options.precision == "fp8":
        weights = {item.name + TENSOR_NAME_QUANT_SUFFIX: item for item in prepared.graph.initializer}
        quantised = _float8(quantised, weights)
    return quantised, len(kept)


def _float8(model: onnx.ModelProto, weights: Mapping[str, onnx.TensorProto]) -> onnx.ModelProto:
    """A symmetric INT8 network as FP8 (E4M3): the same places, ranges and scales' axes, other numbers.

    Its operator set is 19 or newer; ``weights`` are its FP32 weights, by the name of their quantised form.
    Biases are not quantised.
    """
    result = copy.deepcopy(model)
    constants = {item.name: item for item in result.graph.initializer}
    numbers, limit = helper.tensor_dtype_to_np_dtype(FP8), MAX_NUMBER["fp8"]
    nodes = [node for node in result.graph.node if node.op_type in {"QuantizeLinear", "DequantizeLinear"}]
    for name in {node.input[1] for node in nodes}:
        scale = numpy_helper.to_array(constants[name]) * np.float32(MAX_NUMBER["int8"] / limit)
        constants[name].CopyFrom(numpy_helper.from_array(scale, name))
    for name in {node.input[2] for node in nodes}:
        zero = np.zeros(tuple(constants[name].dims), numbers)
        constants[name].CopyFrom(numpy_helper.from_array(zero, name))
    for name, by in {(node.input[0], node.input[1]) for node in nodes if node.input[0] in constants}:
        values = numpy_helper.to_array(weights[name])
        scale = numpy_helper.to_array(constants[by]).reshape(-1, *[1] * (values.ndim - 1))
        # NumPy makes NaN of what is beyond the limit, QuantizeLinear does not.
        rounded = np.clip(values / scale, -limit, limit).astype(numbers)
        constants[name].CopyFrom(numpy_helper.from_array(rounded, name))
    del result.graph.value_info[:]
    return result


def _kept(graph: onnx.GraphProto, options: QuantizeOptions) -> set[str]:
    """Names of the convolutions that stay in floating point."""
    weights, nodes = {item.name: item for item in graph.initializer}, list(graph.node)

    def fits_fp8(name: str) -> bool:
        """Whether TensorRT has FP8 convolutions with weights of this shape."""
        outputs, inputs, *kernel = weights[name].dims if name in weights else (0, 0)
        enough = min(outputs, inputs) >= FP8_CHANNELS and outputs % FP8_CHANNELS == inputs % FP8_CHANNELS
        return bool(enough and math.prod(kernel) <= FP8_KERNEL)

    from_input = _layers_passed(nodes, weights, {graph.input[0].name}, forward=True)
    to_output = _layers_passed(nodes, weights, {item.name for item in graph.output}, forward=False)
    return {
        node.name
        for index, node in enumerate(nodes)
        if node.op_type == "Conv"
        and (
            not halve.is_weighted(node, weights)
            or (options.precision == "fp8" and not fits_fp8(node.input[1]))
            or from_input.get(index, 0) <= options.first
            or to_output.get(index, 0) <= options.last
        )
    }


def _layers_passed(
    nodes: Sequence[onnx.NodeProto], weights: dict[str, onnx.TensorProto], ends: set[str], *, forward: bool
) -> dict[int, int]:
    """For each node, the fewest weighted layers from an end of the network to it, itself included."""
    least = dict.fromkeys(ends, 0)
    passed = {}
    for index in range(len(nodes)) if forward else range(len(nodes) - 1, -1, -1):
        node = nodes[index]
        comes, goes = (node.input, node.output) if forward else (node.output, node.input)
        reached = [least[name] for name in comes if name in least]
        if reached and node.op_type not in halve.LEAVES_DATA:
            passed[index] = min(reached) + halve.is_weighted(node, weights)
            for name in goes:
                least[name] = min(passed[index], least.get(name, passed[index]))
    return passed
