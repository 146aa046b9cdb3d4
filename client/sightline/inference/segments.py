"""Memory that the client writes pictures into and Triton reads them from.

A segment holds equal slots, one picture each. It is made once, named after its camera and process, and
never written to while a request that reads it is in flight: whoever acquires a slot keeps it until the
request has ended. The owner holds a lock on the segment's file for as long as it lives, so
that a later process can tell a crashed owner's leftovers from a live neighbour's segment, across
containers too.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import re
from collections import deque
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sightline.base.cuda import Cuda, DevicePicture
from sightline.entities import U8, Picture
from sightline.errors import SharedMemoryError

SHM_FOLDER = Path("/dev/shm")  # noqa: S108  where POSIX shared memory lives
PREFIX = "sightline-camera-"  # not shared with the embedded Triton, whose own regions nobody locks


class Segment(Protocol):
    """Slots in some memory that Triton can read."""

    name: str  # the region's name at the server
    slot_bytes: int
    slots: int

    def view(self, slot: int, rows: int, width: int) -> U8:
        """A writable uint8 [rows, width] at the start of ``slot``, in host memory."""

    def flush(self, slot: int, byte_size: int) -> None:
        """Make what was written visible to the server (a copy to the GPU for CUDA; nothing else)."""

    def close(self) -> None:
        """Free the memory. The region must have been unregistered, or the server be gone."""


class SlotPool:
    """Which slots of a segment are free. Main thread acquires; any thread releases (deque is atomic)."""

    def __init__(self, slots: int) -> None:
        self._size = slots
        self._free = deque(range(slots))

    def acquire(self) -> int | None:
        """A free slot's number, or None when every request is still in flight."""
        try:
            return self._free.popleft()
        except IndexError:
            return None

    def release(self, slot: int) -> None:
        """Give a slot back, once the request that read it has ended."""
        self._free.append(slot)

    @property
    def idle(self) -> bool:
        """True when no request is in flight."""
        return len(self._free) == self._size


class SystemSegment:
    """POSIX shared memory."""

    def __init__(self, name: str, slots: int, slot_bytes: int, *, folder: Path = SHM_FOLDER) -> None:
        """Make the segment and reserve its pages.

        Raises:
            SharedMemoryError: there is no room; the text says how much is needed and how much is free.
        """
        self.name = name
        self.slots = slots
        self.slot_bytes = _page_aligned(slot_bytes)
        self._path = folder / name
        size = self.slots * self.slot_bytes
        try:
            self._file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        except OSError as error:
            raise SharedMemoryError(f"cannot make {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Reserving now turns a folder that is too small into an error here, not a bus error later.
            os.posix_fallocate(self._file, 0, size)
            self._memory = mmap.mmap(self._file, size)
        except OSError as error:
            os.close(self._file)
            self._path.unlink(missing_ok=True)
            raise SharedMemoryError(_no_room(folder, size, error)) from error

    def view(self, slot: int, rows: int, width: int) -> U8:
        """A writable uint8 [rows, width] at the start of ``slot``."""
        return np.ndarray((rows, width), np.uint8, self._memory, slot * self.slot_bytes)

    def flush(self, slot: int, byte_size: int) -> None:
        """Nothing to do: the server maps the same pages."""

    def close(self) -> None:
        """Remove the segment's name and let go of its memory."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)
        # Views handed out may still be alive; the mapping goes with the last of them.
        del self._memory


class HostSegment:
    """Plain memory for pictures that travel inside the request."""

    def __init__(self, name: str, slots: int, slot_bytes: int) -> None:
        self.name = name
        self.slots = slots
        self.slot_bytes = slot_bytes
        self._memory = np.empty((slots, slot_bytes), np.uint8)

    def view(self, slot: int, rows: int, width: int) -> U8:
        """A writable uint8 [rows, width] at the start of ``slot``."""
        return self._memory[slot, : rows * width].reshape(rows, width)

    def flush(self, slot: int, byte_size: int) -> None:
        """Nothing to do: the request carries a copy."""

    def close(self) -> None:
        """Nothing to do: Python frees it."""


class CudaSegment:
    """CUDA shared memory: pictures of the host are copied there once, pictures on the GPU stay on it."""

    def __init__(
        self, name: str, slots: int, slot_bytes: int, *, device: int = 0, runtime: Any = None
    ) -> None:
        """Allocate on the GPU.

        Raises:
            SharedMemoryError: no CUDA library, no GPU, or no memory on it.
        """
        self._cuda = Cuda(device, runtime)
        self.name = name
        self.slots = slots
        self.slot_bytes = _page_aligned(slot_bytes)
        self.device = device
        self._staging = np.empty((slots, self.slot_bytes), np.uint8)
        self._address = self._cuda.allocate(slots * self.slot_bytes)
        try:
            self.raw_handle = self._cuda.handle(self._address)  # by which the server opens it
        except SharedMemoryError:
            self.close()
            raise

    def view(self, slot: int, rows: int, width: int) -> U8:
        """A writable uint8 [rows, width] in host memory; :meth:`flush` takes it to the GPU."""
        return self._staging[slot, : rows * width].reshape(rows, width)

    def address(self, slot: int) -> int:
        """Where a slot begins in the GPU's memory."""
        return self._address + slot * self.slot_bytes

    def flush(self, slot: int, byte_size: int) -> None:
        """Copy the slot to the GPU; returns when it is there."""
        self._cuda.copy(self.address(slot), self._staging[slot].ctypes.data, byte_size)

    def close(self) -> None:
        """Free the GPU memory."""
        self._cuda.free(self._address)


def write_picture(segment: Segment, slot: int, rows: int, width: int, picture: Picture) -> None:
    """Scale a picture into a slot: on the GPU when both are there, else through the host's memory.

    Args:
        segment: where to.
        slot: acquired, so that nobody reads it.
        rows: 3/2·height of the scaled picture.
        width: of the scaled picture, in pixels.
        picture: what to scale.
    """
    if isinstance(segment, CudaSegment) and isinstance(picture, DevicePicture):
        picture.write_device(segment.address(slot), rows, width, segment.device)
        return
    picture.write_i420(segment.view(slot, rows, width))
    segment.flush(slot, rows * width)


def segment_prefix(camera: str) -> str:
    """What every segment of a camera starts with; distinct cameras never share one."""
    slug = re.sub(r"[^A-Za-z0-9]", "_", camera)[:32]
    return f"{PREFIX}{slug}-{hashlib.sha256(camera.encode()).hexdigest()[:8]}-"


def is_abandoned(name: str, folder: Path = SHM_FOLDER) -> bool:
    """True when no live process holds the segment: its file is gone, or nobody locks it."""
    try:
        file = os.open(folder / name, os.O_RDWR)
    except FileNotFoundError:
        return True
    except OSError:
        return False  # somebody else's: not ours to judge
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def remove_abandoned(prefix: str = PREFIX, folder: Path = SHM_FOLDER) -> list[str]:
    """Unlink the segments that crashed processes left behind; gives their names."""
    removed = []
    for path in folder.glob(f"{prefix}*"):
        if is_abandoned(path.name, folder):
            path.unlink(missing_ok=True)
            removed.append(path.name)
    return removed


def _page_aligned(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


def _no_room(folder: Path, size: int, error: OSError) -> str:
    disk = os.statvfs(folder)
    free_mb = disk.f_bavail * disk.f_frsize / 1e6
    return (
        f"{folder} has no room for {size / 1e6:.1f} MB ({error.strerror}; {free_mb:.1f} MB free): enlarge it "
        f"(containers: shm_size or --shm-size), {size / 1e6:.1f} MB for each camera"
    )
