"""Memory that the client writes pictures into and Triton reads them from.

A segment is one piece of memory that holds equal slots without gaps. Triton calls a segment that it has been
told of a *region* and knows it by its name. The name holds the owner and its process; what the lock on the
file of that name is for says :mod:`sightline.inference.leftovers`.
"""

import fcntl
import itertools
import logging
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from sightline.base.cuda import Cuda
from sightline.config import Transport
from sightline.entities import U8
from sightline.errors import DetectorError, SharedMemoryError
from sightline.inference.leftovers import PREFIX, SHM_FOLDER, is_abandoned, segment_prefix

log = logging.getLogger(__name__)

Call = Callable[[str, Any], Any]  # method of Triton's gRPC service and request -> answer

_generations = itertools.count(1)


class _FileLock:
    """A segment's file, locked until its owner removes it or dies."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path, unlocked = folder / name, folder / f".{name}"
        try:
            self.file = os.open(unlocked, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            fcntl.flock(self.file, fcntl.LOCK_EX)
            unlocked.rename(self._path)  # never seen without its lock
        except OSError as error:
            raise SharedMemoryError(f"cannot make {self._path}: {error.strerror}") from error

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self.file)


class Segment:
    """Slots in memory that Triton can read; of plain memory, whose pictures travel inside the request."""

    read_in_place = False  # the server reads this very memory: not freed before it has let go of it
    kind = ""  # of shared memory, as in the names of Triton's calls; empty: requests carry a copy

    def __init__(
        self,
        name: str,
        slots: int,
        shape: tuple[int, int],
        memory: U8 | None = None,
        lock: _FileLock | None = None,
        **whereabouts: Any,
    ) -> None:
        self.name = name  # of the region at the server
        self.registered = False  # the server has been told of it
        memory = np.empty(slots * shape[0] * shape[1], np.uint8) if memory is None else memory
        self._memory = memory.reshape(slots, *shape)  # [slots, 3/2·height, width] on the host
        self._lock = lock
        self._whereabouts = whereabouts  # by what the server finds the memory

    def view(self, slot: int) -> U8:
        """A slot as uint8 [3/2·height, width], writable, in host memory."""
        view: U8 = self._memory[slot]
        return view

    def flush(self, slot: int) -> None:
        """Make what was written visible to the server; nothing to do unless that takes a copy."""

    def register(self, call: Call) -> None:
        """Tell the server of the region.

        Raises a DetectorMismatch when it refuses (another host, or shared memory switched off), a
        DetectorUnavailable when it is away.
        """
        if self.kind:
            make = getattr(pb, f"{self.kind}SharedMemoryRegisterRequest")
            request = make(name=self.name, byte_size=self._memory.nbytes, **self._whereabouts)
            call(f"{self.kind}SharedMemoryRegister", request)
            self.registered = True

    def unregister(self, call: Call) -> None:
        """Take the region back, by its name: without one the server drops every client's regions."""
        _unregister(self.kind, self.name, call)
        self.registered = False

    def close(self) -> None:
        """Remove the segment's name and free the memory; views of it may outlive it, and keep it as long."""
        if self._lock is not None:
            self._lock.remove()
        del self._memory


class SystemSegment(Segment):
    """POSIX shared memory: the server maps the same pages, which live until the last process unmaps them."""

    kind = "System"

    def __init__(self, name: str, slots: int, shape: tuple[int, int], *, folder: Path = SHM_FOLDER) -> None:
        """Reserve its pages; SharedMemoryError says how much room is needed and how much is free."""
        size = slots * shape[0] * shape[1]
        lock = _FileLock(folder, name)
        try:
            # Reserving now turns a folder that is too small into an error here, not a bus error later.
            os.posix_fallocate(lock.file, 0, size)
            memory = np.frombuffer(mmap.mmap(lock.file, size), np.uint8)
        except OSError as error:
            lock.remove()
            disk, size_mb = os.statvfs(folder), size / 1e6
            raise SharedMemoryError(
                f"{folder} has no room for {size_mb:.1f} MB ({error.strerror}; "
                f"{disk.f_bavail * disk.f_frsize / 1e6:.1f} MB free): enlarge it (containers: shm_size or "
                f"--shm-size), {size_mb:.1f} MB for each worker and model"
            ) from error
        super().__init__(name, slots, shape, memory, lock, key=f"/{name}", offset=0)


class CudaSegment(Segment):
    """CUDA shared memory: pictures of the host are copied there once, pictures on the GPU stay on it.

    Its file is empty: only its lock counts.
    """

    read_in_place = True  # the server has opened the allocation itself
    kind = "Cuda"

    def __init__(
        self, name: str, slots: int, shape: tuple[int, int], *, device: int = 0, folder: Path = SHM_FOLDER
    ) -> None:
        """Allocate on the GPU; SharedMemoryError without CUDA library, GPU, or memory on it."""
        self._cuda = Cuda(device)
        self.device = device
        self._slot_bytes = shape[0] * shape[1]
        self._address = self._cuda.allocate(slots * self._slot_bytes)
        try:
            raw_handle = self._cuda.handle(self._address)
            lock = _FileLock(folder, name)
        except SharedMemoryError:
            self._cuda.free(self._address)
            raise
        super().__init__(name, slots, shape, lock=lock, raw_handle=raw_handle, device_id=device)

    def address(self, slot: int) -> int:
        """Where a slot begins in the GPU's memory."""
        return self._address + slot * self._slot_bytes

    def flush(self, slot: int) -> None:
        """Copy the slot to the GPU; returns when it is there."""
        self._cuda.copy(self.address(slot), self._memory[slot].ctypes.data, self._slot_bytes)

    def close(self) -> None:
        """Free the memory on the GPU too; the server must have closed it, and no request read it."""
        self._cuda.free(self._address)
        super().close()


_SEGMENTS = {Transport.CUDA: CudaSegment, Transport.SYSTEM: SystemSegment, Transport.GRPC: Segment}


def open_segment(kind: Transport, owner: str, slots: int, shape: tuple[int, int], call: Call) -> Segment:
    """Make a segment for slots of 3/2·height rows and so wide, under a name of its own, and register it.

    Raises what :meth:`Segment.register` does, a SharedMemoryError when the memory cannot be had here.
    """
    name = f"{segment_prefix(owner)}{os.getpid()}-{next(_generations)}"
    segment: Segment = _SEGMENTS[kind](name, slots, shape)
    try:
        segment.register(call)
    except DetectorError:
        segment.close()
        raise
    return segment


def reclaim_regions(call: Call, folder: Path = SHM_FOLDER) -> None:
    """Unregister the regions that crashed owners left at the server; DetectorError when it is away.

    Call it only when the server shares this machine's ``folder``: else a region whose file is not here may
    belong to a live client elsewhere.
    """
    for kind in ("System", "Cuda"):
        regions = call(f"{kind}SharedMemoryStatus", getattr(pb, f"{kind}SharedMemoryStatusRequest")()).regions
        for name in regions:
            if name.startswith(PREFIX) and is_abandoned(name, folder):
                _unregister(kind, name, call)
                log.info("reclaimed region %s, whose owner is gone", name)


def _unregister(kind: str, name: str, call: Call) -> None:
    call(f"{kind}SharedMemoryUnregister", getattr(pb, f"{kind}SharedMemoryUnregisterRequest")(name=name))
