"""What the console reads: statuses, counts, and how much of the time was watched.

Every query is bounded by a :class:`Span` on the indexed ``window_start`` and summed into buckets by the
database, so what comes back grows with the buckets and never with the windows behind them. Times are UTC
epoch seconds. A connection comes from :meth:`sightline.store.read.readonly.Database.reading`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, case, cast, func, select
from sqlmodel import col

from sightline.config.groups import SOURCE
from sightline.entities import CameraState, CameraStatus, SourceWindow
from sightline.store.tables import CameraRow, CountWindowRow, SourceWindowRow

DAY_S = 86_400
#: A camera whose heartbeat is older than this is not believed, whatever its row says.
STALE_AFTER_S = 10.0
_REST = {field.name for field in fields(CameraStatus)} - {"source", "state", "message", "status_time"}


@dataclass(frozen=True, slots=True)
class StoredStatus:
    """A camera's last status and when the supervisor wrote it."""

    status: CameraStatus
    heartbeat: float

    def is_stale(self, now: float) -> bool:
        """No heartbeat for longer than :data:`STALE_AFTER_S`."""
        return now - self.heartbeat > STALE_AFTER_S


@dataclass(frozen=True, slots=True)
class Span:
    """An interval of time, cut into buckets that begin on round times in ``zone``.

    Attributes:
        start, end: epoch seconds; both lie on bucket edges.
        step_s: length of a bucket; :data:`DAY_S` means calendar days in ``zone`` (23 to 25 hours).
        zone: where the days and the round hours are.
        edges: beginning of every bucket, and the end of the last.
    """

    start: float
    end: float
    step_s: int
    zone: tzinfo
    edges: tuple[float, ...]

    @staticmethod
    def over(start: float, end: float, step_s: int, zone: tzinfo = UTC) -> Span:
        """The buckets that touch [start, end)."""
        if end <= start:
            raise ValueError("a span must end after it starts")
        edges = _day_edges(start, end, zone) if step_s == DAY_S else _even_edges(start, end, step_s, zone)
        return Span(edges[0], edges[-1], step_s, zone, tuple(edges))

    def bucket_of(self, key: int) -> float:
        """The beginning of the bucket that the database numbered ``key``."""
        if self.step_s == DAY_S:
            midnight = datetime.fromtimestamp(key * DAY_S, UTC).replace(tzinfo=self.zone)
            return midnight.timestamp()
        return float(key * self.step_s - _shift(self.start, self.step_s, self.zone))


@dataclass(frozen=True, slots=True)
class CountSum:
    """The sum of window counts in one bucket; what it was not split by is empty."""

    source: str
    item_class: str
    bucket: float
    count: int


@dataclass(frozen=True, slots=True)
class Watched:
    """How much of one bucket one camera watched."""

    source: str
    bucket: float
    watched_s: float
    dropped_frames: int
    longest_window_s: float


def read_cameras(connection: Connection) -> list[StoredStatus]:
    """Every camera's last status, by name; the canary is left out: it is not a real camera."""
    row = CameraRow
    chosen = (row.source, row.state, row.message, row.heartbeat, row.last_frame_time, row.status)
    query = select(*(col(item) for item in chosen)).where(col(row.source) != SOURCE)
    return [_stored_status(*item) for item in connection.execute(query.order_by(col(row.source)))]


def read_latest_windows(connection: Connection, sources: Iterable[str]) -> dict[str, SourceWindow]:
    """The newest source window of each camera (the open one, while it is watched)."""
    row, latest = SourceWindowRow, {}
    for source in sources:  # one step down the primary key for each: no scan
        query = select(row).where(col(row.source) == source).order_by(col(row.window_start).desc())
        if (newest := connection.execute(query.limit(1)).first()) is not None:
            values = newest._asdict()
            times = {name: values[name].timestamp() for name in ("window_start", "window_end")}
            latest[source] = SourceWindow(**{**values, **times})
    return latest


def read_first_windows(connection: Connection, sources: Iterable[str]) -> dict[str, float]:
    """When each camera's first window began."""
    row, first = SourceWindowRow, {}
    for source in sources:
        start = connection.scalar(select(func.min(col(row.window_start))).where(col(row.source) == source))
        if start is not None:
            first[source] = start.timestamp()
    return first


def read_counts(
    connection: Connection, span: Span, sources: Sequence[str], *, by_source: bool, by_class: bool
) -> list[CountSum]:
    """Window counts summed in each bucket, split by camera, by class, or both.

    A track that was seen in two windows counts in both, so a sum over windows is not a number of
    distinct tracks.
    """
    row = CountWindowRow
    key = bucket_key(connection, col(row.window_start), span).label("bucket")
    groups = [col(row.source)] * by_source + [col(row.item_class)] * by_class
    query = select(key, *groups, func.sum(col(row.count))).where(*_within(row, span, sources))
    sums = []
    for bucket, *names, count in connection.execute(query.group_by(key, *groups)):
        source = names[0] if by_source else ""
        item_class = names[-1] if by_class else ""
        sums.append(CountSum(source, item_class, span.bucket_of(bucket), int(count)))
    return sums


