"""Whether a served detector finds, over every transport, what the CPU finds in the same pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sightline.entities import Detections
from sightline.models.evaluation.agreement import match_two
from sightline.serving.runtime.numerics import U8

SURE = 0.25  # boxes that score more must be found by both


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two detectors agree.

    Attributes:
        boxes: sure ones of the reference, all pictures together.
        missing: of these without a partner among all of the other's, or the other way round.
        shift: the largest difference of an edge between partners, in shares of the picture.
        score: the largest difference of their scores.
    """

    boxes: int
    missing: int
    shift: float
    score: float

    def __str__(self) -> str:
        return f"{self.missing} of {self.boxes} differ, edges by {self.shift:.2g}, scores by {self.score:.2g}"


def on_cpu(
    network: Path, shape: tuple[int, int], score_floor: float, pictures: Sequence[U8]
) -> list[Detections]:
    """Boxes of pictures by the numerics and ONNX Runtime.

    Args:
        network: ``yolo/N/model.onnx``.
        shape: height and width of its input.
        score_floor: boxes that score less are left out.
        pictures: uint8 [3/2·height, width] of that size, I420.
    """
    from sightline.models.evaluation.onnx_engine import BareEngine, open_session

    engine = BareEngine(open_session(network.read_bytes()), shape, ())
    return [engine.detect(picture, score_floor) for picture in pictures]


def compare(reference: Sequence[Detections], other: Sequence[Detections]) -> Agreement:
    """Boxes of the same pictures by two detectors."""
    boxes, missing, shift, score = 0, 0, 0.0, 0.0
    for one, two in zip(reference, other, strict=True):
        pairs = match_two(one, two)
        for side, each in enumerate((one, two)):
            sure = set(np.flatnonzero(each.scores > SURE).tolist())
            missing += len(sure - {pair[side] for pair in pairs})
            boxes += 0 if side else len(sure)
        for row, column in pairs:
            if max(one.scores[row], two.scores[column]) > SURE:
                shift = max(shift, float(np.abs(one.xyxy[row] - two.xyxy[column]).max()))
                score = max(score, float(abs(one.scores[row] - two.scores[column])))
    return Agreement(boxes, missing, shift, score)
