"""How long each stage took: cumulative histograms that give metrics and recent percentiles alike."""

import math
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import sub

#: Upper bounds in seconds, 0.05 ms to 60 s; neighbours differ by 19 %, which bounds a percentile's error.
BOUNDS_S: tuple[float, ...] = tuple(5e-5 * 2 ** (i / 4) for i in range(82))


@dataclass(slots=True)
class Histogram:
    """Counts of durations, one per :data:`BOUNDS_S`, one above. One thread observes; others may copy it."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total_s: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration; negative ones (a clock stepped) count as zero."""
        seconds = max(seconds, 0.0)
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds

    def copy(self) -> "Histogram":
        """The counts so far."""
        return Histogram(self.counts.copy(), self.total_s)

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self.counts)

    def since(self, earlier: "Histogram") -> "Histogram":
        """Only what was observed after ``earlier``."""
        return Histogram(list(map(sub, self.counts, earlier.counts)), self.total_s - earlier.total_s)

    def quantile_s(self, share: float) -> float | None:
        """The value in seconds that ``share`` (0..1) of the observations do not exceed; None without any."""
        sums = list(accumulate(self.counts))
        wanted = max(math.ceil(share * sums[-1]), 1)
        index = bisect_left(sums, wanted)
        if index == len(sums):
            return None
        upper = BOUNDS_S[min(index, len(BOUNDS_S) - 1)]
        lower = BOUNDS_S[index - 1] if index else 0.0
        count = self.counts[index]
        return lower + (upper - lower) * (wanted - sums[index] + count) / count


class StageTimes:
    """A histogram for each stage, observed by its thread; the main thread asks for the last seconds'."""

    def __init__(self, stages: Sequence[str], *, recent: int = 10) -> None:
        self._histograms = {stage: Histogram() for stage in stages}
        self._past: deque[Mapping[str, Histogram]] = deque([self.snapshots()], maxlen=recent + 1)

    def observe(self, stage: str, seconds: float) -> None:
        """Count one duration of ``stage``."""
        self._histograms[stage].observe(seconds)

    def snapshots(self) -> dict[str, Histogram]:
        """Everything since the start, by stage."""
        return {stage: histogram.copy() for stage, histogram in self._histograms.items()}

    def recent_ms(self) -> dict[str, dict[str, float]]:
        """Mean, p50 and p99 in milliseconds over the last ``recent`` calls, of the stages with values."""
        now, then = self.snapshots(), self._past[0]
        self._past.append(now)
        summaries = {}
        for stage, snapshot in now.items():
            if snapshot.counts == then[stage].counts:  # as of most stages while there is no detector
                continue
            recent = snapshot.since(then[stage])
            p50, p99 = recent.quantile_s(0.5), recent.quantile_s(0.99)
            if p50 is not None and p99 is not None:
                values_s = {"mean": recent.total_s / recent.count, "p50": p50, "p99": p99}
                summaries[stage] = {name: round(value * 1e3, 3) for name, value in values_s.items()}
        return summaries


class RateMeter:
    """What grows, by the second, over the last ``span_s`` seconds of the monotonic clock. One thread."""

    def __init__(self, span_s: float = 5.0) -> None:
        self._span_s = span_s
        self._marks: deque[tuple[float, float]] = deque([(time.monotonic(), 0)])

    def rate(self, total: float) -> float:
        """The rate, given the cumulative ``total``; call it about once a second."""
        now = time.monotonic()
        self._marks.append((now, total))
        while len(self._marks) > 2 and now - self._marks[1][0] >= self._span_s:
            self._marks.popleft()
        then, before = self._marks[0]
        return (total - before) / (now - then) if now > then else 0.0
