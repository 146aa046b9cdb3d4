"""COCO's figures of one run, and its curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.models.evaluation.average_precision import (
    F64,
    IOUS,
    RECALLS,
    ClassMatches,
    average_precision,
    precision_at_recalls,
)
from sightline.models.evaluation.cocoset import CocoSet
from sightline.models.evaluation.matching import match

CONFIDENCES = np.linspace(0, 1, 201)


@dataclass(frozen=True, slots=True)
class Figures:
    """What COCO's evaluation says of one run.

    Attributes:
        map_at: mAP at each IoU of :data:`IOUS`.
        per_class: name → AP50-95, AP50; classes without true boxes are left out.
        precision: float64 [101], precision at each recall of :data:`RECALLS`, IoU 0.5, mean of classes.
    """

    map50_95: float
    map50: float
    map75: float
    map_at: tuple[float, ...]
    per_class: Mapping[str, tuple[float, float]]
    precision: F64


def measure(matches: Mapping[str, ClassMatches]) -> Figures:
    """COCO's figures of one run's matches: all areas, 100 boxes a picture and class."""
    by_class = {name: average_precision(each)[:, 0] for name, each in matches.items()}
    curves = [precision_at_recalls(each) for each in matches.values()]
    levels = np.mean(list(by_class.values()) or [np.zeros(len(IOUS))], axis=0)
    return Figures(
        float(levels.mean()),
        float(levels[0]),
        float(levels[5]),
        tuple(levels.tolist()),
        {name: (float(levels.mean()), float(levels[0])) for name, levels in by_class.items()},
        np.mean(curves or [np.zeros(len(RECALLS))], axis=0),
    )


def score(rows: Sequence[Sequence[float]], data: CocoSet) -> dict[str, float]:
    """mAP50-95, mAP50 and mAP75, rounded for a report."""
    figures = measure(match(rows, data))
    return {name: round(getattr(figures, name), 4) for name in ("map50_95", "map50", "map75")}


def confidence_curves(matches: Mapping[str, ClassMatches]) -> dict[str, F64]:
    """Precision, recall and F1 at IoU 0.5 when only boxes of some confidence count, all classes together.

    Returns:
        ``precision``, ``recall`` and ``f1``, float64 [201], one for each of :data:`CONFIDENCES`. Where no
        box is left, precision is 1 and recall 0.
    """
    right, wrong = np.zeros((2, len(CONFIDENCES)))
    for each in matches.values():
        right += _at_least(each.scores[each.right[0]])
        wrong += _at_least(each.scores[~each.right[0] & ~each.ignored[0]])
    truth = sum(int(each.truth.sum()) for each in matches.values())
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
