"""An episode: what two models found on the very same frames of one interval, as a file.

``CAMERA/START.jsonl.gz``: first a line that says what it is (:class:`EpisodeHead`), then one line a frame,
the boxes of both. Boxes are whole numbers of 1/10000 of the picture, scores of 1/1000. Pictures of the
largest differences lie beside it. An episode is whole or is not there.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sightline.entities import Detections
from sightline.errors import ShadowError
from sightline.features.box_columns import from_columns, to_columns

SUFFIX = ".jsonl.gz"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class EpisodeHead:
    """What an episode is.

    Attributes:
        camera: whose frames.
        start: capture time of the first frame, epoch seconds.
        seconds: from its first to its last frame.
        frames: frames that both models answered; all of them are in the file, unless it is void.
        dropped: frames of the interval that were not compared, by reason.
        void: why the episode says nothing; empty when it does.
        live_model, live_version: what serves.
        candidate_model, candidate_version: what might.
        live_classes, candidate_classes: names of the class numbers in the file.
        infer_s: seconds that the candidate took for all frames together, from request to answer.
        options: how the camera is watched: from :meth:`sightline.config.Camera.shaping_options`.
        pictures: of the largest differences: ``file``, ``time`` and ``what``.
    """

    camera: str
    start: float
    seconds: float
    frames: int
    dropped: Mapping[str, int]
    void: str
    live_model: str
    live_version: str
    candidate_model: str
    candidate_version: str
    live_classes: tuple[str, ...]
    candidate_classes: tuple[str, ...]
    infer_s: float
    options: Mapping[str, Any]
    pictures: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class PairedFrame:
    """One frame: what both models found on it."""

    capture_time: float
    live: Detections
    candidate: Detections


def encode_pair(pair: PairedFrame) -> str:
    """One frame as a line."""
    return json.dumps(
        [round(pair.capture_time, 4), to_columns(pair.live), to_columns(pair.candidate)],
        separators=(",", ":"),
    )


def write(path: Path, head: EpisodeHead, lines: Sequence[str]) -> int:
    """Write a whole episode; gives its size in bytes."""
    first = json.dumps({"shadow": _FORMAT, **asdict(head)}, ensure_ascii=False)
    data = gzip.compress("\n".join([first, *lines, ""]).encode(), 6)
    draft = path.with_name(f".{path.name}.new")
    draft.write_bytes(data)
    draft.replace(path)
    return len(data)


def read_head(path: Path) -> EpisodeHead:
    """What an episode is.

    Raises:
        ShadowError: the file is not one of ours.
    """
    return _head(path, next(_lines(path), ""))


def read(path: Path) -> tuple[EpisodeHead, list[PairedFrame]]:
    """An episode with its frames.

    Raises:
        ShadowError: the file is not one of ours.
    """
    lines = _lines(path)
    head = _head(path, next(lines, ""))
    try:
        return head, [_pair(json.loads(line)) for line in lines]
    except (ValueError, TypeError, IndexError) as error:
        raise ShadowError(f"{path}: {error!r}") from error


def _lines(path: Path) -> Iterator[str]:
    try:
        return iter(gzip.decompress(path.read_bytes()).decode().splitlines())
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ShadowError(f"{path} cannot be read: {error}") from error


def _head(path: Path, line: str) -> EpisodeHead:
    try:
        record = json.loads(line)
        if record.pop("shadow") != _FORMAT:
            raise ShadowError(f"{path} was written by another version of Sightline")
        for key in ("live_classes", "candidate_classes", "pictures"):
            record[key] = tuple(record[key])
        return EpisodeHead(**record)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ShadowError(f"{path} is no episode: {error!r}") from error


def _pair(record: list[Any]) -> PairedFrame:
    return PairedFrame(float(record[0]), from_columns(record[1]), from_columns(record[2]))
