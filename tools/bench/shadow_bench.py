"""What the live path pays for a shadow: latencies of live frames with one at work and without, in one run.

One camera plays a video at its own speed through the real server. The shadow (a second network, or the same
once more) mirrors half of the time, chosen at random in stretches of a second or less, so both kinds of
frames meet the same machine. A frame counts as one with a shadow when the frame before it was mirrored: the
candidate is then at work. Intervals are drawn over blocks of time that hold frames of both kinds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from sightline.analysis.chain import CameraAnalysis
from sightline.analysis.observer import Observation, Observer
from sightline.analysis.options import analysis_options
from sightline.base import machine
from sightline.base.stats import StageTimes
from sightline.camera.pipeline import Pipeline
from sightline.config import Camera, StreamOptions, TritonOptions
from sightline.config.shadow_options import ShadowOptions
from sightline.entities import STAGES
from sightline.errors import SourceEnded
from sightline.features.shadow import Shadow
from sightline.features.shadow.episode_sampling import Sampler
from sightline.inference.client import TritonConnection
from sightline.models.export import exporter
from sightline.models.export.shapes import parse_aspect
from sightline.models.registry.operations import Versions
from sightline.models.registry.triton_admin import TritonAdmin
from sightline.serving.server import TritonServer
from sightline.video.clock import UtcClock
from sightline.video.feed import Feed
from sightline.video.mailbox import Mailbox
from sightline.video.source import Source

LIVE, CANDIDATE, NICE = 1, 2, 19
SETTLE_S = 5.0
DRAWS = 2000
BLOCK_STRETCHES = 8
MEASURES = {"mean": None, "p50": 0.5, "p90": 0.9, "p99": 0.99}


def add_to(commands: Any) -> None:
    """The command ``bench``."""
    text = "live latency with the shadow and without, in turns"
    command = commands.add_parser("bench", help=text, description=__doc__)
    command.add_argument("--video", type=Path, required=True)
    command.add_argument("--network", type=Path, required=True, help="ONNX to serve live")
    command.add_argument("--candidate", type=Path, help="ONNX of the shadow; default: the same once more")
    command.add_argument("--aspect", default="16:9", help="as for sightline model export")
    command.add_argument("--fps", type=float, help="frames a second; default: all of the video")
    command.add_argument("--seconds", type=float, default=120.0)
    command.add_argument("--stretch", type=float, default=0.5, help="seconds (default: %(default)s)")
    command.add_argument(
        "--nice", type=int, default=NICE, help="of the shadow's process (default: %(default)s)"
    )
    command.add_argument("--json", type=Path, default=Path("artifacts/shadow.json"))
    command.set_defaults(run=run)


@dataclass
class Timed(Observer):
    """A shadow that times the live path: from a frame's arrival to its tracks, and what mirroring took."""

    name = "timed"
    shadow: Shadow
    sampler: Sampler
    block_s: float
    from_s: float
    with_shadow: bool | None = None  # at work on the frame before; None: it was not there
    latencies_s: list[tuple[int, bool, float]] = field(default_factory=list)  # by block of time
    cost_s: list[float] = field(default_factory=list)

    def observe(self, seen: Observation) -> tuple[()]:
        """Take the time, then mirror."""
        now, frame = time.monotonic(), seen.frame
        if now >= self.from_s and self.with_shadow is not None:
            block = int(frame.capture_time // self.block_s)
            self.latencies_s.append((block, self.with_shadow, now - frame.received_s))
        mirrored, before = self.sampler.slot(frame.capture_time) is not None, self.shadow.mirrored
        self.shadow.observe(seen)
        self.with_shadow = mirrored if self.shadow.connected else None
        if self.shadow.mirrored > before:
            self.cost_s.append(time.monotonic() - now)
        return ()


def run(given: argparse.Namespace) -> int:
    """Measure, print, keep."""
    with tempfile.TemporaryDirectory(prefix="sightline-shadow-") as name:
        folder = Path(name)
        repository = folder / "model_repository"
        for source in (given.network, given.candidate or given.network):
            shape = parse_aspect(given.aspect)
            exporter.export_network(exporter.ExportOptions(source=source, repository=repository, shape=shape))
        with TritonServer(repository, log_path=folder / "triton.log") as server:
            with TritonAdmin(server.grpc_url) as control:
                operations = Versions(repository, control, "bench")
                operations.switch(LIVE)
                operations.load(CANDIDATE, nice=given.nice)
            found = measure(given, server.grpc_url, folder)
    about = {"date": datetime.now(UTC).isoformat(timespec="minutes"), "cores": os.cpu_count()}
    found = {**about, "machine": machine.describe(), **found}
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(found, indent=2))
    print(json.dumps(found, indent=2))
    return 0


