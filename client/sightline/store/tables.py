"""The database's tables. Migrations (``migrations/``) make them; a test holds the two against each other."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

#: Fixed for ever: primary keys of counts are derived from it, so that a retry makes the same row.
NAMESPACE = uuid.UUID("6e2b0c52-6a0e-4f7e-9c3e-7a2d3a1f4c11")


class UtcDateTime(TypeDecorator[datetime]):
    """TIMESTAMPTZ on Postgres; on SQLite, which has no zones, naive UTC, with the zone put back on read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times: they are how hours get lost."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone must not be stored: {value}")
        return value.astimezone(UTC).replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give aware UTC times, whatever the database gave."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class CountWindowRow(SQLModel, table=True):
    """Distinct confirmed tracks of one class that one source saw in one window."""

    __tablename__ = "count_windows"
    __table_args__ = (
        UniqueConstraint(
            "source",
            "item_class",
            "window_start",
            "window_end",
            name="uq_count_windows_source_item_class_window",
        ),
        Index("ix_count_windows_window_start", "window_start"),
    )

    id: uuid.UUID = Field(primary_key=True)
    source: str = Field(sa_type=String(255))
    item_class: str = Field(sa_type=String(100))
    count: int = Field(sa_type=Integer)
    window_start: datetime = Field(sa_type=UtcDateTime)
    window_end: datetime = Field(sa_type=UtcDateTime)
    created_at: datetime = Field(sa_type=UtcDateTime)


class SourceWindowRow(SQLModel, table=True):
    """How much of one window one source really watched."""

    __tablename__ = "source_windows"
    __table_args__ = (Index("ix_source_windows_window_start", "window_start"),)

    source: str = Field(sa_type=String(255), primary_key=True)
    window_start: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    window_end: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    coverage: float = Field(sa_type=Float)
    effective_fps: float = Field(sa_type=Float)
    dropped_frames: int = Field(sa_type=Integer)
    clock_source: str = Field(sa_type=String(16))
    model_version: str = Field(sa_type=String(100))
    config_hash: str = Field(sa_type=String(64))


class CameraRow(SQLModel, table=True):
    """A camera's last known status, its heartbeat, and what its worker resumes from."""

    __tablename__ = "cameras"

    source: str = Field(sa_type=String(255), primary_key=True)
    state: str = Field(sa_type=String(32))
    message: str = Field(sa_type=Text)
    heartbeat: datetime = Field(sa_type=UtcDateTime)
    last_frame_time: datetime | None = Field(default=None, sa_type=UtcDateTime)
    status: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # the rest of entities.CameraStatus
    resume: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # entities.Checkpoint.resume
    #: Of the newest checkpoint, microseconds since 1970 and rising even when the clock steps back.
    sequence: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": "0"})


class EventRow(SQLModel, table=True):
    """Something that a rule saw; :class:`sightline.entities.Event` says what its fields mean."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_source_event_time", "source", "event_time"),)

    id: uuid.UUID = Field(primary_key=True)
    source: str = Field(sa_type=String(255))
    kind: str = Field(sa_type=String(32))
    place: str = Field(sa_type=String(100))
    item_class: str = Field(sa_type=String(100))
    track_id: int = Field(sa_type=BigInteger)
    event_time: datetime = Field(sa_type=UtcDateTime)
    direction: str | None = Field(default=None, sa_type=String(16))
    value: float | None = Field(default=None, sa_type=Float)
    x: float | None = Field(default=None, sa_type=Float)
    y: float | None = Field(default=None, sa_type=Float)
    unseen: bool = Field(sa_type=Boolean)
    confirmed_time: datetime = Field(sa_type=UtcDateTime)
    created_at: datetime = Field(sa_type=UtcDateTime)


class DriftWindowRow(SQLModel, table=True):
    """Numbers of one hour of one camera and one version; :class:`sightline.entities.DriftWindow`."""

    __tablename__ = "drift_windows"
    __table_args__ = (Index("ix_drift_windows_window_start", "window_start"),)

    source: str = Field(sa_type=String(255), primary_key=True)
    window_start: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    model_version: str = Field(sa_type=String(100), primary_key=True)
    window_end: datetime = Field(sa_type=UtcDateTime)
    frames: int = Field(sa_type=BigInteger)
    boxes: int = Field(sa_type=BigInteger)
    pictures: int = Field(sa_type=BigInteger)
    figures: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)


class OutboxRow(SQLModel, table=True):
    """A row that one durable sink has still to be given; see :mod:`sightline.store.outbox`."""

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_sink_sequence", "sink", "sequence"),)

    sink: str = Field(sa_type=String(100), primary_key=True)
    key: str = Field(sa_type=Text, primary_key=True)  # the row's merge key
    sequence: int = Field(sa_type=BigInteger)
    kind: str = Field(sa_type=String(32))
    source: str = Field(sa_type=String(255))
    body: dict[str, Any] = Field(sa_type=JSON)  # fields of the entity
    created_at: datetime = Field(sa_type=UtcDateTime)


def table_of(model: type[SQLModel]) -> Table:
    """The model's table as SQLAlchemy knows it."""
    table: Table = model.__table__  # type: ignore[attr-defined]
    return table


def event_id(source: str, kind: str, place: str, track: tuple[int, float], ordinal: int) -> uuid.UUID:
    """The primary key of an event: a retry gives the same; ``track`` is its id and the time of its first box.

    That time keeps tracks apart whose ids began again, since a camera's saved state was lost.
    """
    return uuid.uuid5(NAMESPACE, json.dumps(["event", source, kind, place, *track, ordinal]))


def count_window_id(source: str, item_class: str, window_start: datetime, window_end: datetime) -> uuid.UUID:
    """The primary key of a count: the same window and class give the same id, at every retry."""
    parts = [source, item_class, window_start.timestamp(), window_end.timestamp()]
    return uuid.uuid5(NAMESPACE, json.dumps(parts))
