"""Accuracy on a COCO-format set: one figure, or several runs of networks and what differs between them.

One figure is measured through everything that serves a network: every picture goes the way of a camera's
frame, decoded by PyAV, scaled to fit and turned into I420 by the client, through shared memory into the real
Triton, boxes back. The network is exported into a temporary repository at the asked shape with a score floor
of 0.001, so the served one is not touched.
"""

import argparse
import contextlib
import json
import re
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from sightline.config import Transport, TritonOptions
from sightline.entities import ModelInfo
from sightline.errors import EvaluationError
from sightline.inference.client import ServedDetector, TritonConnection
from sightline.models.evaluation import accuracy_report, average_precision, cocoset, onnx_engine
from sightline.models.evaluation.cocoset import CocoSet
from sightline.models.export import exporter, halve, network_source, quantize
from sightline.models.registry.repository import sha256
from sightline.serving import model_configs
from sightline.serving.install import Say
from sightline.serving.server import TritonServer

NOT_SERVED = (
    "the server of a machine without a GPU has no FP16 arithmetic, and an emulation would say nothing of it: "
    "start the server on a GPU and give its --url"
)
DEADLINE_S = 60.0
IN_FLIGHT = 2
TIMED = 32  # pictures whose waiting time is measured

Client = tuple[ServedDetector, ModelInfo]
Rows = tuple[Sequence[float], ...]  # of :func:`cocoset.to_rows`
Size = tuple[int, int]  # height and width of a network


@dataclass(frozen=True, slots=True)
class Contender:
    """What one run measures."""

    label: str  # in tables and plots
    path: Path  # the file that is run: FP32 for ``fp32`` and ``fp16``, quantised for the others
    precision: str
    through: str  # ``engine`` (no server), ``served`` (one process) or ``ensemble`` (three steps)


@dataclass(frozen=True, slots=True)
class Run:
    """What one contender detected."""

    contender: Contender
    what: str  # was run
    network: Size
    rows: Rows
    ms: float  # a picture

    def describe(self) -> dict[str, Any]:
        """What the report says; bytes are of the file that the precision needs, 0 for a running server's."""
        path, size = self.contender.path, 0
        if path.is_file():
            halved = self.contender.precision == "fp16"
            size = halve.halve(onnx.load(path)).ByteSize() if halved else path.stat().st_size
        return {
            "label": self.contender.label,
            "model": path.name,
            "model_sha256": sha256(path) if path.is_file() else None,
            "precision": self.contender.precision,
            "through": self.contender.through,
            "what": self.what,
            "network": list(self.network),
            "detections": len(self.rows),
            "bytes": size,
            "ms": self.ms,
        }


def contenders(
    files: Mapping[str, Mapping[str, Path]], precisions: Sequence[str], through: Sequence[str]
) -> tuple[list[Contender], dict[str, str]]:
    """Everything that can be run, and label → why not for the rest.

    ``files`` is model's name → precision → file; the others are words of ``--precision`` and ``--through``.
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


def files_of(path: Path) -> dict[str, Path]:
    """Precision → file: one FP32 file serves FP32 and FP16, a quantised one its own precision alone."""
    quantisation = network_source.read_source(path, None).quantisation
    return {quantisation["precision"]: path} if quantisation else {"fp32": path, "fp16": path}


def files_by_precision(options: argparse.Namespace, work: Path) -> dict[str, dict[str, Path]]:
    """Model's name → precision → file; INT8 and FP8 are made here when there are calibration pictures."""
    files: dict[str, dict[str, Path]] = {}
    for path in options.models:
        of_model = files_of(path)
        for precision in network_source.QUANTISED if options.calibrate and "fp32" in of_model else ():
            if precision in options.precision:
                of_model[precision] = work / f"{path.stem}-{len(files)}-{precision}.onnx"
                how = quantize.QuantizeOptions(shape=options.shape, precision=precision)
                quantize.quantize_file(path, of_model[precision], options.calibrate, how)
        files[path.stem if path.stem not in files else str(path)] = of_model
    return files


def all_runs(
    wanted: Sequence[Contender], data: CocoSet, shape: Size, transport: Transport, say: Say = lambda _: None
) -> Iterator[Run]:
    """Detect on every picture with each contender in turn, said as it is done.

    Raises a SightlineError when one cannot be run.
    """
    for contender in wanted:
        if contender.through == "engine":
            engine = onnx_engine.BareEngine.load(contender.path, contender.precision, shape)
            rows, what = tuple(engine.detect_all(data)), onnx_engine.WHAT_IS_RUN[contender.precision]
            run = Run(contender, what, engine.network, rows, float(np.median(engine.times_ms)))
        else:
            whole = contender.through == "ensemble"
            steps = "three steps as an ensemble" if whole else "one process"
            quantised = contender.precision in network_source.QUANTISED
            what = f"real Triton, OpenVINO,{' the quantised graph,' if quantised else ''} {steps}"
            with serve(contender.path, shape, transport, ensemble=whole) as client:
                run = _through_server(client, contender, what, data)
        say(f"{contender.label}: {len(run.rows)} boxes, {run.ms:.1f} ms a picture")
        yield run


def run_url(label: str, url: str, model: str, data: CocoSet, transport: Transport) -> Run:
    """Detect on every picture by a server that runs already, say one with a GPU."""
    with connected(url, transport, model) as client:
        info = client[1]
        contender = Contender(label, Path(info.version), info.precision, "served")
        what = f"the running server's {model}, version {info.version}, score floor {info.score_floor}"
        return _through_server(client, contender, what, data)


