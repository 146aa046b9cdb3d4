"""Real RTSP cameras through the real ``sightline run``, more and more, until frames are dropped or late.

    python tools/load/load_test.py --cameras 1:8 --fps 5            # rising number of cameras
    python tools/load/load_test.py --cameras 4 --fps 2,5,10         # rising frames a second
    python tools/load/load_test.py --cameras 6 --fps 10 --compare 3 --server-cpus 0 --client-cpus 1

--compare measures the same server in turns by perf_analyzer (same pictures, same size, same transport, as
many requests in flight) and by the cameras, both at the server's limit, and gives the ratio. On a small
machine the clients must not take the engine's cores: give each side its own. See docs/load.md.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sightline.errors import ServerError
from sightline.simulation import demo
from sightline.simulation.rtsp_server import copy_at_fps
from sightline.simulation.stack import progress

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from load.analyzer import Level, parse_concurrency, parse_rates, prepare
from load.camera_load import serve_cameras
from load.reports import about_run, markdown_table, write_report
from load.servers import DETECTOR, ROOT, Target, cpu_s, inference_count, make_parser, parts_of, served

WITHIN = 0.10  # what the two may differ by
say = progress("load_test")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when it was measured."""
    options = parse(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="sightline-load-") as name:
            result = measure(options, Path(name))
    except ServerError as error:
        say(str(error))
        return 1
    about = about_run("load/load_test.py", arguments, options.server_cpus)
    body = table(result["steps"]) if "steps" in result else comparison(result["compare"])
    print(write_report(options.folder, "load", "Load by cameras", about, result, body))
    print(f"load_test: report in {options.folder}")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ``steps`` are pairs of cameras and frames a second."""
    parser = make_parser(__doc__, "load")
    add = parser.add_argument
    add("--video", type=Path, action="append", help="video to loop; may be repeated")
    add("--model", type=Path, help="network to serve, as for the demo")
    add("--model-repository", type=Path, help="or a repository that holds one already")
    add("--config-name", default="cpu", help="configs/NAME.pbtxt to serve (default: cpu)")
    many = "from:to[:step] or values (default: %(default)s)"
    add("--cameras", type=parse_concurrency, default="1:8", help=many)
    add("--fps", type=parse_rates, default="5", help="frames a second of a camera; several: a step each")
    add("--recode", action="store_true", help="cameras send --fps, not the video's own rate")
    add("--in-flight", type=int, default=3, help="requests in flight for a camera")
    add("--transport", choices=("auto", "cuda", "system", "grpc"), default="system")
    add("--hardware-decoder", help="as stream.hardware_decoder: auto, cuda, …; by default the CPU decodes")
    add("--p99-ms", type=float, default=500.0, help="a step whose p99 is longer does not keep up")
    add("--seconds", type=float, default=20.0, help="of a step")
    add("--settle", type=float, default=6.0, help="seconds before a step is measured")
    add("--compare", type=int, default=0, metavar="ROUNDS", help="in turns with perf_analyzer")
    options = parser.parse_args(arguments)
    if len(options.cameras) > 1 and len(options.fps) > 1:
        parser.error("either --cameras or --fps rises, not both")
    options.steps = [(int(count.value), rate.value) for rate in options.fps for count in options.cameras]
    return options


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every step until one does not keep up; or, on demand, the comparison at the last step."""
    if (options.model_repository or options.url) and options.video:
        repository = options.model_repository or ROOT / "model_repository"
        videos = [path.resolve() for path in options.video]
    else:
        videos, model = demo.find_inputs(options.video, options.model)
        repository = options.model_repository or demo.prepare_model(model, folder)
    if options.recode:
        videos = [copy_at_fps(video, max(fps for _, fps in options.steps)) for video in videos]
    with served(options, repository, log=folder / "triton.log") as triton:

        def step(count: int, fps: float) -> dict[str, Any]:
            played = [videos[number % len(videos)] for number in range(count)]
            return serve_cameras(options, triton, played, fps, folder)

        if options.compare:
            return {"compare": in_turns(options, triton, step, videos[0])}
        steps: list[dict[str, Any]] = []
        for count, fps in options.steps:
            steps.append(one := step(count, fps))
            late = f"{one['dropped']} of {one['due']} dropped, p99 {one['latency_p99_ms']} ms"
            kept = "kept up" if one["kept_up"] else late
            say(f"{count} cameras at {fps:g}: {one['served_fps']:.1f} frames/s served, {kept}")
            if not one["kept_up"]:
                break
    return {"steps": steps}


class Turn(NamedTuple):
    """One side's turn: frames a second, frames for each core second of the server, all that it measured.

    Frames a second are what counts, but on a machine with neighbours they drift from one turn to the next;
    those for each core second hardly do: what a neighbour takes, neither side has. ``per_core_s`` is 0 where
    the server's processes are not ours to look at.
    """

    fps: float
    per_core_s: float
    report: dict[str, Any]


#: perf_analyzer before, the cameras, perf_analyzer after: a machine that drifts does so for both.
Round = tuple[Turn, Turn, Turn]


