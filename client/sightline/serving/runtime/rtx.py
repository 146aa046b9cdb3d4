"""A TensorRT-RTX engine of ``detector`` up to its NMS: for RTX cards without a container.

Runs inside Triton's Python backend, where ``tensorrt_rtx_bindings`` and ``cuda.bindings`` are (see
``tritoninstall.install_rtx``); they are imported when an engine is made. The engine is built ahead of time,
for every card from Ampere on, by ``sightline model rtx``, and fitted to the card when it is loaded.
"""

import ctypes
import math
import struct
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.base.cuda import Cuda
from sightline.serving.runtime.numerics import U8

INPUT = "frame"
_HEAD = "P8xixBHPPQ"  # data, (device,) sides, (kind,) bits, lanes, shape, strides, offset in bytes


@dataclass(frozen=True, slots=True)
class DeviceFrames:
    """Pictures in the memory of the GPU, or of the host: uint8 [batch, rows, width] without gaps."""

    address: int
    shape: tuple[int, ...]
    owner: Any = None  # kept alive while it is read


class RtxEngine:
    """One engine on the first GPU, with memory for its largest batch. One thread calls it."""

    def __init__(self, path: Path, *, cuda: Cuda | None = None, runtime: Any = None) -> None:
        """Load an engine that ``sightline model rtx`` has built, and take its memory.

        ``cuda`` and ``runtime`` stand in for the first GPU and ``tensorrt_rtx_bindings``. FileNotFoundError:
        there is no engine; SharedMemoryError: no NVIDIA driver, no memory; ValueError: another engine.
        """
        if not path.is_file():
            raise FileNotFoundError(f"no engine at {path}: build it with sightline model rtx build")
        self._cuda = cuda or Cuda()  # first: without a driver TensorRT-RTX ends the whole process
        try:
            trt = runtime or import_module("tensorrt_rtx_bindings")  # in the server's environment
        except ImportError as error:
            text = f"TensorRT-RTX is not installed here ({error}): serve with --config-name rtx"
            raise ValueError(text) from error
        # The engine lives in the context, the context in the runtime: all three are kept.
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            anew = "build it anew with sightline model rtx build"
            raise ValueError(f"{path} is no engine of this TensorRT-RTX: {anew}")
        self._context = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)]
        if INPUT not in names:
            raise ValueError(f"{path} has no input {INPUT!r}, only {', '.join(names)}")
        self._types = {name: np.dtype(trt.nptype(self._engine.get_tensor_dtype(name))) for name in names}
        self._least, _, self._most = map(tuple, self._engine.get_tensor_profile_shape(INPUT, 0))
        self._context.set_input_shape(INPUT, self._most)
        self._memory: dict[str, int] = {}  # of every tensor at the largest batch, known to the context
        for name, kind in self._types.items():
            shape = tuple(self._context.get_tensor_shape(name))
            self._memory[name] = self._cuda.allocate(math.prod(shape) * kind.itemsize)
            self._context.set_tensor_address(name, self._memory[name])

    def run(self, frames: U8 | DeviceFrames) -> dict[str, NDArray[Any]]:
        """The engine's outputs for I420 pictures uint8 [batch, rows, width]; ValueError: of another shape."""
        shape = tuple(map(int, frames.shape))
        bounds = zip(self._least, shape, self._most, strict=True)
        if not all(low <= side <= high for low, side, high in bounds):
            raise ValueError(f"frame {list(shape)} does not fit: the largest is {list(self._most)}")
        if not isinstance(frames, DeviceFrames):
            frames = np.ascontiguousarray(frames)
            frames = DeviceFrames(frames.ctypes.data, shape, frames)
        self._cuda.copy(self._memory[INPUT], frames.address, math.prod(shape))
        self._context.set_input_shape(INPUT, shape)
        if not self._context.execute_async_v3(0):
            raise RuntimeError("the TensorRT-RTX engine failed; Triton's log says why")
        self._cuda.wait()
        outputs = {}
        for name, kind in self._types.items():
            if name != INPUT:
                outputs[name] = np.empty(tuple(self._context.get_tensor_shape(name)), kind)
                self._cuda.copy(outputs[name].ctypes.data, self._memory[name], outputs[name].nbytes)
        return outputs


def from_dlpack(capsule: Any) -> DeviceFrames:
    """The frames of a DLPack capsule, as Triton hands tensors on a GPU over; ValueError: it has gaps."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    # The head of the tensor, as DLPack's specification lays it out.
    head = ctypes.string_at(pointer(capsule, b"dltensor"), struct.calcsize(_HEAD))
    data, sides, bits, lanes, shape_at, strides_at, offset = struct.unpack(_HEAD, head)
    integers = ctypes.c_int64 * sides
    shape = tuple(integers.from_address(shape_at))
    steps = tuple(math.prod(shape[place + 1 :]) for place in range(sides))
    strides = tuple(integers.from_address(strides_at)) if strides_at else steps
    gaps = any(side > 1 and stride != step for side, stride, step in zip(shape, strides, steps, strict=True))
    if (bits, lanes) != (8, 1) or gaps:
        raise ValueError("frames must be uint8 without gaps between rows")
    return DeviceFrames(data + offset, shape, capsule)
