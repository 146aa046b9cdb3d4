"""What the console and reports read: statuses, counts, events, and how much of the time was watched.

Every query is bounded by cameras and by time, on the columns that the tables' indexes are made of. Windows
and crossings are summed into the buckets of a :class:`Span` by the database, whole hours and days from their
roll-ups, so what comes back grows with the buckets and never with the rows behind them. Times are UTC epoch
seconds. ``cameras`` are those that somebody may see, whichever ``sources`` are asked for. A connection comes
from :meth:`sightline.store.read.readonly.Database.reading`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import groupby
from math import ceil
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, select

from sightline.config.groups import SOURCE
from sightline.entities import CameraState, CameraStatus, DriftWindow, EventKind, SourceWindow
from sightline.errors import StoreUnavailable
from sightline.store import rollups, tables
from sightline.store.lease import SCOPE, STANDBY, Program
from sightline.store.read.readonly import Database, DatabaseState
from sightline.store.read.seen import Cameras, seen

DAY_S = rollups.DAY_S
#: A camera whose heartbeat is older than this is not believed, whatever its row says.
STALE_AFTER_S = 10.0
_REST = {field.name for field in fields(CameraStatus)} - {"source", "state", "message", "status_time"}
_CAMERAS = tables.table_of(tables.CameraRow).c
_COUNTS = tables.table_of(tables.CountWindowRow).c
_WINDOWS = tables.table_of(tables.SourceWindowRow).c
_EVENTS = tables.table_of(tables.EventRow).c
_HOURS = tables.table_of(tables.DriftWindowRow).c
_LEASES = tables.table_of(tables.LeaseRow).c


@dataclass(frozen=True, slots=True)
class Span:
    """An interval of time, cut into buckets that begin on round times in ``zone``."""

    start: float  # epoch seconds; both lie on bucket edges
    end: float
    step_s: int  # length of a bucket; :data:`DAY_S` means calendar days in ``zone`` (23 to 25 hours)
    zone: tzinfo  # where the days and the round hours are
    edges: tuple[float, ...]  # beginning of every bucket, and the end of the last

    @staticmethod
    def over(start: float, end: float, step_s: int, zone: tzinfo = UTC) -> "Span":
        """The buckets that touch [start, end)."""
        if end <= start:
            raise ValueError("a span must end after it starts")
        edges: list[float] = []
        if step_s == DAY_S:
            day = datetime.fromtimestamp(start, zone).date()
            while not edges or edges[-1] < end:
                edges.append(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())
                day += timedelta(days=1)
        else:
            shift = _offset_s(start, zone) % step_s
            first, last = (int(start) + shift) // step_s, -((-ceil(end) - shift) // step_s)
            edges += (float(number * step_s - shift) for number in range(first, max(last, first + 1) + 1))
        return Span(edges[0], edges[-1], step_s, zone, tuple(edges))

    @property
    def period_s(self) -> int:
        """The longest period none of which lies in two buckets: a day, an hour, or 0 for none."""
        periods, inner = sorted(rollups.PERIODS_S, reverse=True), self.edges[1:-1]
        return next((length for length in periods if not any(edge % length for edge in inner)), 0)

    def key(self, connection: Connection, column: Any) -> ColumnElement[Any]:
        """The number of a time's bucket: of a day since 1970 in the zone, or of a step since a round time."""
        epoch = rollups.epoch(connection, column)
        if self.step_s != DAY_S:
            return (epoch + _offset_s(self.start, self.zone) % self.step_s) // self.step_s
        changes: list[Any] = []  # until when an offset holds (a condition), and the offset: summer time
        offset = _offset_s(self.start, self.zone)
        for time in range(int(self.start), int(self.end) + 1, 1800):
            if (now := _offset_s(time, self.zone)) != offset:
                changes.append((epoch < time, offset))
                offset = now
        return (epoch + (case(*changes, else_=offset) if changes else offset)) // DAY_S

    def bucket_of(self, key: int) -> float:
        """The beginning of the bucket that the database numbered ``key``."""
        if self.step_s == DAY_S:
            return datetime.fromtimestamp(key * DAY_S, UTC).replace(tzinfo=self.zone).timestamp()
        return float(key * self.step_s - _offset_s(self.start, self.zone) % self.step_s)