def measure(given: argparse.Namespace, url: str, folder: Path) -> dict[str, Any]:
    """Play the video for a while and summarise."""
    options = ShadowOptions(model=f"detector-{CANDIDATE}", share=0.5, folder=folder / "shadow")
    options = options.model_copy(update={"episode_s": given.stretch})  # shorter than tracks could bear
    camera = Camera(
        name="bench", url=str(given.video.resolve()), stream=StreamOptions(fps=given.fps), shadow=options
    )
    stages, mailbox = StageTimes(STAGES), Mailbox()
    clock = UtcClock()
    feed = Feed(camera.name, lambda: Source(camera, clock=clock), mailbox, stages)
    connection = TritonConnection(TritonOptions(url=url), camera.name)
    detector = connection.model()
    candidate = connection.model(options.model or "", slots=2, priority=2)
    pipeline = Pipeline(mailbox, CameraAnalysis(analysis_options(camera)), stages)
    pipeline.analysis.use_model(detector.connect())
    shadow = Shadow(camera, candidate, busy=lambda: len(mailbox) > 0)
    sampler = Sampler(camera.name, share=options.share, episode_s=options.episode_s)
    timed = Timed(shadow, sampler, given.stretch * BLOCK_STRETCHES, time.monotonic() + SETTLE_S)
    pipeline.observers.append(timed)
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
        connection.close()
    return summarise(timed, pipeline, shadow)


def summarise(timed: Timed, pipeline: Pipeline, shadow: Shadow) -> dict[str, Any]:
    """Latencies without and with the shadow, and their ratio with an interval over blocks of time."""
    blocks, kinds, seconds = (np.array(column) for column in zip(*timed.latencies_s, strict=True))
    numbers = np.unique(blocks)
    rows_of = [np.flatnonzero(blocks == number) for number in numbers]
    found: dict[str, Any] = {
        "frames": pipeline.frames,
        "live_dropped": pipeline.mailbox.dropped + pipeline.dropped,
        "frames_without_and_with": [int((~kinds).sum()), int(kinds.sum())],
        "blocks": len(numbers),
        "mirrored": shadow.mirrored,
        "not_mirrored": shadow.dropped,
        "mirroring_ms_p50": round(float(np.median(timed.cost_s)) * 1e3, 3),
    }
    drawn = np.random.default_rng(0)
    picks = [drawn.integers(len(numbers), size=len(numbers)) for _ in range(DRAWS)]
    samples = [np.concatenate([rows_of[i] for i in pick]) for pick in picks]
    whole = np.arange(len(seconds))

    def pair(rows: Any, share: float | None) -> tuple[float, float]:
        parts = (seconds[rows][~kinds[rows]], seconds[rows][kinds[rows]])
        without, with_ = (float(x.mean() if share is None else np.quantile(x, share)) * 1e3 for x in parts)
        return without, with_

    for name, share in MEASURES.items():
        without, with_ = pair(whole, share)
        ratios = [b / a for a, b in (pair(rows, share) for rows in samples)]
        low, high = np.quantile(ratios, [0.025, 0.975])
        found[f"latency_{name}_ms"] = {
            "without": round(without, 2),
            "with": round(with_, 2),
            "ratio": round(with_ / without, 4),
            "interval_95": [round(float(low), 4), round(float(high), 4)],
        }
    return found
