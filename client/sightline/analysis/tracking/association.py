"""Which box belongs to which track: three rounds of assignment, and what may start a new track."""

import math

import numpy as np
from numpy.typing import NDArray

from sightline.analysis.options import TrackerOptions
from sightline.analysis.tracking.assignment import Index, assign
from sightline.analysis.tracking.kalman import F64, BoxFilter, from_xyxy
from sightline.entities import F32, Detections

TENTATIVE_COST = 0.1  # of overlap: of two tracks that fit about alike, the one that is confirmed has the box
SECOND_IOU = 0.1  # a track that two boxes overlap by more may belong to either
Pairs = tuple[Index, Index]  # columns of tracks, ascending, and rows of detections, same length


def unique_boxes(
    detections: Detections, columns: Index, kinship: F64, iou: F32, options: TrackerOptions
) -> NDArray[np.bool_] | None:
    """Which boxes are no second one of another; None: all. The network's NMS knows one class at a time.

    A box that is left out hides no other. ``iou`` [M, M] are the overlaps of the M boxes; those with
    themselves are set to 0. ``columns`` [M] are their classes' places in ``kinship`` [K, K], which is 0 for
    two classes that detectors do not confuse.
    """
    iou.flat[:: len(iou) + 1] = 0
    if not iou.size or iou.max() < min(options.dedupe_iou, options.dedupe_other_iou):
        return None
    alike = kinship[np.ix_(columns, columns)] > 0
    overlapping = iou >= np.where(alike, options.dedupe_iou, options.dedupe_other_iou)
    unique = np.ones(len(detections), bool)
    for row in np.argsort(-detections.scores, kind="stable"):
        if unique[row]:
            unique[overlapping[row]] = False
    return None if unique.all() else unique


def match(
    motion: BoxFilter,
    detections: Detections,
    iou: F32,
    class_cost: F32,
    confirmed: NDArray[np.bool_],
    options: TrackerOptions,
) -> Pairs:
    """Pairs of N tracks, predicted to the time of the frame, and M boxes, each at most once.

    ``iou`` [N, M] says how much they overlap, ``class_cost`` [N, M] what it costs a track to take a box of
    that class, ``confirmed`` [N] which tracks are.
    """
    high = detections.scores >= options.min_score
    cost, limit = 1 - iou + class_cost, 1 - options.min_iou
    wait = np.where(confirmed, 0, TENTATIVE_COST)[:, None]
    rows, boxes = assign(np.where(high & (cost < limit), cost + wait, np.inf), limit + TENTATIVE_COST)
    if len(rows) == len(motion) or len(boxes) == len(detections):
        return rows, boxes
    free = np.ones(len(motion), bool)
    free[rows] = False
    pairs = [(rows, boxes)]
    if not high.all():
        # Between two who overlap nobody else there is nothing to mistake.
        alone = ((iou > 0).sum(axis=0) < 2) & ((iou > SECOND_IOU).sum(axis=1, keepdims=True) < 2)
        near = cost < np.where(alone, limit, 1 - options.min_low_iou)
        low = assign(np.where(free[:, None] & ~high & near, cost, np.inf), limit)
        free[low[0]] = False
        pairs.append(low)
    high[boxes] = False
    tracks, boxes = np.flatnonzero(free), np.flatnonzero(high)
    if len(tracks) and len(boxes):
        far = _distances(motion, tracks, detections.xyxy[boxes], options)
        rows, columns = assign(far + class_cost[np.ix_(tracks, boxes)], 1.0)
        pairs.append((tracks[rows], boxes[columns]))
    rows, boxes = (np.concatenate(part) for part in zip(*pairs, strict=True))
    order = np.argsort(rows)
    return rows[order], boxes[order]


def startable(matched: Index, detections: Detections, iou: F32, options: TrackerOptions) -> Index:
    """High boxes that are left over, best first, without those that are a second box of the same object.

    ``matched`` boxes have a track; ``iou`` [M, M] are the overlaps of all boxes.
    """
    free = detections.scores >= options.min_score
    free[matched] = False
    candidates = np.flatnonzero(free)
    if not len(candidates):
        return candidates
    candidates = candidates[np.argsort(-detections.scores[candidates], kind="stable")]
    iou = iou[candidates]
    # As Soft-NMS (Bodla et al.): the more a low box overlaps, the likelier it is a second one.
    scores = detections.scores[candidates, None] * np.exp(-(iou**2) / options.soft_nms_sigma)
    duplicate = (iou >= options.max_start_iou) | (scores < options.min_score)
    present = np.zeros(len(detections), bool)
    present[matched] = True
    started: list[int] = []
    for row, candidate in enumerate(candidates.tolist()):
        if not (duplicate[row] & present).any():
            present[candidate] = True
            started.append(candidate)
    return np.array(started, np.intp)


def _distances(motion: BoxFilter, tracks: Index, xyxy: F32, options: TrackerOptions) -> F64:
    """How improbable it is that tracks moved into boxes [M, 4]; 1 and more is out of reach: [tracks, M]."""
    mean, boxes, sizes = motion.mean[:, tracks], from_xyxy(xyxy), motion.sizes()[:, tracks]
    spread = np.sqrt(motion.mean_var[:2, tracks] + (sizes * options.motion.position_noise) ** 2)
    away = boxes[:2, None] - mean[:2, :, None]
    deviation = np.hypot(*(away / spread[..., None])) / options.max_deviation
    distance = np.hypot(*(away / sizes[..., None])) / options.max_distance
    sides = np.maximum(boxes[2:, None], 1e-6) / mean[2:, :, None]
    ratio = np.abs(np.log(sides)).max(axis=0) / math.log(options.max_side_ratio)
    cost: F64 = np.maximum(np.maximum(deviation, distance), ratio)
    return cost