@dataclass(frozen=True, slots=True)
class CountSum:
    """Distinct tracks of one class that one camera saw in one bucket; None: not known."""

    source: str
    item_class: str
    bucket: float
    count: int | None
    arrivals: int | None  # of those, the ones that it had not seen before the bucket
    blind_s: float = 0.0  # watched seconds in which its model lacked the class; then a count of 0 is no zero


@dataclass(frozen=True, slots=True)
class Watched:
    """How much of one bucket one camera watched."""

    source: str
    bucket: float
    watched_s: float
    dropped_frames: int
    longest_window_s: float


@dataclass(frozen=True, slots=True)
class Programs:
    """Which programs know of a database, in words."""

    owner: str  # the one that writes, or wrote last; empty: none ever did
    owns: bool  # it has not given the database back, nor been silent for long
    waiting: tuple[str, ...]  # stand-bys


@dataclass(frozen=True, slots=True)
class CrossingSum:
    """How often a line was crossed one way in one bucket."""

    source: str
    place: str
    direction: str  # forward or backward
    bucket: float
    count: int


# -- cameras and windows ----------------------------------------------------------------------------------


def is_stale(status: CameraStatus, now: float) -> bool:
    """No heartbeat for longer than :data:`STALE_AFTER_S`."""
    return now - status.status_time > STALE_AFTER_S


def read_cameras(connection: Connection, cameras: Cameras) -> list[CameraStatus]:
    """Every camera's last status, by name; the canary is left out: it is not a real camera."""
    row = _CAMERAS
    query = select(row.source, row.state, row.message, row.heartbeat, row.last_frame_time, row.status)
    query = query.where(row.source != SOURCE).order_by(row.source)
    if cameras is not None:
        query = query.where(row.source.in_(cameras))
    statuses = []
    for item in connection.execute(query):
        rest = item.status or {}
        values = {key: value for key, value in rest.items() if key in _REST and value is not None}
        values["last_frame_time"] = item.last_frame_time and item.last_frame_time.timestamp()
        state, message, time = item.state, item.message, item.heartbeat.timestamp()
        if state not in list(CameraState):  # a newer writer's word: shown as it is, and treated as trouble
            state, message = CameraState.OFFLINE, message or f"state {state!r} is not known here"
        statuses.append(CameraStatus(item.source, CameraState(state), message, status_time=time, **values))
    return statuses


def read_source_names(connection: Connection, cameras: Cameras) -> list[str]:
    """The names of all cameras that ever ran, the canary's too."""
    return seen(cameras, connection.scalars(select(_CAMERAS.source).order_by(_CAMERAS.source)))


def read_programs(connection: Connection, now: float) -> Programs:
    """The database's owner and those that wait for its end."""
    row = _LEASES
    rows = connection.execute(select(row.scope, row.held, row.expires_at, row.program).order_by(row.scope))
    owner, owns, waiting = "", False, []
    for scope, held, expires_at, program in rows:
        lives = now - expires_at.timestamp() <= STALE_AFTER_S
        if scope == SCOPE and program:
            owner, owns = str(Program(**program)), held and lives
        elif scope.startswith(STANDBY) and lives:
            waiting.append(str(Program(**program)))
    return Programs(owner, owns, tuple(waiting))


def read_latest_windows(
    connection: Connection, cameras: Cameras, sources: Iterable[str]
) -> dict[str, SourceWindow]:
    """The newest source window of each camera (the open one, while it is watched)."""
    query = select(*_WINDOWS).order_by(_WINDOWS.window_start.desc()).limit(1)
    latest = {}
    for source in seen(cameras, sources):  # one step down the primary key for each: no scan
        if (newest := connection.execute(query.where(_WINDOWS.source == source)).first()) is not None:
            latest[source] = SourceWindow(**tables.with_epochs(newest._asdict()))
    return latest


def read_first_windows(connection: Connection, cameras: Cameras, sources: Iterable[str]) -> dict[str, float]:
    """When each camera's first window began."""
    query = select(func.min(_WINDOWS.window_start))
    starts = {
        source: connection.scalar(query.where(_WINDOWS.source == source)) for source in seen(cameras, sources)
    }
    return {source: start.timestamp() for source, start in starts.items() if start is not None}


