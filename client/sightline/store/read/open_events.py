"""Events that go on, read back as what they were written from."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from sightline.entities import RULE_KINDS, Event, EventKind
from sightline.store import tables

_EVENTS = tables.table_of(tables.EventRow)
_CAMERAS = tables.table_of(tables.CameraRow)
_FIELDS = tuple(field.name for field in fields(Event))


@dataclass(frozen=True, slots=True)
class OpenEvent:
    """An event without an end."""

    event: Event
    seen: float  # UTC epoch seconds, not before the event: until then it went on, as far as is known


@dataclass(frozen=True, slots=True)
class OpenEvents:
    """All of them at one moment."""

    read_s: float  # monotonic; what was put before is known
    events: tuple[OpenEvent, ...]
    whole: bool = True  # False: only troubles that are spooled, since the database has not been reached yet


def read_open_events(connection: Connection) -> tuple[OpenEvent, ...]:
    """Every event without an end.

    A visit has been seen until its camera's last frame, a camera's trouble until its last heartbeat, and the
    program's until the last one of any camera.
    """
    camera = _CAMERAS.c
    newest = sa.select(sa.func.max(camera.heartbeat)).scalar_subquery()
    query = (
        sa.select(
            *(_EVENTS.c[name] for name in _FIELDS),
            camera.last_frame_time,
            sa.case((_EVENTS.c.source == "", newest), else_=camera.heartbeat).label("heartbeat"),
        )
        .outerjoin_from(_EVENTS, _CAMERAS, camera.source == _EVENTS.c.source)
        .where(_EVENTS.c.end_time.is_(None), _EVENTS.c.first_time.is_not(None))
        .order_by(_EVENTS.c.source)
    )
    return tuple(_open_event(row._asdict()) for row in connection.execute(query))


def _open_event(columns: Mapping[str, Any]) -> OpenEvent:
    values = tables.with_epochs(columns)
    last_frame_time, heartbeat = values.pop("last_frame_time"), values.pop("heartbeat")
    values["kind"] = EventKind(values["kind"])
    event = Event(**values)
    seen = (last_frame_time or heartbeat) if event.kind in RULE_KINDS else heartbeat
    return OpenEvent(event, max(event.event_time, event.confirmed_time, seen or 0.0))