def in_turns(
    options: argparse.Namespace, triton: Target, step: Callable[[int, float], dict[str, Any]], video: Path
) -> dict[str, Any]:
    """The comparison at the last step, with as many requests in flight as the cameras have together."""
    (count, fps), folder = options.steps[-1], options.folder / "perf_analyzer"
    analyzer, size = prepare(options, triton, video, folder=folder, model=DETECTOR)
    transport = {"grpc": "none"}.get(options.transport, options.transport)
    level = Level("concurrency", count * options.in_flight)

    def turn(measure: Callable[[], dict[str, Any]], rate: str) -> Turn:
        def read() -> tuple[int, float]:
            return inference_count(triton), sum(cpu_s(parts_of(triton=triton.pid)).values())

        frames, used = read()
        report = measure()
        frames_after, used_after = read()
        spent = used_after - used
        return Turn(report[rate], (frames_after - frames) / spent if spent > 0 else 0.0, report)

    rounds = compare(
        lambda: turn(lambda: analyzer.at(level, transport).as_json(), "throughput"),
        lambda: turn(lambda: step(count, fps), "served_fps"),
        options.compare,
    )
    about = {"cameras": count, "fps": fps, "in_flight": level.value, "size": size}
    return {**about, **summary(rounds)}


def compare(perf: Callable[[], Turn], cameras: Callable[[], Turn], rounds: int) -> list[Round]:
    """Measure in turns: perf_analyzer, cameras, perf_analyzer, cameras, …, perf_analyzer."""
    turns = [perf()]
    for number in range(1, rounds + 1):
        turns += [cameras(), perf()]
        before, middle, after = (f"{one.fps:.1f}" for one in turns[-3:])
        say(f"round {number}: perf_analyzer {before}, cameras {middle}, then {after} frames/s")
    return list(zip(turns[:-2:2], turns[1::2], turns[2::2], strict=True))


def summary(rounds: Sequence[Round]) -> dict[str, Any]:
    """The cameras' figures ÷ the mean of perf_analyzer's before and after, and the medians of these ratios.

    They mean something when the cameras had the server at its limit.
    """
    ratio: dict[str, list[float]] = {"fps": [], "per_core_s": []}
    for key, values in ratio.items():
        for before, cameras, after in ([getattr(turn, key) for turn in one] for one in rounds):
            values.append(round(2 * cameras / (before + after), 4) if before + after else 0.0)
    median = {key: statistics.median(values) for key, values in ratio.items()}
    saturated = not any(cameras.report["kept_up"] for _, cameras, _ in rounds)
    return {
        "ratio": ratio,
        "median": median,
        "saturated": saturated,
        "agree": saturated and abs(median["fps"] - 1) <= WITHIN,
        "rounds": [
            {
                "fps": [turn.fps for turn in one],
                "per_core_s": [round(turn.per_core_s, 3) for turn in one],
                "perf_analyzer": [one[0].report, one[2].report],
                "cameras": one[1].report,
            }
            for one in rounds
        ],
    }


def verdict(result: dict[str, Any]) -> str:
    """What a person reads of a :func:`summary`."""
    if not result["saturated"]:
        return (
            "the cameras did not bring the server to its limit: all that was due was served, so the two "
            "cannot be compared; give more --cameras or a higher --fps"
        )
    values, median = result["ratio"]["fps"], result["median"]
    rates = f"{median['fps']:.3f} in frames/s ({min(values):.3f} to {max(values):.3f})"
    agree = "within" if result["agree"] else "NOT within"
    known = f"; {median['per_core_s']:.3f} for each core second of the server" if median["per_core_s"] else ""
    return f"cameras ÷ perf_analyzer: {rates}, {agree} {WITHIN:.0%}{known}"


def table(steps: Sequence[dict[str, Any]]) -> list[str]:
    """A Markdown table of the steps."""
    head = ["cameras", "fps", "due", "dropped", "served frames/s", "by the server's count", "p50 / p99 ms"]
    rows = [
        [
            one["cameras"],
            f"{one['fps']:g}",
            one["due"],
            one["dropped"],
            f"{one['served_fps']:.1f}",
            f"{one['server_fps']:.1f}",
            f"{one['latency_p50_ms']:.0f} / {one['latency_p99_ms']:.0f}",
            f"{one['offered']:.0%}",
            ", ".join(f"{name} {value:.2f}" for name, value in one["core_ms"].items()),
        ]
        for one in steps
    ]
    end = "kept up: the limit lies higher" if steps[-1]["kept_up"] else "did not keep up"
    note = f"the last step {end}. Latency: arrival to tracked, over the last 10 s; p99 of the worst camera."
    return [*markdown_table([*head, "offered", "core ms a frame"], rows), "", note]


def comparison(result: dict[str, Any]) -> list[str]:
    """The comparison as Markdown."""
    first = (
        f"{result['cameras']} cameras at {result['fps']:g} frames/s against perf_analyzer, pictures of "
        f"{result['size']}, {result['in_flight']:g} requests in flight:"
    )
    rows = [
        [f"round {number}, {what}", *(f"{value:.2f}" for value in one[key]), f"{ratio:.3f}"]
        for key, what in (("fps", "frames/s"), ("per_core_s", "frames for each core second of the server"))
        for number, (one, ratio) in enumerate(zip(result["rounds"], result["ratio"][key], strict=True), 1)
    ]
    head = ["", "perf_analyzer before", "cameras", "perf_analyzer after", "cameras ÷ perf_analyzer"]
    return [first, "", *markdown_table(head, rows), "", verdict(result) + "."]


if __name__ == "__main__":
    sys.exit(main())
