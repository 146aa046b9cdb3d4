"""Small ONNX networks with the heads of real ones, and what runs them."""

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from support import toy

NAMES = "{0: 'person', 1: 'car', 2: 'dog \"x\"'}"


def raw_network(rows=7, *, batch="batch", size=("height", "width"), names=NAMES, seed=0):
    """[batch, rows, anchors]: one convolution for each of the strides 8, 16 and 32."""
    return _model(_raw_nodes(rows), _weights(rows, seed), "head", (batch, size), [(None, rows, None)], names)


def end_to_end_network(columns=6, boxes=300, *, names=NAMES, second=False):
    """[batch, boxes, columns], and a second output as a segmentation network has when asked for."""
    nodes = [
        *_raw_nodes(columns),
        helper.make_node("Transpose", ["head"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("Slice", ["rows", "zero", "boxes", "one"], ["best"]),
    ]
    constants = [_ints("zero", [0]), _ints("boxes", [boxes]), _ints("one", [1])]
    outputs = [(None, boxes, columns)]
    model = _model(nodes, _weights(columns, 0) + constants, "best", ("batch", ("h", "w")), outputs, names)
    if second:
        model.graph.output.append(helper.make_tensor_value_info("conv8", TensorProto.FLOAT, [None] * 4))
    return model


def flat_network(columns, names=NAMES):
    """[batch, columns], as a classifier has."""
    nodes = [
        helper.make_node("Conv", ["pixels", "w32"], ["conv"], strides=[32, 32]),
        helper.make_node("GlobalAveragePool", ["conv"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
    ]
    return _model(nodes, _weights(columns, 0)[2:3], "flat", ("batch", ("h", "w")), [(None, columns)], names)


def _raw_nodes(rows):
    nodes = []
    for stride in (8, 16, 32):
        nodes.append(
            helper.make_node("Conv", ["pixels", f"w{stride}"], [f"conv{stride}"], strides=[stride, stride])
        )
        nodes.append(helper.make_node("Reshape", [f"conv{stride}", "flat"], [f"flat{stride}"]))
    nodes.append(helper.make_node("Concat", ["flat8", "flat16", "flat32"], ["head"], axis=2))
    return nodes


def _weights(rows, seed):
    rng = np.random.default_rng(seed)
    made = [
        numpy_helper.from_array(rng.uniform(0, 0.01, (rows, 3, side, side)).astype(np.float32), f"w{side}")
        for side in (8, 16, 32)
    ]
    return [*made, _ints("flat", [0, rows, -1])]


def _ints(name, values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def _model(nodes, constants, output, dims, shapes, names):
    batch, size = dims
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [batch, 3, *size])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shapes[0])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if names is not None:
        helper.set_model_props(model, {"names": names, "license": "CC0"})
    onnx.checker.check_model(model)
    return model


def session(model):
    """An ONNX Runtime session of a model or a file."""
    source = model if isinstance(model, str) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])


def scene(size):
    """Two rectangles that the toy network finds, in I420."""
    rgb = np.full((*size, 3), toy.GREY, np.uint8)
    toy.draw(rgb, [toy.Passage(0, 1, toy.RED)], 0.3)
    toy.draw(rgb, [toy.Passage(0, 1, toy.BLUE)], 0.7)
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)


def same(found, expected, near):
    """Boxes, scores and classes agree."""
    for got, wanted in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_allclose(got, wanted, atol=near)
    assert found[2].tolist() == expected[2].tolist()
