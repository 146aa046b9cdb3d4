"""Which box belongs to which track: three rounds of assignment, and what may start a new track."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.analysis.tracking.assignment import assign
from sightline.analysis.tracking.kalman import F64, BoxFilter, from_xyxy
from sightline.analysis.tracking.tracker_options import TrackerOptions
from sightline.base.geometry import iou_matrix
from sightline.entities import F32, Detections

Index = NDArray[np.intp]
Pairs = tuple[Index, Index]  # rows of tracks and rows of detections, same length


def suppress_duplicates(detections: Detections, options: TrackerOptions) -> Detections:
    """Leave out second boxes of one object: NMS at the network is for recall, and knows one class at a time.

    A box that is left out hides no other.
    """
    same = detections.class_ids[:, None] == detections.class_ids
    limit = np.where(same, options.dedupe_iou, options.dedupe_other_iou)
    overlapping = iou_matrix(detections.xyxy, detections.xyxy) >= limit
    np.fill_diagonal(overlapping, False)
    if not overlapping.any():
        return detections
    unique = np.ones(len(detections), bool)
    for row in np.argsort(-detections.scores, kind="stable"):
        if unique[row]:
            unique[overlapping[row]] = False
    return detections.take(unique)


def match(motion: BoxFilter, detections: Detections, class_cost: F32, options: TrackerOptions) -> Pairs:
    """Pairs of tracks and detections, each at most once.

    Args:
        motion: N tracks, predicted to the time of the frame.
        detections: M boxes.
        class_cost: float32 [N, M], what it costs a track to take a box of that class.
        options: the limits.
    """
    tracks, boxes = np.arange(len(motion)), np.arange(len(detections))
    if not len(tracks) or not len(boxes):
        return tracks[:0], boxes[:0]
    high = detections.scores >= options.min_score
    cost = 1 - iou_matrix(motion.xyxy().astype(np.float32), detections.xyxy) + class_cost
    first = _pair(cost, tracks, boxes[high], 1 - options.min_iou)
    tracks = _without(tracks, first[0])
    second = _pair(cost, tracks, boxes[~high], 1 - options.min_low_iou)
    tracks = _without(tracks, second[0])
    boxes = _without(boxes[high], first[1])
    rows, columns = tracks[:0], boxes[:0]
    if len(tracks) and len(boxes):
        far = _distances(motion, tracks, detections.take(boxes), options)
        rows, columns = assign(far + class_cost[np.ix_(tracks, boxes)], 1.0)
    return (
        np.concatenate([first[0], second[0], tracks[rows]]),
        np.concatenate([first[1], second[1], boxes[columns]]),
    )


def startable(matched: Index, detections: Detections, options: TrackerOptions) -> Index:
    """High boxes that are left over, best first, without those that are a second box of the same object."""
    free = detections.scores >= options.min_score
    free[matched] = False
    candidates = np.flatnonzero(free)
    if not len(candidates):
        return candidates
    candidates = candidates[np.argsort(-detections.scores[candidates], kind="stable")]
    others = np.concatenate([matched, candidates])
    iou = iou_matrix(detections.xyxy[candidates], detections.xyxy[others])
    # As Soft-NMS (Bodla et al.): the more a low box overlaps, the likelier it is a second one.
    scores = detections.scores[candidates, None] * np.exp(-(iou**2) / options.soft_nms_sigma)
    duplicate = (iou >= options.max_start_iou) | (scores < options.min_score)
    started: list[int] = []
    present = np.zeros(len(others), bool)
    present[: len(matched)] = True
    for row in range(len(candidates)):
        if not (duplicate[row] & present).any():
            present[len(matched) + row] = True
            started.append(row)
    return candidates[started]


def _distances(motion: BoxFilter, rows: Index, detections: Detections, options: TrackerOptions) -> F64:
    """How improbable it is that tracks ``rows`` moved into boxes; 1 and more is out of reach."""
    mean, boxes = motion.mean[rows], from_xyxy(detections.xyxy)
    sizes = motion.sizes(mean)[:, None, :2]
    spread = np.sqrt(motion.mean_var[rows, None, :2] + (sizes * options.motion.position_noise) ** 2)
    away = boxes[None, :, :2] - mean[:, None, :2]
    deviation = np.hypot(*np.moveaxis(away / spread, -1, 0)) / options.max_deviation
    distance = np.hypot(*np.moveaxis(away / sizes, -1, 0)) / options.max_distance
    sides = np.maximum(boxes[None, :, 2:], 1e-6) / mean[:, None, 2:]
    ratio = np.abs(np.log(sides)).max(axis=2) / np.log(options.max_side_ratio)
    cost: F64 = np.maximum(np.maximum(deviation, distance), ratio)
    return cost


def _pair(cost: NDArray[np.floating], rows: Index, columns: Index, limit: float) -> Pairs:
    """The best pairs of some rows and some columns of ``cost``."""
    if not len(rows) or not len(columns):
        return rows[:0], columns[:0]
    paired_rows, paired_columns = assign(cost[np.ix_(rows, columns)], limit)
    return rows[paired_rows], columns[paired_columns]


def _without(indices: Index, others: Index) -> Index:
    """``indices`` less ``others``; for a few dozen of them cheaper than NumPy's set functions."""
    gone = set(others.tolist())
    return np.array([index for index in indices.tolist() if index not in gone], np.intp)
