"""The CUDA runtime, around one that stands in for the GPU's."""

import sys

import pytest

from sightline.base.cuda import Cuda
from sightline.errors import SharedMemoryError
from support.fake_cuda import FakeCuda


def test_no_room_on_the_gpu_is_an_error_that_says_so():
    with pytest.raises(SharedMemoryError, match="cudaMalloc on GPU 0: out of memory"):
        Cuda(runtime=FakeCuda(room=0)).allocate(24)
    with pytest.raises(SharedMemoryError, match="cudaSetDevice on GPU 3: invalid device"):
        Cuda(3, runtime=FakeCuda())


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(SharedMemoryError, match=r"install sightline\[cuda\]"):
        Cuda()
