"""Average precision as COCO defines it, in NumPy: for evaluation, drift, the self-test and training alike.

COCO's own programs give the figure but not the matches that it comes from, and those are what curves and
resampling need. A test holds the figures against faster-coco-eval's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
#: One class in one picture: scores [N], IoU with each true box [N, M], and which of these are ignored [M].
ClassInPicture = tuple[NDArray[np.floating], NDArray[np.floating], Bools]

_CHUNK = 100  # draws at once: bounded memory
_ALMOST = 1e-10  # COCO's own allowance for a box exactly at the threshold


@dataclass(frozen=True, slots=True)
class ClassMatches:
    """All detections of one class, best first.

    Attributes:
        scores: float64 [N].
        pictures: int [N], the picture's place in the set.
        right: bool [10, N], matched to a true box at each IoU.
        ignored: bool [10, N], matched to what is ignored: neither right nor wrong.
        truth: int [pictures], true boxes that count.
    """

    scores: F64
    pictures: NDArray[np.int64]
    right: Bools
    ignored: Bools
    truth: NDArray[np.int64]


def match_class(pictures: Iterable[ClassInPicture]) -> ClassMatches:
    """Match the detections of one class to what is true, picture by picture."""
    scores, places, right, ignored, truth = [np.zeros(0)], [np.zeros(0, np.int64)], [], [], []
    for place, (found, overlaps, ignore) in enumerate(pictures):
        order = np.argsort(-found, kind="stable")
        hits, neither = _match(overlaps[order], ignore)
        scores.append(found[order].astype(np.float64))
        places.append(np.full(len(found), place))
        right.append(hits)
        ignored.append(neither)
        truth.append(int((~ignore).sum()))
    none = [np.zeros((len(IOUS), 0), np.bool_)]
    all_scores = np.concatenate(scores)
    order = np.argsort(-all_scores, kind="stable")
    return ClassMatches(
        all_scores[order],
        np.concatenate(places)[order],
        np.concatenate(none + right, axis=1)[:, order],
        np.concatenate(none + ignored, axis=1)[:, order],
        np.array(truth, np.int64),
    )


def _match(overlaps: NDArray[np.floating], ignore: Bools) -> tuple[Bools, Bools]:
    """Each detection, best first, takes the free true box that it overlaps most; what is ignored stays free.

    Args:
        overlaps: [N, M].
        ignore: bool [M].

    Returns:
        Right and ignored, bool [10, N] each.
    """
    right = np.zeros((len(IOUS), len(overlaps)), np.bool_)
    ignored = np.zeros_like(right)
    if not overlaps.size:
        return right, ignored
    for level, iou in enumerate(IOUS - _ALMOST):
        free = ~ignore
        for row, overlap in enumerate(overlaps):
            best = np.where(free, overlap, -1.0)
            chosen = len(best) - 1 - int(best[::-1].argmax())  # of equal ones the last, as COCO has it
            if best[chosen] >= iou:
                free[chosen] = False
                right[level, row] = True
            else:
                ignored[level, row] = bool((overlap[ignore] >= iou).any())
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


def average_precision(found: ClassMatches, weights: F64 | None = None) -> F64:
    """Average precision of one class at each IoU, float64 [10, draws]: the mean over 101 recalls.

    Args:
        found: its matches.
        weights: how often each picture counts, float64 [draws, pictures]; None: once each, one draw.
    """
    weights = np.ones((1, len(found.truth))) if weights is None else weights
    result = np.zeros((len(IOUS), len(weights)))
    for start in range(0, len(weights), _CHUNK):
        some = slice(start, start + _CHUNK)
        for level in range(len(IOUS)):
            envelope, points = _envelope(found, weights[some], level)
            result[level, some] = (envelope * points).sum(axis=1) / len(RECALLS)
    return result * (weights @ found.truth > 0)


def precision_at_recalls(found: ClassMatches) -> F64:
    """Precision at each of :data:`RECALLS` at IoU 0.5, float64 [101]; 0 beyond the highest recall."""
    envelope, points = _envelope(found, np.ones((1, len(found.truth))), 0)
    reached = np.repeat(envelope[0], points[0].astype(int))
    return np.pad(reached, (0, len(RECALLS) - len(reached)))


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


def mean_average_precisions(matches: Mapping[str, ClassMatches], weights: F64) -> dict[str, F64]:
    """The mAP on every draw.

    Args:
        matches: of one run.
        weights: what :func:`sightline.models.evaluation.bootstrap.draw` gives, float64 [draws, pictures].

    Returns:
        ``map50_95`` and ``map50``, float64 [draws]; a class none of whose true boxes was drawn is left out.
    """
    total, classes = np.zeros((len(IOUS), len(weights))), np.zeros(len(weights))
    for found in matches.values():
        classes += weights @ found.truth > 0
        total += average_precision(found, weights)
    means = total / np.maximum(classes, 1)
    return {"map50_95": means.mean(axis=0), "map50": means[0]}
