"""Explicitly quantised networks (QDQ) in the form that each runtime computes rightly."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper


def unsigned_activations(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with activations in UINT8 around 128 instead of INT8 around 0: the same numbers.

    TensorRT takes activations without a zero point, so signed ones. OpenVINO on x86 processors gives wrong
    heads for those (2026.4: no box is left), and the right ones for unsigned activations. Weights stay INT8.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants = {item.name: item for item in graph.initializer}
    moved: set[str] = set()
    for node in graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"} and node.input[0] not in constants:
            moved.add(node.input[2] if len(node.input) > 2 else "")
    for name in moved & set(constants):
        zero = constants[name]
        if zero.data_type == TensorProto.INT8:
            values = numpy_helper.to_array(zero).astype(np.int16) + 128
            zero.CopyFrom(numpy_helper.from_array(values.astype(np.uint8), name))
    del graph.value_info[:]
    return result
