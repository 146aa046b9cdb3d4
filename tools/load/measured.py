"""From the times of single requests to rates and percentiles.

perf_analyzer's own rate counts whole seconds: 60 requests at 20 a second come out as 15. So the rate is taken
from the times of the requests, which it keeps on demand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

#: This share of the requests, at the beginning, is the warm-up; the rest is cut into windows of equal length.
WARM_UP = 0.2
WINDOWS = 5
PERCENTILES = (50, 90, 95, 99)
MAX_LEVELS = 200  # of a sweep


@dataclass(frozen=True)
class Level:
    """What is asked of the server: so many requests in flight, or so many a second."""

    kind: str  # "concurrency" or "rate"
    value: float

    def __str__(self) -> str:
        return f"{self.value:g} in flight" if self.kind == "concurrency" else f"{self.value:g} a second"


def parse_levels(text: str, kind: str) -> list[Level]:
    """The levels of a sweep, ascending.

    Args:
        text: ``from:to[:step]``, or values with commas.
        kind: "concurrency", whole numbers, or "rate".

    Raises:
        ValueError: it is neither, or too many.
    """
    parts = text.split(":")
    try:
        numbers = [float(part) for part in (parts if len(parts) > 1 else text.split(","))]
    except ValueError as error:
        raise ValueError(f"{text!r} is neither from:to[:step] nor values with commas") from error
    values = _range(text, numbers) if len(parts) > 1 else sorted(set(numbers))
    if not values or values[0] <= 0 or len(values) > MAX_LEVELS:
        raise ValueError(f"{text!r}: levels are above 0, and at most {MAX_LEVELS}")
    if kind == "concurrency" and any(value % 1 for value in values):
        raise ValueError(f"{text!r}: requests in flight are whole numbers")
    return [Level(kind, value) for value in values]


def _range(text: str, numbers: list[float]) -> list[float]:
    first, last, step = (*numbers, 1.0)[:3]
    if len(numbers) > 3 or step <= 0 or last < first or (last - first) / step > MAX_LEVELS:
        raise ValueError(f"{text!r} is no from:to[:step] of at most {MAX_LEVELS} levels")
    return [first + index * step for index in range(int((last - first) / step + 1e-9) + 1)]


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

    def as_json(self) -> dict[str, Any]:
        """For the report's JSON."""
        found = asdict(self)
        found["spread"] = self.spread if math.isfinite(self.spread) else None  # JSON has no infinity
        found["windows"] = [[rate, mean if math.isfinite(mean) else None] for rate, mean in self.windows]
        return found


def measure(
    requests: Sequence[tuple[int, int]], level: Level, transport: str, allowed_spread: float
) -> Measured:
    """Rate and percentiles of one level.

    Counted is what was answered between the end of the warm-up and the moment the last request was sent: from
    then on the load is no longer the one that was asked for.

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
    latency_ms = (counted[:, 1] - counted[:, 0]) / 1e6
    windows = _windows(counted[:, 1], latency_ms, begin, end)
    spread = max(_spread([rate for rate, _ in windows]), _spread([mean for _, mean in windows]))
    seconds = (end - begin) / 1e9
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
        windows=tuple((round(rate, 2), round(mean, 2)) for rate, mean in windows),
    )


def _windows(ends: np.ndarray, latency_ms: np.ndarray, begin: int, end: int) -> list[tuple[float, float]]:
    """Rate and mean latency of each window; an empty one has rate 0 and an infinite latency."""
    edges = np.linspace(begin, end, WINDOWS + 1)
    found = []
    for first, last in pairwise(edges.tolist()):
        inside = latency_ms[(ends > first) & (ends <= last)]
        mean = float(inside.mean()) if len(inside) else float("inf")
        found.append((len(inside) / ((last - first) / 1e9), mean))
    return found


def _spread(values: Sequence[float]) -> float:
    least = min(values)
    return max(values) / least if least > 0 else float("inf")
