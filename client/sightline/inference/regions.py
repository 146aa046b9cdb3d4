"""Segments made known to Triton, and taken back: always by name, since without one it drops everybody's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from tritonclient.grpc import service_pb2 as pb

from sightline.config.loader import Transport
from sightline.errors import DetectorError, DetectorMismatch
from sightline.inference.segments import (
    CudaSegment,
    HostSegment,
    Segment,
    SystemSegment,
    is_abandoned,
    segment_prefix,
)

log = logging.getLogger(__name__)

Call = Callable[[str, Any], Any]  # method of Triton's gRPC service and request -> answer


def open_region(kind: Transport, name: str, slots: int, slot_bytes: int, call: Call) -> Segment:
    """Make a segment and register it.

    Raises:
        SharedMemoryError: the memory cannot be had here.
        DetectorMismatch: the server refuses it (another host, or shared memory switched off).
        DetectorUnavailable: the server is away.
    """
    if kind is Transport.GRPC:
        return HostSegment(name, slots, slot_bytes)
    segment = (CudaSegment if kind is Transport.CUDA else SystemSegment)(name, slots, slot_bytes)
    try:
        _register(segment, call)
    except DetectorError:
        segment.close()
        raise
    return segment


def close_region(segment: Segment, call: Call) -> None:
    """Unregister a segment by its name; its memory stays until :meth:`Segment.close`.

    Raises:
        DetectorError: the server is away or refuses.
    """
    if isinstance(segment, CudaSegment):
        call("CudaSharedMemoryUnregister", pb.CudaSharedMemoryUnregisterRequest(name=segment.name))
    elif isinstance(segment, SystemSegment):
        call("SystemSharedMemoryUnregister", pb.SystemSharedMemoryUnregisterRequest(name=segment.name))


def reclaim_regions(camera: str, call: Call) -> None:
    """Unregister what a crashed predecessor of this camera's worker left at the server.

    Raises:
        DetectorUnavailable: the server is away.
    """
    try:
        answer = call("SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest())
    except DetectorMismatch as error:
        log.debug("camera %s: the server has no shared memory: %s", camera, error)
        return
    for name in answer.regions:
        if name.startswith(segment_prefix(camera)) and is_abandoned(name):
            call("SystemSharedMemoryUnregister", pb.SystemSharedMemoryUnregisterRequest(name=name))
            log.info("camera %s: reclaimed region %s", camera, name)


def _register(segment: SystemSegment | CudaSegment, call: Call) -> None:
    size = segment.slots * segment.slot_bytes
    if isinstance(segment, CudaSegment):
        request = pb.CudaSharedMemoryRegisterRequest(
            name=segment.name, raw_handle=segment.raw_handle, device_id=segment.device, byte_size=size
        )
        call("CudaSharedMemoryRegister", request)
    else:
        request = pb.SystemSharedMemoryRegisterRequest(
            name=segment.name, key=f"/{segment.name}", offset=0, byte_size=size
        )
        call("SystemSharedMemoryRegister", request)
