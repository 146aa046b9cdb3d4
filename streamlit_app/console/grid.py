"""Which buckets were watched: the difference between a zero and a gap. Pure; no Streamlit here."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby, pairwise

from sightline.store.read.queries import Span, Watched

#: The writer commits once a second; an open bucket that lacks no more than this is fully watched.
WRITE_LAG_S = 5.0
FULL = 0.995


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
        expected_s = max(0.0, min(end, now) - start) * len(sources)
        lag_s = WRITE_LAG_S * len(sources) if end > now - WRITE_LAG_S else 0.0
        cover = _cover(seconds[start], expected_s, lag_s)
        watched_s = min(seconds[start], expected_s)
        buckets.append(Bucket(start, max(start, min(end, now)), watched_s, expected_s, cover))
    return buckets


def _cover(watched_s: float, expected_s: float, lag_s: float) -> Cover:
    if expected_s <= 0:
        return Cover.FUTURE
    if watched_s <= 0:
        return Cover.NOT if expected_s > lag_s else Cover.FUTURE
    return Cover.WATCHED if watched_s + lag_s >= FULL * expected_s else Cover.PARTLY


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


def stack(
    rows: Iterable[tuple[str, float, int]],
) -> tuple[list[tuple[str, int]], dict[float, Counter[str]]]:
    """Counts, each with its series and its bucket, as a stacked chart needs them.

    Returns:
        (series, total), the largest first, since the first ones get a colour of their own; and
        bucket -> series -> count.
    """
    totals: Counter[str] = Counter()
    series: dict[float, Counter[str]] = {}
    for name, bucket, count in rows:
        totals[name] += count
        series.setdefault(bucket, Counter())[name] += count
    return sorted(totals.items(), key=lambda item: (-item[1], item[0])), series
