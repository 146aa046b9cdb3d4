"""What it takes to watch so many cameras: machines, GPUs, decoders, cores, memory, network, database.

    python tools/load/plan.py --load artifacts/load/load.json --soak artifacts/soak.json
    python tools/load/plan.py --cameras 1000,10000 --fps 5 --stream-fps 15 --size 1920x1080 \\
        --machine cores=64,memory_gb=256,gpus=1,nvdec=7 --perf artifacts/perf/report.json

Arithmetic on what load_test.py, soak.py, benchmark.py and, for a GPU, perf.py have measured. An input
that none of them gives is assumed, marked so, with where it comes from; --set NAME=VALUE:SOURCE replaces it.
Names the resource that runs out first. See docs/load.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from load.inputs import from_benchmark, from_load, from_perf, from_soak, given, together
from load.planner import Cameras, CapacityPlan, Inputs, Machine, plan

#: Later ones win: a load test says more of the engine than the benchmark, a soak more of memory.
READERS: tuple[tuple[str, Callable[[Any], Inputs]], ...] = (
    ("benchmark", from_benchmark),
    ("load", from_load),
    ("soak", from_soak),
    ("perf", from_perf),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when there is a plan."""
    options = parse(arguments)
    try:
        reports = [read(getattr(options, name)) for name, read in _readers(options)]
        inputs = together(*reports, *map(given, options.given))
        plans = [plan(inputs, options.machine, one) for one in options.wanted]
    except (ValueError, KeyError, OSError) as error:
        print(f"plan: {error}", file=sys.stderr)
        return 1
    print("\n".join(as_markdown(inputs, options.machine, plans)))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(as_json(inputs, options.machine, plans), indent=2) + "\n")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cameras", default="1000,10000", help="how many, with commas (default: %(default)s)"
    )
    parser.add_argument(
        "--fps", type=float, default=5, help="frames a second to detect (default: %(default)s)"
    )
    parser.add_argument("--stream-fps", type=float, default=15, help="frames a second that a camera sends")
    parser.add_argument("--size", default="1920x1080", help="of the stream (default: %(default)s)")
    names = ", ".join(field.name for field in dataclasses.fields(Machine))
    parser.add_argument("--machine", default="", help=f"NAME=N,…: {names}")
    for name, _ in READERS:
        parser.add_argument(
            f"--{name}", type=Path, help=f"report of {'load_test' if name == 'load' else name}.py (JSON)"
        )
    parser.add_argument("--set", dest="given", action="append", default=[], metavar="NAME=VALUE:SOURCE")
    parser.add_argument("--json", type=Path, help="keep it as JSON too")
    options = parser.parse_args(arguments)
    try:
        width, height = (int(side) for side in options.size.split("x"))
        counts = [int(part) for part in options.cameras.split(",")]
        options.wanted = [Cameras(n, options.fps, options.stream_fps, width, height) for n in counts]
        options.machine = parse_machine(options.machine)
        if min(*counts, 1) < 1 or options.fps <= 0 or options.stream_fps < options.fps:
            raise ValueError("cameras and rates are above 0, and no camera gives more frames than it sends")
    except (ValueError, TypeError) as error:
        parser.error(str(error))
    return options


def parse_machine(text: str) -> Machine:
    """``cores=64,gpus=1`` as a machine; what is not said has its default.

    Raises:
        ValueError: a name is unknown, or a value is no number.
    """
    values = dict(part.partition("=")[::2] for part in text.split(",") if part)
    known = {field.name for field in dataclasses.fields(Machine)}
    if not set(values) <= known:
        raise ValueError(
            f"a machine has {', '.join(sorted(known))}, not {', '.join(sorted(set(values) - known))}"
        )
    machine = Machine(**{name: float(value) for name, value in values.items()})
    if machine.nvdec and not machine.gpus:
        raise ValueError("decoder engines are a GPU's: give gpus as well")
    return machine


def _readers(options: argparse.Namespace) -> list[tuple[str, Callable[[Path], Inputs]]]:
    def reader(read: Callable[[Any], Inputs]) -> Callable[[Path], Inputs]:
        return lambda path: read(json.loads(path.read_text()))

    return [(name, reader(read)) for name, read in READERS if getattr(options, name)]


def as_markdown(inputs: Inputs, machine: Machine, plans: Sequence[CapacityPlan]) -> list[str]:
    """The plan as people read it."""
    one = plans[0].cameras
    has = ", ".join(f"{name} {value:g}" for name, value in dataclasses.asdict(machine).items())
    lines = [
        f"{one.width}x{one.height} at {one.stream_fps:g} frames/s, {one.fps:g} detected; a machine: {has}",
        "",
        "| | " + " | ".join(f"{found.cameras.count:,} cameras" for found in plans) + " |",
        "|---|" + "---|" * len(plans),
    ]
    rows = [("machines", [f"**{found.machines}**" for found in plans])]
    rows.append(("first limit", [f"**{found.first_limit}**" for found in plans]))
    for name in plans[0].demand:
        rows.append((name, [f"{found.demand[name]:,.1f}" for found in plans]))
    rows.append(("rows a day", [f"{found.rows['rows_day']:,.0f}" for found in plans]))
    rows.append(("GB of rows a year", [f"{found.rows['gb_year']:,.0f}" for found in plans]))
    lines += [f"| {name} | {' | '.join(values)} |" for name, values in rows]
    fits = ", ".join(f"{name}: {count:,}" for name, count in plans[0].a_machine.items())
    lines += ["", f"Cameras that one machine takes, by resource: {fits}."]
    lines += [f"Cameras that one database takes: {plans[0].database_cameras:,}.", ""]
    lines += ["| input | value | | where from |", "|---|---|---|---|"]
    unused = _unused(machine)
    for name, item in inputs.items():
        if name in unused:
            continue
        kind = "measured" if item.measured else "**assumed**"
        lines.append(f"| {name} | {item.value:g} {item.unit} | {kind} | {item.source} |")
    return lines


def _unused(machine: Machine) -> set[str]:
    """Inputs that play no part on such a machine."""
    gpu = {"engine_core_ms"} if machine.gpus else {"gpu_fps"}
    decoder = {"decode_core_ms", "decode_pixels", "client_core_ms"}
    return gpu | (decoder if machine.nvdec else {"nvdec_fps", "nvdec_client_core_ms"})


def as_json(inputs: Inputs, machine: Machine, plans: Sequence[CapacityPlan]) -> dict[str, Any]:
    """The plan as programs read it."""
    return {
        "machine": dataclasses.asdict(machine),
        "plans": [dataclasses.asdict(found) for found in plans],
        "inputs": {name: dataclasses.asdict(item) for name, item in inputs.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
