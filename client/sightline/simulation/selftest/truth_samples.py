"""Looks and kept frames of the same moment, with what is not to be judged taken out, as MOTChallenge does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.analysis.tracking.assignment import assign
from sightline.base.geometry import iou_matrix
from sightline.entities import F32, I64
from sightline.features.track_log import TrackedFrame
from sightline.simulation.scenes.formats import CLASSES
from sightline.simulation.selftest.ground_truth import Look

ALIKE = 0.5  # IoU from which on a box stands for an actor
_SHAPELESS = [CLASSES.index("fire"), CLASSES.index("smoke")]  # have no identity to keep


@dataclass(frozen=True, slots=True)
class Moment:
    """True and tracked boxes of one moment that are to be judged.

    Attributes:
        true_ids: int64 [N]; track_ids: int64 [M].
        alike: float32 [N, M], overlap of each true with each tracked box.
    """

    true_ids: I64
    track_ids: I64
    alike: F32


def pairs(looks: Sequence[Look], frames: Sequence[TrackedFrame]) -> Iterator[tuple[Look, TrackedFrame]]:
    """Looks with the frame that shows the same moment; others are left out."""
    frame_at = {round(f.scene_s * 1000): f for f in frames if f.scene_s is not None}
    for look in looks:
        frame = frame_at.get(round(look.time_s * 1000))
        if frame is not None:
            yield look, frame


def overlap(look: Look, boxes: F32) -> F32:
    """float32 [N, M]: IoU with the whole actor or with what is seen of it, whichever is more.

    What is half hidden may be found by its visible part or by where it must be: both are right.
    """
    both: F32 = np.maximum(iou_matrix(look.full_xyxy, boxes), iou_matrix(look.visible_xyxy, boxes))
    return both


def moments(looks: Sequence[Look], frames: Sequence[TrackedFrame]) -> list[Moment]:
    """Tracks that were confirmed some time, beside who could be seen."""
    confirmed = {number for f in frames for number in f.ids[f.confirmed].tolist()}
    return [_moment(look, frame, confirmed) for look, frame in pairs(looks, frames)]


def _moment(look: Look, frame: TrackedFrame, confirmed: set[int]) -> Moment:
    kept = np.array([number in confirmed for number in frame.ids.tolist()], bool)
    ids, boxes = frame.ids[kept], frame.track_xyxy[kept]
    ignored = look.ignored | np.isin(look.kinds, _SHAPELESS)
    alike = overlap(look, boxes)
    judged = ~_stands_for(alike, ignored)
    return Moment(look.ids[~ignored], ids[judged], alike[~ignored][:, judged])


def _stands_for(alike: F32, ignored: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which boxes [M] belong to actors that are ignored."""
    found = np.zeros(alike.shape[1], bool)
    if alike.size:
        rows, columns = assign(1 - alike, 1 - ALIKE)
        found[columns[ignored[rows]]] = True
        free = np.ones(alike.shape[1], bool)
        free[columns] = False
        found |= free & (alike[ignored] >= ALIKE).any(axis=0)
    return found
