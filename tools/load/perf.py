"""The real perf_analyzer against the served ``detector``, with real pictures.

    python tools/load/perf.py --input VIDEO.mp4 --concurrency 1:8 --shared-memory none,system
    python tools/load/perf.py --input VIDEO.mp4 --rate 10:60:10
    python tools/load/perf.py --input VIDEO.mp4 --p99-ms 100 --between 5:80  # highest rate under the bound

Starts the embedded server on ``model_repository/`` unless --url names one that runs. Levels are measured one
after the other, the warm-up left out; one that was not steady is reported as unstable with what was measured.
The report (Markdown, JSON, CSV, SVG) and perf_analyzer's own CSV of every level are kept in
``artifacts/perf/``. perf_analyzer is fetched once, from the tritonclient wheel that has it. See docs/load.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

from matplotlib.figure import Figure

from sightline.errors import ServerError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from load.analyzer import Analyzer, check_transports, parse_transports
from load.measured import (
    PERCENTILES,
    Bracket,
    Level,
    Measured,
    highest_rate,
    parse_concurrency,
    parse_rates,
)
from load.servers import DETECTOR, ROOT, about_run, make_parser, network_size, parse_cpus, served, write_input

LEGEND = (
    "Times are milliseconds as the client sees them; `in the queue` is the server's own mean.",
    "`steady` gives the largest ÷ smallest of five windows, the worse of rate and mean latency.",
    "An unstable level is what was measured, not what holds.",
)
_TABLE = (
    "| transport | asked | frames/s | p50 | p90 | p95 | p99 | in the queue | requests | steady |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0 when something was measured."""
    options = parse(arguments)
    try:
        check_transports(*options.shared_memory)
        with (
            served(
                options, options.model_repository, model=options.model, cpus=options.server_cpus
            ) as server,
            tempfile.TemporaryDirectory(prefix="sightline-perf-") as folder,
        ):
            width, height = network_size(server.http_url, options.model)
            program = Analyzer(
                url=server.grpc_url,
                data=write_input(options.input, (width, height), Path(folder) / "input.json"),
                folder=options.folder,
                model=options.model,
                seconds=options.seconds,
                requests=options.requests,
                allowed_spread=1 + options.stability / 100,
                distribution=options.distribution,
                max_in_flight=options.max_in_flight,
                cpus=options.client_cpus,
            )
            measured, bracket = measure(options, program)
    except ServerError as error:
        print(f"perf: {error}", file=sys.stderr)
        return 1
    about = {
        **about_run("perf.py", arguments, options.server_cpus),
        "model": options.model,
        "pictures": f"{width}x{height} I420, from {options.input.name if options.input else 'noise'}",
    }
    print(write(options.folder, about, measured, bracket).read_text())
    print(f"perf: report in {options.folder}")
    return 0 if any(not item.problem for item in [*measured, *(bracket.tried if bracket else ())]) else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ``levels`` are what is swept."""
    parser = make_parser(__doc__, "perf")
    add = parser.add_argument
    add("--input", type=Path, help="picture or video to take frames from (default: noise)")
    add("--shared-memory", type=parse_transports, default="system", help="none, system, cuda, or several")
    add("--concurrency", type=parse_concurrency, default=[], help="in flight, from:to[:step] or values (1:4)")
    add("--rate", type=parse_rates, default=[], help="requests a second, from:to[:step] or values")
    add("--distribution", choices=("constant", "poisson"), default="constant", help="of --rate")
    add("--max-in-flight", type=int, default=48, help="at a rate; less than the queue takes")
    add("--p99-ms", type=float, help="find the highest rate whose p99 is at most this")
    add("--between", type=_between, default="1:200", help="LOW:HIGH, where to look (default: %(default)s)")
    add("--precision", type=float, default=0.05, help="share at which the search ends")
    add("--seconds", type=float, default=10.0, help="of a level, warm-up included")
    add("--requests", type=int, help="so many requests a level instead of --seconds")
    add("--stability", type=float, default=25, help="percent that windows of a steady level may differ by")
    add("--model", default=DETECTOR)
    add("--model-repository", type=Path, default=ROOT / "model_repository")
    add("--config-name", default="cpu", help="configs/NAME.pbtxt to serve (default: cpu)")
    add("--server-cpus", type=parse_cpus, default="", help="processors of the embedded server, such as 0,2-3")
    add("--client-cpus", type=parse_cpus, default="", help="processors of perf_analyzer")
    options = parser.parse_args(arguments)
    options.levels = [*options.concurrency, *options.rate]
    if not options.levels and not options.p99_ms:
        options.levels = parse_concurrency("1:4")
    return options


def _between(text: str) -> tuple[float, float]:
    low, high = (float(part) for part in text.split(":"))
    if not 0 < low < high:
        raise argparse.ArgumentTypeError("takes LOW:HIGH, two rates above 0")
    return low, high


def measure(options: argparse.Namespace, program: Analyzer) -> tuple[list[Measured], Bracket | None]:
    """Every level by every transport, then the search for the highest rate by the first transport."""

    def at(level: Level, transport: str, analyzer: Analyzer = program) -> Measured:
        print(f"perf: {(one := analyzer.at(level, transport))}", file=sys.stderr)
        return one

    measured = [at(level, transport) for transport in options.shared_memory for level in options.levels]
    if not options.p99_ms:
        return measured, None
    searcher = replace(program, folder=options.folder / "search")
    first, bound = options.shared_memory[0], (options.p99_ms, options.between, options.precision)
    return measured, highest_rate(lambda level: at(level, first, searcher), *bound)


def write(
    folder: Path, about: Mapping[str, str], measured: Sequence[Measured], bracket: Bracket | None
) -> Path:
    """Write ``report.md``, ``report.json``, ``report.csv`` and ``latency.svg``; the Markdown's path."""
    folder.mkdir(parents=True, exist_ok=True)
    report = {
        "about": dict(about),
        "measured": [item.as_json() for item in measured],
        "bracket": bracket
        and {"text": str(bracket), "holds": bracket.holds, "fails": bracket.fails}
        | {"bound_ms": bracket.bound_ms, "tried": [item.as_json() for item in bracket.tried]},
    }
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    everything = [*measured, *(bracket.tried if bracket else ())]
    (folder / "report.csv").write_text(as_csv(everything))
    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for item in sorted((item for item in everything if not item.problem), key=lambda item: item.level.value):
        for name in ("p50", "p99"):
            point = (item.throughput, (item.percentiles_ms or {})[name])
            curves[f"{item.transport}, {item.level.kind}, {name}"].append(point)
    chart = line_chart("Latency against throughput", "frames a second", "latency (ms)", curves)
    (folder / "latency.svg").write_text(chart)
    (folder / "report.md").write_text(as_markdown(about, measured, bracket))
    return folder / "report.md"


