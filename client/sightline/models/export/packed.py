"""FP16 weights in an FP32 network: half the size of the file, the same arithmetic.

``pack`` stores each large weight as FP16 with a Cast behind it, ``unpack`` puts FP32 weights back: export
does that, since TensorRT wants weights, not Casts of weights.
"""

from __future__ import annotations

import copy

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sightline.models.export.graphs import set_nodes
from sightline.models.export.halve import half_weight

MIN_NUMBERS = 64  # of a weight; what has fewer (biases, constants) stays FP32


def pack(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network with its weights as FP16, or a NetworkUnusable when a weight exceeds what FP16 holds."""
    result, casts = copy.deepcopy(model), []
    for item in result.graph.initializer:
        if item.data_type == TensorProto.FLOAT and np.prod(item.dims) >= MIN_NUMBERS:
            name = item.name
            item.CopyFrom(half_weight(item, f"{name}_fp16"))
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
