"""An FP32 network into a strongly typed one that computes in FP16 where that is safe.

FP16 is what comes before a weighted layer: the backbone, the neck and the head's convolutions, where nearly
all the time goes. What comes after the last of them (box distribution to pixels, anchors, scores) stays in
FP32, since FP16 resolves only half a pixel at 640. Casts stand at the borders; shapes are never touched.

A network may also be packed: it computes in FP32, its large weights are FP16 with a Cast behind each,
half the size of the file. Export unpacks it, since TensorRT wants weights, not Casts of weights.
"""

import copy

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sightline.errors import NetworkUnusable
from sightline.models.export.graphs import element_types, opset_of, refill, set_nodes

WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
#: These read a tensor's shape or give indices: what follows them is no picture data.
LEAVES_DATA = {"Shape", "Size", "ArgMax", "NonZero"}
#: The operator set from which on QuantizeLinear takes FP16.
FP16_SCALES = 19
#: Inputs (by place) of data operators that stay float32 by the operator's own definition.
KEEP_FLOAT = {"Resize": {1, 2}}
MIN_NUMBERS = 64  # of a weight that is packed; what has fewer (biases, constants) stays FP32


def halve(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with FP16 input and FP32 output.

    The given one is FP32, has one input, and its nodes are in topological order, as ONNX demands.

    Raises a NetworkUnusable when a weight does not fit FP16, or nothing in the network can be halved.
    """
    opset = opset_of(model)
    if opset < FP16_SCALES and any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise NetworkUnusable(f"INT8 or FP8 beside FP16 needs operator set {FP16_SCALES}, this has {opset}")
    half = _half_nodes(model.graph)
    if not half:
        raise NetworkUnusable("the network has no weighted layer that could be FP16")
    result = copy.deepcopy(model)
    _put_casts(result, half)
    result.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    return result


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


def _put_casts(model: onnx.ModelProto, half: set[int]) -> None:
    """Put casts where FP16 and FP32 meet, and convert weights that only FP16 nodes read."""
    graph, types = model.graph, element_types(model)
    nodes, names = list[onnx.NodeProto](), dict[tuple[str, bool], str]()
    weights = {item.name: item for item in graph.initializer}
    made_by_half = {name for index in half for name in graph.node[index].output} | {graph.input[0].name}
    if made_by_half.intersection(item.name for item in graph.output):
        raise NetworkUnusable("the network ends in a weighted layer: its head is not known here")

    def typed(name: str, wants_half: bool) -> str:
        if types.get(name) != TensorProto.FLOAT or (name in made_by_half) == wants_half:
            return name
        if (name, wants_half) not in names:
            names[name, wants_half] = other = f"{name}_{'fp16' if wants_half else 'fp32'}"
            if name in weights:
                graph.initializer.append(_half_weight(weights[name], other))
            else:
                to = TensorProto.FLOAT16 if wants_half else TensorProto.FLOAT
                nodes.append(helper.make_node("Cast", [name], [other], name=f"cast_{other}", to=to))
        return names[name, wants_half]

    for index, node in enumerate(graph.node):
        for attribute in node.attribute if index in half and node.op_type == "Cast" else ():
            if attribute.name == "to" and attribute.i == TensorProto.FLOAT:  # it names its own output's type
                attribute.i = TensorProto.FLOAT16
        for place, name in enumerate(node.input):
            node.input[place] = typed(name, index in half and place not in KEEP_FLOAT.get(node.op_type, ()))
        nodes.append(node)
    set_nodes(graph, nodes)
    used = {name for node in graph.node for name in node.input}
    refill(graph.initializer, [item for item in graph.initializer if item.name in used])


def _half_weight(weight: onnx.TensorProto, name: str) -> onnx.TensorProto:
    """A weight in FP16, under another name."""
    values = numpy_helper.to_array(weight)
    largest = float(np.abs(values).max(initial=0))
    if largest > float(np.finfo(np.float16).max):
        raise NetworkUnusable(f"weight {weight.name!r} reaches {largest:g}, more than FP16 holds")
    return numpy_helper.from_array(values.astype(np.float16), name)


def pack(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network with its weights as FP16, or a NetworkUnusable when a weight exceeds what FP16 holds."""
    result, casts = copy.deepcopy(model), []
    for item in result.graph.initializer:
        if item.data_type == TensorProto.FLOAT and np.prod(item.dims) >= MIN_NUMBERS:
            name = item.name
            item.CopyFrom(_half_weight(item, f"{name}_fp16"))
            node = helper.make_node("Cast", [item.name], [name], name=f"unpack_{name}", to=TensorProto.FLOAT)
            casts.append(node)
    set_nodes(result.graph, [*casts, *result.graph.node])
    return result


def unpack(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network with FP32 weights; one without packed weights comes back as it is."""
    result = copy.deepcopy(model)
    weights = {item.name: item for item in result.graph.initializer}
    readers = [name for node in result.graph.node for name in node.input]
    kept = []
    for node in result.graph.node:
        weight = weights.get(node.input[0]) if node.op_type == "Cast" else None
        to_float = any(a.name == "to" and a.i == TensorProto.FLOAT for a in node.attribute)
        if weight is None or weight.data_type != TensorProto.FLOAT16 or not to_float:
            kept.append(node)
            continue
        values = numpy_helper.to_array(weight).astype(np.float32)
        result.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        if readers.count(weight.name) == 1:
            result.graph.initializer.remove(weight)
    set_nodes(result.graph, kept)
    return result
