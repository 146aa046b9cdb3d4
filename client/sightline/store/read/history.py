"""Counts of a longer time: when in the week, what counted, and rows for a table or a file."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, func, select

from sightline.entities import EventKind
from sightline.store import tables
from sightline.store.read.coverage import Covered, read_covered
from sightline.store.read.queries import CountSum, read_counts, read_event_counts, read_latest_windows
from sightline.store.read.seen import Cameras, seen
from sightline.store.read.spans import Span
from sightline.store.read.sums import within
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
    for source in names:
        # From a day before, so that what begins with the range is compared with something.
        for time, before, after in _changes(connection, source, start - DAY_S, end):
            if time >= start:
                marks += _marks(source, time, before, after)
    marks += _newest_marks(connection, names, between)
    return sorted(marks, key=lambda mark: (mark.time, mark.source, mark.what))


def _changes(
    connection: Connection, source: str, start: float, end: float
) -> Iterator[tuple[float, tuple[str | None, str | None], tuple[str, str]]]:
    """When hours of a camera began to be of another model or configuration, and what was before and after.

    Step by step, since changes are few: to compare each hour with the one before takes ten times as long.
    """
    row = _SECONDS.c
    query = select(row.period_start, row.model_version, row.config_hash).where(
        row.source == source, row.period_s == HOUR_S, func.coalesce(row.model_version, "") != ""
    )
    query = query.order_by(row.period_start).limit(1)
    begun = connection.execute(query.where(*within(row.period_start, start, end))).first()
    while begun is not None:
        before = begun.model_version, begun.config_hash
        later = within(row.period_start, begun.period_start.timestamp(), end)
        config = row.config_hash.is_not(None) if before[1] is None else row.config_hash != before[1]
        begun = connection.execute(query.where(*later, (row.model_version != before[0]) | config)).first()
        if begun is not None:
            yield begun.period_start.timestamp(), before, (begun.model_version, begun.config_hash)


def _newest_marks(
    connection: Connection, names: Sequence[str], between: tuple[float, float]
) -> Iterator[Mark]:
    """What has changed since the newest hour that has been summed."""
    row, window = _SECONDS.c, _WINDOWS.c
    for source, latest in read_latest_windows(connection, None, names).items():
        hours = select(row.period_start, row.model_version, row.config_hash)
        hours = hours.where(
            row.source == source, row.period_s == HOUR_S, func.coalesce(row.model_version, "") != ""
        )
        last = connection.execute(hours.order_by(row.period_start.desc()).limit(1)).first()
        after = latest.model_version, latest.config_hash
        if last is None or not latest.model_version or after == tuple(last[1:]):
            continue
        same = window.model_version == latest.model_version, window.config_hash == latest.config_hash
        later = window.source == source, window.window_start >= last.period_start
        begun = connection.scalar(select(func.min(window.window_start)).where(*later, *same))
        if begun is not None and between[0] <= begun.timestamp() < between[1]:
            yield from _marks(source, begun.timestamp(), (last.model_version, last.config_hash), after)


def _marks(
    source: str, time: float, before: tuple[str | None, str | None], after: tuple[str, str]
) -> Iterator[Mark]:
    for name, old, new in zip(("model", "configuration"), before, after, strict=True):
        if old is not None and old != new:
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
