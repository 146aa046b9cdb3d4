"""Which time was really watched: the span between two frames, unless it is a gap."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import median
from typing import Any

MIN_GAP_S = 1.0  # frames closer than this are never a gap
_GAP_INTERVALS = 3.0  # nor are frames closer than three usual intervals
_INTERVALS = 9  # intervals remembered to know the usual one


class WatchedTime:
    """Turns the times of one source's processed frames into watched spans, UTC epoch seconds.

    Each call gives the span that became watched by it, (low, high); nothing became watched when
    low >= high. No instant is given twice. Not thread-safe.
    """

    def __init__(self) -> None:
        self.last_time: float | None = None  # newest frame
        self._until = -math.inf  # watched up to here
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)

    @property
    def usual_s(self) -> float:
        """The usual time between two processed frames, seconds; 0 when nothing is known yet."""
        if len(self._intervals) < 3:
            return min(self._intervals, default=0.0)
        return median(self._intervals)

    def is_gap(self, interval_s: float) -> bool:
        """Whether so long a time without a frame counts as not watched."""
        return interval_s > max(MIN_GAP_S, _GAP_INTERVALS * self.usual_s)

    def frame(self, time: float) -> tuple[float, float]:
        """A frame came: what lies between it and the one before was watched, unless that is a gap."""
        if self.last_time is None:
            self.last_time = self._until = time
            return time, time
        interval_s = time - self.last_time
        if interval_s <= 0:
            return time, time
        end = self.last_time + self.usual_s if self.is_gap(interval_s) else time
        span = self._advance(end)
        self._intervals.append(interval_s)
        self.last_time = self._until = time
        return span

    def silence(self, end: float) -> tuple[float, float]:
        """Nothing follows the last frame: it stands for one usual interval, up to ``end`` at most."""
        if self.last_time is None:
            return end, end
        return self._advance(min(self.last_time + self.usual_s, end))

    def _advance(self, until: float) -> tuple[float, float]:
        low, self._until = self._until, max(self._until, until)
        return low, self._until

    def snapshot(self) -> dict[str, Any]:
        """JSON-able state."""
        until = self._until if math.isfinite(self._until) else None
        return {"last_time": self.last_time, "until": until, "intervals": list(self._intervals)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`snapshot` gave."""
        self.last_time = state["last_time"]
        self._until = -math.inf if state["until"] is None else state["until"]
        self._intervals.extend(state["intervals"])
