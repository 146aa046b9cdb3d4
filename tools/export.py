"""A checkpoint or an ONNX file becomes version N of ``yolo`` in a model repository.

    python tools/export.py yolov8n.onnx
    python tools/export.py best.pt --aspect 4:3 --install

An ``.onnx`` needs nothing but the ``onnx`` package. A ``.pt`` is turned into ONNX by Ultralytics (AGPL-3.0),
in an environment of its own that ``--install`` makes. A ``.pt`` is a pickle: loading it runs its code, so
export only checkpoints that you trust.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import onnx

import detectors
import fused
import graphs
import halve
import network_source
import qdq
import repository
import ultralytics_env
from repository import sha256

SCORE_FLOOR = 0.1  # ByteTrack's second round uses boxes down to here
MAX_BATCH = 8


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    source: Path
    repository: Path = repository.SKELETON
    version: int | None = None
    shape: tuple[int, int] | None = None  # height, width
    precision: str = "fp16"  # of the GPU's plan; model.onnx stays FP32
    labels: Path | None = None
    score_floor: float = SCORE_FLOOR
    nms: graphs.Nms = "plugin"
    fused: bool = False  # the whole detector as one graph, too
    install: bool = False


def export(options: Options) -> int:
    """Put the network in place and return its version.

    Raises:
        SourceUnusable: the source cannot be served (unknown head, fixed batch, no labels, …).
        RepositoryError: the repository cannot take it.
    """
    with tempfile.TemporaryDirectory(prefix="sightline-export-") as work:
        path = options.source
        if path.suffix == ".pt":
            path = ultralytics_env.to_onnx(path, Path(work), install=options.install)
        source = network_source.read_source(path, options.labels)
    height, width = network_source.network_shape(source.model, options.shape)
    repository.prepare_repository(options.repository)
    version = options.version or repository.next_version(options.repository)
    rows, columns = source.head.shape(height, width, source.boxes)
    network = graphs.Network(height, width, source.head.end_to_end, rows, columns, options.precision)
    manifest = describe(options, source, network, version)
    with repository.new_version(options.repository, version) as folders:
        write_version(folders, source, network, manifest, options)
    if not detectors.is_managed(options.repository):
        parameters, tensors = repository.parameters_of(manifest), repository.tensors_of(manifest)
        repository.write_configs(options.repository, parameters, {"precision": "fp32"}, tensors)
    return version


def describe(
    options: Options, source: network_source.Source, network: graphs.Network, version: int
) -> dict[str, object]:
    """The manifest, without the hashes of what is still to be written."""
    digest = sha256(options.source)
    opset = next(item.version for item in source.model.opset_import if item.domain in {"", "ai.onnx"})
    stem = re.sub(r"[^A-Za-z0-9_.-]", "_", options.source.stem)
    return {
        "model_version": f"{stem}-{version}-{digest[:12]}",
        "source_file": options.source.name,
        "source_sha256": digest,
        "licence": source.licence,
        "licence_note": "The licence of the weights binds whoever serves them.",
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "class_names": list(source.class_names),
        "head": source.head.name,
        "output_shape": [network.rows, network.columns],
        "network_height": network.height,
        "network_width": network.width,
        "precision": source.quantisation["precision"] if source.quantisation else network.precision,
        "floating_point": network.precision,  # of the rest, and of the pictures between the steps
        "quantisation": source.quantisation,
        "score_floor": options.score_floor,
        "opset": opset,
        "measured_map": None,  # tools/evaluate.py --record fills it
    }


def write_version(
    folders: dict[str, Path],
    source: network_source.Source,
    network: graphs.Network,
    manifest: dict[str, object],
    options: Options,
) -> None:
    """Write everything of one version into the drafts; the manifest comes last."""
    yolo = folders["yolo"]
    engine = engine_network(source.model, network)
    cpu = qdq.unsigned_activations(source.model) if source.quantisation else source.model
    onnx.save(cpu, yolo / "model.onnx")
    onnx.save(engine, yolo / "engine.onnx")
    onnx.save(graphs.preprocess_graph(network), folders["preprocess"] / "engine.onnx")
    post = graphs.postprocess_graph(network, options.score_floor, options.nms)
    onnx.save(post, folders["postprocess"] / "engine.onnx")
    for step, shapes in profiles(network).items():
        (folders[step] / "engine.json").write_text(json.dumps(shapes, indent=2) + "\n")
    names = [("yolo", "model.onnx"), *((step, "engine.onnx") for step in repository.STEPS)]
    if options.fused:
        write_fused(folders["detector"], engine, network, options)
        names += [("detector", "engine.onnx"), ("detector", "rtx.onnx")]
    manifest["files_sha256"] = {f"{step}/{name}": sha256(folders[step] / name) for step, name in names}
    (yolo / "manifest.json").write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


def write_fused(folder: Path, engine: onnx.ModelProto, network: graphs.Network, options: Options) -> None:
    """The detector as one graph: for TensorRT, and without its NMS for TensorRT-RTX."""
    try:
        onnx.save(
            fused.fused_graph(engine, network, options.score_floor, options.nms), folder / "engine.onnx"
        )
        onnx.save(fused.headless_graph(engine, network, options.score_floor), folder / "rtx.onnx")
    except fused.NotFused as error:
        raise network_source.SourceUnusable(f"{error}; leave --fused out") from error
    shapes = {"frame": profiles(network)["preprocess"]["frame"]}
    (folder / "engine.json").write_text(json.dumps(shapes, indent=2) + "\n")


def engine_network(model: onnx.ModelProto, network: graphs.Network) -> onnx.ModelProto:
    """The network for TensorRT: the plan's precision in the graph, every side known but the batch."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    dims = result.graph.input[0].type.tensor_type.shape.dim
    dims[0].dim_param, dims[1].dim_value = "batch", 3
    dims[2].dim_value, dims[3].dim_value = network.height, network.width
    output = result.graph.output[0].type.tensor_type.shape
    del output.dim[:]
    output.dim.add().dim_param = "batch"
    output.dim.add().dim_value, output.dim.add().dim_value = network.rows, network.columns
    if network.precision != "fp16":
        return result
    try:
        return halve.halve(result)
    except halve.NotHalved as error:
        raise network_source.SourceUnusable(f"{error}; --precision fp32 serves it as it is") from error


