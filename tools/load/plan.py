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
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from load.planner import ASSUMED, READERS, Cameras, CapacityPlan, Inputs, Machine, given, plan


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when there is a plan."""
    options = parse(arguments)
    inputs = dict(ASSUMED)
    try:
        for name, read in READERS.items():
            if path := getattr(options, name):
                inputs |= read(json.loads(path.read_text()))
        for text in options.given:
            inputs |= given(text)
        plans = [plan(inputs, options.machine, one) for one in options.wanted]
    except (ValueError, KeyError, OSError) as error:
        print(f"plan: {error}", file=sys.stderr)
        return 1
    print("\n".join(as_markdown(inputs, options.machine, plans)))
    if options.json:
        report = {
            "machine": dataclasses.asdict(options.machine),
            "plans": [dataclasses.asdict(one) for one in plans],
            "inputs": {name: known._asdict() for name, known in inputs.items()},
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ``wanted`` are the cameras."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--cameras", default="1000,10000", help="how many, with commas (default: %(default)s)")
    add("--fps", type=float, default=5, help="frames a second to detect (default: %(default)s)")
    add("--stream-fps", type=float, default=15, help="frames a second that a camera sends")
    add("--size", default="1920x1080", help="of the stream (default: %(default)s)")
    names = ", ".join(field.name for field in dataclasses.fields(Machine))
    add("--machine", default="", help=f"NAME=N,…: {names}")
    for name in READERS:
        add(f"--{name}", type=Path, help=f"report of {'load_test' if name == 'load' else name}.py (JSON)")
    add("--set", dest="given", action="append", default=[], metavar="NAME=VALUE:SOURCE")
    add("--json", type=Path, help="keep it as JSON too")
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
    names = {field.name for field in dataclasses.fields(Machine)}
    if unknown := set(values) - names:
        raise ValueError(f"a machine has {', '.join(sorted(names))}, not {', '.join(sorted(unknown))}")
    machine = Machine(**{name: float(value) for name, value in values.items()})
    if machine.nvdec and not machine.gpus:
        raise ValueError("decoder engines are a GPU's: give gpus as well")
    return machine


def as_markdown(inputs: Inputs, machine: Machine, plans: Sequence[CapacityPlan]) -> list[str]:
    """The plan as people read it."""
    first = plans[0]
    cameras = first.cameras
    has = ", ".join(f"{name} {value:g}" for name, value in dataclasses.asdict(machine).items())
    size = f"{cameras.width}x{cameras.height}"
    rows = {
        "machines": [f"**{one.machines}**" for one in plans],
        "first limit": [f"**{one.first_limit}**" for one in plans],
        **{name: [f"{one.demand[name]:,.1f}" for one in plans] for name in first.demand},
        "rows a day": [f"{one.rows['rows_day']:,.0f}" for one in plans],
        "GB of rows a year": [f"{one.rows['gb_year']:,.0f}" for one in plans],
    }
    fits = ", ".join(f"{name}: {count:,}" for name, count in first.a_machine.items())
    lines = [
        f"{size} at {cameras.stream_fps:g} frames/s, {cameras.fps:g} detected; a machine: {has}",
        "",
        "| | " + " | ".join(f"{one.cameras.count:,} cameras" for one in plans) + " |",
        "|---|" + "---|" * len(plans),
        *(f"| {name} | {' | '.join(values)} |" for name, values in rows.items()),
        "",
        f"Cameras that one machine takes, by resource: {fits}.",
        f"Cameras that one database takes: {first.database_cameras:,}.",
        "",
        "| input | value | | where from |",
        "|---|---|---|---|",
    ]
    unused = {"engine_core_ms"} if machine.gpus else {"gpu_fps"}
    decoding_on_cores, on_gpu = (
        {"decode_core_ms", "decode_pixels", "client_core_ms"},
        {"nvdec_fps", "nvdec_client_core_ms"},
    )
    unused |= decoding_on_cores if machine.nvdec else on_gpu
    for name, known in inputs.items():
        if name not in unused:
            kind = "measured" if known.measured else "**assumed**"
            lines.append(f"| {name} | {known.value:g} {known.unit} | {kind} | {known.source} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
