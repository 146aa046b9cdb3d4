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

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np

from sightline.base import machine
from sightline.base.letterbox import letterboxed
from sightline.errors import ServerError
from sightline.models.export import ultralytics_env
from sightline.serving.install import install
from sightline.serving.server import TritonServer
from sightline.simulation.stack import SightlineProcess, frame_rate
from sightline.video.picture import YuvPicture

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("SIGHTLINE_SHARED", ROOT.parent / "shared"))
PICTURES = 64
WARM_UP_S = 2.0


def main() -> None:
    """Measure, print the table, keep the JSON."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
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
    with tempfile.TemporaryDirectory(prefix="sightline-bench-") as work:
        setup = prepare(arguments, Path(work))
        rounds = []
        for number in range(arguments.rounds):
            one = {"engine": bare_engine(setup), "pipeline": pipeline(setup, number)}
            if setup.checkpoint is not None:
                one["ultralytics"] = ultralytics(setup)
            rates = ", ".join(f"{name} {value['fps']:.1f}" for name, value in one.items())
            print(f"round {number + 1}: {rates} frames/s", flush=True)
            rounds.append(one)
    report = summarise(rounds, setup)
    print(table(report))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=2))
    print(f"\nkept in {arguments.json}")


def prepare(arguments: Namespace, work: Path) -> Namespace:
    """Export the network into a repository of the benchmark's own; the options, with where things lie.

    ``model`` is now the ONNX that is served, ``network`` its height and width.
    """
    repository = work / "model_repository"
    words = ["-m", "sightline", "model", "export", str(arguments.model), "--aspect", arguments.aspect]
    subprocess.run([sys.executable, *words, "--repository", str(repository)], check=True)
    manifest = json.loads((repository / "yolo/1/manifest.json").read_text())
    if arguments.checkpoint is not None and not ultralytics_env.folder().is_dir():
        print("ultralytics is left out: make its environment with `make ultralytics`")
        arguments.checkpoint = None
    arguments.video, arguments.model = arguments.video.resolve(), repository / "yolo/1/model.onnx"
    network = manifest["network_height"], manifest["network_width"]
    return Namespace(**vars(arguments), repository=repository, network=network, work=work)


def bare_engine(setup: Namespace) -> dict[str, Any]:
    """The engine alone, in the server's environment."""
    pictures = setup.work / "pictures.npy"
    if not pictures.exists():  # the video's first as the network gets them: [count, 3/2·height, width]
        with av.open(str(setup.video)) as container:
            scaler = av.video.reformatter.VideoReformatter()
            frames = islice(container.decode(video=0), PICTURES)
            shown = [letterboxed(YuvPicture(frame, scaler), setup.network)[0] for frame in frames]
        np.save(pictures, np.stack(shown))
    python = install(on_progress=print) / "bin" / "python"
    command = [str(python), str(ROOT / "tools/bench/bare_engine.py"), str(setup.model), str(pictures)]
    return run_json([*command, "--seconds", str(setup.seconds)], {"PYTHONPATH": str(ROOT / "client")})


def pipeline(setup: Namespace, number: int) -> dict[str, Any]:
    """``sightline run`` on the file, without drops, from decoder to SQLite; rates by the worker's clock."""
    cameras, options = {"bench": {"url": str(setup.video)}}, {"allow": {"files": True}}
    with TritonServer(setup.repository, log_path=setup.work / "triton.log") as server:
        triton = {"url": server.grpc_url, "in_flight": setup.in_flight}
        sightline = SightlineProcess(
            setup.work / f"round-{number}", cameras, triton=triton, options=options, arguments=["--until-end"]
        )
        with sightline:
            sightline.wait_until_online()
            time.sleep(WARM_UP_S)
            first = last = sightline.statuses()["bench"]
            with contextlib.suppress(ServerError):  # the video has ended
                while last["status_time"] - first["status_time"] < setup.seconds:
                    time.sleep(0.5)
                    last = sightline.statuses()["bench"]
    return {
        "frames": last["frames_total"] - first["frames_total"],
        "seconds": last["status_time"] - first["status_time"],
        "fps": frame_rate(first, last),
        "dropped": last["dropped_total"],
        **{key: last[key] for key in ("transport", "stages_ms")},
    }


def ultralytics(setup: Namespace) -> dict[str, Any]:
    """The rival's loop, in its own environment."""
    weights = shutil.copy(str(setup.checkpoint), setup.work)
    python, loop = ultralytics_env.folder() / "bin/python", ROOT / "tools/bench/ultralytics_loop.py"
    command = [str(python), str(loop), str(weights), str(setup.video), "--seconds", str(setup.seconds)]
    return run_json(command, ultralytics_env.environment())


def run_json(command: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """The JSON that a program prints as its last line."""
    full = {**os.environ, **environment}
    done = subprocess.run(command, env=full, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def summarise(rounds: list[dict[str, dict[str, Any]]], setup: Namespace) -> dict[str, Any]:
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
        "video": setup.video.name,
        "network": f"{setup.model.name} {setup.network[0]}x{setup.network[1]}",
        "in_flight": setup.in_flight,
        "fps": {name: float(np.median([one[name]["fps"] for one in rounds])) for name in names},
        "ratios": {name: {"median": float(np.median(v)), "all": v} for name, v in ratios.items()},
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
