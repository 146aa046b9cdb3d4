"""What it takes to watch so many cameras: machines, GPUs, decoders, cores, memory, network, database.

    python tools/load/plan.py --load artifacts/load/load.json --soak artifacts/soak.json
    python tools/load/plan.py --cameras 1000,10000 --fps 5 --stream-fps 15 --size 1920x1080 \\
        --machine cores=64,memory_gb=256,gpus=1,nvdec=7 --perf artifacts/perf/report.json

Arithmetic on what load_test.py, soak.py, benchmark.py and, for a GPU, perf.py have measured. An input
that none of them gives is assumed, marked so, with where it comes from; --set NAME=VALUE:SOURCE replaces it.
Per camera: what one second of it costs of each resource. Per machine: what it has of each, times the share
that may be used. The resource that allows the fewest cameras a machine is the first limit; the database is
one for all machines, so it bounds the whole. See docs/load.md.
"""

import dataclasses
import json
import math
import re
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from load.reports import markdown_table

DAY_S = 86_400
#: Pixels of the frame that decoder figures are stated for.
HD = 1920 * 1080


class Known(NamedTuple):
    """One input: its value in ``unit``, where it came from, and whether it was measured or assumed."""

    value: float
    unit: str
    source: str
    measured: bool = False


Inputs = Mapping[str, Known]

#: Every input with what is assumed when nothing was measured or given.
_ROWS = {
    "engine_core_ms": (30.0, "core ms a frame", "docs/benchmarks.md: YOLOv8n 384x640 FP32 on one EPYC core"),
    "decode_core_ms": (0.7, "core ms a decoded frame", "docs/benchmarks.md: 768x432 H.264"),
    "decode_pixels": (768 * 432, "pixels", "docs/benchmarks.md: the video of decode_core_ms"),
    "client_core_ms": (2.2, "core ms a detected frame, without decoding", "docs/benchmarks.md"),
    "camera_mb": (8.3, "MB a camera", "docs/benchmarks.md: 533 MB for 64 cameras, supervisor included"),
    "machine_mb": (4000.0, "MB a machine", "a round figure: system, supervisor, Triton with one network"),
    "slot_mb": (1.5, "MB a camera in /dev/shm", "4 slots of 384x640 I420"),
    "bits_pixel": (0.1, "bits a pixel of a stream", "a usual H.264 setting for moderate motion"),
    "records_s": (7.0, "records a second and camera", "tools/bench/micro.py's batch: 350 for 50 cameras"),
    "database_records_s": (9200.0, "records a second", "docs/database.md: Postgres, 350 in 38 ms"),
    "classes": (2.0, "classes seen in a window", "a street camera: persons and cars"),
    "window_s": (60.0, "seconds a window", "the default of config.yml"),
    "row_bytes": (250.0, "bytes a row with its indexes", "a round figure for Postgres"),
    "gpu_fps": (0.0, "frames/s a GPU under the bound", "not measured: give the rate of tools/load/perf.py"),
    "nvdec_fps": (600.0, "1080p frames/s a decoder engine", "a cautious round figure: the card's NVDEC note"),
    "gpu_worker_mb": (450.0, "MB of GPU memory a worker", "a CUDA context: 300 to 500 MB"),
    "worker_cameras": (16.0, "cameras a worker", "the default of cameras_per_worker"),
    "gpu_stream_mb": (60.0, "MB of GPU memory a 1080p stream", "not measured: a decoder and its surfaces"),
    "gpu_server_mb": (3000.0, "MB of GPU memory a GPU", "not measured: Triton, one network, its pools"),
    "nvdec_client_core_ms": (1.5, "core ms a detected frame", "not measured: client_core_ms less scaling"),
    "headroom": (0.7, "share of a resource that may be used", "for peaks and one failed machine"),
}
ASSUMED = {name: Known(*row) for name, row in _ROWS.items()}


