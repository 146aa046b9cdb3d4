"""What a GPU runs before and after the network, as ONNX graphs of plain operators; for TensorRT plans.

They compute what ``numerics`` defines. All are strongly typed: the precision is in the graph, as TensorRT 11
wants it. The score floor, the network's shape and the head are baked in, so ``sightline model export`` writes
them anew for every version of the network. They can also be joined with the network to one graph, so that
nothing is copied between the steps: ``build_engines.py --form fused`` makes a plan of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper, version_converter

from sightline.errors import NetworkUnusable
from sightline.serving.runtime import numerics

OPSET = 18
IR_VERSION = 10  # the oldest that has opset 18 and FP16 in full; every runtime of today reads it
PLUGIN_DOMAIN = "TRT_EfficientNMS"
#: Corner boxes, scores as they are, each class by itself.
PLUGIN: dict[str, Any] = {"domain": PLUGIN_DOMAIN, "plugin_version": "1", "background_class": -1}
PLUGIN |= dict.fromkeys(("score_activation", "class_agnostic", "box_coding"), 0)
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


def opset_of(model: ModelProto) -> int:
    """The version of ONNX's own operator set."""
    return next(int(item.version) for item in model.opset_import if item.domain in {"", "ai.onnx"})


def refill(field: Any, items: Iterable[Any]) -> None:
    """Put these items in place of all that are in a repeated field of a message."""
    kept = list(items)
    del field[:]
    field.extend(kept)


def set_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Put these nodes in place of all that are there; what was known of tensors' shapes is forgotten."""
    refill(graph.node, nodes)
    del graph.value_info[:]


def element_types(model: ModelProto) -> dict[str, int]:
    """The element type of every tensor that shape inference finds, by name."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = [*inferred.input, *inferred.output, *inferred.value_info]
    types = {item.name: item.type.tensor_type.elem_type for item in values}
    return types | {item.name: item.data_type for item in inferred.initializer}


class _Graph:
    """Collects nodes and constants; ``prefix`` of every name but the outputs' lets graphs be joined."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: Any, dtype: Any = np.int64) -> str:
        name = f"{self.prefix}c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def number(self, values: Any) -> str:
        return self.constant(values, np.float32)

    def add(self, op: str, *inputs: str, out: str | Sequence[str] = "", **attributes: Any) -> str:
        """Add one operator; gives the name of its output, the last one when ``out`` names several."""
        names = [out or f"{self.prefix}{op.lower()}{len(self.nodes)}"] if isinstance(out, str) else [*out]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"n_{names[0]}", **attributes))
        return names[-1]

    def slice(self, data: str, axis: int, start: int, end: int) -> str:
        return self.add("Slice", data, *(self.constant([at]) for at in (start, end, axis)))

    def model(self, name: str, given: onnx.ValueInfoProto, *made: onnx.ValueInfoProto) -> ModelProto:
        graph = helper.make_graph(self.nodes, name, [given], list(made), self.constants)
        plugin = any(node.domain == PLUGIN_DOMAIN for node in self.nodes)
        return _model(graph, {"": OPSET} | ({PLUGIN_DOMAIN: 1} if plugin else {}))


def _model(graph: onnx.GraphProto, domains: dict[str, int]) -> ModelProto:
    opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="sightline")


def tensor_value(name: str, element: int, *shape: int) -> onnx.ValueInfoProto:
    """A graph's input or output [batch, …]."""
    return helper.make_tensor_value_info(name, element, ["batch", *shape])


