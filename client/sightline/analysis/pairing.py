"""Which boxes and which events of two models over the same frames are the same, and how the others differ.

For shadows, for two networks on a video without labels, and for one network by two engines.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sightline.analysis.classes import class_name
from sightline.analysis.tracking.assignment import Index, assign
from sightline.base.geometry import iou_matrix
from sightline.entities import F32, Detections, Event

MIN_IOU = 0.5  # boxes that overlap less are not of the same object
OTHER_CLASS = 0.25  # what a pair of two classes costs, so that a pair of one class is preferred

EventKey = tuple[str, str, str, str]  # kind, place, direction, class


@dataclass(frozen=True, slots=True)
class BoxPairs:
    """Rows of two :class:`Detections` that agree, and those that do not."""

    same: Index  # int [2, M], rows of both that are one object of one class
    iou: F32  # float32 [M], how much those overlap
    renamed: Index  # int [2, K], one object, two classes
    live_only: Index  # int [L], rows that the candidate lacks
    candidate_only: Index  # int [C], rows that the live model lacks
    weight: float  # the scores of everything that differs, added


def pair_boxes(
    live: Detections, candidate: Detections, names: Sequence[Sequence[str]], min_score: float
) -> BoxPairs:
    """Pair the boxes of two models on one picture, so that the sum of all overlaps is largest.

    ``names`` are the class names of both, live first; ids without a name are their own. Boxes with less than
    ``min_score`` are left out, unless the other model is sure of the same object.
    """
    alike = iou_matrix(live.xyxy, candidate.xyxy)
    mine = np.array([class_name(names[0], number) for number in live.class_ids.tolist()], dtype=object)
    theirs = np.array([class_name(names[1], number) for number in candidate.class_ids.tolist()], dtype=object)
    differs = mine[:, None] != theirs[None, :]
    sure, sure_too = live.scores >= min_score, candidate.scores >= min_score
    cost = np.where(alike >= MIN_IOU, 1 - alike + OTHER_CLASS * differs, np.inf)
    cost[~(sure[:, None] | sure_too[None, :])] = np.inf
    rows, columns = assign(cost, 1.0)
    other = differs[rows, columns].astype(bool)
    live_only = np.setdiff1d(np.flatnonzero(sure), rows)
    candidate_only = np.setdiff1d(np.flatnonzero(sure_too), columns)
    weight = live.scores[live_only].sum() + candidate.scores[candidate_only].sum()
    weight += np.minimum(live.scores[rows[other]], candidate.scores[columns[other]]).sum()
    return BoxPairs(
        same=np.stack([rows[~other], columns[~other]]),
        iou=alike[rows[~other], columns[~other]],
        renamed=np.stack([rows[other], columns[other]]),
        live_only=live_only,
        candidate_only=candidate_only,
        weight=float(weight),
    )


@dataclass(frozen=True)
class PairCounts:
    """Something counted in both: how often by each, and how often both agreed."""

    live: int = 0
    candidate: int = 0
    both: int = 0

    def __add__(self, other: "PairCounts") -> "PairCounts":
        return PairCounts(self.live + other.live, self.candidate + other.candidate, self.both + other.both)


def pair_events(
    live: Iterable[Event], candidate: Iterable[Event], within_s: float
) -> tuple[dict[EventKey, PairCounts], list[tuple[int, Event]]]:
    """Pair equal events of two models whose times differ by at most ``within_s``.

    Counts of both by what an event is, and the events of one model only with its side, 0 or 1.
    """
    grouped: defaultdict[EventKey, tuple[list[Event], list[Event]]] = defaultdict(lambda: ([], []))
    for side, events in enumerate((live, candidate)):
        for event in events:
            key = str(event.kind), event.place, event.direction or "", event.item_class
            grouped[key][side].append(event)
    counts: dict[EventKey, PairCounts] = {}
    differing: list[tuple[int, Event]] = []
    for key, (mine, theirs) in grouped.items():
        left = list(theirs)
        for event in mine:
            near = [other for other in left if abs(other.event_time - event.event_time) <= within_s]
            if near:
                left.remove(min(near, key=lambda other: abs(other.event_time - event.event_time)))
            else:
                differing.append((0, event))
        differing += [(1, event) for event in left]
        counts[key] = PairCounts(len(mine), len(theirs), len(theirs) - len(left))
    return counts, differing
