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


OVERLAPS = tuple(np.arange(0.5, 0.96, 0.05).round(2).tolist())
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True)
class Precision:
    """Mean average precision, 0..1: at IoU 0.5, over IoU 0.5 to 0.95, and at 0.5 by class."""

    map50: float
    map50_95: float
    ap50: dict[str, float]


@dataclass(slots=True)
class _Pile:
    """What is known of one class at one overlap, over all samples."""

    true: int = 0
    scores: list[float] | None = None
    hits: list[bool] | None = None


def precision(cameras: Iterable[Iterable[tuple[TruthSample, TrackedFrame]]]) -> Precision | None:
    """Average over the classes that were there; None when none was."""
    piles: defaultdict[tuple[str, float], _Pile] = defaultdict(lambda: _Pile(0, [], []))
    for pairs in cameras:
        for sample, frame in pairs:
            for number in {*sample.kinds[~sample.ignored].tolist(), *_known_numbers(frame)}:
                _add(piles, CLASSES[number], sample, frame)
    found = {key: _average(pile) for key, pile in piles.items() if pile.true}
    if not found:
        return None
    ap50 = {name: value for (name, at), value in sorted(found.items()) if at == OVERLAPS[0]}
    return Precision(float(np.mean(list(ap50.values()))), float(np.mean(list(found.values()))), ap50)


def _known_numbers(frame: TrackedFrame) -> set[int]:
    names = {frame.class_names[i] for i in set(frame.class_ids.tolist()) if 0 <= i < len(frame.class_names)}
    return {CLASSES.index(name) for name in names if name in CLASSES}


def _add(piles: dict[tuple[str, float], _Pile], name: str, sample: TruthSample, frame: TrackedFrame) -> None:
    """Take in one class of one sample."""
    number = frame.class_names.index(name) if name in frame.class_names else -1
    mine = np.flatnonzero(frame.class_ids == number)
    mine = mine[np.argsort(-frame.scores[mine], kind="stable")]
    actors = sample.kinds == CLASSES.index(name)
    alike = overlap(sample, frame.xyxy[mine])
    for at in OVERLAPS:
        pile = piles[name, at]
        hits, judged = _hits(alike[actors], sample.ignored[actors], alike[~actors & sample.ignored], at)
        pile.true += int((~sample.ignored[actors]).sum())
        if pile.scores is not None and pile.hits is not None:
            pile.scores += frame.scores[mine][judged].tolist()
            pile.hits += hits[judged].tolist()


def _hits(
    alike: F32, ignored: NDArray[np.bool_], strangers: F32, at: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For each box, best score first: whether it is right, and whether it is to be judged."""
    count = alike.shape[1]
    hits, judged = np.zeros(count, bool), np.ones(count, bool)
    free = ~ignored
    for j in range(count):
        own = np.where(free, alike[:, j], 0)
        best = int(own.argmax()) if len(own) else -1
        if best >= 0 and own[best] >= at:
            hits[j], free[best] = True, False
        elif (alike[ignored, j] >= at).any() or (strangers[:, j] >= at).any():
            judged[j] = False
    return hits, judged


def _average(pile: _Pile) -> float:
    """Average precision by 101 recalls."""
    if not pile.scores or not pile.hits:
        return 0.0
    order = np.argsort(-np.array(pile.scores), kind="stable")
    hits = np.array(pile.hits)[order].cumsum()
    recall = hits / pile.true
    precisions = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precisions[::-1])[::-1]
    places = np.searchsorted(recall, _RECALLS)
    return float(np.concatenate([envelope, [0.0]])[places].mean())


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
    data = [_data(moments) for moments in cameras if any(len(m.true_ids) for m in moments)]
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


def _data(moments: Sequence[IdentitySample]) -> dict[str, Any]:
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
