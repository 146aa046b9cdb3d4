"""An ONNX file as a network that can be served: its input, head and class names, or why it cannot.

Which detection head it has is told by its outputs' shapes alone; what is not known is refused.
"""

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto

from sightline.base.geometry import MULTIPLE, shape_for_aspect
from sightline.errors import NetworkUnusable
from sightline.models.export import halve
from sightline.models.export.graphs import NetworkSpec
from sightline.serving.runtime.numerics import END_TO_END_COLUMNS

#: Precisions of quantised networks, and the largest number of each: what the end of a tensor's range becomes.
MAX_NUMBER = {"int8": 127.0, "fp8": 448.0}
QUANTISED = tuple(MAX_NUMBER)
FP8 = TensorProto.FLOAT8E4M3FN
#: Where ``quantize`` leaves in a file what it has done.
QUANTISATION = "sightline.quantisation"
MAX_SIDE = 4096
PROBE = (128, 160)  # a small input whose anchors (420) are no other number that a head has
STRIDES = (8, 16, 32)
MASK_COEFFICIENTS = 32
HEADS = {False: "anchors", True: "end2end"}  # the ``head`` parameter of the model's configuration


@dataclass(frozen=True, slots=True)
class NetworkSource:
    """A network read from a file, and what came with it."""

    model: onnx.ModelProto  # batch, height and width dynamic; input `images`, output `output0`
    class_names: tuple[str, ...]
    end_to_end: bool  # its head
    boxes: int  # of an end-to-end head
    licence: str
    quantisation: dict[str, Any] | None  # how it became INT8 or FP8; None: it is in floating point

    def spec(self, shape: tuple[int, int] | None, precision: str) -> NetworkSpec:
        """The network as it is served at a height and width that :func:`network_shape` finds."""
        height, width = network_shape(self.model, shape)
        rows, columns = 4 + len(self.class_names), anchor_count(height, width)
        if self.end_to_end:
            rows, columns = self.boxes, END_TO_END_COLUMNS
        return NetworkSpec(height, width, self.end_to_end, rows, columns, precision)


def read_source(path: Path, labels: Path | None) -> NetworkSource:
    """Read an ONNX file, make its batch and sides dynamic by name, and tell its head.

    Raises a NetworkUnusable when it cannot be served.
    """
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except OSError as error:
        raise NetworkUnusable(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # onnx raises protobuf's own errors
        raise NetworkUnusable(f"{path.name} is no ONNX network: {error}") from error
    model = halve.unpack(model)
    metadata = {item.key: item.value for item in model.metadata_props}
    _check_input(model)
    names = _read_labels(labels) if labels else _names_of(metadata)
    for name in names:
        if names.count(name) > 1:
            raise NetworkUnusable(f"two classes are called {name!r}: counts would mix them; give --labels")
        if len(name) > 100 or not name.isprintable():
            raise NetworkUnusable(f"class name {name[:100]!r} must be printable and at most 100 characters")
    if not names:
        raise NetworkUnusable(f"{path.name} brings no class names: give them by --labels FILE, one a line")
    size = fixed_size(model) or PROBE
    try:
        outputs = run_once(model, size)
        end_to_end = tell_head(outputs, len(names), size)
    except NetworkUnusable as error:
        raise NetworkUnusable(f"{path.name}: {error}") from error
    except Exception as error:  # onnxruntime raises errors of its own
        raise NetworkUnusable(f"{path.name} cannot be run at {size[0]}x{size[1]}: {error}") from error
    _rename(model)
    licence = metadata.get("license", "unknown: ask whoever made the weights")
    quantisation = None
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):  # QDQ; by the type of its numbers
        is_fp8 = any(item.data_type == FP8 for item in model.graph.initializer)
        try:
            known = dict(json.loads(metadata.get(QUANTISATION, '{"by": "unknown"}')))
        except (TypeError, ValueError) as error:
            raise NetworkUnusable(f"metadata {QUANTISATION!r} cannot be read: {error}") from error
        quantisation = known | {"precision": "fp8" if is_fp8 else "int8"}
    return NetworkSource(model, tuple(names), end_to_end, outputs[0][1][1], licence, quantisation)


def _read_labels(path: Path) -> list[str]:
    """Class names, one a line."""
    try:
        return list(filter(None, map(str.strip, path.read_text(encoding="utf-8-sig").splitlines())))
    except UnicodeDecodeError as error:
        raise NetworkUnusable(f"{path} is not UTF-8 at byte {error.start}: save it as such") from error


def _names_of(metadata: dict[str, str]) -> list[str]:
    """Class names that a checkpoint's exporter left in the ONNX metadata (``{0: 'person', …}`` or a list)."""
    try:
        names = ast.literal_eval(metadata.get("names", "()"))
        return [str(names[key]) for key in sorted(names)] if isinstance(names, dict) else [*map(str, names)]
    except (SyntaxError, ValueError, TypeError) as error:
        raise NetworkUnusable(f"metadata's class names cannot be read ({error}): give --labels") from error


