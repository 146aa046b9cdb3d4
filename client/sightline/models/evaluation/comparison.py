"""Several runs of networks over one labelled set, and what differs between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from sightline.config import Transport
from sightline.entities import ModelInfo
from sightline.errors import EvaluationError
from sightline.models.evaluation import bootstrap, matching, metrics, onnx_engine, served
from sightline.models.evaluation.average_precision import ClassMatches, mean_average_precisions
from sightline.models.evaluation.cocoset import CocoSet
from sightline.models.export import halve, network_source, qdq
from sightline.models.registry.repository import sha256

PRECISIONS = ("fp32", "fp16", *qdq.PRECISIONS)
THROUGH = ("engine", "served", "ensemble")
NOT_SERVED = (
    "the server of a machine without a GPU has no FP16 arithmetic, and an emulation would say nothing of it: "
    "start the server on a GPU and give its --url"
)


@dataclass(frozen=True, slots=True)
class Contender:
    """What one run measures.

    Attributes:
        path: the file that is run: FP32 for ``fp32`` and ``fp16``, quantised for the others.
        through: ``engine`` (no server), ``served`` (one process) or ``ensemble`` (three steps).
    """

    label: str
    path: Path
    precision: str
    through: str


@dataclass(frozen=True, slots=True)
class Run:
    """What one contender detected, and what it cost."""

    contender: Contender
    what: str
    rows: tuple[Sequence[float], ...]
    size_bytes: int
    ms: float  # a picture, median
    network: tuple[int, int]

    @property
    def label(self) -> str:
        """Its name in tables and plots."""
        return self.contender.label


def contenders(
    files: Mapping[str, Mapping[str, Path]], precisions: Sequence[str], through: Sequence[str]
) -> tuple[list[Contender], dict[str, str]]:
    """Everything that can be run, and label → why not for the rest.

    Args:
        files: model's name → precision → file.
        precisions: of :data:`PRECISIONS`.
        through: of :data:`THROUGH`.
    """
    wanted, refused = [], {}
    for name, by_precision in files.items():
        for way in through:
            for precision in precisions:
                label = " ".join([name, precision, way] if len(files) > 1 else [precision, way])
                if precision not in by_precision:
                    refused[label] = "no such file: give --calibrate PICTURES, or a quantised network"
                elif precision == "fp16" and way != "engine":
                    refused[label] = NOT_SERVED
                else:
                    wanted.append(Contender(label, by_precision[precision], precision, way))
    return wanted, refused


def run(contender: Contender, data: CocoSet, shape: tuple[int, int], transport: Transport) -> Run:
    """Detect on every picture.

    Raises:
        EvaluationError, NetworkUnusable, SightlineError: it cannot be run.
    """
    if contender.through == "engine":
        engine = onnx_engine.BareEngine.load(contender.path, contender.precision, shape)
        rows: tuple[Sequence[float], ...] = tuple(engine.detect_all(data))
        what, ms, network = onnx_engine.WHAT_IS_RUN[contender.precision], engine.median_ms, engine.network
    else:
        whole = contender.through == "ensemble"
        with served.serve(contender.path, shape, transport, ensemble=whole) as (detector, info):
            rows, ms, network, said = through_server(detector, info, data)
        steps = "three steps as an ensemble" if whole else "one process"
        quantised = " the quantised graph," if contender.precision in qdq.PRECISIONS else ""
        what = f"real Triton, OpenVINO,{quantised} {steps}, {said}"
    return Run(contender, what, rows, size_bytes(contender), ms, network)


def run_url(label: str, url: str, model: str, data: CocoSet, transport: Transport) -> Run:
    """Detect on every picture by a server that runs already, say one with a GPU."""
    with served.connected(url, transport, model) as (detector, info):
        rows, ms, network, said = through_server(detector, info, data)
        contender = Contender(label, Path(info.version), info.precision, "served")
        what = f"the running server's {model}, version {info.version}, score floor {info.score_floor}, {said}"
    return Run(contender, what, rows, 0, ms, network)


def through_server(
    detector: Any, info: ModelInfo, data: CocoSet
) -> tuple[tuple[Sequence[float], ...], float, tuple[int, int], str]:
    """Rows, median milliseconds of a request by itself, the network's height and width, and the transport."""
    rows = tuple(served.detect_all(detector, data, info.class_names))
    ms = float(np.median(served.one_by_one_ms(detector, data)))
    return rows, ms, (info.network_height, info.network_width), f"{detector.transport} transport"


def size_bytes(contender: Contender) -> int:
    """Of the file that the precision needs."""
    if contender.precision != "fp16":
        return contender.path.stat().st_size
    return len(halve.halve(onnx.load(contender.path)).SerializeToString())


def files_of(path: Path) -> dict[str, Path]:
    """Precision → file: one FP32 file serves FP32 and FP16, a quantised one its own precision alone."""
    quantisation = network_source.read_source(path, None).quantisation
    return {quantisation["precision"]: path} if quantisation else {"fp32": path, "fp16": path}


def describe(
    runs: Sequence[Run], refused: Mapping[str, str], data: CocoSet, draws: int = bootstrap.DRAWS
) -> dict[str, Any]:
    """Everything that the report says, JSON-able; the first run is what the others are compared with.

    Raises:
        EvaluationError: nothing was run.
    """
    if not runs:
        raise EvaluationError("nothing to run: " + "; ".join(f"{k}: {v}" for k, v in refused.items()))
    weights = bootstrap.draw(len(data.images), draws)
    described, resampled = [], {}
    for each in runs:
        matches = matching.match(each.rows, data)
        resampled[each.label] = mean_average_precisions(matches, weights)
        described.append(describe_run(each, matches))
    base = runs[0].label
    differences = {
        each.label: {
            name: asdict(bootstrap.difference(resampled[base][name], resampled[each.label][name]))
            for name in ("map50_95", "map50")
        }
        for each in runs[1:]
    }
    return {
        "data": data.annotations.parent.name,
        "annotations_sha256": sha256(data.annotations),
        "images": len(data.images),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "compared_with": base,
        "draws": draws,
        "runs": described,
        "differences": differences,
        "not_run": dict(refused),
    }


def describe_run(each: Run, matches: Mapping[str, ClassMatches]) -> dict[str, Any]:
    """Figures and curves of one run."""
    figures = metrics.measure(matches)
    curves = metrics.confidence_curves(matches)
    known = each.contender.path.is_file()
    return {
        "label": each.label,
        "model": each.contender.path.name,
        "model_sha256": sha256(each.contender.path) if known else None,
        "precision": each.contender.precision,
        "through": each.contender.through,
        "what": each.what,
        "network": list(each.network),
        "detections": len(each.rows),
        "bytes": each.size_bytes,
        "ms": each.ms,
        "map50_95": figures.map50_95,
        "map50": figures.map50,
        "map75": figures.map75,
        "map_at": list(figures.map_at),
        "per_class": {name: list(pair) for name, pair in figures.per_class.items()},
        "best_f1": metrics.best_f1(curves),
        "curves": {
            "precision_at_recall": figures.precision.tolist(),
            **{name: curve.tolist() for name, curve in curves.items()},
        },
    }


def all_runs(
    wanted: Sequence[Contender],
    data: CocoSet,
    shape: tuple[int, int],
    transport: Transport,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Run]:
    """Each contender in turn, said as it is done."""
    for contender in wanted:
        done = run(contender, data, shape, transport)
        say(f"{contender.label}: {len(done.rows)} boxes, {done.ms:.1f} ms a picture")
        yield done
