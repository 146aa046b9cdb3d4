"""``sightline model export``, ``quantize`` and ``rtx``: from a file to what is served."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from sightline.cli.extras import needs_models
from sightline.models.export.input_shapes import parse_aspect, parse_shape

SHAPE = (384, 640)  # of a 16:9 camera
SCORE_FLOOR = 0.1  # ByteTrack's second round uses boxes down to here
#: Compute capabilities that TensorRT-RTX 1.7 builds for by name.
CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")


def add_to(parts: Any) -> None:
    """Add the commands to the parser's subcommands."""
    _add_export(parts)
    _add_quantize(parts)
    _add_rtx(parts)


def add_repository(parser: argparse.ArgumentParser) -> None:
    """Add ``--repository``."""
    parser.add_argument(
        "--repository", type=Path, default=Path("model_repository"), help="default: %(default)s"
    )


def _add_export(parts: Any) -> None:
    parser = parts.add_parser(
        "export",
        help="a network becomes the next version",
        description="Put a network into a model repository as its next version. A .pt is turned into ONNX by "
        "Ultralytics (AGPL-3.0) in an environment of its own. It is a pickle: loading it runs its code, so "
        "export only checkpoints that you trust.",
    )
    add = parser.add_argument
    add("source", type=Path, help="checkpoint (.pt) or network (.onnx)")
    add_repository(parser)
    add("--version", type=int, help="default: the number after the newest")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument(
        "--aspect", dest="shape", type=parse_aspect, metavar="W:H", help="of the cameras (default 16:9)"
    )
    shape.add_argument("--shape", type=parse_shape, metavar="HxW", help="network shape, multiples of 32")
    add(
        "--precision",
        choices=["fp16", "fp32"],
        default="fp16",
        help="of the GPU's plan, but for what is INT8 or FP8",
    )
    add("--labels", type=Path, help="class names, one a line, instead of the source's own")
    add("--score-floor", type=_score, default=SCORE_FLOOR, help="default: %(default)s")
    add("--nms", choices=["plugin", "onnx"], default="plugin", help="NMS layer of the GPU graph")
    add("--fused", action="store_true", help="the whole detector as one graph, too (GPU)")
    add("--install", action="store_true", help="make the Ultralytics environment if need be")
    parser.set_defaults(command=needs_models(_export))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _score(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError("a score between 0 and 1 is needed")
    return value


def _export(arguments: argparse.Namespace) -> int:
    from sightline.models.export.exporter import ExportOptions, export_network
    from sightline.models.registry import detectors
    from sightline.serving.model_configs import read_manifest

    values = {key: value for key, value in vars(arguments).items() if key != "command"}
    options = ExportOptions(**values)
    version = export_network(options, _say)
    manifest = read_manifest(options.repository, version)
    print(
        f"yolo version {version} in {options.repository}: {manifest['model_version']}, "
        f"{manifest['network_height']}x{manifest['network_width']}, "
        f"{len(manifest['class_names'])} classes, head {manifest['head']}, GPU {manifest['precision']}"
    )
    if detectors.is_managed(options.repository):
        active = detectors.active(options.repository)
        print(f"version {active} goes on serving: `sightline model switch {version}` changes that")
    return 0


def _add_quantize(parts: Any) -> None:
    parser = parts.add_parser(
        "quantize",
        help="an FP32 network becomes an INT8 or FP8 one",
        description="Turn an FP32 network into an INT8 or FP8 one by calibration pictures; `sightline model "
        "export` takes the result.",
    )
    add = parser.add_argument
    add("source", type=Path, help="FP32 network (.onnx)")
    add("target", type=Path, help="where the quantised network shall be (.onnx)")
    add("--precision", choices=["int8", "fp8"], default="int8", help="default: %(default)s")
    add("--calibrate", type=Path, nargs="+", required=True, help="pictures, videos, or folders of pictures")
    add("--shape", type=parse_shape, default=SHAPE, metavar="HxW", help="default: 384x640")
    add("--pictures", type=int, default=64, help="how many (default: %(default)s)")
    add("--first", type=int, default=0, help="layers at the input that stay in floating point")
    add("--last", type=int, default=0, help="layers before the output that do")
    parser.set_defaults(command=needs_models(_quantize))


def _quantize(arguments: argparse.Namespace) -> int:
    from sightline.models.export.quantize import QuantizeOptions, quantize_file

    options = QuantizeOptions(
        shape=arguments.shape,
        pictures=arguments.pictures,
        first=arguments.first,
        last=arguments.last,
        precision=arguments.precision,
    )
    done = quantize_file(arguments.source, arguments.target, arguments.calibrate, options)
    kept = done["kept_in_floating_point"]
    print(f"{arguments.target}: {done['pictures']} pictures, {kept} convolutions not in it")
    return 0


def _add_rtx(parts: Any) -> None:
    text = "TensorRT-RTX engines, built ahead of time on a machine with or without a GPU"
    parser = parts.add_parser("rtx", help=text, description=f"{text}.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    build = commands.add_parser("build", help="an engine of a version that was exported with --fused")
    add_repository(build)
    build.add_argument("--version", type=int, help="default: the newest")
    build.add_argument(
        "--capability",
        choices=CAPABILITIES,
        help="for cards of this compute capability alone (default: one engine for all from 8.0 on)",
    )
    build.set_defaults(command=needs_models(_rtx_build))
    table = commands.add_parser("table", help="what TensorRT-RTX makes of every graph of a network")
    table.add_argument("network", type=Path, help="an .onnx as for `sightline model export`")
    table.add_argument("--labels", type=Path, help="class names, one a line")
    table.add_argument("--shape", type=parse_shape, default=SHAPE, help="HxW (default: 384x640)")
    table.set_defaults(command=needs_models(_rtx_table))


def _rtx_build(arguments: argparse.Namespace) -> int:
    from sightline.models.export.rtx_engines import build_version, cards

    engine = build_version(arguments.repository, arguments.version, arguments.capability, _say)
    which = cards(arguments.repository, engine, arguments.capability)
    print(f"{engine}: {engine.stat().st_size / 1e6:.1f} MB, for {which}")
    return 0


def _rtx_table(arguments: argparse.Namespace) -> int:
    from sightline.models.export.network_source import read_source
    from sightline.models.export.rtx_engines import table

    print(table(read_source(arguments.network, arguments.labels), arguments.shape, _say))
    return 0