def _check_input(model: onnx.ModelProto) -> None:
    inputs = model.graph.input
    dims = [item.dim_value for item in inputs[0].type.tensor_type.shape.dim] if len(inputs) == 1 else []
    element = inputs[0].type.tensor_type.elem_type if len(inputs) == 1 else 0
    if len(dims) != 4 or dims[1] not in {0, 3} or element != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(element)
        raise NetworkUnusable(
            f"one float32 input [batch, 3, height, width] is needed, found {len(inputs)}, {kind} {dims}"
        )
    if dims[0]:
        raise NetworkUnusable(
            f"its batch is fixed at {dims[0]}, which cannot be undone here: export it with a dynamic batch "
            "(Ultralytics: dynamic=True), or give the .pt"
        )
    if bool(dims[2]) != bool(dims[3]):
        raise NetworkUnusable(f"height and width must both be fixed or both dynamic, found {dims[2:]}")


def fixed_size(model: onnx.ModelProto) -> tuple[int, int] | None:
    """Height and width when the file fixes them, else None."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    return (dims[2].dim_value, dims[3].dim_value) if dims[2].dim_value else None


def network_shape(model: onnx.ModelProto, wanted: tuple[int, int] | None) -> tuple[int, int]:
    """The height and width to serve: what was asked for, what the file fixes, else 384x640 for 16:9.

    Raises a NetworkUnusable when they disagree, or are not multiples of 32.
    """
    fixed = fixed_size(model)
    if fixed and wanted and fixed != wanted:
        raise NetworkUnusable(f"it is fixed at {fixed[0]}x{fixed[1]}: leave the shape out, or give the .pt")
    height, width = wanted or fixed or shape_for_aspect(16, 9)
    if any(side % MULTIPLE or not MULTIPLE <= side <= MAX_SIDE for side in (height, width)):
        raise NetworkUnusable(
            f"network shape {height}x{width}: both must be multiples of {MULTIPLE}, up to {MAX_SIDE}"
        )
    return height, width


def run_once(model: onnx.ModelProto, size: tuple[int, int]) -> list[tuple[str, tuple[int, ...]]]:
    """Name and shape of each output for one black picture: the shapes that count are those at run time."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    results = session.run(None, {model.graph.input[0].name: np.zeros((1, 3, *size), np.float32)})
    outputs = zip(model.graph.output, results, strict=True)
    return [(item.name, tuple(result.shape)) for item, result in outputs]


def _rename(model: onnx.ModelProto) -> None:
    """Input ``images`` and output ``output0``, whatever they were called."""
    for value, wanted in ((model.graph.input[0], "images"), (model.graph.output[0], "output0")):
        for ends in (field for node in model.graph.node for field in (node.input, node.output)):
            ends[:] = [wanted if name == value.name else name for name in ends]
        value.name = wanted


def anchor_count(height: int, width: int) -> int:
    """Anchors of the three usual scales: one for each cell of 8, 16 and 32 pixels."""
    return sum((height // stride) * (width // stride) for stride in STRIDES)


def tell_head(outputs: Sequence[tuple[str, tuple[int, ...]]], classes: int, size: tuple[int, int]) -> bool:
    """Whether the head of a network that was run once is an end-to-end one; else it is a raw one.

    ``outputs`` are name and shape of each for a batch of one and a picture of this height and width.

    Raises a NetworkUnusable when no known head has these shapes.
    """
    found = ", ".join(f"{name} {list(shape)}" for name, shape in outputs)
    found = f"found {found} for an input of {size[0]}x{size[1]} and {classes} class names"
    shape, anchors = outputs[0][1], anchor_count(*size)
    if len(outputs) > 1 or len(shape) != 3 or shape[0] != 1:
        what = "a detection head gives [1, rows, columns]"
        if len(outputs) > 1:
            masks = {(1, 4 + classes + MASK_COEFFICIENTS), (2, END_TO_END_COLUMNS + MASK_COEFFICIENTS)}
            segments = len(shape) == 3 and masks.intersection(enumerate(shape))
            several = "a segmentation head (boxes with mask coefficients, and mask prototypes)"
            what = several if segments else "outputs"
            what = f"one output of boxes is needed, this network gives several: {what}"
        elif len(shape) == 2 and shape[1] == classes:
            what = "this is a classification head: it gives one score per class and no boxes"
        raise NetworkUnusable(f"{what}; {found}")
    _, first, last = shape
    raw = first == 4 + classes and last == anchors
    rows = last == END_TO_END_COLUMNS and first not in {anchors, 3 * anchors}
    if raw and rows:  # only when the anchors of a tiny input happen to be six
        raise NetworkUnusable(f"ambiguous: both a raw head and an end-to-end head have this shape; {found}")
    if not raw and not rows:
        raise NetworkUnusable(f"{_other_boxes(first, last, classes, anchors)}; {found}")
    return rows


def _other_boxes(first: int, last: int, classes: int, anchors: int) -> str:
    """What rows and columns of another head are."""
    extra = first - 4 - classes
    if last == 5 + classes and first in {anchors, 3 * anchors}:
        return "this is a YOLOv5-style head (5 + classes columns with objectness), not supported"
    if last == anchors and extra > 0:
        kinds = {1: "an oriented-box head", MASK_COEFFICIENTS: "a segmentation head"}
        kind = kinds.get(extra, "a pose head or another one")
        return f"{extra} rows more than 4 + classes: {kind}, or class names are missing (give --labels)"
    if last == anchors:
        return f"{first} rows are {max(first - 4, 0)} classes: give as many class names by --labels"
    if END_TO_END_COLUMNS < last < anchors:
        return f"rows of {last} numbers: a head that gives more than boxes (pose, masks, angles)"
    return f"neither [1, 4 + classes, anchors = {anchors}] nor [1, boxes, 6]"
