"""The real perf_analyzer against the served ``detector``, with real pictures.

    python tools/load/perf.py --input VIDEO.mp4 --concurrency 1:8 --shared-memory none,system
    python tools/load/perf.py --input VIDEO.mp4 --rate 10:60:10
    python tools/load/perf.py --input VIDEO.mp4 --p99-ms 100 --between 5:80  # highest rate under the bound

Starts the embedded server on ``model_repository/`` unless --url names one that runs. Levels are measured one
after the other, the warm-up left out; one that was not steady is reported as unstable with what was measured.
The report (Markdown, JSON, CSV, SVG) and perf_analyzer's own CSV of every level are kept in
``artifacts/perf/``. perf_analyzer is fetched once, from the tritonclient wheel that has it. See docs/load.md.
"""

import csv
import math
import sys
from argparse import ArgumentTypeError, Namespace
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from sightline.errors import ServerError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from load import analyzer
from load.analyzer import Level, Measured, parse_concurrency, parse_rates, parse_transports
from load.reports import about_run, markdown_table, write_report
from load.servers import DETECTOR, ROOT, make_parser, served

LEGEND = (
    "![latency against throughput](latency.svg)",
    "",
    "Times are milliseconds as the client sees them; `in the queue` is the server's own mean.",
    "`steady` gives the largest ÷ smallest of five windows, the worse of rate and mean latency.",
    "An unstable level is what was measured, not what holds.",
)
TIMES = [f"p{p}" for p in analyzer.PERCENTILES]
#: A server that answers less than this share of what it is sent does not hold the rate.
KEPT = 0.95


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when something was measured."""
    options = parse(arguments)
    try:
        analyzer.check_transports(*options.shared_memory)
        with served(options, options.model_repository, options.model) as server:
            spread = 1 + options.stability / 100
            program, size = analyzer.prepare(options, server, options.input, allowed_spread=spread)

            def at(level: Level, transport: str) -> Measured:
                print(f"perf: {(one := program.at(level, transport))}", file=sys.stderr)
                return one

            measured = [at(level, way) for way in options.shared_memory for level in options.levels]
            bracket = None
            if options.p99_ms:
                program = replace(program, folder=options.folder / "search")
                first, bounds = options.shared_memory[0], (options.p99_ms, options.between, options.precision)
                bracket = highest_rate(lambda level: at(level, first), *bounds)
    except ServerError as error:
        print(f"perf: {error}", file=sys.stderr)
        return 1
    about = {
        **about_run("load/perf.py", arguments, options.server_cpus),
        "model": options.model,
        "pictures": f"{size} I420, from {options.input.name if options.input else 'noise'}",
    }
    print(write(options.folder, about, measured, bracket))
    print(f"perf: report in {options.folder}")
    return 0 if any(not item.problem for item in [*measured, *(bracket.tried if bracket else ())]) else 1


def parse(arguments: Sequence[str] | None) -> Namespace:
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
    options = parser.parse_args(arguments)
    options.levels = [*options.concurrency, *options.rate]
    if not options.levels and not options.p99_ms:
        options.levels = parse_concurrency("1:4")
    return options


def _between(text: str) -> tuple[float, float]:
    low, high = (float(part) for part in text.split(":"))
    if not 0 < low < high:
        raise ArgumentTypeError("takes LOW:HIGH, two rates above 0")
    return low, high


@dataclass(frozen=True)
class Bracket:
    """Where the search ended: the highest rate that was seen to hold, the lowest that was seen not to."""

    bound_ms: float
    holds: float  # requests a second; 0 when not even the lowest rate held
    fails: float | None  # None when every rate that was tried held
    tried: tuple[Measured, ...]  # every measurement, in order

    def __str__(self) -> str:
        if self.fails is None:
            return f"{self.holds:g} a second held p99 <= {self.bound_ms:g} ms, and nothing higher was tried"
        if not self.holds:
            return f"{self.fails:g} a second, the lowest rate tried, did not hold p99 <= {self.bound_ms:g} ms"
        return f"{self.holds:g} a second held p99 <= {self.bound_ms:g} ms, {self.fails:g} did not"


def highest_rate(
    at: Callable[[Level], Measured], bound_ms: float, between: tuple[float, float], precision: float = 0.05
) -> Bracket:
    """The highest rate at which the 99th percentile keeps under a bound, by bisection.

    The two ends are tried first, then their bracket is halved until its ends differ by less than
    ``precision`` of the lower one. A rate holds when it is answered, not delayed, and under the bound. One
    that fails is tried a second time before it counts: one pause of a busy machine is enough to fail it.

    ``at`` measures one rate, ``between`` are the lowest and the highest, requests a second. A ValueError when
    these are not ascending, or the precision is no share.
    """
    low, high = between
    if not 0 < low < high or not 0 < precision < 1:
        raise ValueError(f"rates from {low:g} to {high:g} to within {precision:g} are no search")
    tried: list[Measured] = []

    def holds(rate: float) -> bool:
        for _ in range(2):
            tried.append(one := at(Level("rate", round(rate, 2))))
            if not one.problem and one.p99_ms <= bound_ms and one.throughput >= KEPT * one.level.value:
                return True
        return False

    if not holds(low):
        return Bracket(bound_ms, 0.0, low, tuple(tried))
    if holds(high):
        return Bracket(bound_ms, high, None, tuple(tried))
    while high - low > precision * low:
        middle = round((low + high) / 2, 2)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return Bracket(bound_ms, low, high, tuple(tried))


def write(
    folder: Path, about: Mapping[str, str], measured: Sequence[Measured], bracket: Bracket | None
) -> str:
    """Write ``report.md``, ``report.json``, ``report.csv`` and ``latency.svg``; gives the Markdown."""
    report: dict[str, Any] = {"measured": [item.as_json() for item in measured], "bracket": None}
    body = [*table(measured), ""] if measured else []
    everything = [*measured, *(bracket.tried if bracket else ())]
    if bracket:
        tried = [item.as_json() for item in bracket.tried]
        report["bracket"] = {"text": str(bracket), **asdict(bracket), "tried": tried}
        body += ["## Highest rate under the bound", "", f"{bracket}.", "", *table(bracket.tried), ""]
    text = write_report(folder, "report", "Load of the served detector", about, report, [*body, *LEGEND])
    with (folder / "report.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        head = ("transport", "kind", "value", "requests", "throughput", "mean_ms")
        rows.writerow([*head, *(f"{name}_ms" for name in TIMES), "stable", "spread", "problem"])
        for item in everything:
            asked = (item.transport, item.level.kind, f"{item.level.value:g}")
            times = [(item.percentiles_ms or {}).get(name, "") for name in TIMES]
            figures = (item.requests, item.throughput, item.mean_ms, *times)
            rows.writerow([*asked, *figures, item.stable, item.spread, item.problem])
    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for item in sorted(everything, key=lambda item: item.level.value):
        for name in ("p50", "p99") if item.percentiles_ms else ():
            point = item.throughput, (item.percentiles_ms or {})[name]
            curves[f"{item.transport}, {item.level.kind}, {name}"].append(point)
    (folder / "latency.svg").write_text(line_chart(curves))
    return text


def line_chart(lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Latency (ms) against throughput (frames a second) as text of an SVG file; both axes begin at 0.

    ``lines`` are name in the legend to its points, in the order in which they are joined; points that are not
    finite are left out.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, points in lines.items():
        finite = [point for point in points if all(map(math.isfinite, point))]
        axes.plot([x for x, _ in finite], [y for _, y in finite], marker="o", label=name, gid=name)
    axes.set(title="Latency against throughput", xlabel="frames a second", ylabel="latency (ms)")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    if lines:
        axes.legend()
    text = StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()


def table(measured: Sequence[Measured]) -> list[str]:
    """Every measurement as a row of Markdown."""
    rows = []
    for item in measured:
        figures = [item.problem, *[""] * (len(TIMES) + 2), "no"]
        if not item.problem:
            times = (f"{(item.percentiles_ms or {})[name]:.1f}" for name in TIMES)
            steady = f"yes ({item.spread:.2f})" if item.stable else f"**unstable ({item.spread:.2f})**"
            queue = f"{(item.server or {}).get('queue', 0):.1f}"
            figures = [f"{item.throughput:.1f}", *times, queue, str(item.requests), steady]
        rows.append([item.transport, item.level, *figures])
    return markdown_table(
        ["transport", "asked", "frames/s", *TIMES, "in the queue", "requests", "steady"], rows
    )


if __name__ == "__main__":
    sys.exit(main())
