"""How well boxes are found: mean average precision as COCO has it, over the samples of several cameras."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.entities import F32
from sightline.features.track_log import TrackedFrame
from sightline.simulation.scenes.formats import CLASSES
from sightline.simulation.selftest.ground_truth import TruthSample
from sightline.simulation.selftest.truth_samples import overlap

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
