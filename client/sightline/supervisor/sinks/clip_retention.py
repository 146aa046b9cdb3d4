"""Clips go once they are too old or too much, the oldest first; never one that is still to be copied.

It takes no rows: it is a sink for the thread that each sink has, so that a slow disk holds up nobody.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sightline.config import Config
from sightline.config.groups import DAY_S, RetentionOptions
from sightline.entities import Clip, picture_name
from sightline.errors import StoreUnavailable
from sightline.store.read.kept_clips import KeptClips, read_kept_clips
from sightline.store.read.readonly import reading_from
from sightline.supervisor.sinks.sink import TickingSink

UPLOADS = "uploads"  # the sink that copies clips
AT_ONCE = 50  # clips, at most, between two rests


class ClipRetention(TickingSink):
    """Deletes the files of clips that the database knows; their rows stay, without paths.

    Args:
        options: for how many days, and how many bytes; replaced by :meth:`update`.
        load: what there is; StoreUnavailable while the database is away: then nothing is deleted.
        clock: our UTC.
    """

    name = "clip_retention"

    def __init__(
        self,
        options: RetentionOptions,
        load: Callable[[], KeptClips],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._options, self._load, self._clock = options, load, clock

    def update(self, config: Config) -> None:
        """Other limits hold from now on."""
        self._options = config.retention

    def tick(self) -> None:
        """Delete some of what is too old or too much."""
        days, most = self._options.clips_days, self._options.clips_bytes
        if days is None and most is None:
            return
        try:
            kept = self._load()
        except StoreUnavailable:
            return  # which is shown elsewhere
        too_old = -math.inf if days is None else self._clock() - days * DAY_S
        too_much = 0 if most is None else kept.bytes - most
        gone: list[Clip] = []
        try:
            for clip in kept.oldest:
                if clip.start_time >= too_old and too_much <= 0:
                    break
                for path in files_of(clip):  # before the row: a crash between the two leaves no stray file
                    path.unlink(missing_ok=True)
                too_much -= clip.bytes
                gone.append(without_files(clip))
        finally:
            self._put(gone)


def files_of(clip: Clip) -> list[Path]:
    """Its pictures, its tracks, its copy, and last its video, as far as the clip has them."""
    folder = Path(clip.path or clip.thumbnail).parent
    pictures = {str(folder / picture_name(key)) for key in clip.events if clip.path or clip.thumbnail}
    tracks = str(Path(clip.path).with_suffix(".json")) if clip.path else ""
    last = (tracks, clip.h264_path, clip.path)
    return [Path(path) for path in (*sorted({clip.thumbnail, *pictures}), *last) if path]


def without_files(clip: Clip, **changes: Any) -> Clip:
    """The clip as it is once its files here are gone."""
    return replace(clip, path="", thumbnail="", h264_path="", **changes)


def make(config: Config) -> list[ClipRetention]:
    """The sink, always: its limits may be set while the program runs."""
    url = config.database.url.get_secret_value()

    def load() -> KeptClips:
        with reading_from(url) as connection:
            return read_kept_clips(connection, UPLOADS, AT_ONCE)

    return [ClipRetention(config.retention, load)]
