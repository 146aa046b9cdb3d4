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
import dataclasses
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sightline.errors import ServerError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from load import load_report
from load.analyzer import Analyzer, check_transport, parse_transports
from load.bound import Bracket, highest_rate
from load.measured import Level, Measured, parse_levels
from load.pictures import network_size, pictures, write_input
from load.servers import parse_cpus, served

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when something was measured."""
    options = parse(arguments)
    try:
        for transport in options.shared_memory:
            check_transport(transport)
        where = {"config_name": options.config_name, "cpus": options.server_cpus}
        with (
            served(options.url, options.http_url, options.model_repository, options.model, **where) as server,
            tempfile.TemporaryDirectory(prefix="sightline-perf-") as folder,
        ):
            width, height = network_size(server.http_url, options.model)
            data = write_input(pictures(options.input, width, height), Path(folder) / "input.json")
            found, bracket = measure(options, analyzer(options, server.grpc_url, data))
    except ServerError as error:
        print(f"perf: {error}", file=sys.stderr)
        return 1
    about = about_run(options, f"{width}x{height}", arguments)
    path = load_report.write(options.folder, about, found, bracket)
    print(path.read_text())
    print(f"perf: report in {options.folder}")
    return 0 if any(not item.problem for item in [*found, *(bracket.tried if bracket else ())]) else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", type=Path, help="picture or video to take frames from (default: noise)")
    _add_load(parser)
    parser.add_argument("--model", default="detector")
    parser.add_argument("--model-repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--config-name", default="cpu", help="configs/NAME.pbtxt to serve (default: cpu)")
    parser.add_argument("--url", help="host:port of gRPC of a server that runs already")
    parser.add_argument("--http-url", default="http://127.0.0.1:8000", help="its HTTP (default: %(default)s)")
    parser.add_argument("--server-cpus", default="", help="processors of the embedded server, such as 0,2-3")
    parser.add_argument("--client-cpus", default="", help="processors of perf_analyzer")
    parser.add_argument("--folder", type=Path, default=ROOT / "artifacts" / "perf", help="where reports go")
    options = parser.parse_args(arguments)
    try:
        options.shared_memory = parse_transports(options.shared_memory)
        options.levels = _levels(options)
        options.between = tuple(float(part) for part in options.between.split(":"))
        options.server_cpus = parse_cpus(options.server_cpus)
        options.client_cpus = parse_cpus(options.client_cpus)
        if len(options.between) != 2 or not 0 < options.between[0] < options.between[1]:
            raise ValueError("--between takes LOW:HIGH, two rates above 0")
    except ValueError as error:
        parser.error(str(error))
    return options


def _add_load(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shared-memory", default="system", help="none, system, cuda, or several with commas"
    )
    parser.add_argument("--concurrency", help="requests in flight, from:to[:step] or values (default: 1:4)")
    parser.add_argument("--rate", help="requests a second, from:to[:step] or values")
    parser.add_argument(
        "--distribution", choices=("constant", "poisson"), default="constant", help="of --rate"
    )
    parser.add_argument("--max-in-flight", type=int, default=48, help="at a rate; less than the queue takes")
    parser.add_argument("--p99-ms", type=float, help="find the highest rate whose p99 is at most this")
    parser.add_argument("--between", default="1:200", help="LOW:HIGH, where to look (default: %(default)s)")
    parser.add_argument("--precision", type=float, default=0.05, help="share at which the search ends")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a level, warm-up included")
    parser.add_argument("--requests", type=int, help="so many requests a level instead of --seconds")
    parser.add_argument(
        "--stability", type=float, default=25, help="percent that the windows of a steady level may differ by"
    )


def _levels(options: argparse.Namespace) -> list[Level]:
    found = parse_levels(options.concurrency, "concurrency") if options.concurrency else []
    found += parse_levels(options.rate, "rate") if options.rate else []
    return found or ([] if options.p99_ms else parse_levels("1:4", "concurrency"))


def analyzer(options: argparse.Namespace, url: str, data: Path) -> Analyzer:
    """How perf_analyzer is run."""
    return Analyzer(
        url=url,
        data=data,
        folder=options.folder,
        model=options.model,
        seconds=options.seconds,
        requests=options.requests,
        allowed_spread=1 + options.stability / 100,
        distribution=options.distribution,
        max_in_flight=options.max_in_flight,
        cpus=options.client_cpus,
    )


def measure(options: argparse.Namespace, program: Analyzer) -> tuple[list[Measured], Bracket | None]:
    """Every level by every transport, then the search for the highest rate by the first transport."""
    found = []
    for transport in options.shared_memory:
        for level in options.levels:
            found.append(program.at(level, transport))
            print(f"perf: {told(found[-1])}", file=sys.stderr)
    if not options.p99_ms:
        return found, None
    short = dataclasses.replace(program, folder=options.folder / "search")

    def at(level: Level) -> Measured:
        one = short.at(level, options.shared_memory[0])
        print(f"perf: {told(one)}", file=sys.stderr)
        return one

    return found, highest_rate(at, options.p99_ms, options.between, options.precision)


def told(item: Measured) -> str:
    """One level in a line."""
    if item.problem:
        return f"{item.transport}, {item.level}: {item.problem}"
    steady = "" if item.stable else f", unstable ({item.spread:.2f})"
    return f"{item.transport}, {item.level}: {item.throughput:.1f} frames/s, p99 {item.p99_ms:.1f} ms{steady}"


def about_run(options: argparse.Namespace, size: str, arguments: Sequence[str] | None) -> dict[str, str]:
    """What the report says of itself."""
    return {
        "command": shlex.join(
            ["python", "tools/load/perf.py", *(sys.argv[1:] if arguments is None else arguments)]
        ),
        "date": load_report.now(),
        "machine": load_report.machine(options.server_cpus),
        "model": options.model,
        "pictures": f"{size} I420, from {options.input.name if options.input else 'noise'}",
    }


if __name__ == "__main__":
    sys.exit(main())
