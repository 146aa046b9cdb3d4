"""How much of the bare engine's speed reaches the database, and how that compares with the usual loop.

    make bench                                    # the shared video and network, when they are there
    python tools/bench/benchmark.py --video VIDEO.mp4 --model yolov8n.onnx --checkpoint yolov8n.pt

In one run, in turns, on the same video and the same weights:

  engine       pictures ready in memory into the engine, with the threads that the served one has
  pipeline     the whole of Sightline: file, decoder, scaler, shared memory, Triton, tracker, windows, SQLite
  ultralytics  YOLO(checkpoint).track(video, stream=True), in its own environment; needs --checkpoint

Engine and clients share this machine's cores. Rates drift with the machine, so every round runs all three
and the ratios are taken within a round; the table gives their medians and their range.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
import numpy as np

from sightline.base import machine
from sightline.base.geometry import fit_size
from sightline.camera.messages import Report, WorkerSpec
from sightline.config import parse_config
from sightline.models.export import ultralytics_env
from sightline.serving.runtime import numerics
from sightline.serving.server import TritonServer, install
from sightline.store.writer import Writer
from sightline.supervisor.supervisor import WorkerHandle
from sightline.video.picture import YuvPicture

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("SIGHTLINE_SHARED", ROOT.parent / "shared"))
PICTURES = 64


@dataclass(frozen=True)
class Setting:
    """What is measured, and where it lies."""

    video: Path
    repository: Path
    model: Path  # the ONNX that is served
    checkpoint: Path | None
    network: tuple[int, int]  # height, width
    seconds: float
    in_flight: int
    work: Path


def main() -> None:
    """Measure, print the table, keep the JSON."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="sightline-bench-") as work:
        setting = prepare(arguments, Path(work))
        rounds = [measure(setting, number) for number in range(arguments.rounds)]
    report = summarise(rounds, setting)
    print(table(report))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=2))
    print(f"\nkept in {arguments.json}")


def parse_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--video", type=Path, default=SHARED / "videos/one-by-one-person-detection.mp4")
    parser.add_argument("--model", type=Path, default=SHARED / "models/yolov8n.onnx", help="network to serve")
    parser.add_argument("--checkpoint", type=Path, help="the same weights as .pt, for Ultralytics")
    parser.add_argument("--aspect", default="16:9", help="the network's shape, as for sightline model export")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--in-flight", type=int, default=6, help="requests in flight (triton.in_flight)")
    parser.add_argument("--json", type=Path, default=Path("artifacts/benchmark.json"))
    arguments = parser.parse_args()
    for key in ("video", "model"):
        if not getattr(arguments, key).is_file():
            parser.error(f"{getattr(arguments, key)} is not there; give --{key} FILE")
    default = SHARED / "models/yolov8n.pt"
    if arguments.checkpoint is None and default.is_file() and arguments.model.stem == default.stem:
        arguments.checkpoint = default
    return arguments


def prepare(arguments: argparse.Namespace, work: Path) -> Setting:
    """Export the network into a repository of the benchmark's own."""
    repository = work / "model_repository"
    export = [
        sys.executable,
        *("-m", "sightline", "model", "export"),
        str(arguments.model),
        "--aspect",
        arguments.aspect,
    ]
    subprocess.run([*export, "--repository", str(repository)], check=True)
    manifest = json.loads((repository / "yolo/1/manifest.json").read_text())
    if arguments.checkpoint is not None and not ultralytics_env.folder().is_dir():
        print("ultralytics is left out: make its environment with `make ultralytics`")
        arguments.checkpoint = None
    return Setting(
        video=arguments.video.resolve(),
        repository=repository,
        model=repository / "yolo/1/model.onnx",
        checkpoint=arguments.checkpoint,
        network=(manifest["network_height"], manifest["network_width"]),
        seconds=arguments.seconds,
        in_flight=arguments.in_flight,
        work=work,
    )


def measure(setting: Setting, number: int) -> dict[str, dict[str, Any]]:
    """One round: all three, one after the other."""
    found = {"engine": bare_engine(setting), "pipeline": pipeline(setting, number)}
    if setting.checkpoint is not None:
        found["ultralytics"] = ultralytics(setting)
    rates = ", ".join(f"{name} {value['fps']:.1f}" for name, value in found.items())
    print(f"round {number + 1}: {rates} frames/s", flush=True)
    return found


def bare_engine(setting: Setting) -> dict[str, Any]:
    """The engine alone, in the server's environment."""
    pictures = setting.work / "pictures.npy"
    if not pictures.exists():
        np.save(pictures, network_pictures(setting))
    python = install(on_progress=print) / "bin" / "python"
    command = [str(python), str(ROOT / "tools/bench/bare_engine.py"), str(setting.model), str(pictures)]
    return run_json([*command, "--seconds", str(setting.seconds)], {"PYTHONPATH": str(ROOT / "client")})