def read_counts(
    connection: Connection, cameras: Cameras, span: Span, sources: Sequence[str]
) -> list[CountSum]:
    """Distinct tracks by bucket, camera and class; :func:`distinct` puts buckets together.

    A class that was not counted has a row only where the model lacked it.
    """
    moments = _moments(span.start, span.end)
    parts = rollups.count_parts(connection, span.period_s, seen(cameras, sources), *moments)
    query = rollups.summed_counts(parts, span.key(connection, parts.c.start))
    rows = sorted(connection.execute(query).all())
    return [
        CountSum(source, item_class, span.bucket_of(bucket), _whole(count), _whole(arrivals), blind_s)
        for bucket, source, item_class, count, arrivals, blind_s in rows
    ]


def distinct(counts: Iterable[CountSum]) -> dict[tuple[str, str], int | None]:
    """Distinct tracks by camera and class, of all buckets together.

    They are what a camera's first bucket counts, and what arrives in the later ones. None: not known.
    """
    counts = [row for row in counts if row.count != 0]
    first: dict[str, float] = {}
    for row in counts:
        first[row.source] = min(row.bucket, first.get(row.source, row.bucket))
    totals: dict[tuple[str, str], int | None] = {}
    for row in counts:
        key, new = (
            (row.source, row.item_class),
            row.count if row.bucket == first[row.source] else row.arrivals,
        )
        known = totals.get(key, 0)
        totals[key] = None if new is None or known is None else known + new
    return totals


def read_watched(
    connection: Connection, cameras: Cameras, span: Span, sources: Sequence[str]
) -> list[Watched]:
    """Seconds watched by each camera in each bucket, in order; no row means that nothing was watched."""
    moments = _moments(span.start, span.end)
    parts = rollups.source_parts(connection, span.period_s, seen(cameras, sources), *moments)
    part, key = parts.c, span.key(connection, parts.c.start).label("bucket")
    sums = func.sum(part.watched_s), func.sum(part.dropped_frames), func.max(part.longest_window_s)
    query = select(key, part.source, *sums).group_by(key, part.source).order_by(key, part.source)
    return [
        Watched(source, span.bucket_of(bucket), float(watched), int(dropped), float(longest))
        for bucket, source, watched, dropped, longest in connection.execute(query)
    ]


def read_window_rows(
    connection: Connection, cameras: Cameras, span: Span, sources: Sequence[str], limit: int
) -> list[dict[str, Any]]:
    """Stored windows as in the database, with the class's ``coverage``; the newest rows, oldest first.

    A watched window without counts is a row with an empty class, count and arrivals 0; one of which nothing
    was watched, and a class that the model lacked, have None there: that is not a zero. Arrivals are None as
    well in rows of earlier releases. At most ``limit`` rows.
    """
    count, row = _COUNTS, _WINDOWS
    same = [count[name] == row[name] for name in ("source", "window_start", "window_end")]
    order = (row.window_start.desc(), row.source.desc(), count.item_class.desc())
    columns = (count.id, row.source, count.item_class, count.count, row.window_start, row.window_end)
    class_coverage = count.coverage.label("seen")
    query = select(*columns, count.created_at, count.arrivals, row.coverage, class_coverage)
    query = query.order_by(*order).limit(limit)
    query = query.join_from(row.source.table, count.source.table, and_(*same), isouter=True)
    query = query.where(*_within(row.window_start, (span.start, span.end), seen(cameras, sources)))
    rows: list[dict[str, Any]] = []
    found = map(dict, connection.execute(query).mappings())
    for _, group in groupby(found, key=itemgetter("window_start", "source")):
        rows += (window := list(group))
        if all(item["seen"] is not None and not item["count"] for item in window):
            counted = ("id", "item_class", "count", "created_at", "arrivals", "seen")
            rows.append({**window[0], **dict.fromkeys(counted)})  # of the classes that could be seen
    for item in rows:
        if (own := item.pop("seen")) is not None:
            item["coverage"] = own
        if not item["count"]:
            item["count"] = item["arrivals"] = 0 if item["coverage"] else None
        item["item_class"] = item["item_class"] or ""
    return rows[:limit][::-1]


