"""Collects one episode after the other, and keeps each in a folder with a bound."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sightline.analysis.box_pairs import BoxPairs, pair_boxes
from sightline.analysis.classes import class_name
from sightline.config import Camera
from sightline.config.groups import DAY_S
from sightline.entities import U8, Detections
from sightline.features.drift.samples import write_private
from sightline.features.shadow import difference_pictures
from sightline.features.shadow.episode import SUFFIX, EpisodeHead, PairedFrame, encode_pair, write
from sightline.video import blur
from sightline.video.jpeg import encode

log = logging.getLogger(__name__)

MIN_LENGTH = 0.5  # share of an episode's length; a shorter interval says nothing
MIN_WEIGHT = 0.25  # differences of weaker boxes make no picture
APART_S = 2.0  # pictures nearer in time show the same thing
#: What shapes boxes into counts and events: both arms are run with it.
SHAPING = (
    "min_score", "second_box_overlap", "confirm_s", "lost_s", "blind_s", "window_s", "classes", "lines",
    "zones", "fps",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """What one model found in a frame; class ids are places in ``names``."""

    detections: Detections
    names: tuple[str, ...]
    version: str


@dataclass(slots=True)
class _Interval:
    """What has been collected of one interval."""

    interval_no: int
    lines: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    void: str = ""
    versions: tuple[str, str] | None = None  # of the live model and the candidate
    names: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())  # of the class ids in the lines
    infer_s: float = 0.0
    best: list[tuple[float, PairedFrame, BoxPairs, U8]] = field(
        default_factory=list
    )  # largest difference first


class Recorder:
    """One camera's episodes. Belongs to the shadow's thread."""

    def __init__(self, camera: Camera, live_model: str) -> None:
        """Prepare.

        Args:
            camera: whose frames.
            live_model: the served model that the camera's boxes come from.
        """
        self._camera = self._changed = camera
        self._options = camera.shadow
        self._live_model = live_model
        self._folder = camera.shadow.folder / camera.name
        self._interval: _Interval | None = None
        self._cannot_write = False
        if not camera.drift.consent:  # or not any more
            for path in self._folder.glob("*.jpg"):
                path.unlink(missing_ok=True)

    def update(self, camera: Camera) -> None:
        """Other options of the same camera; any thread. An episode is of one set of options or void."""
        self._changed = camera

    def begin(self, interval_no: int | None) -> None:
        """The frames of this interval come now (None: of none); what was collected of another is written."""
        if self._interval is not None and self._interval.interval_no != interval_no:
            self._finish(self._interval)
            self._interval = None
        if interval_no is not None:
            self._at(interval_no)

    def drop(self, interval_no: int, why: str, count: int = 1) -> None:
        """Frames of an interval that could not be compared."""
        self._at(interval_no).dropped[why] += count

    def add(
        self, interval_no: int, capture_time: float, answers: tuple[Answer, Answer], infer_s: float, i420: U8
    ) -> None:
        """One frame that both models answered.

        Args:
            interval_no: of its interval.
            capture_time: UTC epoch seconds.
            answers: of the live model and of the candidate.
            infer_s: what the candidate took.
            i420: the picture as the candidate got it, uint8 [3/2·height, width].
        """
        interval, (live, candidate) = self._at(interval_no), answers
        versions = live.version, candidate.version
        if interval.versions is None:
            interval.versions = versions
        elif versions != interval.versions:
            interval.void = "another version served before its end"
        interval.names = live.names, candidate.names
        interval.times.append(capture_time)
        interval.infer_s += infer_s
        pair = PairedFrame(capture_time, live.detections, candidate.detections)
        interval.lines.append(encode_pair(pair))
        difference = pair_boxes(pair.live, pair.candidate, interval.names, self._camera.detect.min_score)
        self._remember(interval, pair, difference, i420)

    def _at(self, interval_no: int) -> _Interval:
        if self._changed is not self._camera:
            before, self._camera = self._camera, self._changed
            if self._interval is not None and before.shaping_options() != self._camera.shaping_options():
                self._interval.void = "the camera's options changed before its end"
        if self._interval is None or self._interval.interval_no != interval_no:
            self.begin(None)
            self._interval = _Interval(interval_no)
        return self._interval

    def _remember(self, interval: _Interval, pair: PairedFrame, difference: BoxPairs, i420: U8) -> None:
        most = self._max_pictures(interval.names[0])
        if not most or difference.weight < MIN_WEIGHT:
            return
        near = [item for item in interval.best if pair.capture_time - item[1].capture_time < APART_S]
        if near and max(item[0] for item in near) >= difference.weight:
            return  # the same thing once more
        kept = [item for item in interval.best if not any(item is other for other in near)]
        kept.append((difference.weight, pair, difference, i420))
        interval.best = sorted(kept, key=lambda item: -item[0])[:most]

    def _max_pictures(self, live_names: tuple[str, ...]) -> int:
        """None without consent, nor where nobody can say what is to be blurred."""
        drift = self._camera.drift
        allowed = drift.consent and not blur.why_not(drift.blur, live_names)
        return self._options.pictures if allowed else 0

    def _finish(self, interval: _Interval) -> None:
        try:
            self._write(interval, self._why_void(interval))
        except OSError as error:
            if not self._cannot_write:
                log.warning("%s: episodes cannot be kept: %s", self._folder, error.strerror)
            self._cannot_write = True
        else:
            self._cannot_write = False

    def _why_void(self, interval: _Interval) -> str:
        dropped, frames = sum(interval.dropped.values()), len(interval.times)
        if interval.void:
            return interval.void
        if dropped > self._options.most_dropped * (dropped + frames):
            reason = interval.dropped.most_common(1)[0][0]
            return f"{dropped} of {dropped + frames} frames had to be left out ({reason})"
        if _seconds(interval) < MIN_LENGTH * self._options.episode_s:
            return f"only {_seconds(interval):.1f} s were seen"
        return ""

    def _write(self, interval: _Interval, void: str) -> None:
        start = interval.times[0] if interval.times else interval.interval_no * self._options.episode_s
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        stem = datetime.fromtimestamp(start, UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
        live_version, candidate_version = interval.versions or ("", "")
        shaping = self._camera.shaping_options()
        head = EpisodeHead(
            camera=self._camera.name,
            start=round(start, 3),
            seconds=round(_seconds(interval), 3),
            frames=len(interval.times),
            dropped=dict(interval.dropped),
            void=void,
            live_model=self._live_model,
            live_version=live_version,
            candidate_model=self._options.model or "",
            candidate_version=candidate_version,
            live_classes=interval.names[0],
            candidate_classes=interval.names[1],
            infer_s=round(interval.infer_s, 4),
            options={key: shaping[key] for key in SHAPING},
            pictures=() if void else self._write_pictures(stem, interval),
        )
        write(self._folder / f"{stem}{SUFFIX}", head, [] if void else interval.lines)
        trim(self._folder, self._options.max_bytes, self._options.retention_days * DAY_S)

    def _write_pictures(self, stem: str, interval: _Interval) -> tuple[dict[str, object], ...]:
        kept = []
        for number, (weight, pair, difference, i420) in enumerate(interval.best, start=1):
            name = f"{stem}-{number}.jpg"
            hidden = self._blurred(i420, pair, interval.names)
            joined = difference_pictures.side_by_side(hidden, pair.live, pair.candidate, difference)
            write_private(self._folder / name, encode(difference_pictures.full_range(joined)))
            what = difference_pictures.describe(pair.live, pair.candidate, difference, interval.names)
            kept.append(
                {"file": name, "time": round(pair.capture_time, 3), "weight": round(weight, 3), "what": what}
            )
        return tuple(kept)

    def _blurred(self, i420: U8, pair: PairedFrame, names: tuple[tuple[str, ...], tuple[str, ...]]) -> U8:
        """A copy in which is covered what ``drift.blur`` asks for, wherever either model saw it."""
        hidden = i420.copy()
        for found, known in zip((pair.live, pair.candidate), names, strict=True):
            called = [class_name(known, number) for number in found.class_ids.tolist()]
            for area in blur.areas(self._camera.drift.blur, found.xyxy, called):
                blur.cover(hidden, area)
        return hidden


def _seconds(interval: _Interval) -> float:
    return interval.times[-1] - interval.times[0] if interval.times else 0.0


def trim(folder: Path, max_bytes: int, max_age_s: float) -> None:
    """Delete what is too old, then the oldest until the folder holds ``max_bytes`` at most."""
    files = sorted(path for path in folder.iterdir() if path.is_file())  # names begin with the time
    found = {path: path.stat() for path in files}
    total = sum(stat.st_size for stat in found.values())
    too_old = time.time() - max_age_s
    for path, stat in found.items():
        if total > max_bytes or stat.st_mtime < too_old:
            path.unlink(missing_ok=True)
            total -= stat.st_size
