"""``recording``: continuous recording, which is MediaMTX's job, and how it is linked to."""

import string
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from sightline.config.option_group import OptionGroup, hot

FIELDS = ("camera", "start", "seconds")


def _check_template(url: str) -> str:
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(url) if field is not None]
        parts = urlsplit(url.format_map(dict.fromkeys(FIELDS, "0")))
    except (ValueError, KeyError, IndexError, AttributeError):
        fields, parts = [], urlsplit("")
    if sorted(fields) != sorted(FIELDS) or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise PydanticCustomError(
            "recording",
            "must be http(s)://HOST/… with {fields} in it, each once",
            {"fields": ", ".join(f"{{{field}}}" for field in FIELDS)},
        )
    if parts.username is not None:
        raise PydanticCustomError("recording", "must not name a user: links are shown to people")
    return url


class RecordingOptions(OptionGroup):
    """``recording``: continuous recordings of the cameras, made by MediaMTX."""

    url: Annotated[str, AfterValidator(_check_template)] | None = hot(
        None, "Link to the recording of an event, with {camera}, {start} and {seconds}; null: none."
    )
    pre_s: float = hot(10.0, "Seconds before an event that the link shows.", ge=0, le=3600)
    post_s: float = hot(20.0, "Seconds after it, or after its end.", ge=0, le=3600)
    keep_days: float = hot(7.0, "How long `sightline recorder` lets MediaMTX keep recordings.", gt=0, le=3650)

    def link(self, camera: str, event_time: float, end_time: float | None) -> str:
        """Where the recording of an event is played; empty: nothing is recorded, or it is no camera's event.

        Args:
            camera: its source.
            event_time: UTC epoch seconds.
            end_time: when it ended, if it has.
        """
        if not self.url or not camera:
            return ""
        start = datetime.fromtimestamp(event_time - self.pre_s, UTC).isoformat(timespec="milliseconds")
        seconds = self.pre_s + max((end_time or event_time) - event_time, 0.0) + self.post_s
        start = start.replace("+00:00", "Z")
        return self.url.format(camera=quote(camera, safe=""), start=quote(start), seconds=f"{seconds:.1f}")
