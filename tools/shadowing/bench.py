"""What the live path pays for a shadow: latencies in mirrored stretches against those between, in one run.

One camera plays a video at its own speed through the real server; the shadow mirrors half of the stretches,
chosen at random, so both kinds meet the same machine. A second network, or the same one again, is the shadow.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import export
from control import Control
from operations import Versions
from sightline.clock import UtcClock
from sightline.config import Camera, TritonOptions
from sightline.entities import Detections, Frame
from sightline.errors import SourceEnded
from sightline.feed import Feed
from sightline.mailbox import Mailbox
from sightline.pipeline import STAGES, Pipeline
from sightline.shadow import Shadow
from sightline.shadow.sampling import Sampler
from sightline.shadowoptions import ShadowOptions
from sightline.source import Source
from sightline.stats import StageTimes
from sightline.tracker import Tracker, TrackerOptions
from sightline.triton import TritonDetector
from sightline.tritonserver import TritonServer
from sightline.windows import WindowCounter

LIVE, CANDIDATE, NICE = 1, 2, 19
SETTLE_S = 5.0
DRAWS = 2000


def add_to(commands: Any) -> None:
    """The command ``bench``."""
    text = "live latency with the shadow and without, in turns"
    command = commands.add_parser("bench", help=text, description=__doc__)
    command.add_argument("--video", type=Path, required=True)
    command.add_argument("--network", type=Path, required=True, help="ONNX to serve live")
    command.add_argument("--candidate", type=Path, help="ONNX of the shadow; default: the same once more")
    command.add_argument("--aspect", default="16:9", help="as for tools/export.py")
    command.add_argument("--fps", type=float, help="frames a second; default: all of the video")
    command.add_argument("--seconds", type=float, default=120.0)
    command.add_argument("--stretch", type=float, default=4.0, help="seconds (default: %(default)s)")
    command.add_argument(
        "--nice", type=int, default=NICE, help="of the shadow's process (default: %(default)s)"
    )
    command.add_argument("--json", type=Path, default=Path("artifacts/shadow.json"))
    command.set_defaults(run=run)


@dataclass
class Timed:
    """A shadow that times the live path: from a frame's arrival to its tracks, and what mirroring took."""

    shadow: Shadow
    sampler: Sampler
    stretch_s: float
    from_s: float
    latencies: defaultdict[tuple[bool, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    cost: list[float] = field(default_factory=list)

    def mirror(
        self, frame: Frame, detections: Detections, class_names: tuple[str, ...], *, busy: bool
    ) -> None:
        """Take the time, then mirror."""
        now = time.monotonic()
        mirrored = self.sampler.slot(frame.capture_time) is not None
        if now >= self.from_s:
            number = int(frame.capture_time // self.stretch_s)
            self.latencies[mirrored, number].append(now - frame.received_s)
        self.shadow.mirror(frame, detections, class_names, busy=busy)
        if mirrored:
            self.cost.append(time.monotonic() - now)


def run(given: argparse.Namespace) -> int:
    """Measure, print, keep."""
    with tempfile.TemporaryDirectory(prefix="sightline-shadow-") as name:
        folder = Path(name)
        repository = folder / "model_repository"
        for source in (given.network, given.candidate or given.network):
            shape = export._aspect(given.aspect)
            export.export(export.Options(source=source, repository=repository, shape=shape))
        with TritonServer(repository, log_path=folder / "triton.log") as server:
            with Control(server.grpc_url) as control:
                operations = Versions(repository, control, "bench")
                operations.switch(LIVE)
                operations.load(CANDIDATE, nice=given.nice)
            found = measure(given, server.grpc_url, folder)
    about = {"date": datetime.now(UTC).isoformat(timespec="minutes"), "cores": os.cpu_count()}
    found = {**about, "machine": platform.processor() or platform.machine(), **found}
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(found, indent=2))
    print(json.dumps(found, indent=2))
    return 0


def measure(given: argparse.Namespace, url: str, folder: Path) -> dict[str, Any]:
    """Play the video for a while and summarise."""
    options = ShadowOptions(
        model=f"detector-{CANDIDATE}", share=0.5, episode_s=given.stretch, folder=folder / "shadow"
    )
    camera = Camera(name="bench", url=str(given.video.resolve()), fps=given.fps, shadow=options)
    stages, mailbox = StageTimes(STAGES), Mailbox()
    clock = UtcClock()
    feed = Feed(camera.name, lambda: Source(camera, clock=clock), mailbox, stages)
    detector = TritonDetector(TritonOptions(url=url), camera.name, stages)
    candidate = TritonDetector(
        TritonOptions(url=url, model=options.model or "", in_flight=1, priority=2),
        "bench/shadow",
        StageTimes(STAGES),
    )
    pipeline = Pipeline(mailbox, Tracker(TrackerOptions()), WindowCounter(camera.name, 60), stages)
    pipeline.use_model(detector.connect())
    shadow = Shadow(camera, candidate)
    sampler = Sampler(camera.name, share=options.share, episode_s=options.episode_s)
    timed = Timed(shadow, sampler, given.stretch, time.monotonic() + SETTLE_S)
    pipeline.mirror = timed
    feed.start()
    end_s = time.monotonic() + SETTLE_S + given.seconds
    try:
        while time.monotonic() < end_s:
            pipeline.step(detector, 0.25)
    except SourceEnded:
        pass  # a mailbox closes only when files are played to their end
    finally:
        feed.stop(3.0)
        shadow.close()
        detector.close()
    return summarise(timed, pipeline, shadow)


def summarise(timed: Timed, pipeline: Pipeline, shadow: Shadow) -> dict[str, Any]:
    """Percentiles without and with the shadow, and their ratio with an interval over stretches."""
    off, on = (
        [np.array(values) * 1e3 for (mirrored, _), values in timed.latencies.items() if mirrored is wanted]
        for wanted in (False, True)
    )
    found: dict[str, Any] = {
        "frames": pipeline.frames,
        "live_dropped": pipeline.mailbox.dropped + pipeline.dropped,
        "stretches_without_and_with": [len(off), len(on)],
        "mirrored": shadow.mirrored,
        "not_mirrored": shadow.dropped,
        "mirroring_ms_p50": round(float(np.median(timed.cost)) * 1e3, 3) if timed.cost else None,
    }
    drawn = np.random.default_rng(0)
    for name, share in (("mean", None), ("p50", 0.5), ("p99", 0.99)):

        def value(parts: list[Any], share: float | None = share) -> float:
            whole = np.concatenate(parts)
            return float(whole.mean() if share is None else np.quantile(whole, share))

        ratios = [
            value([on[i] for i in drawn.integers(len(on), size=len(on))])
            / value([off[i] for i in drawn.integers(len(off), size=len(off))])
            for _ in range(DRAWS)
        ]
        low, high = np.quantile(ratios, [0.025, 0.975])
        found[f"latency_{name}_ms"] = {
            "without": round(value(off), 2),
            "with": round(value(on), 2),
            "ratio": round(value(on) / value(off), 4),
            "interval_95": [round(float(low), 4), round(float(high), 4)],
        }
    return found
