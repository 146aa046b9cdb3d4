"""``sightline model``: networks exported, quantised and measured; versions: :mod:`.version_commands`."""

import argparse
import functools
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sightline.cli import version_commands
from sightline.cli.parsers import add_command, add_group, parse_aspect, parse_shape

SHAPE = (384, 640)  # of a 16:9 camera, and of videos
DATA_SHAPE = (640, 640)  # of a labelled set
SCORE_FLOOR = 0.1  # ByteTrack's second round uses boxes down to here
#: Compute capabilities that TensorRT-RTX 1.7 builds for by name.
CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
PRECISIONS = ("fp32", "fp16", "int8", "fp8")
THROUGH = ("engine", "served", "ensemble")


def add_to(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
    text = "networks: export, quantize, evaluate, and the versions that Triton serves"
    parts = add_group(commands, "model", text)
    folder = argparse.ArgumentParser(add_help=False)
    folder.add_argument("--repository", type=Path, default="model_repository", help="default: %(default)s")
    export = add_command(parts, _export, folder)
    shape = export.add_mutually_exclusive_group()
    text = "of the cameras (default 16:9)"
    shape.add_argument("--aspect", dest="shape", type=parse_aspect, metavar="W:H", help=text)
    shape.add_argument("--shape", type=parse_shape, metavar="HxW", help="network shape, multiples of 32")
    add = export.add_argument
    add("source", type=Path, help="checkpoint (.pt) or network (.onnx)")
    add("--version", type=int, help="default: the number after the newest")
    text = "of the GPU's plan, but for what is INT8 or FP8"
    add("--precision", choices=["fp16", "fp32"], default="fp16", help=text)
    add("--labels", type=Path, help="class names, one a line, instead of the source's own")
    add("--score-floor", type=_score, default=SCORE_FLOOR, help="default: %(default)s")
    add("--nms", choices=["plugin", "onnx"], default="plugin", help="NMS layer of the GPU graph")
    add("--fused", action="store_true", help="the whole detector as one graph, too (GPU)")
    add("--install", action="store_true", help="make the Ultralytics environment if need be")
    add = add_command(parts, _quantize).add_argument
    add("source", type=Path, help="FP32 network (.onnx)")
    add("target", type=Path, help="where the quantised network shall be (.onnx)")
    add("--precision", choices=["int8", "fp8"], default="int8", help="default: %(default)s")
    add("--calibrate", type=Path, nargs="+", required=True, help="pictures, videos, or folders of pictures")
    add("--shape", type=parse_shape, default=SHAPE, metavar="HxW", help="default: 384x640")
    add("--pictures", type=int, default=64, help="how many (default: %(default)s)")
    add("--first", type=int, default=0, help="layers at the input that stay in floating point")
    add("--last", type=int, default=0, help="layers before the output that do")
    text = "TensorRT-RTX engines, built ahead of time on a machine with or without a GPU"
    commands = add_group(parts, "rtx", text)
    build = add_command(commands, _rtx_build, folder)
    build.add_argument("--version", type=int, help="default: the newest")
    text = "for cards of this compute capability alone (default: one engine for all from 8.0 on)"
    build.add_argument("--capability", choices=CAPABILITIES, help=text)
    table = add_command(commands, _rtx_table)
    table.add_argument("network", type=Path, help="an .onnx as for `sightline model export`")
    table.add_argument("--labels", type=Path, help="class names, one a line")
    table.add_argument("--shape", type=parse_shape, default=SHAPE, help="HxW (default: 384x640)")
    version_commands.add_to(parts)
    _add_evaluate(parts, folder)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _score(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError("a score between 0 and 1 is needed")
    return value


def _export(arguments: argparse.Namespace) -> None:
    """Put a network into a model repository as its next version.

    A .pt is turned into ONNX by Ultralytics (AGPL-3.0) in an environment of its own. It is a pickle: loading
    it runs its code, so export only checkpoints that you trust.
    """
    from sightline.models.export.exporter import ExportOptions, export_network
    from sightline.serving import model_configs

    values = {key: value for key, value in vars(arguments).items() if key != "command"}
    options = ExportOptions(**values)
    version = export_network(options, _say)
    manifest = model_configs.read_manifest(options.repository, version)
    print(
        f"yolo version {version} in {options.repository}: {manifest['model_version']}, "
        f"{manifest['network_height']}x{manifest['network_width']}, "
        f"{len(manifest['class_names'])} classes, head {manifest['head']}, GPU {manifest['precision']}"
    )
    active = model_configs.active(options.repository)
    if active != version:
        print(f"version {active} goes on serving: `sightline model switch {version}` changes that")


def _quantize(arguments: argparse.Namespace) -> None:
    """Turn an FP32 network into an INT8 or FP8 one by calibration pictures, for `sightline model export`."""
    from sightline.models.export.quantize import QuantizeOptions, quantize_file

    names = ("shape", "pictures", "first", "last", "precision")
    options = QuantizeOptions(**{name: getattr(arguments, name) for name in names})
    done = quantize_file(arguments.source, arguments.target, arguments.calibrate, options)
    kept = done["kept_in_floating_point"]
    print(f"{arguments.target}: {done['pictures']} pictures, {kept} convolutions not in it")


def _rtx_build(arguments: argparse.Namespace) -> None:
    """Build an engine of a version that was exported with --fused."""
    from sightline.models.export.rtx_engines import build_version, cards

    engine = build_version(arguments.repository, arguments.version, arguments.capability, _say)
    which = cards(arguments.repository, engine, arguments.capability)
    print(f"{engine}: {engine.stat().st_size / 1e6:.1f} MB, for {which}")


def _rtx_table(arguments: argparse.Namespace) -> None:
    """Print what TensorRT-RTX makes of every graph of a network."""
    from sightline.models.export.network_source import read_source
    from sightline.models.export.rtx_engines import table

    print(table(read_source(arguments.network, arguments.labels), arguments.shape, _say))


def _add_evaluate(parts: Any, folder: argparse.ArgumentParser) -> None:
    parser = add_command(parts, _evaluate, folder)
    parser.set_defaults(fail=parser.error)
    add = parser.add_argument
    add("models", type=Path, nargs="*", help=".onnx or .pt; else --repository and --version")
    add("--version", type=int, help="version of yolo to evaluate (default: the newest)")
    add("--data", type=Path, help="folder with annotations.json and images/")
    add("--shape", type=parse_shape, metavar="HxW", help="default: 640x640; 384x640 for --video")
    add("--transport", choices=["auto", "cuda", "system", "grpc"], default="system")
    add("--ensemble", action="store_true", help="one figure: the three steps as an ensemble, as on a GPU")
    add("--json", type=Path, help="one figure: keep it in this file")
    add("--record", action="store_true", help="one figure: keep it in the version's manifest too")
    add = parser.add_argument_group("comparisons").add_argument
    add("--report", type=Path, metavar="DIR", help="compare, and write report.md and plots here")
    add("--precision", type=_words(PRECISIONS), default=["fp32", "fp16", "int8"], metavar="P,…")
    add("--through", type=_words(THROUGH), default=["engine"], metavar="engine,served,…")
    add("--all", action="store_true", help="every --precision and every way --through")
    add("--calibrate", type=Path, nargs="+", default=[], help="pictures or videos for INT8 and FP8")
    add("--url", nargs="+", default=[], metavar="HOST:PORT[/MODEL]", help="servers that run")
    add = parser.add_argument_group("agreement of two networks on videos without labels").add_argument
    add("--video", type=Path, nargs="+", default=[], help="recorded files; needs --report")
    add("--fps", type=float, help="frames a second to look at (default: all)")
    add("--seconds", type=float, help="of each video (default: all)")
    add("--config", type=Path, help="take windows, classes, lines and zones from this one …")
    add("--camera", help="… of this camera (default: windows of 10 s, no places)")
    add("--pictures", type=int, default=0, metavar="N", help="draw the N worst frames of each")


def _words(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Takes a list with commas of known words."""

    def words(text: str) -> list[str]:
        listed = [word.strip() for word in text.split(",")]
        wrong = [word for word in listed if word not in known]
        if wrong:
            raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: known are {', '.join(known)}")
        return listed

    return words


def check(arguments: argparse.Namespace) -> argparse.Namespace:
    """Fill in what follows from other options; options that contradict each other end the program."""
    from sightline.serving.model_configs import versions

    if bool(arguments.data) == bool(arguments.video):
        arguments.fail("give --data DIR (a labelled set) or --video FILE (a site's own, with --report)")
    if arguments.video and arguments.report is None:
        arguments.fail("--video needs --report DIR")
    if not arguments.models and not arguments.url:
        arguments.version = arguments.version or max(versions(arguments.repository), default=None)
        if arguments.version is None:
            arguments.fail(f"give a model: {arguments.repository} holds no network")
        if arguments.report is not None:
            arguments.models = [arguments.repository / "yolo" / str(arguments.version) / "model.onnx"]
    elif arguments.record:
        arguments.fail("--record needs --repository and --version, not a model file")
    if arguments.all:
        arguments.precision, arguments.through = PRECISIONS, THROUGH
    arguments.shape = arguments.shape or (SHAPE if arguments.video else DATA_SHAPE)
    if arguments.report is None and (len(arguments.models) > 1 or arguments.url):
        arguments.fail("several models or a server are compared: give --report DIR")
    return arguments


def _evaluate(arguments: argparse.Namespace) -> None:
    """Measure accuracy on a COCO-format set, or agreement on videos without labels.

    Without --report: one figure, measured through everything that serves a network. Every picture is decoded,
    scaled and sent as a camera's frame is, to a real Triton with a temporary repository, so that the served
    one is not touched. With --report: comparisons; see docs/evaluation.md.
    """
    from sightline.models.evaluation import agreement, comparison

    check(arguments)
    command = shlex.join(["sightline", *sys.argv[1:]])
    if arguments.video:
        print(agreement.report(arguments, command))
    elif arguments.report:
        print(comparison.report(arguments, command, functools.partial(print, flush=True)))
    else:
        text = json.dumps(comparison.one_figure(arguments), indent=2)
        print(text)
        if arguments.json:
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(text + "\n")
