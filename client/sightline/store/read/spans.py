"""Intervals of time, cut into buckets that begin on round times of a zone."""

from bisect import bisect_right
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from math import ceil

from sightline.store import rollups
from sightline.store.rollups import DAY_S, HOUR_S

WEEK_S = 7 * DAY_S
#: Longer spans have buckets of whole hours of UTC, since windows may be gone, and hours are what is left.
WHOLE_HOURS_S = 2 * DAY_S
_MONDAY = 3  # days from the Monday before it to 1970-01-01


@dataclass(frozen=True)
class Span:
    """An interval of time, cut into buckets that begin on round times in ``zone``.

    Where the zone is no whole hours from UTC, buckets of an hour and more of a long span begin at the next
    whole hour of UTC: at half past in Kolkata.
    """

    start: float  # epoch seconds; both lie on bucket edges
    end: float
    step_s: int  # length of a bucket; DAY_S and WEEK_S mean days (23 to 25 hours) and weeks of the calendar
    zone: tzinfo  # where the days and the round hours are
    edges: tuple[float, ...]  # beginning of every bucket, and the end of the last

    @staticmethod
    def over(start: float, end: float, step_s: int, zone: tzinfo = UTC) -> "Span":
        """The buckets that touch [start, end)."""
        if end <= start:
            raise ValueError("a span must end after it starts")
        edges: list[float] = []
        whole = step_s >= HOUR_S and max(end - start, step_s) > WHOLE_HOURS_S
        offset = _offset_s(start, zone, whole=whole)
        if step_s in {DAY_S, WEEK_S}:
            number = int(start + offset) // DAY_S
            number -= (number + _MONDAY) % (step_s // DAY_S)
            while not edges or edges[-1] < end:
                edges.append(_midnight(number, zone, whole=whole))
                number += step_s // DAY_S
        else:
            shift = offset % step_s
            first, last = (int(start) + shift) // step_s, -((-ceil(end) - shift) // step_s)
            edges += (float(number * step_s - shift) for number in range(first, max(last, first + 1) + 1))
        return Span(edges[0], edges[-1], step_s, zone, tuple(edges))

    def week_before(self) -> "Span":
        """The same buckets seven days of the calendar earlier, for a comparison one by one."""

        def earlier(time: float) -> float:
            moment = datetime.fromtimestamp(time, self.zone)
            return (moment.replace(tzinfo=None) - timedelta(days=7)).replace(tzinfo=self.zone).timestamp()

        return Span.over(earlier(self.start), earlier(self.end), self.step_s, self.zone)

    def before(self, time: float) -> "Span | None":
        """Those of the buckets that are over at a time; None: not even the first."""
        edges = tuple(edge for edge in self.edges if edge <= time)
        return replace(self, end=edges[-1], edges=edges) if len(edges) > 1 else None

    def whole(self) -> "Span":
        """The same time as a single bucket, for totals."""
        return replace(self, step_s=round(self.end - self.start), edges=(self.start, self.end))

    @cached_property
    def period_s(self) -> int:
        """The longest period of which every bucket is made: a day, an hour, or 0 for none."""
        periods = sorted(rollups.PERIODS_S, reverse=True)
        return next((length for length in periods if not any(edge % length for edge in self.edges)), 0)

    @property
    def has_days(self) -> bool:
        """Most hours of a day of UTC lie in one bucket."""
        return self.step_s >= DAY_S and self.period_s > 0

    def number_at(self, time: float) -> int:
        """The number, from 0 on, of the bucket that a time lies in."""
        return bisect_right(self.edges, time) - 1


def _midnight(number: int, zone: tzinfo, *, whole: bool) -> float:
    """When a day, numbered from 1970 on, begins; or the first whole hour of UTC in it."""
    time = (datetime(1970, 1, 1) + timedelta(days=number)).replace(tzinfo=zone).timestamp()  # noqa: DTZ001
    return -(-time // HOUR_S) * HOUR_S if whole else time


def _offset_s(time: float, zone: tzinfo, *, whole: bool) -> int:
    """By how much local times in ``zone`` are ahead of UTC; or the whole hours of that."""
    offset = datetime.fromtimestamp(time, zone).utcoffset()
    seconds = round(offset.total_seconds()) if offset else 0
    return seconds // HOUR_S * HOUR_S if whole else seconds
