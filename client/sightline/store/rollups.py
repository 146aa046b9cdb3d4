"""Hours and days of counts, kept beside the windows: they add up as windows do, in a hundredth of the rows.

The distinct tracks of a period are those that its first window counts, and what arrives in the later ones;
so a period is itself a window to a longer one. Periods are whole hours and days, UTC; a window belongs to the
one that it starts in. The transaction that writes a window notes its periods in ``stale_rollups``, and the
one that sums a period takes its note away: after a crash at any point the notes say what is still to be done,
and until then readers take the rows that a period is made of.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, ColumnElement, Connection, FromClause, Select, Table, cast, func, select

from sightline.entities import CountWindow, SourceWindow
from sightline.store import tables
from sightline.store.dialects import upsert
from sightline.store.kinds import PendingRow

HOUR_S, DAY_S = PERIODS_S = (3600, 86_400)
_COUNTS, _WINDOWS, _STALE = (
    tables.table_of(model) for model in (tables.CountWindowRow, tables.SourceWindowRow, tables.StaleRollupRow)
)
_COUNT_ROLLUPS, _SOURCE_ROLLUPS = (
    tables.table_of(model) for model in (tables.CountRollupRow, tables.SourceRollupRow)
)
_EXPIRIES = tables.table_of(tables.ExpiryRow)
WINDOWS = "windows"  # in ``expiries``
_KEY = ("source", "period_s", "period_start")
Where = Sequence[ColumnElement[bool]]


def epoch(connection: Connection, column: Any) -> ColumnElement[Any]:
    """Whole seconds since 1970 of a time column."""
    seconds = (
        func.strftime("%s", column) if connection.dialect.name == "sqlite" else func.extract("epoch", column)
    )
    return cast(seconds, BigInteger)


# -- reading ----------------------------------------------------------------------------------------------


def count_parts(
    connection: Connection, period_s: int, sources: Sequence[str], start: datetime, end: datetime
) -> FromClause:
    """What counts of periods of ``period_s`` (0: of windows) are summed from.

    Columns: source, item_class, start, count, arrivals, blind_s. Only what starts in [start, end).
    """
    raw, window, rolled = _COUNTS.c, _WINDOWS.c, _COUNT_ROLLUPS.c
    same = (raw[name] == window[name] for name in ("source", "window_start", "window_end"))
    length = epoch(connection, raw.window_end) - epoch(connection, raw.window_start)
    lacking = select((window.coverage - raw.coverage) * length).where(*same).scalar_subquery()
    windows = select(
        raw.source,
        raw.item_class,
        raw.window_start.label("start"),
        raw.count,
        raw.arrivals,
        sa.case((raw.coverage.is_not(None), lacking), else_=0.0).label("blind_s"),
    ).where((raw.count > 0) | raw.coverage.is_not(None))
    figures = (rolled.count, rolled.arrivals, rolled.blind_s)
    rollups = select(rolled.source, rolled.item_class, rolled.period_start.label("start"), *figures)
    return _parts(windows, rollups, period_s, sources, start, end)


def source_parts(
    connection: Connection, period_s: int, sources: Sequence[str], start: datetime, end: datetime
) -> FromClause:
    """As :func:`count_parts`: source, start, watched_s, dropped_frames, longest_window_s."""
    raw, rolled = _WINDOWS.c, _SOURCE_ROLLUPS.c
    length = epoch(connection, raw.window_end) - epoch(connection, raw.window_start)
    windows = select(
        raw.source,
        raw.window_start.label("start"),
        (raw.coverage * length).label("watched_s"),
        raw.dropped_frames,
        length.label("longest_window_s"),
    )
    figures = (rolled.watched_s, rolled.dropped_frames, rolled.longest_window_s)
    rollups = select(rolled.source, rolled.period_start.label("start"), *figures)
    return _parts(windows, rollups, period_s, sources, start, end)


def _parts(
    windows: Select[Any],
    rollups: Select[Any],
    period_s: int,
    sources: Sequence[str],
    start: datetime,
    end: datetime,
) -> FromClause:
    """Whole days that are up to date, whole hours of the others that are, and the windows of what is left."""
    window_start, table = windows.selected_columns.start.element, rollups.get_final_froms()[0].c
    parts, above = [], 0

    def whole(length_s: int, time: Any) -> ColumnElement[bool]:
        """The period that a time lies in is not cut by the ends of the range."""
        first, last = -(-start.timestamp() // length_s) * length_s, end.timestamp() // length_s * length_s
        return sa.and_(time >= datetime.fromtimestamp(first, UTC), time < datetime.fromtimestamp(last, UTC))

    def within(query: Select[Any], time: Any) -> Select[Any]:
        source = time.table.c.source
        if time.table is _COUNTS and end - start <= timedelta(days=1):
            source = source.concat("")  # or SQLite reads every count of each source, of whatever time
        return query.where(time >= start, time < end, source.in_(sources))

    def in_stale(length_s: int, time: Any) -> ColumnElement[bool]:
        stale = _STALE.alias().c
        return sa.exists().where(
            stale.source == time.table.c.source,
            stale.period_s == length_s,
            stale.period_start <= time,
            stale.period_end > time,
        )

    def not_in(length_s: int, time: Any) -> ColumnElement[bool]:
        """No roll-up of this length has what lies at a time."""
        return sa.or_(~whole(length_s, time), in_stale(length_s, time)) if length_s else sa.true()

    for length_s in [length_s for length_s in (DAY_S, HOUR_S) if length_s <= period_s]:
        query = within(rollups, table.period_start).where(table.period_s == length_s)
        query = query.where(whole(length_s, table.period_start), ~in_stale(length_s, table.period_start))
        parts.append(query.where(not_in(above, table.period_start)))
        above = length_s
    parts.append(within(windows, window_start).where(not_in(above, window_start)))
    return sa.union_all(*parts).subquery()


def summed_counts(parts: FromClause, bucket: ColumnElement[Any]) -> Select[Any]:
    """By ``bucket``, source and class: count (NULL where it is not known), arrivals (the same), blind_s."""
    part = parts.c
    counted = sa.case((func.coalesce(part.count, 1) > 0, part.start))
    first = func.min(counted).over(partition_by=[part.source, bucket])
    rows = select(
        bucket.label("bucket"),
        part.source,
        part.item_class,
        sa.case((part.start == first, part.count), else_=part.arrivals).label("new"),
        sa.case((part.start == first, 1)).label("is_first"),
        part.arrivals,
        part.blind_s,
    ).subquery()
    row, every = rows.c, func.count()
    # Windows that an earlier release let overlap may both be the first: what they share is not known.
    known = (func.count(row.new) == every) & (func.count(row.is_first) <= 1)
    count = sa.case((known, func.sum(row.new)))
    arrivals = sa.case((func.count(row.arrivals) == every, func.sum(row.arrivals)))
    keys = (row.bucket, row.source, row.item_class)
    sums = count.label("count"), arrivals.label("arrivals"), func.sum(row.blind_s).label("blind_s")
    return select(*keys, *sums).group_by(*keys)


# -- writing ----------------------------------------------------------------------------------------------


def note_stale(connection: Connection, rows: Iterable[PendingRow]) -> None:
    """Note the periods of windows that are written in this transaction."""
    windows = {
        (row.source, row.values["window_start"])
        for row in rows
        if row.kind.entity in {CountWindow, SourceWindow}
    }
    periods = {(source, length_s, start // length_s) for source, start in windows for length_s in PERIODS_S}
    _note(connection, periods)


def every_period(connection: Connection) -> None:
    """Note the periods of every window."""
    raw = _WINDOWS.c
    for length_s in PERIODS_S:
        number = epoch(connection, raw.window_start) // length_s
        found = connection.execute(select(raw.source, number).distinct())
        _note(connection, {(source, length_s, number) for source, number in found})


def _note(connection: Connection, periods: Iterable[tuple[str, int, float]]) -> None:
    notes = [
        {
            "source": source,
            "period_s": length_s,
            "period_start": datetime.fromtimestamp(number * length_s, UTC),
            "period_end": datetime.fromtimestamp((number + 1) * length_s, UTC),
        }
        for source, length_s, number in periods
    ]
    if notes:
        connection.execute(upsert(connection, _STALE, _KEY, ()), notes)


def roll_up(connection: Connection, limit: int) -> int:
    """Sum the oldest ``limit`` hours and days that are noted and over; how many were.

    One that goes on is read from its windows: to sum it again and again would hold the writer up. An hour of
    which windows have been deleted keeps its sums, whatever comes late.
    """
    stale, hours = _STALE.c, _STALE.alias().c
    deleted = select(_EXPIRIES.c.until).where(_EXPIRIES.c.kind == WINDOWS).scalar_subquery()
    expired = stale.period_s == HOUR_S, stale.period_start < deleted
    over = stale.period_end <= datetime.now(UTC)
    connection.execute(sa.delete(_STALE).where(*expired))
    hour_left = sa.exists().where(
        hours.source == stale.source,
        hours.period_s == HOUR_S,
        hours.period_start >= stale.period_start,
        hours.period_start < stale.period_end,
    )
    done = 0
    for length_s in PERIODS_S:  # a day is summed from its hours
        query = select(stale.source, stale.period_start).where(stale.period_s == length_s, over)
        starts = select(stale.period_start).where(stale.period_s == length_s, over).distinct()
        if length_s == DAY_S:
            query, starts = query.where(~hour_left), starts.where(~hour_left)
        starts = starts.order_by(stale.period_start).limit(limit)
        by_start: dict[datetime, list[str]] = {}
        for source, start in connection.execute(query.where(stale.period_start.in_(starts))):
            by_start.setdefault(start, []).append(source)
        for start, sources in by_start.items():
            _sum_period(connection, length_s, start, sources)
        done += len(by_start)
    return done


def _sum_period(connection: Connection, length_s: int, start: datetime, sources: Sequence[str]) -> None:
    end = start + timedelta(seconds=length_s)
    finer = 0 if length_s == HOUR_S else HOUR_S
    time = sa.literal(start, tables.UtcDateTime()).label("period_start")
    same = sa.literal(length_s).label("period_s"), time
    counts = summed_counts(count_parts(connection, finer, sources, start, end), sa.literal(0)).subquery().c
    rolled = _COUNT_ROLLUPS.c  # a late vote may have taken a class away altogether
    before = rolled.source.in_(sources), rolled.period_s == length_s, rolled.period_start == start
    connection.execute(sa.delete(_COUNT_ROLLUPS).where(*before))
    part = source_parts(connection, finer, sources, start, end).c
    sums = func.sum(part.watched_s), func.sum(part.dropped_frames), func.max(part.longest_window_s)
    _store(
        connection,
        _COUNT_ROLLUPS,
        ("source", "item_class", "period_s", "period_start"),
        ("count", "arrivals", "blind_s"),
        select(counts.source, counts.item_class, *same, counts.count, counts.arrivals, counts.blind_s),
    )
    figures = ("watched_s", "dropped_frames", "longest_window_s")
    query = select(part.source, *same, *sums).group_by(part.source)
    _store(connection, _SOURCE_ROLLUPS, _KEY, figures, query)
    stale = _STALE.c
    this = stale.period_s == length_s, stale.period_start == start, stale.source.in_(sources)
    connection.execute(sa.delete(_STALE).where(*this))


def _store(
    connection: Connection, table: Table, key: Sequence[str], figures: Sequence[str], query: Select[Any]
) -> None:
    rows = query.where(sa.true())  # SQLite would take ON CONFLICT for a join's ON otherwise
    insert = upsert(connection, table, key, figures)
    connection.execute(insert.from_select([*key, *figures], rows))
