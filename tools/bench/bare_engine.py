"""The bare engine's rate: pictures that lie ready in memory, nothing else. Runs in the server's environment.

    PYTHONPATH=client …/triton/bin/python tools/bench/bare_engine.py MODEL.onnx PICTURES.npy --seconds 15

PICTURES.npy holds uint8 [count, 3/2·height, width]: I420 at the network's size, the very bytes that the
served network gets. The engine is the served one, with the same threads and streams.
"""

import json
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

import numpy as np

from sightline.serving.runtime.backend import CpuEngine


def main() -> None:
    """Print one JSON line with frames and seconds."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--warm-up", type=float, default=2.0, help="seconds before the clock starts")
    arguments = parser.parse_args()
    pictures = np.load(arguments.pictures)
    rows, width = pictures.shape[1:]
    engine = CpuEngine(arguments.model, (rows * 2 // 3, width))
    errors: list[Exception] = []

    def end(_kept: object, error: Exception | None) -> None:
        if error is not None:
            errors.append(error)

    def run(seconds: float) -> tuple[int, float]:
        started, frames = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            picture = pictures[frames % len(pictures)]
            engine.submit([picture], lambda index, head: None, end)
            frames += 1
        engine.wait()
        return frames, time.perf_counter() - started

    run(arguments.warm_up)
    before_s = time.process_time()
    frames, seconds = run(arguments.seconds)
    core_ms = (time.process_time() - before_s) / frames * 1000  # hardly moved by what else runs here
    if errors:
        raise errors[0]
    print(json.dumps({"frames": frames, "seconds": seconds, "fps": frames / seconds, "core_ms": core_ms}))


if __name__ == "__main__":
    main()
