"""Real RTSP cameras through the real ``sightline run``, more and more, until frames that are due are dropped.

    python tools/load/load_test.py --cameras 1:8 --fps 5            # rising number of cameras
    python tools/load/load_test.py --cameras 4 --fps 2,5,10         # rising frames a second
    python tools/load/load_test.py --cameras 6 --fps 10 --compare 3 --server-cpus 0 --client-cpus 1

--compare measures the same server in turns by perf_analyzer (same pictures, same size, same transport, as
many requests in flight) and by the cameras, both at the server's limit, and gives the ratio. On a small
machine the clients must not take the engine's cores: give each side its own. See docs/load.md.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sightline.errors import ServerError
from sightline.simulation import demo
from sightline.simulation.recoded import copy_at_fps

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from load import load_report
from load.analyzer import Analyzer
from load.camera_load import CameraLoad, Served, Setup
from load.measured import Level, parse_levels
from load.pictures import network_size, pictures, write_input
from load.servers import Target, parse_cpus, served
from load.turns import ServerMeter, compare, summary, verdict

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when it was measured."""
    options = parse(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="sightline-load-") as name:
            found = measure(options, Path(name))
    except ServerError as error:
        print(f"load_test: {error}", file=sys.stderr)
        return 1
    given = sys.argv[1:] if arguments is None else arguments
    about = {
        "command": shlex.join(["python", "tools/load/load_test.py", *given]),
        "date": load_report.now(),
        "machine": load_report.machine(options.server_cpus),
    }
    write(options.folder, {"about": about, **found})
    print((options.folder / "load.md").read_text())
    print(f"load_test: report in {options.folder}")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--video", type=Path, action="append", help="video to loop; may be repeated")
    parser.add_argument("--model", type=Path, help="network to serve, as for the demo")
    parser.add_argument("--model-repository", type=Path, help="or a repository that holds one already")
    parser.add_argument("--config-name", default="cpu", help="configs/NAME.pbtxt to serve (default: cpu)")
    parser.add_argument("--url", help="host:port of gRPC of a server that runs already")
    parser.add_argument("--http-url", default="http://127.0.0.1:8000", help="its HTTP (default: %(default)s)")
    parser.add_argument("--cameras", default="1:8", help="from:to[:step] or values (default: %(default)s)")
    parser.add_argument("--fps", default="5", help="frames a second of a camera; several: a step each")
    parser.add_argument("--recode", action="store_true", help="cameras send --fps, not the video's own rate")
    parser.add_argument("--in-flight", type=int, default=3, help="requests in flight for a camera")
    parser.add_argument("--transport", choices=("auto", "cuda", "system", "grpc"), default="system")
    parser.add_argument("--seconds", type=float, default=20.0, help="of a step")
    parser.add_argument("--settle", type=float, default=6.0, help="seconds before a step is measured")
    parser.add_argument(
        "--compare", type=int, default=0, metavar="ROUNDS", help="in turns with perf_analyzer"
    )
    parser.add_argument("--server-cpus", default="", help="processors of the server, such as 0,2-3")
    parser.add_argument(
        "--client-cpus", default="", help="processors of cameras, sightline and perf_analyzer"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "artifacts" / "load", help="where reports go")
    options = parser.parse_args(arguments)
    try:
        counts = [int(level.value) for level in parse_levels(options.cameras, "concurrency")]
        rates = [level.value for level in parse_levels(options.fps, "rate")]
        options.steps = [(count, fps) for fps in rates for count in counts]
        options.server_cpus = parse_cpus(options.server_cpus)
        options.client_cpus = parse_cpus(options.client_cpus)
        if len(counts) > 1 and len(rates) > 1:
            raise ValueError("either --cameras or --fps rises, not both")
    except ValueError as error:
        parser.error(str(error))
    return options


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every step until one does not keep up; then, on demand, the comparison at the last step.

    Raises:
        ServerError: a part could not be started, or has ended.
    """
    repository, videos = inputs(options, folder)
    setup = Setup(
        videos=videos,
        folder=folder,
        in_flight=options.in_flight,
        transport=options.transport,
        settle_s=options.settle,
        seconds=options.seconds,
        cpus=options.client_cpus,
    )
    where = {"config_name": options.config_name, "cpus": options.server_cpus, "log": folder / "triton.log"}
    with served(options.url, options.http_url, repository, setup.model, **where) as triton:
        if options.compare:
            return {"compare": in_turns(options, setup, triton)}
        steps: list[Served] = []
        for count, fps in options.steps:
            steps.append(step(setup, triton, count, fps))
            say(row(steps[-1]))
            if not steps[-1].kept_up:
                break
    return {"steps": [one.as_json() for one in steps]}


def inputs(options: argparse.Namespace, folder: Path) -> tuple[Path, list[Path]]:
    """The repository to serve and the videos to play."""
    if (options.model_repository or options.url) and options.video:
        repository = options.model_repository or ROOT / "model_repository"
        videos = [path.resolve() for path in options.video]
    else:
        videos, model = demo.find_inputs(options.video, options.model)
        repository = options.model_repository or demo.prepare_model(model, folder)
    fps = max(fps for _, fps in options.steps)
    return repository, [copy_at_fps(video, fps) for video in videos] if options.recode else videos


def step(setup: Setup, triton: Target, count: int, fps: float) -> Served:
    """One step: so many cameras at so many frames a second."""
    with CameraLoad(setup, triton, count, fps) as cameras:
        return cameras.measure()


def in_turns(options: argparse.Namespace, setup: Setup, triton: Target) -> dict[str, Any]:
    """The comparison at the last step, with as many requests in flight as the cameras have together."""
    count, fps = options.steps[-1]
    width, height = network_size(triton.http_url, setup.model)
    analyzer = Analyzer(
        url=triton.grpc_url,
        data=write_input(pictures(setup.videos[0], width, height), setup.folder / "input.json"),
        folder=options.folder / "perf_analyzer",
        model=setup.model,
        seconds=setup.seconds,
        cpus=setup.cpus,
    )
    transport = {"grpc": "none"}.get(setup.transport, setup.transport)
    level = Level("concurrency", count * setup.in_flight)
    server = ServerMeter(triton, setup.model)
    rounds = compare(
        lambda: server.over(lambda: analyzer.at(level, transport)),
        lambda: server.over(lambda: step(setup, triton, count, fps)),
        options.compare,
        say,
    )
    return {
        "cameras": count,
        "fps": fps,
        "in_flight": level.value,
        "size": f"{width}x{height}",
        **summary(rounds),
    }


def write(folder: Path, found: dict[str, Any]) -> None:
    """Keep ``load.json`` and ``load.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "load.json").write_text(json.dumps(found, indent=2) + "\n")
    lines = ["# Load by cameras", "", *(f"- {key}: {value}" for key, value in found["about"].items()), ""]
    if "steps" in found:
        lines += table(found["steps"])
    else:
        lines += comparison(found["compare"])
    (folder / "load.md").write_text("\n".join([*lines, ""]))


