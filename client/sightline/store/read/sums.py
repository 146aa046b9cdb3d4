"""Sums over the buckets of a span, each part of it read where that is the least work.

Whole days are read from their roll-ups, then whole hours, then rows: windows or events. What is summed is
additive, so a day that a bucket's edge cuts (midnight of another zone) is given to the bucket that holds its
noon, and the few hours on the other side of the edge are taken from the one bucket and given to the other.
Hours of which windows were written since they were summed are read from their windows, and so is all that
comes after the first of them.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Select, func, select

from sightline.store import rollups, tables
from sightline.store.read.spans import Span
from sightline.store.rollups import DAY_S, HOUR_S

_COUNTS, _COUNT_ROLLUPS, _SOURCE_ROLLUPS, _EVENT_ROLLUPS, _STALE, _EXPIRIES = (
    tables.table_of(model)
    for model in (
        tables.CountWindowRow,
        tables.CountRollupRow,
        tables.SourceRollupRow,
        tables.EventRollupRow,
        tables.StaleRollupRow,
        tables.ExpiryRow,
    )
)


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where one kind of figure stands.

    Attributes:
        rows: of windows or events: source, start, names and figures.
        rolled: hours and days of them.
        names: columns that tell sums apart, besides the camera and the bucket.
        figures: columns that are added up.
        greatest: columns of which the greatest value counts.
        goes_stale: its hours and days are summed some time after its rows were written.
    """

    rows: Callable[[Connection], Select[Any]]
    rolled: sa.Table
    names: tuple[str, ...]
    figures: tuple[str, ...]
    greatest: tuple[str, ...] = ()
    goes_stale: bool = True


COUNTS = Ledger(rollups.raw_counts, _COUNT_ROLLUPS, ("item_class",), ("arrivals", "blind_s"))
SECONDS = Ledger(
    rollups.raw_sources, _SOURCE_ROLLUPS, (), ("watched_s", "dropped_frames"), ("longest_window_s",)
)
EVENTS = Ledger(rollups.raw_events, _EVENT_ROLLUPS, rollups.EVENT_NAMES, ("count",), goes_stale=False)


