"""mAP of a network on a COCO-format set, measured through everything that serves it.

    python tools/evaluate.py yolov8n.onnx --data ../shared/coco128
    python tools/evaluate.py --repository model_repository --version 3 --data DIR --record

Every picture goes the way of a camera's frame: decoded by PyAV, scaled to fit and turned into I420 by the
client, through shared memory into the real Triton, boxes back. The network is exported into a temporary
repository at the asked shape with a score floor of 0.001, so the served one is not touched.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

import export
import repository
from sightline.config import Transport, TritonOptions
from sightline.detector import Detector
from sightline.entities import ClockSource, Detections, Frame
from sightline.errors import SightlineError
from sightline.picture import YuvPicture
from sightline.pipeline import STAGES
from sightline.stats import StageTimes
from sightline.triton import TritonDetector
from sightline.tritonserver import TritonServer

SCORE_FLOOR = 0.001
SHAPE = (640, 640)
DEADLINE_S = 60.0
IN_FLIGHT = 2


class EvaluationError(ValueError):
    """The set or the model cannot be evaluated; the text says why."""


@dataclass(frozen=True, slots=True)
class CocoSet:
    """Pictures and true boxes in COCO's format."""

    folder: Path
    annotations: Path
    images: tuple[Mapping[str, Any], ...]
    category_ids: Mapping[str, int]  # by class name

    @staticmethod
    def read(folder: Path) -> CocoSet:
        """``annotations.json`` and ``images/`` in a folder.

        Raises:
            EvaluationError: they are not there, or are not COCO's.
        """
        path = folder / "annotations.json"
        try:
            found = json.loads(path.read_text())
            categories = {item["name"]: int(item["id"]) for item in found["categories"]}
            return CocoSet(folder / "images", path, tuple(found["images"]), categories)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise EvaluationError(f"{path} is no COCO set: {error}") from error


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


@contextlib.contextmanager
def serve(
    source: Path, shape: tuple[int, int], transport: Transport, *, ensemble: bool
) -> Iterator[TritonDetector]:
    """A connected client of a real Triton that serves ``source`` alone, from a temporary repository."""
    with tempfile.TemporaryDirectory(prefix="sightline-evaluate-") as folder:
        target = Path(folder) / "model_repository"
        export.export(export.Options(source, target, shape=shape, score_floor=SCORE_FLOOR))
        if ensemble:
            use_ensemble(target)
        with TritonServer(target, log_path=Path(folder) / "triton.log") as server:
            options = TritonOptions(
                url=server.grpc_url, transport=transport, deadline_s=DEADLINE_S, in_flight=IN_FLIGHT
            )
            detector = TritonDetector(options, "evaluate", StageTimes(STAGES))
            try:
                detector.connect()
                yield detector
            finally:
                detector.close()


def use_ensemble(folder: Path) -> None:
    """Let ``detector`` be the ensemble of ``config.pbtxt`` on the CPU too, with its steps' batch there."""
    batch = re.search(r"^max_batch_size: \d+$", (folder / "yolo/configs/cpu.pbtxt").read_text(), re.MULTILINE)
    if batch is None:
        raise EvaluationError("yolo/configs/cpu.pbtxt has no max_batch_size")
    text = (folder / "detector/config.pbtxt").read_text()
    text = re.sub(r"^max_batch_size: \d+$", batch[0], text, flags=re.MULTILINE)
    (folder / "detector/configs/cpu.pbtxt").write_text(text)


def detect_all(detector: Detector, data: CocoSet, class_names: Sequence[str]) -> Iterator[list[float]]:
    """Rows of image id, left, top, width, height, score, category id; boxes in pixels of the picture."""
    unknown = [name for name in class_names if name not in data.category_ids]
    if len(unknown) == len(class_names):
        raise EvaluationError("not one of the model's class names is a category of the set")
    waiting = []
    for index, image in enumerate(data.images):
        frame = read_picture(data.folder / image["file_name"], index)
        waiting.append((image, detector.submit(frame)))
        if len(waiting) == IN_FLIGHT:
            done, future = waiting.pop(0)
            yield from to_rows(done, future.result(DEADLINE_S), class_names, data.category_ids)
    for done, future in waiting:
        yield from to_rows(done, future.result(DEADLINE_S), class_names, data.category_ids)


