"""Clips as the database knows them, for what shows them, deletes them and compares them with the files."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from sightline.entities import Clip, ClipState, Event
from sightline.store import tables
from sightline.store.read.seen import Cameras, seen
from sightline.store.read.sums import within

_OF_AN_EVENT = tuple(field.name for field in fields(Event))
_CLIPS = tables.table_of(tables.ClipRow).c
_IDENTITY = tables.table_of(tables.IdentityRow).c
_OUTBOX = tables.table_of(tables.OutboxRow).c


@dataclass(frozen=True, slots=True)
class KeptClips:
    """What there is, and what of it may go."""

    bytes: int  # of all videos that are here
    oldest: tuple[Clip, ...]  # that are finished, and that no sink waits for; oldest first


class ListedClip(NamedTuple):
    """Where a clip is to be found."""

    start_time: float  # UTC epoch seconds
    path: str  # empty: not here
    url: str
    state: ClipState
    events: tuple[str, ...]  # Event.key of each


def read_kept_clips(connection: Connection, sink: str, limit: int) -> KeptClips:
    """At most ``limit`` clips that may go; not those that are still to be given to ``sink``."""
    is_here = _CLIPS.path != ""
    total = connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(_CLIPS.bytes), 0)).where(is_here))
    waiting = {
        body["path"] for body in connection.scalars(sa.select(_OUTBOX.body).where(_OUTBOX.sink == sink))
    }
    query = sa.select(*_CLIPS).where(is_here, _CLIPS.state != ClipState.RECORDING.value)
    rows = connection.execute(query.order_by(_CLIPS.start_time).limit(limit + len(waiting))).mappings()
    clips = [_clip(row) for row in rows if row["path"] not in waiting]
    return KeptClips(int(total or 0), tuple(clips[:limit]))


def event_key(columns: Mapping[str, Any]) -> str:
    """What clips and alerts call an event of the database; of its columns, times as UTC epoch seconds."""
    return Event(**{name: columns[name] for name in _OF_AN_EVENT}).key


def read_identity(connection: Connection) -> str:
    """What tells this database from every other."""
    return str(connection.scalar(sa.select(_IDENTITY.id)) or "")


def read_sources(connection: Connection) -> list[str]:
    """The cameras that have rows of clips."""
    return list(connection.scalars(sa.select(_CLIPS.source).distinct()))


def read_listed_clips(connection: Connection, source: str) -> list[ListedClip]:
    """All of a camera's."""
    columns = (_CLIPS.start_time, _CLIPS.path, _CLIPS.url, _CLIPS.state, _CLIPS.events)
    return [
        ListedClip(start_time.timestamp(), path, url, ClipState(state), tuple(events))
        for start_time, path, url, state, events in connection.execute(
            sa.select(*columns).where(_CLIPS.source == source)
        )
    ]


def read_clip(connection: Connection, cameras: Cameras, source: str, start_time: float) -> Clip | None:
    """One of them; None: there is none, or it may not be seen."""
    if not seen(cameras, [source]):
        return None
    moment = datetime.fromtimestamp(start_time, UTC)
    query = sa.select(*_CLIPS).where(_CLIPS.source == source, _CLIPS.start_time == moment)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _clip(row)


def read_clips(
    connection: Connection, cameras: Cameras, between: tuple[float, float], sources: Sequence[str], limit: int
) -> list[Clip]:
    """The newest ``limit`` clips of ``sources`` that began in [start, end), newest first."""
    begun = within(_CLIPS.start_time, *between)
    query = sa.select(*_CLIPS).where(_CLIPS.source.in_(seen(cameras, sources)), *begun)
    rows = connection.execute(query.order_by(_CLIPS.start_time.desc(), _CLIPS.source).limit(limit))
    return [_clip(row) for row in rows.mappings()]


def read_clips_at(
    connection: Connection, cameras: Cameras, moments: Collection[tuple[str, float]]
) -> list[Clip]:
    """Of each moment of a camera, the last clip that had begun by then: if any shows it, that one does."""
    rows = [
        (source, datetime.fromtimestamp(time, UTC)) for source, time in moments if seen(cameras, [source])
    ]
    if not rows:
        return []
    columns = sa.column("source", sa.String), sa.column("time", tables.UtcDateTime)
    moment, earlier = (
        sa.values(*columns).data(rows).cte("moments").c,
        tables.table_of(tables.ClipRow).alias().c,
    )
    begun = earlier.source == moment.source, earlier.start_time <= moment.time
    last = sa.select(sa.func.max(earlier.start_time)).where(*begun).scalar_subquery()  # one step down the key
    key = sa.select(moment.source, last.label("start_time")).distinct().cte("keys").c
    here = _CLIPS.source == key.source, _CLIPS.start_time == key.start_time
    return [_clip(row) for row in connection.execute(sa.select(*_CLIPS).where(*here)).mappings()]


def _clip(row: Mapping[Any, Any]) -> Clip:
    fixed = {"state": ClipState(row["state"]), "events": tuple(row["events"])}
    return Clip(**{**tables.with_epochs(row), **fixed})