def network_pictures(setting: Setting) -> np.ndarray:
    """The first pictures of the video as the network gets them: uint8 [count, 3/2·height, width]."""
    height, width = setting.network
    found = []
    with av.open(str(setting.video)) as container:
        scaler = av.video.reformatter.VideoReformatter()
        for frame in container.decode(video=0):
            fitted_width, fitted_height = fit_size(frame.width, frame.height, width, height)
            fitted = np.empty((fitted_height * 3 // 2, fitted_width), np.uint8)
            YuvPicture(frame, scaler).write_i420(fitted)
            found.append(numerics.letterbox_i420(fitted, (height, width))[0])
            if len(found) == PICTURES:
                break
    return np.stack(found)


def pipeline(setting: Setting, number: int) -> dict[str, Any]:
    """A worker process on the file, without drops, its reports written to SQLite as the supervisor does."""
    folder = setting.work / f"round-{number}"
    folder.mkdir()
    marks: list[tuple[float, Report]] = []
    ended = threading.Event()
    with TritonServer(setting.repository, log_path=folder / "triton.log") as triton:
        config = parse_config(
            {
                "triton": {"url": triton.grpc_url, "in_flight": setting.in_flight},
                "allow": {"files": True},
                "cameras": {"bench": {"url": str(setting.video)}},
            }
        )
        writer = Writer(f"sqlite:///{folder / 'bench.db'}", folder / "spool.db", 10_000_000)

        def take(report: Report) -> None:
            marks.append((time.monotonic(), report))
            if report.checkpoint is not None:
                writer.put(report.checkpoint)
            writer.put_status(report.status)
            if frames_between(marks)[1] >= setting.seconds:
                ended.set()

        spec = WorkerSpec(config.cameras["bench"], config.options.triton, until_end=True, log_level="warning")
        handle = WorkerHandle(spec, take)
        while not ended.wait(0.2) and handle.exit_code is None:
            pass
        handle.ask_to_stop()
        handle.finish(time.monotonic() + 10)
        writer.close(timeout_s=5)
    frames, seconds = frames_between(marks)
    status = marks[-2][1].status
    return {
        "frames": frames,
        "seconds": seconds,
        "fps": frames / seconds,
        "dropped": status.dropped_total,
        "transport": status.transport,
        "stages_ms": dict(status.stages_ms),
    }


def frames_between(marks: list[tuple[float, Report]]) -> tuple[int, float]:
    """Frames and seconds from the second report with frames to the last of a full second."""
    working = [(at, report.status.frames_total) for at, report in marks if report.status.frames_total]
    if len(working) < 4:
        return 0, 0.0
    first, last = working[2], working[-1]
    return last[1] - first[1], last[0] - first[0]


def ultralytics(setting: Setting) -> dict[str, Any]:
    """The rival's loop, in its own environment."""
    weights = shutil.copy(str(setting.checkpoint), setting.work)
    python, loop = ultralytics_env.folder() / "bin/python", ROOT / "tools/bench/ultralytics_loop.py"
    command = [str(python), str(loop), str(weights), str(setting.video), "--seconds", str(setting.seconds)]
    return run_json(command, ultralytics_env.environment())


def run_json(command: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """The JSON that a program prints as its last line."""
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def summarise(rounds: list[dict[str, dict[str, Any]]], setting: Setting) -> dict[str, Any]:
    """Medians of rates and of the ratios within each round."""
    names = list(rounds[0])
    ratios = {
        f"pipeline/{name}": [one["pipeline"]["fps"] / one[name]["fps"] for one in rounds]
        for name in names
        if name != "pipeline"
    }
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "video": setting.video.name,
        "network": f"{setting.model.name} {setting.network[0]}x{setting.network[1]}",
        "in_flight": setting.in_flight,
        "fps": {name: statistics.median(one[name]["fps"] for one in rounds) for name in names},
        "ratios": {name: {"median": statistics.median(v), "all": v} for name, v in ratios.items()},
        "rounds": rounds,
    }


def table(report: dict[str, Any]) -> str:
    """What a person reads."""
    lines = [f"\n{report['video']}, {report['network']}, {report['machine']}, {report['date']}\n"]
    lines += [f"{name:12} {fps:7.1f} frames/s" for name, fps in report["fps"].items()]
    lines.append("")
    for name, ratio in report["ratios"].items():
        values = ratio["all"]
        lines.append(f"{name:22} {ratio['median']:.3f}   ({min(values):.3f} to {max(values):.3f})")
    lines.append("\nwhere a frame's time goes (ms, last round):")
    stages = report["rounds"][-1]["pipeline"]["stages_ms"]
    lines += [f"  {stage:15} mean {times['mean']:8.3f}" for stage, times in stages.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
