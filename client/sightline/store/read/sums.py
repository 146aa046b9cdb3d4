"""Sums over the buckets of a span, each part of it read where that is the least work.

Whole days are read from their roll-ups, then whole hours, then rows: windows or events. What is summed is
additive, so a day that a bucket's edge cuts (midnight of another zone) is given to the bucket that holds its
noon, and the few hours on the other side of the edge are taken from the one bucket and given to the other.
Hours of which windows were written since they were summed are read from their windows, and so is all that
comes after the first of them.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Select, func, select
from sqlalchemy.sql import operators
from sqlalchemy.sql.base import ColumnCollection
from sqlalchemy.sql.elements import UnaryExpression

from sightline.store import rollups, tables
from sightline.store.read.seen import listed
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
_CAMERAS = tables.table_of(tables.CameraRow)
_PLUS: operators.custom_op[Any] = operators.custom_op(
    "+"
)  # SQLite looks for nothing in an index by a column with a plus before it

_Row = ColumnCollection[str, Any]


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where one kind of figure stands.

    Attributes:
        rows: of windows or events: source, start, names and figures.
        rolled: hours and days of them.
        names: columns that tell sums apart, besides the camera and the bucket.
        figures: columns that are added up.
        uncertain: those of the figures that may not be known, which is told.
        greatest: columns of which the greatest value counts.
        goes_stale: its hours and days are summed some time after its rows were written.
        is_aligned: rows of many cameras begin at the same moments.
        is_dense: it has most of all rows.
        above_zero: figures of hours and days that are no part of it where they are zero.
    """

    rows: Callable[[Connection], Select[Any]]
    rolled: sa.Table
    names: tuple[str, ...]
    figures: tuple[str, ...]
    uncertain: tuple[str, ...] = ()
    greatest: tuple[str, ...] = ()
    goes_stale: bool = True
    is_aligned: bool = True
    is_dense: bool = False
    above_zero: tuple[str, ...] = ()


