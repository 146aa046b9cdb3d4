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
from sightline.simulation.selftest.evidence import Evidence
from sightline.simulation.selftest.figures import Scoreboard, judge
from sightline.simulation.selftest.ground_truth import Known
from sightline.simulation.selftest.runner import Setting, play
from sightline.simulation.selftest.score_table import failures, table, thresholds
from sightline.simulation.selftest.simulated_cameras import BEST_CAMERA, Interrupted, Part, prepare

EXIT_BELOW, EXIT_INTERRUPTED = 3, 130


def run_selftest(arguments: argparse.Namespace) -> int:
    """Prepare, play, judge, print; 0 when every threshold is kept, 3 when not."""
    try:
        bounds = thresholds(arguments.require)
    except ValueError as error:
        raise ServerError(f"--require: {error}") from error
    stop = stop_on_signals()
    started_s = time.monotonic()
    try:
        board = _run(arguments, stop)
    except Interrupted:
        say("stopped; nothing is left running")
        return EXIT_INTERRUPTED
    write(table(board, bounds))
    failed = failures(board, bounds)
    if arguments.json:
        record = board.record() | {"options": _options(arguments), "failed": failed}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    took_s = time.monotonic() - started_s
    say(f"{'below what is wanted: ' + ', '.join(failed) if failed else 'passed'} ({took_s:.0f} s)")
    return EXIT_BELOW if failed else 0


def _run(arguments: argparse.Namespace, stop: threading.Event) -> Scoreboard:
    folder: Path = arguments.folder.resolve()
    parts = parts_of(arguments)
    prepare(parts, folder / "videos", say, stop=stop)
    if arguments.triton_url:
        return judge(rehearse(parts, folder, arguments.triton_url, arguments.database_url, stop))
    model = arguments.model or demo.bundled_model()
    with TritonServer(demo.prepare_model(model, folder), log_path=folder / "triton.log") as triton:
        say(f"Triton serves {model.name}")
        return judge(rehearse(parts, folder, triton.grpc_url, arguments.database_url, stop))


def rehearse(
    parts: Sequence[Part], folder: Path, triton_url: str, database_url: str | None, stop: threading.Event
) -> list[tuple[str, Known, Evidence]]:
    """Play prepared cameras through a Triton that serves; name, truth and evidence of each."""
    run = folder / "run"
    remove_run(run)
    setting = Setting(run, triton_url, folder / "videos", database_url)
    say(f"playing {len(parts)} cameras: {', '.join(part.name for part in parts)}")
    evidence = play(parts, setting, say, stop)
    say("judging")
    return [(part.name, ground_truth.load(part.truth(setting.videos)), evidence[part.name]) for part in parts]


def remove_run(folder: Path) -> None:
    """Take away what an earlier run left: its rows must not be counted."""
    kept = [*folder.glob("*.db*"), *folder.glob("*.began"), *(folder / "tracks").glob("*.jsonl")]
    for path in kept:
        path.unlink()


def parts_of(arguments: argparse.Namespace) -> list[Part]:
    """The cameras that the options name."""
    scenes = SCENES if arguments.scene == "all" else (arguments.scene,)
    parts = []
    for scene in scenes:
        camera = BEST_CAMERA[scene] if arguments.camera is None else arguments.camera
        for seed in arguments.seeds:
            spec = SceneSpec(scene, seed, arguments.light, arguments.weather, camera, people=arguments.people)
            parts.append(Part(spec, arguments.fps, arguments.length))
    return parts


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("scene", "seeds", "fps", "length", "light", "weather", "people", "camera")
    return {name: getattr(arguments, name) for name in names}


def say(text: str) -> None:
    """One line of progress, beside the scoreboard."""
    sys.stderr.write(f"selftest: {text}\n")
    sys.stderr.flush()


def write(text: str) -> None:
    """The scoreboard itself."""
    sys.stdout.write(text + "\n")
