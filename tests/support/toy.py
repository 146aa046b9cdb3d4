"""A world whose truth is known: clips of moving rectangles, and a network that finds them exactly.

The network is a real ONNX file with a YOLO head, made by hand instead of trained: one anchor finds what is
red (class person), one what is blue (class car), by the centre and spread of its colour. So the real server,
the real decoder and the whole pipeline run in tests that need no weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = ("person", "car")
RED, BLUE, GREY = (200, 30, 30), (30, 30, 200), (110, 110, 110)


@dataclass(frozen=True)
class Passage:
    """A rectangle that crosses the picture from left to right between two times."""

    start_s: float
    end_s: float
    colour: tuple[int, int, int] = RED


def write_clip(
    path: Path,
    passages: Sequence[Passage],
    *,
    seconds: float,
    fps: int = 10,
    size: tuple[int, int] = (320, 192),
    codec: str = "libx264",
    options: dict[str, str] | None = None,
) -> Path:
    """Encode a clip of grey noise with the passages drawn in; every second starts with a key frame."""
    noise = np.random.default_rng(7)
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options={"preset": "ultrafast", **(options or {})})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, fps)
        stream.codec_context.gop_size = fps
        for index in range(round(seconds * fps)):
            picture = noise.integers(-8, 8, (height, width, 1), np.int16) + np.array(GREY, np.int16)
            draw(picture, passages, index / fps)
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), "rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def draw(picture: np.ndarray, passages: Sequence[Passage], time_s: float) -> None:
    """Draw what is in view at ``time_s`` into an RGB picture [height, width, 3]."""
    height, width, _ = picture.shape
    for passage in passages:
        if passage.start_s <= time_s < passage.end_s:
            share = (time_s - passage.start_s) / (passage.end_s - passage.start_s)
            left = round(share * width * 0.8)
            picture[height // 4 : height * 3 // 4, left : left + width // 8] = passage.colour


def write_network(
    path: Path, *, height: int = 192, width: int = 320, swapped: bool = False, noise: float = 0.0
) -> Path:
    """Write the network as ONNX: ``images`` [batch, 3, height, width] → ``output0`` [batch, 6, anchors].

    There are as many anchors as a real head has (strides 8, 16 and 32); all but two are always empty.
    ``swapped``: it takes persons for cars and cars for persons. ``noise``: its weights are off by that share.
    """
    anchors = sum((height // stride) * (width // stride) for stride in (8, 16, 32))
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, np.ndarray] = {
        "xs": np.arange(width, dtype=np.float32).reshape(1, 1, 1, width) + 0.5,
        "ys": np.arange(height, dtype=np.float32).reshape(1, 1, height, 1) + 0.5,
        # red - blue - green·… : positive only where one colour stands out of the grey
        "weights": (
            np.array([[1, -0.5, -0.5], [-0.5, -0.5, 1]], np.float32)
            * (1 + noise * np.random.default_rng(3).standard_normal((2, 3)))
        )
        .astype(np.float32)
        .reshape(2, 3, 1, 1),
        "threshold": np.float32(0.25),
        "gain": np.float32(20.0),
        "zero": np.float32(0.0),
        "one": np.float32(1.0),
        "twelve": np.float32(12.0),
        "tiny": np.float32(1e-6),
        "least": np.float32(height * width / 200.0),
        "axes": np.array([2, 3], np.int64),
        "last": np.array([2], np.int64),
        "own": np.eye(2, dtype=np.float32)[:: -1 if swapped else 1].reshape(1, 2, 2),
        "pads": np.array([0, 0, 0, 0, 0, anchors - 2], np.int64),
    }

    def node(kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def moment(what: str, output: str) -> str:
        product = node("Mul", ["mask", what], f"{output}_product")
        total = node("ReduceSum", [product, "axes"], f"{output}_sum", keepdims=0)
        return node("Div", [total, "mass"], output)

    def spread(mean: str, what: str, output: str) -> str:
        """Side of the uniform rectangle with this variance: sqrt(12·(E[x²] - E[x]²))."""
        square = node("Mul", [what, what], f"{output}_square")
        second = moment(square, f"{output}_second")
        mean_square = node("Mul", [mean, mean], f"{output}_mean_square")
        variance = node("Sub", [second, mean_square], f"{output}_variance")
        positive = node("Max", [variance, "tiny"], f"{output}_positive")
        return node("Sqrt", [node("Mul", [positive, "twelve"], f"{output}_scaled")], output)

    node("Conv", ["images", "weights"], "colour")
    node("Mul", [node("Sub", ["colour", "threshold"], "over"), "gain"], "steep")
    node("Clip", ["steep", "zero", "one"], "mask")
    node("ReduceSum", ["mask", "axes"], "area", keepdims=0)
    node("Add", ["area", "tiny"], "mass")
    x, y = moment("xs", "x"), moment("ys", "y")
    w, h = spread(x, "xs", "w"), spread(y, "ys", "h")
    node("Clip", [node("Div", ["area", "least"], "share"), "zero", "one"], "score")
    columns = [node("Unsqueeze", [name, "last"], f"{name}_column") for name in (x, y, w, h, "score")]
    node("Mul", [columns[4], "own"], "scores")  # each anchor votes for its own class alone
    node("Concat", [*columns[:4], "scores"], "rows", axis=2)
    node("Transpose", ["rows"], "head", perm=[0, 2, 1])
    node("Pad", ["head", "pads", "zero"], "output0")
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, height, width])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["batch", 4 + len(CLASSES), anchors])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    names = dict(enumerate(CLASSES))
    model.metadata_props.add(key="names", value=str(names))
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