@dataclasses.dataclass(frozen=True)
class Machine:
    """What one machine has. ``gpus`` 0: the network runs on the cores; ``nvdec`` 0: so does decoding."""

    cores: float = 64
    memory_gb: float = 256
    network_mbit: float = 10_000
    gpus: float = 0
    gpu_memory_gb: float = 24  # of one GPU
    nvdec: float = 0  # decoder engines of one GPU


@dataclasses.dataclass(frozen=True)
class Cameras:
    """What is to be watched: ``fps`` are detected, ``stream_fps`` are sent and decoded."""

    count: int
    fps: float
    stream_fps: float
    width: int
    height: int


@dataclasses.dataclass(frozen=True)
class CapacityPlan:
    """What it takes."""

    cameras: Cameras
    demand: Mapping[str, float]  # of all cameras together, by resource
    a_machine: Mapping[str, int]  # cameras that one machine takes, by resource, the fewest first
    machines: int  # how many are needed
    first_limit: str  # the resource that runs out first; ``database`` when that bounds the whole
    database_cameras: int
    rows: Mapping[str, float]  # ``rows_day`` and ``gb_year`` that stay in the database


def demand(inputs: Inputs, machine: Machine, cameras: Cameras) -> dict[str, float]:
    """What one camera takes of each resource of a machine; a ValueError when its GPU is not known."""
    value = {name: known.value for name, known in inputs.items()}
    pixels = cameras.width * cameras.height
    needs = {
        "memory (GB)": (value["camera_mb"] + value["slot_mb"]) / 1e3,
        "network (Mbit/s)": pixels * cameras.stream_fps * value["bits_pixel"] / 1e6,
    }
    core_ms = cameras.fps * value["nvdec_client_core_ms" if machine.nvdec else "client_core_ms"]
    if machine.nvdec:
        streams_mb = value["gpu_stream_mb"] * pixels / HD
        needs["GPU memory (GB)"] = (streams_mb + value["gpu_worker_mb"] / value["worker_cameras"]) / 1e3
        needs["decoder engines"] = cameras.stream_fps * pixels / HD / value["nvdec_fps"]
    else:
        core_ms += cameras.stream_fps * value["decode_core_ms"] * pixels / value["decode_pixels"]
    if machine.gpus:
        if value["gpu_fps"] <= 0:
            what = "give a report of tools/load/perf.py, or --set gpu_fps=N:SOURCE"
            raise ValueError(f"nothing is known of the GPU: {what}")
        needs["GPUs"] = cameras.fps / value["gpu_fps"]
    else:
        core_ms += cameras.fps * value["engine_core_ms"]
    return {"CPU cores": core_ms / 1e3, **needs}


def plan(inputs: Inputs, machine: Machine, cameras: Cameras) -> CapacityPlan:
    """What so many cameras take, and what runs out first; a ValueError when a machine takes not even one."""
    share = inputs["headroom"].value
    has = {
        "CPU cores": machine.cores * share,
        "memory (GB)": machine.memory_gb * share - inputs["machine_mb"].value / 1e3,
        "network (Mbit/s)": machine.network_mbit * share,
        "GPU memory (GB)": machine.gpus
        * (machine.gpu_memory_gb * share - inputs["gpu_server_mb"].value / 1e3),
        "decoder engines": machine.gpus * machine.nvdec * share,
        "GPUs": machine.gpus * share,
    }
    one = demand(inputs, machine, cameras)
    counts = ((name, math.floor(has[name] / need)) for name, need in one.items() if need > 0)
    fits = dict(sorted(counts, key=lambda item: item[1]))
    tightest = next(iter(fits))
    if fits[tightest] < 1:
        raise ValueError(f"one machine does not take one camera: {tightest} run out")
    database_cameras = math.floor(inputs["database_records_s"].value * share / inputs["records_s"].value)
    # A row a window for the source and one for each class that was seen.
    rows_day = cameras.count * DAY_S / inputs["window_s"].value * (1 + inputs["classes"].value)
    whole = {name: need * cameras.count for name, need in one.items()}
    return CapacityPlan(
        cameras=cameras,
        demand={**whole, "database (records/s)": cameras.count * inputs["records_s"].value},
        a_machine=fits,
        machines=math.ceil(cameras.count / fits[tightest]),
        first_limit="database (records/s)" if cameras.count > database_cameras else tightest,
        database_cameras=database_cameras,
        rows={"rows_day": rows_day, "gb_year": rows_day * 365 * inputs["row_bytes"].value / 1e9},
    )


