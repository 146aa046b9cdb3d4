"""Pictures and true boxes in COCO's format, boxes in COCO's terms, and both matched and measured."""

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from sightline.base.geometry import fit_size
from sightline.entities import ClockSource, Detections, Frame
from sightline.errors import EvaluationError
from sightline.models.evaluation import average_precision
from sightline.models.evaluation.average_precision import ClassInPicture, ClassMatches, box_ious
from sightline.video.picture import YuvPicture, written

SCORE_FLOOR = 0.001
MAX_BOXES = 100  # a picture and class


@dataclass(frozen=True, slots=True)
class CocoSet:
    """Pictures and true boxes in COCO's format."""

    folder: Path
    annotations: Path
    images: tuple[Mapping[str, Any], ...]
    category_ids: Mapping[str, int]  # by class name

    @classmethod
    def read(cls, folder: Path) -> Self:
        """``annotations.json`` and ``images/`` in a folder; an EvaluationError when they are not COCO's."""
        path = folder / "annotations.json"
        try:
            found = json.loads(path.read_text())
            categories = {item["name"]: int(item["id"]) for item in found["categories"]}
            return cls(folder / "images", path, tuple(found["images"]), categories)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise EvaluationError(f"{path} is no COCO set: {error}") from error

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Refuse a model that shares no class name with the set."""
        if not set(class_names) & set(self.category_ids):
            raise EvaluationError("not one of the model's class names is a category of the set")

    def frames(self) -> Iterator[tuple[Mapping[str, Any], Frame]]:
        """Every picture: its entry, and itself as a frame."""
        for image in self.images:
            frame = next(frames_of(self.folder / image["file_name"]), None)
            if frame is None:
                raise EvaluationError(f"{image['file_name']} cannot be read: it holds no picture")
            yield image, frame


def frames_of(path: Path, fps: float | None = None, seconds: float | None = None) -> Iterator[Frame]:
    """Frames of a picture or a recorded file, with its own times; or an EvaluationError.

    At most ``fps`` a second, and of the first ``seconds`` alone.
    """
    scaler, due = VideoReformatter(), 0.0
    try:
        with av.open(str(path)) as container:
            for index, picture in enumerate(container.decode(video=0)):
                at = float(picture.time or 0.0)
                if seconds is not None and at >= seconds:
                    return
                if fps is None or at >= due - 1e-3:
                    due = max(due + 1 / fps, at) if fps else 0.0
                    yuv = YuvPicture(picture, scaler)
                    yield Frame(yuv, index, at, at, ClockSource.PTS, time.monotonic())
    except (av.FFmpegError, IndexError) as error:
        raise EvaluationError(f"{path.name} cannot be read: {error}") from error


def scaled_i420(frame: Frame, network: tuple[int, int]) -> NDArray[np.uint8]:
    """The I420 picture [3/2·height, width] that a client would send to a network of this height and width."""
    picture = frame.picture
    return written(picture, *fit_size(picture.width, picture.height, network[1], network[0]))


def to_rows(
    image: Mapping[str, Any],
    detections: Detections,
    class_names: Sequence[str],
    category_ids: Mapping[str, int],
) -> Iterator[list[float]]:
    """One picture's boxes: image id, left, top, width, height in its pixels, score, category id."""
    size = np.array([image["width"], image["height"]] * 2, np.float64)
    boxes = detections.xyxy * size
    boxes[:, 2:] -= boxes[:, :2]
    for box, value, class_id in zip(boxes, detections.scores, detections.class_ids, strict=True):
        category = category_ids.get(class_names[class_id])
        if category is not None:
            yield [image["id"], *box.tolist(), float(value), category]


def match(rows: Sequence[Sequence[float]], data: CocoSet) -> dict[str, ClassMatches]:
    """Match detections (what :func:`to_rows` gives) to truth, for every class that has true boxes."""
    place = {image["id"]: index for index, image in enumerate(data.images)}
    truth, found = defaultdict[Any, list[Any]](list), defaultdict[Any, list[Any]](list)
    for item in json.loads(data.annotations.read_text())["annotations"]:
        if item["image_id"] in place:
            box = [*item["bbox"], bool(item.get("iscrowd"))]
            truth[item["category_id"], place[item["image_id"]]].append(box)
    for row in rows:
        found[int(row[6]), place[int(row[0])]].append(row)

    def pictures(category: int) -> Iterator[ClassInPicture]:
        for picture in range(len(place)):
            boxes = np.array(truth.get((category, picture), ()), np.float64).reshape(-1, 5)
            best = np.array(found.get((category, picture), ()), np.float64).reshape(-1, 7)
            best = best[np.argsort(-best[:, 5], kind="stable")[:MAX_BOXES]]
            crowd = boxes[:, 4] > 0
            yield best[:, 5], box_ious(best[:, 1:5], boxes[:, :4], crowd), crowd

    counted = {category for (category, _), boxes in truth.items() if not all(box[4] for box in boxes)}
    return {
        name: average_precision.match_class(pictures(category))
        for name, category in data.category_ids.items()
        if category in counted
    }


def score(rows: Sequence[Sequence[float]], data: CocoSet) -> dict[str, float]:
    """mAP50-95, mAP50 and mAP75, rounded for a report."""
    figures = average_precision.measure(match(rows, data))
    return {name: round(figures[name], 4) for name in ("map50_95", "map50", "map75")}
