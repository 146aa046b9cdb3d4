"""Explicitly quantised networks (QDQ) in the form that each runtime computes rightly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sightline.models.export.onnx_models import copy_of

FP8 = TensorProto.FLOAT8E4M3FN
#: The largest number of each precision: what the end of a tensor's range becomes.
MAX_NUMBER = {"int8": 127.0, "fp8": 448.0}
PRECISIONS = tuple(MAX_NUMBER)
KINDS = {"QuantizeLinear", "DequantizeLinear"}


def precision_of(model: onnx.ModelProto) -> str | None:
    """``int8`` or ``fp8``, by the type that the graph quantises to; None: it is in floating point."""
    if not any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return None
    return "fp8" if any(item.data_type == FP8 for item in model.graph.initializer) else "int8"


def float8(model: onnx.ModelProto, weights: Mapping[str, onnx.TensorProto]) -> onnx.ModelProto:
    """A symmetric INT8 network as FP8 (E4M3): the same places, ranges and scales' axes, other numbers.

    Args:
        model: operator set 19 or newer; weights are quantised, biases are not.
        weights: FP32 weights, by the name of their quantised form.
    """
    result = copy_of(model)
    graph = result.graph
    constants = {item.name: item for item in graph.initializer}
    numbers = helper.tensor_dtype_to_np_dtype(FP8)
    nodes = [node for node in graph.node if node.op_type in KINDS]
    for name in {node.input[1] for node in nodes}:
        scale = numpy_helper.to_array(constants[name]) * np.float32(MAX_NUMBER["int8"] / MAX_NUMBER["fp8"])
        constants[name].CopyFrom(numpy_helper.from_array(scale, name))
    for name in {node.input[2] for node in nodes}:
        zero = np.zeros(tuple(constants[name].dims), numbers)
        constants[name].CopyFrom(numpy_helper.from_array(zero, name))
    for name, by in {(node.input[0], node.input[1]) for node in nodes if node.input[0] in constants}:
        values = numpy_helper.to_array(weights[name])
        scale = numpy_helper.to_array(constants[by]).reshape(-1, *[1] * (values.ndim - 1))
        limit = MAX_NUMBER["fp8"]  # NumPy makes NaN of what is beyond it, QuantizeLinear does not
        rounded = np.clip(values / scale, -limit, limit).astype(numbers)
        constants[name].CopyFrom(numpy_helper.from_array(rounded, name))
    del graph.value_info[:]
    return result


def unsigned_activations(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with activations in UINT8 around 128 instead of INT8 around 0: the same numbers.

    TensorRT takes activations without a zero point, so signed ones. OpenVINO on x86 processors gives wrong
    heads for those (2026.4: no box is left), and the right ones for unsigned activations. Weights stay INT8.
    """
    result = copy_of(model)
    graph = result.graph
    constants = {item.name: item for item in graph.initializer}
    moved: set[str] = set()
    for node in graph.node:
        if node.op_type in KINDS and node.input[0] not in constants:
            moved.add(node.input[2] if len(node.input) > 2 else "")
    for name in moved & set(constants):
        zero = constants[name]
        if zero.data_type == TensorProto.INT8:
            values = numpy_helper.to_array(zero).astype(np.int16) + 128
            zero.CopyFrom(numpy_helper.from_array(values.astype(np.uint8), name))
    del graph.value_info[:]
    return result
