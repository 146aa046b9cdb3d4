"""The GPU's preprocess and postprocess as ONNX graphs of plain operators, for TensorRT plans.

They compute what ``numerics`` defines. Both are strongly typed: the precision is in the graph,
as TensorRT 11 wants it. The score floor, the network's shape and the head are baked in, so
``sightline model export`` writes them anew for every version of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sightline.serving.runtime import numerics

OPSET = 18
IR_VERSION = 10  # the oldest that has opset 18 and FP16 in full; every runtime of today reads it
PLUGIN_DOMAIN = "TRT_EfficientNMS"
ELEMENT = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16}

#: "plugin": EfficientNMS_TRT, for TensorRT. "onnx": NonMaxSuppression, for ONNX Runtime and INMSLayer.
Nms = Literal["plugin", "onnx"]


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """What the graphs must know of the network between them."""

    height: int
    width: int
    end_to_end: bool
    rows: int  # 4 + classes, or the boxes of an end-to-end head
    columns: int  # anchors at this shape, or 6
    precision: str = "fp16"


class _Graph:
    """Collects nodes and constants; every call adds one operator and returns its output's name."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix  # of every name but the outputs', so that graphs can be joined
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: Any, dtype: Any = np.int64) -> str:
        name = f"{self.prefix}c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def add(self, op: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        out = out or f"{self.prefix}{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], name=f"n_{out}", **attributes))
        return out

    def slice(self, data: str, axis: int, start: int, end: int) -> str:
        bounds = [self.constant([at]) for at in (start, end)]
        return self.add("Slice", data, *bounds, self.constant([axis]))

    def dimension(self, data: str, axis: int) -> str:
        """One dimension as int64 [1]."""
        return self.add("Shape", data, start=axis, end=axis + 1)

    def model(self, name: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, name, list(inputs), list(outputs), self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain == PLUGIN_DOMAIN for node in self.nodes):
            opsets.append(helper.make_opsetid(PLUGIN_DOMAIN, 1))
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="sightline"
        )


