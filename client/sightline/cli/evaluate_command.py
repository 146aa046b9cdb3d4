"""``sightline model evaluate``: accuracy on a labelled set, or agreement on a site's own videos."""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sightline.cli.extras import needs_models
from sightline.cli.network_commands import add_repository
from sightline.models.export.input_shapes import parse_shape

PRECISIONS = ("fp32", "fp16", "int8", "fp8")
THROUGH = ("engine", "served", "ensemble")
SHAPE, VIDEO_SHAPE = (640, 640), (384, 640)


def add_to(parts: Any) -> None:
    """Add the command to the parser's subcommands."""
    parser = parts.add_parser(
        "evaluate",
        help="accuracy on a COCO-format set, or agreement on videos without labels",
        description="Without --report: one figure, measured through everything that serves a network. Every "
        "picture is decoded, scaled and sent as a camera's frame is, to a real Triton with a temporary "
        "repository, so that the served one is not touched. With --report: comparisons; see "
        "docs/evaluation.md.",
    )
    add = parser.add_argument
    add("models", type=Path, nargs="*", help=".onnx or .pt; else --repository and --version")
    add_repository(parser)
    add("--version", type=int, help="version of yolo to evaluate (default: the newest)")
    add("--data", type=Path, help="folder with annotations.json and images/")
    add("--shape", type=parse_shape, metavar="HxW", help="default: 640x640; 384x640 for --video")
    add("--transport", choices=["auto", "cuda", "system", "grpc"], default="system")
    add("--ensemble", action="store_true", help="one figure: the three steps as an ensemble, as on a GPU")
    add("--json", type=Path, help="one figure: keep it in this file")
    add("--record", action="store_true", help="one figure: keep it in the version's manifest too")
    _add_comparisons(parser)
    _add_videos(parser)
    parser.set_defaults(command=needs_models(functools.partial(_evaluate, parser)))


def _add_comparisons(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("comparisons").add_argument
    add("--report", type=Path, metavar="DIR", help="compare, and write report.md and plots here")
    add("--precision", type=_words(PRECISIONS), default=["fp32", "fp16", "int8"], metavar="P,…")
    add("--through", type=_words(THROUGH), default=["engine"], metavar="engine,served,…")
    add("--all", action="store_true", help="every --precision and every way --through")
    add("--calibrate", type=Path, nargs="+", default=[], help="pictures or videos for INT8 and FP8")
    add("--url", nargs="+", default=[], metavar="HOST:PORT[/MODEL]", help="servers that run")


def _add_videos(parser: argparse.ArgumentParser) -> None:
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


def check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> argparse.Namespace:
    """Fill in what follows from other options; options that contradict each other end the program."""
    from sightline.serving.model_configs import versions

    if bool(arguments.data) == bool(arguments.video):
        parser.error("give --data DIR (a labelled set) or --video FILE (a site's own, with --report)")
    if arguments.video and arguments.report is None:
        parser.error("--video needs --report DIR")
    if not arguments.models and not arguments.url:
        arguments.version = arguments.version or max(versions(arguments.repository), default=None)
        if arguments.version is None:
            parser.error(f"give a model: {arguments.repository} holds no network")
        if arguments.report is not None:
            arguments.models = [arguments.repository / "yolo" / str(arguments.version) / "model.onnx"]
    elif arguments.record:
        parser.error("--record needs --repository and --version, not a model file")
    if arguments.all:
        arguments.precision, arguments.through = PRECISIONS, THROUGH
    arguments.shape = arguments.shape or (VIDEO_SHAPE if arguments.video else SHAPE)
    if arguments.report is None and (len(arguments.models) > 1 or arguments.url):
        parser.error("several models or a server are compared: give --report DIR")
    return arguments


def _evaluate(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    from sightline.models.evaluation import evaluate

    check(parser, arguments)
    command = shlex.join(["sightline", *sys.argv[1:]])
    if arguments.video:
        print(evaluate.report_agreement(arguments, command))
    elif arguments.report:
        print(evaluate.report_comparison(arguments, command, functools.partial(print, flush=True)))
    else:
        text = json.dumps(evaluate.one_figure(arguments), indent=2)
        print(text)
        if arguments.json:
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(text + "\n")
    return 0
