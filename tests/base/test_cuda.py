"""CUDA shared memory around a runtime that stands in for the GPU's."""

import ctypes
import sys

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from sightline.config.loader import Transport
from sightline.errors import SharedMemoryError
from sightline.inference.regions import close_region, open_region
from sightline.inference.segments import CudaSegment, write_picture
from support.fake_cuda import FakeCuda

ROWS, WIDTH = 6, 4


class Picture:
    """On the host; and with ``write_device``, on the GPU."""

    width, height, scale_s = 8, 8, 0.0

    def write_i420(self, out):
        out[:] = 7


class PictureOnDevice(Picture):
    def write_device(self, address, rows, width, device):
        ctypes.memset(address, 9, rows * width)


@pytest.fixture
def runtime():
    return FakeCuda()


def stored(segment, slot):
    return np.frombuffer(ctypes.string_at(segment.address(slot), ROWS * WIDTH), np.uint8).tolist()


def test_a_picture_of_the_host_is_copied_once_into_its_own_slot(runtime):
    segment = CudaSegment("name", 3, ROWS * WIDTH, runtime=runtime)
    write_picture(segment, 1, ROWS, WIDTH, Picture())
    assert [stored(segment, slot)[0] for slot in range(3)] == [0, 7, 0]
    assert stored(segment, 1) == [7] * ROWS * WIDTH
    assert runtime.copies == [ROWS * WIDTH]
    assert runtime.waits == 1  # another process reads it: it must be there when the request is sent


def test_a_picture_on_the_gpu_stays_there(runtime):
    segment = CudaSegment("name", 2, ROWS * WIDTH, runtime=runtime)
    write_picture(segment, 1, ROWS, WIDTH, PictureOnDevice())
    assert stored(segment, 1) == [9] * ROWS * WIDTH
    assert stored(segment, 0) == [0] * ROWS * WIDTH
    assert runtime.copies == []


def test_the_server_is_told_the_handle_itself_and_the_memory_is_freed(runtime, monkeypatch):
    monkeypatch.setattr("sightline.base.cuda._import_runtime", lambda: runtime)
    calls = []
    segment = open_region(Transport.CUDA, "name", 2, 24, lambda *call: calls.append(call))
    method, request = calls[0]
    assert method == "CudaSharedMemoryRegister"
    assert request.raw_handle == segment.address(0).to_bytes(8, "little") * 8  # 64 bytes, not their base64
    assert request.byte_size == 2 * segment.slot_bytes
    close_region(segment, lambda *call: calls.append(call))
    assert calls[1] == ("CudaSharedMemoryUnregister", pb.CudaSharedMemoryUnregisterRequest(name="name"))
    segment.close()
    assert runtime.memory == {}


def test_no_room_on_the_gpu_is_said():
    with pytest.raises(SharedMemoryError, match="cudaMalloc on GPU 0: out of memory"):
        CudaSegment("name", 1, 24, runtime=FakeCuda(room=0))
    with pytest.raises(SharedMemoryError, match="cudaSetDevice on GPU 3: invalid device"):
        CudaSegment("name", 1, 24, device=3, runtime=FakeCuda())


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(SharedMemoryError, match=r"install sightline\[cuda\]"):
        CudaSegment("name", 1, 24)
