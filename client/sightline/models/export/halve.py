"""An FP32 network into a strongly typed one that computes in FP16 where that is safe.

FP16 is what comes before a weighted layer: the backbone, the neck and the head's convolutions, where nearly
all the time goes. What comes after the last of them (box distribution to pixels, anchors, scores) stays in
FP32, since FP16 resolves only half a pixel at 640. Casts stand at the borders; shapes are never touched.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sightline.errors import NetworkUnusable
from sightline.models.export.onnx_models import copy_of, opset_of, set_nodes

WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
#: These read a tensor's shape or give indices: what follows them is no picture data.
LEAVES_DATA = {"Shape", "Size", "ArgMax", "NonZero"}
#: The operator set from which on QuantizeLinear takes FP16.
FP16_SCALES = 19
#: Inputs (by place) of data operators that stay float32 by the operator's own definition.
KEEP_FLOAT = {"Resize": {1, 2}}


def halve(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with FP16 input and FP32 output.

    Args:
        model: FP32, one input; its nodes in topological order, as ONNX demands.

    Raises:
        NetworkUnusable: a weight does not fit FP16, or nothing in the network can be halved.
    """
    result = copy_of(model)
    graph = result.graph
    _check_scales(result)
    half = _half_nodes(graph)
    if not half:
        raise NetworkUnusable("the network has no weighted layer that could be FP16")
    _Casts(result, half).write()
    graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    return result


def _check_scales(model: onnx.ModelProto) -> None:
    opset = opset_of(model)
    if opset < FP16_SCALES and any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise NetworkUnusable(
            f"INT8 or FP8 beside FP16 needs operator set {FP16_SCALES}, this network has {opset}"
        )


def _half_nodes(graph: onnx.GraphProto) -> set[int]:
    """Indices of the nodes on a way from the input to a weighted layer."""
    data = {graph.input[0].name}
    on_way: set[int] = set()
    for index, node in enumerate(graph.node):
        if node.op_type not in LEAVES_DATA and data.intersection(node.input):
            data.update(node.output)
            on_way.add(index)
    weights = {item.name: item for item in graph.initializer}
    wanted: set[str] = set()
    half: set[int] = set()
    for index in sorted(on_way, reverse=True):
        node = graph.node[index]
        if is_weighted(node, weights) or wanted.intersection(node.output):
            half.add(index)
            wanted.update(name for name in node.input if name in data)
    fed = {name for index in half for name in graph.node[index].input}
    # Quantised weights: their scales become FP16, so that no cast stands between them and their layer.
    quantised = {i for i, node in enumerate(graph.node) if node.op_type == "DequantizeLinear"} - on_way
    return half | {index for index in quantised if fed.intersection(graph.node[index].output)}


def is_weighted(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> bool:
    """Whether the node is a layer with weights; the fixed sum of a box distribution is none."""
    if node.op_type not in WEIGHTED:
        return False
    weight = weights.get(node.input[1])
    # One 1x1 output channel over 16 inputs of fixed integers turns a box distribution into pixels: no layer.
    return weight is None or node.op_type != "Conv" or weight.dims[0] > 1 or weight.dims[1] > 16


class _Casts:
    """Puts casts where FP16 and FP32 meet, and converts weights that only FP16 nodes read."""

    def __init__(self, model: onnx.ModelProto, half: set[int]) -> None:
        self.graph = model.graph
        self.half = half
        self.weights = {item.name: item for item in self.graph.initializer}
        self.floats = _float_tensors(model)
        self.made_by_half = {name for index in half for name in self.graph.node[index].output}
        self.made_by_half.add(self.graph.input[0].name)
        self.nodes: list[onnx.NodeProto] = []
        self.cast: dict[tuple[str, int], str] = {}

    def write(self) -> None:
        outputs = {item.name for item in self.graph.output}
        for index, node in enumerate(self.graph.node):
            if index in self.half:
                self._retype(node)
                if outputs.intersection(node.output):
                    raise NetworkUnusable("the network ends in a weighted layer: its head is not known here")
            for place, name in enumerate(node.input):
                wants_half = index in self.half and place not in KEEP_FLOAT.get(node.op_type, ())
                node.input[place] = self._typed(name, wants_half)
            self.nodes.append(node)
        set_nodes(self.graph, self.nodes)
        used = {name for node in self.nodes for name in node.input}
        kept = [item for item in self.graph.initializer if item.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _typed(self, name: str, wants_half: bool) -> str:
        if name not in self.floats or (name in self.made_by_half) == wants_half:
            return name
        element = TensorProto.FLOAT16 if wants_half else TensorProto.FLOAT
        if (name, element) in self.cast:
            return self.cast[name, element]
        other = self.cast[name, element] = f"{name}_{'fp16' if wants_half else 'fp32'}"
        if name in self.weights:
            self.graph.initializer.append(_half_weight(self.weights[name], other))
        else:
            self.nodes.append(helper.make_node("Cast", [name], [other], name=f"cast_{other}", to=element))
        return other

    def _retype(self, node: onnx.NodeProto) -> None:
        """An operator that names its own output type names FP16 now."""
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16


def _half_weight(weight: onnx.TensorProto, name: str) -> onnx.TensorProto:
    values = numpy_helper.to_array(weight)
    largest = float(np.abs(values).max(initial=0))
    if largest > np.finfo(np.float16).max:
        raise NetworkUnusable(f"weight {weight.name!r} reaches {largest:g}, more than FP16 holds")
    return numpy_helper.from_array(values.astype(np.float16), name)


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    """Names of all float32 tensors, by ONNX' own type inference."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types: dict[str, int] = defaultdict(int)
    for item in [*inferred.input, *inferred.output, *inferred.value_info]:
        types[item.name] = item.type.tensor_type.elem_type
    types |= {item.name: item.data_type for item in inferred.initializer}
    return {name for name, element in types.items() if element == TensorProto.FLOAT}
