"""Which events of two models over the same frames are the same event, and which only one of them saw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sightline.entities import Event

EventKey = tuple[str, str, str, str]  # kind, place, direction, class


@dataclass(frozen=True)
class PairCounts:
    """Something counted in both: how often by each, and how often both agreed."""

    live: int = 0
    candidate: int = 0
    both: int = 0

    def __add__(self, other: PairCounts) -> PairCounts:
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
