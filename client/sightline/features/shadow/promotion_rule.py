"""The stated rule: promote, reject, or wait, by intervals over episodes.

Episodes are what is sampled, so they are what is drawn again (paired bootstrap): frames of one episode are no
independent evidence. The confidence is divided by the number of checks, so many classes make no false alarm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from sightline.analysis.pairing import PairCounts
from sightline.entities import EventKind
from sightline.features.shadow.episode_comparison import ComparedEpisode, ComparedEpisodes
from sightline.models.evaluation.average_precision import bootstrap_draws

DRAWS = 4000
GONE = 7  # objects of a class by one model and none by the other: under 1 % when both see it equally often


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
    """The bounds."""

    episodes: int = 50  # fewer are not enough to promote
    objects: int = 200  # counted by the live model; fewer are not enough to promote
    reject_episodes: int = 10  # fewer are not enough to reject
    min_count: int = 20  # objects of a class, or events, by either model, below which they are not judged
    counts_within: float = 0.1  # largest relative difference of a class's count
    agreement: float = 0.85  # least share of windows' counts, crossings and zone events on which both agree
    confidence: float = 0.95  # that no check is judged wrongly, all together


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

    def __str__(self) -> str:
        return (
            f"{self.name}: live {self.live}, candidate {self.candidate}; {self.value:.1%} "
            f"({self.low:.1%} to {self.high:.1%}), bound {self.bound}: {self.state}"
        )


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
    episodes = len(compared.good)
    objects = sum(counts.live for item in compared.good for counts in item.windows.values())
    checks = checks_of(compared.good, rule)
    broken = [str(check) for check in checks if check.state is CheckState.BROKEN]
    lacking = [f"{episodes} of {rule.episodes} episodes"] if episodes < rule.episodes else []
    if objects < rule.objects:
        lacking.append(f"{objects} of {rule.objects} objects")
    if len(compared.void) > episodes:
        lacking.append(f"{len(compared.void)} episodes are void: there is no room for a shadow")
    lacking += [str(check) for check in checks if check.state is CheckState.OPEN]
    if broken and episodes >= rule.reject_episodes:
        verdict, reasons = Verdict.REJECT, broken
    elif broken:
        verdict = Verdict.WAIT
        reasons = [f"{episodes} of {rule.reject_episodes} episodes that a rejection takes", *broken]
    elif lacking:
        verdict, reasons = Verdict.WAIT, lacking
    else:
        verdict, reasons = Verdict.PROMOTE, [f"{len(checks)} checks hold"]
    return Decision(verdict, tuple(reasons), tuple(checks), episodes, objects)


def checks_of(good: Sequence[ComparedEpisode], rule: PromotionRule) -> list[Check]:
    """Every check, with intervals: counts of each class, then agreement."""
    none = PairCounts()
    by_check: dict[str, list[PairCounts]] = {
        f"count of {name}": [
            sum((item.windows[key] for key in item.windows if key[1] == name), none) for item in good
        ]
        for name in sorted({name for item in good for _, name in item.windows})
    }
    classes = len(by_check)
    by_check["windows agree"] = [sum(item.windows.values(), none) for item in good]
    for what, crossing in (("crossings agree", True), ("zone events agree", False)):
        by_check[what] = [
            sum((item.events[key] for key in item.events if (key[0] == EventKind.CROSSING) is crossing), none)
            for item in good
        ]
    tail = (1 - rule.confidence) / len(by_check) / 2
    weights = bootstrap_draws(len(good), DRAWS) if good else np.ones((1, 0))  # [1 + draws, episodes]
    checks = []
    for number, (name, counts) in enumerate(by_check.items()):
        by_count = number < classes
        numbers = np.array([[each.live, each.candidate, each.both] for each in counts], np.float64)
        live, candidate, both = (weights @ numbers.reshape(-1, 3)).T
        if by_count:
            values = (candidate - live) / np.maximum(live, 1)
            bound, least, most = f"±{rule.counts_within:.0%}", -rule.counts_within, rule.counts_within
        else:
            seen = live + candidate
            values = np.where(seen > 0, 2 * both / np.maximum(seen, 1), 1.0)
            bound, least, most = f"at least {rule.agreement:.0%}", rule.agreement, np.inf
        low, high = np.quantile(values[1:] if len(values) > 1 else values, [tail, 1 - tail]).tolist()
        sums = int(live[0]), int(candidate[0])
        fewer, more = sorted(sums)
        if more < rule.min_count:
            state = CheckState.BROKEN if by_count and not fewer and more >= GONE else CheckState.FEW
        elif low >= least and high <= most:
            state = CheckState.HOLDS
        else:
            state = CheckState.BROKEN if high < least or low > most else CheckState.OPEN
        checks.append(Check(name, *sums, float(values[0]), low, high, state, bound))
    return checks
