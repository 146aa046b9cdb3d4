"""Accuracy of networks: on a COCO-format set, or against each other on a site's own video without labels.

One figure is measured through everything that serves a network: every picture goes the way of a camera's
frame, decoded by PyAV, scaled to fit and turned into I420 by the client, through shared memory into the real
Triton, boxes back. The network is exported into a temporary repository at the asked shape with a score floor
of 0.001, so the served one is not touched.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from sightline.config import Transport
from sightline.errors import EvaluationError
from sightline.models.evaluation import accuracy_report, agreement, comparison
from sightline.models.evaluation.cocoset import CocoSet, score
from sightline.models.export import network_source, quantize
from sightline.models.registry.repository import sha256
from sightline.serving import model_configs
from sightline.serving.install import Say


def evaluate(
    source: Path, data: CocoSet, shape: tuple[int, int], transport: Transport, *, ensemble: bool = False
) -> dict[str, Any]:
    """Serve a network (``.onnx`` or ``.pt``) and measure it.

    Gives mAP figures, and everything needed to repeat them. With ``ensemble`` the three steps are served as
    the ensemble that the GPU has, not in one process.
    """
    with comparison.serve(source, shape, transport, ensemble=ensemble) as (detector, info):
        started = time.perf_counter()
        rows = list(comparison.detect_all(detector, data, info.class_names))
        seconds = time.perf_counter() - started
        used = detector.transport
    return {
        "model": source.name,
        "model_version": info.version,
        "source_sha256": sha256(source),
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


def one_figure(options: argparse.Namespace) -> dict[str, Any]:
    """Evaluate one network through the server; ``options`` are those of ``sightline model evaluate``.

    With ``--record`` the version's manifest keeps the figures.
    """
    folder = options.repository / "yolo" / str(options.version)
    source = options.models[0] if options.models else folder / "model.onnx"
    data, transport = CocoSet.read(options.data), Transport(options.transport)
    result = evaluate(source, data, options.shape, transport, ensemble=options.ensemble)
    if options.record:
        manifest = json.loads((folder / "manifest.json").read_text())
        kept = ("map50_95", "map50", "data", "images", "network", "score_floor")
        manifest["measured_map"] = {key: result[key] for key in kept}
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        model_configs.replace(folder / "manifest.json", text)
    return result


def report_comparison(options: argparse.Namespace, command: str, say: Say = lambda _: None) -> Path:
    """Run every contender on the set and write the report; returns its path."""
    data, transport = CocoSet.read(options.data), Transport(options.transport)
    with tempfile.TemporaryDirectory(prefix="sightline-evaluate-") as work:
        files = _files_by_precision(options, Path(work))
        wanted, refused = comparison.contenders(files, options.precision, options.through)
        runs = list(comparison.all_runs(wanted, data, options.shape, transport, say))
        for url in options.url:
            address, _, model = url.partition("/")
            runs.append(comparison.run_url(url, address, model or "detector", data, transport))
        described = comparison.describe(runs, refused, data)
    return accuracy_report.write(options.report, described, command)


def report_agreement(options: argparse.Namespace, command: str) -> Path:
    """Run two contenders over the videos and write how far they agree; returns the report's path."""
    with tempfile.TemporaryDirectory(prefix="sightline-evaluate-") as work:
        files = _files_by_precision(options, Path(work))
        wanted, _ = comparison.contenders(files, options.precision, ("engine",))
        if len(files) > 1:  # one of each model
            wanted = [next(each for each in wanted if each.path in by.values()) for by in files.values()]
        if len(wanted) != 2:
            raise EvaluationError("an agreement is of two networks: two models, or two --precision of one")
        return agreement.write(options.report, wanted, options, command)


def _files_by_precision(options: argparse.Namespace, work: Path) -> dict[str, dict[str, Path]]:
    """Model's name → precision → file; INT8 and FP8 are made here when there are calibration pictures."""
    files: dict[str, dict[str, Path]] = {}
    for path in options.models:
        of_model = comparison.files_of(path)
        for precision in network_source.QUANTISED if options.calibrate and "fp32" in of_model else ():
            if precision in options.precision:
                of_model[precision] = work / f"{path.stem}-{len(files)}-{precision}.onnx"
                how = quantize.QuantizeOptions(shape=options.shape, precision=precision)
                quantize.quantize_file(path, of_model[precision], options.calibrate, how)
        files[path.stem if path.stem not in files else str(path)] = of_model
    return files
