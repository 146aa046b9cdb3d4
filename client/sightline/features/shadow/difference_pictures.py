"""Pictures of differences: what the live model found at the left, what the candidate found at the right.

Boxes that differ are thick and red, the others thin and green. The report names them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sightline.analysis.box_pairs import BoxPairs
from sightline.analysis.classes import class_name
from sightline.entities import F32, U8, Detections

_RED, _GREEN = (81, 90, 240), (145, 54, 34)  # BT.601 Y, U, V
_EDGE_PX, _THICK_PX = 2, 4  # even: chroma has half the size
_LEVELS = np.arange(256)
_LUMA = np.clip(np.rint((_LEVELS - 16) * 255 / 219), 0, 255).astype(np.uint8)
_CHROMA = np.clip(np.rint((_LEVELS - 128) * 255 / 224 + 128), 0, 255).astype(np.uint8)


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
    agreed = (live.xyxy[difference.same[0]], candidate.xyxy[difference.same[1]])
    mine = np.concatenate([difference.renamed[0], difference.live_only])
    theirs = np.concatenate([difference.renamed[1], difference.candidate_only])
    views = []
    for same, odd in zip(agreed, (live.xyxy[mine], candidate.xyxy[theirs]), strict=True):
        planes = [plane.copy() for plane in planes_of(i420)]
        _draw(planes, same, _GREEN, _EDGE_PX)
        _draw(planes, odd, _RED, _THICK_PX)
        views.append(planes)
    joined = [np.concatenate(pair, axis=1).reshape(-1) for pair in zip(*views, strict=True)]
    return np.concatenate(joined).reshape(i420.shape[0], i420.shape[1] * 2)


def planes_of(i420: U8) -> list[U8]:
    """Views of the three planes: [height, width], twice [height/2, width/2]."""
    rows, width = i420.shape
    height = rows * 2 // 3
    flat, luma, chroma = i420.reshape(-1), height * width, height * width // 4
    half = (height // 2, width // 2)
    return [
        flat[:luma].reshape(height, width),
        flat[luma : luma + chroma].reshape(half),
        flat[luma + chroma :].reshape(half),
    ]


def full_range(i420: U8) -> U8:
    """A picture of limited range, uint8 [3/2·height, width], as JPEG wants it."""
    luma = i420.shape[0] * 2 // 3
    return np.concatenate([_LUMA[i420[:luma]], _CHROMA[i420[luma:]]])


def describe(
    live: Detections,
    candidate: Detections,
    difference: BoxPairs,
    names: tuple[Sequence[str], Sequence[str]],
) -> str:
    """What differs, in words."""

    def box(found: Detections, row: int, whose: Sequence[str]) -> str:
        return f"{class_name(whose, int(found.class_ids[row]))} {found.scores[row]:.2f}"

    parts = [
        f"{box(live, a, names[0])} is {box(candidate, b, names[1])}" for a, b in difference.renamed.T.tolist()
    ]
    parts += [f"{box(live, row, names[0])} is missing" for row in difference.live_only.tolist()]
    parts += [f"{box(candidate, row, names[1])} is new" for row in difference.candidate_only.tolist()]
    return "; ".join(parts)


def _draw(planes: list[U8], xyxy: F32, colour: tuple[int, int, int], thick_px: int) -> None:
    """Draw the edges of boxes (0..1 of the picture) into I420 planes."""
    for plane, value, thick in zip(planes, colour, (thick_px, thick_px // 2, thick_px // 2), strict=True):
        height, width = plane.shape
        scaled = np.clip(xyxy, 0, 1) * np.array([width, height, width, height], np.float32)
        for left, top, right, bottom in np.rint(scaled).astype(int).tolist():
            plane[top : top + thick, left:right] = value
            plane[max(top, bottom - thick) : bottom, left:right] = value
            plane[top:bottom, left : left + thick] = value
            plane[top:bottom, max(left, right - thick) : right] = value
