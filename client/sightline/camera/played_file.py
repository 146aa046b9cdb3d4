"""How far a recorded file has been played, so that a camera that starts again goes on from there."""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sightline.analysis.observer import JSON, Observation, Observer
from sightline.analysis.saved import from_json
from sightline.base.values import values_of
from sightline.entities import Result

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where it is: the last frame that was analysed, on both time lines (seconds, UTC epoch seconds)."""

    play: str = ""  # which playing of which file
    media_s: float = 0.0
    capture_time: float = 0.0


class PlayedFile(Observer):
    """Takes note of the newest frame of a file that is played once, without drops.

    Its worker may die, or its chain fail, before the file ends. The next one would count the beginning
    a second time, as its frames would get new times; so it goes on after the frame that is kept beside the
    counts. Another run of the program plays the file from its beginning again.
    """

    name = "played_file"

    def __init__(self, camera: str, play: str, url: str, state: Mapping[str, Any] | None = None) -> None:
        """Begin, or go on from a :meth:`snapshot` of the same ``play``, of the file at ``url``."""
        self._play = f"{play} {hashlib.sha256(url.encode()).hexdigest()[:16]}"
        self._place: _Place | None = None
        try:
            place = from_json(_Place, state or {})
        except ValueError as error:
            log.warning("camera %s: its file is played from the beginning: %s", camera, error)
        else:
            self._place = place if place.play == self._play else None
        if self._place is not None:
            log.warning("camera %s: its file goes on at %.1f s", camera, self._place.media_s)

    @property
    def place(self) -> tuple[float, float] | None:
        """Media time and capture time of the last frame that was analysed; None before the first."""
        return None if self._place is None else (self._place.media_s, self._place.capture_time)

    def observe(self, seen: Observation) -> Iterable[Result]:
        """Take note of the frame."""
        self._place = _Place(self._play, seen.frame.media_s, seen.frame.capture_time)
        return ()

    def snapshot(self) -> JSON:
        """Where the file is."""
        return {} if self._place is None else values_of(self._place)
