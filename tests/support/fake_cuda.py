"""A CUDA runtime whose "device" memory is the host's; answers as ``cuda.bindings.runtime`` does."""

import ctypes
from types import SimpleNamespace

OUT_OF_MEMORY = 2


class FakeCuda:
    CUDA_IPC_HANDLE_SIZE = 64
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyDefault=4)  # noqa: N815  its name there

    def __init__(self, room=1 << 20):
        self.room = room
        self.memory = {}
        self.copies = []
        self.waits = 0

    def cudaSetDevice(self, device):  # noqa: N802
        return (0,) if device == 0 else (101,)

    def cudaMalloc(self, size):  # noqa: N802
        if size > self.room:
            return OUT_OF_MEMORY, None
        block = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(block)] = block
        return 0, ctypes.addressof(block)

    def cudaFree(self, address):  # noqa: N802
        del self.memory[address]
        return (0,)

    def cudaIpcGetMemHandle(self, address):  # noqa: N802
        self.handle = ctypes.create_string_buffer(address.to_bytes(8, "little") * 8, 64)
        return 0, SimpleNamespace(getPtr=lambda: ctypes.addressof(self.handle))

    def cudaMemcpyAsync(self, to, source, size, kind, stream):  # noqa: N802
        ctypes.memmove(to, source, size)
        self.copies.append(size)
        return (0,)

    def cudaStreamSynchronize(self, stream):  # noqa: N802
        self.waits += 1
        return (0,)

    def cudaGetErrorString(self, error):  # noqa: N802
        return 0, b"out of memory" if error == OUT_OF_MEMORY else b"invalid device ordinal"
