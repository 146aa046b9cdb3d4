"""The run behind ``sightline selftest``: scenes whose truth is known, the whole path, the scoreboard."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sightline.base.signals import stop_on_signals
from sightline.errors import ServerError
from sightline.serving.server import TritonServer
from sightline.simulation import demo
from sightline.simulation.scenes.spec import SCENES, SceneSpec
from sightline.simulation.selftest import ground_truth
from sightline.simulation.selftest.box_scores import TRACKEVAL_MISSING, identity_is_measured
from sightline.simulation.selftest.evidence import Evidence
from sightline.simulation.selftest.figures import Scoreboard, judge
from sightline.simulation.selftest.ground_truth import GroundTruth
from sightline.simulation.selftest.runner import RunSettings, run
from sightline.simulation.selftest.score_table import failures, table, thresholds
from sightline.simulation.selftest.simulated_cameras import BEST_CAMERA, Interrupted, SimulatedCamera, prepare

EXIT_BELOW, EXIT_INTERRUPTED = 3, 130


def run_selftest(arguments: argparse.Namespace) -> int:
    """Prepare, play, judge, print; 0 when every threshold is kept, 3 when not."""
    try:
        bounds = thresholds(arguments.require)
    except ValueError as error:
        raise ServerError(f"--require: {error}") from error
    if bounds.keys() & {"idf1", "hota"} and not identity_is_measured():
        raise ServerError(f"{TRACKEVAL_MISSING}, or give --require idf1= --require hota= to do without")
    stop = stop_on_signals()
    started_s = time.monotonic()
    try:
        scoreboard = _run(arguments, stop)
    except Interrupted:
        say("stopped; nothing is left running")
        return EXIT_INTERRUPTED
    sys.stdout.write(table(scoreboard, bounds) + "\n")
    failed = failures(scoreboard, bounds)
    if arguments.json:
        record = scoreboard.record() | {"options": _options(arguments), "failed": failed}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    took_s = time.monotonic() - started_s
    say(f"{'below what is wanted: ' + ', '.join(failed) if failed else 'passed'} ({took_s:.0f} s)")
    return EXIT_BELOW if failed else 0


def _run(arguments: argparse.Namespace, stop: threading.Event) -> Scoreboard:
    folder: Path = arguments.folder.resolve()
    cameras = cameras_of(arguments)
    prepare(cameras, folder / "videos", say, stop=stop)
    if arguments.triton_url:
        return judge(run_and_collect(cameras, folder, arguments.triton_url, arguments.database_url, stop))
    model = arguments.model or demo.bundled_model()
    with TritonServer(demo.prepare_model(model, folder), log_path=folder / "triton.log") as triton:
        say(f"Triton serves {model.name}")
        return judge(run_and_collect(cameras, folder, triton.grpc_url, arguments.database_url, stop))


def run_and_collect(
    cameras: Sequence[SimulatedCamera],
    folder: Path,
    triton_url: str,
    database_url: str | None,
    stop: threading.Event,
) -> list[tuple[str, GroundTruth, Evidence]]:
    """Play prepared cameras through a running Triton; name, truth and evidence of each."""
    remove_run(folder / "run")
    settings = RunSettings(folder / "run", triton_url, folder / "videos", database_url)
    say(f"playing {len(cameras)} cameras: {', '.join(camera.name for camera in cameras)}")
    evidence = run(cameras, settings, say, stop)
    say("judging")
    return [
        (camera.name, ground_truth.load(camera.truth(settings.videos)), evidence[camera.name])
        for camera in cameras
    ]


def remove_run(folder: Path) -> None:
    """Delete what an earlier run wrote: its rows must not be counted."""
    for path in (
        *folder.glob("*.db*"),
        *folder.glob("*.log"),
        *folder.glob("*.began"),
        *(folder / "tracks").glob("*.jsonl"),
    ):
        path.unlink()


def cameras_of(arguments: argparse.Namespace) -> list[SimulatedCamera]:
    """The cameras that the options name."""
    scenes = SCENES if arguments.scene == "all" else (arguments.scene,)
    cameras = []
    for scene in scenes:
        viewpoint = BEST_CAMERA[scene] if arguments.camera is None else arguments.camera
        for seed in arguments.seeds:
            spec = SceneSpec(
                scene, seed, arguments.light, arguments.weather, viewpoint, people=arguments.people
            )
            cameras.append(SimulatedCamera(spec, arguments.fps, arguments.length))
    return cameras


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("scene", "seeds", "fps", "length", "light", "weather", "people", "camera")
    return {name: getattr(arguments, name) for name in names}


def say(text: str) -> None:
    """One line of progress, apart from the scoreboard on standard output."""
    sys.stderr.write(f"selftest: {text}\n")
    sys.stderr.flush()
