"""An exported network on PyTorch, for cards that TensorRT-RTX does not know: all but the NMS on the GPU.

``save`` reads the graph with ``onnx`` once. ``TorchDetector`` needs PyTorch alone: it computes the graph node
by node, in the types that are written in it, and records that as a CUDA graph, so that a batch costs one
launch. FP32 is FP32: TF32 is switched off.
"""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sightline.serving.runtime.numerics import F32, MAX_CANDIDATES, YUV_OFFSET, YUV_TO_RGB, check_frames

#: Inputs that are read as plain numbers: sizes, axes, bounds.
NUMBERS = {
    **dict.fromkeys(("Expand", "Gather", "Reshape", "Split", "Unsqueeze"), (1,)),
    "Clip": (1, 2),
    "ConstantOfShape": (0,),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
}
#: ONNX' numbers of the types that networks are written in.
TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16}
WARM_UPS = 3  # passes before one is recorded: libraries choose and load their kernels in the first


def save(network: Path, path: Path) -> None:
    """Write an ONNX network as what :class:`TorchDetector` loads; a ValueError names an unknown operator."""
    import onnx
    from onnx import helper, numpy_helper

    graph = onnx.load(network).graph

    def plain(value: Any) -> Any:
        if isinstance(value, onnx.TensorProto):
            return torch.from_numpy(numpy_helper.to_array(value).copy())
        return value.decode() if isinstance(value, bytes) else value

    nodes = []
    tensors = {item.name: plain(item) for item in graph.initializer}
    for node in graph.node:
        settings = {item.name: plain(helper.get_attribute_value(item)) for item in node.attribute}
        if node.op_type == "Constant":
            tensors[node.output[0]] = torch.as_tensor(next(iter(settings.values())))
        elif node.op_type in OPERATORS:
            nodes.append((node.op_type, list(node.input), list(node.output), settings))
        else:
            known = Path(__file__).name
            raise ValueError(f"{network.name}: the operator {node.op_type} is not known to {known}")
    kind = TYPES[graph.input[0].type.tensor_type.elem_type]
    names = graph.input[0].name, graph.output[0].name
    torch.save({"nodes": nodes, "tensors": tensors, "names": names, "input_type": kind}, path)


