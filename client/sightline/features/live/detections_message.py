"""The boxes of a frame as a message, and its JSON Schema (``docs/schemas/detections.v1.json``)."""

import json
from collections.abc import Mapping
from typing import Any

from sightline.analysis.observer import Observation

SCHEMA_ID = "sightline.detections.v1"
_NUMBER, _TEXT, _COUNT = {"type": "number"}, {"type": "string"}, {"type": "integer", "minimum": 0}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


#: Within a version fields may be added; nothing else changes.
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": SCHEMA_ID,
    **_object(
        schema={"const": SCHEMA_ID},
        camera=_TEXT,
        capture_time={"description": "UTC epoch seconds", **_NUMBER},
        media_s={"description": "seconds on the stream's own clock: its PTS", **_NUMBER},
        coded_end={
            "description": "last bytes of the frame's coded packet, in hex; empty: not known",
            **_TEXT,
        },
        clock_source={
            "description": "of capture_time: rtcp, rtcp_corrected, pts, arrival",
            **_TEXT,
        },
        width={"description": "of the picture as shown, in square pixels", **_COUNT},
        height=_COUNT,
        model_version=_TEXT,
        objects={
            "type": "array",
            "items": _object(
                id={"description": "of the track, unique within the camera for ever", "type": "integer"},
                box={
                    "description": "left, top, right, bottom in shares of the picture",
                    "type": "array",
                    "items": _SHARE,
                    "minItems": 4,
                    "maxItems": 4,
                },
                score=_SHARE,
                **{"class": _TEXT},
                confirmed={"description": "it has lasted long enough to count", "type": "boolean"},
            ),
        },
        zones={
            "description": "by name, how many confirmed objects are in it",
            "type": "object",
            "additionalProperties": _COUNT,
        },
        lines={
            "description": "by name, crossings in each direction in the counting window that is open",
            "type": "object",
            "additionalProperties": _object(forward=_COUNT, backward=_COUNT),
        },
    ),
}


def detections_message(
    camera: str,
    seen: Observation,
    zones: Mapping[str, int],
    lines: Mapping[str, Mapping[str, int]],
) -> bytes:
    """JSON of the tracks that have a box in the frame, and of what zones and lines hold now."""
    frame, tracks = seen.frame, seen.tracks
    columns = (tracks.ids, tracks.xyxy.clip(0, 1), tracks.scores, tracks.class_ids, tracks.confirmed)
    message = {
        "schema": SCHEMA_ID,
        "camera": camera,
        "capture_time": frame.capture_time,
        "media_s": frame.media_s,
        "coded_end": frame.coded_end.hex(),
        "clock_source": frame.clock_source,
        "width": frame.picture.width,
        "height": frame.picture.height,
        "model_version": seen.model_version,
        "objects": [
            {
                "id": track,
                "box": [round(share, 4) for share in box],
                "score": round(score, 3),
                "class": seen.classes.name(class_id),
                "confirmed": confirmed,
            }
            for track, box, score, class_id, confirmed in zip(
                *(column.tolist() for column in columns), strict=True
            )
        ],
        "zones": dict(zones),
        "lines": {name: dict(crossings) for name, crossings in lines.items()},
    }
    return json.dumps(message, separators=(",", ":")).encode()
