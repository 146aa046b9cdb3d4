"""Accuracy of networks: on a COCO-format set, or against each other on a site's own video without labels.

    python tools/evaluate.py yolov8n.onnx --data ../shared/coco128
    python tools/evaluate.py --repository model_repository --version 3 --data DIR --record
    python tools/evaluate.py yolov8n.onnx --data DIR --report artifacts/accuracy \\
        --all --calibrate PICTURES
    python tools/evaluate.py old.onnx new.onnx --video site.mp4 --report artifacts/agreement

The first two forms give one figure, measured through everything that serves a network: every picture goes
the way of a camera's frame, decoded by PyAV, scaled to fit and turned into I420 by the client, through shared
memory into the real Triton, boxes back. The network is exported into a temporary repository at the asked
shape with a score floor of 0.001, so the served one is not touched. --report compares; docs/evaluation.md
says how.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import export
import qdq
import quantize
import repository
from evaluation import agree, compare, report
from evaluation.cocoset import SCORE_FLOOR, CocoSet, EvaluationError, read_picture, to_rows
from evaluation.metrics import score
from evaluation.served import detect_all, serve, use_ensemble
from sightline.config import Transport
from sightline.errors import SightlineError

__all__ = [
    "SCORE_FLOOR",
    "CocoSet",
    "EvaluationError",
    "detect_all",
    "evaluate",
    "read_picture",
    "score",
    "serve",
    "to_rows",
    "use_ensemble",
]

SHAPE = (640, 640)


def evaluate(
    source: Path, data: CocoSet, shape: tuple[int, int], transport: Transport, *, ensemble: bool = False
) -> dict[str, Any]:
    """Serve the network and measure it.

    Args:
        source: ``.onnx`` or ``.pt``.
        data: pictures and truth.
        shape: height and width of the network.
        transport: how pictures reach the server.
        ensemble: serve the three steps as the ensemble that the GPU has, not in one process.

    Returns:
        mAP figures, and everything needed to repeat them.
    """
    with serve(source, shape, transport, ensemble=ensemble) as detector:
        info = detector.info
        assert info is not None  # serve() has connected
        started = time.perf_counter()
        rows = list(detect_all(detector, data, info.class_names))
        seconds = time.perf_counter() - started
        used = detector.transport
    return {
        "model": source.name,
        "model_version": info.version,
        "source_sha256": export.sha256(source),
        "data": data.annotations.parent.name,
        "images": len(data.images),
        "network": [info.network_height, info.network_width],
        "precision": info.precision,
        "score_floor": info.score_floor,
        "transport": str(used),
        "ensemble": ensemble,
        "detections": len(rows),
        "seconds": round(seconds, 1),
        **score(rows, data),
    }


def record(folder: Path, version: int, result: Mapping[str, Any]) -> None:
    """Keep the figures in the version's manifest, in one piece."""
    path = folder / "yolo" / str(version) / "manifest.json"
    manifest = json.loads(path.read_text())
    kept = ("map50_95", "map50", "data", "images", "network", "score_floor")
    manifest["measured_map"] = {key: result[key] for key in kept}
    draft = path.with_name(".manifest.json.new")
    draft.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    draft.replace(path)


def one_figure(options: argparse.Namespace) -> None:
    """Evaluate through the server, print, keep."""
    source = (
        options.models[0]
        if options.models
        else options.repository / "yolo" / str(options.version) / "model.onnx"
    )
    data, transport = CocoSet.read(options.data), Transport(options.transport)
    result = evaluate(source, data, options.shape, transport, ensemble=options.ensemble)
    text = json.dumps(result, indent=2)
    print(text)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + "\n")
    if options.record:
        record(options.repository, options.version, result)


def comparison(options: argparse.Namespace, command: str) -> Path:
    """Run every candidate on the set and write the report."""
    data, transport = CocoSet.read(options.data), Transport(options.transport)
    with tempfile.TemporaryDirectory(prefix="sightline-evaluate-") as work:
        files = files_by_precision(options, Path(work))
        wanted, refused = compare.candidates(files, options.precision, options.through)
        runs = list(compare.all_runs(wanted, data, options.shape, transport))
        for url in options.url:
            address, _, model = url.partition("/")
            runs.append(compare.run_url(url, address, model or "detector", data, transport))
        found = compare.describe(runs, refused, data)
    return report.write(options.report, found, command)


