"""Hours and days of counts, kept beside the windows: they add up as windows do, in a hundredth of the rows.

The distinct tracks of a period are those that its first window counts, and what arrives in the later ones;
so a period is itself a window to a longer one. Periods are whole hours and days, UTC; a window belongs to the
one that it starts in. The transaction that writes a window notes its periods in ``stale_rollups``, and the
one that sums a period takes its note away: after a crash at any point the notes say what is still to be done,
and until then readers take the windows (:mod:`sightline.store.read.sums`).

Events never change, so theirs are counted up by the transaction that writes them, and are never stale.
"""

from collections import Counter
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
_EVENTS, _EVENT_ROLLUPS, _EXPIRIES = (
    tables.table_of(model) for model in (tables.EventRow, tables.EventRollupRow, tables.ExpiryRow)
)
EVENT_NAMES = ("kind", "place", "direction", "item_class")  # by which events are counted
_LONG_AGO = datetime.fromtimestamp(0, UTC)
WINDOWS = "windows"  # in ``expiries``
_KEY = ("source", "period_s", "period_start")


def epoch(connection: Connection, column: Any) -> ColumnElement[Any]:
    """Whole seconds since 1970 of a time column."""
    seconds = (
        func.strftime("%s", column) if connection.dialect.name == "sqlite" else func.extract("epoch", column)
    )
    return cast(seconds, BigInteger)


def from_epoch(connection: Connection, seconds: ColumnElement[Any]) -> ColumnElement[Any]:
    """The time of whole seconds since 1970, as columns have it."""
    if connection.dialect.name == "sqlite":
        return func.strftime("%Y-%m-%d %H:%M:%S.000000", seconds, "unixepoch")
    return func.to_timestamp(seconds)


# -- what periods are summed from -------------------------------------------------------------------------


def raw_counts(connection: Connection) -> Select[Any]:
    """Windows of classes: source, item_class, start, count, arrivals, blind_s."""
    raw, window = _COUNTS.c, _WINDOWS.c
    same = (raw[name] == window[name] for name in ("source", "window_start", "window_end"))
    length = epoch(connection, raw.window_end) - epoch(connection, raw.window_start)
    lacking = select((window.coverage - raw.coverage) * length).where(*same).scalar_subquery()
    return select(
        raw.source,
        raw.item_class,
        raw.window_start.label("start"),
        raw.count,
        raw.arrivals,
        sa.case((raw.coverage.is_not(None), lacking), else_=0.0).label("blind_s"),
    ).where((raw.count > 0) | raw.coverage.is_not(None))


def raw_arrivals(_: Connection) -> Select[Any]:
    """Those that counted anything: source, item_class, start, arrivals; all that is in an index."""
    raw = _COUNTS.c
    start = raw.window_start.label("start")
    return select(raw.source, raw.item_class, start, raw.arrivals).where(raw.count > 0)


def raw_blind(connection: Connection) -> Select[Any]:
    """The same of those in which the model lacked the class for a time."""
    return raw_counts(connection).where(_COUNTS.c.coverage.is_not(None))


def raw_sources(connection: Connection) -> Select[Any]:
    """Windows of cameras: source, start, watched_s, dropped_frames, longest_window_s, and what counted."""
    raw = _WINDOWS.c
    length = epoch(connection, raw.window_end) - epoch(connection, raw.window_start)
    return select(
        raw.source,
        raw.window_start.label("start"),
        (raw.coverage * length).label("watched_s"),
        raw.dropped_frames,
        length.label("longest_window_s"),
        raw.model_version,
        raw.config_hash,
    )


def raw_events(_: Connection) -> Select[Any]:
    """Events: source, start, kind, place, direction (empty: none), item_class, count."""
    event = _EVENTS.c
    direction = func.coalesce(event.direction, "").label("direction")
    names = (direction if name == "direction" else event[name] for name in EVENT_NAMES)
    return select(event.source, event.event_time.label("start"), *names, sa.literal(1).label("count"))


def _hours(table: Table) -> Select[Any]:
    """Hours as windows of a day."""
    figures = (column for name, column in table.c.items() if not name.startswith("period"))
    return select(table.c.period_start.label("start"), *figures).where(table.c.period_s == HOUR_S)


