"""Average precision as COCO defines it, its curves, and how much of a difference is chance; in NumPy.

For evaluation, drift, the self-test and training alike. COCO's own programs give the figure but not the
matches that it comes from, and those are what curves and resampling need. A test holds the figures against
faster-coco-eval's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
CONFIDENCES = np.linspace(0, 1, 201)
DRAWS = 1000  # of a bootstrap
LEVEL = 0.95  # of its interval
F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
#: One class in one picture: scores [N], IoU with each true box [N, M], and which of these are ignored [M].
ClassInPicture = tuple[NDArray[np.floating], NDArray[np.floating], Bools]

_CHUNK = 100  # draws at once: bounded memory
_ALMOST = 1e-10  # COCO's own allowance for a box exactly at the threshold


@dataclass(frozen=True, slots=True)
class ClassMatches:
    """All detections of one class, best first."""

    scores: F64  # [N]
    pictures: NDArray[np.int64]  # [N], the picture's place in the set
    right: Bools  # [10, N], matched to a true box at each IoU
    ignored: Bools  # [10, N], matched to what is ignored: neither right nor wrong
    truth: NDArray[np.int64]  # [pictures], true boxes that count


def match_class(pictures: Iterable[ClassInPicture]) -> ClassMatches:
    """Match the detections of one class to what is true, picture by picture.

    Each, best first, takes the free true box that it overlaps most; what is ignored stays free.
    """
    parts: list[tuple[Any, ...]] = [(np.zeros(0), np.zeros(0, np.int64), *np.zeros((2, len(IOUS), 0), bool))]
    truth = []
    for place, (found, overlaps, ignore) in enumerate(pictures):
        order = np.argsort(-found, kind="stable")
        right, ignored = np.zeros((2, len(IOUS), len(found)), np.bool_)
        for level, iou in enumerate(IOUS - _ALMOST) if overlaps.size else ():
            free = ~ignore
            for row, overlap in enumerate(overlaps[order]):
                best = np.where(free, overlap, -1.0)
                chosen = len(best) - 1 - int(best[::-1].argmax())  # of equal ones the last, as COCO has it
                if best[chosen] >= iou:
                    free[chosen] = False
                    right[level, row] = True
                else:
                    ignored[level, row] = bool((overlap[ignore] >= iou).any())
        parts.append((found[order].astype(np.float64), np.full(len(found), place), right, ignored))
        truth.append(int((~ignore).sum()))
    scores, places, right, ignored = (np.concatenate(each, axis=-1) for each in zip(*parts, strict=True))
    order = np.argsort(-scores, kind="stable")
    every_truth = np.array(truth, np.int64)
    return ClassMatches(scores[order], places[order], right[:, order], ignored[:, order], every_truth)


def box_ious(found: F64, truth: F64, crowd: Bools) -> F64:
    """IoU float64 [N, M] of boxes as left, top, width, height; with a crowd, the share of the detection."""
    low = np.maximum(found[:, None, :2], truth[None, :, :2])
    high = np.minimum(found[:, None, :2] + found[:, None, 2:], truth[None, :, :2] + truth[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(axis=2)
    area_found, area_truth = found[:, 2:].prod(axis=1), truth[:, 2:].prod(axis=1)
    union = np.where(crowd[None], area_found[:, None], area_found[:, None] + area_truth[None] - inter)
    ious: F64 = inter / np.maximum(union, np.finfo(np.float64).tiny)
    return ious


def average_precision(found: ClassMatches, weights: F64 | None = None) -> F64:
    """Average precision of one class at each IoU, float64 [10, draws]: the mean over 101 recalls.

    ``weights``: how often each picture counts, float64 [draws, pictures]; None: once each, one draw.
    """
    weights = np.ones((1, len(found.truth))) if weights is None else weights
    result = np.zeros((len(IOUS), len(weights)))
    for start in range(0, len(weights), _CHUNK):
        some = slice(start, start + _CHUNK)
        for level in range(len(IOUS)):
            envelope, points = _envelope(found, weights[some], level)
            result[level, some] = (envelope * points).sum(axis=1) / len(RECALLS)
    return result * (weights @ found.truth > 0)


def _envelope(found: ClassMatches, weights: F64, level: int) -> tuple[F64, F64]:
    """For each draw and detection: the best precision at its recall or more, and how many points that is."""
    right, ignored = found.right[level], found.ignored[level]
    times = weights[:, found.pictures]
    hits = np.cumsum(times * right, axis=1)
    all_boxes = hits + np.cumsum(times * ~(right | ignored), axis=1)
    recall = hits / np.maximum(weights @ found.truth, 1)[:, None]
    precision = hits / np.maximum(all_boxes, np.finfo(np.float64).eps)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = np.floor(recall * 100 + 1e-9) + 1  # points of 0, 0.01, … 1 up to this recall
    return envelope, np.diff(reached, axis=1, prepend=0)


def measure(matches: Mapping[str, ClassMatches]) -> dict[str, Any]:
    """COCO's figures and curves of one run: all areas, 100 boxes a picture and class; JSON-able.

    ``map50_95``, ``map50``, ``map75``; ``map_at``: mAP at each of :data:`IOUS`; ``per_class``: name →
    AP50-95, AP50, without classes that have no true boxes; ``best_f1``: the confidence at which F1 is
    highest, and what is reached there; and ``curves`` at IoU 0.5: ``precision_at_recall``, the mean of the
    classes at each of :data:`RECALLS`, 0 beyond the highest recall; ``precision``, ``recall`` and ``f1`` when
    only boxes of each of :data:`CONFIDENCES` or more count, all classes together: where no box is left,
    precision is 1 and recall 0.
    """
    by_class = {name: average_precision(each)[:, 0] for name, each in matches.items()}
    map_at = np.mean([*by_class.values()] or [np.zeros(len(IOUS))], axis=0)
    at_recall = np.zeros((max(len(matches), 1), len(RECALLS)))
    right, wrong = np.zeros((2, len(CONFIDENCES)))
    for place, each in enumerate(matches.values()):
        envelope, points = _envelope(each, np.ones((1, len(each.truth))), 0)
        at_recall[place, : int(points.sum())] = np.repeat(envelope[0], points[0].astype(int))
        right += _at_least(each.scores[each.right[0]])
        wrong += _at_least(each.scores[~each.right[0] & ~each.ignored[0]])
    truth = sum(int(each.truth.sum()) for each in matches.values())
    precision = np.divide(right, right + wrong, out=np.ones_like(right), where=right + wrong > 0)
    recall = right / max(truth, 1)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)
    curves = {"precision": precision, "recall": recall, "f1": f1}
    best = int(f1.argmax())
    return {
        "map50_95": float(map_at.mean()),
        "map50": float(map_at[0]),
        "map75": float(map_at[5]),
        "map_at": map_at.tolist(),
        "per_class": {name: [float(at.mean()), float(at[0])] for name, at in by_class.items()},
        "best_f1": {"confidence": float(CONFIDENCES[best])} | {k: float(y[best]) for k, y in curves.items()},
        "curves": {key: y.tolist() for key, y in curves.items()}
        | {"precision_at_recall": at_recall.mean(axis=0).tolist()},
    }


def _at_least(scores: F64) -> F64:
    """How many scores reach each confidence."""
    counted: F64 = len(scores) - np.searchsorted(np.sort(scores), CONFIDENCES, side="left").astype(np.float64)
    return counted


def mean_average_precisions(matches: Mapping[str, ClassMatches], weights: F64) -> dict[str, F64]:
    """``map50_95`` and ``map50`` of a run on every draw of :func:`bootstrap_draws`, float64 [draws].

    A class none of whose true boxes was drawn is left out.
    """
    total, classes = np.zeros((len(IOUS), len(weights))), np.zeros(len(weights))
    for found in matches.values():
        classes += weights @ found.truth > 0
        total += average_precision(found, weights)
    means = total / np.maximum(classes, 1)
    return {"map50_95": means.mean(axis=0), "map50": means[0]}


@dataclass(frozen=True, slots=True)
class BootstrapInterval:
    """A figure of one run minus the same figure of another, and its interval.

    A paired bootstrap: pictures are drawn with replacement, as many as there are, and the difference of both
    runs' mAP on the draw is taken; the interval holds the middle 95 % of such differences. It says how the
    difference would vary with other pictures of this kind, nothing about other kinds.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, one: F64, other: F64) -> Self:
        """``other`` minus ``one``, figures of both on the same draws; the first is of the set itself."""
        moved = other - one
        low, high = np.quantile(moved[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return cls(float(moved[0]), float(low), float(high))


def bootstrap_draws(pictures: int, draws: int = DRAWS, seed: int = 0) -> F64:
    """How often each picture is drawn, float64 [1 + draws, pictures]; the first row is the set itself."""
    drawn = np.random.default_rng(seed).multinomial(pictures, np.full(pictures, 1 / pictures), size=draws)
    return np.concatenate([np.ones((1, pictures)), drawn]).astype(np.float64)
