"""The highest rate at which the 99th percentile keeps under a bound, by bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from load.measured import Level, Measured

#: A server that answers less than this share of what it is sent does not hold the rate.
KEPT = 0.95


@dataclass(frozen=True)
class Bracket:
    """Where the search ended: the highest rate that was seen to hold, the lowest that was seen not to.

    Attributes:
        holds: requests a second; 0 when not even the lowest rate held.
        fails: None when every rate that was tried held.
        tried: every measurement, in order.
    """

    bound_ms: float
    holds: float
    fails: float | None
    tried: tuple[Measured, ...]

    def __str__(self) -> str:
        if self.fails is None:
            return f"{self.holds:g} a second held p99 <= {self.bound_ms:g} ms, and nothing higher was tried"
        if not self.holds:
            return f"{self.fails:g} a second, the lowest rate tried, did not hold p99 <= {self.bound_ms:g} ms"
        return f"{self.holds:g} a second held p99 <= {self.bound_ms:g} ms, {self.fails:g} did not"


def holds(found: Measured, bound_ms: float) -> bool:
    """Whether a rate was held: answered, not delayed, and under the bound."""
    return not found.problem and found.p99_ms <= bound_ms and found.throughput >= KEPT * found.level.value


def highest_rate(
    measure: Callable[[Level], Measured],
    bound_ms: float,
    between: tuple[float, float],
    precision: float = 0.05,
) -> Bracket:
    """Halve the bracket until its ends differ by less than ``precision`` of the lower one.

    The two ends are tried first. A rate that fails is tried a second time before it counts, since one pause
    of a busy machine is enough to fail it.

    Args:
        measure: measures one rate.
        bound_ms: what the 99th percentile may be.
        between: lowest and highest rate, requests a second.
        precision: of the result, as a share.

    Raises:
        ValueError: the rates are not ascending, or the precision is none.
    """
    low, high = between
    if not 0 < low < high or not 0 < precision < 1:
        raise ValueError(f"rates from {low:g} to {high:g} to within {precision:g} are no search")
    tried: list[Measured] = []

    def held(rate: float) -> bool:
        for _ in range(2):
            tried.append(measure(Level("rate", round(rate, 2))))
            if holds(tried[-1], bound_ms):
                return True
        return False

    if not held(low):
        return Bracket(bound_ms, 0.0, low, tuple(tried))
    if held(high):
        return Bracket(bound_ms, high, None, tuple(tried))
    while high - low > precision * low:
        middle = round((low + high) / 2, 2)
        if held(middle):
            low = middle
        else:
            high = middle
    return Bracket(bound_ms, low, high, tuple(tried))
