"""Which cell of the network shall find which object: task-aligned assignment, after the paper TOOD.

A cell is the better for an object the more it says its class and the better its box is already; the best few
cells of every object learn it, to the degree that they are good. Plain numpy, one picture at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

BEST = 10  # cells that learn one object
CLASS_POWER, BOX_POWER = 0.5, 6.0
#: Objects smaller than this are looked for in a square of this side: a cell of 8 pixels may miss them else.
REACH_PX = 20.0
TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Objects:
    """What is in one picture.

    Attributes:
        xyxy: float32 [N, 4], pixels; class_ids: int64 [N].
        ignored: bool [N]: neither to be found nor to be denied.
    """

    xyxy: F32
    class_ids: NDArray[np.int64]
    ignored: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Assignment:
    """What each of A cells shall say.

    Attributes:
        object_index: int64 [A]: of the objects; -1 where there is nothing.
        strength: float32 [A], 0..1: the score it shall give.
        counted: bool [A, classes]: whether the loss looks at this score at all.
    """

    object_index: NDArray[np.int64]
    strength: F32
    counted: NDArray[np.bool_]


def assign(xyxy: F32, scores: F32, centres: F32, objects: Objects) -> Assignment:
    """Share the objects out.

    Args:
        xyxy: float32 [A, 4], the boxes that the cells give now.
        scores: float32 [A, classes], 0..1.
        centres: float32 [A, 2], pixels.
        objects: N of them.
    """
    counted = _counted(scores.shape, centres, objects)
    index, strength = np.full(len(xyxy), -1, np.int64), np.zeros(len(xyxy), np.float32)
    real = np.flatnonzero(~objects.ignored)
    if not len(real):
        return Assignment(index, strength, counted)
    boxes = objects.xyxy[real]
    overlap = np.where(inside(centres, grown(boxes)), iou(boxes, xyxy), 0.0)  # [objects, A]
    value = scores[:, objects.class_ids[real]].T ** CLASS_POWER * overlap**BOX_POWER
    chosen = _best(value) & (overlap > TINY)
    owner = np.where(chosen, overlap, -1.0).argmax(axis=0)  # a cell that two want goes to the better box
    cells = np.flatnonzero(chosen.any(axis=0))
    mine = owner[cells]
    taken = np.zeros_like(value)
    taken[mine, cells] = value[mine, cells]
    best_overlap = np.zeros(len(real), np.float32)
    np.maximum.at(best_overlap, mine, overlap[mine, cells])
    index[cells] = real[mine]
    strength[cells] = taken[mine, cells] / (taken.max(axis=1)[mine] + TINY) * best_overlap[mine]
    counted[cells] = True
    return Assignment(index, strength, counted)


def _counted(shape: tuple[int, ...], centres: F32, objects: Objects) -> NDArray[np.bool_]:
    counted = np.ones(shape, np.bool_)
    for box, class_id in zip(objects.xyxy[objects.ignored], objects.class_ids[objects.ignored], strict=True):
        counted[inside(centres, grown(box[None]))[0], class_id] = False
    return counted


def _best(value: F32) -> NDArray[np.bool_]:
    """Bool [objects, A]: the best cells of each object."""
    count = min(BEST, value.shape[1])
    places = np.argpartition(-value, count - 1, axis=1)[:, :count]
    chosen = np.zeros(value.shape, np.bool_)
    np.put_along_axis(chosen, places, True, axis=1)
    return chosen


def grown(xyxy: F32) -> F32:
    """Boxes with no side shorter than :data:`REACH_PX`."""
    middle, half = (xyxy[:, :2] + xyxy[:, 2:]) / 2, np.maximum(xyxy[:, 2:] - xyxy[:, :2], REACH_PX) / 2
    return np.concatenate([middle - half, middle + half], axis=1)


def inside(points: F32, xyxy: F32) -> NDArray[np.bool_]:
    """Bool [boxes, points]."""
    x, y = points[None, :, 0], points[None, :, 1]
    left, top, right, bottom = (side[:, None] for side in xyxy.T)
    return (x > left) & (x < right) & (y > top) & (y < bottom)


def iou(first: F32, second: F32) -> F32:
    """Intersection over union, float32 [N, M], of boxes [N, 4] and [M, 4]."""
    a, b = first.T[:, :, None], second.T[:, None, :]
    width, height = (
        np.minimum(a[2], b[2]) - np.maximum(a[0], b[0]),
        np.minimum(a[3], b[3]) - np.maximum(a[1], b[1]),
    )
    common = np.maximum(width, 0) * np.maximum(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    result: F32 = (common / np.maximum(union, TINY)).astype(np.float32)
    return result
