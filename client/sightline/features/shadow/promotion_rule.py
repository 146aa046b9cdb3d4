"""The stated rule: promote, reject, or wait, by intervals over episodes.

Episodes are what is sampled, so they are what is drawn again (paired bootstrap): frames of one episode are no
independent evidence. The confidence is divided by the number of checks, so many classes make no false alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sightline.analysis.event_pairs import PairCounts
from sightline.features.shadow.episode_comparison import (
    ComparedEpisode,
    ComparedEpisodes,
    is_crossing,
)

DRAWS = 4000
GONE = 7  # objects of a class by one model and none by the other: under 1 % when both see it equally often
F64 = NDArray[np.float64]


class Verdict(StrEnum):
    """What follows."""

    PROMOTE = "promote"
    REJECT = "reject"
    WAIT = "wait"


class CheckState(StrEnum):
    """How a check stands."""

    HOLDS = "holds"  # the whole interval is within the bound
    BROKEN = "broken"  # the whole interval is beyond it
    OPEN = "open"  # the bound lies in the interval
    FEW = "too few"  # to be judged; does not stand in the way


@dataclass(frozen=True)
class PromotionRule:
    """The bounds.

    Attributes:
        episodes: fewer are not enough to promote.
        objects: counted by the live model; fewer are not enough to promote.
        reject_episodes: fewer are not enough to reject.
        min_count: objects of a class, or events, by either model, below which they are not judged.
        counts_within: largest relative difference of a class's count.
        agreement: smallest share of windows' counts, of crossings and of zone events on which both agree.
        confidence: that no check is judged wrongly, all together.
    """

    episodes: int = 50
    objects: int = 200
    reject_episodes: int = 10
    min_count: int = 20
    counts_within: float = 0.1
    agreement: float = 0.85
    confidence: float = 0.95


@dataclass(frozen=True)
class Check:
    """One bound and how it stands; ``low`` and ``high`` are the interval's ends."""

    name: str
    live: int
    candidate: int
    value: float
    low: float
    high: float
    state: CheckState
    bound: str


@dataclass(frozen=True)
class Decision:
    """What follows, and why."""

    verdict: Verdict
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    episodes: int
    objects: int


def decide(compared: ComparedEpisodes, rule: PromotionRule) -> Decision:
    """Apply the rule."""
    checks = checks_of(compared.good, rule)
    objects = sum(counts.live for item in compared.good for counts in item.classes.values())
    broken = [describe(check) for check in checks if check.state is CheckState.BROKEN]
    lacking = _lacking(compared, checks, objects, rule)
    if broken and len(compared.good) >= rule.reject_episodes:
        verdict, reasons = Verdict.REJECT, broken
    elif broken:
        verdict = Verdict.WAIT
        reasons = [f"{len(compared.good)} of {rule.reject_episodes} episodes that a rejection takes", *broken]
    elif lacking:
        verdict, reasons = Verdict.WAIT, lacking
    else:
        verdict, reasons = Verdict.PROMOTE, [f"{len(checks)} checks hold"]
    return Decision(verdict, tuple(reasons), tuple(checks), len(compared.good), objects)


def _class_counts(name: str, item: ComparedEpisode) -> list[PairCounts | None]:
    return [item.classes.get(name)]


def checks_of(good: Sequence[ComparedEpisode], rule: PromotionRule) -> list[Check]:
    """Every check, with intervals."""
    names = sorted({name for item in good for name in item.classes})
    parts: list[tuple[str, Callable[[F64], F64], list[list[PairCounts]]]] = []
    for name in names:
        parts.append((f"count of {name}", _difference, _columns(good, partial(_class_counts, name))))
    agreed: list[tuple[str, Callable[[ComparedEpisode], Iterable[PairCounts | None]]]] = [
        ("windows agree", lambda i: i.windows.values()),
        ("crossings agree", lambda i: (t for k, t in i.events.items() if is_crossing(k))),
        ("zone events agree", lambda i: (t for k, t in i.events.items() if not is_crossing(k))),
    ]
    for name, values in agreed:
        parts.append((name, _agreement, _columns(good, values)))
    level = 1 - (1 - rule.confidence) / max(len(parts), 1)
    weights = _weights(len(good))
    return [_check(name, measure, tallies, weights, level, rule) for name, measure, tallies in parts]


def describe(check: Check) -> str:
    """A check in words."""
    return (
        f"{check.name}: live {check.live}, candidate {check.candidate}; {check.value:.1%} "
        f"({check.low:.1%} to {check.high:.1%}), bound {check.bound}: {check.state}"
    )


def _lacking(
    compared: ComparedEpisodes, checks: Sequence[Check], objects: int, rule: PromotionRule
) -> list[str]:
    """What stands in the way of a promotion."""
    reasons = []
    if len(compared.good) < rule.episodes:
        reasons.append(f"{len(compared.good)} of {rule.episodes} episodes")
    if objects < rule.objects:
        reasons.append(f"{objects} of {rule.objects} objects")
    if len(compared.void) > len(compared.good):
        reasons.append(f"{len(compared.void)} episodes are void: there is no room for a shadow")
    return [*reasons, *(describe(check) for check in checks if check.state is CheckState.OPEN)]


def _columns(
    good: Sequence[ComparedEpisode], values: Callable[[ComparedEpisode], Iterable[PairCounts | None]]
) -> list[list[PairCounts]]:
    return [[counts for counts in values(item) if counts is not None] for item in good]


def _weights(episodes: int) -> F64:
    """How often each episode is drawn: [DRAWS, episodes]; the first row is all of them once."""
    if not episodes:
        return np.ones((1, 0))
    drawn = np.random.default_rng(0).multinomial(episodes, np.full(episodes, 1 / episodes), DRAWS)
    return np.concatenate([np.ones((1, episodes)), drawn]).astype(np.float64)


def _difference(totals: F64) -> F64:
    """Relative difference of the counts, from [draws, 3] (live, candidate, both)."""
    return (totals[:, 1] - totals[:, 0]) / np.maximum(totals[:, 0], 1)


def _agreement(totals: F64) -> F64:
    seen = totals[:, 0] + totals[:, 1]
    return np.where(seen > 0, 2 * totals[:, 2] / np.maximum(seen, 1), 1.0)


def _check(
    name: str,
    measure: Callable[[F64], F64],
    tallies: Sequence[Sequence[PairCounts]],
    weights: F64,
    level: float,
    rule: PromotionRule,
) -> Check:
    sums = [sum(of_episode, PairCounts()) for of_episode in tallies]
    numbers = np.array([[t.live, t.candidate, t.both] for t in sums], np.float64).reshape(-1, 3)
    values = measure(weights @ numbers)
    tail = (1 - level) / 2
    low, high = (float(np.quantile(values[1:] if len(values) > 1 else values, q)) for q in (tail, 1 - tail))
    live, candidate = (int(total) for total in numbers.sum(axis=0)[:2])
    by_count = measure is _difference
    if by_count:
        bound, limits = f"±{rule.counts_within:.0%}", (-rule.counts_within, rule.counts_within)
    else:
        bound, limits = f"at least {rule.agreement:.0%}", (rule.agreement, np.inf)
    if max(live, candidate) < rule.min_count:
        gone = by_count and not min(live, candidate) and max(live, candidate) >= GONE
        state = CheckState.BROKEN if gone else CheckState.FEW
    elif low >= limits[0] and high <= limits[1]:
        state = CheckState.HOLDS
    else:
        state = CheckState.BROKEN if high < limits[0] or low > limits[1] else CheckState.OPEN
    return Check(name, live, candidate, float(values[0]), low, high, state, bound)
