"""All steps of ``detector`` in one graph, so that nothing is copied between them: I420 in, boxes out.

The network in the middle is any that can be exported; before and after it stand the graphs of ``graphs``.
``build_engines.py --form fused`` makes a plan of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import version_converter

from sightline.errors import NetworkUnusable
from sightline.models.export import graphs
from sightline.models.export.onnx_models import opset_of


def fused_graph(
    model: onnx.ModelProto, network: graphs.NetworkSpec, score_floor: float, nms: graphs.Nms = "plugin"
) -> onnx.ModelProto:
    """The whole ``detector``.

    In: ``frame`` uint8 [batch, 3/2·height, width]. Out: ``num_dets``, ``det_boxes``, ``det_scores`` and
    ``det_classes`` as :func:`graphs.postprocess_graph` has them.

    Args:
        model: what the plan of ``yolo`` is built from: ``images`` in ``network.precision`` to ``output0``.
        network: its shape.
        score_floor: boxes that score less are left out.
        nms: see :data:`graphs.Nms`.

    Raises:
        NetworkUnusable: the network is of an operator set that cannot be brought to the graphs' own.
    """
    return _join(
        [graphs.preprocess_graph(network), model, graphs.postprocess_graph(network, score_floor, nms)]
    )


def headless_graph(
    model: onnx.ModelProto, network: graphs.NetworkSpec, score_floor: float
) -> onnx.ModelProto:
    """The ``detector`` without its NMS, for TensorRT-RTX, which has none.

    In: ``frame``. Out, for a raw head: ``best`` (see :func:`graphs.candidates_graph`), which
    ``numerics.boxes_from_head`` turns into boxes. An end-to-end head needs no NMS: then all of it.
    """
    if network.end_to_end:
        return fused_graph(model, network, score_floor)
    return _join([graphs.preprocess_graph(network), model, graphs.candidates_graph(network)])


def _join(parts: Sequence[onnx.ModelProto]) -> onnx.ModelProto:
    """One graph of several: a tensor's name is the same where one part ends and another begins."""
    opset = max(graphs.OPSET, *(opset_of(part) for part in parts))
    # The graphs' own operators mean the same in every later set; only the network may be older.
    parts = [part if opset_of(part) >= graphs.OPSET else _newer(part) for part in parts]
    joined = _model_of(parts, opset)
    try:
        onnx.checker.check_model(joined)
    except onnx.checker.ValidationError as error:
        raise NetworkUnusable(f"the steps do not make one graph: {error}") from error
    return joined


def _model_of(parts: Sequence[onnx.ModelProto], opset: int) -> onnx.ModelProto:
    """Nodes, constants and operator sets of all parts; the first one's input, the last one's outputs."""
    graph = onnx.helper.make_graph(
        [node for part in parts for node in part.graph.node],
        "detector",
        list(parts[0].graph.input),
        list(parts[-1].graph.output),
        [item for part in parts for item in part.graph.initializer],
    )
    domains = {item.domain: item.version for part in parts for item in part.opset_import}
    domains.pop("ai.onnx", None)
    domains[""] = opset
    sets = [onnx.helper.make_opsetid(domain, version) for domain, version in domains.items()]
    return onnx.helper.make_model(
        graph, opset_imports=sets, ir_version=graphs.IR_VERSION, producer_name="sightline"
    )


def _newer(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return version_converter.convert_version(model, graphs.OPSET)
    except RuntimeError as error:  # what the converter raises for an operator that it does not know
        raise NetworkUnusable(
            f"operator set {opset_of(model)} cannot become {graphs.OPSET}: {error}"
        ) from error
