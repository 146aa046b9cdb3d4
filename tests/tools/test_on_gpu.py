"""CUDA shared memory and scaling with a real GPU: what the tests beside only have stand-ins for."""

import multiprocessing
import os

import numpy as np
import pytest

from sightline.base.cuda import Cuda, has_gpu
from sightline.base.letterbox import split_i420
from sightline.inference.segments import CudaSegment
from sightline.video.device_picture import CupyArrays, DeviceScaler

ROWS, WIDTH, SLOTS = 36, 32, 3

pytestmark = pytest.mark.skipif(not has_gpu(), reason="no NVIDIA driver here")


class Noise:
    """A picture of the host that has the served size."""

    scale_s = 0.0
    width, height = WIDTH, ROWS * 2 // 3

    def __init__(self, seed):
        self.pixels = np.random.default_rng(seed).integers(0, 256, (ROWS, WIDTH), np.uint8)

    def write_i420(self, out, box=None):
        out[:] = self.pixels


def read_elsewhere(handle, places, sender):
    """Open memory of another process by its handle, as Triton does, and send what is in it."""
    from cuda.bindings import runtime

    cuda = Cuda()
    opened = runtime.cudaIpcMemHandle_t()
    opened.reserved = handle
    error, address = runtime.cudaIpcOpenMemHandle(opened, runtime.cudaIpcMemLazyEnablePeerAccess)
    assert int(error) == 0
    found = np.empty((ROWS, WIDTH), np.uint8)
    for place in places:
        cuda.copy(found.ctypes.data, int(address) + place, found.nbytes)
        sender.send(found.tobytes())


def test_another_process_reads_what_was_written_into_a_slot():
    segment = CudaSegment(f"sightline-test-{os.getpid()}", SLOTS, (ROWS, WIDTH))
    calls = []
    segment.register(lambda _, request: calls.append(request))
    pictures = [Noise(slot) for slot in range(SLOTS)]
    for slot, picture in enumerate(pictures):
        picture.write_i420(segment.view(slot))
        segment.flush(slot)
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    places = [slot * ROWS * WIDTH for slot in range(SLOTS)]
    reader = context.Process(target=read_elsewhere, args=(calls[0].raw_handle, places, sender))
    reader.start()
    sender.close()
    found = [receiver.recv() for _ in places]
    reader.join(60)
    segment.close()
    assert found == [picture.pixels.tobytes() for picture in pictures]


def test_the_gpu_scales_as_the_arithmetic_says():
    pytest.importorskip("cupy")
    rng = np.random.default_rng(0)
    luma = rng.integers(0, 256, (108, 192), np.uint8)
    chroma = rng.integers(0, 256, (54, 96, 2), np.uint8)
    rows, width = 54, 64
    arrays = CupyArrays()
    on_gpu = arrays.module.empty((rows, width), np.uint8)
    planes = tuple(map(arrays.module.asarray, (luma, chroma)))
    DeviceScaler(arrays).write(planes, split_i420(on_gpu), full_range=False)
    on_host = np.empty((rows, width), np.uint8)
    DeviceScaler(OnHost()).write((luma, chroma), split_i420(on_host), full_range=False)
    assert np.abs(arrays.to_host(on_gpu).astype(int) - on_host).max() <= 1


class OnHost:
    module, real = np, np.float32
