"""Ranges, their buckets, and which of these were watched: a gap is not a zero. Pure; no Streamlit here."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from datetime import time as clock_time
from enum import StrEnum
from itertools import groupby, pairwise
from zoneinfo import ZoneInfo

from sightline.store.read.queries import CountSum, Watched, distinct
from sightline.store.read.spans import Span
from sightline.store.rollups import DAY_S

#: The writer commits once a second; an open bucket that lacks no more than this is fully watched.
WRITE_LAG_S = 5.0
FULL = 0.995
RANGES_S = {"15 min": 900, "1 h": 3600, "6 h": 6 * 3600, "24 h": DAY_S}
CUSTOM = "Custom"
STEPS_S = (300, 900, 3600, DAY_S)
MAX_BUCKETS = 1500
READABLE_BUCKETS = 120
MAX_RANGE_S = 400 * DAY_S


class Cover(StrEnum):
    """How a bucket was watched."""

    WATCHED = "watched"
    PARTLY = "partly watched"
    NOT = "not watched"
    FUTURE = "not yet"


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket of a span, for one camera or for several together."""

    start: float
    end: float  # not after now
    watched_s: float
    expected_s: float  # of all cameras together
    cover: Cover

    @property
    def coverage(self) -> float:
        """0..1 of the time that has passed."""
        return min(1.0, self.watched_s / self.expected_s) if self.expected_s else 0.0


def cover_buckets(span: Span, watched: Iterable[Watched], sources: Sequence[str], now: float) -> list[Bucket]:
    """Every bucket of the span with how much ``sources`` together watched of it.

    No row means not watched. What lies after ``now`` is neither.
    """
    seconds: defaultdict[float, float] = defaultdict(float)
    for row in watched:
        if row.source in sources:
            seconds[row.bucket] += row.watched_s
    buckets = []
    for start, end in pairwise(span.edges):
        watched_s, until = seconds[start], max(start, min(end, now))
        expected_s = (until - start) * len(sources)
        lag_s = WRITE_LAG_S * len(sources) if end > now - WRITE_LAG_S else 0.0
        if expected_s <= 0 or (watched_s <= 0 and expected_s <= lag_s):
            cover = Cover.FUTURE
        elif watched_s <= 0:
            cover = Cover.NOT
        else:
            cover = Cover.WATCHED if watched_s + lag_s >= FULL * expected_s else Cover.PARTLY
        buckets.append(Bucket(start, until, min(watched_s, expected_s), expected_s, cover))
    return buckets


def runs(buckets: Iterable[Bucket]) -> list[tuple[float, float, Cover]]:
    """Neighbours with the same cover joined: start, end, cover."""
    joined = []
    for cover, group in groupby(buckets, key=lambda bucket: bucket.cover):
        members = list(group)
        joined.append((members[0].start, members[-1].end, cover))
    return joined


def uncovered_s(buckets: Iterable[Bucket]) -> float:
    """Camera seconds that were not watched."""
    return sum(bucket.expected_s - bucket.watched_s for bucket in buckets if bucket.cover is not Cover.FUTURE)


#: (series, total: None where it is not known), and bucket -> series -> count.
Stack = tuple[list[tuple[str, int | None]], dict[float, Counter[str]]]


def stack(rows: Iterable[tuple[str, float, int]]) -> Stack:
    """Numbers that may be added up, each with its series and its bucket, as a stacked chart needs them.

    The series with the largest total comes first, since the first ones get a colour of their own.
    """
    totals: Counter[str] = Counter()
    series: dict[float, Counter[str]] = {}
    for name, bucket, count in rows:
        totals[name] += count
        series.setdefault(bucket, Counter())[name] += count
    return _by_size(totals), series


def stack_counts(
    counts: Sequence[CountSum], series_of: Callable[[str, str], str], classes: Sequence[str] = ()
) -> Stack:
    """Distinct objects in each bucket, and of all of them together: one in two buckets is one in the total.

    ``series_of`` takes camera and class; no ``classes`` are all of them. A bucket whose count is not known
    has no entry.
    """
    rows = (
        (series_of(row.source, row.item_class), row.bucket, row.count)
        for row in counts
        if row.count and (not classes or row.item_class in classes)
    )
    totals: dict[str, int | None] = {}
    for (source, item_class), count in distinct(counts).items():
        if not classes or item_class in classes:
            name = series_of(source, item_class)
            totals[name] = total([totals.get(name, 0), count])
    return _by_size(totals), stack(rows)[1]


def total(counts: Iterable[int | None]) -> int | None:
    """The sum; None if any is not known."""
    counts = list(counts)
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _by_size(totals: Mapping[str, int | None]) -> list[tuple[str, int | None]]:
    return sorted(totals.items(), key=lambda item: (-(item[1] or 0), item[0]))


def custom_range(
    first: date, first_time: clock_time, last: date, last_time: clock_time, zone: ZoneInfo
) -> tuple[float, float] | str:
    """Start and end, epoch seconds, or a sentence that says why the range cannot be shown."""
    start = datetime.combine(first, first_time, zone).timestamp()
    end = datetime.combine(last, last_time, zone).timestamp()
    if end <= start:
        return "The range must end after it starts."
    if end - start > MAX_RANGE_S:
        return f"The range may be {MAX_RANGE_S // DAY_S} days long at most."
    return start, end


def steps_for(length_s: float, window_s: int) -> list[int]:
    """Bucket lengths not finer than the stored windows and not giving too many buckets; at least one."""
    steps = [window_s, *(step for step in STEPS_S if step > window_s and step % window_s == 0)]
    usable = [s for s in steps if length_s / s <= MAX_BUCKETS and (s <= length_s or s == window_s)]
    return usable or [steps[-1]]


def default_step(length_s: float, steps: list[int]) -> int:
    """The finest step that still reads well."""
    return next((step for step in steps if length_s / step <= READABLE_BUCKETS), steps[-1])
