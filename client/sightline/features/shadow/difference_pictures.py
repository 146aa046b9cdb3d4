"""Pictures of differences: what the live model found at the left, what the candidate found at the right.

Boxes that differ are thick and red, the others thin and green. The report names them.
"""

from collections.abc import Sequence

import numpy as np

from sightline.analysis.box_pairs import BoxPairs
from sightline.analysis.classes import class_name
from sightline.base.letterbox import split_i420
from sightline.entities import F32, U8, Detections

_RED, _GREEN = (81, 90, 240), (145, 54, 34)  # BT.601 Y, U, V
_EDGE_PX, _THICK_PX = 2, 4  # even: chroma has half the size


def side_by_side(i420: U8, live: Detections, candidate: Detections, difference: BoxPairs) -> U8:
    """Both views of one picture.

    Args:
        i420: uint8 [3/2·height, width].
        live: its boxes by the live model.
        candidate: its boxes by the candidate.
        difference: of the two.

    Returns:
        uint8 [3/2·height, 2·width], I420.
    """
    mine = np.concatenate([difference.renamed[0], difference.live_only])
    theirs = np.concatenate([difference.renamed[1], difference.candidate_only])
    views = []
    for found, same, odd in ((live, difference.same[0], mine), (candidate, difference.same[1], theirs)):
        planes = split_i420(i420.copy())
        _draw(planes, found.xyxy[same], _GREEN, _EDGE_PX)
        _draw(planes, found.xyxy[odd], _RED, _THICK_PX)
        views.append(planes)
    joined = [np.concatenate(pair, axis=1).reshape(-1) for pair in zip(*views, strict=True)]
    return np.concatenate(joined).reshape(i420.shape[0], i420.shape[1] * 2)


def describe(
    live: Detections, candidate: Detections, difference: BoxPairs, names: Sequence[Sequence[str]]
) -> str:
    """What differs, in words; ``names`` are the class names of both."""
    mine, theirs = (
        [f"{class_name(known, number)} {score:.2f}" for number, score in zip(ids, scores, strict=True)]
        for known, ids, scores in (
            (names[0], live.class_ids.tolist(), live.scores.tolist()),
            (names[1], candidate.class_ids.tolist(), candidate.scores.tolist()),
        )
    )
    parts = [f"{mine[a]} is {theirs[b]}" for a, b in difference.renamed.T.tolist()]
    parts += [f"{mine[row]} is missing" for row in difference.live_only.tolist()]
    parts += [f"{theirs[row]} is new" for row in difference.candidate_only.tolist()]
    return "; ".join(parts)


def _draw(planes: Sequence[U8], xyxy: F32, colour: tuple[int, int, int], thick_px: int) -> None:
    """Draw the edges of boxes (0..1 of the picture) into I420 planes."""
    for plane, value, thick in zip(planes, colour, (thick_px, thick_px // 2, thick_px // 2), strict=True):
        height, width = plane.shape
        scaled = np.clip(xyxy, 0, 1) * np.array([width, height, width, height], np.float32)
        for left, top, right, bottom in np.rint(scaled).astype(int).tolist():
            plane[top : top + thick, left:right] = value
            plane[max(top, bottom - thick) : bottom, left:right] = value
            plane[top:bottom, left : left + thick] = value
            plane[top:bottom, max(left, right - thick) : right] = value