def agreement(options: argparse.Namespace, command: str) -> Path:
    """Run two candidates over the videos and write how far they agree."""
    with tempfile.TemporaryDirectory(prefix="sightline-evaluate-") as work:
        files = files_by_precision(options, Path(work))
        wanted, _ = compare.candidates(files, options.precision, ("engine",))
        if len(files) > 1:  # one of each model
            wanted = [next(each for each in wanted if each.path in by.values()) for by in files.values()]
        if len(wanted) != 2:
            raise EvaluationError("an agreement is of two candidates: two models, or two --precision of one")
        return agree.write(options.report, wanted, options, command)


def files_by_precision(options: argparse.Namespace, work: Path) -> dict[str, dict[str, Path]]:
    """Model's name → precision → file; INT8 and FP8 are made here when there are calibration pictures."""
    files: dict[str, dict[str, Path]] = {}
    for path in options.models:
        found = compare.files_of(path)
        for precision in qdq.PRECISIONS if options.calibrate and "fp32" in found else ():
            if precision in options.precision:
                found[precision] = work / f"{path.stem}-{len(files)}-{precision}.onnx"
                how = quantize.Options(shape=options.shape, precision=precision)
                quantize.quantize_file(path, found[precision], options.calibrate, how)
        files[path.stem if path.stem not in files else str(path)] = found
    return files


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked for."""
    options = parse(arguments)
    given = sys.argv[1:] if arguments is None else list(arguments)
    command = "python tools/evaluate.py " + shlex.join(given)
    try:
        if options.report is None:
            one_figure(options)
        else:
            written = agreement(options, command) if options.video else comparison(options, command)
            print(written)
    except (ValueError, OSError, SightlineError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="tools/evaluate.py"
    )
    add = parser.add_argument
    add("models", type=Path, nargs="*", help=".onnx or .pt; else --repository and --version")
    add("--repository", type=Path, default=repository.SKELETON, help="default: ours")
    add("--version", type=int, help="version of yolo to evaluate (default: the newest)")
    add("--data", type=Path, help="folder with annotations.json and images/")
    add("--shape", type=export.parse_shape, metavar="HxW", help="default: 640x640; 384x640 for --video")
    add("--transport", choices=[str(item) for item in Transport], default="system")
    add("--ensemble", action="store_true", help="one figure: the three steps as an ensemble, as on a GPU")
    add("--json", type=Path, help="one figure: keep it in this file")
    add("--record", action="store_true", help="one figure: keep it in the version's manifest too")
    more = parser.add_argument_group("comparisons")
    more.add_argument(
        "--report", type=Path, metavar="DIR", help="compare, and write report.md and plots here"
    )
    more.add_argument(
        "--precision", type=_words(compare.PRECISIONS), default=["fp32", "fp16", "int8"], metavar="P,…"
    )
    more.add_argument(
        "--through", type=_words(compare.THROUGH), default=["engine"], metavar="engine,served,…"
    )
    more.add_argument("--all", action="store_true", help="every --precision and every way --through")
    more.add_argument(
        "--calibrate", type=Path, nargs="+", default=[], help="pictures or videos for INT8 and FP8"
    )
    more.add_argument("--url", nargs="+", default=[], metavar="HOST:PORT[/MODEL]", help="servers that run")
    agree.add_options(parser)
    return _checked(parser, parser.parse_args(arguments))


def _checked(parser: argparse.ArgumentParser, given: argparse.Namespace) -> argparse.Namespace:
    if bool(given.data) == bool(given.video):
        parser.error("give --data DIR (a labelled set) or --video FILE (a site's own, with --report)")
    if given.video and given.report is None:
        parser.error("--video needs --report DIR")
    if not given.models and not given.url:
        given.version = given.version or max(repository.versions(given.repository), default=None)
        if given.version is None:
            parser.error(f"give a model: {given.repository} holds no network")
        if given.report is not None:
            given.models = [given.repository / "yolo" / str(given.version) / "model.onnx"]
    elif given.record:
        parser.error("--record needs --repository and --version, not a model file")
    if given.all:
        given.precision, given.through = compare.PRECISIONS, compare.THROUGH
    given.shape = given.shape or (agree.SHAPE if given.video else SHAPE)
    if given.report is None and (len(given.models) > 1 or given.url):
        parser.error("several models or a server are compared: give --report DIR")
    return given


def _words(known: Sequence[str]) -> Any:
    """Takes a list with commas of known words."""

    def words(text: str) -> list[str]:
        found = [word.strip() for word in text.split(",")]
        wrong = [word for word in found if word not in known]
        if wrong:
            raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: known are {', '.join(known)}")
        return found

    return words


if __name__ == "__main__":
    sys.exit(main())