COUNTS = Ledger(
    *(rollups.raw_arrivals, _COUNT_ROLLUPS, ("item_class",), ("arrivals",), ("arrivals",)), is_dense=True
)
#: Of classes that a model lacked for a time. Apart, as they are few, and need more than is in the index that
#: all others are summed by.
BLIND = Ledger(rollups.raw_blind, _COUNT_ROLLUPS, ("item_class",), ("blind_s",), above_zero=("blind_s",))
SECONDS = Ledger(
    *(rollups.raw_sources, _SOURCE_ROLLUPS, (), ("watched_s", "dropped_frames")),
    greatest=("longest_window_s",),
)
EVENTS = Ledger(
    *(rollups.raw_events, _EVENT_ROLLUPS, rollups.EVENT_NAMES, ("count",)),
    goes_stale=False,
    is_aligned=False,
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which rows are asked for."""

    sources: Sequence[str]
    only: Mapping[str, Collection[str]]  # of a name, the values that count

    def of(self, row: _Row, source: ColumnElement[Any] | None = None) -> list[ColumnElement[bool]]:
        """That a row is one of them; ``source`` stands in for its own column."""
        source = row.source if source is None else source
        return [source.in_(self.sources), *(row[name].in_(some) for name, some in self.only.items())]


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

    After them, of each uncertain figure, how many of its values are not known. ``only``: of a name, the
    values that count.
    """
    parts = parts or Parts.of(connection, span, sources, ledger)
    asked = _Asked(sources, only or {})
    arms = [_of_rollups(connection, span, ledger, parts, by, asked)]
    cut = _cut(span, parts.rows)
    is_sqlite = connection.dialect.name == "sqlite"
    one_by_one = is_sqlite and ledger.is_dense and len(cut) > 1 and "source" in by
    if not one_by_one:
        arms.append(_of_rows(connection, ledger, parts, cut, by, asked))
    part = sa.union_all(*arms).subquery().c
    keys = [part.bucket, *(part[name] for name in by)]
    query = select(*keys, *_added_up(part, ledger, single=False)).group_by(*keys).order_by(*keys)
    sums = list(map(tuple, connection.execute(query).all()))
    if not one_by_one:
        return sums
    return _put_together((*sums, *_of_each(connection, ledger, cut, by, asked)), 1 + len(by), ledger)


def _of_each(
    connection: Connection,
    ledger: Ledger,
    cut: Sequence[tuple[int, float, float]],
    by: Sequence[str],
    asked: _Asked,
) -> Iterator[tuple[Any, ...]]:
    """Sums of windows, asked for bucket by bucket: the number, the names ``by``, and the sums.

    SQLite sorts many rows of many buckets in half the time when it is not asked for all of them at once.
    """
    rows, time, names, sums = _stored(connection, ledger, by, asked)
    low, high = (sa.bindparam(name, type_=tables.UtcDateTime) for name in ("low", "high"))
    query = rows.with_only_columns(*names, *sums).where(time >= low, time < high).group_by(*names)
    for number, start, end in cut:
        first, last = moments(start, end)
        for row in connection.execute(query, {"low": first, "high": last}).all():
            yield number, *row


def _put_together(rows: Iterable[tuple[Any, ...]], width: int, ledger: Ledger) -> list[tuple[Any, ...]]:
    """One row for each key, which the first ``width`` values are, in order; as :func:`_added_up` would."""
    ways = [sum] * len(ledger.figures) + [max] * len(ledger.greatest) + [sum] * len(ledger.uncertain)
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row in rows:
        key, figures = row[:width], row[width:]
        if key in found:  # the bucket that is read from hours and from windows
            pairs = zip(ways, found[key], figures, strict=True)
            figures = tuple(_of_known(way, pair) for way, *pair in pairs)
        found[key] = figures
    return [(*key, *found[key]) for key in sorted(found)]


def _of_known(way: Callable[[list[Any]], Any], values: Iterable[Any]) -> Any:
    known = [value for value in values if value is not None]
    return way(known) if known else None


def _in_time(connection: Connection, source: ColumnElement[Any], asked: _Asked) -> ColumnElement[Any]:
    """A column of rows' cameras, by which SQLite looks for none where most are asked for.

    By itself it would, at each moment. Rows in the order of their times take half as long, though they are
    those of all cameras: they lie together, and sums of a moment need no sorting.
    """
    is_sqlite = connection.dialect.name == "sqlite"  # Postgres knows how many there are
    known = connection.scalar(select(func.count()).select_from(_CAMERAS)) if is_sqlite else None
    if known is None or 2 * len(asked.sources) < known:
        return source
    return UnaryExpression(source, operator=_PLUS)


def _added_up(row: _Row, ledger: Ledger, *, single: bool) -> list[sa.Label[Any]]:
    """Sums and greatest values of a group, and of each uncertain figure how many values are not known.

    ``single``: the rows are as they are stored, and not sums that tell that already.
    """
    sums = [func.sum(row[name]).label(name) for name in ledger.figures]
    greatest = [func.max(row[name]).label(name) for name in ledger.greatest]
    unknown = []
    for name in ledger.uncertain:
        label = f"{name}_unknown"
        number = func.count() - func.count(row[name]) if single else func.sum(row[label])
        unknown.append(number.label(label))
    return [*sums, *greatest, *unknown]


def _of_rollups(
    connection: Connection, span: Span, ledger: Ledger, parts: Parts, by: Sequence[str], asked: _Asked
) -> Select[Any]:
    """Bucket, the names ``by``, figures and greatest values of hours and days, still to be added up.

    Of each hour and day all cameras are summed first: what is moved from bucket to bucket is little then.
    """
    plan = _plan(span, parts) or [(HOUR_S, int(span.start), 0, 0)]  # of no sign: there has to be a row
    columns = "period_s", "start", "bucket", "sign"
    step, row = _listed(connection, "plan", plan, columns, ("start",)).c, ledger.rolled.c
    periods = []
    for length_s in sorted({length_s for length_s, _, _, _ in plan}):
        starts = select(step.start).where(step.period_s == length_s, step.sign != 0)
        chosen = (*asked.of(row), *(row[name] > 0 for name in ledger.above_zero))
        of_period = row.period_s == length_s, row.period_start.in_(starts), *chosen
        keys = row.period_s, row.period_start, *(row[name] for name in by)
        periods.append(select(*keys, *_added_up(row, ledger, single=True)).where(*of_period).group_by(*keys))
    part = sa.union_all(*periods).subquery().c
    figures: list[ColumnElement[Any]] = [(part[name] * step.sign).label(name) for name in ledger.figures]
    figures += [sa.case((step.sign > 0, part[name])).label(name) for name in ledger.greatest]
    figures += [part[f"{name}_unknown"] for name in ledger.uncertain]
    names = (part[name] for name in by)
    here = part.period_s == step.period_s, part.period_start == step.start
    return select(step.bucket, *names, *figures).where(*here)


def _plan(span: Span, parts: Parts) -> list[tuple[int, int, int, int]]:
    """Which hours and days are read: length, start, the number of their bucket, and 1, or -1 to take away."""
    plan = []
    (first, last), (begin, end) = parts.days, parts.hours
    for day in range(int(first), int(last), DAY_S):
        bucket = span.number_at(day + DAY_S // 2)
        plan.append((DAY_S, day, bucket, 1))
        for hour in range(day, day + DAY_S, HOUR_S) if any(edge % DAY_S for edge in span.edges) else ():
            if (own := span.number_at(hour)) != bucket:
                plan += (HOUR_S, hour, own, 1), (HOUR_S, hour, bucket, -1)
    hours = (*range(int(begin), int(first), HOUR_S), *range(int(last), int(end), HOUR_S))
    plan += ((HOUR_S, hour, span.number_at(hour), 1) for hour in hours)
    return plan


def _stored(
    connection: Connection, ledger: Ledger, by: Sequence[str], asked: _Asked
) -> tuple[Select[Any], ColumnElement[Any], list[sa.Label[Any]], list[sa.Label[Any]]]:
    """Windows or events that are asked for, when each began, the names ``by``, and the sums of a group."""
    rows = ledger.rows(connection)
    column = rows.selected_columns
    source = _in_time(connection, column.source, asked) if ledger.is_aligned else column.source
    names = [column[name].label(name) for name in by]
    sums = _added_up(column, ledger, single=True)
    return rows.where(*asked.of(column, source)), column.start.element, names, sums


def _of_rows(
    connection: Connection,
    ledger: Ledger,
    parts: Parts,
    cut: Sequence[tuple[int, float, float]],
    by: Sequence[str],
    asked: _Asked,
) -> Select[Any]:
    """The same of windows or events, added up in each bucket."""
    rows, time, names, sums = _stored(connection, ledger, by, asked)
    column = rows.selected_columns
    by_bucket = len(cut) > 1 and ("source" in by or not ledger.is_aligned)
    # Unless it is told the whole part, Postgres guesses that rows in listed buckets are everywhere; SQLite
    # would read that part of the index once for each bucket.
    if not by_bucket or connection.dialect.name != "sqlite":
        rows = rows.where(*within(time, *parts.rows))
    if len(cut) == 1:  # SQLite need not sort by it
        query = rows.with_only_columns(sa.literal(cut[0][0]).label("bucket"), *names, *sums)
        # Without anything to group by there would be a row of no rows.
        return query.group_by(*names or (column.source,))
    bucket = _buckets(connection, cut, "rows").c
    number = bucket.number.label("bucket")
    if by_bucket:
        query = rows.with_only_columns(number, *names, *sums)
        return query.where(time >= bucket.low, time < bucket.high).group_by(bucket.number, *names)
    # Of windows that begin together all cameras first: few rows are left to look for their buckets.
    moment = rows.with_only_columns(column.start, *names, *sums).group_by(time, *names).subquery().c
    names = [moment[name].label(name) for name in by]
    query = select(number, *names, *_added_up(moment, ledger, single=False))
    return query.where(moment.start >= bucket.low, moment.start < bucket.high).group_by(number, *names)


def _cut(span: Span, part: tuple[float, float]) -> list[tuple[int, float, float]]:
    """What of each bucket lies in a part of the span: number, start, end; of an empty part an empty one."""
    start, end = part
    found = [
        (number, max(low, start), min(high, end))
        for number, (low, high) in enumerate(pairwise(span.edges))
        if low < end and start < high
    ]
    return found or [(0, start, start)]


def _buckets(connection: Connection, cut: Sequence[tuple[int, float, float]], of: str) -> sa.CTE:
    """The same as a table: number, low, high."""
    return _listed(connection, f"buckets_of_{of}", cut, ("number", "low", "high"), ("low", "high"))


def _listed(
    connection: Connection,
    name: str,
    rows: Sequence[tuple[float, ...]],
    columns: Sequence[str],
    times: Collection[str],
) -> sa.CTE:
    """Whole numbers, and moments in epoch seconds, as a table.

    They are written out: parameters may not be too many, and SQLAlchemy takes long over thousands.
    """
    is_sqlite = connection.dialect.name == "sqlite"

    def text_of(column: str, value: float) -> str:
        if column not in times:
            return f"{int(value)}"
        if not is_sqlite:
            return f"to_timestamp({value!r})"
        [moment] = moments(value)
        return f"'{moment:%Y-%m-%d %H:%M:%S.%f}'".replace(":", "\\:")  # as UtcDateTime writes it

    values = ", ".join(f"({', '.join(map(text_of, columns, row))})" for row in rows)
    names = ", ".join(f"column{number} AS {column}" for number, column in enumerate(columns, 1))
    kinds = (sa.column(column, tables.UtcDateTime if column in times else sa.Integer) for column in columns)
    return sa.text(f"SELECT {names} FROM (VALUES {values}) AS listed").columns(*kinds).cte(name)  # noqa: S608


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
    cameras = listed(sources)
    raw, rolled, turn = _COUNTS.c, _COUNT_ROLLUPS.c, parts.rows[0]

    def firsts(name: str, part: tuple[float, float], times: Callable[..., ColumnElement[Any]]) -> sa.CTE:
        buckets = _buckets(connection, _cut(span, part), name)
        start = times(buckets).label("start")
        length: sa.Label[int] = sa.literal_column(f"{HOUR_S}", sa.Integer).label("period_s")
        query = select(buckets.c.number.label("bucket"), cameras.c.source, start, length)
        # A limit, so that it is done once: SQLite would otherwise look for it at each row that is joined.
        query = query.select_from(buckets.join(cameras, sa.true())).limit(len(span.edges) * len(sources))
        return query.cte(f"first_{name}")

    def first_of(buckets: sa.CTE, time: Any, *where: Any) -> ColumnElement[Any]:
        row, low, high = time.table.c, buckets.c.low, buckets.c.high
        here = (row.source == cameras.c.source, time >= low, time < high, *where)
        query = select(time).where(*here, func.coalesce(row.count, 1) > 0)
        # In the order of the index that begins with the camera, so that one step down it is all.
        query = query.order_by(time, row.item_class).limit(1)
        return query.correlate(buckets, cameras).scalar_subquery()

    def hour_of(buckets: sa.CTE) -> ColumnElement[Any]:
        return first_of(buckets, rolled.period_start, rolled.period_s == HOUR_S)

    # A bucket that is cut there has its first window in the part that is left only if no hour has any.
    hour = firsts("hours", (span.start, turn), hour_of).c
    window = firsts("windows", (turn, span.end), lambda buckets: first_of(buckets, raw.window_start)).c
    of_hours = select(hour.bucket, rolled.source, rolled.item_class, rolled.count, rolled.arrivals).where(
        rolled.source == hour.source, rolled.period_s == hour.period_s, rolled.period_start == hour.start
    )
    has_hour = sa.exists().where(
        hour.bucket == window.bucket, hour.source == window.source, hour.start.is_not(None)
    )
    # Equal, but written so that only the index of cameras and times helps, by one step down for each window:
    # Postgres would look at all cameras' rows of a time otherwise, or at the rows of all times.
    here, there = sa.tuple_(raw.source, raw.window_start), sa.tuple_(window.source, window.start)
    of_windows = select(window.bucket, raw.source, raw.item_class, raw.count, raw.arrivals).where(
        window.start.is_not(None), here.between(there, there), raw.count > 0
    )
    cut = next((number for number, edge in enumerate(span.edges[1:]) if edge > turn), 0)
    if span.start < turn > span.edges[cut]:
        of_windows = of_windows.where((window.bucket != cut) | ~has_hour)
    arms = [of_hours] * (span.start < turn) + [of_windows] * (turn < span.end)
    row = sa.union_all(*arms).subquery().c
    keys = row.bucket, row.source, row.item_class
    lacking = func.sum(sa.case((row["count"].is_(None), 1), else_=0))
    overlap = sa.case((func.count() > 1, 1), else_=0)
    figures = (
        func.sum(row["count"]).label("count"),
        func.sum(row.arrivals).label("arrivals"),
        func.sum(sa.case((row.arrivals.is_(None), 1), else_=0)).label("arrivals_unknown"),
        (lacking + overlap).label("count_unknown"),
    )
    of_class = select(*keys, *figures).where(row.item_class.in_(classes) if classes else sa.true())
    each = of_class.group_by(*keys).subquery().c
    asked = [each.bucket, *(each[name] for name in by)]
    sums = (func.sum(each[figure.name]) for figure in figures)
    query = select(*asked, *sums).group_by(*asked)
    return list(map(tuple, connection.execute(query).all()))


def within(time: Any, start: float, end: float) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """That a column of times lies in [start, end)."""
    low, high = moments(start, end)
    return time >= low, time < high


def moments(*times: float) -> list[datetime]:
    """Times as columns have them."""
    return [datetime.fromtimestamp(time, UTC) for time in times]
