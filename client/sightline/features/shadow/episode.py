"""An episode: what two models found on the very same frames of one interval, as a file; and which intervals.

``CAMERA/START.jsonl.gz``: first a line that says what it is (:class:`EpisodeHead`), then one line a frame,
the boxes of both as columns of whole numbers. Pictures of the largest differences lie beside it. An episode
is whole or is not there.
"""

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sightline.entities import Detections
from sightline.errors import ShadowError
from sightline.features.kept_files import from_columns, to_columns, write_private

SUFFIX = ".jsonl.gz"
_FORMAT = 1
BLOCK = 100  # intervals; of each block a fixed number is chosen, so the budget holds in every block


class EpisodeSampler:
    """Cuts UTC into intervals and chooses whole ones, since a tracker needs frame after frame.

    Every process that has the same seed chooses the same ones for a camera, so nothing has to be remembered;
    another seed chooses others, and so does another camera. ``share`` is kept in steps of 1/:data:`BLOCK`.
    """

    def __init__(self, camera: str, *, share: float, episode_s: float, seed: int = 0) -> None:
        self._key = (seed, zlib.crc32(camera.encode()))
        self._chosen_each, self._episode_s = round(share * BLOCK), episode_s
        self._block: tuple[int, frozenset[int]] = (-1, frozenset())

    def interval_no(self, capture_time: float) -> int | None:
        """The number of the interval that a moment (epoch seconds) lies in; None when it is not chosen."""
        number = int(capture_time // self._episode_s)
        block, place = divmod(number, BLOCK)
        if self._block[0] != block:
            order = np.random.default_rng([*self._key, block]).permutation(BLOCK)
            self._block = (block, frozenset(order[: self._chosen_each].tolist()))
        return number if place in self._block[1] else None


@dataclass(slots=True)
class EpisodeHead:
    """What an episode is."""

    camera: str  # whose frames
    start: float  # capture time of the first frame, epoch seconds
    seconds: float = 0.0  # from its first to its last frame
    frames: int = 0  # frames that both models answered; all of them are in the file, unless it is void
    #: Frames of the interval that were not compared, by reason.
    dropped: dict[str, int] = field(default_factory=dict)
    void: str = ""  # why the episode says nothing; empty when it does
    live_model: str = ""  # what serves
    live_version: str = ""
    candidate_model: str = ""  # what might
    candidate_version: str = ""
    live_classes: tuple[str, ...] = ()  # names of the class numbers in the file
    candidate_classes: tuple[str, ...] = ()
    infer_s: float = 0.0  # seconds that the candidate took for all frames together, from request to answer
    #: How the camera is watched: of ``Camera.shaping_options``.
    options: Mapping[str, Any] = field(default_factory=dict)
    pictures: Sequence[Mapping[str, Any]] = ()  # of the largest differences: ``file``, ``time``, ``what``


@dataclass(frozen=True, slots=True)
class PairedFrame:
    """One frame: what both models found on it."""

    capture_time: float
    live: Detections
    candidate: Detections

    def encode(self) -> str:
        """Its line."""
        columns = [round(self.capture_time, 4), to_columns(self.live), to_columns(self.candidate)]
        return json.dumps(columns, separators=(",", ":"))


def write(path: Path, head: EpisodeHead, lines: Sequence[str]) -> None:
    """Write a whole episode."""
    first = json.dumps({"shadow": _FORMAT, **asdict(head)}, ensure_ascii=False)
    write_private(path, gzip.compress("\n".join([first, *lines, ""]).encode(), 6))


def read(path: Path) -> tuple[EpisodeHead, list[PairedFrame]]:
    """An episode with its frames; :class:`ShadowError`: the file is not one of ours."""
    head, lines = read_lines(path)
    try:
        frames = ((float(time), map(from_columns, both)) for time, *both in map(json.loads, lines))
        return head, [PairedFrame(time, *both) for time, both in frames]
    except (ValueError, TypeError) as error:
        raise ShadowError(f"{path}: {error!r}") from error


def read_lines(path: Path) -> tuple[EpisodeHead, list[str]]:
    """An episode with the lines of its frames; :class:`ShadowError`: the file is not one of ours."""
    try:
        first, *lines = gzip.decompress(path.read_bytes()).decode().splitlines() or [""]
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ShadowError(f"{path} cannot be read: {error}") from error
    try:
        record = json.loads(first)
        if record.pop("shadow") != _FORMAT:
            raise ShadowError(f"{path} was written by another version of Sightline")
        for key in ("live_classes", "candidate_classes", "pictures"):
            record[key] = tuple(record[key])
        return EpisodeHead(**record), lines
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ShadowError(f"{path} is no episode: {error!r}") from error
