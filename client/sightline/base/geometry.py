"""Boxes and picture sizes, as plain functions of arrays."""

import numpy as np

from sightline.entities import F32

MULTIPLE = 32  # of which both sides of a network are
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
