"""COCO's figures of one run, and its curves."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.models.evaluation.cocoset import CocoSet
from sightline.models.evaluation.matching import IOUS, ClassMatches

F64 = NDArray[np.float64]

CONFIDENCES = np.linspace(0, 1, 201)
RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True)
class Figures:
    """What COCO's evaluation says of one run.

    Attributes:
        map_at: mAP at each IoU of :data:`evaluation.matching.IOUS`.
        per_class: name → AP50-95, AP50; classes without true boxes are left out.
        precision: float64 [101], precision at each recall of :data:`RECALLS`, IoU 0.5, mean of classes.
    """

    map50_95: float
    map50: float
    map75: float
    map_at: tuple[float, ...]
    per_class: Mapping[str, tuple[float, float]]
    precision: F64


def measure(rows: Sequence[Sequence[float]], data: CocoSet) -> Figures:
    """Evaluate by faster-coco-eval: all areas, 100 boxes a picture and class.

    Args:
        rows: what :func:`evaluation.cocoset.to_rows` gives; may be empty.
        data: the set.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    if not rows:
        none = tuple(0.0 for _ in IOUS)
        return Figures(0.0, 0.0, 0.0, none, {}, np.zeros(len(RECALLS)))
    with contextlib.redirect_stdout(sys.stderr):  # the library talks
        truth = COCO(str(data.annotations))
        found = truth.loadRes(np.array(rows, np.float64))
        evaluation = COCOeval_faster(truth, found, iouType="bbox")
        evaluation.params.imgIds = sorted(image["id"] for image in data.images)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # IoU, recall, class
    names = {category: name for name, category in data.category_ids.items()}
    known = [place for place, _ in enumerate(evaluation.params.catIds) if (precision[:, :, place] > -1).any()]
    per_class = {
        names[int(evaluation.params.catIds[place])]: (
            float(precision[:, :, place].mean()),
            float(precision[0, :, place].mean()),
        )
        for place in known
    }
    whole = precision[:, :, known]
    levels = tuple(float(level.mean()) for level in whole)
    map50_95, map50, map75 = (float(value) for value in evaluation.stats[:3])
    return Figures(map50_95, map50, map75, levels, per_class, whole[0].mean(axis=1))


def score(rows: Sequence[Sequence[float]], data: CocoSet) -> dict[str, float]:
    """mAP50-95, mAP50 and mAP75, rounded for a report."""
    found = measure(rows, data)
    return {name: round(getattr(found, name), 4) for name in ("map50_95", "map50", "map75")}


def confidence_curves(matches: Mapping[str, ClassMatches]) -> dict[str, F64]:
    """Precision, recall and F1 at IoU 0.5 when only boxes of some confidence count, all classes together.

    Returns:
        ``precision``, ``recall`` and ``f1``, float64 [201], one for each of :data:`CONFIDENCES`. Where no
        box is left, precision is 1 and recall 0.
    """
    right, wrong = np.zeros((2, len(CONFIDENCES)))
    for found in matches.values():
        right += _at_least(found.scores[found.right[0]])
        wrong += _at_least(found.scores[~found.right[0] & ~found.ignored[0]])
    truth = sum(int(found.truth.sum()) for found in matches.values())
    precision = np.divide(right, right + wrong, out=np.ones_like(right), where=right + wrong > 0)
    recall = right / max(truth, 1)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)
    return {"precision": precision, "recall": recall, "f1": f1}


def _at_least(scores: F64) -> F64:
    """How many scores reach each confidence."""
    counted: F64 = len(scores) - np.searchsorted(np.sort(scores), CONFIDENCES, side="left").astype(np.float64)
    return counted


def best_f1(curves: Mapping[str, F64]) -> dict[str, Any]:
    """The confidence at which F1 is highest, and what is reached there."""
    place = int(curves["f1"].argmax())
    return {"confidence": float(CONFIDENCES[place]), **{key: float(curves[key][place]) for key in curves}}
