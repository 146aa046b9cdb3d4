"""Boxes and picture sizes, as plain functions of arrays."""

from __future__ import annotations

import numpy as np

from sightline.entities import F32


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


def iou_matrix(a_xyxy: F32, b_xyxy: F32) -> F32:
    """Intersection over union of every pair: float32 [len(a), len(b)]. Boxes may be in any one unit."""
    left_top = np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    right_bottom = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    sides = np.clip(right_bottom - left_top, 0, None)
    overlap = sides[..., 0] * sides[..., 1]
    union = _area(a_xyxy)[:, None] + _area(b_xyxy)[None, :] - overlap
    iou: F32 = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return iou


def _area(xyxy: F32) -> F32:
    area: F32 = np.clip(xyxy[:, 2] - xyxy[:, 0], 0, None) * np.clip(xyxy[:, 3] - xyxy[:, 1], 0, None)
    return area
