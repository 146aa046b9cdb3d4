"""FP16 arithmetic on a machine that has none: the FP16 network with every result rounded to FP16.

ONNX Runtime's CPU provider runs FP16 convolutions in FP32 and drops most of the casts between them, so
running the FP16 file there shows the rounded weights and hardly any rounded result. Here the rounding is
written into an FP32 graph. Products are summed in FP32, as tensor cores do, and the sum is rounded once; a
sigmoid and a product after it are rounded each by itself, where a plan would fuse them.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sightline.errors import NetworkUnusable
from sightline.models.export.onnx_models import copy_of, set_nodes

#: Operators that compute; the others (Concat, Split, MaxPool, Resize by nearest, …) only hand values on.
COMPUTING = {"Add", "Conv", "ConvTranspose", "Div", "Gemm", "MatMul", "Mul", "Sigmoid", "Softmax", "Sub"}
COPYING = {"Cast", "Concat", "MaxPool", "Reshape", "Resize", "Slice", "Split", "Transpose", "Unsqueeze"}


def emulate(model: onnx.ModelProto) -> onnx.ModelProto:
    """An FP32 network that gives what the FP16 network gives when every result is rounded to FP16.

    Args:
        model: what :func:`halve.halve` makes: FP16 input, FP32 output.

    Returns:
        The same network with an FP32 input (rounded first) and FP32 weights that are FP16 numbers.

    Raises:
        NetworkUnusable: an operator in FP16 is neither known to compute nor known to copy.
    """
    result = copy_of(model)
    half = _half_tensors(result)
    graph = result.graph
    nodes: list[onnx.NodeProto] = []
    given = graph.input[0].name
    rounded_input = f"{given}_rounded"
    _round(nodes, given, rounded_input)
    for node in graph.node:
        node.input[:] = [rounded_input if name == given else name for name in node.input]
        _add(nodes, node, half)
    set_nodes(graph, nodes)
    graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    for weight in graph.initializer:
        if weight.data_type == TensorProto.FLOAT16:
            values = numpy_helper.to_array(weight).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    return result


def _half_tensors(model: onnx.ModelProto) -> set[str]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    found = [*graph.input, *graph.output, *graph.value_info]
    return {item.name for item in found if item.type.tensor_type.elem_type == TensorProto.FLOAT16}


def _add(nodes: list[onnx.NodeProto], node: onnx.NodeProto, half: set[str]) -> None:
    """The node itself, and the rounding of what it gives."""
    outputs = half.intersection(node.output)
    if not outputs or (node.op_type in COPYING and node.op_type != "Cast"):
        nodes.append(node)
    elif node.op_type == "Cast":  # from FP32, say at the border of what is halved: it is the rounding
        _round(nodes, node.input[0], node.output[0])
    elif node.op_type in COMPUTING:
        (output,) = node.output
        node.output[0] = f"{output}_exact"
        nodes.append(node)
        _round(nodes, node.output[0], output)
    else:
        raise NetworkUnusable(f"operator {node.op_type} in FP16: how it rounds is not known here")


def _round(nodes: list[onnx.NodeProto], name: str, rounded: str) -> None:
    half = f"{rounded}_half"
    nodes.append(helper.make_node("Cast", [name], [half], name=f"to_{half}", to=TensorProto.FLOAT16))
    nodes.append(helper.make_node("Cast", [half], [rounded], name=f"of_{half}", to=TensorProto.FLOAT))
