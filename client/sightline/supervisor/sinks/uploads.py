"""Finished clips are copied to a store of S3's kind or to a folder, with their tracks and their thumbnail.

Names are made of camera, day and file, so a clip that is sent twice, after a kill, say, is there once. While
the store does not answer, clips wait in their folder and their rows in the outbox.
"""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.base.extras import require_extra
from sightline.config import Config
from sightline.config.upload_options import UploadOptions
from sightline.entities import Clip, ClipState, EventKind
from sightline.store.kinds import CLIP, PendingRow
from sightline.supervisor.sinks.clip_retention import UPLOADS, files_of, without_files
from sightline.supervisor.sinks.sink import DurableSink

if TYPE_CHECKING:
    from obstore.store import ObjectStore

log = logging.getLogger(__name__)

CONNECT_S = 5.0
#: The library's text ends at "error sending request"; what is inside says why.
_REASON = re.compile(r'(?:message|error): (?:"([^"]+)"|(Invalid\w+)\(\s*(\w+))')
MAX_ERROR = 300  # characters of what the store says


class Uploads(DurableSink):
    """Copies clips, one after the other; what the configuration says is deleted here afterwards."""

    name = UPLOADS
    batch = 1  # so that what follows a clip that fails waits, and what went before is not sent again
    slow_s = 900.0
    trouble = EventKind.UPLOAD_FAILED

    def __init__(self, options: UploadOptions, url: str) -> None:
        require_extra("obstore", "uploads need obstore", "s3")
        self._options, self._url = options, url.rstrip("/")
        self._store: ObjectStore | None = None

    def wants(self, row: PendingRow) -> bool:
        """Clips that are finished and not there yet."""
        values = row.values
        return (
            row.kind is CLIP
            and values["state"] == ClipState.FINISHED
            and bool(values["path"] and not values["url"])
        )

    def deliver(self, rows: Sequence[PendingRow]) -> None:
        """Copy clips.

        Raises:
            OSError: the store did not take one.
        """
        from obstore.exceptions import BaseError  # noqa: PLC0415  for those who use it

        for row in rows:
            clip = Clip(**{**row.values, "events": tuple(row.values["events"])})
            try:
                copied = self._copied(clip)
            except (BaseError, OSError, ValueError) as error:
                raise OSError(self._text_of(error)) from None  # the library's own text may hold keys
            self._put([copied])
            if self._options.delete_local:
                for path in files_of(clip):
                    path.unlink(missing_ok=True)

    def probe(self) -> str:
        """Look for clips in the store; whether some may be written there, only the first one shows."""
        import obstore  # noqa: PLC0415
        from obstore.exceptions import BaseError  # noqa: PLC0415

        folder = self._options.folder
        if folder is not None and not os.access(folder, os.W_OK | os.X_OK):
            raise OSError(f"{folder} is not there, or this user may not write into it")
        try:
            for _ in obstore.list(self._open(), chunk_size=1):
                break
        except (BaseError, OSError, ValueError) as error:
            raise OSError(self._text_of(error)) from None
        return "can be read"

    def _copied(self, clip: Clip) -> Clip:
        """The clip as it is once its files are there; the video comes last."""
        import obstore  # noqa: PLC0415

        store = self._open()
        folder = f"{clip.source}/{datetime.fromtimestamp(clip.start_time, UTC):%Y/%m/%d}"
        name = f"{folder}/{Path(clip.path).name}"
        if Path(clip.path).is_file():
            for path in files_of(clip):
                if path.is_file():
                    obstore.put(store, f"{folder}/{path.name}", path)
        else:
            try:  # a run that was killed may have copied and deleted it
                obstore.head(store, name)
            except FileNotFoundError:
                self.give_up()
                log.error("uploads: the clip %s is no longer there, nor at its destination", clip.path)
                return without_files(clip, state=ClipState.LOST)
        url = f"{self._url}/{name}"
        return without_files(clip, url=url) if self._options.delete_local else replace(clip, url=url)

    def _open(self) -> "ObjectStore":
        """The store; a folder must be there, since what is mounted there may be missing."""
        from obstore.store import LocalStore, S3Store  # noqa: PLC0415

        options = self._options
        if self._store is None and options.folder is not None:
            self._store = LocalStore(options.folder)
        elif self._store is None:
            values = {
                "endpoint": options.endpoint,
                "access_key_id": options.access_key and options.access_key.get_secret_value(),
                "secret_access_key": options.secret_key and options.secret_key.get_secret_value(),
            }
            keys: Any = {name: value for name, value in values.items() if value}
            self._store = S3Store.from_url(
                self._url,
                region=options.region,
                config=keys,
                client_options={
                    "allow_http": options.allow_http,
                    "connect_timeout": timedelta(seconds=CONNECT_S),
                    "timeout": timedelta(seconds=options.timeout_s),
                },
                # What lasts longer is for the runner's back-off, so that it is shown.
                retry_config={"max_retries": 1, "retry_timeout": timedelta(seconds=options.timeout_s)},
            )
        assert self._store is not None  # noqa: S101  one of the two has made it
        return self._store

    def _text_of(self, error: Exception) -> str:
        """What went wrong, in a line, without keys."""
        text, _, inside = str(error).partition("\n\nDebug source:")
        reasons = [" ".join(filter(None, groups)) for groups in _REASON.findall(inside)]
        text = ": ".join([*reasons[-1:], " ".join(text.split())])
        for secret in (self._options.secret_key, self._options.access_key):
            if secret is not None:
                text = text.replace(secret.get_secret_value(), "***")
        return text[:MAX_ERROR] or type(error).__name__


def make(config: Config) -> list[Uploads]:
    """The sink, if clips are to be copied."""
    return [Uploads(config.uploads, config.uploads.url)] if config.uploads.url else []