class TorchDetector:
    """I420 pictures to candidates for the NMS, by a graph that :func:`save` wrote. One thread calls it."""

    def __init__(self, path: Path, network: tuple[int, int], device: str = "cuda") -> None:
        """Load a saved graph; ``network``: height and width of its input; ``cpu`` is for a dry run."""
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        graph = torch.load(path, weights_only=True)
        self._nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = graph["nodes"]
        self._input, self._output = graph["names"]
        self._input_type: torch.dtype = graph["input_type"]
        self._tensors: dict[str, Tensor] = graph["tensors"]  # on the host
        self._moved: dict[tuple[int, str], Tensor] = {}
        self._size, self._device = network, device
        self._offset = torch.from_numpy(YUV_OFFSET).to(device)[:, None, None]
        self._matrix = torch.from_numpy(YUV_TO_RGB).to(device)
        #: For pictures of one size in batches of one size: frames on the device, what computes candidates
        #: from them there, and the candidates on the host.
        self._steps: dict[tuple[int, ...], tuple[Tensor, Callable[[], Tensor], Tensor]] = {}

    @torch.no_grad()
    def run(self, parts: Sequence[Tensor]) -> F32:
        """Compute one batch.

        Args:
            parts: uint8 [n, rows, width] each, I420 pictures of one size, on the device or the host.

        Returns:
            float32 [pictures, candidates, 6]: x1, y1, x2, y2 in network pixels, score and class of the best
            class of each anchor, best first; valid until the next call.

        Raises:
            ValueError: the pictures do not fit.
        """
        shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
        if shape not in self._steps:
            self._steps[shape] = self._prepare(shape)
        frames, compute, fetched = self._steps[shape]
        for into, part in zip(frames.split([len(part) for part in parts]), parts, strict=True):
            into.copy_(part, non_blocking=True)
        fetched.copy_(compute(), non_blocking=True)
        if self._device != "cpu":
            torch.cuda.current_stream().synchronize()
        rows: F32 = fetched.numpy()
        return rows

    def _prepare(self, shape: tuple[int, ...]) -> tuple[Tensor, Callable[[], Tensor], Tensor]:
        check_frames(shape, self._size)
        frames = torch.full(shape, 128, dtype=torch.uint8, device=self._device)

        def compute() -> Tensor:
            return candidates(self._head(self._pictures(frames)))

        if self._device == "cpu":
            return frames, compute, compute()
        # Recorded, the work is one launch, whose result lies in the same memory every time.
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                compute()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = compute()

        def replay() -> Tensor:
            graph.replay()
            return result

        return frames, replay, torch.empty(result.shape, dtype=result.dtype, pin_memory=True)

    def _pictures(self, frames: Tensor) -> Tensor:
        """Uint8 I420 [batch, 3/2·height, width] as RGB in 0..1 [batch, 3, height, width]."""
        batch, (height, width) = len(frames), self._size
        flat = frames.reshape(batch, -1)
        luma = flat[:, : height * width].view(batch, 1, height, width)
        chroma = flat[:, height * width :].view(batch, 2, height // 2, width // 2)
        chroma = chroma[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).reshape(batch, 2, height, width)
        yuv = torch.cat([luma, chroma], dim=1).to(torch.float32)
        rgb = torch.matmul(self._matrix, (yuv - self._offset).flatten(2)).view(yuv.shape)
        return (rgb.clamp(0, 255) / 255).to(self._input_type)

    def _head(self, pictures: Tensor) -> Tensor:
        """RGB in 0..1 [batch, 3, height, width] to the network's output [batch, 4 + classes, anchors].

        What follows from shapes and constants alone is computed on the host; a second pass with a batch of
        the same size moves nothing to the device.
        """
        known = dict(self._tensors)
        live = {self._input: pictures.contiguous(memory_format=torch.channels_last)}
        for kind, inputs, outputs, settings in self._nodes:
            moves = kind != "Shape" and any(name in live for name in inputs)
            arguments: list[Any] = []
            for place, name in enumerate(inputs):
                if not name:
                    arguments.append(None)
                elif place in NUMBERS.get(kind, ()):
                    arguments.append(known[name].tolist())
                elif name in live or not moves:
                    arguments.append(live[name] if name in live else known[name])
                else:
                    key = (0 if name in self._tensors else len(pictures), name)
                    if key not in self._moved:
                        last = torch.channels_last if known[name].ndim == 4 else torch.contiguous_format
                        self._moved[key] = known[name].contiguous(memory_format=last).to(self._device)
                    arguments.append(self._moved[key])
            result = OPERATORS[kind](*arguments, **settings)
            into = live if moves else known
            into.update(zip(outputs, result if isinstance(result, list | tuple) else [result], strict=True))
        return live[self._output]


def candidates(head: Tensor) -> Tensor:
    """What enters the NMS: float32 [batch, candidates, 6] of a head [batch, 4 + classes, anchors]."""
    head = head.float()
    best, class_ids = head[:, 4:].max(1)
    scores, order = best.topk(min(MAX_CANDIDATES, best.shape[1]), dim=1)
    boxes = head[:, :4].gather(2, order[:, None].expand(-1, 4, -1)).transpose(1, 2)
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    chosen = class_ids.gather(1, order).float()
    return torch.cat([centre - half, centre + half, scores[..., None], chosen[..., None]], 2)


def _conv(x: Tensor, weight: Tensor, bias: Tensor | None = None, **said: Any) -> Tensor:
    strides, dilations = said.get("strides", (1, 1)), said.get("dilations", (1, 1))
    return functional.conv2d(x, weight, bias, strides, _even(said), dilations, said.get("group", 1))


def _even(said: dict[str, Any]) -> list[int]:
    pads = list(said.get("pads", (0, 0, 0, 0)))
    if pads[:2] != pads[2:]:
        raise ValueError("padding that differs between two sides is not known here")
    return pads[:2]


def _resize(x: Tensor, _: Any, scales: list[float], sizes: Any = None, **said: Any) -> Tensor:
    if sizes or (said.get("mode"), said["coordinate_transformation_mode"]) != ("nearest", "asymmetric"):
        raise ValueError("only enlarging by the nearest pixel is known here")
    return functional.interpolate(x, scale_factor=scales[2:], mode="nearest")


def _slice(x: Tensor, *bounds: list[int] | None) -> Tensor:
    starts, ends, axes, steps = (*bounds, None, None)[:4]
    for place, (start, end) in enumerate(zip(starts or [], ends or [], strict=True)):
        axis, step = axes[place] if axes else place, steps[place] if steps else 1
        if step < 0:  # only whole axes are turned round
            x = x.flip(axis)
            continue
        x = x[(slice(None),) * (axis % x.ndim) + (slice(start, end, step),)]
    return x


def _gather(x: Tensor, index: int | list[int], *, axis: int = 0) -> Tensor:
    if isinstance(index, int):
        return x.select(axis, index)
    return x.index_select(axis, torch.tensor(index, device=x.device))


OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": torch.add,
    "Cast": lambda x, *, to, **_: x.to(TYPES[to]),
    "Clip": lambda x, low=None, high=None: x.clamp(low, high),
    "Concat": lambda *parts, axis: torch.cat(parts, axis),
    "ConstantOfShape": lambda shape, *, value: value.expand(shape) if shape else value.reshape(()),
    "Conv": _conv,
    "Div": lambda x, y: x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc"),
    "Equal": torch.eq,
    "Exp": torch.exp,
    "Expand": lambda x, shape: x.expand(torch.broadcast_shapes(x.shape, tuple(shape))),
    "Gather": _gather,
    "MaxPool": lambda x, **said: functional.max_pool2d(
        x, said["kernel_shape"], said.get("strides", (1, 1)), _even(said)
    ),
    "Mul": torch.mul,
    "Range": torch.arange,
    "Relu": torch.relu,
    "Reshape": lambda x, shape, **_: x.reshape([side or x.shape[axis] for axis, side in enumerate(shape)]),
    "Resize": _resize,
    "Shape": lambda x: torch.tensor(x.shape),
    "Sigmoid": torch.sigmoid,
    "Slice": _slice,
    "Softmax": lambda x, *, axis=-1: x.softmax(axis),
    "Split": lambda x, sizes=None, *, axis=0, num_outputs=0: list(
        x.split(sizes or math.ceil(x.shape[axis] / num_outputs), axis)
    ),
    "Sub": torch.sub,
    "Transpose": lambda x, *, perm: x.permute(perm),
    "Unsqueeze": lambda x, axes: reduce(torch.unsqueeze, sorted(axes), x),
    "Where": torch.where,
}


def as_frames(array: np.ndarray[Any, Any]) -> Tensor:
    """A host's uint8 [n, rows, width] for :meth:`TorchDetector.run`; the memory is shared."""
    return torch.from_numpy(np.ascontiguousarray(array))
