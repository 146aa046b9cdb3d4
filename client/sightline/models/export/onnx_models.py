"""What every change of an ONNX network needs."""

from __future__ import annotations

from collections.abc import Iterable

import onnx


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network, to be changed."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    return result


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operator set."""
    return next(int(item.version) for item in model.opset_import if item.domain in {"", "ai.onnx"})


def set_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Put these nodes in place of all that are there; what was known of tensors' shapes is forgotten."""
    kept = list(nodes)
    del graph.node[:]
    graph.node.extend(kept)
    del graph.value_info[:]
