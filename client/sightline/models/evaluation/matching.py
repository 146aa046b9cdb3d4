"""Detections of a labelled set matched to its truth, class by class."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sightline.models.evaluation.average_precision import (
    F64,
    Bools,
    ClassInPicture,
    ClassMatches,
    box_ious,
    match_class,
)
from sightline.models.evaluation.cocoset import CocoSet

MAX_BOXES = 100  # a picture and class


def match(rows: Sequence[Sequence[float]], data: CocoSet) -> dict[str, ClassMatches]:
    """Match detections to truth, for every class that the set has true boxes of.

    Args:
        rows: what :func:`sightline.models.evaluation.cocoset.to_rows` gives.
        data: the set.
    """
    place = {image["id"]: index for index, image in enumerate(data.images)}
    truth = _truth(data, place)
    detections: dict[tuple[int, int], list[Sequence[float]]] = defaultdict(list)
    for row in rows:
        detections[int(row[6]), place[int(row[0])]].append(row)
    nothing = np.zeros((0, 4)), np.zeros(0, np.bool_)

    def pictures(category: int) -> Iterator[ClassInPicture]:
        for picture in range(len(place)):
            boxes, crowd = truth[category].get(picture, nothing)
            best = np.array(detections.get((category, picture), np.zeros((0, 7))), np.float64)
            best = best[np.argsort(-best[:, 5], kind="stable")[:MAX_BOXES]]
            yield best[:, 5], box_ious(best[:, 1:5], boxes, crowd), crowd

    return {
        name: match_class(pictures(category))
        for name, category in data.category_ids.items()
        if any((~crowd).any() for _, crowd in truth.get(category, {}).values())
    }


def _truth(data: CocoSet, place: dict[int, int]) -> dict[int, dict[int, tuple[F64, Bools]]]:
    """Category → picture → (boxes [M, 4] as left, top, width, height; crowd [M])."""
    boxes: dict[int, dict[int, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for item in json.loads(data.annotations.read_text())["annotations"]:
        if item["image_id"] in place:
            boxes[item["category_id"]][place[item["image_id"]]].append(
                (item["bbox"], bool(item.get("iscrowd")))
            )
    return {
        category: {
            picture: (np.array([box for box, _ in items], np.float64), np.array([c for _, c in items]))
            for picture, items in pictures.items()
        }
        for category, pictures in boxes.items()
    }
