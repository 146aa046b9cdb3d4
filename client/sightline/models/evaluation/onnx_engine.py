"""The bare engine: ONNX Runtime on this machine's processor, pictures as a client sends them, no server.

FP16 is emulated. ONNX Runtime's CPU provider runs FP16 convolutions in FP32 and drops most of the casts
between them, so running the FP16 file there shows the rounded weights and hardly any rounded result. Here
the rounding is written into an FP32 graph. Products are summed in FP32, as tensor cores do, and the sum is
rounded once; a sigmoid and a product after it are rounded each by itself, where a plan would fuse them.
"""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from sightline.base.letterbox import letterbox_i420, undo_letterbox
from sightline.entities import Detections
from sightline.errors import EvaluationError, NetworkUnusable
from sightline.models.evaluation.cocoset import SCORE_FLOOR, CocoSet, scaled_i420, to_rows
from sightline.models.export import graphs, halve, network_source
from sightline.serving.runtime import numerics

#: What is run when a precision is asked for, said in every report.
WHAT_IS_RUN = {
    "fp32": "ONNX Runtime, FP32 throughout",
    "fp16": "ONNX Runtime; emulated: FP16 weights, every result of the FP16 part rounded, sums in FP32",
    "int8": "ONNX Runtime; weights and activations rounded to INT8 by the graph (QDQ), sums in FP32",
    "fp8": "ONNX Runtime; weights and activations rounded to FP8 (E4M3) by the graph (QDQ), sums in FP32",
}
#: Operators that compute, and those that only hand values on (Resize by nearest).
COMPUTING = {"Add", "Conv", "ConvTranspose", "Div", "Gemm", "MatMul", "Mul", "Sigmoid", "Softmax", "Sub"}
COPYING = {"Concat", "MaxPool", "Relu", "Reshape", "Resize", "Slice", "Split", "Transpose", "Unsqueeze"}


def open_session(model: bytes) -> onnxruntime.InferenceSession:
    """A serialised network in ONNX Runtime, on the processor."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Waiting threads sleep: spinning is little faster alone, and twice as slow on a busy machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@dataclass(slots=True)
class BareEngine:
    """A network at one precision; keeps how long each picture took."""

    session: onnxruntime.InferenceSession
    network: tuple[int, int]  # height and width of the input
    class_names: tuple[str, ...]  # by class id
    times_ms: list[float] = field(default_factory=list)  # inside the engine, of each picture but the first

    @classmethod
    def load(cls, path: Path, precision: str, shape: tuple[int, int], labels: Path | None = None) -> Self:
        """Read a file as ``fp32``, ``fp16`` (emulated), or as what it is quantised to.

        Raises an EvaluationError when it cannot be run so, a NetworkUnusable when it is no network with a
        known head.
        """
        source = network_source.read_source(path, labels)
        is_now = source.quantisation["precision"] if source.quantisation else "fp32"
        if is_now != ("fp32" if precision == "fp16" else precision):
            raise EvaluationError(
                f"{path.name} is {is_now} and cannot be run as {precision}: "
                "sightline model quantize makes INT8 and FP8 from FP32"
            )
        network, model = network_source.network_shape(source.model, shape), source.model
        if precision == "fp16":
            try:
                model = emulate(halve.halve(model))
            except NetworkUnusable as error:
                raise EvaluationError(f"{path.name} in FP16: {error}") from error
        return cls(open_session(model.SerializeToString()), network, source.class_names)

    def detect(self, sent: numerics.U8, score_floor: float = SCORE_FLOOR) -> Detections:
        """Boxes of one I420 picture [3/2·height, width] that fits the network."""
        padded, box = letterbox_i420(sent, self.network)
        picture = numerics.network_input(padded)[None]
        if not self.times_ms:  # the first run allocates
            self.session.run(None, {"images": picture})
        started = time.perf_counter()
        (heads,) = self.session.run(None, {"images": picture})
        self.times_ms.append((time.perf_counter() - started) * 1000)
        xyxy, scores, class_ids = numerics.boxes_from_head(heads[0], self.network, score_floor)
        return Detections(undo_letterbox(xyxy, box, self.network), scores, class_ids)

    def detect_all(self, data: CocoSet) -> Iterator[list[float]]:
        """Rows of :func:`sightline.models.evaluation.cocoset.to_rows` of every picture."""
        data.check_classes(self.class_names)
        for image, frame in data.frames():
            boxes = self.detect(scaled_i420(frame, self.network))
            yield from to_rows(image, boxes, self.class_names, data.category_ids)


def emulate(model: onnx.ModelProto) -> onnx.ModelProto:
    """An FP32 network that gives what the FP16 network gives when every result is rounded to FP16.

    ``model`` is what :func:`halve.halve` makes. The input is FP32 and rounded first, FP32 weights are FP16
    numbers.

    Raises a NetworkUnusable when an operator in FP16 is neither known to compute nor known to copy.
    """
    half = {name for name, kind in graphs.element_types(model).items() if kind == TensorProto.FLOAT16}
    result = copy.deepcopy(model)
    graph, nodes = result.graph, list[onnx.NodeProto]()

    def round_to_half(name: str, rounded: str) -> None:
        for prefix, come, go, to in (
            ("to", name, f"{rounded}_half", TensorProto.FLOAT16),
            ("of", f"{rounded}_half", rounded, TensorProto.FLOAT),
        ):
            nodes.append(helper.make_node("Cast", [come], [go], name=f"{prefix}_{rounded}_half", to=to))

    given = graph.input[0].name
    round_to_half(given, f"{given}_rounded")
    for node in graph.node:
        node.input[:] = [f"{given}_rounded" if name == given else name for name in node.input]
        halved = half.intersection(node.output)
        if halved and node.op_type == "Cast":  # from FP32, say at the border of what is halved
            round_to_half(node.input[0], node.output[0])
        elif not halved or node.op_type in COPYING:
            nodes.append(node)
        elif node.op_type in COMPUTING:
            (output,) = node.output
            node.output[0] = f"{output}_exact"
            nodes.append(node)
            round_to_half(node.output[0], output)
        else:
            raise NetworkUnusable(f"operator {node.op_type} in FP16: how it rounds is not known here")
    graphs.set_nodes(graph, nodes)
    graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    for weight in graph.initializer:
        if weight.data_type == TensorProto.FLOAT16:
            whole = numpy_helper.to_array(weight).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(whole, weight.name))
    return result
