"""Whether a served detector finds, over every transport, what the CPU finds in the same pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sightline.analysis.box_pairs import pair_boxes
from sightline.entities import Detections
from sightline.serving.runtime.numerics import U8

SURE = 0.25  # boxes that score as much must be found by both


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
        pairs = pair_boxes(one, two, ((), ()), SURE)
        boxes += int(np.count_nonzero(one.scores >= SURE))
        missing += len(pairs.live_only) + len(pairs.candidate_only) + pairs.renamed.size
        rows, columns = pairs.same
        shift = max(shift, float(np.abs(one.xyxy[rows] - two.xyxy[columns]).max(initial=0)))
        score = max(score, float(np.abs(one.scores[rows] - two.scores[columns]).max(initial=0)))
    return Agreement(boxes, missing, shift, score)