def as_csv(measured: Iterable[Measured]) -> str:
    """One row a measurement."""
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    percentiles = [f"p{p}" for p in PERCENTILES]
    head = ("transport", "kind", "value", "requests", "throughput", "mean_ms")
    rows.writerow([*head, *(f"{name}_ms" for name in percentiles), "stable", "spread", "problem"])
    for item in measured:
        asked = (item.transport, item.level.kind, f"{item.level.value:g}")
        times = [(item.percentiles_ms or {}).get(name, "") for name in percentiles]
        figures = (item.requests, item.throughput, item.mean_ms, *times)
        rows.writerow([*asked, *figures, item.stable, item.spread, item.problem])
    return text.getvalue()


def line_chart(
    title: str, x_label: str, y_label: str, lines: Mapping[str, Sequence[tuple[float, float]]]
) -> str:
    """A chart as text of an SVG file; both axes begin at 0, points that are not finite are left out.

    Args:
        title: above the chart.
        x_label: below it, with the unit.
        y_label: left of it, with the unit.
        lines: name in the legend to its points, in the order in which they are joined.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, points in lines.items():
        finite = [point for point in points if all(map(math.isfinite, point))]
        axes.plot([x for x, _ in finite], [y for _, y in finite], marker="o", label=name, gid=name)
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    if lines:
        axes.legend()
    text = StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()


def as_markdown(about: Mapping[str, str], measured: Sequence[Measured], bracket: Bracket | None) -> str:
    """The report."""
    lines = ["# Load of the served detector", "", *(f"- {key}: {value}" for key, value in about.items()), ""]
    if measured:
        lines += [*_TABLE, *map(_row, measured), ""]
    if bracket:
        lines += [
            "## Highest rate under the bound",
            "",
            f"{bracket}.",
            "",
            *_TABLE,
            *map(_row, bracket.tried),
            "",
        ]
    return "\n".join([*lines, "![latency against throughput](latency.svg)", "", *LEGEND, ""])


def _row(item: Measured) -> str:
    asked = f"| {item.transport} | {item.level} |"
    if item.problem:
        return f"{asked} {item.problem} | | | | | | | no |"
    times = " | ".join(f"{(item.percentiles_ms or {})[f'p{p}']:.1f}" for p in PERCENTILES)
    steady = f"yes ({item.spread:.2f})" if item.stable else f"**unstable ({item.spread:.2f})**"
    queue = f"{(item.server or {}).get('queue', 0):.1f}"
    return f"{asked} {item.throughput:.1f} | {times} | {queue} | {item.requests} | {steady} |"


if __name__ == "__main__":
    sys.exit(main())
