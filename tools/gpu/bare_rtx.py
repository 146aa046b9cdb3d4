"""A TensorRT-RTX engine alone, pictures ready on the GPU: its rate, as JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from sightline.base.cuda import Cuda
from sightline.serving.runtime.rtx import DeviceFrames, RtxEngine


def main(path: str, rows: str, width: str, seconds: str) -> None:
    """Run batches of one, as the served engine gets them when clients wait for each answer."""
    cuda = Cuda()
    engine = RtxEngine(Path(path), cuda=cuda)
    pixels = np.random.default_rng(0).integers(16, 236, (1, int(rows), int(width)), np.uint8)
    address = cuda.allocate(pixels.nbytes)
    cuda.copy(address, pixels.ctypes.data, pixels.nbytes)
    frames = DeviceFrames(address, pixels.shape)
    for _ in range(20):
        engine.run(frames)
    times: list[float] = []
    end = time.perf_counter() + float(seconds)
    while (begin := time.perf_counter()) < end:
        engine.run(frames)
        times.append(time.perf_counter() - begin)
    p50, p99 = (round(float(np.percentile(times, share)) * 1000, 3) for share in (50, 99))
    print(json.dumps({"fps": round(len(times) / sum(times), 2), "p50_ms": p50, "p99_ms": p99}))


if __name__ == "__main__":
    main(*sys.argv[1:])
