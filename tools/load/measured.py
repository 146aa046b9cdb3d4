"""From the times of single requests to rates and percentiles, and to the highest rate under a bound.

perf_analyzer's own rate counts whole seconds: 60 requests at 20 a second come out as 15. So the rate is taken
from the times of the requests, which it keeps on demand.
"""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

#: This share of the requests, at the beginning, is the warm-up; the rest is cut into windows of equal length.
WARM_UP = 0.2
WINDOWS = 5
PERCENTILES = (50, 90, 95, 99)
MAX_LEVELS = 200  # of a sweep
#: A server that answers less than this share of what it is sent does not hold the rate.
KEPT = 0.95


@dataclass(frozen=True)
class Level:
    """What is asked of the server: so many requests in flight, or so many a second."""

    kind: str  # "concurrency" or "rate"
    value: float

    def __str__(self) -> str:
        return f"{self.value:g} in flight" if self.kind == "concurrency" else f"{self.value:g} a second"


def parse_concurrency(text: str) -> list[Level]:
    """The levels of a sweep of requests in flight, as :func:`parse_rates`; whole numbers."""
    levels = parse_rates(text)
    if any(level.value % 1 for level in levels):
        raise ArgumentTypeError(f"{text!r}: requests in flight are whole numbers")
    return [Level("concurrency", level.value) for level in levels]


def parse_rates(text: str) -> list[Level]:
    """The levels of a sweep of rates, ascending, from ``from:to[:step]`` or values with commas.

    Raises:
        ArgumentTypeError: it is neither, or too many.
    """
    parts = text.split(":")
    try:
        numbers = [float(part) for part in (parts if len(parts) > 1 else text.split(","))]
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is neither from:to[:step] nor values with commas") from error
    values = sorted(set(numbers))
    if len(parts) > 1:
        first, last, step = (*numbers, 1.0)[:3]
        if len(numbers) > 3 or step <= 0 or last < first or (last - first) / step > MAX_LEVELS:
            raise ArgumentTypeError(f"{text!r} is no from:to[:step] of at most {MAX_LEVELS} levels")
        values = [first + index * step for index in range(int((last - first) / step + 1e-9) + 1)]
    if values[0] <= 0 or len(values) > MAX_LEVELS:
        raise ArgumentTypeError(f"{text!r}: levels are above 0, and at most {MAX_LEVELS}")
    return [Level("rate", value) for value in values]


@dataclass(frozen=True)
class Measured:
    """One level as it was measured. Times in milliseconds; ``throughput`` in answers a second.

    Attributes:
        requests: answers that were counted, after the warm-up.
        stable: whether rate and mean latency of the windows stayed within the allowed spread.
        spread: largest ÷ smallest of the windows, the worse of rate and mean latency; 1 is steady.
        windows: rate and mean latency of each window.
        server: mean times inside the server, as it counts them (``queue``, ``compute``).
        problem: why nothing was measured; empty when something was.
    """

    level: Level
    transport: str
    requests: int = 0
    seconds: float = 0.0
    throughput: float = 0.0
    mean_ms: float = 0.0
    percentiles_ms: Mapping[str, float] | None = None
    stable: bool = False
    spread: float = 0.0
    windows: tuple[tuple[float, float], ...] = ()
    server: Mapping[str, float] | None = None
    problem: str = ""

    @property
    def p99_ms(self) -> float:
        """The 99th percentile; infinite when nothing was measured."""
        return self.percentiles_ms["p99"] if self.percentiles_ms else float("inf")

    def __str__(self) -> str:
        if self.problem:
            return f"{self.transport}, {self.level}: {self.problem}"
        steady = "" if self.stable else f", unstable ({self.spread:.2f})"
        rate = f"{self.throughput:.1f} frames/s, p99 {self.p99_ms:.1f} ms"
        return f"{self.transport}, {self.level}: {rate}{steady}"

    def as_json(self) -> dict[str, Any]:
        """For the report's JSON, which has no infinity."""
        windows = [[rate, mean if math.isfinite(mean) else None] for rate, mean in self.windows]
        spread = self.spread if math.isfinite(self.spread) else None
        return {**asdict(self), "spread": spread, "windows": windows}


def measure(
    requests: Sequence[tuple[int, int]], level: Level, transport: str, allowed_spread: float
) -> Measured:
    """Rate and percentiles of one level.

    Counted is what was answered between the end of the warm-up and the moment the last request was sent: from
    then on the load is no longer the one that was asked for. A window without any answer has rate 0 and an
    infinite latency.

    Args:
        requests: when each request was sent and answered, in nanoseconds.
        level: what was asked.
        transport: how the pictures went.
        allowed_spread: the windows' largest ÷ smallest up to which they count as stable.

    Raises:
        ValueError: too few requests to say anything.
    """
    times = np.array(sorted(requests), np.int64)
    if len(times) < 2 * WINDOWS:
        raise ValueError(f"{len(times)} requests are too few: {2 * WINDOWS} are needed")
    begin, end = int(times[int(len(times) * WARM_UP), 0]), int(times[-1, 0])
    counted = times[(times[:, 1] > begin) & (times[:, 1] <= end)]
    if end <= begin or len(counted) < WINDOWS:
        raise ValueError(f"{len(counted)} requests were answered while the load lasted: too few")
    latency_ms, seconds = (counted[:, 1] - counted[:, 0]) / 1e6, (end - begin) / 1e9
    window = np.ceil((counted[:, 1] - begin) / (end - begin) * WINDOWS).astype(int) - 1
    answers = np.bincount(window, minlength=WINDOWS)
    sums_ms = np.bincount(window, latency_ms, WINDOWS)
    means_ms = np.divide(sums_ms, answers, out=np.full(WINDOWS, np.inf), where=answers > 0)
    rates = answers * WINDOWS / seconds
    spread = math.inf
    if answers.all():
        spread = max(float(values.max() / values.min()) for values in (rates, means_ms))
    return Measured(
        level=level,
        transport=transport,
        requests=len(counted),
        seconds=round(seconds, 3),
        throughput=round(len(counted) / seconds, 3),
        mean_ms=round(float(latency_ms.mean()), 3),
        percentiles_ms={f"p{p}": round(float(np.percentile(latency_ms, p)), 3) for p in PERCENTILES},
        stable=spread <= allowed_spread,
        spread=round(spread, 3),
        windows=tuple(zip(rates.round(2).tolist(), means_ms.round(2).tolist(), strict=True)),
    )


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


def highest_rate(
    at: Callable[[Level], Measured],
    bound_ms: float,
    between: tuple[float, float],
    precision: float = 0.05,
) -> Bracket:
    """The highest rate at which the 99th percentile keeps under a bound, by bisection.

    The two ends are tried first, then their bracket is halved until its ends differ by less than
    ``precision`` of the lower one. A rate holds when it is answered, not delayed, and under the bound. One
    that fails is tried a second time before it counts: one pause of a busy machine is enough to fail it.

    Args:
        at: measures one rate.
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

    def holds(rate: float) -> bool:
        for _ in range(2):
            tried.append(one := at(Level("rate", round(rate, 2))))
            if not one.problem and one.p99_ms <= bound_ms and one.throughput >= KEPT * one.level.value:
                return True
        return False

    if not holds(low):
        return Bracket(bound_ms, 0.0, low, tuple(tried))
    if holds(high):
        return Bracket(bound_ms, high, None, tuple(tried))
    while high - low > precision * low:
        middle = round((low + high) / 2, 2)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return Bracket(bound_ms, low, high, tuple(tried))
