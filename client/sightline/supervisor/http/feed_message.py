"""What is sent of events and alerts as they change, and its JSON Schema (``docs/schemas/feed.v1.json``)."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from sightline.entities import Alert
from sightline.store.read.changes import RowChange
from sightline.supervisor.http.api_reading import StoredEvent, stored_event
from sightline.supervisor.sinks.result_stream import entity_schema

SCHEMA_ID = "sightline.feed.v1"
#: By type of message, what stands in it besides ``schema``, ``type`` and ``id``.
_BODIES: dict[str, dict[str, Any]] = {
    "start": {
        "resumed": {
            "description": "whether all that came after the id that was asked for follows",
            "type": "boolean",
        }
    },
    "event": {"event": entity_schema(StoredEvent)},
    "alert": {"alert": entity_schema(Alert)},
    "database": {"answers": {"description": "false: what happens now comes later", "type": "boolean"}},
    "alive": {},
}


@dataclass(frozen=True, slots=True)
class FeedItem:
    """A change as it is sent."""

    number: int
    source: str  # the camera; empty: the program itself
    is_alert: bool
    text: str


def feed_text(kind: str, number: int, **body: Any) -> str:
    """A message of a type; ``number`` of the change up to which all has been sent by then."""
    message = {"schema": SCHEMA_ID, "type": kind, "id": str(number), **body}
    return json.dumps(message, separators=(",", ":"))


def feed_item(change: RowChange) -> FeedItem:
    """A change as a message."""
    if change.alert is not None:
        text = feed_text("alert", change.number, alert=asdict(change.alert))
    else:
        text = feed_text("event", change.number, event=asdict(stored_event(change.event or {})))
    return FeedItem(change.number, change.source, change.alert is not None, text)


def feed_schema() -> dict[str, Any]:
    """Of every message. Within a version fields and types may be added; nothing else changes."""
    head: dict[str, Any] = {
        "schema": {"const": SCHEMA_ID},
        "id": {"description": "to go on after, when the connection breaks", "type": "string"},
    }
    messages = []
    for kind, body in _BODIES.items():
        properties = {**head, "type": {"const": kind}, **body}
        messages.append({"type": "object", "properties": properties, "required": list(properties)})
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, "title": SCHEMA_ID, "oneOf": messages}
