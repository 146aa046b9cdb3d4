"""What the console and reports read: statuses, counts, events, and how much of the time was watched.

Every query is bounded by cameras and by time, on the columns that the tables' indexes are made of. Windows
and crossings are summed into the buckets of a :class:`Span` by the database, whole hours and days from their
roll-ups, so what comes back grows with the buckets and never with the rows behind them. Times are UTC epoch
seconds. ``cameras`` are those that somebody may see, whichever ``sources`` are asked for. A connection comes
from :meth:`sightline.store.read.readonly.Database.reading`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from sqlalchemy import ColumnElement, Connection, func, select

from sightline.config.groups import SOURCE
from sightline.entities import CameraState, CameraStatus, DriftWindow, EventKind, SourceWindow
from sightline.errors import StoreUnavailable
from sightline.store import rollups, tables
from sightline.store.lease import SCOPE, STANDBY, Program
from sightline.store.read.readonly import Database, DatabaseState
from sightline.store.read.seen import Cameras, is_seen, listed, seen
from sightline.store.read.spans import Span as Span  # noqa: PLC0414  it has always been found here
from sightline.store.read.sums import BLIND, COUNTS, EVENTS, SECONDS, Parts, first_counts, sums_of, within

K = TypeVar("K")
DAY_S = rollups.DAY_S
#: A camera whose heartbeat is older than this is not believed, whatever its row says.
STALE_AFTER_S = 10.0
_REST = {field.name for field in fields(CameraStatus)} - {"source", "state", "message", "status_time"}
_CAMERAS = tables.table_of(tables.CameraRow).c
_WINDOWS = tables.table_of(tables.SourceWindowRow).c
_EVENTS = tables.table_of(tables.EventRow).c
_HOURLY = tables.table_of(tables.SourceRollupRow).c
_HOURS = tables.table_of(tables.DriftWindowRow).c
_LEASES = tables.table_of(tables.LeaseRow).c


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
class TotalCount:
    """Distinct tracks of one camera, or of one class, in one bucket; None: not known."""

    name: str
    bucket: float
    count: int | None
    arrivals: int | None


# -- cameras and windows ----------------------------------------------------------------------------------


def is_stale(status: CameraStatus, now: float) -> bool:
    """No heartbeat for longer than :data:`STALE_AFTER_S`."""
    return now - status.status_time > STALE_AFTER_S


def read_cameras(connection: Connection, cameras: Cameras) -> list[CameraStatus]:
    """Every camera's last status, by name; the canary is left out: it is not a real camera."""
    row = _CAMERAS
    query = select(row.source, row.state, row.message, row.heartbeat, row.last_frame_time, row.status)
    query = query.where(row.source != SOURCE, is_seen(row.source, cameras)).order_by(row.source)
    statuses = []
    for item in connection.execute(query):
        rest = item.status or {}
        values = {key: value for key, value in rest.items() if key in _REST and value is not None}
        values |= {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
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
    camera = listed(seen(cameras, sources))
    own, other = _WINDOWS, tables.table_of(tables.SourceWindowRow).alias().c
    # One step down the primary key for each: no scan.
    newest = select(func.max(other.window_start)).where(other.source == camera.c.source).correlate(camera)
    query = select(*own).where(own.source == camera.c.source, own.window_start == newest.scalar_subquery())
    rows = connection.execute(query.order_by(_WINDOWS.source, _WINDOWS.window_end))
    return {row.source: SourceWindow(**tables.with_epochs(row._asdict())) for row in rows}


def read_first_windows(connection: Connection, cameras: Cameras, sources: Iterable[str]) -> dict[str, float]:
    """When each camera's first window began; to the hour, where it is gone."""
    camera = listed(seen(cameras, sources))
    windows = select(func.min(_WINDOWS.window_start)).where(_WINDOWS.source == camera.c.source)
    hours = select(func.min(_HOURLY.period_start)).where(
        _HOURLY.source == camera.c.source, _HOURLY.period_s == rollups.HOUR_S
    )
    firsts = (query.correlate(camera).scalar_subquery() for query in (windows, hours))
    query = select(camera.c.source, *firsts)
    found = {}
    for source, window, hour in connection.execute(query):
        gone = hour is not None and (
            window is None or hour.timestamp() <= window.timestamp() - rollups.HOUR_S
        )
        if (first := hour if gone else window) is not None:
            found[source] = first.timestamp()
    return found


def read_counts(
    connection: Connection,
    cameras: Cameras,
    span: Span,
    sources: Sequence[str],
    *,
    lacking: bool = True,
) -> list[CountSum]:
    """Distinct tracks by bucket, camera and class; :func:`distinct` puts buckets together.

    A class that was not counted has a row only where the model lacked it, and none without ``lacking``.
    """
    names, by = seen(cameras, sources), ("source", "item_class")
    counts = _counts(connection, span, names, by)
    found = [
        CountSum(source, name, bucket, count, arrivals) for bucket, (source, name), count, arrivals in counts
    ]
    blind = sums_of(connection, span, names, BLIND, by) if lacking else ()
    blind_s = {(span.edges[row[0]], *row[1:3]): round(row[3], 6) for row in blind if round(row[3], 6)}
    if not blind_s:
        return found
    rows = {(row.bucket, row.source, row.item_class): row for row in found}
    for (bucket, source, name), seconds in blind_s.items():
        counted = rows.get((bucket, source, name), CountSum(source, name, bucket, 0, 0))
        rows[bucket, source, name] = replace(counted, blind_s=seconds)
    return [rows[key] for key in sorted(rows)]


def read_total_counts(
    connection: Connection,
    cameras: Cameras,
    span: Span,
    sources: Sequence[str],
    by: Literal["source", "item_class"],
    classes: Collection[str] = (),
) -> list[TotalCount]:
    """Distinct tracks by bucket and camera, or class, summed over the classes, or the cameras.

    No ``classes`` are all of them.
    """
    rows = _counts(connection, span, seen(cameras, sources), (by,), classes)
    return [TotalCount(name, bucket, count, arrivals) for bucket, (name,), count, arrivals in rows]


def read_whole_counts(
    connection: Connection,
    cameras: Cameras,
    span: Span,
    sources: Sequence[str],
    by: Literal["source", "item_class"],
    buckets: Iterable[TotalCount],
    classes: Collection[str] = (),
) -> dict[str, int | None]:
    """The same of the whole span, by name, made of its buckets; None: not known."""
    names, totals = seen(cameras, sources), Counter[str]()
    for row in buckets:
        if row.arrivals is None:  # the first windows' need not be known
            whole = read_total_counts(connection, None, span.whole(), names, by, classes)
            return {row.name: row.count for row in whole}
        totals[row.name] += row.arrivals
    parts = Parts.of(connection, span.whole(), names, COUNTS)
    found: dict[str, int | None] = {**totals}
    firsts = first_counts(connection, span.whole(), names, parts, (by,), classes)
    for _, name, counted, arrived, _, lacking in firsts:
        found[name] = None if lacking else int(totals[name] - arrived + counted)
    return {name: count for name, count in found.items() if count != 0}


def read_lacking(
    connection: Connection, cameras: Cameras, span: Span, sources: Sequence[str]
) -> list[tuple[str, str]]:
    """Class and camera of which the model lacked the class for a part of what was watched, in order."""
    names = seen(cameras, sources)
    rows = sums_of(connection, span.whole(), names, BLIND, ["item_class", "source"])
    return [(row[1], row[2]) for row in rows if round(row[3], 6)]


def _counts(
    connection: Connection,
    span: Span,
    sources: Sequence[str],
    by: Sequence[str],
    classes: Collection[str] = (),
) -> Iterator[tuple[float, tuple[str, ...], int | None, int | None]]:
    """Bucket, names, count, arrivals; where something was counted.

    Distinct tracks are what the first window of a bucket counts, and what arrived in the later ones.
    """
    if not sources:
        return
    parts = Parts.of(connection, span, sources, COUNTS)
    only = {"item_class": classes} if classes else None
    rows = sums_of(connection, span, sources, COUNTS, by, parts=parts, only=only)
    if any(row[-1] for row in rows):  # arrivals are not known: a day's may not be, though some hours' are
        parts = parts.without_days()
        rows = sums_of(connection, span, sources, COUNTS, by, parts=parts, only=only)
    width = 1 + len(by)
    first_rows = first_counts(connection, span, sources, parts, by, classes)
    firsts = {row[:width]: row[width:] for row in first_rows}
    for row in rows:
        key, (arrivals, unknown) = row[:width], row[width:]
        counted, arrived, not_known, lacking = firsts.get(key, (0, 0, 0, 0))
        known = not lacking and unknown == not_known
        count = int((arrivals or 0) - (arrived or 0) + (counted or 0)) if known else None
        if count != 0:
            yield span.edges[key[0]], key[1:], count, None if unknown else int(arrivals)


def distinct(counts: Iterable[CountSum]) -> dict[tuple[str, str], int | None]:
    """Distinct tracks by camera and class, of all buckets together, which come in the order of time.

    They are what a camera's first bucket counts, and what arrives in the later ones. None: not known.
    """
    first: dict[str, float] = {}
    totals: dict[tuple[str, str], int | None] = {}
    for row in counts:
        if row.count != 0:
            is_first = first.setdefault(row.source, row.bucket) == row.bucket
            add_known(totals, (row.source, row.item_class), row.count if is_first else row.arrivals)
    return totals


def add_known(totals: dict[K, int | None], key: K, count: int | None) -> None:
    """Add a count to one of some totals, which is not known from the first count on that is not."""
    before = totals.get(key, 0)
    totals[key] = None if count is None or before is None else before + count


def read_watched(
    connection: Connection, cameras: Cameras, span: Span, sources: Sequence[str]
) -> list[Watched]:
    """Seconds watched by each camera in each bucket, in order; no row means that nothing was watched."""
    rows = sums_of(connection, span, seen(cameras, sources), SECONDS, ["source"])
    return [
        Watched(source, span.edges[bucket], round(watched_s, 6), int(dropped), float(longest_s or 0))
        for bucket, source, watched_s, dropped, longest_s, *_ in rows
        if round(watched_s, 6) or dropped
    ]


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


def read_event_counts(
    connection: Connection,
    cameras: Cameras,
    span: Span,
    sources: Sequence[str],
    by: Sequence[str],
    only: Mapping[str, Collection[str]] | None = None,
) -> list[tuple[float, tuple[str, ...], int]]:
    """How many events there were: bucket, the names ``by``, and the number.

    Names are source (empty: the program itself), kind, place, direction (empty: it has none) and item_class.
    ``only``: of a name, the values that count.
    """
    width = 1 + len(by)
    rows = sums_of(connection, span, seen(cameras, sources), EVENTS, by, only=only)
    return [(span.edges[row[0]], tuple(row[1:width]), int(row[width])) for row in rows if row[width]]


def read_hours(url: str, cameras: Cameras, since: float = 0.0) -> list[DriftWindow]:
    """Hours of the drift watch that began at ``since`` or later, by camera, oldest first.

    Raises:
        StoreUnavailable: the database cannot be read; the text says why.
    """
    begun = _HOURS.window_start >= datetime.fromtimestamp(since, UTC)
    query = select(*_HOURS).where(begun, is_seen(_HOURS.source, cameras))
    query = query.order_by(_HOURS.source, _HOURS.window_start, _HOURS.model_version)
    database = Database(url)
    condition = database.condition()
    if condition.state is not DatabaseState.READY:
        raise StoreUnavailable(f"{condition.problem} {condition.detail}".strip())
    with closing(database), database.reading() as connection:
        return [DriftWindow(**tables.with_epochs(row._asdict())) for row in connection.execute(query)]


# -- parts of the queries ----------------------------------------------------------------------------------


def _within(time: Any, between: tuple[float, float], sources: Sequence[str]) -> list[ColumnElement[bool]]:
    return [*within(time, *between), time.table.c.source.in_(sources)]
