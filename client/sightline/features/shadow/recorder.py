"""Collects one episode after the other, and keeps each in a folder with a bound.

Its pictures of differences show what the live model found at the left, what the candidate found at the right.
Boxes that differ are thick and red, the others thin and green. The report names them.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sightline.analysis.classes import class_name
from sightline.analysis.pairing import BoxPairs, pair_boxes
from sightline.base.file_times import captured_time, stamp
from sightline.base.letterbox import split_i420
from sightline.base.logs import WarnOnce
from sightline.config import Camera
from sightline.entities import U8, Detections
from sightline.features.feature import FeatureContext
from sightline.features.kept_files import make_private_folder, trim, write_private
from sightline.features.shadow.episode import SUFFIX, EpisodeHead, PairedFrame, write
from sightline.video import blur
from sightline.video.picture import draw_edges, encode_jpeg, full_range

log = logging.getLogger(__name__)

MIN_LENGTH = 0.5  # share of an episode's length; a shorter interval says nothing
MIN_WEIGHT = 0.25  # differences of weaker boxes make no picture
APART_S = 2.0  # pictures nearer in time show the same thing
_RED, _GREEN = (81, 90, 240), (145, 54, 34)  # BT.601 Y, U, V
_EDGE_PX, _THICK_PX = 2, 4  # even: chroma has half the size
#: What shapes boxes into counts and events: both models' analyses are run with it.
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

    number: int
    head: EpisodeHead  # filled in as frames come
    lines: list[str] = field(default_factory=list)
    best: list[tuple[PairedFrame, BoxPairs, U8]] = field(default_factory=list)  # largest difference first

    @property
    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Class names of both, live first."""
        return self.head.live_classes, self.head.candidate_classes


