"""Claimed crossings, entries and exits paired with the true ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sightline.simulation.selftest.ground_truth import Happening

TOLERANCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Matched:
    """Claims and truth, paired.

    Attributes:
        pairs: (true, claimed), each at most once.
        missed: true ones that were visible and not claimed.
        extra: claims of what did not happen.
        hidden: true ones that were not visible; a claim that meets one is neither right nor wrong.
    """

    pairs: tuple[tuple[Happening, Happening], ...] = ()
    missed: tuple[Happening, ...] = ()
    extra: tuple[Happening, ...] = ()
    hidden: tuple[Happening, ...] = ()

    @property
    def true(self) -> int:
        """How many there were."""
        return len(self.pairs) + len(self.missed)

    @property
    def claimed(self) -> int:
        """How many were claimed."""
        return len(self.pairs) + len(self.extra)

    @property
    def precision(self) -> float | None:
        """Share of claims that are true; None without a claim."""
        return len(self.pairs) / self.claimed if self.claimed else None

    @property
    def recall(self) -> float | None:
        """Share of what was true that was claimed; None when nothing was."""
        return len(self.pairs) / self.true if self.true else None

    @property
    def bias(self) -> float | None:
        """Signed share by which the number of claims is off: above 0, too many were claimed."""
        return (self.claimed - self.true) / self.true if self.true else None

    def __add__(self, other: Matched) -> Matched:
        return Matched(
            self.pairs + other.pairs,
            self.missed + other.missed,
            self.extra + other.extra,
            self.hidden + other.hidden,
        )


def match(
    true: Iterable[Happening],
    claimed: Iterable[Happening],
    span_s: tuple[float, float],
    *,
    by_class: bool = True,
    tolerance_s: float = TOLERANCE_S,
) -> Matched:
    """Pair claims with what was true at the same place, in the same direction, at most ``tolerance_s`` apart.

    A claim that says itself that it was not seen may be right, and is never extra. What lies outside
    ``span_s`` may be paired with something inside, but is neither missed nor extra. Hidden ones are paired
    last, with claims that are left.
    """
    truths, claims = _grouped(true, by_class=by_class), _grouped(claimed, by_class=by_class)
    matched = Matched()
    for group in sorted({*truths, *claims}, key=repr):
        matched += _match_group(truths[group], claims[group], span_s, tolerance_s)
    return matched


def _match_group(
    true: Sequence[Happening], claimed: Sequence[Happening], span_s: tuple[float, float], tolerance_s: float
) -> Matched:
    shown, hidden = [t for t in true if not t.hidden], [t for t in true if t.hidden]
    pairs, missed, left = _sweep(shown, claimed, tolerance_s)
    _, _, extra = _sweep(hidden, left, tolerance_s)
    extra = [claim for claim in extra if not claim.hidden]
    within = [_within(missed, span_s), _within(extra, span_s), _within(hidden, span_s)]
    inside = tuple(pair for pair in pairs if span_s[0] <= pair[0].time_s <= span_s[1])
    return Matched(inside, *within)


def _sweep(
    true: Sequence[Happening], claimed: Sequence[Happening], tolerance_s: float
) -> tuple[list[tuple[Happening, Happening]], list[Happening], list[Happening]]:
    """Pairs, true ones left, claims left. With one tolerance for all, going by time finds the most pairs."""
    pairs, missed, extra = [], [], []
    i = j = 0
    while i < len(true) and j < len(claimed):
        late_s = claimed[j].time_s - true[i].time_s
        if abs(late_s) <= tolerance_s:
            pairs.append((true[i], claimed[j]))
            i, j = i + 1, j + 1
        elif late_s > 0:
            missed.append(true[i])
            i += 1
        else:
            extra.append(claimed[j])
            j += 1
    return pairs, [*missed, *true[i:]], [*extra, *claimed[j:]]


def _within(happenings: Iterable[Happening], span_s: tuple[float, float]) -> tuple[Happening, ...]:
    return tuple(h for h in happenings if span_s[0] <= h.time_s <= span_s[1])


def _grouped(
    happenings: Iterable[Happening], *, by_class: bool
) -> defaultdict[tuple[str, str, str], list[Happening]]:
    """By place, direction and class (empty if not by class), each in order of time."""
    groups: defaultdict[tuple[str, str, str], list[Happening]] = defaultdict(list)
    for happening in sorted(happenings, key=lambda h: h.time_s):
        groups[happening.place, happening.what, happening.item_class if by_class else ""].append(happening)
    return groups
