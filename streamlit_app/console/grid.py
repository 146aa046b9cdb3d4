"""Ranges, their buckets, and which of these were watched: a gap is not a zero. Pure; no Streamlit here."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from datetime import time as clock_time
from enum import StrEnum
from itertools import groupby, pairwise
from zoneinfo import ZoneInfo

from sightline.store.read.coverage import Covered, KnownTime
from sightline.store.read.queries import Watched
from sightline.store.read.spans import WEEK_S, Span
from sightline.store.rollups import DAY_S, HOUR_S

FULL = 0.995
LEAST_GAP_S = 0.5  # less is how sums round, and would be told as 0 s
RANGES_S = {
    **{"15 min": 900, "1 h": HOUR_S, "6 h": 6 * HOUR_S, "24 h": DAY_S},
    **{"7 days": WEEK_S, "30 days": 30 * DAY_S, "90 days": 90 * DAY_S},
}
CUSTOM = "Custom"
STEPS_S = (60, 300, 900, HOUR_S, DAY_S, WEEK_S)
_STEP = re.compile(r"(\d{1,6})?\s*(s|min|h|hours?|d|days?|w|weeks?)")
_UNITS_S = {"s": 1, "m": 60, "h": HOUR_S, "d": DAY_S, "w": WEEK_S}
MAX_BUCKETS = 1500
READABLE_BUCKETS = 120
MAX_RANGE_S = 400 * DAY_S


class Cover(StrEnum):
    """How a bucket was watched."""

    WATCHED = "watched"
    PARTLY = "partly watched"
    NOT = "not watched"
    FUTURE = "not yet"
    BEFORE = "no camera yet"


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket of a span, for one camera or for several together."""

    start: float
    end: float  # not after now
    watched_s: float
    expected_s: float  # of all cameras together, since each began, as far as it can be judged
    cover: Cover

    @property
    def coverage(self) -> float:
        """0..1 of the time that has passed."""
        return self.watched_s / self.expected_s if self.expected_s else 0.0


def cover_buckets(
    span: Span, watched: Iterable[Watched], sources: Sequence[str], known: Mapping[str, KnownTime], now: float
) -> list[Bucket]:
    """Every bucket of the span with how much ``sources`` together watched of it.

    No row means not watched. What lies after ``now`` is neither, nor is the time before a camera's first
    window; one that has none, and is not among the ``known``, is not waited for.
    """
    return _together(span, _covered(span, watched, sources, known, now), now)


def cover_each(
    span: Span, watched: Iterable[Watched], sources: Sequence[str], known: Mapping[str, KnownTime], now: float
) -> tuple[dict[str, list[Bucket]], list[Bucket]]:
    """The same of each camera, and of all of them together."""
    covered = _covered(span, watched, sources, known, now)
    each = {name: _together(span, {name: own}, now) for name, own in covered.items()}
    return each, _together(span, covered, now)


def _covered(
    span: Span, watched: Iterable[Watched], sources: Sequence[str], known: Mapping[str, KnownTime], now: float
) -> dict[str, list[Covered]]:
    """What each camera covered of each bucket."""
    stored = {(row.source, row.bucket): row.watched_s for row in watched}
    edges = list(pairwise(span.edges))
    return {
        name: [Covered.of(edge, stored.get((name, edge[0]), 0.0), known.get(name), now) for edge in edges]
        for name in sources
    }


def _together(span: Span, covered: Mapping[str, Sequence[Covered]], now: float) -> list[Bucket]:
    edges = pairwise(span.edges)
    return [_judged(edge, [ones[at] for ones in covered.values()], now) for at, edge in enumerate(edges)]


def _judged(between: tuple[float, float], covered: Sequence[Covered], now: float) -> Bucket:
    start, end = between[0], max(between[0], min(between[1], now))
    watched_s, expected_s = sum(one.watched_s for one in covered), sum(one.expected_s for one in covered)
    if expected_s > 0:
        full = watched_s >= FULL * expected_s
        cover = Cover.NOT if watched_s <= 0 else Cover.WATCHED if full else Cover.PARTLY
    else:
        begun = start < now and not any(one.passed_s for one in covered)
        cover = Cover.BEFORE if begun else Cover.FUTURE
    return Bucket(start, end, watched_s, expected_s, cover)


def runs(buckets: Iterable[Bucket]) -> list[tuple[float, float, Cover]]:
    """Neighbours with the same cover joined: start, end, cover."""
    joined = []
    for cover, group in groupby(buckets, key=lambda bucket: bucket.cover):
        members = list(group)
        joined.append((members[0].start, members[-1].end, cover))
    return joined


def uncovered_s(buckets: Iterable[Bucket]) -> float:
    """Camera seconds that were not watched, of those that can be judged."""
    missing_s = sum(bucket.expected_s - bucket.watched_s for bucket in buckets)
    return missing_s if missing_s >= LEAST_GAP_S else 0.0


def uncovered_share(buckets: Sequence[Bucket]) -> float | None:
    """0..1 of the cameras' time; None: of none of it can anything be said, as where no camera was there."""
    expected_s = sum(bucket.expected_s for bucket in buckets)
    return uncovered_s(buckets) / expected_s if expected_s else None


def total(counts: Iterable[int | None]) -> int | None:
    """The sum; None if any is not known."""
    counts = list(counts)
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def by_size(totals: Mapping[str, int | None]) -> dict[str, int | None]:
    """Totals by name, the most first, since the first ones get a colour of their own."""
    return dict(sorted(totals.items(), key=lambda item: (-(item[1] or 0), item[0])))


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
    """The finest step that still reads well; of a day and more whole hours, which are there already."""
    least = HOUR_S if length_s >= DAY_S else 0
    return next((step for step in steps if step >= least and length_s / step <= READABLE_BUCKETS), steps[-1])


def typed_step(text: str, length_s: float, window_s: int) -> int | str:
    """A resolution that somebody wrote, as 10 min, in seconds; or a sentence that says why it cannot be."""
    match = _STEP.fullmatch(text.strip().casefold())
    step_s = int(match[1] or 1) * _UNITS_S[match[2][0]] if match else 0
    if not step_s:
        return "Write a resolution as 10 min, 2 h or 3 days."
    if step_s % window_s:
        return f"Counts are stored for every {window_s} s: choose a multiple of that."
    if length_s / step_s > MAX_BUCKETS:
        return f"These would be more than {MAX_BUCKETS} bars: choose a coarser resolution or a shorter range."
    return step_s
