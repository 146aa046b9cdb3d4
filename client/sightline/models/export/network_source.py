"""An ONNX file as a network that can be served: its input, head and class names, or why it cannot."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from sightline.errors import NetworkUnusable
from sightline.models.export import heads, packed, qdq
from sightline.models.export.graphs import NetworkSpec
from sightline.models.export.input_shapes import MULTIPLE, shape_for_aspect

#: Where ``quantize`` leaves in a file what it has done.
QUANTISATION = "sightline.quantisation"
MAX_SIDE = 4096
PROBE = (128, 160)  # a small input whose anchors (420) are no other number that a head has


@dataclass(frozen=True, slots=True)
class NetworkSource:
    """A network read from a file, and what came with it."""

    model: onnx.ModelProto  # batch, height and width dynamic; input `images`, output `output0`
    class_names: tuple[str, ...]
    head: heads.DetectionHead
    boxes: int  # of an end-to-end head
    licence: str
    quantisation: dict[str, Any] | None  # how it became INT8 or FP8; None: it is in floating point

    def spec(self, shape: tuple[int, int] | None, precision: str) -> NetworkSpec:
        """The network as it is served at a height and width; None: what the file fixes, else 384x640.

        Raises:
            NetworkUnusable: see :func:`network_shape`.
        """
        height, width = network_shape(self.model, shape)
        rows, columns = self.head.shape(height, width, self.boxes)
        return NetworkSpec(height, width, self.head.end_to_end, rows, columns, precision)


def read_source(path: Path, labels: Path | None) -> NetworkSource:
    """Read an ONNX file, make its batch and sides dynamic by name, and tell its head.

    Raises:
        NetworkUnusable: it cannot be served.
    """
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:  # onnx raises protobuf's own errors
        raise NetworkUnusable(f"{path.name} is no ONNX network: {error}") from error
    model = packed.unpack(model)
    metadata = {item.key: item.value for item in model.metadata_props}
    _check_input(model)
    names = read_labels(labels) if labels else names_of(metadata)
    if not names:
        raise NetworkUnusable(
            f"{path.name} brings no class names: give them by --labels FILE, one name a line"
        )
    size = fixed_size(model) or PROBE
    outputs = run_once(model, size)
    try:
        head = heads.tell_head(outputs, len(names), size)
    except NetworkUnusable as error:
        raise NetworkUnusable(f"{path.name}: {error}") from error
    _rename(model)
    licence = metadata.get("license", "unknown: ask whoever made the weights")
    return NetworkSource(model, names, head, outputs[0][1][1], licence, quantisation_of(model))


def quantisation_of(model: onnx.ModelProto) -> dict[str, Any] | None:
    """What ``quantize`` says of a network (QDQ), or ``"by": "unknown"``; and its precision."""
    precision = qdq.precision_of(model)
    if precision is None:
        return None
    found = {item.key: item.value for item in model.metadata_props}.get(QUANTISATION)
    return (dict(json.loads(found)) if found else {"by": "unknown"}) | {"precision": precision}


def names_of(metadata: dict[str, str]) -> tuple[str, ...]:
    """Class names that a checkpoint's exporter left in the ONNX metadata (``{0: 'person', …}`` or a list)."""
    try:
        names = ast.literal_eval(metadata.get("names", "()"))
        ordered = [names[key] for key in sorted(names)] if isinstance(names, dict) else list(names)
    except (SyntaxError, ValueError, TypeError) as error:
        raise NetworkUnusable(
            f"the metadata's class names cannot be read ({error}): give --labels"
        ) from error
    return _checked_names([str(name) for name in ordered])


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names from a text file, one a line, in the order of the network's classes."""
    return _checked_names([line.strip() for line in path.read_text().splitlines() if line.strip()])


def _checked_names(names: list[str]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise NetworkUnusable(f"two classes are called {name!r}: counts would mix them; give --labels")
        if len(name) > 100 or not name.isprintable():
            raise NetworkUnusable(
                f"class name {name[:100]!r} must be printable and at most 100 characters long"
            )
    return tuple(names)


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

    Raises:
        NetworkUnusable: they disagree, or are not multiples of 32.
    """
    fixed = fixed_size(model)
    if fixed and wanted and fixed != wanted:
        raise NetworkUnusable(
            f"the file is fixed at {fixed[0]}x{fixed[1]}: leave the shape out, or give the .pt"
        )
    height, width = wanted or fixed or shape_for_aspect(16, 9)
    if (
        height % MULTIPLE
        or width % MULTIPLE
        or min(height, width) < MULTIPLE
        or max(height, width) > MAX_SIDE
    ):
        raise NetworkUnusable(
            f"network shape {height}x{width}: both must be multiples of {MULTIPLE}, up to {MAX_SIDE}"
        )
    return height, width


def run_once(model: onnx.ModelProto, size: tuple[int, int]) -> list[tuple[str, tuple[int, ...]]]:
    """Name and shape of each output for one black picture: the shapes that count are those at run time."""
    name = model.graph.input[0].name
    picture = np.zeros((1, 3, *size), np.float32)
    names = [item.name for item in model.graph.output]
    try:
        import onnxruntime
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        results = ReferenceEvaluator(model).run(None, {name: picture})
    else:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        results = session.run(None, {name: picture})
    return [(each, tuple(result.shape)) for each, result in zip(names, results, strict=True)]


def _rename(model: onnx.ModelProto) -> None:
    """Input ``images`` and output ``output0``, whatever they were called."""
    graph = model.graph
    for value, wanted in ((graph.input[0], "images"), (graph.output[0], "output0")):
        old = value.name
        for node in graph.node if old != wanted else ():
            node.input[:] = [wanted if name == old else name for name in node.input]
            node.output[:] = [wanted if name == old else name for name in node.output]
        value.name = wanted