def read_watched(connection: Connection, span: Span, sources: Sequence[str]) -> list[Watched]:
    """Seconds watched by each camera in each bucket; no row means that nothing was watched."""
    row = SourceWindowRow
    key = bucket_key(connection, col(row.window_start), span).label("bucket")
    length = _epoch(connection, col(row.window_end)) - _epoch(connection, col(row.window_start))
    query = select(
        key,
        col(row.source),
        func.sum(col(row.coverage) * length),
        func.sum(col(row.dropped_frames)),
        func.max(length),
    )
    query = query.where(*_within(row, span, sources)).group_by(key, col(row.source))
    return [
        Watched(source, span.bucket_of(bucket), float(watched), int(dropped), float(longest))
        for bucket, source, watched, dropped, longest in connection.execute(query)
    ]


def read_window_rows(
    connection: Connection, span: Span, sources: Sequence[str], limit: int
) -> list[dict[str, Any]]:
    """Stored windows as in the database, with ``coverage``; the newest ``limit`` rows, oldest first.

    A watched window without counts is a row with an empty class and count 0; one of which nothing was
    watched has count None: it is not a zero.
    """
    counts, watched = CountWindowRow, SourceWindowRow
    same = (
        (col(counts.source) == col(watched.source))
        & (col(counts.window_start) == col(watched.window_start))
        & (col(counts.window_end) == col(watched.window_end))
    )
    query = (
        select(
            col(counts.id),
            col(watched.source),
            col(counts.item_class),
            col(counts.count),
            col(watched.window_start),
            col(watched.window_end),
            col(counts.created_at),
            col(watched.coverage),
        )
        .select_from(watched)
        .join(counts, same, isouter=True)
    )
    query = query.where(*_within(watched, span, sources))
    query = query.order_by(
        col(watched.window_start).desc(), col(watched.source).desc(), col(counts.item_class).desc()
    )
    rows = [dict(row) for row in connection.execute(query.limit(limit)).mappings()]
    for row in rows:
        if row["count"] is None and row["coverage"] > 0:
            row["count"] = 0
        row["item_class"] = row["item_class"] or ""
    return rows[::-1]


def _within(
    row: type[CountWindowRow | SourceWindowRow], span: Span, sources: Sequence[str]
) -> tuple[ColumnElement[bool], ...]:
    start, end = (datetime.fromtimestamp(edge, UTC) for edge in (span.start, span.end))
    return (col(row.window_start) >= start, col(row.window_start) < end, col(row.source).in_(sources))


def _epoch(connection: Connection, column: Any) -> ColumnElement[Any]:
    """Whole seconds since 1970 of a time column."""
    if connection.dialect.name == "sqlite":
        return cast(func.strftime("%s", column), BigInteger)
    return cast(func.extract("epoch", column), BigInteger)


def bucket_key(connection: Connection, column: Any, span: Span) -> ColumnElement[Any]:
    """The bucket's number: of a day since 1970 in the zone, or of a step since a round time."""
    epoch = _epoch(connection, column)
    if span.step_s != DAY_S:
        return (epoch + _shift(span.start, span.step_s, span.zone)) // span.step_s
    offsets = _offsets(span)
    last = offsets[-1][1]
    changes = [(epoch < until, offset) for until, offset in offsets[:-1]]
    return (epoch + (case(*changes, else_=last) if changes else last)) // DAY_S


def _offset_s(time: float, zone: tzinfo) -> int:
    offset = datetime.fromtimestamp(time, zone).utcoffset()
    return round(offset.total_seconds()) if offset else 0


def _shift(time: float, step_s: int, zone: tzinfo) -> int:
    """Seconds by which round times in ``zone`` are ahead of round times in UTC."""
    return _offset_s(time, zone) % step_s


def _offsets(span: Span) -> list[tuple[float, int]]:
    """UTC offsets of the span's zone, each with the time until which it holds (summer time changes them)."""
    offsets: list[tuple[float, int]] = []
    for index in range(int((span.end - span.start) // 1800) + 1):
        time = span.start + index * 1800
        offset = _offset_s(time, span.zone)
        if offsets and offsets[-1][1] == offset:
            offsets.pop()
        offsets.append((time + 1800, offset))
    return offsets


def _even_edges(start: float, end: float, step_s: int, zone: tzinfo) -> list[float]:
    shift = _shift(start, step_s, zone)
    first = (int(start) + shift) // step_s
    last = -((-int(end) - shift) // step_s)
    return [float(number * step_s - shift) for number in range(first, max(last, first + 1) + 1)]


def _day_edges(start: float, end: float, zone: tzinfo) -> list[float]:
    day = datetime.fromtimestamp(start, zone).date()
    edges: list[float] = []
    while not edges or edges[-1] < end:
        edges.append(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())
        day += timedelta(days=1)
    return edges


def _stored_status(
    source: str,
    state: str,
    message: str,
    heartbeat: datetime,
    last_frame_time: datetime | None,
    rest: Mapping[str, Any] | None,
) -> StoredStatus:
    values = {key: value for key, value in (rest or {}).items() if key in _REST and value is not None}
    values["last_frame_time"] = last_frame_time.timestamp() if last_frame_time else None
    try:
        known = CameraState(state)
    except ValueError:  # a newer writer's word: shown as it is, and treated as trouble
        known, message = CameraState.OFFLINE, message or f"state {state!r} is not known here"
    time = heartbeat.timestamp()
    return StoredStatus(
        CameraStatus(source=source, state=known, message=message, status_time=time, **values), time
    )