def profiles(network: graphs.Network) -> dict[str, dict[str, list[list[int]]]]:
    """For each step, the smallest, usual and largest shape of every input with its batch."""
    rows = network.height * 3 // 2

    def batches(*shape: int) -> list[list[int]]:
        return [[batch, *shape] for batch in (1, MAX_BATCH // 2, MAX_BATCH)]

    frame = [[1, 3, 2], [MAX_BATCH // 2, rows, network.width], [MAX_BATCH, rows, network.width]]
    return {
        "preprocess": {"frame": frame},
        "yolo": {"images": batches(3, network.height, network.width)},
        "postprocess": {"output0": batches(network.rows, network.columns), "letterbox": batches(4)},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, export, say what was done."""
    options = parse(arguments)
    try:
        version = export(options)
    except (
        network_source.SourceUnusable,
        repository.RepositoryError,
        ultralytics_env.UltralyticsError,
        OSError,
    ) as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    manifest = json.loads((options.repository / "yolo" / str(version) / "manifest.json").read_text())
    shape = f"{manifest['network_height']}x{manifest['network_width']}"
    print(
        f"yolo version {version} in {options.repository}: {manifest['model_version']}, {shape}, "
        f"{len(manifest['class_names'])} classes, head {manifest['head']}, GPU {manifest['precision']}"
    )
    if detectors.is_managed(options.repository):
        active = detectors.active(options.repository)
        print(f"version {active} goes on serving: tools/versions.py switch {version} changes that")
    return 0


def parse(arguments: Sequence[str] | None) -> Options:
    """The command line as options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="tools/export.py"
    )
    parser.add_argument("source", type=Path, help="checkpoint (.pt) or network (.onnx)")
    parser.add_argument(
        "--repository", type=Path, default=repository.SKELETON, help="default: this checkout's"
    )
    parser.add_argument("--version", type=int, help="default: the number after the newest")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument(
        "--aspect", type=_aspect, metavar="W:H", help="the cameras' aspect ratio (default 16:9)"
    )
    shape.add_argument("--shape", type=parse_shape, metavar="HxW", help="network shape, multiples of 32")
    parser.add_argument(
        "--precision",
        choices=["fp16", "fp32"],
        default="fp16",
        help="of the GPU's plan, but for what is INT8 or FP8",
    )
    parser.add_argument("--labels", type=Path, help="class names, one a line, instead of the source's own")
    parser.add_argument("--score-floor", type=_score, default=SCORE_FLOOR, help=f"default {SCORE_FLOOR}")
    parser.add_argument(
        "--nms", choices=["plugin", "onnx"], default="plugin", help="NMS layer of the GPU graph"
    )
    parser.add_argument("--fused", action="store_true", help="the whole detector as one graph, too (GPU)")
    parser.add_argument("--install", action="store_true", help="make the Ultralytics environment if need be")
    given = parser.parse_args(arguments)
    values = vars(given) | {"shape": given.shape or given.aspect}
    del values["aspect"]
    if given.source.suffix not in {".pt", ".onnx"} or not given.source.is_file():
        parser.error(f"{given.source}: a .pt or .onnx file is needed")
    return Options(**values)


def _numbers(text: str, separator: str) -> tuple[float, float]:
    first, _, second = text.partition(separator)
    try:
        return float(first), float(second)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"two numbers with {separator!r} between are needed") from error


def _aspect(text: str) -> tuple[int, int]:
    across, down = _numbers(text, ":")
    if not (0 < across <= 20 * down and 0 < down <= 20 * across):
        raise argparse.ArgumentTypeError("an aspect ratio such as 16:9 is needed")
    return network_source.shape_for_aspect(across, down)


def parse_shape(text: str) -> tuple[int, int]:
    """`HxW` of the command line as height and width."""
    height, width = _numbers(text, "x")
    return int(height), int(width)


def _score(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError("a score between 0 and 1 is needed")
    return value


if __name__ == "__main__":
    sys.exit(main())
