"""Which detections are right, by COCO's rules, picture by picture: what curves and resampling are made of.

The figures come from faster-coco-eval; the matches do not leave its C++, so they are made here again, and a
test holds the two against each other.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.models.evaluation.cocoset import CocoSet

IOUS = np.linspace(0.5, 0.95, 10)
MOST_BOXES = 100  # a picture and class
F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ClassMatches:
    """All detections of one class, best first.

    Attributes:
        scores: float64 [N].
        pictures: int [N], the picture's place in the set.
        right: bool [10, N], matched to a true box at each IoU.
        ignored: bool [10, N], matched to a crowd: neither right nor wrong.
        truth: int [pictures], true boxes that count.
    """

    scores: F64
    pictures: NDArray[np.int64]
    right: Bools
    ignored: Bools
    truth: NDArray[np.int64]


def match(rows: Sequence[Sequence[float]], data: CocoSet) -> dict[str, ClassMatches]:
    """Match detections to truth, for every class that the set has true boxes of.

    Args:
        rows: what :func:`evaluation.cocoset.to_rows` gives.
        data: the set.
    """
    place = {image["id"]: index for index, image in enumerate(data.images)}
    truth = _truth(data, place)
    found: dict[tuple[int, int], list[Sequence[float]]] = defaultdict(list)
    for row in rows:
        found[int(row[6]), place[int(row[0])]].append(row)
    matches = {}
    for name, category in data.category_ids.items():
        of_class = truth.get(category, {})
        if any((~crowd).any() for _, crowd in of_class.values()):
            matches[name] = _match_class(category, of_class, found, len(place))
    return matches


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


def _match_class(
    category: int,
    truth: dict[int, tuple[F64, Bools]],
    found: dict[tuple[int, int], list[Sequence[float]]],
    pictures: int,
) -> ClassMatches:
    counts = np.zeros(pictures, np.int64)
    parts: list[tuple[F64, NDArray[np.int64], Bools, Bools]] = []
    for picture in range(pictures):
        boxes, crowd = truth.get(picture, (np.zeros((0, 4)), np.zeros(0, np.bool_)))
        counts[picture] = np.count_nonzero(~crowd)
        rows = np.array(found.get((category, picture), np.zeros((0, 7))), np.float64)
        rows = rows[np.argsort(-rows[:, 5], kind="stable")[:MOST_BOXES]]
        right, ignored = match_boxes(rows[:, 1:5], boxes, crowd)
        parts.append((rows[:, 5], np.full(len(rows), picture), right, ignored))
    scores = np.concatenate([part[0] for part in parts])
    order = np.argsort(-scores, kind="stable")
    return ClassMatches(
        scores[order],
        np.concatenate([part[1] for part in parts])[order],
        np.concatenate([part[2] for part in parts], axis=1)[:, order],
        np.concatenate([part[3] for part in parts], axis=1)[:, order],
        counts,
    )


def match_boxes(found: F64, truth: F64, crowd: Bools) -> tuple[Bools, Bools]:
    """One picture and class: each detection, best first, takes the free true box that it overlaps most.

    Args:
        found: float64 [N, 4] left, top, width, height, best first.
        truth: float64 [M, 4].
        crowd: bool [M]: boxes around many objects, which may be taken by any number of detections.

    Returns:
        Right and ignored, bool [10, N] each.
    """
    right = np.zeros((len(IOUS), len(found)), np.bool_)
    ignored = np.zeros_like(right)
    if not len(found) or not len(truth):
        return right, ignored
    overlaps = box_ious(found, truth, crowd)
    for level, least in enumerate(IOUS):
        free = ~crowd
        for row, overlap in enumerate(overlaps):
            best = np.where(free, overlap, -1.0)
            chosen = len(best) - 1 - int(best[::-1].argmax())  # of equal ones the last, as COCO has it
            if best[chosen] >= least - 1e-10:
                free[chosen] = False
                right[level, row] = True
            else:
                ignored[level, row] = bool((overlap[crowd] >= least - 1e-10).any())
    return right, ignored


def box_ious(found: F64, truth: F64, crowd: Bools) -> F64:
    """IoU float64 [N, M] of boxes as left, top, width, height; with a crowd, the share of the detection."""
    low = np.maximum(found[:, None, :2], truth[None, :, :2])
    high = np.minimum(found[:, None, :2] + found[:, None, 2:], truth[None, :, :2] + truth[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(axis=2)
    area_found, area_truth = found[:, 2:].prod(axis=1), truth[:, 2:].prod(axis=1)
    union = np.where(crowd[None], area_found[:, None], area_found[:, None] + area_truth[None] - inter)
    ious: F64 = inter / np.maximum(union, np.finfo(np.float64).tiny)
    return ious
