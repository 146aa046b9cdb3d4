"""The network on PyTorch alone, pictures ready on the device: its rate, as JSON.

python tools/gpu/bare_torch.py network.pt cuda 5 384 640 540 640 1 8
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from gpu.torchnet import TorchDetector, as_frames

WARM_UPS = 20


def main(path: str, device: str, *numbers: str) -> None:
    """Print for each size of batch ``fps`` (pictures), ``p50_ms`` and ``p99_ms`` (batches).

    Args:
        path: what ``torchnet.save`` wrote.
        device: ``cuda`` or ``cpu``.
        numbers: seconds for each, height and width of the network's input, rows and width of the pictures
            (I420), then the sizes of batches.
    """
    height, width, rows, columns, *batches = map(int, numbers[1:])
    detector = TorchDetector(Path(path), (height, width), device)
    found = {batch: rate(detector, (batch, rows, columns), device, float(numbers[0])) for batch in batches}
    print(json.dumps(found))


def rate(
    detector: TorchDetector, shape: tuple[int, int, int], device: str, seconds: float
) -> dict[str, float]:
    """The same batch of noise, uint8 [batch, rows, width], again and again, each answer awaited."""
    pixels = np.random.default_rng(0).integers(16, 236, shape, np.uint8)
    frames = [as_frames(pixels).to(device)]
    for _ in range(WARM_UPS if device != "cpu" else 1):
        detector.run(frames)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        detector.run(frames)
        times.append(time.perf_counter() - begin)
    p50, p99 = (round(float(np.percentile(times, share)) * 1000, 3) for share in (50, 99))
    return {"fps": round(len(times) * shape[0] / sum(times), 2), "p50_ms": p50, "p99_ms": p99}


if __name__ == "__main__":
    main(*sys.argv[1:])
