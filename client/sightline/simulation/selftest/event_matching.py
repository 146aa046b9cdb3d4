"""Claimed crossings, entries and exits paired with the true ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

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

    def __add__(self, other: Matched) -> Matched:
        return Matched(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def true(self) -> int:
        """How many there were."""
        return len(self.pairs) + len(self.missed)

    @property
    def claimed(self) -> int:
        """How many were claimed."""
        return len(self.pairs) + len(self.extra)

    @property
    def wrong(self) -> float:
        """How many were missed or extra."""
        return float(len(self.missed) + len(self.extra))

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

    def record(self) -> dict[str, Any]:
        """Ready for JSON."""

        def told(happenings: Iterable[Happening]) -> list[str]:
            return [f"{h.time_s:.1f} s {h.item_class} {h.what}" for h in happenings]

        counts = {"true": self.true, "claimed": self.claimed, "right": len(self.pairs)}
        wrong = {"missed": told(self.missed), "extra": told(self.extra)}
        return counts | wrong | {"hidden": len(self.hidden)}


def match(
    true: Iterable[Happening],
    claimed: Iterable[Happening],
    span_s: tuple[float, float],
    *,
    by_class: bool = True,
) -> Matched:
    """Pair claims with what was true at the same place, in the same direction, within :data:`TOLERANCE_S`.

    A claim that says itself that it was not seen may be right, and is never extra. What lies outside
    ``span_s`` may be paired with something inside, but is neither missed nor extra. Hidden ones are paired
    last, with claims that are left.
    """

    def inside(happening: Happening) -> bool:
        return span_s[0] <= happening.time_s <= span_s[1]

    truths, claims = (_grouped(happenings, by_class=by_class) for happenings in (true, claimed))
    matched = Matched()
    for group in sorted({*truths, *claims}, key=repr):
        hidden = [t for t in truths[group] if t.hidden]
        pairs, missed, left = _sweep([t for t in truths[group] if not t.hidden], claims[group])
        extra = [claim for claim in _sweep(hidden, left)[2] if not claim.hidden]
        judged = (tuple(filter(inside, some)) for some in (missed, extra, hidden))
        matched += Matched(tuple(pair for pair in pairs if inside(pair[0])), *judged)
    return matched


def _grouped(happenings: Iterable[Happening], *, by_class: bool) -> defaultdict[Any, list[Happening]]:
    """By place, direction and class (empty if not by class), each in order of time."""
    groups: defaultdict[Any, list[Happening]] = defaultdict(list)
    for happening in sorted(happenings, key=lambda h: h.time_s):
        groups[happening.place, happening.what, happening.item_class if by_class else ""].append(happening)
    return groups


def _sweep(
    true: Sequence[Happening], claimed: Sequence[Happening]
) -> tuple[list[tuple[Happening, Happening]], list[Happening], list[Happening]]:
    """Pairs, true ones left, claims left. With one tolerance for all, going by time finds the most pairs."""
    pairs, missed, extra = [], [], []
    i = j = 0
    while i < len(true) and j < len(claimed):
        late_s = claimed[j].time_s - true[i].time_s
        if abs(late_s) <= TOLERANCE_S:
            pairs.append((true[i], claimed[j]))
            i, j = i + 1, j + 1
        elif late_s > 0:
            missed.append(true[i])
            i += 1
        else:
            extra.append(claimed[j])
            j += 1
    return pairs, [*missed, *true[i:]], [*extra, *claimed[j:]]