class Recorder:
    """The episodes of a feature's camera. Belongs to the shadow's thread."""

    def __init__(self, context: FeatureContext) -> None:
        self._camera, self._live_model = context.camera, context.live_model
        self._options, self._consent = context.camera.shadow, context.camera.drift.consent
        self._blur = context.camera.sample_blur
        self._shaping = self._newest_shaping = context.camera.shaping_options()
        self._folder = self._options.folder / self._camera.name
        self._interval: _Interval | None = None
        self._warnings = WarnOnce(log)
        if not self._consent:  # or not any more
            for path in self._folder.glob("*.jpg"):
                if captured_time(path) is not None:
                    path.unlink(missing_ok=True)

    def update(self, camera: Camera) -> None:
        """Other options of the same camera; any thread. An episode is of one set of options or void."""
        self._newest_shaping = camera.shaping_options()

    def begin(self, interval_no: int) -> _Interval:
        """The interval whose frames come now; what was collected of another is written."""
        if self._interval is not None and self._interval.number != interval_no:
            self.finish()
        before, self._shaping = self._shaping, self._newest_shaping
        if self._interval is None:
            head = EpisodeHead(self._camera.name, interval_no * self._options.episode_s)
            head.live_model, head.candidate_model = self._live_model, self._options.model or ""
            self._interval = _Interval(interval_no, head)
        elif before != self._shaping:
            self._interval.head.void = "the camera's options changed before its end"
        return self._interval

    def drop(self, interval_no: int, why: str, count: int = 1) -> None:
        """Frames of an interval that could not be compared."""
        dropped = self.begin(interval_no).head.dropped
        dropped[why] = dropped.get(why, 0) + count

    def add(
        self, interval_no: int, capture_time: float, answers: tuple[Answer, Answer], infer_s: float, i420: U8
    ) -> None:
        """One frame that both models answered, live first.

        ``infer_s`` is what the candidate took; ``i420``, uint8 [3/2·height, width], the picture that it got.
        """
        interval, (live, candidate) = self.begin(interval_no), answers
        head, versions = interval.head, (live.version, candidate.version)
        if not head.frames:
            head.start = capture_time
            head.live_version, head.candidate_version = versions
        elif versions != (head.live_version, head.candidate_version):
            head.void = "another version served before its end"
        head.live_classes, head.candidate_classes = live.names, candidate.names
        head.seconds = capture_time - head.start
        head.frames += 1
        head.infer_s += infer_s
        pair = PairedFrame(capture_time, live.detections, candidate.detections)
        interval.lines.append(pair.encode())
        # No pictures without consent, nor where nobody can say what is to be blurred.
        can_cover = not blur.why_not(self._blur, live.detections.model, live.names)
        if self._options.pictures and self._consent and can_cover:
            self._remember(interval, pair, i420)

    def _remember(self, interval: _Interval, pair: PairedFrame, i420: U8) -> None:
        """Keep the picture if what differs in it is among the largest differences."""
        difference = pair_boxes(pair.live, pair.candidate, interval.names, self._shaping["min_score"])
        near = [item for item in interval.best if pair.capture_time - item[0].capture_time < APART_S]
        if difference.weight < MIN_WEIGHT or any(item[1].weight >= difference.weight for item in near):
            return  # nothing to see, or the same thing once more
        kept = [item for item in interval.best if pair.capture_time - item[0].capture_time >= APART_S]
        kept.append((pair, difference, i420))
        interval.best = sorted(kept, key=lambda item: -item[1].weight)[: self._options.pictures]

    def finish(self) -> None:
        """Write what was collected."""
        interval, self._interval = self._interval, None
        if interval is None:
            return
        head, stem = interval.head, stamp(interval.head.start)
        dropped = sum(head.dropped.values())
        frames = head.frames + dropped
        if not head.void and dropped > self._options.most_dropped * frames:
            reason = max(head.dropped, key=lambda why: head.dropped[why])
            head.void = f"{dropped} of {frames} frames had to be left out ({reason})"
        if not head.void and head.seconds < MIN_LENGTH * self._options.episode_s:
            head.void = f"only {head.seconds:.1f} s were seen"
        head.start, head.seconds = round(head.start, 3), round(head.seconds, 3)
        head.infer_s = round(head.infer_s, 4)
        head.options = {key: self._shaping[key] for key in SHAPING}
        try:
            make_private_folder(self._folder)
            if not head.void:
                head.pictures = self._write_pictures(stem, interval)
            write(self._folder / f"{stem}{SUFFIX}", head, [] if head.void else interval.lines)
            trim(self._folder, self._options.retention_days, self._options.max_bytes)
        except OSError as error:
            self._warnings.warn_once(f"{self._folder}: episodes cannot be kept: {error.strerror}")

    def _write_pictures(self, stem: str, interval: _Interval) -> tuple[dict[str, object], ...]:
        """Of the largest differences, covered as options say wherever either model saw something."""
        kept = []
        for number, (pair, difference, i420) in enumerate(interval.best, start=1):
            hidden = i420.copy()
            for found, known in zip((pair.live, pair.candidate), interval.names, strict=True):
                called = [class_name(known, class_id) for class_id in found.class_ids.tolist()]
                blur.hide(hidden, self._blur, found.xyxy, called)
            name, what = f"{stem}-{number}.jpg", describe(pair, difference, interval.names)
            joined = side_by_side(hidden, pair, difference)
            write_private(self._folder / name, encode_jpeg(full_range(joined)))
            time, weight = round(pair.capture_time, 3), round(difference.weight, 3)
            kept.append({"file": name, "time": time, "weight": weight, "what": what})
        return tuple(kept)


def side_by_side(i420: U8, pair: PairedFrame, difference: BoxPairs) -> U8:
    """A picture, uint8 [3/2·height, width] in I420, with the boxes of either model: [3/2·height, 2·width]."""
    views = []
    for found, same, *odd in (
        (pair.live, difference.same[0], difference.renamed[0], difference.live_only),
        (pair.candidate, difference.same[1], difference.renamed[1], difference.candidate_only),
    ):
        planes = split_i420(i420.copy())
        draw_edges(planes, found.xyxy[same], _GREEN, _EDGE_PX)
        draw_edges(planes, found.xyxy[np.concatenate(odd)], _RED, _THICK_PX)
        views.append(planes)
    joined = [np.concatenate(planes, axis=1).reshape(-1) for planes in zip(*views, strict=True)]
    return np.concatenate(joined).reshape(i420.shape[0], i420.shape[1] * 2)


def describe(pair: PairedFrame, difference: BoxPairs, names: Sequence[Sequence[str]]) -> str:
    """What differs, in words; ``names`` are the class names of both."""
    mine, theirs = (
        [f"{class_name(known, int(found.class_ids[i]))} {found.scores[i]:.2f}" for i in range(len(found))]
        for found, known in zip((pair.live, pair.candidate), names, strict=True)
    )
    parts = [f"{mine[a]} is {theirs[b]}" for a, b in difference.renamed.T.tolist()]
    parts += [f"{mine[row]} is missing" for row in difference.live_only.tolist()]
    parts += [f"{theirs[row]} is new" for row in difference.candidate_only.tolist()]
    return "; ".join(parts)
