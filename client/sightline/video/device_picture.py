"""A decoded picture in the memory of an NVIDIA GPU that is scaled there, straight into a slot.

The arithmetic is written once, in array code: on a GPU CuPy runs it, in the tests numpy does. Scaling is two
matrix products, one for the rows and one for the columns, whose matrices hold how much of each source pixel
falls into each target pixel (area averaging, as the host's scaler does it): two products on a GPU take less
time than a launch for every tap. The only copy between GPU and host is that of the commands.
"""

import time
from functools import lru_cache
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter

from sightline.base.letterbox import fill_border, split_i420
from sightline.entities import F32, U8, Box
from sightline.errors import SharedMemoryError
from sightline.video.display import AS_DECODED, Display
from sightline.video.picture import YuvPicture

#: How the planes of a frame on the GPU may lie: luma, then interleaved chroma, of 8 bits or of 16.
FORMATS = frozenset({"nv12", "p010le", "p016le"})
_MOST_SIZES = 16  # matrices kept: a camera has two lengths in luma and two in chroma


class CupyArrays:
    """An array module, and how its arrays meet memory that others own; in the tests numpy stands in for CuPy.

    All work is on the GPU's default stream, where FFmpeg's decoder is, too.
    """

    def __init__(self) -> None:
        """Import CuPy and try it.

        Raises:
            SharedMemoryError: it is not installed, or does not run here.
        """
        try:
            import cupy  # noqa: PLC0415  needs the extra `nvdec`

            probe = cupy.ones((2, 2), cupy.float16)
            (probe @ probe).get()  # finds the compiler and the library of matrix products, or fails here
        except Exception as error:  # CuPy raises many types: no library, no driver, no compiler
            raise SharedMemoryError(f"CuPy cannot be used: {error}") from error
        self.module: Any = cupy  # numpy, or what is called like it
        #: What to compute in: tensor cores take it, and keep sums in float32, so a grey level stays one.
        self.real: Any = cupy.float16

    def plane(self, plane: Any) -> Any:
        """A plane of a frame, by DLPack, as an array in the same memory."""
        return self.module.from_dlpack(_OnDefaultStream(plane))

    def at(self, address: int, byte_size: int, device: int) -> Any:
        """Memory that somebody else owns as uint8 [byte_size]."""
        cuda = self.module.cuda
        memory = cuda.MemoryPointer(cuda.UnownedMemory(address, byte_size, None, device), 0)
        return self.module.ndarray((byte_size,), self.module.uint8, memory)

    def to_host(self, array: Any) -> U8:
        """A copy in the host's memory."""
        copied: U8 = self.module.asnumpy(array)
        return copied

    def wait(self) -> None:
        """Return when everything asked for is done."""
        self.module.cuda.Stream.null.synchronize()


class _OnDefaultStream:
    """A plane whose consumer works on the default stream: PyAV exports no other."""

    def __init__(self, plane: Any) -> None:
        self._plane = plane

    def __dlpack_device__(self) -> Any:
        return self._plane.__dlpack_device__()

    def __dlpack__(self, **_: Any) -> Any:
        return self._plane.__dlpack__()


class DeviceScaler:
    """Scales the planes of a source's pictures; keeps the matrices of the last sizes. Main thread only."""

    def __init__(self, arrays: CupyArrays) -> None:
        self.arrays = arrays
        module, real = arrays.module, arrays.real
        self._matrix = lru_cache(_MOST_SIZES)(lambda *sizes: module.asarray(area_weights(*sizes), real))

    def write(self, planes: tuple[Any, Any], out: tuple[Any, Any, Any], *, full_range: bool) -> None:
        """Scale a picture and write it as I420, limited range.

        Args:
            planes: luma uint8 or uint16 [h, w], chroma [h/2, w/2, 2]; of 16 bits the high ones count.
            out: Y uint8 [height, width], U and V uint8 [height/2, width/2], on the same device.
            full_range: the source's luma and chroma use all values.
        """
        luma, chroma = planes
        out[0][:] = self._scale(luma, out[0].shape, (219 / 255, 16.0) if full_range else None)
        stretch = (224 / 255, 128 - 128 * 224 / 255) if full_range else None
        out[1][:] = self._scale(chroma[..., 0], out[1].shape, stretch)
        out[2][:] = self._scale(chroma[..., 1], out[2].shape, stretch)

    def _scale(self, plane: Any, size: tuple[int, int], stretch: tuple[float, float] | None) -> Any:
        """One plane as uint8 [height, width]; ``stretch``: a factor and what is added, in 8-bit levels."""
        module, real = self.arrays.module, self.arrays.real
        if plane.dtype.itemsize == 2:
            plane = plane.astype(module.float32) * np.float32(1 / 256)
        values = plane.astype(real)
        if plane.shape != size:
            values = self._matrix(plane.shape[0], size[0]) @ values @ self._matrix(plane.shape[1], size[1]).T
        values = values.astype(module.float32)
        if stretch is not None:
            values = values * np.float32(stretch[0]) + np.float32(stretch[1])
        return module.clip(module.rint(values), 0, 255).astype(module.uint8)


class CudaPicture(YuvPicture):
    """One decoded frame on a GPU; a :class:`sightline.base.cuda.DevicePicture`.

    The decode thread makes it, the main thread writes it. What is to be seen of it is copied to the host.
    """

    __slots__ = ("_device",)

    def __init__(
        self,
        frame: VideoFrame,
        scaler: VideoReformatter,
        device: DeviceScaler,
        display: Display = AS_DECODED,
    ) -> None:
        super().__init__(frame, scaler, display)
        self._device = device

    def luma(self) -> U8 | None:
        """The Y plane as decoded, uint8 [height, width], a copy; None when it is not of 8 bits."""
        plane = self._device.arrays.plane(self._frame.planes[0])
        return self._device.arrays.to_host(plane) if plane.dtype.itemsize == 1 else None

    def write_device(
        self, address: int, rows: int, width: int, device: int, box: Box, *, border: bool
    ) -> None:
        """Scale into a slot on the GPU; returns when it is there, for the server too."""
        out = self._device.arrays.at(address, rows * width, device).reshape(rows, width)
        if border:
            fill_border(out, box)
        self._write(self._planes(out, box))

    def write_i420(self, out: U8, box: Box | None = None) -> None:
        """Scale on the GPU and fetch the result: for slots of the host, and pictures for people.

        Args:
            out: uint8 [3/2·height, width], C-contiguous, both sides even.
            box: the part of ``out`` that the picture fills; by default all of it.
        """
        arrays = self._device.arrays
        planes = self._planes(out, box)
        height, width = planes[0].shape
        scaled = arrays.module.empty((height * 3 // 2, width), arrays.module.uint8)
        self._write(split_i420(scaled))
        for part, plane in zip(planes, split_i420(arrays.to_host(scaled)), strict=True):
            part[:] = plane

    def _write(self, out: tuple[Any, Any, Any]) -> None:
        started = time.perf_counter()
        arrays = self._device.arrays
        planes = arrays.plane(self._frame.planes[0]), arrays.plane(self._frame.planes[1])
        full = self._frame.color_range == ColorRange.JPEG
        self._device.write(planes, out, full_range=full)
        arrays.wait()
        self.scale_s = time.perf_counter() - started


def area_weights(source: int, target: int) -> F32:
    """How much of each source pixel falls into each target pixel: float32 [target, source], rows sum to 1."""
    edges = np.arange(target + 1) * (source / target)
    starts = np.arange(source)
    shared = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    weights: F32 = (np.clip(shared, 0, None) * (target / source)).astype(np.float32)
    return weights
