"""How much of a difference between two runs is chance: both are measured on the same redrawn pictures.

A paired bootstrap: pictures are drawn with replacement, as many as there are, and the difference of both
runs' mAP on the draw is taken; the interval holds the middle 95 % of such differences. It says how the
difference would vary with other pictures of this kind, nothing about other kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.models.evaluation.matching import IOUS, ClassMatches

F64 = NDArray[np.float64]

DRAWS = 1000
LEVEL = 0.95
_CHUNK = 100  # draws at once: bounded memory


@dataclass(frozen=True, slots=True)
class BootstrapInterval:
    """A figure of one run minus the same figure of another, and its interval."""

    value: float
    low: float
    high: float


def draw(pictures: int, draws: int = DRAWS, seed: int = 0) -> F64:
    """How often each picture is drawn, float64 [1 + draws, pictures]; the first row is the set itself."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(pictures, np.full(pictures, 1 / pictures), size=draws)
    return np.concatenate([np.ones((1, pictures)), drawn]).astype(np.float64)


def average_precisions(matches: Mapping[str, ClassMatches], weights: F64) -> dict[str, F64]:
    """The mAP on every draw.

    Args:
        matches: of one run.
        weights: what :func:`draw` gives, float64 [draws, pictures].

    Returns:
        ``map50_95`` and ``map50``, float64 [draws]; a class none of whose true boxes was drawn is left out.
    """
    total = np.zeros((len(IOUS), len(weights)))
    classes = np.zeros(len(weights))
    for found in matches.values():
        truth = weights @ found.truth
        classes += truth > 0
        for start in range(0, len(weights), _CHUNK):
            some = slice(start, start + _CHUNK)
            total[:, some] += _class_precisions(found, weights[some], truth[some])
    means = total / np.maximum(classes, 1)
    return {"map50_95": means.mean(axis=0), "map50": means[0]}


def _class_precisions(found: ClassMatches, weights: F64, truth: F64) -> F64:
    """AP of one class at each IoU, float64 [10, draws]: COCO's 101 points."""
    result = np.zeros((len(IOUS), len(weights)))
    if not len(found.scores):
        return result
    times = weights[:, found.pictures]
    for level, (right, ignored) in enumerate(zip(found.right, found.ignored, strict=True)):
        hits = np.cumsum(times * right, axis=1)
        all_boxes = hits + np.cumsum(times * ~(right | ignored), axis=1)
        recall = hits / np.maximum(truth, 1)[:, None]
        precision = hits / np.maximum(all_boxes, np.finfo(np.float64).eps)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        reached = np.floor(recall * 100 + 1e-9) + 1  # points of 0, 0.01, … 1 up to this recall
        points = np.diff(reached, axis=1, prepend=0)
        result[level] = (envelope * points).sum(axis=1) / 101
    return result * (truth > 0)


def difference(one: F64, other: F64) -> BootstrapInterval:
    """``other`` minus ``one``, figures of both on the same draws; the first is of the set itself."""
    moved = other - one
    tail = (1 - LEVEL) / 2 * 100
    low, high = np.percentile(moved[1:], [tail, 100 - tail])
    return BootstrapInterval(float(moved[0]), float(low), float(high))
