"""What only a GPU can show: transports, precisions, and the whole path against the bare engine.

    python tools/gpu/gpu_proof.py yolov8n.onnx --video VIDEO.mp4     # a machine with a GPU, no container
    python tools/gpu/gpu_proof.py --url triton:8001 --label fp16 --form fused  # a server that runs
    python tools/gpu/gpu_proof.py yolov8n.onnx --dry-run             # anywhere: every step that needs no GPU

Each row is measured by Sightline's own clients; the report (JSON, Markdown) gathers the rows of all runs in
--folder. Without a container it serves TensorRT-RTX engines in FP16 and FP32; the same network on PyTorch,
where that is installed, for cards that TensorRT-RTX does not know; and a stand-in without a network, which
shows what the transports cost. With a video, the boxes of every transport are held against the CPU's. With
--url it measures what is served there, for instance the two forms of the TensorRT detector, one run each;
the report says which should be the default. The dry run serves the CPU's detector, and PyTorch's on the CPU,
through the same code for a moment.
"""

import contextlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sightline.analysis.pairing import pair_boxes
from sightline.base import machine
from sightline.base.cuda import has_gpu
from sightline.entities import Detections
from sightline.errors import DetectorError, ServerError, SharedMemoryError, SourceError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from gpu.clients import NO_GPU, Load, answers, measure, ready_pictures
from load.reports import about_run, markdown_table

TOOLS = Path(__file__).resolve().parents[1]
TRANSPORTS = (("grpc", False), ("system", False), ("cuda", False), ("cuda", True))
KINDS = ("rtx", "torch", "stand-in")
#: The ensemble stays the default unless one plan is faster by more than runs differ by.
MARGIN = 1.03
ENOUGH = 0.95  # of the bare engine
SURE = 0.25  # boxes that score as much must be found by both detectors

