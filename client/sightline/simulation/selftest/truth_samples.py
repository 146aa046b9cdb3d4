"""Samples of truth with the kept frames of the same time, less what is ignored, as MOTChallenge does."""

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
from sightline.simulation.selftest.ground_truth import TruthSample

ALIKE = 0.5  # IoU from which on a box stands for an actor
_SHAPELESS = [CLASSES.index("fire"), CLASSES.index("smoke")]  # have no identity to keep


@dataclass(frozen=True, slots=True)
class IdentitySample:
    """True and tracked boxes of one moment that are to be judged.

    Attributes:
        true_ids: int64 [N]; track_ids: int64 [M].
        alike: float32 [N, M], overlap of each true with each tracked box.
    """

    true_ids: I64
    track_ids: I64
    alike: F32


def pairs(
    samples: Sequence[TruthSample], frames: Sequence[TrackedFrame]
) -> Iterator[tuple[TruthSample, TrackedFrame]]:
    """Samples with the frame of the same scene time; samples without one are left out."""
    frame_at = {round(f.scene_s * 1000): f for f in frames if f.scene_s is not None}
    for sample in samples:
        frame = frame_at.get(round(sample.time_s * 1000))
        if frame is not None:
            yield sample, frame


def overlap(sample: TruthSample, boxes: F32) -> F32:
    """float32 [N, M]: IoU with the whole actor or with what is seen of it, whichever is more.

    A box around the visible part of a half-hidden actor is as right as one around all of it.
    """
    both: F32 = np.maximum(iou_matrix(sample.full_xyxy, boxes), iou_matrix(sample.visible_xyxy, boxes))
    return both


def moments(samples: Sequence[TruthSample], frames: Sequence[TrackedFrame]) -> list[IdentitySample]:
    """Tracks that were confirmed at some time, beside the actors that could be seen."""
    confirmed = {number for f in frames for number in f.ids[f.confirmed].tolist()}
    return [_moment(sample, frame, confirmed) for sample, frame in pairs(samples, frames)]


def _moment(sample: TruthSample, frame: TrackedFrame, confirmed: set[int]) -> IdentitySample:
    kept = np.array([number in confirmed for number in frame.ids.tolist()], bool)
    ids, boxes = frame.ids[kept], frame.track_xyxy[kept]
    ignored = sample.ignored | np.isin(sample.kinds, _SHAPELESS)
    alike = overlap(sample, boxes)
    judged = ~_stands_for(alike, ignored)
    return IdentitySample(sample.ids[~ignored], ids[judged], alike[~ignored][:, judged])


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
