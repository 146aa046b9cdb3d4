"""Boxes and identities against the truth: mAP as COCO has it, IDF1 and HOTA by TrackEval (an extra)."""

import contextlib
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from sightline.analysis.tracking.assignment import assign
from sightline.base.geometry import iou_matrix
from sightline.entities import F32, I64
from sightline.features.track_log import TrackedFrame
from sightline.models.evaluation.average_precision import ClassInPicture, average_precision, match_class
from sightline.simulation.scenes.truth import CLASSES
from sightline.simulation.selftest.ground_truth import TruthSample

ALIKE = 0.5  # IoU from which on a box stands for an actor
_SHAPELESS = [CLASSES.index("fire"), CLASSES.index("smoke")]  # have no identity to keep


@dataclass(frozen=True, slots=True)
class IdentitySample:
    """True and tracked boxes of one moment that are to be judged."""

    true_ids: I64  # int64 [N]; track_ids: int64 [M]
    track_ids: I64
    alike: F32  # float32 [N, M], overlap of each true with each tracked box


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
    """float32 [N, M]: IoU with the whole actor or with what is seen of it, whichever is more."""
    both: F32 = np.maximum(iou_matrix(sample.full_xyxy, boxes), iou_matrix(sample.visible_xyxy, boxes))
    return both


def moments(samples: Sequence[TruthSample], frames: Sequence[TrackedFrame]) -> list[IdentitySample]:
    """Tracks once confirmed beside the actors to be judged; the others are left out, as MOTChallenge does."""
    confirmed = np.unique(np.concatenate([f.ids[f.confirmed] for f in frames] or [np.zeros(0, np.int64)]))
    result = []
    for sample, frame in pairs(samples, frames):
        shown = np.isin(frame.ids, confirmed)
        ids, alike = frame.ids[shown], overlap(sample, frame.track_xyxy[shown])
        ignored = sample.ignored | np.isin(sample.kinds, _SHAPELESS)
        judged = np.ones(len(ids), bool)  # not the boxes that belong to actors that are ignored
        if alike.size:
            rows, columns = assign(1 - alike, 1 - ALIKE)
            judged &= ~(alike[ignored] >= ALIKE).any(axis=0)
            judged[columns] = ~ignored[rows]
        result.append(IdentitySample(sample.ids[~ignored], ids[judged], alike[~ignored][:, judged]))
    return result


@dataclass(frozen=True, slots=True)
class Precision:
    """Mean average precision, 0..1: at IoU 0.5, over IoU 0.5 to 0.95, and at 0.5 by class."""

    map50: float
    map50_95: float
    ap50: dict[str, float]


def precision(cameras: Iterable[Iterable[tuple[TruthSample, TrackedFrame]]]) -> Precision | None:
    """Over the classes that were there; boxes on ignored actors are neither right nor wrong."""
    pictures: defaultdict[str, list[ClassInPicture]] = defaultdict(list)
    for sample, frame in (pair for pairs in cameras for pair in pairs):
        names = [frame.class_names[i] if 0 <= i < len(frame.class_names) else "" for i in frame.class_ids]
        for name in {*(CLASSES[i] for i in sample.kinds[~sample.ignored]), *names} & set(CLASSES):
            mine = np.flatnonzero(np.array(names) == name)
            actors = sample.ignored | (sample.kinds == CLASSES.index(name))
            overlaps = overlap(sample, frame.xyxy[mine])[actors].T
            pictures[name].append((frame.scores[mine], overlaps, sample.ignored[actors]))
    matches = {name: match_class(parts) for name, parts in sorted(pictures.items())}
    figures = {name: average_precision(each)[:, 0] for name, each in matches.items() if each.truth.any()}
    if not figures:
        return None
    levels = np.mean(list(figures.values()), axis=0)
    ap50 = {name: float(each[0]) for name, each in figures.items()}
    return Precision(float(levels[0]), float(levels.mean()), ap50)


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
    sequence: dict[str, Any] = {
        "num_timesteps": len(moments),
        "similarity_scores": [m.alike.astype(np.float64) for m in moments],
    }
    for word, each in (("gt", [m.true_ids for m in moments]), ("tracker", [m.track_ids for m in moments])):
        known = np.unique(np.concatenate(each))
        sequence[f"{word}_ids"] = [np.searchsorted(known, ids) for ids in each]
        sequence[f"num_{word}_ids"], sequence[f"num_{word}_dets"] = len(known), sum(map(len, each))
    return sequence
