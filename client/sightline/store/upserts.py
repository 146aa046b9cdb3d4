"""Records as rows of the tables, and the statements that write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import SQLModel

from sightline.entities import CameraState
from sightline.store.kinds import Kind, Record
from sightline.store.tables import (
    CameraRow,
    CountWindowRow,
    DriftWindowRow,
    EventRow,
    SourceWindowRow,
    count_window_id,
    event_id,
)

_STATUS_COLUMNS = ("source", "state", "message", "status_time", "last_frame_time")  # the rest goes into JSON
Row = dict[str, Any]


def upsert(connection: Connection, kind: Kind, records: Sequence[Record], *, stale: bool) -> None:
    """Write records of one kind; no two may have the same key.

    Args:
        connection: in a transaction.
        kind: of all the records.
        records: what to write.
        stale: they are older than what the database may hold: rows that are there stay.
    """
    now = datetime.now(UTC)
    table, make_row, key, replaced = _PLANS[kind]
    insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)
    if stale or not replaced:
        statement = insert.on_conflict_do_nothing(index_elements=key)
    else:
        statement = insert.on_conflict_do_update(
            index_elements=key, set_={name: insert.excluded[name] for name in replaced}
        )
    connection.execute(statement, [make_row(record, now) for record in records])


def table_of(model: type[SQLModel]) -> Table:
    """The model's table."""
    return SQLModel.metadata.tables[str(model.__tablename__)]


def _count_row(record: Record, now: datetime) -> Row:
    row = _with_times(record.values)
    row["item_class"] = row["item_class"][:100]
    row["id"] = count_window_id(row["source"], row["item_class"], row["window_start"], row["window_end"])
    return {**row, "created_at": now}


def _window_row(record: Record, _now: datetime) -> Row:
    return _with_times(record.values)


def _resume_row(record: Record, now: datetime) -> Row:
    # The status columns are only for a camera that has no row yet.
    return {
        "source": record.source,
        "state": CameraState.STARTING.value,
        "message": "",
        "heartbeat": now,
        "status": {},
        "resume": record.values["resume"],
        "sequence": record.sequence,
    }


def _status_row(record: Record, _now: datetime) -> Row:
    values = record.values
    last = values["last_frame_time"]
    return {
        "source": record.source,
        "state": str(values["state"]),
        "message": values["message"],
        "heartbeat": _utc(values["status_time"]),
        "last_frame_time": None if last is None else _utc(last),
        "status": {name: value for name, value in values.items() if name not in _STATUS_COLUMNS},
        "resume": {},
        "sequence": 0,
    }


def _event_row(record: Record, now: datetime) -> Row:
    row = dict(record.values)
    track = (row["track_id"], row.pop("first_time"))
    row["kind"] = str(row["kind"])
    row["item_class"] = row["item_class"][:100]
    row["id"] = event_id(row["source"], row["kind"], row["place"], track, row.pop("ordinal"))
    times = {name: _utc(row[name]) for name in ("event_time", "confirmed_time")}
    return {**row, **times, "created_at": now}


def _drift_row(record: Record, _now: datetime) -> Row:
    row = _with_times(record.values)
    return {**row, "model_version": row["model_version"][:100]}


def _with_times(values: Mapping[str, Any]) -> Row:
    times = {name: _utc(values[name]) for name in ("window_start", "window_end")}
    return {**values, **times}


def _utc(time: float) -> datetime:
    return datetime.fromtimestamp(time, UTC)


_WINDOW_KEY = ("source", "window_start", "window_end")
_WINDOW_VALUES = (
    "coverage",
    "effective_fps",
    "dropped_frames",
    "clock_source",
    "model_version",
    "config_hash",
)
#: kind -> table, record to row, the key's columns, the columns that a newer record replaces
_PLANS: Mapping[Kind, tuple[Table, Callable[[Record, datetime], Row], tuple[str, ...], tuple[str, ...]]] = {
    Kind.COUNT: (
        table_of(CountWindowRow),
        _count_row,
        ("source", "item_class", "window_start", "window_end"),
        ("count",),
    ),
    Kind.WINDOW: (table_of(SourceWindowRow), _window_row, _WINDOW_KEY, _WINDOW_VALUES),
    Kind.UNWATCHED: (table_of(SourceWindowRow), _window_row, _WINDOW_KEY, ()),
    Kind.RESUME: (table_of(CameraRow), _resume_row, ("source",), ("resume", "sequence")),
    Kind.STATUS: (
        table_of(CameraRow),
        _status_row,
        ("source",),
        ("state", "message", "heartbeat", "last_frame_time", "status"),
    ),
    Kind.EVENT: (table_of(EventRow), _event_row, ("id",), ()),
    Kind.DRIFT: (
        table_of(DriftWindowRow),
        _drift_row,
        ("source", "window_start", "model_version"),
        ("window_end", "frames", "boxes", "pictures", "figures"),
    ),
}
