"""What only a GPU can show: transports, precisions, and the whole path against the bare engine.

    python tools/gpu_proof.py yolov8n.onnx --video VIDEO.mp4        # a machine with a GPU, no container
    python tools/gpu_proof.py --url triton:8001 --label "fused fp16" --bare-fps 1234     # a server that runs
    python tools/gpu_proof.py yolov8n.onnx --dry-run                # anywhere: every step that needs no GPU

Each row is measured by Sightline's own clients; the report (JSON, Markdown) gathers the rows of all runs in
--folder. Without a container it serves TensorRT-RTX engines in FP16 and FP32, and a stand-in without a
network, which shows what the transports cost where TensorRT-RTX does not know the card. With --url it
measures what is served there, for instance the two forms of the TensorRT detector, one run each; the report
says which should be the default. The dry run serves the CPU's detector through the same code for a moment.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuproof import report
from gpuproof.clients import Load, measure
from sightline.cuda import has_gpu
from sightline.errors import ServerError

TOOLS = Path(__file__).resolve().parent
TRANSPORTS = (("grpc", False), ("system", False), ("cuda", False), ("cuda", True))
NO_GPU = "not measured: no NVIDIA driver here"


@dataclass(frozen=True, slots=True)
class Case:
    """Something to serve by the embedded server."""

    label: str
    repository: Path
    config_name: str
    engine: Path | None = None  # for the bare figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the report; 0 when something was measured."""
    options = parse(arguments)
    rows: list[dict[str, Any]] = []
    if options.url:
        rows += served(options, options.label, options.url, options.bare_fps)
    else:
        with tempfile.TemporaryDirectory(prefix="sightline-gpu-") as work:
            for case in cases(options, Path(work)):
                rows += embedded(options, case)
    about = {
        "command": shlex.join(["python", "tools/gpu_proof.py", *(arguments or sys.argv[1:])]),
        **report.measured_on(),
        "dry_run": options.dry_run,
    }
    path = report.write(options.folder, about, rows)
    print(path.read_text())
    return 0 if any("fps" in row for row in rows) else 1


def cases(options: argparse.Namespace, work: Path) -> Iterator[Case]:
    """What to serve here, one after the other."""
    import export

    for precision in ("fp16", "fp32"):
        folder = work / precision
        export.export(
            export.Options(options.network, folder, shape=options.shape, precision=precision, fused=True)
        )
        if options.dry_run and precision == "fp16":
            yield Case("CPU, dry run", folder, "cpu")
        yield rtx_case(folder, precision)
    yield stand_in(work / "fp32", work / "stand-in")


def rtx_case(folder: Path, precision: str) -> Case:
    """The engine is built here, with a GPU or without; a failure is told in the report."""
    import rtx

    try:
        engine = rtx.build_version(folder, 1)
        print(f"TensorRT-RTX, {precision}: {engine.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    except (rtx.RtxError, ServerError) as error:
        print(f"TensorRT-RTX, {precision}: {error}", file=sys.stderr)
        engine = folder / "detector" / "1" / "rtx.engine"
    return Case(f"TensorRT-RTX, {precision}", folder, "rtx", engine)


def stand_in(source: Path, folder: Path) -> Case:
    """The repository with a detector that has no network."""
    shutil.copytree(source / "detector", folder / "detector")
    shutil.copy(TOOLS / "gpuproof" / "standin.py", folder / "detector" / "1" / "standin.py")
    config = folder / "detector" / "configs" / "rtx.pbtxt"
    config.write_text(config.read_text().replace('"rtx.py"', '"standin.py"'))
    return Case("stand-in without a network", folder, "rtx")


def embedded(options: argparse.Namespace, case: Case) -> list[dict[str, Any]]:
    """Serve a case and measure it over every transport."""
    from sightline.tritonserver import TritonServer

    if case.config_name != "cpu" and not has_gpu():
        return [{"case": case.label, "way": "all", "problem": NO_GPU}]
    bare = bare_engine(case, options.seconds) if case.engine else {}
    try:
        with TritonServer(case.repository, config_name=case.config_name) as server:
            rows = served(options, case.label, server.grpc_url, bare.get("fps"))
    except ServerError as error:
        rows = [{"case": case.label, "way": "all", "problem": str(error)}]
    return [*([{"case": case.label, "way": "bare engine", **bare}] if bare else []), *rows]


def served(options: argparse.Namespace, label: str, url: str, bare_fps: float | None) -> list[dict[str, Any]]:
    """One server over every transport, with pictures ready; then the whole path from the video."""
    rows = []
    for transport, on_gpu in TRANSPORTS:
        way = f"{transport}, pictures ready on the {'GPU' if on_gpu else 'host'}"
        rows.append(row(options, label, way, Load(0, url, transport, on_gpu, None, *shape_of(options))))
    if options.video:
        load = Load(0, url, "auto", False, options.video, *shape_of(options))
        rows.append(row(options, label, "video to boxes", load))
    for one in rows:
        if bare_fps and "fps" in one:
            one["of_bare"] = round(one["fps"] / bare_fps, 3)
    return rows


def row(options: argparse.Namespace, label: str, way: str, load: Load) -> dict[str, Any]:
    """One line of the report."""
    if load.transport == "cuda" and not has_gpu():
        return {"case": label, "way": way, "problem": NO_GPU}
    found = measure(load, options.clients)
    print(f"{label}, {way}: {found.get('fps', found.get('problem'))}", file=sys.stderr)
    return {"case": label, "way": way, **found}


def shape_of(options: argparse.Namespace) -> tuple[float, int]:
    """How long, and how many requests in flight."""
    return options.seconds, options.in_flight


def bare_engine(case: Case, seconds: float) -> dict[str, Any]:
    """The engine alone, in a process of its own."""
    from sightline.tritoninstall import install, install_rtx

    manifest = json.loads((case.repository / "yolo" / "1" / "manifest.json").read_text())
    size = str(manifest["network_height"] * 3 // 2), str(manifest["network_width"])
    python = install() / "bin" / "python"
    environment = {**os.environ, "SIGHTLINE_BACKEND_PATH": f"{TOOLS.parent / 'client'}:{install_rtx()}"}
    command = [python, TOOLS / "gpuproof" / "bare.py", str(case.engine), *size, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        return {"problem": done.stderr.strip().splitlines()[-1]}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="tools/gpu_proof.py"
    )
    parser.add_argument("network", type=Path, nargs="?", help="an .onnx as for tools/export.py")
    parser.add_argument("--url", help="host:port of gRPC of a server that runs")
    parser.add_argument("--label", default="served", help="what runs there, for the report")
    parser.add_argument("--bare-fps", type=float, help="what the engine alone reaches (trtexec --loadEngine)")
    parser.add_argument("--video", type=Path, help="decoded by the clients, for the whole path")
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


def _shape(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width)


if __name__ == "__main__":
    sys.exit(main())