@dataclass(frozen=True, slots=True)
class Parts:
    """Which part of a span is read from what, epoch seconds."""

    days: tuple[float, float]  # empty where they are equal
    hours: tuple[float, float]  # but for those days
    rows: tuple[float, float]

    @staticmethod
    def of(connection: Connection, span: Span, sources: Sequence[str], ledger: Ledger) -> "Parts":
        """For these cameras, as the database is now."""
        start, end = span.start, span.end
        if not span.period_s:
            return Parts((start, start), (start, start), (start, end))
        until = dict.fromkeys(rollups.PERIODS_S, end)
        if ledger.goes_stale:
            stale = _STALE.c
            # Late rows of hours whose windows are gone change nothing: their notes are to be taken away.
            gone = select(_EXPIRIES.c.until).where(_EXPIRIES.c.kind == rollups.WINDOWS).scalar_subquery()
            kept = sa.or_(stale.period_s == DAY_S, gone.is_(None), stale.period_start >= gone)
            query = select(stale.period_s, func.min(stale.period_start)).group_by(stale.period_s)
            for length_s, first in connection.execute(query.where(stale.source.in_(sources), kept)):
                until[length_s] = min(end, max(start, first.timestamp()))
        hour = until[HOUR_S]
        first_day, last_day = -(-start // DAY_S) * DAY_S, min(until[DAY_S], hour) // DAY_S * DAY_S
        days = (first_day, last_day) if span.has_days and first_day < last_day else (start, start)
        return Parts(days, (start, hour), (hour, end))

    def without_days(self) -> "Parts":
        """The same days from their hours."""
        return replace(self, days=(self.hours[0],) * 2)


def sums_of(
    connection: Connection,
    span: Span,
    sources: Sequence[str],
    ledger: Ledger,
    by: Sequence[str],
    *,
    parts: Parts | None = None,
    only: Mapping[str, Collection[str]] | None = None,
) -> list[tuple[Any, ...]]:
    """By bucket (its number) and the names ``by``: sums of the figures and greatest values, in order.

    After them, of each figure, how many of its values are not known. ``only``: of a name, the values that
    count.
    """
    parts = parts or Parts.of(connection, span, sources, ledger)
    arms = []
    for arm in (_of_rollups(span, ledger, parts), _of_rows(connection, span, ledger, parts)):
        column = arm.selected_columns
        arms.append(
            arm.where(
                column.source.in_(sources), *(column[name].in_(some) for name, some in (only or {}).items())
            )
        )
    part = sa.union_all(*arms).subquery().c
    keys = [part.bucket, *(part[name] for name in by)]
    figures: list[ColumnElement[Any]] = [func.sum(part[name]) for name in ledger.figures]
    figures += [func.max(part[name]) for name in ledger.greatest]
    figures += [func.sum(sa.case((part[name].is_(None), 1), else_=0)) for name in ledger.figures]
    query = select(*keys, *figures).group_by(*keys).order_by(*keys)
    return [tuple(row) for row in connection.execute(query)]


def _of_rollups(span: Span, ledger: Ledger, parts: Parts) -> Select[Any]:
    """Bucket, source, names, figures and greatest values of hours and days, still to be added up."""
    plan = [(HOUR_S, span.start - HOUR_S, 0, 0)]  # none such: there has to be a row
    (first, last), (begin, end) = parts.days, parts.hours
    for day in range(int(first), int(last), DAY_S):
        bucket = span.number_at(day + DAY_S // 2)
        plan.append((DAY_S, day, bucket, 1))
        for hour in range(day, day + DAY_S, HOUR_S) if any(edge % DAY_S for edge in span.edges) else ():
            if (own := span.number_at(hour)) != bucket:
                plan += (HOUR_S, hour, own, 1), (HOUR_S, hour, bucket, -1)
    hours = (*range(int(begin), int(first), HOUR_S), *range(int(last), int(end), HOUR_S))
    plan += ((HOUR_S, hour, span.number_at(hour), 1) for hour in hours)
    number, time = partial(sa.column, type_=sa.Integer), sa.column("start", tables.UtcDateTime)
    columns = number("period_s"), time, number("bucket"), number("sign")
    whole = sa.literal_column  # of parameters there may not be too many
    values = [
        (whole(f"{length_s}"), *moments(start), whole(f"{bucket}"), whole(f"{sign}"))
        for length_s, start, bucket, sign in plan
    ]
    step, rolled = sa.values(*columns).data(values).cte("plan").c, ledger.rolled.c
    figures = [(rolled[name] * step.sign).label(name) for name in ledger.figures]
    figures += [sa.case((step.sign > 0, rolled[name])).label(name) for name in ledger.greatest]
    names = (rolled[name] for name in ("source", *ledger.names))
    here = rolled.period_s == step.period_s, rolled.period_start == step.start
    return select(step.bucket, *names, *figures).where(*here)


def _of_rows(connection: Connection, span: Span, ledger: Ledger, parts: Parts) -> Select[Any]:
    """The same of windows or events."""
    rows, bucket = ledger.rows(connection), _buckets(span, parts.rows).c
    column = rows.selected_columns
    time = column.start.element
    names = (
        column[name].label(name) for name in ("source", *ledger.names, *ledger.figures, *ledger.greatest)
    )
    return rows.with_only_columns(bucket.number.label("bucket"), *names).where(
        time >= bucket.low, time < bucket.high
    )


def _buckets(span: Span, part: tuple[float, float]) -> sa.CTE:
    """What of each bucket lies in a part of the span: number, low, high."""
    start, end = part
    found = [
        (sa.literal_column(f"{number}"), *moments(max(low, start), min(high, end)))
        for number, (low, high) in enumerate(pairwise(span.edges))
        if low < end and start < high
    ]
    time = partial(sa.column, type_=tables.UtcDateTime)
    columns = sa.column("number", sa.Integer), time("low"), time("high")
    return sa.values(*columns).data(found or [(0, *moments(start, start))]).cte("buckets")


def first_counts(
    connection: Connection,
    span: Span,
    sources: Sequence[str],
    parts: Parts,
    by: Sequence[str],
    classes: Collection[str] = (),
) -> list[tuple[Any, ...]]:
    """What the first window or hour of each bucket counted, by bucket (its number) and the names ``by``.

    It is the first one in which the camera counted anything, of whatever class; of it ``classes`` are summed
    (empty: all). Then come: sums of counts and of arrivals, how many arrivals are not known, and how many
    counts, as where windows overlap.
    """
    buckets = _buckets(span, (span.start, span.end))
    cameras = sa.values(sa.column("source", sa.String)).data([(name,) for name in sources]).cte("of_cameras")
    raw, rolled, [turn] = _COUNTS.c, _COUNT_ROLLUPS.c, moments(parts.rows[0])
    bucket, camera = buckets.c, cameras.c

    def first_of(time: Any, *where: Any) -> ColumnElement[Any]:
        row = time.table.c
        here = (row.source == camera.source, time >= bucket.low, time < bucket.high, *where)
        query = select(time).where(*here, func.coalesce(row.count, 1) > 0).order_by(time).limit(1)
        return query.correlate(buckets, cameras).scalar_subquery()

    hour = first_of(rolled.period_start, rolled.period_s == HOUR_S, rolled.period_start < turn)
    window = first_of(raw.window_start, raw.window_start >= turn)
    start = func.coalesce(hour, window).label("start")
    firsts = select(bucket.number.label("bucket"), camera.source, start)
    first = firsts.select_from(buckets.join(cameras, sa.true())).cte("firsts").c
    of_hours = select(first.bucket, rolled.source, rolled.item_class, rolled.count, rolled.arrivals).where(
        rolled.source == first.source,
        rolled.period_s == HOUR_S,
        rolled.period_start == first.start,
        first.start < turn,
    )
    of_windows = select(first.bucket, raw.source, raw.item_class, raw.count, raw.arrivals).where(
        raw.source == first.source, raw.window_start == first.start, first.start >= turn, raw.count > 0
    )
    row = sa.union_all(of_hours, of_windows).subquery().c
    alike = func.count().over(partition_by=[row.bucket, row.source, row.item_class]).label("alike")
    each = select(*row, alike).subquery().c
    keys = [each.bucket, *(each[name] for name in by)]
    unknown = (each["count"].is_(None)) | (each.alike > 1)
    sums = [func.sum(each["count"]), func.sum(each.arrivals)]
    sums += [func.sum(sa.case((where, 1), else_=0)) for where in (each.arrivals.is_(None), unknown)]
    query = select(*keys, *sums).where(each.item_class.in_(classes) if classes else sa.true())
    return [tuple(row) for row in connection.execute(query.group_by(*keys))]


def within(time: Any, start: float, end: float) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """That a column of times lies in [start, end)."""
    low, high = moments(start, end)
    return time >= low, time < high


def moments(*times: float) -> list[datetime]:
    """Times as columns have them."""
    return [datetime.fromtimestamp(time, UTC) for time in times]
