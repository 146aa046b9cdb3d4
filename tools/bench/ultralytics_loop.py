"""The loop that most people start from: Ultralytics' ``track(stream=True)`` over a video.

Runs in the environment of sightline.models.export.ultralytics_env. Prints one JSON line with
frames and seconds of the steady part: the first second, which loads and warms up, is left out.
"""

import json
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter

from ultralytics import YOLO


def main() -> None:
    """Track until the seconds are over or the video ends."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("video")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0: torch's own choice")
    arguments = parser.parse_args()
    if arguments.threads:
        import torch

        torch.set_num_threads(arguments.threads)
    started, frames, shape = None, 0, None
    results = YOLO(arguments.model).track(
        arguments.video, stream=True, verbose=False, tracker="bytetrack.yaml", device="cpu"
    )
    for index, result in enumerate(results):
        shape = result.orig_shape
        now = time.perf_counter()
        if index == 20:
            started = now
        if started is not None:
            frames = index - 20
            if now - started >= arguments.seconds:
                break
    seconds = time.perf_counter() - (started or 0.0)
    print(json.dumps({"frames": frames, "seconds": seconds, "fps": frames / seconds, "picture": shape}))


if __name__ == "__main__":
    main()