# -- events and hours of the drift watch -------------------------------------------------------------------


def read_events(
    connection: Connection,
    cameras: Cameras,
    between: tuple[float, float],
    sources: Sequence[str],
    *,
    kinds: Sequence[EventKind] = (),
    limit: int | None,
) -> list[dict[str, Any]]:
    """The newest ``limit`` (None: all) events of ``sources`` in [start, end), newest first.

    Columns are as in the database; no ``kinds`` stand for all of them, no sources for no camera.
    """
    query = select(*_EVENTS).where(*_within(_EVENTS.event_time, between, seen(cameras, sources)))
    if kinds:
        query = query.where(_EVENTS.kind.in_([kind.value for kind in kinds]))
    query = query.order_by(_EVENTS.event_time.desc(), _EVENTS.id).limit(limit)
    return [dict(row) for row in connection.execute(query).mappings()]


def read_crossings(
    connection: Connection, cameras: Cameras, span: Span, sources: Sequence[str]
) -> list[CrossingSum]:
    """Crossings by camera, line and direction, summed in each bucket; a bucket without one has no row."""
    names = [_EVENTS.source, _EVENTS.place, _EVENTS.direction]
    is_crossing = _EVENTS.kind == EventKind.CROSSING.value
    crossings = func.count().filter(is_crossing)
    rows = _sums(connection, span, seen(cameras, sources), _EVENTS.event_time, names, crossings)
    return [
        CrossingSum(source, place, direction or "", bucket, int(total))
        for bucket, source, place, direction, total in rows
        if total
    ]


def has_events(connection: Connection, cameras: Cameras, sources: Sequence[str]) -> bool:
    """Whether any of ``sources`` has ever made an event."""
    query = select(_EVENTS.id).where(_EVENTS.source.in_(seen(cameras, sources))).limit(1)
    return connection.execute(query).first() is not None


def read_hours(url: str, cameras: Cameras, since: float = 0.0) -> list[DriftWindow]:
    """Hours of the drift watch that began at ``since`` or later, by camera, oldest first.

    Raises:
        StoreUnavailable: the database cannot be read; the text says why.
    """
    query = select(*_HOURS).where(_HOURS.window_start >= datetime.fromtimestamp(since, UTC))
    query = query.order_by(_HOURS.source, _HOURS.window_start, _HOURS.model_version)
    if cameras is not None:
        query = query.where(_HOURS.source.in_(cameras))
    database = Database(url)
    condition = database.condition()
    if condition.state is not DatabaseState.READY:
        raise StoreUnavailable(f"{condition.problem} {condition.detail}".strip())
    with closing(database), database.reading() as connection:
        return [DriftWindow(**tables.with_epochs(row._asdict())) for row in connection.execute(query)]


# -- parts of the queries ----------------------------------------------------------------------------------


def _sums(
    connection: Connection, span: Span, sources: Sequence[str], time: Any, groups: Sequence[Any], *sums: Any
) -> Iterator[tuple[Any, ...]]:
    """By bucket of the column ``time`` and by ``groups``, in order: the bucket's beginning, groups, sums."""
    key = span.key(connection, time).label("bucket")
    query = select(key, *groups, *sums).where(*_within(time, (span.start, span.end), sources))
    for bucket, *values in connection.execute(query.group_by(key, *groups).order_by(key, *groups)):
        yield (span.bucket_of(bucket), *values)


def _within(time: Any, between: tuple[float, float], sources: Sequence[str]) -> list[ColumnElement[bool]]:
    start, end = _moments(*between)
    return [time >= start, time < end, time.table.c.source.in_(sources)]


def _moments(*times: float) -> list[datetime]:
    return [datetime.fromtimestamp(time, UTC) for time in times]


def _whole(value: Any) -> int | None:
    """A sum as Python's; Postgres gives decimals."""
    return None if value is None else int(value)


def _offset_s(time: float, zone: tzinfo) -> int:
    """By how much local times in ``zone`` are ahead of UTC."""
    offset = datetime.fromtimestamp(time, zone).utcoffset()
    return round(offset.total_seconds()) if offset else 0
