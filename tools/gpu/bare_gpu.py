"""An engine alone, pictures of noise ready on the device: its rate, as JSON in the last line.

python tools/gpu/bare_gpu.py rtx detector/1/rtx.engine cuda 5 384 640
python tools/gpu/bare_gpu.py torch network.pt cuda 5 384 640
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are

WARM_UPS = 20


def main(kind: str, path: str, device: str, seconds: str, height: str, width: str) -> None:
    """Print rows of the report.

    TensorRT-RTX runs in batches of one, as the served engine gets them when clients wait for each answer;
    PyTorch in batches of 1 and of 8, since requests that wait are computed together.

    Args:
        kind: ``rtx`` or ``torch``.
        path: the engine, or what ``torchnet.save`` wrote.
        device: ``cuda``, or ``cpu`` for a dry run of PyTorch.
        seconds: for each size of batch.
        height: of the network's input.
        width: of the network's input.
    """
    rows, batches = [], (1,) if kind == "rtx" else (1, 8)
    shape = batches[-1], int(height) * 3 // 2, int(width)
    noise = np.random.default_rng(0).integers(16, 236, shape, np.uint8)
    run = rtx_runner(path, noise) if kind == "rtx" else torch_runner(path, noise, device)
    for batch in batches:
        for _ in range(WARM_UPS if device != "cpu" else 1):
            run(batch)
        times: list[float] = []
        end = time.perf_counter() + float(seconds)
        while (begin := time.perf_counter()) < end:
            run(batch)
            times.append(time.perf_counter() - begin)
        p50, p99 = (np.percentile(times, (50, 99)) * 1000).round(3).tolist()
        way = "bare engine" if kind == "rtx" else f"bare engine, batches of {batch}"
        fps = round(len(times) * batch / sum(times), 2)
        rows.append({"way": way, "fps": fps, "p50_ms": p50, "p99_ms": p99})
    print(json.dumps(rows))


def rtx_runner(path: str, noise: np.ndarray) -> Callable[[int], object]:
    """Runs the one picture of ``noise``, uint8 [1, rows, width]; inside the server's Python."""
    from sightline.base.cuda import Cuda
    from sightline.serving.runtime.rtx import DeviceFrames, RtxEngine

    cuda = Cuda()
    engine = RtxEngine(Path(path), cuda=cuda)
    frames = DeviceFrames(cuda.allocate(noise.nbytes), noise.shape)
    cuda.copy(frames.address, noise.ctypes.data, noise.nbytes)
    return lambda _: engine.run(frames)


def torch_runner(path: str, noise: np.ndarray, device: str) -> Callable[[int], object]:
    """Runs the first pictures of ``noise``, uint8 [batch, rows, width]."""
    from gpu.torchnet import TorchDetector, as_frames

    network = noise.shape[1] * 2 // 3, noise.shape[2]
    detector, pictures = TorchDetector(Path(path), network, device), as_frames(noise).to(device)
    return lambda batch: detector.run([pictures[:batch]])


if __name__ == "__main__":
    main(*sys.argv[1:])
