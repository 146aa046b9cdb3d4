"""Counts of a longer time: when in the week, what counted, and rows for a table or a file."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, func, select

from sightline.entities import EventKind
from sightline.store import tables
from sightline.store.read.coverage import Covered, read_covered
from sightline.store.read.queries import CountSum, read_counts, read_event_counts, read_latest_windows
from sightline.store.read.seen import Cameras, listed, seen
from sightline.store.read.spans import Span
from sightline.store.read.sums import moments, within
from sightline.store.rollups import DAY_S, HOUR_S, WINDOWS

_COUNTS, _SECONDS, _WINDOWS, _EXPIRIES = (
    tables.table_of(model)
    for model in (
        tables.CountRollupRow,
        tables.SourceRollupRow,
        tables.SourceWindowRow,
        tables.ExpiryRow,
    )
)


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One hour of the week, in all weeks of a range and of all cameras together."""

    weekday: int  # 0: Monday
    hour: int  # of the day, in the zone asked for
    count: int  # distinct objects of each hour, added up
    watched_h: float  # camera hours

    @property
    def per_hour(self) -> float | None:
        """Objects in an hour that one camera watched; None: none did."""
        return self.count / self.watched_h if self.watched_h else None


@dataclass(frozen=True, slots=True)
class Mark:
    """Something else counts from then on."""

    time: float  # to the hour, where the windows are gone
    source: str
    what: str  # model or configuration
    before: str  # version of the model, hash of the configuration
    after: str


@dataclass(frozen=True, slots=True)
class CountLine:
    """One line of a table of counts; None: not known, or not watched."""

    source: str
    item_class: str  # empty: nothing was counted, of whatever class could be seen
    count: int | None
    window_start: datetime
    window_end: datetime  # not after now
    arrivals: int | None  # of the count, what the camera had not counted before
    coverage: float  # 0..1 of the time that has passed since the camera began; see store.read.coverage


@dataclass(frozen=True, slots=True)
class FlowLine:
    """How many events of one kind there were at a line or a zone."""

    source: str
    place: str
    direction: str  # empty: it has none
    item_class: str
    count: int
    window_start: datetime
    window_end: datetime  # not after now
    coverage: float  # as of CountLine


def read_windows_since(connection: Connection) -> float:
    """From when on there are windows; of the time before only the hours are kept. 0: all are kept."""
    until = connection.scalar(select(_EXPIRIES.c.until).where(_EXPIRIES.c.kind == WINDOWS))
    return 0.0 if until is None else float(until.timestamp())