def preprocess_graph(network: NetworkSpec) -> onnx.ModelProto:
    """I420 of the network's size to the network's input.

    In: ``frame`` uint8 [batch, 3/2·H, W].
    Out: ``images`` [batch, 3, H, W], RGB 0..1 in the network's precision.
    """
    g = _Graph("pre_")
    frame = g.add("Cast", "frame", to=TensorProto.FLOAT)  # TensorRT takes uint8 into a Cast alone
    luma = g.add("Unsqueeze", g.slice(frame, 1, 0, network.height), g.constant([1]))
    planes = g.constant([-1, 2, network.height // 2, network.width // 2])
    chroma = g.add("Reshape", g.slice(frame, 1, network.height, 1 << 31), planes)
    chroma = g.add(
        "Resize",
        chroma,
        "",
        g.constant([1, 1, 2, 2], np.float32),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    # The colour matrix is a 1x1 convolution with the offset and the division by 255 folded in.
    matrix = numerics.YUV_TO_RGB / np.float32(255)
    weight = g.constant(matrix[:, :, None, None], np.float32)
    bias = g.constant(-matrix @ numerics.YUV_OFFSET, np.float32)
    rgb = g.add("Conv", g.add("Concat", luma, chroma, axis=1), weight, bias)
    rgb = g.add("Clip", rgb, g.constant(0, np.float32), g.constant(1, np.float32))
    g.add("Cast", rgb, to=ELEMENT[network.precision], out="images")
    return g.model(
        "preprocess",
        [_value("frame", TensorProto.UINT8, network.height * 3 // 2, network.width)],
        [_value("images", ELEMENT[network.precision], 3, network.height, network.width)],
    )


def postprocess_graph(network: NetworkSpec, score_floor: float, nms: Nms = "plugin") -> onnx.ModelProto:
    """The network's output to boxes.

    In: ``output0`` float32 [batch, 4 + classes, anchors] or [batch, boxes, 6].
    Out: ``num_dets`` int32 [batch, 1]; ``det_boxes`` float32 [batch, 300, 4] xyxy in 0..1 of the network's
    input; ``det_scores`` float32 [batch, 300]; ``det_classes`` int32 [batch, 300]. Rows from ``num_dets`` on
    hold nothing.
    """
    g = _Graph("post_")
    boxes = (
        _end_to_end(g, network.rows, score_floor)
        if network.end_to_end
        else _anchors(g, network.rows - 4, score_floor, nms)
    )
    shares = g.add("Div", boxes, g.constant([network.width, network.height] * 2, np.float32))
    g.add("Clip", shares, g.constant(0, np.float32), g.constant(1, np.float32), out="det_boxes")
    top = min(numerics.MAX_DETECTIONS, network.rows) if network.end_to_end else numerics.MAX_DETECTIONS
    return g.model(
        "postprocess",
        [_value("output0", TensorProto.FLOAT, network.rows, network.columns)],
        [
            _value("num_dets", TensorProto.INT32, 1),
            _value("det_boxes", TensorProto.FLOAT, top, 4),
            _value("det_scores", TensorProto.FLOAT, top),
            _value("det_classes", TensorProto.INT32, top),
        ],
    )


def candidates_graph(network: NetworkSpec) -> onnx.ModelProto:
    """What :func:`best_anchors` keeps, whatever it scores: where there is no NMS layer.

    In: ``output0`` float32 [batch, 4 + classes, anchors]. Out: ``best`` float32 [batch, 4 + classes, N], the
    N anchors whose best class scores most, best first; N is at most ``numerics.MAX_CANDIDATES``.
    """
    g = _Graph("post_")
    count = min(network.columns, numerics.MAX_CANDIDATES)
    best = g.add("ReduceMax", g.slice("output0", 1, 4, network.rows), g.constant([1]), keepdims=0)
    g.nodes.append(
        helper.make_node("TopK", [best, g.constant([count])], ["post_scores", "post_order"], axis=1)
    )
    rows = g.add("Transpose", "output0", perm=[0, 2, 1])
    order = g.add("Unsqueeze", "post_order", g.constant([2]))
    g.add("Transpose", g.add("GatherND", rows, order, batch_dims=1), perm=[0, 2, 1], out="best")
    return g.model(
        "candidates",
        [_value("output0", TensorProto.FLOAT, network.rows, network.columns)],
        [_value("best", TensorProto.FLOAT, network.rows, count)],
    )


def _value(name: str, element: int, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, ["batch", *shape])


def _anchors(g: _Graph, classes: int, score_floor: float, nms: Nms) -> str:
    """Corner boxes [batch, 300, 4] in network pixels; scores and classes are written as outputs."""
    centre, half = g.slice("output0", 1, 0, 2), g.slice("output0", 1, 2, 4)
    half = g.add("Mul", half, g.constant(0.5, np.float32))
    corners = g.add("Concat", g.add("Sub", centre, half), g.add("Add", centre, half), axis=1)
    boxes = g.add("Transpose", corners, perm=[0, 2, 1])
    scores = g.slice("output0", 1, 4, 4 + classes)
    if classes > 1:  # each anchor stands for its best class alone
        best = g.add("ReduceMax", scores, g.constant([1]), keepdims=1)
        losers = g.add("Less", scores, best)
        scores = g.add("Where", losers, g.constant(0, np.float32), scores)
    return (_plugin_nms if nms == "plugin" else _onnx_nms)(g, boxes, scores, score_floor)


def _plugin_nms(g: _Graph, boxes: str, scores: str, score_floor: float) -> str:
    outputs = ["num_dets", "nms_boxes", "det_scores", "det_classes"]
    node = helper.make_node(
        "EfficientNMS_TRT",
        [boxes, g.add("Transpose", scores, perm=[0, 2, 1])],
        outputs,
        name="nms",
        domain=PLUGIN_DOMAIN,
        plugin_version="1",
        background_class=-1,
        score_threshold=score_floor,
        iou_threshold=numerics.NMS_IOU,
        max_output_boxes=numerics.MAX_DETECTIONS,
        score_activation=0,
        class_agnostic=0,
        box_coding=0,
    )
    g.nodes.append(node)
    return outputs[1]


def _onnx_nms(g: _Graph, boxes: str, scores: str, score_floor: float) -> str:
    """NonMaxSuppression keeps (batch, class, anchor) triples; a mask over all scores makes them a top 300."""
    limit = numerics.MAX_DETECTIONS
    kept = g.add(
        "NonMaxSuppression",
        boxes,
        scores,
        g.constant([limit]),
        g.constant([numerics.NMS_IOU], np.float32),
        g.constant([score_floor], np.float32),
    )
    shape = g.add("Shape", scores)
    zeros = g.add("ConstantOfShape", shape, value=numpy_helper.from_array(np.zeros(1, np.float32)))
    mask = g.add("ScatterND", zeros, kept, g.add("GatherND", scores, kept))
    flat = g.add("Reshape", mask, g.constant([0, -1]))
    order = _best(g, flat, limit)
    anchors = g.dimension(scores, 2)
    g.add("Cast", g.add("Div", order, anchors), to=TensorProto.INT32, out="det_classes")
    column = g.add("Unsqueeze", g.add("Mod", order, anchors), g.constant([2]))
    return g.add("GatherND", boxes, column, batch_dims=1)


def _end_to_end(g: _Graph, boxes: int, score_floor: float) -> str:
    """Rows of x1, y1, x2, y2, score, class: sorted, and what scores less than the floor counted out."""
    scores = g.add("Squeeze", g.slice("output0", 2, 4, 5), g.constant([2]))
    low = g.add("Less", scores, g.constant(score_floor, np.float32))
    scores = g.add("Where", low, g.constant(0, np.float32), scores)
    order = g.add("Unsqueeze", _best(g, scores, min(boxes, numerics.MAX_DETECTIONS)), g.constant([2]))
    rows = g.add("GatherND", "output0", order, batch_dims=1)
    classes = g.add("Squeeze", g.slice(rows, 2, 5, 6), g.constant([2]))
    g.add("Cast", classes, to=TensorProto.INT32, out="det_classes")
    return g.slice(rows, 2, 0, 4)


def _best(g: _Graph, scores: str, limit: int) -> str:
    """Write ``det_scores`` and ``num_dets`` of the best scores [batch, any]; returns their places."""
    node = helper.make_node(
        "TopK",
        [scores, g.constant([limit])],
        ["det_scores", "order"],
        name="best",
        axis=1,
        largest=1,
        sorted=1,
    )
    g.nodes.append(node)
    positive = g.add("Greater", "det_scores", g.constant(0, np.float32))
    count = g.add("ReduceSum", g.add("Cast", positive, to=TensorProto.INT32), g.constant([1]), keepdims=1)
    g.add("Cast", count, to=TensorProto.INT32, out="num_dets")
    return "order"