def read_picture(path: Path, index: int) -> Frame:
    """A picture file as a frame; one scaler each, since they differ in size."""
    try:
        with av.open(str(path)) as container:
            decoded = next(container.decode(video=0))
    except (av.FFmpegError, StopIteration) as error:
        raise EvaluationError(f"{path.name} cannot be read: {error}") from error
    now = time.time()
    picture = YuvPicture(decoded, VideoReformatter())
    return Frame(picture, index, float(index), now, ClockSource.ARRIVAL, time.monotonic())


def to_rows(
    image: Mapping[str, Any],
    detections: Detections,
    class_names: Sequence[str],
    category_ids: Mapping[str, int],
) -> Iterator[list[float]]:
    """One picture's boxes in COCO's terms."""
    size = np.array([image["width"], image["height"]] * 2, np.float64)
    boxes = detections.xyxy * size
    boxes[:, 2:] -= boxes[:, :2]
    for box, value, class_id in zip(boxes, detections.scores, detections.class_ids, strict=True):
        category = category_ids.get(class_names[class_id])
        if category is not None:
            yield [image["id"], *box.tolist(), float(value), category]


def score(rows: Sequence[Sequence[float]], data: CocoSet) -> dict[str, float]:
    """COCO's figures: mAP50-95, mAP50, mAP75 over all classes of the set, 100 boxes a picture."""
    if not rows:
        return {"map50_95": 0.0, "map50": 0.0, "map75": 0.0}
    from faster_coco_eval import COCO, COCOeval_faster

    with contextlib.redirect_stdout(sys.stderr):  # the library talks
        truth = COCO(str(data.annotations))
        found = truth.loadRes(np.array(rows, np.float64))
        evaluation = COCOeval_faster(truth, found, iouType="bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ("map50_95", "map50", "map75")
    return {name: round(float(value), 4) for name, value in zip(names, evaluation.stats, strict=False)}


def record(folder: Path, version: int, result: Mapping[str, Any]) -> None:
    """Keep the figures in the version's manifest, in one piece."""
    path = folder / "yolo" / str(version) / "manifest.json"
    manifest = json.loads(path.read_text())
    kept = ("map50_95", "map50", "data", "images", "network", "score_floor")
    manifest["measured_map"] = {key: result[key] for key in kept}
    draft = path.with_name(".manifest.json.new")
    draft.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    draft.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate, print, keep."""
    options = parse(arguments)
    source = options.model or options.repository / "yolo" / str(options.version) / "model.onnx"
    try:
        data, transport = CocoSet.read(options.data), Transport(options.transport)
        result = evaluate(source, data, options.shape, transport, ensemble=options.ensemble)
    except (ValueError, SightlineError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    text = json.dumps(result, indent=2)
    print(text)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + "\n")
    if options.record:
        record(options.repository, options.version, result)
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="tools/evaluate.py"
    )
    parser.add_argument("model", type=Path, nargs="?", help=".onnx or .pt; else --repository and --version")
    parser.add_argument("--repository", type=Path, default=repository.SKELETON, help="default: ours")
    parser.add_argument("--version", type=int, help="version of yolo to evaluate (default: the newest)")
    parser.add_argument("--data", type=Path, required=True, help="folder with annotations.json and images/")
    parser.add_argument(
        "--shape", type=export.parse_shape, default=SHAPE, metavar="HxW", help="default: 640x640"
    )
    parser.add_argument("--transport", choices=[str(item) for item in Transport], default="system")
    parser.add_argument("--ensemble", action="store_true", help="the three steps as an ensemble, as on a GPU")
    parser.add_argument("--json", type=Path, help="keep the figures in this file")
    parser.add_argument("--record", action="store_true", help="keep them in the version's manifest too")
    given = parser.parse_args(arguments)
    if given.model is None and given.version is None:
        given.version = max(repository.versions(given.repository), default=None)
    if given.model is None and given.version is None:
        parser.error(f"give a model: {given.repository} holds no network")
    if given.record and given.model is not None:
        parser.error("--record needs --repository and --version, not a model file")
    return given


if __name__ == "__main__":
    sys.exit(main())