def read_heat_map(
    connection: Connection,
    cameras: Cameras,
    between: tuple[float, float],
    sources: Sequence[str],
    zone: tzinfo,
    classes: Collection[str] = (),
) -> list[HeatCell]:
    """All 168 hours of the week, from the hours in [start, end) that have been summed; no ``classes``: all.

    In a zone that is not whole hours from UTC an hour counts where it begins.
    """
    start, end = -(-between[0] // HOUR_S) * HOUR_S, between[1] // HOUR_S * HOUR_S

    def sums(table: sa.Table, figure: str, *where: Any) -> Counter[int]:
        row = table.c
        here = row.source.in_(seen(cameras, sources)), row.period_s == HOUR_S
        query = select(row.period_start, func.sum(row[figure])).where(
            *here, *within(row.period_start, start, end), *where
        )
        cells: Counter[int] = Counter()
        for time, total in connection.execute(query.group_by(row.period_start)):
            local = time.astimezone(zone)
            cells[local.weekday() * 24 + local.hour] += total or 0
        return cells

    counts = sums(_COUNTS, "count", *([_COUNTS.c.item_class.in_(classes)] if classes else []))
    watched = sums(_SECONDS, "watched_s")
    return [
        HeatCell(*divmod(cell, 24), int(counts[cell]), float(watched[cell]) / HOUR_S) for cell in range(168)
    ]


def read_marks(
    connection: Connection, cameras: Cameras, between: tuple[float, float], sources: Sequence[str]
) -> list[Mark]:
    """When in [start, end) another version of the model, or another configuration, began to count."""
    start, end = between
    names = seen(cameras, sources)
    marks: list[Mark] = []
    # From a day before, so that what begins with the range is compared with something.
    for before, after in _changes(connection, names, start - DAY_S, end):
        if after.time.timestamp() >= start:
            marks += _marks(after.source, after.time.timestamp(), before, after)
    marks += _newest_marks(connection, names, between)
    return sorted(marks, key=lambda mark: (mark.time, mark.source, mark.what))


class _Counting(NamedTuple):
    """What counted at a camera at the end of an hour, or in a window; None: not known."""

    source: str
    time: datetime
    model: str | None
    configuration: str | None


def _changes(
    connection: Connection, names: Sequence[str], start: float, end: float
) -> Iterator[tuple[_Counting, _Counting]]:
    """Of hours that are of another model or configuration: what was before, and what is then.

    Of all cameras step by step, since changes are few: to compare each hour with the one before takes ten
    times as long.
    """
    [since] = moments(start)
    before = {name: _Counting(name, since, None, None) for name in names}
    while before:
        after = {hour.source: hour for hour in _next_hours(connection, before.values(), end)}
        for name, hour in after.items():
            if before[name].model is not None:
                yield before[name], hour
        before = after


def _next_hours(connection: Connection, known: Collection[_Counting], end: float) -> Iterator[_Counting]:
    """Of each camera the first hour from a moment on of which another model, or configuration, is known."""
    columns = ("source", sa.String), ("time", tables.UtcDateTime), ("model", sa.String), ("config", sa.String)
    last = sa.values(*(sa.column(name, kind) for name, kind in columns)).data([*known]).cte("known")
    hour, [until] = _SECONDS.alias().c, moments(end)
    first_known = last.c.config.is_(None) & hour.config_hash.is_not(None)
    query = _of_hour(hour, last).where(
        hour.period_start >= last.c.time,
        hour.period_start < until,
        sa.or_(
            last.c.model.is_(None),
            hour.model_version != last.c.model,
            hour.config_hash != last.c.config,
            first_known,
        ),
    )
    return _hours(connection, last, query.order_by(hour.period_start))


def _of_hour(hour: Any, cameras: sa.CTE) -> sa.Select[Any]:
    """Where the hours of each of some cameras begin whose model is known."""
    known = func.coalesce(hour.model_version, "") != ""
    query = select(hour.period_start).where(hour.source == cameras.c.source, hour.period_s == HOUR_S, known)
    return query.correlate(cameras)


def _hours(connection: Connection, cameras: sa.CTE, start: sa.Select[Any]) -> Iterator[_Counting]:
    """The first hour of each camera that ``start`` gives; one step down the primary key for each."""
    row = _SECONDS.c
    query = select(row.source, row.period_start, row.model_version, row.config_hash).where(
        row.source == cameras.c.source,
        row.period_s == HOUR_S,
        row.period_start == start.limit(1).scalar_subquery(),
    )
    return (_Counting(*found) for found in connection.execute(query))


def _newest_marks(
    connection: Connection, names: Sequence[str], between: tuple[float, float]
) -> Iterator[Mark]:
    """What has changed since the newest hour that has been summed."""
    cameras, hour, window = listed(names), _SECONDS.alias().c, _WINDOWS.c
    newest = _of_hour(hour, cameras).order_by(hour.period_start.desc())
    last = {found.source: found for found in _hours(connection, cameras, newest)}
    for source, latest in read_latest_windows(connection, None, names).items():
        before, after = last.get(source), (latest.model_version, latest.config_hash)
        if before is None or not latest.model_version or after == (before.model, before.configuration):
            continue
        same = window.model_version == latest.model_version, window.config_hash == latest.config_hash
        later = window.source == source, window.window_start >= before.time
        begun = connection.scalar(select(func.min(window.window_start)).where(*later, *same))
        if begun is not None and between[0] <= begun.timestamp() < between[1]:
            yield from _marks(source, begun.timestamp(), before, _Counting(source, begun, *after))


def _marks(source: str, time: float, before: _Counting, after: _Counting) -> Iterator[Mark]:
    for name, old, new in (
        ("model", before.model, after.model),
        ("configuration", before.configuration, after.configuration),
    ):
        if old is not None and new is not None and old != new:
            yield Mark(time, source, name, old, new)


def read_count_table(
    connection: Connection,
    cameras: Cameras,
    span: Span,
    sources: Sequence[str],
    now: float,
    classes: Collection[str] = (),
) -> list[CountLine]:
    """By bucket, camera and class, oldest first: what table, CSV and Parquet show, and the API's figures.

    A bucket in which nothing was counted has a line with an empty class. Time before a camera's first window,
    and after ``now``, is in no line.
    """
    names = seen(cameras, sources)
    counts: dict[tuple[str, float], list[CountSum]] = {}
    for row in read_counts(connection, None, span, names):
        if not classes or row.item_class in classes:
            counts.setdefault((row.source, row.bucket), []).append(row)
    lines = []
    for source, part in read_covered(connection, None, span, names, now):
        rows = counts.get((source, part.start), [])
        if not any(row.count != 0 for row in rows):
            if not part.expected_s:
                continue  # it has just begun: nothing of it can be known yet
            rows = [CountSum(source, "", part.start, 0, 0), *rows]
        for row in rows:
            coverage = round(part.share(row.blind_s), 4)
            known = row.count != 0 or coverage > 0
            lines.append(
                CountLine(
                    source=source,
                    item_class=row.item_class,
                    count=row.count if known else None,
                    window_start=datetime.fromtimestamp(part.start, UTC),
                    window_end=datetime.fromtimestamp(part.end, UTC),
                    arrivals=row.arrivals if known else None,
                    coverage=coverage,
                )
            )
    return lines


def read_flow_table(
    connection: Connection,
    cameras: Cameras,
    span: Span,
    sources: Sequence[str],
    now: float,
    kind: EventKind,
    classes: Collection[str] = (),
) -> list[FlowLine]:
    """Events of a kind by bucket, camera, place, direction and class; where there was none is no line."""
    names = seen(cameras, sources)
    by = ("source", "place", "direction", "item_class")
    only: dict[str, Collection[str]] = {"kind": [kind.value], **({"item_class": classes} if classes else {})}
    parts = {(source, part.start): part for source, part in read_covered(connection, None, span, names, now)}
    lines = []
    for bucket, (source, place, direction, item_class), count in read_event_counts(
        connection, None, span, names, by, only
    ):
        # Where no window is stored, nothing is known to have been watched.
        part = parts.get((source, bucket)) or Covered.of((bucket, span.end), 0.0, None, now)
        start, end = (datetime.fromtimestamp(time, UTC) for time in (part.start, part.end))
        lines.append(
            FlowLine(source, place, direction, item_class, count, start, end, round(part.share(), 4))
        )
    return lines
