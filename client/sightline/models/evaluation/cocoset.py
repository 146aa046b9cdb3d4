"""Pictures and true boxes in COCO's format, and boxes in COCO's terms."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from sightline.base.geometry import fit_size
from sightline.entities import ClockSource, Detections, Frame
from sightline.errors import EvaluationError
from sightline.video.picture import YuvPicture

SCORE_FLOOR = 0.001


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

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Refuse a model that shares no class name with the set."""
        if not set(class_names) & set(self.category_ids):
            raise EvaluationError("not one of the model's class names is a category of the set")


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


def scaled_i420(frame: Frame, network: tuple[int, int]) -> NDArray[np.uint8]:
    """The I420 picture [3/2·height, width] that a client would send to a network of this height and width."""
    picture = frame.picture
    width, height = fit_size(picture.width, picture.height, network[1], network[0])
    sent = np.empty((height * 3 // 2, width), np.uint8)
    picture.write_i420(sent)
    return sent


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
