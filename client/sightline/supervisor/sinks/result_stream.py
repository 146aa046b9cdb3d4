"""Results as messages, the same for every broker: which are sent, what they say, and their JSON Schemas.

``docs/streams.md`` says what a receiver can rely on; ``docs/schemas`` holds the schemas.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import fields
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints
from urllib.parse import quote

from sightline.config.groups import SOURCE
from sightline.entities import CameraStatus, CountWindow, Event, SourceWindow, lasts
from sightline.store.kinds import COUNT, EVENT, EVENT_END, STATUS, UNWATCHED, WINDOW, PendingRow
from sightline.supervisor.sinks.sink import DurableSink

STATUS_EVERY_S = 10.0  # a camera's status, while nothing changes
_JSON_TYPES = {str: "string", float: "number", int: "integer", bool: "boolean", NoneType: "null"}


class Stream(StrEnum):
    """One of the streams; its value is the last part of a topic."""

    EVENTS = "events"
    WINDOWS = "windows"
    STATUS = "status"


#: By kind of row, the stream that it belongs to; other kinds are not sent.
_STREAMS = {
    EVENT.name: Stream.EVENTS,
    EVENT_END.name: Stream.EVENTS,
    COUNT.name: Stream.WINDOWS,
    WINDOW.name: Stream.WINDOWS,
    UNWATCHED.name: Stream.WINDOWS,
    STATUS.name: Stream.STATUS,
}
_SCHEMA_IDS = {
    Stream.EVENTS: "sightline.event.v1",
    Stream.WINDOWS: "sightline.window.v1",
    Stream.STATUS: "sightline.status.v1",
}


class ResultStream(DurableSink):
    """A broker that is sent every event, each window once it has ended, and the cameras' states."""

    def __init__(self) -> None:
        # Used in `wants` alone, which the writer calls with its lock held. By camera: what its last status
        # that was sent said, and when.
        self._told: dict[str, tuple[Any, float]] = {}

    def wants(self, row: PendingRow) -> bool:
        """Events and their ends; windows that have ended; a status that says something new, or is due.

        The canary is left out: it is not a real camera.
        """
        stream = _STREAMS.get(row.kind.name)
        if stream is None or row.source == SOURCE:
            return False
        if stream is Stream.WINDOWS:
            return bool(row.values["window_end"] <= time.time())
        return stream is Stream.EVENTS or self._is_news(row.values)

    def _is_news(self, status: Mapping[str, Any]) -> bool:
        """Whether a camera's state has changed, or one of its zones has become empty or occupied."""
        occupied = {zone for zone, tracks in status["occupancy"].items() if tracks}
        state, now = (status["state"], occupied), status["status_time"]
        told, told_time = self._told.get(status["source"], (None, 0.0))
        if state == told and abs(now - told_time) < STATUS_EVERY_S:
            return False
        self._told[status["source"]] = state, now
        return True


def stream_of(row: PendingRow) -> Stream:
    """The stream that a row belongs to."""
    return _STREAMS[row.kind.name]


def in_order(rows: Iterable[PendingRow]) -> list[PendingRow]:
    """As things happened: rows of one checkpoint by their time."""
    return sorted(rows, key=lambda row: (row.sequence, row.time))


def message_key(row: PendingRow) -> str:
    """What the result is called wherever and however often it is told: its row's key, in printable ASCII."""
    return "/".join(quote(part, safe="") for part in row.key.split("\x1f"))


def message_of(row: PendingRow) -> dict[str, Any]:
    """What is sent of a row, JSON-able."""
    stream, values = stream_of(row), dict(row.values)
    head = {"schema": _SCHEMA_IDS[stream], "key": message_key(row), "sequence": row.sequence}
    if stream is Stream.EVENTS:
        going_on = lasts(values["kind"], values["direction"])
        head["end_time"] = None if going_on else values["event_time"]
    elif stream is Stream.WINDOWS:
        head["measure"] = "count" if row.kind is COUNT else "coverage"
    return head | values


def json_schemas() -> dict[str, dict[str, Any]]:
    """By name, as they stand in ``docs/schemas/NAME.v1.json``.

    Within a version fields may be added, and values to those that name one of several; nothing else changes.
    """
    windows = [
        _object(Stream.WINDOWS, entity, measure={"const": measure})
        for entity, measure in ((CountWindow, "count"), (SourceWindow, "coverage"))
    ]
    bodies = {
        "event": _object(Stream.EVENTS, Event, end_time={"type": ["number", "null"]}),
        "window": {"oneOf": windows},
        "status": _object(Stream.STATUS, CameraStatus),
    }
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {
        name: {"$schema": dialect, "title": f"sightline.{name}.v1", **body} for name, body in bodies.items()
    }


def _object(stream: Stream, entity: type, **more: Any) -> dict[str, Any]:
    """The schema of an entity's messages."""
    head = {
        "schema": {"const": _SCHEMA_IDS[stream]},
        "key": {"type": "string"},
        "sequence": {"type": "integer"},
    }
    return entity_schema(entity, **head, **more)


def entity_schema(entity: type, **more: Any) -> dict[str, Any]:
    """The schema of an entity's fields and of ``more`` before them."""
    hints = get_type_hints(entity)
    properties = {**more, **{field.name: _schema_of(hints[field.name]) for field in fields(entity)}}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _schema_of(hint: Any) -> dict[str, Any]:
    """The schema of a field's type."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return {"type": [_JSON_TYPES[part] for part in parts]}
    if origin is tuple:
        return {"type": "array", "items": _schema_of(parts[0])}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _schema_of(parts[1])}
    if issubclass(hint, StrEnum):  # later releases know more of them
        return {"type": "string", "examples": [item.value for item in hint]}
    return {"type": _JSON_TYPES[hint]}
