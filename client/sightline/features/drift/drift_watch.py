"""What one camera's worker does about drift: numbers of every frame, and by consent a few pictures a day."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sightline.analysis.observer import Observation, Observer
from sightline.config import Camera
from sightline.config.groups import DriftOptions
from sightline.entities import DriftWindow, Figure
from sightline.features.drift.hourly_stats import HourlyStats, ImageStats, measure_frame
from sightline.features.drift.sampler import FrameSampler
from sightline.features.drift.samples import Samples, Schedule, kind_of
from sightline.features.feature import FeatureContext
from sightline.video.picture import YuvPicture, written

log = logging.getLogger(__name__)

MEASURE_EVERY_S = 1.0  # of capture time
ROW_EVERY_S = 60.0  # the open hour is written so often; the resume state holds it in between
HELP = {
    "drift_boxes_per_frame": "Boxes a frame in this hour, of those that may start a track.",
    "drift_weak_share": "Share of this hour's boxes that score too low to start a track.",
    "drift_luma": "Mean luma of this hour's pictures, 16 (black) to 235 (white).",
    "drift_sharpness": "Mean absolute luma gradient over luma standard deviation, mean of this hour.",
    "drift_samples_kept": "Sampled pictures written since the worker started.",
    "drift_samples_lost": "Chosen frames that could not be kept, or must not be, since the worker started.",
}


class DriftWatch(Observer):
    """Measures every frame of a camera, in the main thread; boxes from ``min_score`` on start tracks."""

    name = "drift"

    def __init__(
        self, camera: str, options: DriftOptions, min_score: float, state: Mapping[str, Any] | None = None
    ) -> None:
        self._signals = options.signals
        try:
            self._stats = HourlyStats(camera, min_score, state)
        except ValueError as error:
            log.warning("camera %s: the hour's numbers begin anew: %s", camera, error)
            self._stats = HourlyStats(camera, min_score)
        self._schedule = Schedule(camera, options.every_s, options.seed)
        self._sampler = FrameSampler(camera, options) if options.consent else None
        self._measured_time = -MEASURE_EVERY_S
        self._image: ImageStats | None = None
        self._next_row_s = 0.0

    def observe(self, seen: Observation) -> tuple[()]:
        """Take one tracked frame."""
        frame, detections, names = seen.frame, seen.detections, seen.classes.names
        self._stats.observe(detections, names, frame.capture_time, seen.model_version)
        if frame.capture_time >= self._measured_time + MEASURE_EVERY_S:
            self._measured_time = frame.capture_time
            self._image = measure_frame(frame)
            self._stats.observe_image(self._image)
        if self._sampler is not None and self._schedule.is_due(frame.capture_time):
            kind = kind_of(detections, self._stats.min_score)
            if self._schedule.take(kind):
                stratum = f"{kind}-{self._image.light if self._image else 'unknown'}"
                # A source's picture may be copied by any thread, another by this one alone.
                picture = frame.picture if isinstance(frame.picture, YuvPicture) else written(frame.picture)
                found = replace(detections, model=seen.model)
                self._sampler.offer(picture, frame.capture_time, stratum, found, names)
        return ()

    def update(self, options: Camera) -> None:
        """Another ``detect.min_score`` holds from the next frame on; other options start the camera anew."""
        self._stats.min_score = options.detect.min_score

    def tick(self, now: float, silent: bool) -> tuple[DriftWindow, ...]:
        """Hours that have ended, and about once a minute the open one."""
        if self._sampler is not None:
            self._sampler.tick()
        if time.monotonic() < self._next_row_s:
            return self._stats.take_closed() if self._signals else ()
        self._next_row_s = time.monotonic() + ROW_EVERY_S
        return self.end(now)

    def end(self, time: float) -> tuple[DriftWindow, ...]:
        """Hours that have ended, and the open one as far as it is."""
        if not self._signals:
            return ()
        window = self._stats.open_window
        return (*self._stats.take_closed(), *([window] if window else ()))

    def snapshot(self) -> dict[str, Any]:
        """What a successor goes on from; JSON-able."""
        return self._stats.snapshot() if self._signals else {}

    def figures(self) -> list[Figure]:
        """The open hour so far, and what became of chosen frames."""
        values: dict[str, float] = {}
        if self._signals and (sums := self._stats.sums)["frames"]:
            pictures = max(sums["pictures"], 1)
            values = {
                "drift_boxes_per_frame": sums["boxes"] / sums["frames"],
                "drift_weak_share": sums["weak"] / max(sums["boxes"] + sums["weak"], 1),
                "drift_luma": sums["luma_sum"] / pictures,
                "drift_sharpness": sums["sharpness_sum"] / pictures,
            }
        if self._sampler is not None:
            lost = self._sampler.lost + self._sampler.refused
            values |= {"drift_samples_kept": self._sampler.kept, "drift_samples_lost": lost}
        return [Figure(name, value, help=HELP[name]) for name, value in values.items()]

    def close(self) -> None:
        """Write what waits."""
        if self._sampler is not None:
            self._sampler.close()


def make(context: FeatureContext) -> DriftWatch | None:
    """What a camera's ``drift`` asks for; None when it asks for nothing.

    Without consent nothing of a picture is written, and pictures from a time with consent are deleted.
    """
    camera = context.camera
    options = camera.drift.model_copy(update={"blur": camera.sample_blur})
    if not options.consent:
        try:
            Samples(camera.name, options).delete_all()
        except OSError as error:
            log.error("camera %s: sampled pictures cannot be deleted: %s", camera.name, error)
    if not options.consent and not options.signals:
        return None
    return DriftWatch(camera.name, options, camera.detect.min_score, context.state)
