"""Boxes and picture sizes, as plain functions of arrays."""

import numpy as np
from numpy.typing import NDArray

from sightline.entities import F32

F64 = NDArray[np.float64]
MULTIPLE = 32  # of which both sides of a network are
MIN_SIDE = 1e-3  # of the picture; smaller boxes are taken to be as wide and high
_TINY = np.finfo(np.float32).tiny  # boxes without area do not overlap


def fit_size(width: int, height: int, max_width: int, max_height: int) -> tuple[int, int]:
    """The largest even (width, height) with the picture's aspect ratio that fits; never enlarged.

    This is the size the client sends: the server pads it to the network's size.

    >>> fit_size(1920, 1080, 640, 384)
    (640, 360)
    >>> fit_size(768, 432, 640, 640)
    (640, 360)
    """
    scale = min(max_width / width, max_height / height, 1.0)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def shape_for_aspect(across: float, down: float, long_side: int = 640) -> tuple[int, int]:
    """The smallest (height, width) of a network that holds a picture of this aspect scaled to the long side.

    >>> shape_for_aspect(16, 9), shape_for_aspect(4, 3), shape_for_aspect(9, 16)
    ((384, 640), (480, 640), (640, 384))
    """
    scale = long_side / max(across, down)
    height, width = (-(-round(side * scale) // MULTIPLE) * MULTIPLE for side in (down, across))
    return height, width


def iou_matrix(a_xyxy: F32, b_xyxy: F32) -> F32:
    """Intersection over union of every pair: float32 [len(a), len(b)]. Boxes may be in any one unit."""
    a, b = np.ascontiguousarray(a_xyxy.T)[:, :, None], np.ascontiguousarray(b_xyxy.T)
    sides = np.minimum(a[2:], b[2:, None])
    sides -= np.maximum(a[:2], b[:2, None])
    np.maximum(sides, 0, out=sides)
    iou: F32 = sides[0] * sides[1]
    a_width, a_height = np.maximum(a[2:] - a[:2], 0)
    b_width, b_height = np.maximum(b[2:] - b[:2], 0)
    union = a_width * a_height + b_width * b_height
    union -= iou
    iou /= np.maximum(union, _TINY, out=union)
    return iou


def travelled(old_xyxy: F64, new_xyxy: F64) -> F64:
    """How far N boxes [4, N] have gone, in sizes of the larger one: [N].

    Of two opposite sides the one that has moved less tells: a box that was cut, or grew, goes nowhere.

    >>> travelled(np.array([[0.0, 0.0, 0.2, 0.4]]).T, np.array([[0.1, 0.0, 0.3, 0.2]]).T)
    array([0.5])
    """
    moved = new_xyxy - old_xyxy
    sides = np.maximum(old_xyxy[2:] - old_xyxy[:2], new_xyxy[2:] - new_xyxy[:2])
    low, high = moved[:2], moved[2:]
    together = np.where(low * high > 0, np.minimum(np.abs(low), np.abs(high)), 0)
    gone: F64 = np.hypot(*(together / np.maximum(sides, MIN_SIDE)))
    return gone
