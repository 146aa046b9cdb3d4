"""Boxes as columns of whole numbers, as the track log and the episodes of a shadow keep them."""

from typing import Any

import numpy as np

from sightline.entities import Detections, Tracks

BOX, SCORE = 10_000, 1_000  # units of the numbers: 1/10000 of the picture, 1/1000


def to_columns(boxes: Detections | Tracks) -> list[list[int]]:
    """Corners one after the other, scores, class ids."""
    return [
        np.rint(boxes.xyxy * BOX).astype(int).ravel().tolist(),
        np.rint(boxes.scores * SCORE).astype(int).tolist(),
        boxes.class_ids.tolist(),
    ]


def from_columns(columns: list[Any]) -> Detections:
    """What :func:`to_columns` gave; ValueError or TypeError: it is something else."""
    xyxy, scores, class_ids = columns
    return Detections(
        (np.array(xyxy, np.float32) / np.float32(BOX)).reshape(-1, 4),
        np.array(scores, np.float32) / np.float32(SCORE),
        np.array(class_ids, np.int32),
    )
