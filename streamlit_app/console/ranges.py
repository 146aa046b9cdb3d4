"""Ranges and resolutions that may be chosen, and the span that each means now. Pure; no Streamlit here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from datetime import time as clock_time
from zoneinfo import ZoneInfo

from sightline.store.read.queries import DAY_S, Span

RANGES_S = {"15 min": 900, "1 h": 3600, "6 h": 6 * 3600, "24 h": DAY_S}
CUSTOM = "Custom"
STEPS_S = (300, 900, 3600, DAY_S)
MAX_BUCKETS = 1500
READABLE_BUCKETS = 120
MAX_RANGE_S = 400 * DAY_S


@dataclass(frozen=True, slots=True)
class Range:
    """The chosen period: the last so many seconds, or from one time to another."""

    last_s: int | None
    start: float = 0.0
    end: float = 0.0

    def moments(self, now: float) -> tuple[float, float]:
        """Start and end as of ``now``."""
        return (now - self.last_s, now) if self.last_s else (self.start, self.end)

    @property
    def length_s(self) -> float:
        """Seconds from start to end."""
        return float(self.last_s) if self.last_s else self.end - self.start


def custom_range(
    first: date, first_time: clock_time, last: date, last_time: clock_time, zone: ZoneInfo
) -> Range | str:
    """From one local time to another, or a sentence that says why that cannot be shown."""
    start = datetime.combine(first, first_time, zone).timestamp()
    end = datetime.combine(last, last_time, zone).timestamp()
    if end <= start:
        return "The range must end after it starts."
    if end - start > MAX_RANGE_S:
        return f"The range may be {MAX_RANGE_S // DAY_S} days long at most."
    return Range(None, start, end)


def steps_for(length_s: float, window_s: int) -> list[int]:
    """Bucket lengths not finer than the stored windows and not giving too many buckets; at least one."""
    steps = [window_s, *(step for step in STEPS_S if step > window_s and step % window_s == 0)]
    usable = [
        step for step in steps if length_s / step <= MAX_BUCKETS and (step <= length_s or step == window_s)
    ]
    return usable or [steps[-1]]


def default_step(length_s: float, steps: list[int]) -> int:
    """The finest step that still reads well."""
    return next((step for step in steps if length_s / step <= READABLE_BUCKETS), steps[-1])


def span_of(chosen: Range, step_s: int, zone: ZoneInfo, now: float) -> Span:
    """The chosen range in buckets."""
    start, end = chosen.moments(now)
    return Span.over(start, end, step_s, zone)
