"""Which detection head a network has, told by its outputs' shapes alone; what is not known is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sightline.errors import NetworkUnusable

STRIDES = (8, 16, 32)
END_TO_END_COLUMNS = 6
MASK_COEFFICIENTS = 32


@dataclass(frozen=True, slots=True)
class DetectionHead:
    """A detection head."""

    end_to_end: bool
    classes: int

    @property
    def name(self) -> str:
        """The ``head`` parameter of the model's configuration."""
        return "end2end" if self.end_to_end else "anchors"

    def shape(self, height: int, width: int, boxes: int) -> tuple[int, int]:
        """Rows and columns of the output for a network input of this size; ``boxes`` for end-to-end."""
        if self.end_to_end:
            return boxes, END_TO_END_COLUMNS
        return 4 + self.classes, anchor_count(height, width)


def anchor_count(height: int, width: int) -> int:
    """Anchors of the three usual scales: one for each cell of 8, 16 and 32 pixels."""
    return sum((height // stride) * (width // stride) for stride in STRIDES)


def tell_head(
    outputs: Sequence[tuple[str, tuple[int, ...]]], classes: int, size: tuple[int, int]
) -> DetectionHead:
    """The head of a network that was run once.

    Args:
        outputs: name and shape of each output for a batch of one.
        classes: how many class names the model brings.
        size: height and width of the input that gave these shapes.

    Raises:
        NetworkUnusable: no known head has these shapes.
    """
    found = ", ".join(f"{name} {list(shape)}" for name, shape in outputs)
    found = f"found {found} for an input of {size[0]}x{size[1]} and {classes} class names"
    shape = outputs[0][1]
    if len(outputs) > 1:
        raise NetworkUnusable(_several(shape, classes, found))
    if len(shape) != 3 or shape[0] != 1:
        raise NetworkUnusable(_not_boxes(shape, classes, found))
    anchors = anchor_count(*size)
    _, first, last = shape
    raw = first == 4 + classes and last == anchors
    rows = last == END_TO_END_COLUMNS and first not in {anchors, 3 * anchors}
    if raw and rows:  # only when the anchors of a tiny input happen to be six
        raise NetworkUnusable(f"ambiguous: both a raw head and an end-to-end head have this shape; {found}")
    if raw or rows:
        return DetectionHead(end_to_end=rows, classes=classes)
    raise NetworkUnusable(_wrong_rows(first, last, classes, anchors, found))


def _several(shape: tuple[int, ...], classes: int, found: str) -> str:
    masks = len(shape) == 3 and shape[1] == 4 + classes + MASK_COEFFICIENTS
    masks = masks or (len(shape) == 3 and shape[2] == END_TO_END_COLUMNS + MASK_COEFFICIENTS)
    what = "a segmentation head (boxes with mask coefficients, and mask prototypes)" if masks else "outputs"
    return f"one output of boxes is needed, this network gives several: {what}; {found}"


def _not_boxes(shape: tuple[int, ...], classes: int, found: str) -> str:
    if len(shape) == 2 and shape[1] == classes:
        return f"this is a classification head: it gives one score per class and no boxes; {found}"
    return f"a detection head gives [1, rows, columns]; {found}"


def _wrong_rows(first: int, last: int, classes: int, anchors: int, found: str) -> str:
    extra = first - 4 - classes
    if last == 5 + classes and first in {anchors, 3 * anchors}:
        what = "this is a YOLOv5-style head (5 + classes columns with objectness), not supported"
    elif last == anchors and extra > 0:
        kinds = {1: "an oriented-box head", MASK_COEFFICIENTS: "a segmentation head"}
        kind = kinds.get(extra, "a pose head or another one")
        what = f"{extra} rows more than 4 + classes: {kind}, or class names are missing (give --labels)"
    elif last == anchors:
        what = f"{first} rows are {max(first - 4, 0)} classes: give as many class names by --labels"
    elif END_TO_END_COLUMNS < last < anchors:
        what = f"rows of {last} numbers: a head that gives more than boxes (pose, masks, angles)"
    else:
        what = f"neither [1, 4 + classes, anchors = {anchors}] nor [1, boxes, 6]"
    return f"{what}; {found}"
