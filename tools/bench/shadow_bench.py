"""What the live path pays for a shadow: latencies of live frames with one at work and without, in one run.

    python tools/bench/shadow_bench.py --video VIDEO.mp4 --network yolov8n.onnx --fps 8 --seconds 150

One camera plays a video at its own speed through the real server. The shadow (a second network, or the same
once more) mirrors half of the time, chosen at random in intervals of two seconds, so both kinds of
frames meet the same machine. A frame counts as one with a shadow when the frame before it was mirrored: the
candidate is then at work. Latency is from capture to tracks, as the track log has both; confidence intervals
are drawn over blocks of time that hold frames of both kinds.
"""

import json
import tempfile
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from sightline.base import machine
from sightline.cli.parsers import parse_aspect
from sightline.features import track_log
from sightline.features.shadow.episode import EpisodeSampler
from sightline.features.track_log import TrackedFrame
from sightline.models.export.exporter import ExportOptions, export_network
from sightline.models.registry.operations import Versions
from sightline.models.registry.triton_admin import TritonAdmin
from sightline.serving.server import TritonServer
from sightline.simulation.stack import SightlineProcess

CAMERA = "bench"
CANDIDATE = 2  # version 1 is live
SHARE = 0.5
SETTLE_S = 5.0
DRAWS = 2000
BLOCK_INTERVALS = 4
MEASURES = {"mean": None, "p50": 0.5, "p90": 0.9, "p99": 0.99}


def main() -> None:
    """Measure, print, keep."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--network", type=Path, required=True, help="ONNX to serve live")
    parser.add_argument("--candidate", type=Path, help="ONNX of the shadow; default: the same once more")
    parser.add_argument("--aspect", default="16:9", help="as for sightline model export")
    parser.add_argument("--fps", type=float, help="frames a second; default: all of the video")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--interval", type=float, default=2.0, help="seconds (default: %(default)g)")
    parser.add_argument("--nice", type=int, default=19, help="of the shadow's process (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=Path("artifacts/shadow.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sightline-shadow-") as name:
        folder = Path(name)
        repository = folder / "model_repository"
        for source in (arguments.network, arguments.candidate or arguments.network):
            export_network(ExportOptions(source, repository, shape=parse_aspect(arguments.aspect)))
        with TritonServer(repository, log_path=folder / "triton.log") as server:
            with TritonAdmin(server.grpc_url) as triton:
                Versions(repository, triton, "bench").load(CANDIDATE, nice=arguments.nice)
            frames, status = play(arguments, server.grpc_url, folder)
    report = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": machine.describe(),
        "live_dropped": status["dropped_total"],
        **summarise(frames, arguments.interval),
    }
    text = json.dumps(report, indent=2)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(text)
    print(text)


def play(arguments: Namespace, url: str, folder: Path) -> tuple[list[TrackedFrame], dict[str, Any]]:
    """The frames of the video that were tracked once everything had settled, and the camera's last status."""
    camera = {"url": str(arguments.video.resolve())}
    shadow = {"model": f"detector-{CANDIDATE}", "share": SHARE, "episode_s": arguments.interval}
    options: dict[str, Any] = {
        "allow": {"files": True},
        "shadow": {**shadow, "folder": str(folder / "shadow")},
        "track_log": {"folder": str(folder / "tracks")},
        **({"stream": {"fps": arguments.fps}} if arguments.fps else {}),
    }
    with SightlineProcess(folder, {CAMERA: camera}, triton={"url": url}, options=options) as sightline:
        sightline.wait_until_online()
        time.sleep(SETTLE_S)
        began = time.time()
        time.sleep(arguments.seconds)
        sightline.check()
        status = sightline.statuses()[CAMERA]
    frames = track_log.read(folder / "tracks", CAMERA)
    return [frame for frame in frames if frame.capture_time >= began], status


def summarise(frames: Sequence[TrackedFrame], interval_s: float) -> dict[str, Any]:
    """Latencies without and with the shadow, and their ratio with an interval over blocks of time."""
    sampler = EpisodeSampler(CAMERA, share=SHARE, episode_s=interval_s)
    pairs = list(pairwise(frames))
    seconds = np.array([frame.tracked_time - frame.capture_time for _, frame in pairs])
    shadowed = np.array([sampler.interval_no(before.capture_time) is not None for before, _ in pairs])
    blocks = np.array([frame.capture_time // (interval_s * BLOCK_INTERVALS) for _, frame in pairs])
    rows_of = [np.flatnonzero(blocks == number) for number in np.unique(blocks)]
    rows_of = [rows for rows in rows_of if 0 < shadowed[rows].sum() < len(rows)]
    if not rows_of:
        raise SystemExit("no block of time holds frames of both kinds: give more --seconds")
    random = np.random.default_rng(0)
    draws = [
        np.concatenate([rows_of[i] for i in random.integers(len(rows_of), size=len(rows_of))])
        for _ in range(DRAWS)
    ]

    def latencies(rows: Any, quantile: float | None) -> list[float]:
        parts = (seconds[rows][~shadowed[rows]], seconds[rows][shadowed[rows]])
        return [float(p.mean() if quantile is None else np.quantile(p, quantile)) * 1e3 for p in parts]

    report: dict[str, Any] = {
        "frames_without_and_with": [int((~shadowed).sum()), int(shadowed.sum())],
        "blocks": len(rows_of),
    }
    for name, quantile in MEASURES.items():
        without, with_ = latencies(np.concatenate(rows_of), quantile)
        ratios = [b / a for a, b in (latencies(rows, quantile) for rows in draws)]
        low, high = np.quantile(ratios, [0.025, 0.975])
        report[f"latency_{name}_ms"] = {
            "without": round(without, 2),
            "with": round(with_, 2),
            "ratio": round(with_ / without, 4),
            "interval_95": [round(float(low), 4), round(float(high), 4)],
        }
    return report


if __name__ == "__main__":
    main()
