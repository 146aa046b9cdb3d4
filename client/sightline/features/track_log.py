"""What the tracker saw, frame by frame, in a bounded file for each camera: to score and to replay later.

One line of JSON for each frame; a line ``{"classes": […]}`` before it whenever the names have changed. When
a file has half of its bound it becomes ``NAME.old.jsonl``, in the place of the one before, and a new one
begins. Boxes are columns of whole numbers: :func:`~sightline.features.kept_files.to_columns`.
"""

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sightline.analysis.observer import Observation, Observer
from sightline.entities import F32, I32, I64, Figure
from sightline.errors import TrackLogError
from sightline.features.feature import FeatureContext
from sightline.features.kept_files import from_columns, to_columns
from sightline.video import timecode
from sightline.video.picture import YuvPicture

log = logging.getLogger(__name__)

FLUSH_S = 1.0


@dataclass(frozen=True, slots=True)
class TrackedFrame:
    """One frame as it was kept; class ids are places in ``class_names``."""

    capture_time: float  # UTC epoch seconds
    media_s: float  # PTS in seconds on the stream's own clock
    tracked_time: float  # UTC epoch seconds at which its tracks were known
    scene_s: float | None  # the scene's time that stood in the picture; None where none was read
    due_time: float | None  # UTC epoch seconds: it was to be taken then, when it was drawn live; else None
    class_names: tuple[str, ...]
    xyxy: F32  # [N, 4] in 0..1, every box of the detector
    scores: F32  # [N]
    class_ids: I32  # [N]
    ids: I64  # [M], every track with a box in it
    track_xyxy: F32  # [M, 4] in 0..1
    track_class_ids: I32  # [M]
    confirmed: NDArray[np.bool_]  # [M]


class TrackLog(Observer):
    """Keeps frames of the camera ``source``. The worker's main thread owns it.

    ``max_bytes`` bounds both files together; ``time_code``: read the simulated cameras' from the pictures.
    """

    name = "track_log"

    def __init__(self, folder: Path, source: str, max_bytes: int, *, time_code: bool = False) -> None:
        self.lost_frames = 0  # that could not be written
        self._path, self._old = paths(folder, source)
        self._max_bytes = max_bytes // 2
        self._time_code = time_code
        self._file: IO[str] | None = None
        self._bytes = 0
        self._names: tuple[str, ...] | None = None
        self._flushed_s = 0.0

    def observe(self, seen: Observation) -> tuple[()]:
        """Keep one frame."""
        frame, tracks, tracked = seen.frame, seen.tracks, round(time.time(), 4)
        captured, media = round(frame.capture_time, 4), round(frame.media_s, 4)
        record: dict[str, Any] = {"time": captured, "media": media, "tracked": tracked}
        luma = frame.picture.luma() if self._time_code and isinstance(frame.picture, YuvPicture) else None
        if luma is not None and (code := timecode.read(luma)) is not None:
            record["scene_ms"] = code.scene_ms
            if code.utc_ms:
                record["due"] = _due_time(code.utc_ms, tracked)
        record["boxes"] = to_columns(seen.detections)
        record["tracks"] = [tracks.ids.tolist(), *to_columns(tracks), tracks.confirmed.astype(int).tolist()]
        try:
            self._write(json.dumps(record, separators=(",", ":")) + "\n", seen.classes.names)
        except OSError as error:
            if not self.lost_frames:
                log.warning("%s: tracks cannot be kept: %s", self._path, error.strerror)
            self.lost_frames += 1
            self._file = None
        return ()

    def figures(self) -> tuple[Figure]:
        """Frames that could not be written."""
        text = "Frames whose tracks could not be written."
        return (Figure("track_log_lost_frames_total", self.lost_frames, help=text),)

    def close(self) -> None:
        """Write what is left."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, line: str, class_names: tuple[str, ...]) -> None:
        """Go on with the file that is there, or begin a new one when it is full."""
        if self._file is None or self._bytes >= self._max_bytes:
            self.close()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists() and self._path.stat().st_size >= self._max_bytes:
                self._path.replace(self._old)
            self._file = self._path.open("a", encoding="ascii")
            self._bytes = self._path.stat().st_size
            self._names = None
        if class_names != self._names:
            self._names = class_names
            line = json.dumps({"classes": class_names}) + "\n" + line
        self._file.write(line)
        self._bytes += len(line)
        if time.monotonic() - self._flushed_s > FLUSH_S:
            self._file.flush()
            self._flushed_s = time.monotonic()


def make(context: FeatureContext) -> TrackLog | None:
    """What a camera's ``track_log`` asks for."""
    options = context.camera.track_log
    if options.folder is None:
        return None
    return TrackLog(options.folder, context.camera.name, options.max_bytes, time_code=options.time_code)


def paths(folder: Path, source: str) -> tuple[Path, Path]:
    """The file that grows, and the one before it."""
    return folder / f"{source}.jsonl", folder / f"{source}.old.jsonl"


def read(folder: Path, source: str) -> Iterator[TrackedFrame]:
    """What was kept, oldest first, without a last line that is not whole; TrackLogError: not our line."""
    for path in reversed(paths(folder, source)):
        names: tuple[str, ...] = ()
        with path.open(encoding="ascii") if path.is_file() else contextlib.nullcontext(()) as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith("\n"):
                    break
                try:
                    record = json.loads(line)
                    if "classes" in record:
                        names = tuple(record["classes"])
                    else:
                        yield _frame(record, names)
                except (ValueError, KeyError, TypeError, IndexError) as error:
                    raise TrackLogError(f"{path}, line {number}: {error!r}") from error


def _frame(record: dict[str, Any], names: tuple[str, ...]) -> TrackedFrame:
    boxes = from_columns(record["boxes"])
    ids, *columns, confirmed = record["tracks"]
    tracks = from_columns(columns)
    return TrackedFrame(
        capture_time=record["time"],
        media_s=record["media"],
        tracked_time=record["tracked"],
        scene_s=record["scene_ms"] / 1000 if "scene_ms" in record else None,
        due_time=record.get("due"),
        class_names=names,
        xyxy=boxes.xyxy,
        scores=boxes.scores,
        class_ids=boxes.class_ids,
        ids=np.array(ids, np.int64),
        track_xyxy=tracks.xyxy,
        track_class_ids=tracks.class_ids,
        confirmed=np.array(confirmed, bool),
    )


def _due_time(utc_ms: int, now: float) -> float:
    """The epoch second near ``now`` whose milliseconds modulo 2^32 are ``utc_ms``."""
    now_ms = round(now * 1000)  # rounded once: half a millisecond must not be lost on the way
    late_ms = (now_ms - utc_ms + timecode.WRAP_MS // 2) % timecode.WRAP_MS - timecode.WRAP_MS // 2
    return (now_ms - late_ms) / 1000