def _through_server(client: Client, contender: Contender, what: str, data: CocoSet) -> Run:
    """Its time is what a client waits for each of the first pictures when nothing else is asked for."""
    detector, info = client
    rows, waited = tuple(detect_all(detector, data, info.class_names)), []
    for _, (_, frame) in zip(range(TIMED), data.frames(), strict=False):
        started = time.perf_counter()
        detector.submit([frame])[0].result(DEADLINE_S)
        waited.append((time.perf_counter() - started) * 1000)
    what = f"{what}, {detector.transport} transport"
    return Run(contender, what, (info.network_height, info.network_width), rows, float(np.median(waited)))


@contextlib.contextmanager
def serve(source: Path, shape: Size, transport: Transport, *, ensemble: bool) -> Iterator[Client]:
    """A client of a real Triton that serves ``source`` alone, from a temporary repository; what it serves.

    With ``ensemble``, ``detector`` is the ensemble of ``config.pbtxt`` on the CPU too.
    """
    with tempfile.TemporaryDirectory(prefix="sightline-evaluate-") as work:
        folder = Path(work) / "model_repository"
        options = exporter.ExportOptions(source, folder, shape=shape, score_floor=cocoset.SCORE_FLOOR)
        exporter.export_network(options)
        if ensemble:
            line = re.compile(r"^max_batch_size: \d+$", re.MULTILINE)
            batch = line.search((folder / "yolo/configs/cpu.pbtxt").read_text())
            if batch is None:
                raise EvaluationError("yolo/configs/cpu.pbtxt has no max_batch_size")
            text = line.sub(batch[0], (folder / "detector/config.pbtxt").read_text())
            (folder / "detector/configs/cpu.pbtxt").write_text(text)
        with (
            TritonServer(folder, log_path=Path(work) / "triton.log") as server,
            connected(server.grpc_url, transport) as client,
        ):
            yield client


@contextlib.contextmanager
def connected(url: str, transport: Transport, model: str = "detector") -> Iterator[Client]:
    """A client of the server at ``url``, and what it serves."""
    options = TritonOptions(
        url=url, model=model, transport=transport, deadline_s=DEADLINE_S, in_flight=IN_FLIGHT
    )
    with TritonConnection(options, "evaluate") as connection:
        detector = connection.model()
        yield detector, detector.connect()


def detect_all(detector: ServedDetector, data: CocoSet, class_names: Sequence[str]) -> Iterator[list[float]]:
    """Rows of :func:`sightline.models.evaluation.cocoset.to_rows` of every picture."""
    data.check_classes(class_names)
    waiting = deque[Any]()
    for image, frame in data.frames():
        waiting.append((image, detector.submit([frame])[0]))
        if len(waiting) == IN_FLIGHT:
            done, future = waiting.popleft()
            yield from cocoset.to_rows(done, future.result(DEADLINE_S), class_names, data.category_ids)
    for done, future in waiting:
        yield from cocoset.to_rows(done, future.result(DEADLINE_S), class_names, data.category_ids)


def describe(
    runs: Sequence[Run], refused: Mapping[str, str], data: CocoSet, draws: int = average_precision.DRAWS
) -> dict[str, Any]:
    """Everything that the report says, JSON-able; the first run is what the others are compared with.

    Raises an EvaluationError when nothing was run.
    """
    if not runs:
        raise EvaluationError("nothing to run: " + "; ".join(f"{k}: {v}" for k, v in refused.items()))
    weights = average_precision.bootstrap_draws(len(data.images), draws)
    described, resampled = [], {}
    for run in runs:
        matches = cocoset.match(run.rows, data)
        resampled[run.contender.label] = average_precision.mean_average_precisions(matches, weights)
        described.append(run.describe() | average_precision.measure(matches))
    (base, first), *others = resampled.items()
    return {
        "data": data.annotations.parent.name,
        "annotations_sha256": sha256(data.annotations),
        "images": len(data.images),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "compared_with": base,
        "draws": draws,
        "runs": described,
        "differences": {
            label: {
                name: asdict(average_precision.BootstrapInterval.of(first[name], other[name]))
                for name in ("map50_95", "map50")
            }
            for label, other in others
        },
        "not_run": dict(refused),
    }


def evaluate(
    source: Path, data: CocoSet, shape: tuple[int, int], transport: Transport, *, ensemble: bool = False
) -> dict[str, Any]:
    """Serve a network (``.onnx`` or ``.pt``) and measure it.

    Gives mAP figures, and everything needed to repeat them. With ``ensemble`` the three steps are served as
    the ensemble that the GPU has, not in one process.
    """
    with serve(source, shape, transport, ensemble=ensemble) as (detector, info):
        started = time.perf_counter()
        rows = list(detect_all(detector, data, info.class_names))
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
        **cocoset.score(rows, data),
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


def report(options: argparse.Namespace, command: str, say: Say = lambda _: None) -> Path:
    """Run every contender on the set and write the report; gives its path."""
    data, transport = CocoSet.read(options.data), Transport(options.transport)
    with tempfile.TemporaryDirectory(prefix="sightline-evaluate-") as work:
        files = files_by_precision(options, Path(work))
        wanted, refused = contenders(files, options.precision, options.through)
        runs = list(all_runs(wanted, data, options.shape, transport, say))
        for url in options.url:
            address, _, model = url.partition("/")
            runs.append(run_url(url, address, model or "detector", data, transport))
        described = describe(runs, refused, data)
    return accuracy_report.write(options.report, described, command)
