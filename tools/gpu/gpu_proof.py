"""What only a GPU can show: transports, precisions, and the whole path against the bare engine.

    python tools/gpu/gpu_proof.py yolov8n.onnx --video VIDEO.mp4     # a machine with a GPU, no container
    python tools/gpu/gpu_proof.py --url triton:8001 --label "fused fp16" --bare-fps 1234  # a server that runs
    python tools/gpu/gpu_proof.py yolov8n.onnx --dry-run             # anywhere: every step that needs no GPU

Each row is measured by Sightline's own clients; the report (JSON, Markdown) gathers the rows of all runs in
--folder. Without a container it serves TensorRT-RTX engines in FP16 and FP32; the same network on PyTorch,
where that is installed, for cards that TensorRT-RTX does not know; and a stand-in without a network, which
shows what the transports cost. With a video, the boxes of every transport are held against the CPU's. With
--url it measures what is served there, for instance the two forms of the TensorRT detector, one run each;
the report says which should be the default. The dry run serves the CPU's detector, and PyTorch's on the CPU,
through the same code for a moment.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.base.cuda import has_gpu
from sightline.errors import DetectorError, ServerError, SharedMemoryError, SourceError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from gpu import proof_report
from gpu.clients import Load, answers, measure, ready_pictures

TOOLS = Path(__file__).resolve().parents[1]
TRANSPORTS = (("grpc", False), ("system", False), ("cuda", False), ("cuda", True))
NO_GPU = "not measured: no NVIDIA driver here"


KINDS = ("rtx", "torch", "stand-in")
PRECISIONS = ("fp16", "fp32")
BATCHES = (1, 8)  # of PyTorch alone; requests that wait are computed together

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """Something to serve by the embedded server.

    Attributes:
        label: for the report.
        repository: the models.
        config_name: of the server.
        packages: more folders from which the models import.
        bare: measures the engine alone for so many seconds; rows of the report.
        finds: whether it has a network, so that boxes can be compared.
        needs_gpu: whether it can be served only where there is one.
        problem: why it cannot be served.
    """

    label: str
    repository: Path
    config_name: str
    packages: tuple[Path, ...] = ()
    bare: Callable[[float], list[Row]] | None = None
    finds: bool = True
    needs_gpu: bool = True
    problem: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the report; 0 when something was measured."""
    options = parse(arguments)
    about = {
        "command": shlex.join(["python", "tools/gpu/gpu_proof.py", *(arguments or sys.argv[1:])]),
        **proof_report.measured_on(),
        "dry_run": options.dry_run,
    }
    measured = False
    path = options.folder
    for rows in runs(options):  # each is written at once: what was measured stays, whatever comes
        path = proof_report.write(options.folder, about, rows)
        measured = measured or any("fps" in row for row in rows)
    print(path.read_text())
    return 0 if measured else 1


def runs(options: argparse.Namespace) -> Iterator[list[Row]]:
    """Rows of the report, a case at a time."""
    if options.url:
        yield served(options, options.label, options.url, options.bare_fps)
        return
    with tempfile.TemporaryDirectory(prefix="sightline-gpu-") as work:
        for case in cases(options, Path(work)):
            yield embedded(options, case)


def cases(options: argparse.Namespace, work: Path) -> Iterator[Case]:
    """What to serve here, one after the other."""
    from sightline.models.export import exporter

    for precision in PRECISIONS:
        folder = work / precision
        exporter.export_network(
            exporter.ExportOptions(
                options.network, folder, shape=options.shape, precision=precision, fused=True
            )
        )
        if options.dry_run and precision == "fp16":
            yield Case("CPU, dry run", folder, "cpu", needs_gpu=False)
        if "rtx" in options.only:
            yield rtx_case(folder, precision)
        if "torch" in options.only:
            yield torch_case(folder, precision, options)
    if "stand-in" in options.only:
        yield stand_in(work / "fp32", work / "stand-in")


