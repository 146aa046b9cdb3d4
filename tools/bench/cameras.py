"""What a further camera costs: memory, processor time a frame, and the time until all are up.

    python tools/bench/cameras.py --json artifacts/cameras.json
    python tools/bench/cameras.py --checkout ../before      # the same for another checkout, in alternation
    python tools/bench/cameras.py --cameras 16 --clips 3    # what clips cost, in three rounds

Cameras of 640x360 at 5 frames/s come over real RTSP (encoded beforehand) and are answered by the real server,
through shared memory, by a model that costs nothing and returns 8 moving boxes. Measured are the supervisor
and its workers: PSS (shared pages divided among those who share them) and processor time, decoding included.

``pss_mb_per_camera`` is, for more than one camera, that of each further one; for one camera it is everything.

``--clips``: the same cameras with clips off, with clips on and no event that has one (idle), and with events
that go on all of the time (recording), in alternation. Rules, events and frames are the same. Given are the
ratios of processor time to that without clips in the same round, medians over the rounds, and what clips add
to a camera's memory.
"""

import json
import os
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

import av
import cv2
import numpy as np

from sightline.base import machine
from sightline.errors import ServerError
from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer
from sightline.simulation.stack import SightlineProcess

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from load.servers import cpu_s, parts_of, pss_mb

WIDTH, HEIGHT, FPS = 640, 360, 5
CLIP_S = 20
ROOT = Path(__file__).resolve().parents[2]
READY_TIMEOUT_S = 240.0
SETTLE_S = 5.0
KEYS = ("pss_mb_per_camera", "core_ms_per_frame", "ready_s")

CONFIG = """
backend: "python"
max_batch_size: 32
input [{ name: "frame", data_type: TYPE_UINT8, dims: [ -1, -1 ] }]
output [
  { name: "num_dets", data_type: TYPE_INT32, dims: [ 1 ] },
  { name: "det_boxes", data_type: TYPE_FP32, dims: [ -1, 4 ] },
  { name: "det_scores", data_type: TYPE_FP32, dims: [ -1 ] },
  { name: "det_classes", data_type: TYPE_INT32, dims: [ -1 ] }
]
dynamic_batching { }
parameters { key: "model_version" value { string_value: "bench-1" } }
parameters { key: "class_names" value { string_value: "[\\"person\\", \\"car\\"]" } }
parameters { key: "network_height" value { string_value: "384" } }
parameters { key: "network_width" value { string_value: "640" } }
parameters { key: "precision" value { string_value: "none" } }
parameters { key: "score_floor" value { string_value: "0.1" } }
"""
MODEL = """
import time

import numpy as np
import triton_python_backend_utils as pb_utils

from sightline.serving.runtime.backend import pack_boxes, respond


class TritonPythonModel:
    def execute(self, requests):
        left, top = np.full(8, 0.1 + 0.4 * (time.time() % 20) / 20), np.arange(8) / 10
        boxes = np.stack([left, top, left + 0.1, top + 0.09], 1).astype(np.float32)
        found = boxes, np.full(8, 0.9, np.float32), np.zeros(8, np.int32)
        counts = [pb_utils.get_input_tensor_by_name(one, "frame").shape()[0] for one in requests]
        return [respond(pb_utils, pack_boxes([found] * count)) for count in counts]
"""


def main() -> None:
    """Measure, print the table, keep the JSON."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", default="1,4,16,64", help="how many, in turn (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--checkout", type=Path, help="another checkout, measured in alternation: before")
    parser.add_argument("--cameras-per-worker", type=int, help="default: that of the program")
    parser.add_argument("--clips", type=int, metavar="ROUNDS", help="compare clips off, idle and recording")
    parser.add_argument("--json", type=Path, default=Path("artifacts/cameras.json"))
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.cameras.split(",")]
    own = {} if arguments.cameras_per_worker is None else {"cameras_per_worker": arguments.cameras_per_worker}
    which: dict[str, tuple[Path, dict[str, Any]]] = {"now": (ROOT, own)}
    if arguments.checkout is not None:
        which = {"before": (arguments.checkout.resolve(), {}), **which}
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="sightline-cameras-") as name:
        folder = Path(name)
        with stage(folder) as (camera, triton):
            if arguments.clips:
                keep(arguments.json, compare_clips(folder, camera, triton, arguments, counts[-1]))
                return
            for count in counts:
                cameras = {f"camera-{i + 1}": {"url": camera} for i in range(count)}
                for word, (checkout, options) in which.items():
                    sightline = SightlineProcess(
                        Path(tempfile.mkdtemp(dir=folder)),
                        cameras,
                        triton={"url": triton},
                        options=options,
                        environment={**os.environ, "PYTHONPATH": str(checkout / "client")},
                    )
                    runs.append({"which": word, "cameras": count, **measure(sightline, arguments.seconds)})
                print(json.dumps(runs[-1]), flush=True)
    report: dict[str, Any] = {"machine": machine.describe(), **figures(runs, "now"), "runs": runs}
    if arguments.checkout is not None:
        report["before"] = figures(runs, "before")
    print(table(report, counts))
    keep(arguments.json, report)


@contextmanager
def stage(folder: Path) -> Iterator[tuple[str, str]]:
    """A camera's URL, and that of a Triton whose model costs nothing."""
    version = folder / "repository" / "detector" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(MODEL)
    (version.parent / "config.pbtxt").write_text(CONFIG)
    with (
        RtspServer({"camera": write_clip(folder / "camera.mp4")}) as rtsp,
        TritonServer(folder / "repository", log_path=folder / "triton.log") as triton,
    ):
        yield rtsp.url("camera"), triton.grpc_url


