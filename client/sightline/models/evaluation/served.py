"""Detections of a network that a real Triton serves, each picture sent as a camera's frame is."""

from __future__ import annotations

import contextlib
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sightline.config import Transport, TritonOptions
from sightline.entities import ModelInfo
from sightline.errors import EvaluationError
from sightline.inference.client import ServedDetector, TritonConnection
from sightline.inference.detector import Detector
from sightline.models.evaluation.cocoset import SCORE_FLOOR, CocoSet, read_picture, to_rows
from sightline.models.export import exporter
from sightline.serving.server import TritonServer

DEADLINE_S = 60.0
IN_FLIGHT = 2


@contextlib.contextmanager
def serve(
    source: Path, shape: tuple[int, int], transport: Transport, *, ensemble: bool
) -> Iterator[tuple[ServedDetector, ModelInfo]]:
    """A client of a real Triton that serves ``source`` alone, from a temporary repository; what it serves."""
    with tempfile.TemporaryDirectory(prefix="sightline-evaluate-") as folder:
        target = Path(folder) / "model_repository"
        exporter.export_network(exporter.ExportOptions(source, target, shape=shape, score_floor=SCORE_FLOOR))
        if ensemble:
            use_ensemble(target)
        with (
            TritonServer(target, log_path=Path(folder) / "triton.log") as server,
            connected(server.grpc_url, transport) as client,
        ):
            yield client


@contextlib.contextmanager
def connected(
    url: str, transport: Transport, model: str = "detector"
) -> Iterator[tuple[ServedDetector, ModelInfo]]:
    """A client of the server at ``url``, and what it serves."""
    options = TritonOptions(
        url=url, model=model, transport=transport, deadline_s=DEADLINE_S, in_flight=IN_FLIGHT
    )
    with TritonConnection(options, "evaluate") as connection:
        detector = connection.model()
        yield detector, detector.connect()


def use_ensemble(folder: Path) -> None:
    """Let ``detector`` be the ensemble of ``config.pbtxt`` on the CPU too, with its steps' batch there."""
    batch = re.search(r"^max_batch_size: \d+$", (folder / "yolo/configs/cpu.pbtxt").read_text(), re.MULTILINE)
    if batch is None:
        raise EvaluationError("yolo/configs/cpu.pbtxt has no max_batch_size")
    text = (folder / "detector/config.pbtxt").read_text()
    text = re.sub(r"^max_batch_size: \d+$", batch[0], text, flags=re.MULTILINE)
    (folder / "detector/configs/cpu.pbtxt").write_text(text)


def detect_all(detector: Detector, data: CocoSet, class_names: Sequence[str]) -> Iterator[list[float]]:
    """Rows of :func:`evaluation.cocoset.to_rows` of every picture."""
    data.check_classes(class_names)
    waiting = []
    for index, image in enumerate(data.images):
        frame = read_picture(data.folder / image["file_name"], index)
        waiting.append((image, detector.submit([frame])[0]))
        if len(waiting) == IN_FLIGHT:
            done, future = waiting.pop(0)
            yield from to_rows(done, future.result(DEADLINE_S), class_names, data.category_ids)
    for done, future in waiting:
        yield from to_rows(done, future.result(DEADLINE_S), class_names, data.category_ids)


def one_by_one_ms(detector: Detector, data: CocoSet, pictures: int = 32) -> list[float]:
    """What a client waits for each of the first pictures when nothing else is asked for, in milliseconds."""
    waited = []
    for index, image in enumerate(data.images[:pictures]):
        frame = read_picture(data.folder / image["file_name"], index)
        started = time.perf_counter()
        detector.submit([frame])[0].result(DEADLINE_S)
        waited.append((time.perf_counter() - started) * 1000)
    return waited