def _measured(source: str, **values: float) -> dict[str, Known]:
    units = {name: ASSUMED[name].unit for name in values}
    return {
        name: Known(round(value, 4), units[name], source, measured=True) for name, value in values.items()
    }


def from_load(report: Mapping[str, Any]) -> dict[str, Known]:
    """Of ``load.json``: the last step that kept up; else, as of a comparison, the last one there is."""
    steps = report.get("steps") or [one["cameras"] for one in report.get("compare", {}).get("rounds", [])]
    if not steps:
        raise ValueError("the load report holds no step")
    one = next((step for step in reversed(steps) if step["kept_up"]), steps[-1])
    spent = one["core_ms"]
    decoded = one["due"] / one["tracked"] if one["tracked"] else 1.0
    values = {
        "decode_core_ms": one["decode_ms"],
        "decode_pixels": one["pixels"],
        "client_core_ms": max(spent["workers"] + spent["supervisor"] - decoded * one["decode_ms"], 0.0),
        "camera_mb": one["pss_mb"]["workers"] / one["cameras"],
        "records_s": one["records_s"],
    }
    if "engine" in spent:  # the processes of a server elsewhere are not seen
        values["engine_core_ms"] = spent["engine"] + spent["tritonserver"]
    steps_of = f"load test of {report['about']['date']}: {one['cameras']} cameras at {one['fps']:g} frames/s"
    return _measured(steps_of, **values)


def from_soak(report: Mapping[str, Any]) -> dict[str, Known]:
    """Of ``soak.json``: the most that the workers took over minutes, for each of their cameras."""
    soak = report["report"]
    workers = [one["max_mb"] for name, one in soak["processes"].items() if name.startswith("worker")]
    if not workers or not soak["cameras"]:
        raise ValueError("the soak report holds no camera")
    return _measured(f"soak of {soak['seconds']:.0f} s", camera_mb=sum(workers) / len(soak["cameras"]))


def from_benchmark(report: Mapping[str, Any]) -> dict[str, Known]:
    """Of ``benchmark.json``: what a frame costs the bare engine, which keeps every core busy."""
    cores = re.search(r"(\d+) cores", report["machine"])
    if cores is None:
        raise ValueError("the benchmark's report does not say how many cores there were")
    source = f"benchmark of {report['date']}: the bare engine, all cores"
    return _measured(source, engine_core_ms=int(cores[1]) * 1e3 / report["fps"]["engine"])


def from_perf(report: Mapping[str, Any]) -> dict[str, Known]:
    """Of ``report.json`` of a GPU server: the rate that held the bound, else the best one that was steady."""
    bracket, when = report.get("bracket"), report["about"]["date"]
    if bracket and bracket["holds"]:
        return _measured(f"perf_analyzer, {when}: {bracket['text']}", gpu_fps=bracket["holds"])
    steady = [one["throughput"] for one in report["measured"] if one["stable"]]
    if not steady:
        raise ValueError("perf_analyzer's report has neither a rate that held the bound nor a steady level")
    return _measured(f"perf_analyzer, {when}: the best steady level, no bound", gpu_fps=max(steady))


#: Later ones win: a load test says more of the engine than the benchmark, a soak more of memory.
READERS = {"benchmark": from_benchmark, "load": from_load, "soak": from_soak, "perf": from_perf}


def given(text: str) -> dict[str, Known]:
    """``name=value:source`` of the command line: given, not measured by us."""
    parts = re.fullmatch(r"(\w+)=([\d.]+)(?::(.+))?", text)
    if parts is None or parts[1] not in ASSUMED:
        raise ValueError(f"{text!r} is no NAME=VALUE[:SOURCE]; names are {', '.join(ASSUMED)}")
    source = f"given: {parts[3] or 'without a source'}"
    return {parts[1]: Known(float(parts[2]), ASSUMED[parts[1]].unit, source)}


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