def keep(path: Path, report: dict[str, Any]) -> None:
    """Write the report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2))
    print(f"kept in {path}")


def compare_clips(folder: Path, url: str, triton: str, arguments: Namespace, count: int) -> dict[str, Any]:
    """Measure the three in alternation, and print what clips cost."""
    zones = {"all": {"points": [[0, 0], [1, 0], [1, 1], [0, 1]], "max_occupancy": 1}}  # of 8 boxes
    # One event for each camera, which does not end: the boxes stay in the zone.
    recording: dict[str, Any] = {"enabled": True, "max_s": 3600, "kinds": ["occupancy"]}
    clips = {"off": {"enabled": False}, "idle": {**recording, "kinds": ["loiter"]}, "recording": recording}
    runs: dict[str, list[dict[str, Any]]] = {word: [] for word in clips}
    for _ in range(arguments.clips):
        for word, own in clips.items():
            place = Path(tempfile.mkdtemp(dir=folder))
            options = {**own, "folder": str(place / "clips")}
            camera = {"url": url, "rules": {"zones": zones}, "clips": options}
            sightline = SightlineProcess(
                place, {f"camera-{i + 1}": camera for i in range(count)}, triton={"url": triton}
            )
            runs[word].append(measure(sightline, arguments.seconds))
            runs[word][-1]["clip_bytes"] = sum(path.stat().st_size for path in place.rglob("*.mp4"))
            print(word, json.dumps(runs[word][-1]), flush=True)
    report: dict[str, Any] = {"machine": machine.describe(), "cameras": count, "runs": runs}
    for word in ("idle", "recording"):
        pairs = list(zip(runs[word], runs["off"], strict=True))  # each with its neighbour in time
        ratio = median(run["core_ms_per_s"] / off["core_ms_per_s"] for run, off in pairs)
        more_mb = median(run["pss_mb"] - off["pss_mb"] for run, off in pairs) / count
        report[word] = {"core_ratio": ratio, "mb_per_camera": more_mb}
        print(f"{word:10} {100 * (ratio - 1):+.1f} % of a frame's processor time, {more_mb:+.2f} MB a camera")
    return report


def write_clip(path: Path) -> Path:
    """Something that moves before a still, noisy view: a sub-stream's 512 kbit/s, a key frame each second."""
    random = np.random.default_rng(7)
    view = random.integers(90, 150, (HEIGHT * 3 // 2, WIDTH), np.uint8)
    view = cv2.GaussianBlur(view, (9, 9), 0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "fast", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        stream.codec_context.gop_size = FPS
        stream.codec_context.bit_rate = 512_000
        for index in range(CLIP_S * FPS):
            picture = view + random.integers(0, 5, view.shape, np.uint8)
            for row in range(8):
                left = (index * 6 + row * 70) % (WIDTH - 60)
                picture[row * 44 : row * 44 + 40, left : left + 50] = 40 + 20 * row
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def measure(sightline: SightlineProcess, seconds: float) -> dict[str, Any]:
    """Run the cameras and say what they cost; ``ready_s`` alone, None, when not all of them came."""

    def spent() -> tuple[float, int, float]:
        """Now, frames of all cameras, and processor time of all processes, so far."""
        frames = sum(status["frames_total"] for status in sightline.statuses().values())
        return time.monotonic(), frames, sum(cpu_s(parts_of(sightline=sightline.pid)).values())

    started_s = time.monotonic()
    with sightline:
        try:
            sightline.wait_until_online(timeout_s=READY_TIMEOUT_S)
        except ServerError as error:
            print(error)
            return {"ready_s": None}
        ready_s = round(time.monotonic() - started_s, 2)
        time.sleep(SETTLE_S)
        before = spent()
        time.sleep(seconds)
        took_s, frames, busy_s = (now - then for now, then in zip(spent(), before, strict=True))
        parts = parts_of(sightline=sightline.pid)
        return {
            "ready_s": ready_s,
            "pss_mb": sum(pss_mb(parts).values()),
            "processes": len(parts),
            "fps": frames / took_s,
            "core_ms_per_frame": 1e3 * busy_s / max(frames, 1),
            "core_ms_per_s": 1e3 * busy_s / took_s,
        }


def figures(runs: list[dict[str, Any]], which: str) -> dict[str, dict[str, float | None]]:
    """The three figures, by number of cameras."""
    own = {run["cameras"]: run for run in runs if run["which"] == which}
    result: dict[str, dict[str, float | None]] = {key: {} for key in KEYS}
    for count, run in own.items():
        pss, first = run.get("pss_mb"), own.get(1, {}).get("pss_mb")
        if pss is not None and count > 1:
            pss = (pss - first) / (count - 1) if first is not None else None
        for key, value in zip(KEYS, (pss, run.get("core_ms_per_frame"), run["ready_s"]), strict=True):
            result[key][str(count)] = value
    return result


def table(report: dict[str, Any], counts: list[int]) -> str:
    """What a person reads."""
    lines = [report["machine"], f"{'':28}" + "".join(f"{count:>10}" for count in counts)]
    for which, values in (("before", report.get("before")), ("now", report)):
        for key in KEYS if values else ():
            cells = [values[key].get(str(count)) for count in counts] if values else []
            row = "".join(f"{cell:10.2f}" if cell is not None else f"{'-':>10}" for cell in cells)
            lines.append(f"{which:8}{key:20}{row}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