def _summed_counts(parts: FromClause) -> Select[Any]:
    """By source and class: count (NULL where it is not known), arrivals (the same), blind_s."""
    part = parts.c
    counted = sa.case((func.coalesce(part.count, 1) > 0, part.start))
    first = func.min(counted).over(partition_by=part.source)
    rows = select(
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
    keys = (row.source, row.item_class)
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
    note_periods(connection, periods)


def count_events(connection: Connection, rows: Iterable[PendingRow]) -> None:
    """Count up the periods of those events that are not in the database yet; call before they are written."""
    events = {columns["id"]: columns for columns in (row.kind.columns(row, _LONG_AGO) for row in rows)}
    if not events:
        return
    known = set(connection.scalars(select(_EVENTS.c.id).where(_EVENTS.c.id.in_(list(events)))))
    sums = Counter[tuple[Any, ...]]()
    for columns in (columns for key, columns in events.items() if key not in known):
        start, names = columns["event_time"].timestamp(), [columns[name] or "" for name in EVENT_NAMES]
        for length_s in PERIODS_S:
            period = datetime.fromtimestamp(start // length_s * length_s, UTC)
            sums[columns["source"], length_s, period, *names] += 1
    if sums:
        key = (*_KEY, *EVENT_NAMES)
        counted = [
            dict(zip((*key, "count"), (*values, count), strict=True)) for values, count in sums.items()
        ]
        connection.execute(upsert(connection, _EVENT_ROLLUPS, key, ("count",), adds=True), counted)


def sum_events(connection: Connection) -> None:
    """Sum all the events that there are, into an empty table."""
    event = raw_events(connection).subquery().c
    for length_s in PERIODS_S:
        seconds = epoch(connection, event.start)
        start = from_epoch(connection, seconds - seconds % length_s).label("period_start")
        names = (event[name] for name in EVENT_NAMES)
        key = select(event.source, sa.literal(length_s).label("period_s"), start, *names).subquery().c
        query = select(*key, func.count()).group_by(*key)
        connection.execute(sa.insert(_EVENT_ROLLUPS).from_select([*_KEY, *EVENT_NAMES, "count"], query))


def every_period(connection: Connection) -> None:
    """Note the periods of every window."""
    raw = _WINDOWS.c
    for length_s in PERIODS_S:
        number = epoch(connection, raw.window_start) // length_s
        found = connection.execute(select(raw.source, number).distinct())
        note_periods(connection, {(source, length_s, number) for source, number in found})


def note_periods(connection: Connection, periods: Iterable[tuple[str, int, float]]) -> None:
    """Note what is to be summed: source, length, and the period's number from 1970 on."""
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
    time = sa.literal(start, tables.UtcDateTime()).label("period_start")
    same = sa.literal(length_s).label("period_s"), time
    of_hour = length_s == HOUR_S
    of_counts = raw_counts(connection) if of_hour else _hours(_COUNT_ROLLUPS)
    of_sources = raw_sources(connection) if of_hour else _hours(_SOURCE_ROLLUPS)
    counts = _summed_counts(_within(of_counts, sources, start, end)).subquery().c
    rolled = _COUNT_ROLLUPS.c  # a late vote may have taken a class away altogether
    before = rolled.source.in_(sources), rolled.period_s == length_s, rolled.period_start == start
    connection.execute(sa.delete(_COUNT_ROLLUPS).where(*before))
    part = _within(of_sources, sources, start, end).c
    is_blank = sa.case((func.coalesce(part.model_version, "") == "", 1), else_=0)  # no frame came
    order = (is_blank, part.start.desc())
    last = func.row_number().over(partition_by=part.source, order_by=order).label("from_last")
    newest = select(*part, last).subquery().c
    sums = func.sum(newest.watched_s), func.sum(newest.dropped_frames), func.max(newest.longest_window_s)
    ends = (
        func.max(sa.case((newest.from_last == 1, newest[name]))) for name in ("model_version", "config_hash")
    )
    _store(
        connection,
        _COUNT_ROLLUPS,
        ("source", "item_class", "period_s", "period_start"),
        ("count", "arrivals", "blind_s"),
        select(counts.source, counts.item_class, *same, counts.count, counts.arrivals, counts.blind_s),
    )
    figures = ("watched_s", "dropped_frames", "longest_window_s", "model_version", "config_hash")
    query = select(newest.source, *same, *sums, *ends).group_by(newest.source)
    _store(connection, _SOURCE_ROLLUPS, _KEY, figures, query)
    stale = _STALE.c
    this = stale.period_s == length_s, stale.period_start == start, stale.source.in_(sources)
    connection.execute(sa.delete(_STALE).where(*this))


def _within(query: Select[Any], sources: Sequence[str], start: datetime, end: datetime) -> FromClause:
    """What of the sources starts in [start, end)."""
    time = query.selected_columns.start.element
    return query.where(time >= start, time < end, time.table.c.source.in_(sources)).subquery()


def _store(
    connection: Connection, table: Table, key: Sequence[str], figures: Sequence[str], query: Select[Any]
) -> None:
    rows = query.where(sa.true())  # SQLite would take ON CONFLICT for a join's ON otherwise
    insert = upsert(connection, table, key, figures)
    connection.execute(insert.from_select([*key, *figures], rows))
