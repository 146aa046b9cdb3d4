"""Every kind of row, declared once: merging, the spool, the statements and the sinks derive from it.

A new kind of row is its entity in ``entities.py``, its table in ``tables.py`` with a migration, and one
:class:`RowKind` here.
"""

import hashlib
import json
import logging
import math
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import String, Table
from sqlmodel import SQLModel

from sightline import entities
from sightline.base.values import values_of
from sightline.entities import KEY_SEPARATOR, CameraStatus, Checkpoint, Result, ResumeState, lasts
from sightline.store import tables
from sightline.store.tables import UtcDateTime

log = logging.getLogger(__name__)

OPEN_S = 600.0  # after its end no window is open for longer
MAX_WINDOW_S = 86_400.0
#: Fixed for ever: primary keys are derived from it, so that a retry makes the same row.
_NAMESPACE = uuid.UUID("6e2b0c52-6a0e-4f7e-9c3e-7a2d3a1f4c11")
#: NUL, which Postgres does not take, half characters, which have no UTF-8, and what separates a key's parts.
_UNSTORABLE = re.compile(f"[\x00{KEY_SEPARATOR}\ud800-\udfff]")
Columns = dict[str, Any]
#: By source, the sequence of its newest checkpoint and what its worker resumes from.
ResumeStates = dict[str, tuple[int, dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowKind:
    """How the rows of one entity are keyed, merged and stored.

    Attributes:
        name: stands in spools, so it must never change.
        entity: its dataclass.
        model: its table. Columns named like a field of the entity take that field's value, times as UTC
            and texts cut to the column's length; ``created_at`` is the time of writing, ``sequence`` that of
            the checkpoint, and ``id`` is made from ``id_prefix`` and the key: the same at every retry.
        key: the entity's fields that identify a row.
        unique: columns of the table's unique key, when these are not the same.
        first_wins: of two rows of one key the first stays, in memory, spool and database; else the newest.
        replaced: columns that a newer row replaces; all but the key, ``id`` and ``created_at`` unless given.
        derived: other columns, from the fields' values. The fields of an entity's ``event`` are its own.
        time: the field by which the oldest rows are dropped when there is no room; None: never dropped.
        key_prefix: first part of the key; two kinds that share one replace each other's rows.
        rises: the column by which, of rows whose counters did not know each other, the greater one stays.
        urgent: it is written at once, rather than with what comes in the next half second.
    """

    name: str
    entity: type
    model: type[SQLModel]
    key: tuple[str, ...]
    unique: tuple[str, ...] = ()
    first_wins: bool = False
    replaced: tuple[str, ...] = ()
    derived: Mapping[str, Callable[[Columns], Any]] = field(default_factory=dict)
    time: str | None = "window_start"
    key_prefix: str = ""
    rises: str = ""
    urgent: bool = False
    id_prefix: tuple[str, ...] = ()

    @property
    def table(self) -> Table:
        """The table as SQLAlchemy knows it."""
        return tables.table_of(self.model)

    @property
    def is_followed(self) -> bool:
        """Whether readers are told of each change of its rows (:mod:`sightline.store.read.changes`)."""
        return "change_number" in self.table.c

    @property
    def replaced_columns(self) -> tuple[str, ...]:
        """Columns that a newer row replaces; none when the first one stays."""
        kept = {*(self.unique or self.key), "id", "created_at"}
        others = tuple(name for name in self.table.columns.keys() if name not in kept)  # noqa: SIM118
        return () if self.first_wins else self.replaced or others

    def pending(self, entity: Any, sequence: int) -> "PendingRow":
        """The entity as a row on its way to the database; its mappings are the entity's own, not copies."""
        values = values_of(entity)
        if (event := values.pop("event", None)) is not None:
            values |= values_of(event)
        for name in self.key:
            if isinstance(values[name], str):
                values[name] = _distinct(values[name], getattr(self.table.c[name].type, "length", None))
        key = KEY_SEPARATOR.join(map(str, (self.key_prefix or self.name, *map(values.get, self.key))))
        return PendingRow(self, values["source"], key, sequence, values)

    def columns(self, row: "PendingRow", now: datetime) -> Columns:
        """The row as its table's columns; ``now`` is the time of writing."""
        fields: Columns = {column.name: None for column in self.table.columns if column.nullable}
        fields |= {"source": row.source, "created_at": now, "sequence": row.sequence, **row.values}
        for column in self.table.columns:
            value = fields.get(column.name)
            if value is None:
                continue
            if isinstance(column.type, UtcDateTime) and not isinstance(value, datetime):
                fields[column.name] = datetime.fromtimestamp(value, UTC)
            elif isinstance(column.type, String):
                fields[column.name] = _UNSTORABLE.sub("\ufffd", str(value))[: column.type.length]
        if "id" in self.table.c:
            key = (fields[name] for name in self.key)
            parts = (part.timestamp() if isinstance(part, datetime) else part for part in key)
            fields["id"] = uuid.uuid5(_NAMESPACE, json.dumps([*self.id_prefix, *parts]))
        fields |= {name: derive(fields) for name, derive in self.derived.items()}
        return {name: fields[name] for name in self.table.columns.keys() if name in fields}  # noqa: SIM118


def _distinct(name: str, length: int | None) -> str:
    """A name as a column of this length keeps it apart from others: with a digest where it does not fit."""
    storable = _UNSTORABLE.sub("\ufffd", name)
    if storable == name and (length is None or len(name) <= length):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{storable[: length and length - len(digest) - 1]}~{digest}"


@dataclass(frozen=True, slots=True)
class PendingRow:
    """One row on its way to the database, or to a durable sink."""

    kind: RowKind
    source: str
    key: str  # the same whenever this result comes again
    sequence: int  # of the checkpoint it came with: microseconds since 1970, rising
    values: Mapping[str, Any]  # JSON-able fields of the entity
    sinks: tuple[str, ...] = ()  # durable sinks that have still to be given it

    @property
    def time(self) -> float:
        """UTC epoch seconds; the oldest are dropped first. Infinite: never dropped."""
        return math.inf if self.kind.time is None else float(self.values[self.kind.time])


#: Whether a durable sink is to be given a row (docs/database.md).
Wants = Callable[[PendingRow], bool]


class Delivered(NamedTuple):
    """A row that a durable sink has been given; a newer one of its key has still to be delivered."""

    sink: str
    key: str
    sequence: int


COUNT = RowKind(
    name="count",
    entity=entities.CountWindow,
    model=tables.CountWindowRow,
    key=tables.COUNT_KEY,
    rises="count",
)
WINDOW = RowKind(
    name="window",
    entity=entities.SourceWindow,
    model=tables.SourceWindowRow,
    key=("source", "window_start", "window_end"),
    rises="coverage",
)
#: A window during which no worker ran: it never replaces one that was watched.
UNWATCHED = replace(WINDOW, name="unwatched", key_prefix="window", first_wins=True)
#: Its first box keeps tracks apart whose ids began again, since a camera's saved state was lost.
EVENT = RowKind(
    name="event",
    entity=entities.Event,
    model=tables.EventRow,
    key=("source", "kind", "place", "track_id", "first_time", "ordinal"),
    unique=("id",),
    id_prefix=("event",),
    first_wins=True,
    derived={"end_time": lambda row: None if lasts(row["kind"], row["direction"]) else row["event_time"]},
    time="event_time",
    urgent=True,
)
#: Replaces the event where that waits still; what takes it from the outbox learns both at once then.
EVENT_END = replace(
    EVENT,
    name="event_end",
    entity=entities.EventEnd,
    first_wins=False,
    replaced=("end_time", "change_number"),
    derived={"end_time": lambda row: max(row["end_time"], row["event_time"])},
    key_prefix="event",
)
ALERT = RowKind(
    name="alert", entity=entities.Alert, model=tables.AlertRow, key=("alert_id",), time=None, urgent=True
)
#: What is told comes from here: the outbox of each route that a notification names.
NOTIFICATION = RowKind(
    name="notification",
    entity=entities.Notification,
    model=tables.NotificationRow,
    key=("alert_id", "ordinal"),
    first_wins=True,
    time=None,
    urgent=True,
)
MUTE = RowKind(name="mute", entity=entities.Mute, model=tables.MuteRow, key=("source", "rule"), time=None)
DRIFT = RowKind(
    name="drift",
    entity=entities.DriftWindow,
    model=tables.DriftWindowRow,
    key=("source", "window_start", "model_version"),
)
CLOCK = RowKind(
    name="clock",
    entity=entities.ClockWindow,
    model=tables.ClockWindowRow,
    key=("source", "window_start"),
)
VIEW = RowKind(
    name="view", entity=entities.CameraView, model=tables.CameraViewRow, key=("source",), time=None
)
CLIP = RowKind(
    name="clip",
    entity=entities.Clip,
    model=tables.ClipRow,
    key=("source", "start_time"),
    time="start_time",
    urgent=True,
)
PATH = RowKind(
    name="path",
    entity=entities.TrackPath,
    model=tables.TrackPathRow,
    key=("source", "start_time", "track_id"),
    time="start_time",
)
#: What has columns of its own; the rest of a status goes into the column ``status``.
_OWN_COLUMNS = {"created_at", "sequence", "source", "state", "message", "status_time", "last_frame_time"}
#: Shares its table with the status; whichever comes first leaves the other's columns at their defaults.
RESUME = RowKind(
    name="resume",
    entity=ResumeState,
    model=tables.CameraRow,
    key=("source",),
    replaced=("resume", "sequence"),
    time=None,
)
STATUS = RowKind(
    name="status",
    entity=CameraStatus,
    model=tables.CameraRow,
    key=("source",),
    replaced=("state", "message", "heartbeat", "last_frame_time", "status"),
    derived={
        "heartbeat": lambda row: datetime.fromtimestamp(row["status_time"], UTC),
        "status": lambda row: {name: value for name, value in row.items() if name not in _OWN_COLUMNS},
        "sequence": lambda _: 0,
    },
    time=None,
)

#: By name. Of an entity's kinds the first is the one of its rows in a checkpoint.
KINDS = {
    kind.name: kind
    for kind in (
        COUNT,
        WINDOW,
        UNWATCHED,
        EVENT,
        EVENT_END,
        ALERT,
        NOTIFICATION,
        MUTE,
        DRIFT,
        CLOCK,
        VIEW,
        CLIP,
        PATH,
        RESUME,
        STATUS,
    )
}


def is_event(row: PendingRow) -> bool:
    """Whether it says that something has happened, or has ended."""
    return row.kind.model is tables.EventRow


def is_own(row: PendingRow) -> bool:
    """Whether it is about what troubles this program itself, which nobody else can tell."""
    if row.kind is NOTIFICATION:
        return row.values["alert"].get("kind") not in entities.RULE_KINDS
    return is_event(row) and row.values["kind"] not in entities.RULE_KINDS


def pending_row(entity: Result | ResumeState | CameraStatus, sequence: int) -> PendingRow:
    """The entity as a row of its kind."""
    kind = next(kind for kind in KINDS.values() if kind.entity is type(entity))
    return kind.pending(entity, sequence)


def rows_of(checkpoint: Checkpoint, sequence: int) -> Iterator[PendingRow]:
    """A checkpoint's rows, then its resume state."""
    for row in (*checkpoint.rows, ResumeState(checkpoint.source, checkpoint.resume)):
        yield pending_row(row, sequence)


def parse_resume(source: str, text: str | bytes | None) -> dict[str, Any]:
    """A resume state from its JSON; empty where that is damaged."""
    try:
        resume = json.loads(text or "{}")
    except ValueError:
        resume = None
    if isinstance(resume, dict):
        return resume
    log.warning("camera %s: its saved state cannot be read; it begins anew", source)
    return {}


def with_stored(states: ResumeStates, rows: Iterable[PendingRow]) -> ResumeStates:
    """The states, each with those of its camera's windows that may still be open, by kind, as "stored"."""
    found = {source: (sequence, dict(resume)) for source, (sequence, resume) in states.items()}
    for row in rows:
        _, resume = found.setdefault(row.source, (0, {}))
        kind = COUNT if row.kind is COUNT else WINDOW
        resume.setdefault("stored", {}).setdefault(kind.name, []).append(dict(row.values))
    return found


def merge(into: MutableMapping[str, PendingRow], rows: Iterable[PendingRow]) -> None:
    """Merge rows into those of earlier ones; a row that replaces another moves to the end of the order.

    What a sink had still to be given it is given in the newer form, whether it wants that by itself or not.
    """
    for row in rows:
        if not (row.kind.first_wins and row.key in into):
            before = into.pop(row.key, None)
            if before is not None and not {*before.sinks} <= {*row.sinks}:
                row = replace(row, sinks=tuple({*before.sinks, *row.sinks}))  # noqa: PLW2901
            into[row.key] = row
