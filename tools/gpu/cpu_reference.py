"""Whether a served detector finds, over every transport, what the CPU finds in the same pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.base.geometry import iou_matrix
from sightline.serving.runtime.numerics import F32, U8, boxes_from_head, network_input

SURE = 0.25  # boxes that score more must be found by both
NEAR = 0.5  # intersection over union of two boxes that mean the same object

Boxes = tuple[F32, F32, NDArray[np.int32]]  # xyxy in 0..1 [N, 4], scores [N], class ids [N]; best first


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


def on_cpu(network: Path, shape: tuple[int, int], score_floor: float, pictures: Sequence[U8]) -> list[Boxes]:
    """Boxes of pictures by the numerics and ONNX Runtime.

    Args:
        network: ``yolo/N/model.onnx``.
        shape: height and width of its input.
        score_floor: boxes that score less are left out.
        pictures: uint8 [3/2·height, width] of that size, I420.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    found = []
    for picture in pictures:
        head = session.run(None, {name: network_input(picture)[None]})[0][0]
        found.append(boxes_from_head(head, shape, score_floor))
    return found


def compare(reference: Sequence[Boxes], other: Sequence[Boxes]) -> Agreement:
    """Boxes of the same pictures by two detectors."""
    missing, shift, score = 0, 0.0, 0.0
    for first, second in zip(reference, other, strict=True):
        for mine, theirs in ((first, second), (second, first)):
            sure = np.flatnonzero(mine[1] > SURE).tolist()
            partners = [_partner(mine, index, theirs) for index in sure]
            missing += partners.count(None)
            for index, partner in zip(sure, partners, strict=True):
                if partner is not None:
                    shift = max(shift, float(np.abs(mine[0][index] - theirs[0][partner]).max()))
                    score = max(score, float(abs(mine[1][index] - theirs[1][partner])))
    boxes = sum(int(np.count_nonzero(scores > SURE)) for _, scores, _ in reference)
    return Agreement(boxes, missing, shift, score)


def _partner(mine: Boxes, index: int, theirs: Boxes) -> int | None:
    """The other's box of the same class that overlaps a box most, if by enough."""
    if not len(theirs[0]):
        return None
    overlaps = iou_matrix(mine[0][index : index + 1], theirs[0])[0] * (theirs[2] == mine[2][index])
    best = int(overlaps.argmax())
    return best if overlaps[best] > NEAR else None
