"""Boxes and identities against the truth: mean average precision as COCO has it, IDF1 and HOTA by TrackEval.

What is not to be judged is taken out first, as MOTChallenge does. TrackEval is the extra ``selftest``.
"""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.analysis.tracking.assignment import assign
from sightline.base.geometry import iou_matrix
from sightline.entities import F32, I64
from sightline.features.track_log import TrackedFrame
from sightline.models.evaluation.average_precision import ClassInPicture, average_precision, match_class
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
    is_confirmed = np.array([number in confirmed for number in frame.ids.tolist()], bool)
    ids, boxes = frame.ids[is_confirmed], frame.track_xyxy[is_confirmed]
    ignored = sample.ignored | np.isin(sample.kinds, _SHAPELESS)
    alike = overlap(sample, boxes)
    judged = ~_stands_for(alike, ignored)
    return IdentitySample(sample.ids[~ignored], ids[judged], alike[~ignored][:, judged])


def _stands_for(alike: F32, ignored: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which boxes [M] belong to actors that are ignored."""
    ignored_boxes = np.zeros(alike.shape[1], bool)
    if alike.size:
        rows, columns = assign(1 - alike, 1 - ALIKE)
        ignored_boxes[columns[ignored[rows]]] = True
        free = np.ones(alike.shape[1], bool)
        free[columns] = False
        ignored_boxes |= free & (alike[ignored] >= ALIKE).any(axis=0)
    return ignored_boxes


@dataclass(frozen=True, slots=True)
class Precision:
    """Mean average precision, 0..1: at IoU 0.5, over IoU 0.5 to 0.95, and at 0.5 by class."""

    map50: float
    map50_95: float
    ap50: dict[str, float]


def precision(cameras: Iterable[Iterable[tuple[TruthSample, TrackedFrame]]]) -> Precision | None:
    """Average over the classes that were there; None when none was."""
    pictures: defaultdict[str, list[ClassInPicture]] = defaultdict(list)
    for pairs in cameras:
        for sample, frame in pairs:
            for number in {*sample.kinds[~sample.ignored].tolist(), *_known_numbers(frame)}:
                pictures[CLASSES[number]].append(_picture(CLASSES[number], sample, frame))
    matches = {name: match_class(parts) for name, parts in sorted(pictures.items())}
    figures = {name: average_precision(each)[:, 0] for name, each in matches.items() if each.truth.any()}
    if not figures:
        return None
    levels = np.mean(list(figures.values()), axis=0)
    ap50 = {name: float(each[0]) for name, each in figures.items()}
    return Precision(float(levels[0]), float(levels.mean()), ap50)


def _known_numbers(frame: TrackedFrame) -> set[int]:
    names = {frame.class_names[i] for i in set(frame.class_ids.tolist()) if 0 <= i < len(frame.class_names)}
    return {CLASSES.index(name) for name in names if name in CLASSES}


def _picture(name: str, sample: TruthSample, frame: TrackedFrame) -> ClassInPicture:
    """One class of one sample; a box on an ignored actor of any class is neither right nor wrong."""
    number = frame.class_names.index(name) if name in frame.class_names else -1
    mine = np.flatnonzero(frame.class_ids == number)
    actors = sample.ignored | (sample.kinds == CLASSES.index(name))
    overlaps = overlap(sample, frame.xyxy[mine])[actors].T
    return frame.scores[mine], overlaps, sample.ignored[actors]


@dataclass(frozen=True, slots=True)
class Identity:
    """Scores of one or several cameras, 0..1; all classes as one."""

    idf1: float
    hota: float


TRACKEVAL_MISSING = "IDF1 and HOTA need TrackEval: pip install 'sightline[selftest]'"


def identity_is_measured() -> bool:
    """Whether TrackEval, an extra, is installed."""
    return find_spec("trackeval") is not None


def identity(cameras: Sequence[Sequence[IdentitySample]]) -> Identity | None:
    """The scores over all cameras together; None without TrackEval, or without anything to judge."""
    data = [trackeval_sequence(moments) for moments in cameras if any(len(m.true_ids) for m in moments)]
    if not data or not identity_is_measured():
        return None
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what else is not installed
        from trackeval.metrics import HOTA  # noqa: PLC0415 - an extra
        from trackeval.metrics import Identity as IdentityMetric  # noqa: PLC0415

        results = []
        for metric in (IdentityMetric({"PRINT_CONFIG": False}), HOTA()):
            by_camera = {str(i): metric.eval_sequence(sequence) for i, sequence in enumerate(data)}
            results.append(metric.combine_sequences(by_camera))
    return Identity(float(results[0]["IDF1"]), float(np.mean(results[1]["HOTA"])))


def trackeval_sequence(moments: Sequence[IdentitySample]) -> dict[str, Any]:
    """A sequence in TrackEval's form: ids are numbered from 0."""
    true_ids, true_count = _numbered([m.true_ids for m in moments])
    track_ids, track_count = _numbered([m.track_ids for m in moments])
    return {
        "num_timesteps": len(moments),
        "gt_ids": true_ids,
        "tracker_ids": track_ids,
        "num_gt_ids": true_count,
        "num_tracker_ids": track_count,
        "num_gt_dets": sum(map(len, true_ids)),
        "num_tracker_dets": sum(map(len, track_ids)),
        "similarity_scores": [m.alike.astype(np.float64) for m in moments],
    }


def _numbered(ids: Sequence[Any]) -> tuple[list[Any], int]:
    every = np.unique(np.concatenate(ids))
    return [np.searchsorted(every, one) for one in ids], len(every)
