"""An engine alone, pictures of noise ready on the device: its rate, as JSON in the last line.

python tools/gpu/bare_gpu.py rtx detector/1/rtx.engine cuda 5 384 640
python tools/gpu/bare_gpu.py torch network.pt cuda 5 384 640
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are

WARM_UPS = 20


def main(kind: str, path: str, device: str, seconds: str, height: str, width: str) -> None:
    """Print rows of the report: an ``rtx`` engine, or what ``torchnet.save`` wrote (``torch``).

    TensorRT-RTX runs in batches of one, as the served engine gets them when clients wait for each answer;
    PyTorch in batches of 1 and of 8, since requests that wait are computed together. ``device`` is ``cuda``,
    or ``cpu`` for a dry run of PyTorch; each size of batch takes so many ``seconds``.
    """
    batches = (1,) if kind == "rtx" else (1, 8)
    shape = batches[-1], int(height) * 3 // 2, int(width)
    noise = np.random.default_rng(0).integers(16, 236, shape, np.uint8)
    if kind == "rtx":  # inside the server's Python
        from sightline.base.cuda import Cuda
        from sightline.serving.runtime.rtx import DeviceFrames, RtxEngine

        cuda = Cuda()
        engine = RtxEngine(Path(path), cuda=cuda)
        frames = DeviceFrames(cuda.allocate(noise.nbytes), noise.shape)
        cuda.copy(frames.address, noise.ctypes.data, noise.nbytes)

        def run(batch: int) -> object:  # the one picture there is
            return engine.run(frames)

    else:
        from gpu.torchnet import TorchDetector, as_frames

        detector = TorchDetector(Path(path), (int(height), int(width)), device)
        pictures = as_frames(noise).to(device)

        def run(batch: int) -> object:
            return detector.run([pictures[:batch]])

    rows = []
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


if __name__ == "__main__":
    main(*sys.argv[1:])