def table(steps: Sequence[dict[str, Any]]) -> list[str]:
    """A Markdown table of the steps."""
    head = (
        "| cameras | fps | due | dropped | served frames/s | by the server's count | p50 / p99 ms | offered |"
    )
    lines = [f"{head} core ms a frame |", "|---|---|---|---|---|---|---|---|---|"]
    for one in steps:
        parts = ", ".join(f"{name} {value:.2f}" for name, value in one["core_ms"].items())
        latency = f"{one['latency_p50_ms']:.0f} / {one['latency_p99_ms']:.0f}"
        rates = f"{one['served_fps']:.1f} | {one['server_fps']:.1f} | {latency} | {one['offered']:.0%}"
        lines.append(
            f"| {one['cameras']} | {one['fps']:g} | {one['due']} | {one['dropped']} | {rates} | {parts} |"
        )
    last = steps[-1]
    end = (
        "the last step kept up: the limit lies higher" if last["kept_up"] else "the last step did not keep up"
    )
    return [*lines, "", f"{end}. Latency: arrival to tracked, over the last 10 s; p99 of the worst camera."]


def comparison(found: dict[str, Any]) -> list[str]:
    """The comparison as Markdown."""
    lines = [
        f"{found['cameras']} cameras at {found['fps']:g} frames/s against perf_analyzer, pictures of "
        f"{found['size']}, {found['in_flight']:g} requests in flight:",
        "",
        "| | perf_analyzer before | cameras | perf_analyzer after | cameras ÷ perf_analyzer |",
        "|---|---|---|---|---|",
    ]
    for key, what in (("fps", "frames/s"), ("per_core_s", "frames for each core second of the server")):
        for index, one in enumerate(found["rounds"]):
            values = " | ".join(f"{value:.2f}" for value in one[key])
            lines.append(f"| round {index + 1}, {what} | {values} | {found['ratio'][key][index]:.3f} |")
    return [*lines, "", verdict(found) + "."]


def row(one: Served) -> str:
    """A step in a line."""
    kept = "kept up" if one.kept_up else f"{one.dropped} of {one.due} dropped"
    return f"{one.cameras} cameras at {one.fps:g}: {one.served_fps:.1f} frames/s served, {kept}"


def say(text: str) -> None:
    """One line of progress."""
    print(f"load_test: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