def preprocess_graph(network: NetworkSpec) -> ModelProto:
    """I420 of the network's size to the network's input.

    In: ``frame`` uint8 [batch, 3/2·H, W].
    Out: ``images`` [batch, 3, H, W], RGB 0..1 in the network's precision.
    """
    g, height, width = _Graph("pre_"), network.height, network.width
    frame = g.add("Cast", "frame", to=TensorProto.FLOAT)  # TensorRT takes uint8 into a Cast alone
    luma = g.add("Unsqueeze", g.slice(frame, 1, 0, height), g.constant([1]))
    planes = g.constant([-1, 2, height // 2, width // 2])
    chroma = g.add("Reshape", g.slice(frame, 1, height, 1 << 31), planes)
    nearest = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor", "mode": "nearest"}
    chroma = g.add("Resize", chroma, "", g.number([1, 1, 2, 2]), **nearest)
    # The colour matrix is a 1x1 convolution with the offset and the division by 255 folded in.
    matrix = numerics.YUV_TO_RGB / np.float32(255)
    weight, bias = g.number(matrix[:, :, None, None]), g.number(-matrix @ numerics.YUV_OFFSET)
    rgb = g.add("Conv", g.add("Concat", luma, chroma, axis=1), weight, bias)
    element = ELEMENT[network.precision]
    g.add("Cast", g.add("Clip", rgb, g.number(0), g.number(1)), to=element, out="images")
    frames = tensor_value("frame", TensorProto.UINT8, height * 3 // 2, width)
    return g.model("preprocess", frames, tensor_value("images", element, 3, height, width))


def postprocess_graph(network: NetworkSpec, score_floor: float, nms: Nms = "plugin") -> ModelProto:
    """The network's output to boxes.

    In: ``output0`` float32 [batch, 4 + classes, anchors] or [batch, boxes, 6].
    Out: ``num_dets`` int32 [batch, 1]; ``det_boxes`` float32 [batch, 300, 4] xyxy in 0..1 of the network's
    input; ``det_scores`` float32 [batch, 300]; ``det_classes`` int32 [batch, 300]. Rows from ``num_dets`` on
    hold nothing.
    """
    g, top = _Graph("post_"), numerics.MAX_DETECTIONS
    if network.end_to_end:  # rows of x1, y1, x2, y2, score, class; scores below the floor are counted out
        top = min(top, network.rows)
        scores = g.add("Squeeze", g.slice("output0", 2, 4, 5), g.constant([2]))
        scores = g.add("Where", g.add("Less", scores, g.number(score_floor)), g.number(0), scores)
        order = g.add("Unsqueeze", _best(g, scores, top), g.constant([2]))
        rows = g.add("GatherND", "output0", order, batch_dims=1)
        classes = g.add("Squeeze", g.slice(rows, 2, 5, 6), g.constant([2]))
        g.add("Cast", classes, to=TensorProto.INT32, out="det_classes")
        boxes = g.slice(rows, 2, 0, 4)
    else:
        boxes = _anchors(g, network.rows - 4, score_floor, nms)
    shares = g.add("Div", boxes, g.number([network.width, network.height] * 2))
    g.add("Clip", shares, g.number(0), g.number(1), out="det_boxes")
    return g.model(
        "postprocess",
        tensor_value("output0", TensorProto.FLOAT, network.rows, network.columns),
        tensor_value("num_dets", TensorProto.INT32, 1),
        tensor_value("det_boxes", TensorProto.FLOAT, top, 4),
        tensor_value("det_scores", TensorProto.FLOAT, top),
        tensor_value("det_classes", TensorProto.INT32, top),
    )


def candidates_graph(network: NetworkSpec) -> ModelProto:
    """What :func:`best_anchors` keeps, whatever it scores: where there is no NMS layer.

    In: ``output0`` float32 [batch, 4 + classes, anchors]. Out: ``best`` float32 [batch, 4 + classes, N], the
    N anchors whose best class scores most, best first; N is at most ``numerics.MAX_CANDIDATES``.
    """
    g, count = _Graph("post_"), min(network.columns, numerics.MAX_CANDIDATES)
    best = g.add("ReduceMax", g.slice("output0", 1, 4, network.rows), g.constant([1]), keepdims=0)
    order = g.add("TopK", best, g.constant([count]), out=("post_scores", "post_order"), axis=1)
    rows = g.add("Transpose", "output0", perm=[0, 2, 1])
    chosen = g.add("GatherND", rows, g.add("Unsqueeze", order, g.constant([2])), batch_dims=1)
    g.add("Transpose", chosen, perm=[0, 2, 1], out="best")
    head = tensor_value("output0", TensorProto.FLOAT, network.rows, network.columns)
    return g.model("candidates", head, tensor_value("best", TensorProto.FLOAT, network.rows, count))


def _anchors(g: _Graph, classes: int, score_floor: float, nms: Nms) -> str:
    """Corner boxes [batch, 300, 4] in network pixels; scores and classes are written as outputs."""
    centre, half = g.slice("output0", 1, 0, 2), g.slice("output0", 1, 2, 4)
    half = g.add("Mul", half, g.number(0.5))
    corners = g.add("Concat", g.add("Sub", centre, half), g.add("Add", centre, half), axis=1)
    boxes = g.add("Transpose", corners, perm=[0, 2, 1])
    scores, limit = g.slice("output0", 1, 4, 4 + classes), numerics.MAX_DETECTIONS
    if classes > 1:  # each anchor stands for its best class alone
        best = g.add("ReduceMax", scores, g.constant([1]), keepdims=1)
        scores = g.add("Where", g.add("Less", scores, best), g.number(0), scores)
    if nms == "plugin":
        scores = g.add("Transpose", scores, perm=[0, 2, 1])
        out = ("num_dets", "nms_boxes", "det_scores", "det_classes")
        asked = {"score_threshold": score_floor, "iou_threshold": numerics.NMS_IOU, "max_output_boxes": limit}
        g.add("EfficientNMS_TRT", boxes, scores, out=out, **PLUGIN, **asked)
        return "nms_boxes"
    # NonMaxSuppression keeps (batch, class, anchor) triples; a mask over all scores makes them a top 300.
    bounds = g.constant([limit]), g.number([numerics.NMS_IOU]), g.number([score_floor])
    kept = g.add("NonMaxSuppression", boxes, scores, *bounds)
    nothing = numpy_helper.from_array(np.zeros(1, np.float32))
    mask = g.add("ConstantOfShape", g.add("Shape", scores), value=nothing)
    mask = g.add("ScatterND", mask, kept, g.add("GatherND", scores, kept))
    order = _best(g, g.add("Reshape", mask, g.constant([0, -1])), limit)
    anchors = g.add("Shape", scores, start=2, end=3)
    g.add("Cast", g.add("Div", order, anchors), to=TensorProto.INT32, out="det_classes")
    column = g.add("Unsqueeze", g.add("Mod", order, anchors), g.constant([2]))
    return g.add("GatherND", boxes, column, batch_dims=1)


def _best(g: _Graph, scores: str, limit: int) -> str:
    """Write ``det_scores`` and ``num_dets`` of the best scores [batch, any]; returns their places."""
    order = g.add("TopK", scores, g.constant([limit]), out=("det_scores", "order"), axis=1)
    positive = g.add("Cast", g.add("Greater", "det_scores", g.number(0)), to=TensorProto.INT32)
    count = g.add("ReduceSum", positive, g.constant([1]), keepdims=1)
    g.add("Cast", count, to=TensorProto.INT32, out="num_dets")
    return order


def fused_graph(
    model: ModelProto, network: NetworkSpec, score_floor: float, nms: Nms | None = "plugin"
) -> ModelProto:
    """The whole ``detector`` in one graph; without ``nms`` up to its NMS, for TensorRT-RTX, which has none.

    In: ``frame`` uint8 [batch, 3/2·height, width]. Out: what :func:`postprocess_graph` gives; of a raw head
    without ``nms``, ``best`` (see :func:`candidates_graph`), which ``numerics.boxes_from_head`` turns into
    boxes. ``model`` is what the plan of ``yolo`` is built from: ``images`` in ``network.precision`` to
    ``output0``. A tensor's name is the same where one part ends and another begins.

    Raises a NetworkUnusable when its operator set cannot be brought to the graphs' own.
    """
    if (opset := opset_of(model)) < OPSET:  # the graphs' own operators mean the same in every later set
        try:
            model = version_converter.convert_version(model, OPSET)
        except RuntimeError as error:  # what the converter raises for an operator that it does not know
            raise NetworkUnusable(f"operator set {opset} cannot become {OPSET}: {error}") from error
    headless = nms is None and not network.end_to_end  # an end-to-end head needs no NMS
    post = candidates_graph(network) if headless else postprocess_graph(network, score_floor, nms or "plugin")
    parts = [preprocess_graph(network), model, post]
    graph = helper.make_graph(
        [node for part in parts for node in part.graph.node],
        "detector",
        parts[0].graph.input,
        parts[-1].graph.output,
        [item for part in parts for item in part.graph.initializer],
    )
    domains = {item.domain: item.version for part in parts for item in part.opset_import}
    domains = {**domains, "": max(map(opset_of, parts)), "ai.onnx": 0}
    joined = _model(graph, {domain: version for domain, version in domains.items() if version})
    try:
        onnx.checker.check_model(joined)
    except onnx.checker.ValidationError as error:
        raise NetworkUnusable(f"the steps do not make one graph: {error}") from error
    return joined