def rtx_case(folder: Path, precision: str) -> Case:
    """The engine is built here, with a GPU or without; a failure is told in the report."""
    from sightline.models.export import rtx_engines

    try:
        engine = rtx_engines.build_version(folder, 1)
        print(f"TensorRT-RTX, {precision}: {engine.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    except (rtx_engines.RtxError, ServerError) as error:
        print(f"TensorRT-RTX, {precision}: {error}", file=sys.stderr)
        engine = folder / "detector" / "1" / "rtx.engine"
    return Case(
        f"TensorRT-RTX, {precision}", folder, "rtx", bare=lambda seconds: [bare_rtx(folder, engine, seconds)]
    )


def torch_case(folder: Path, precision: str, options: argparse.Namespace) -> Case:
    """The network on PyTorch, from this program's own environment."""
    label, packages = f"PyTorch, {precision}", packages_of("torch")
    if packages is None:
        return Case(label, folder, "torch", problem="not measured: PyTorch is not installed here")
    from gpu import torchnet

    device = "cpu" if options.dry_run and not has_gpu() else "cuda"
    version = folder / "detector" / "1"
    try:
        torchnet.save(folder / "yolo" / "1" / "engine.onnx", version / "network.pt")
    except ValueError as error:
        return Case(label, folder, "torch", problem=str(error))
    parameter = f'parameters {{ key: "device" value {{ string_value: "{device}" }} }}'
    add_config(folder, "torch", "torchmodel.py", options.instances, parameter)
    return Case(
        f"{label}, on the CPU" if device == "cpu" else label,
        folder,
        "torch",
        (TOOLS, packages),
        lambda seconds: bare_torch(folder, device, seconds),
        needs_gpu=device != "cpu",
    )


def stand_in(source: Path, folder: Path) -> Case:
    """The repository with a detector that has no network; CUDA is called by what is installed here."""
    shutil.copytree(source / "detector", folder / "detector")
    (folder / "yolo" / "1").mkdir(parents=True)
    shutil.copy(source / "yolo" / "1" / "manifest.json", folder / "yolo" / "1")
    packages = packages_of("cuda.bindings")
    name = "rtx" if packages is None else "stand-in"
    add_config(folder, name, "standin.py")
    found = () if packages is None else (packages,)
    return Case("stand-in without a network", folder, name, found, finds=False)


def add_config(folder: Path, name: str, program: str, instances: int = 2, parameter: str = "") -> None:
    """Serve a program of ``tools/gpu`` as ``detector``: a configuration like that of TensorRT-RTX."""
    detector = folder / "detector"
    shutil.copy(TOOLS / "gpu" / program, detector / "1")
    text = (detector / "configs" / "rtx.pbtxt").read_text()
    text = text.replace('"rtx.py"', f'"{program}"').replace("{ count: 2 ", f"{{ count: {instances} ")
    (detector / "configs" / f"{name}.pbtxt").write_text(f"{text}\n{parameter}\n")


def packages_of(module: str) -> Path | None:
    """The folder from which this program imports a module; None: it is not installed."""
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parents[module.count(".") + 1]


def embedded(options: argparse.Namespace, case: Case) -> list[Row]:
    """Serve a case and measure it over every transport."""
    from sightline.serving.server import TritonServer

    problem = case.problem or (NO_GPU if case.needs_gpu and not has_gpu() else "")
    if problem:
        return [{"case": case.label, "way": "all", "problem": problem}]
    bare = case.bare(options.seconds) if case.bare else []
    best = max((one["fps"] for one in bare if "fps" in one), default=None)
    try:
        with TritonServer(case.repository, config_name=case.config_name, packages=case.packages) as server:
            rows = agreement(options, case, server.grpc_url) if case.finds and options.video else []
            rows += served(options, case.label, server.grpc_url, best)
    except ServerError as error:
        rows = [{"case": case.label, "way": "all", "problem": str(error)}]
    return [*({"case": case.label, **one} for one in bare), *rows]


def agreement(options: argparse.Namespace, case: Case, url: str) -> list[Row]:
    """For each transport, the boxes of some pictures against those of the CPU."""
    from gpu.cpu_reference import compare, on_cpu

    manifest = manifest_of(case.repository)
    network = manifest["network_height"], manifest["network_width"]
    pictures = ready_pictures(network, options.video)
    model = case.repository / "yolo" / "1" / "model.onnx"
    reference = on_cpu(model, network, manifest["score_floor"], pictures)
    rows = []
    for transport, on_gpu in TRANSPORTS:
        one = {"case": case.label, "way": f"boxes against the CPU's, {way_of(transport, on_gpu)}"}
        if transport == "cuda" and not has_gpu():
            rows.append({**one, "problem": NO_GPU})
            continue
        try:
            load = Load(0, url, transport, on_gpu, options.video, False, *shape_of(options))
            found = answers(load, len(pictures))
        except (DetectorError, SharedMemoryError, SourceError) as error:
            rows.append({**one, "problem": str(error)})
            continue
        rows.append({**one, "note": str(compare(reference, found))})
    return rows


def served(options: argparse.Namespace, label: str, url: str, bare_fps: float | None) -> list[Row]:
    """One server over every transport, with pictures ready; then the whole path from the video."""
    rows = []
    for transport, on_gpu in TRANSPORTS:
        load = Load(0, url, transport, on_gpu, options.video, False, *shape_of(options))
        rows.append(row(options, label, way_of(transport, on_gpu), load))
    if options.video:
        load = Load(0, url, "auto", False, options.video, True, *shape_of(options))
        rows.append(row(options, label, "video to boxes", load))
    for one in rows:
        if bare_fps and "fps" in one:
            one["of_bare"] = round(one["fps"] / bare_fps, 3)
    return rows


def row(options: argparse.Namespace, label: str, way: str, load: Load) -> Row:
    """One line of the report."""
    if load.transport == "cuda" and not has_gpu():
        return {"case": label, "way": way, "problem": NO_GPU}
    found = measure(load, options.clients)
    print(f"{label}, {way}: {found.get('fps', found.get('problem'))}", file=sys.stderr)
    return {"case": label, "way": way, **found}


def shape_of(options: argparse.Namespace) -> tuple[float, int]:
    """How long, and how many requests in flight."""
    return options.seconds, options.in_flight


def way_of(transport: str, on_gpu: bool) -> str:
    """A transport, for the report."""
    return f"{transport}, pictures ready on the {'GPU' if on_gpu else 'host'}"


def manifest_of(repository: Path) -> Row:
    """What export wrote of version 1."""
    manifest: Row = json.loads((repository / "yolo" / "1" / "manifest.json").read_text())
    return manifest


def bare_rtx(folder: Path, engine: Path, seconds: float) -> Row:
    """The engine alone, in a process of its own."""
    from sightline.serving.install import install, install_rtx

    manifest = manifest_of(folder)
    size = str(manifest["network_height"] * 3 // 2), str(manifest["network_width"])
    python = install() / "bin" / "python"
    environment = {"SIGHTLINE_BACKEND_PATH": f"{TOOLS.parent / 'client'}:{install_rtx()}"}
    command = [str(python), str(TOOLS / "gpu" / "bare_rtx.py"), str(engine), *size, str(seconds)]
    return {"way": "bare engine", **last_line(command, environment)}


def bare_torch(folder: Path, device: str, seconds: float) -> list[Row]:
    """The network on PyTorch alone, in a process of its own: batches of each size, one after the other."""
    manifest = manifest_of(folder)
    height, width = manifest["network_height"], manifest["network_width"]
    numbers = map(str, (seconds, height, width, height * 3 // 2, width, *BATCHES))
    program, network = TOOLS / "gpu" / "bare_torch.py", folder / "detector" / "1" / "network.pt"
    answer = last_line([sys.executable, str(program), str(network), device, *numbers], {})
    if "problem" in answer:
        return [{"way": "bare engine", **answer}]
    return [{"way": f"bare engine, batches of {batch}", **answer[str(batch)]} for batch in BATCHES]


def last_line(command: Sequence[str], environment: Mapping[str, str]) -> Row:
    """What a program says in its last line, as JSON; or ``problem``."""
    variables = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    if done.returncode:
        return {"problem": (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]}
    answer: Row = json.loads(done.stdout.splitlines()[-1])
    return answer


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="tools/gpu/gpu_proof.py",
    )
    parser.add_argument("network", type=Path, nargs="?", help="an .onnx as for sightline model export")
    parser.add_argument("--url", help="host:port of gRPC of a server that runs")
    parser.add_argument("--label", default="served", help="what runs there, for the report")
    parser.add_argument("--bare-fps", type=float, help="what the engine alone reaches (trtexec --loadEngine)")
    parser.add_argument("--video", type=Path, help="decoded by the clients, for the whole path; its pictures")
    parser.add_argument(
        "--only", type=_kinds, default=KINDS, help=f"some of {','.join(KINDS)} (default: all)"
    )
    parser.add_argument("--instances", type=int, default=2, help="of PyTorch's model (default: %(default)s)")
    parser.add_argument("--shape", type=_shape, default=(384, 640), help="HxW (default: 384x640)")
    parser.add_argument("--clients", type=int, default=4, help="processes (default: %(default)s)")
    parser.add_argument("--in-flight", type=int, default=4, help="of each (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each row (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("artifacts/gpu"), help="where reports go")
    parser.add_argument("--dry-run", action="store_true", help="without a GPU: one client, a second a row")
    given = parser.parse_args(arguments)
    if bool(given.network) == bool(given.url):
        parser.error("give a network, or --url of a server that runs")
    if given.dry_run:
        given.clients, given.in_flight, given.seconds = 1, 2, min(given.seconds, 1.0)
    return given


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    if not set(kinds) <= set(KINDS):
        raise argparse.ArgumentTypeError(f"known are {', '.join(KINDS)}")
    return kinds


def _shape(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width)


if __name__ == "__main__":
    sys.exit(main())
