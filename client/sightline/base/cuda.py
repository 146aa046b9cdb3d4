"""Memory of an NVIDIA GPU, through the CUDA runtime (``cuda.bindings``, extra ``cuda``).

One seam: the runtime is a module whose functions answer ``(error, value, …)``. Tests hand in one that keeps
"device" memory in the host's.
"""

import ctypes
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sightline.entities import Box, Picture
from sightline.errors import SharedMemoryError

_NVIDIA_DRIVER = Path("/dev/nvidiactl")
_INSUFFICIENT_DRIVER = 35  # cudaErrorInsufficientDriver: also when there is none at all
_STREAM = 0  # the device's default stream: FFmpeg's decoder and CuPy use it too, so work is in order


@runtime_checkable
class DevicePicture(Picture, Protocol):
    """A picture that lies in the memory of a GPU."""

    def write_device(
        self, address: int, rows: int, width: int, device: int, box: Box, *, border: bool
    ) -> None:
        """Scale into a part of the uint8 I420 picture [rows, width] at an address of the GPU's memory.

        Returns when it is there. Sides are even, as for :meth:`Picture.write_i420`; ``device`` is the GPU's
        number, ``box`` the part that the picture fills; with ``border`` everything around it becomes grey.
        """


class Cuda:
    """One GPU, by its number ``device``, made the current one of the thread that makes this.

    ``runtime`` is used in place of ``cuda.bindings.runtime``. SharedMemoryError: no CUDA library, no driver
    or no such GPU; from any method, with call and error.
    """

    def __init__(self, device: int = 0, runtime: Any = None) -> None:
        self.device = device
        try:
            self._runtime = runtime or import_module("cuda.bindings.runtime")  # of the extra `cuda`
        except ImportError as error:
            raise SharedMemoryError(f"no CUDA library: install sightline[cuda] ({error})") from error
        self._call("cudaSetDevice", device)

    def allocate(self, byte_size: int) -> int:
        """The address of new memory on the GPU."""
        return int(self._call("cudaMalloc", byte_size))

    def free(self, address: int) -> None:
        """Give memory back."""
        self._call("cudaFree", address)

    def handle(self, address: int) -> bytes:
        """The 64 bytes by which another process opens the memory that begins at ``address``."""
        made = self._call("cudaIpcGetMemHandle", address)
        return ctypes.string_at(made.getPtr(), self._runtime.CUDA_IPC_HANDLE_SIZE)

    def copy(self, to: int, source: int, byte_size: int) -> None:
        """Copy between any two addresses; returns when the bytes are there, for other processes too."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDefault
        self._call("cudaMemcpyAsync", to, source, byte_size, kind, _STREAM)
        self.wait()

    def wait(self) -> None:
        """Return when everything asked of the default stream is done."""
        self._call("cudaStreamSynchronize", _STREAM)

    def _call(self, name: str, *arguments: Any) -> Any:
        """One call of the runtime; its value, if it gives one."""
        try:
            error, *values = getattr(self._runtime, name)(*arguments)
        except (RuntimeError, OSError) as problem:  # a library that is missing shows at the first call
            raise SharedMemoryError(f"CUDA cannot be used: {problem}") from problem
        if int(error):
            text = self._runtime.cudaGetErrorString(error)[1].decode(errors="replace")
            if int(error) == _INSUFFICIENT_DRIVER:
                text = f"no NVIDIA driver, or one that is too old: {text}"
            raise SharedMemoryError(f"{name} on GPU {self.device}: {text}")
        return values[0] if values else None


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA driver, so that a GPU is worth trying."""
    return _NVIDIA_DRIVER.exists()