def parse(arguments: Sequence[str] | None) -> Namespace:
    """The command line; ``wanted`` are the cameras."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--cameras", default="1000,10000", help="how many, with commas (default: %(default)s)")
    add("--fps", type=float, default=5, help="frames a second to detect (default: %(default)s)")
    add("--stream-fps", type=float, default=15, help="frames a second that a camera sends")
    add("--size", default="1920x1080", help="of the stream (default: %(default)s)")
    names = [field.name for field in dataclasses.fields(Machine)]
    add("--machine", default="", help=f"NAME=N,…: {', '.join(names)}; what is not said has its default")
    for name in READERS:
        add(f"--{name}", type=Path, help=f"report of {'load_test' if name == 'load' else name}.py (JSON)")
    add("--set", dest="given", action="append", default=[], metavar="NAME=VALUE:SOURCE")
    add("--json", type=Path, help="keep it as JSON too")
    options = parser.parse_args(arguments)
    try:
        width, height = (int(side) for side in options.size.split("x"))
        counts = [int(part) for part in options.cameras.split(",")]
        options.wanted = [Cameras(n, options.fps, options.stream_fps, width, height) for n in counts]
        said = dict(part.partition("=")[::2] for part in options.machine.split(",") if part)
        if unknown := set(said) - set(names):
            raise ValueError(f"a machine has {', '.join(names)}, not {', '.join(sorted(unknown))}")
        options.machine = Machine(**{name: float(value) for name, value in said.items()})
        if options.machine.nvdec and not options.machine.gpus:
            raise ValueError("decoder engines are a GPU's: give gpus as well")
        if min(*counts, 1) < 1 or options.fps <= 0 or options.stream_fps < options.fps:
            raise ValueError("cameras and rates are above 0, and no camera gives more frames than it sends")
    except (ValueError, TypeError) as error:
        parser.error(str(error))
    return options


def as_markdown(inputs: Inputs, machine: Machine, plans: Sequence[CapacityPlan]) -> list[str]:
    """The plan as people read it."""
    first, cameras = plans[0], plans[0].cameras
    has = ", ".join(f"{name} {value:g}" for name, value in dataclasses.asdict(machine).items())
    fits = ", ".join(f"{name}: {count:,}" for name, count in first.a_machine.items())
    rows = [
        ["machines", *(f"**{one.machines}**" for one in plans)],
        ["first limit", *(f"**{one.first_limit}**" for one in plans)],
        *([name, *(f"{one.demand[name]:,.1f}" for one in plans)] for name in first.demand),
        ["rows a day", *(f"{one.rows['rows_day']:,.0f}" for one in plans)],
        ["GB of rows a year", *(f"{one.rows['gb_year']:,.0f}" for one in plans)],
    ]
    unused = {"engine_core_ms"} if machine.gpus else {"gpu_fps"}
    if machine.nvdec:
        unused |= {"decode_core_ms", "decode_pixels", "client_core_ms"}
    else:
        unused |= {"nvdec_fps", "nvdec_client_core_ms"}
    known = [
        [name, f"{one.value:g} {one.unit}", "measured" if one.measured else "**assumed**", one.source]
        for name, one in inputs.items()
        if name not in unused
    ]
    return [
        f"{cameras.width}x{cameras.height} at {cameras.stream_fps:g} frames/s, {cameras.fps:g} detected; "
        f"a machine: {has}",
        "",
        *markdown_table(["", *(f"{one.cameras.count:,} cameras" for one in plans)], rows),
        "",
        f"Cameras that one machine takes, by resource: {fits}.",
        f"Cameras that one database takes: {first.database_cameras:,}.",
        "",
        *markdown_table(["input", "value", "", "where from"], known),
    ]


if __name__ == "__main__":
    sys.exit(main())