Row = dict[str, Any]
Rows = Sequence[Row]
Folders = tuple[Path, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the report; 0 when something was measured."""
    options = parse(arguments)
    gpu = machine.gpu("name,driver_version") or "none"
    about = {**about_run("gpu/gpu_proof.py", arguments), "gpu": gpu, "dry_run": options.dry_run}
    measured, page = False, ""
    for rows in runs(options):  # each is written at once: what was measured stays, whatever comes
        page = write(options.folder, about, rows)
        measured = measured or any("fps" in row for row in rows)
    print(page)
    return 0 if measured else 1


def parse(arguments: Sequence[str] | None) -> Namespace:
    """The command line."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("network", type=Path, nargs="?", help="an .onnx as for sightline model export")
    add("--url", help="host:port of gRPC of a server that runs")
    add("--label", default="served", help="what runs there, for the report")
    add(
        "--form",
        choices=("ensemble", "fused"),
        help="as what; with both of a label, the report names the default",
    )
    add("--bare-fps", type=float, help="the best rate of the engine alone (build_engines.py --bare)")
    add("--video", type=Path, help="decoded by the clients, for the whole path; its pictures")
    kinds = ",".join(KINDS)
    add("--only", type=lambda text: text.split(","), default=kinds, help=f"some of {kinds} (default: all)")
    add("--instances", type=int, default=2, help="of PyTorch's model (default: %(default)s)")
    add("--shape", default="384x640", help="HxW (default: %(default)s)")
    add("--clients", type=int, default=4, help="processes (default: %(default)s)")
    add("--in-flight", type=int, default=4, help="of each (default: %(default)s)")
    add("--seconds", type=float, default=20.0, help="of each row (default: %(default)s)")
    add("--folder", type=Path, default=Path("artifacts/gpu"), help="where reports go")
    add("--dry-run", action="store_true", help="without a GPU: one client, a second a row")
    options = parser.parse_args(arguments)
    if not (shape := re.fullmatch(r"(\d+)x(\d+)", options.shape)):
        parser.error("--shape: give HxW, such as 384x640")
    options.shape = int(shape[1]), int(shape[2])
    if bool(options.network) == bool(options.url):
        parser.error("give a network, or --url of a server that runs")
    if not set(options.only) <= set(KINDS):
        parser.error(f"--only: known are {', '.join(KINDS)}")
    if options.dry_run:
        options.clients, options.in_flight, options.seconds = 1, 2, min(options.seconds, 1.0)
    return options


def runs(options: Namespace) -> Iterator[list[Row]]:
    """Rows of the report, a case at a time."""
    if options.url:
        label = f"{options.label}, {options.form}" if options.form else options.label
        about = {"form": options.form, "label": options.label} if options.form else {}
        yield [one | about for one in served(options, label, options.url, options.bare_fps)]
        return
    from sightline.models.export import exporter

    with tempfile.TemporaryDirectory(prefix="sightline-gpu-") as work:
        for precision in ("fp16", "fp32"):
            folder = Path(work) / precision
            how = {"shape": options.shape, "precision": precision, "fused": True}
            exporter.export_network(exporter.ExportOptions(options.network, folder, **how))
            if options.dry_run and precision == "fp16":
                yield embedded(options, "CPU, dry run", folder, "cpu")
            if "rtx" in options.only:
                yield rtx(options, f"TensorRT-RTX, {precision}", folder)
            if "torch" in options.only:
                yield pytorch(options, f"PyTorch, {precision}", folder)
        if "stand-in" in options.only:
            label, place = "stand-in without a network", Path(work) / "stand-in"
            name, packages = stand_in(folder, place)
            yield embedded(options, label, place, name, packages) if has_gpu() else away(label)


def away(label: str, problem: str = NO_GPU) -> list[Row]:
    """What the report has of a case that cannot be served."""
    return [{"case": label, "way": "all", "problem": problem}]


def rtx(options: Namespace, label: str, folder: Path) -> list[Row]:
    """The engine is built here, with a GPU or without; a failure is told in the report."""
    from sightline.models.export import rtx_engines
    from sightline.serving.install import install, install_rtx

    engine = folder / "detector" / "1" / "rtx.engine"
    try:
        engine = rtx_engines.build_version(folder, 1)
        print(f"{label}: {engine.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    except (rtx_engines.RtxError, ServerError) as error:
        print(f"{label}: {error}", file=sys.stderr)
    if not has_gpu():
        return away(label)
    packages = {"SIGHTLINE_BACKEND_PATH": f"{TOOLS.parent / 'client'}:{install_rtx()}"}
    bare = bare_engine(install() / "bin" / "python", ["rtx", engine, "cuda"], options, packages)
    return embedded(options, label, folder, "rtx", bare=bare)


def pytorch(options: Namespace, label: str, folder: Path) -> list[Row]:
    """The network on PyTorch, from this program's own environment."""
    packages = packages_of("torch")
    if packages is None:
        return away(label, "not measured: PyTorch is not installed here")
    from gpu import torchnet

    network = folder / "detector" / "1" / "network.pt"
    try:
        torchnet.save(folder / "yolo" / "1" / "engine.onnx", network)
    except ValueError as error:
        return away(label, str(error))
    device = "cpu" if options.dry_run and not has_gpu() else "cuda"
    if device == "cuda" and not has_gpu():
        return away(label)
    parameter = f'parameters {{ key: "device" value {{ string_value: "{device}" }} }}'
    add_config(folder, "torch", "torchmodel.py", options.instances, parameter)
    bare = bare_engine(Path(sys.executable), ["torch", network, device], options)
    label += ", on the CPU" if device == "cpu" else ""
    return embedded(options, label, folder, "torch", (TOOLS, packages), bare)


def stand_in(source: Path, folder: Path) -> tuple[str, Folders]:
    """A repository with a detector that has no network; CUDA is called by what is installed here.

    Gives the name of its configuration, and more folders from which it imports.
    """
    shutil.copytree(source / "detector", folder / "detector")
    (folder / "yolo" / "1").mkdir(parents=True)
    shutil.copy(source / "yolo" / "1" / "manifest.json", folder / "yolo" / "1")
    packages = packages_of("cuda.bindings")
    name = "rtx" if packages is None else "stand-in"
    add_config(folder, name, "standin.py")
    return name, (packages,) if packages else ()


def add_config(folder: Path, name: str, program: str, instances: int = 2, parameter: str = "") -> None:
    """Serve a program of ``tools/gpu`` as ``detector``: a configuration like that of TensorRT-RTX."""
    detector = folder / "detector"
    shutil.copy(TOOLS / "gpu" / program, detector / "1")
    text = (detector / "configs" / "rtx.pbtxt").read_text()
    text = text.replace('"rtx.py"', f'"{program}"').replace("{ count: 2 ", f"{{ count: {instances} ")
    (detector / "configs" / f"{name}.pbtxt").write_text(f"{text}\n{parameter}\n")


def packages_of(module: str) -> Path | None:
    """The folder from which this program imports a module; None: it is not installed."""
    spec = None
    with contextlib.suppress(ModuleNotFoundError):
        spec = importlib.util.find_spec(module)
    return Path(spec.origin).parents[module.count(".") + 1] if spec and spec.origin else None


# --- what is measured ---------------------------------------------------------------------------------


def embedded(
    options: Namespace, label: str, folder: Path, config: str, packages: Folders = (), bare: Rows = ()
) -> list[Row]:
    """Serve a repository by the embedded server and measure it over every transport.

    ``label`` is the case in the report, ``packages`` are more folders from which the models import, ``bare``
    rows of the engine alone.
    """
    from sightline.serving.server import TritonServer

    best = max((one["fps"] for one in bare if "fps" in one), default=None)
    try:
        with TritonServer(folder, config_name=config, packages=packages) as server:
            rows = served(options, label, server.grpc_url, best, folder)
    except ServerError as error:
        rows = away(label, str(error))
    return [*({"case": label, **one} for one in bare), *rows]


def bare_engine(
    python: Path, engine: list[Any], options: Namespace, environment: Mapping[str, str] | None = None
) -> list[Row]:
    """The engine alone, in a process of its own: rows of the report, or one with ``problem``."""
    command = [python, TOOLS / "gpu" / "bare_gpu.py", *engine, options.seconds, *options.shape]
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=variables)
    if done.returncode:
        problem = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
        return [{"way": "bare engine", "problem": problem}]
    return list(json.loads(done.stdout.splitlines()[-1]))


def agreement(label: str, repository: Path, video: Path, loads: Mapping[str, Load]) -> list[Row]:
    """For each transport, the boxes of some pictures against those of ONNX Runtime on the CPU."""
    from sightline.models.evaluation.onnx_engine import BareEngine, open_session

    version = repository / "yolo" / "1"
    manifest = json.loads((version / "manifest.json").read_text())
    network = manifest["network_height"], manifest["network_width"]
    engine = BareEngine(open_session((version / "model.onnx").read_bytes()), network, ())
    pictures = ready_pictures(network, video)
    reference = [engine.detect(picture, manifest["score_floor"]) for picture in pictures]
    rows = []
    for way, load in loads.items():
        try:
            outcome = {"note": compare(reference, answers(load, len(pictures)))}
        except (DetectorError, SharedMemoryError, SourceError) as error:
            outcome = {"problem": str(error)}
        rows.append({"case": label, "way": f"boxes against the CPU's, {way}", **outcome})
    return rows


def compare(reference: Sequence[Detections], other: Sequence[Detections]) -> str:
    """How two detectors agree on the same pictures.

    Of the sure boxes of the reference, all pictures together: how many have no partner among all of the
    other's, or the other way round; and the largest differences between partners, of an edge in shares of the
    picture and of a score.
    """
    boxes, differ, shift, score = 0, 0, 0.0, 0.0
    for one, two in zip(reference, other, strict=True):
        pairs = pair_boxes(one, two, ((), ()), SURE)
        boxes += int(np.count_nonzero(one.scores >= SURE))
        differ += len(pairs.live_only) + len(pairs.candidate_only) + pairs.renamed.size
        rows, columns = pairs.same
        shift = max(shift, float(np.abs(one.xyxy[rows] - two.xyxy[columns]).max(initial=0)))
        score = max(score, float(np.abs(one.scores[rows] - two.scores[columns]).max(initial=0)))
    return f"{differ} of {boxes} differ, edges by {shift:.2g}, scores by {score:.2g}"


def served(
    options: Namespace, label: str, url: str, bare_fps: float | None, repository: Path | None = None
) -> list[Row]:
    """One server over every transport, with pictures ready; then the whole path from the video.

    With a video, and a repository that holds a network, boxes are compared first.
    """
    rest = options.video, options.seconds, options.in_flight
    ready = [Load(url, transport, on_gpu, *rest) for transport, on_gpu in TRANSPORTS]
    loads = {
        f"{one.transport}, pictures ready on the {'GPU' if one.on_gpu else 'host'}": one for one in ready
    }
    rows: list[Row] = []
    if options.video:
        if repository and (repository / "yolo" / "1" / "model.onnx").is_file():
            rows = agreement(label, repository, options.video, loads)
        loads["video to boxes"] = Load(url, "auto", False, *rest, decodes=True)
    for way, load in loads.items():
        row = {"case": label, "way": way, **measure(load, options.clients)}
        print(f"{label}, {way}: {row.get('fps', row.get('problem'))}", file=sys.stderr)
        if bare_fps and "fps" in row:
            row["of_bare"] = round(row["fps"] / bare_fps, 3)
        rows.append(row)
    return rows


# --- the report ---------------------------------------------------------------------------------------


def write(folder: Path, about: Mapping[str, Any], rows: Rows) -> str:
    """Add rows to those of earlier runs, in place of those of the same case and way; gives the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "gpu.json"
    earlier = json.loads(path.read_text())["rows"] if path.is_file() else []
    by_way = {(one["case"], one["way"]): one for one in earlier}
    by_way |= {(one["case"], one["way"]): {**one, "about": dict(about)} for one in rows}
    path.write_text(json.dumps({"rows": list(by_way.values())}, indent=2, ensure_ascii=False) + "\n")
    page = markdown(list(by_way.values()))
    (folder / "gpu.md").write_text(page)
    return page


def markdown(rows: Rows) -> str:
    """What a person reads, and copies into docs/gpu.md."""
    cells = []
    for one in rows:
        figures = [one.get("note") or one.get("problem", "not measured"), "", "", ""]
        if "fps" in one:
            figures = [f"{one['fps']:.1f}", one["p50_ms"], one["p99_ms"], one.get("of_bare", "")]
        cells.append([one["case"], one["way"], *figures])
    head = ["case", "way", "frames/s", "p50 ms", "p99 ms", "of the bare engine"]
    lines = markdown_table(head, cells)
    abouts = {json.dumps(one["about"], sort_keys=True): one["about"] for one in rows}
    for about in abouts.values():
        dry = ", dry run: no figure of it counts" if about["dry_run"] else ""
        lines.append(f"\n{about['date']}, GPU {about['gpu']}, {about['machine']}{dry}: `{about['command']}`")
    # Sentences that follow from the rows; nothing is said of what was not measured.
    lines.append("")
    real = [one for one in rows if "fps" in one and not one["about"]["dry_run"]]
    best: dict[tuple[str, str], float] = {}  # by label and form, over the ways
    for one in real:
        if "form" in one:
            key = one["label"], one["form"]
            best[key] = max(best.get(key, 0.0), one["fps"])
    for label in sorted({label for label, _ in best}):
        if (label, "fused") in best and (label, "ensemble") in best:
            ratio = best[label, "fused"] / best[label, "ensemble"]
            default = "fused" if ratio > MARGIN else "ensemble"
            lines.append(
                f"{label}: default form **{default}**; one plan reaches {ratio:.3f} of the ensemble's rate."
            )
    for one in real:
        if one["way"] == "video to boxes" and "of_bare" in one:
            verdict = "enough" if one["of_bare"] >= ENOUGH else "too little"
            lines.append(f"{one['case']}: the whole path reaches {one['of_bare']} of the engine: {verdict}.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
