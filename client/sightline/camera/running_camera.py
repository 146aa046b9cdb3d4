"""One camera at work in a worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from sightline.analysis.options import analysis_options
from sightline.base.stats import RateMeter
from sightline.camera.detector_link import DetectorLink
from sightline.camera.messages import Report, Retry
from sightline.camera.pipeline import Pipeline
from sightline.config import Camera
from sightline.entities import (
    CameraState,
    CameraStatus,
    Checkpoint,
    Event,
    Figure,
    SourceWindow,
)
from sightline.video.decoders import DecoderChoice
from sightline.video.feed import Feed, FrameSource


class RunningCamera:
    """A camera's feed, pipeline and what is told of them. The main thread calls it."""

    def __init__(
        self,
        camera: Camera,
        feed: Feed,
        pipeline: Pipeline,
        link: DetectorLink,
        decoder: DecoderChoice,
        source_of: Callable[[Camera], FrameSource],
    ) -> None:
        self.camera = camera
        self.feed = feed
        self.pipeline = pipeline
        self.link = link
        self._decoder = decoder
        self._source_of = source_of
        self._fps = RateMeter()
        self._events_total: Counter[tuple[str, str]] = Counter()  # by kind and place
        self._newest: SourceWindow | None = None

    def update(self, camera: Camera) -> None:
        """Use other options from the next frame on."""
        self.camera = camera
        self.feed.update(partial(self._source_of, camera), camera.stream.fps)
        self.pipeline.analysis.update(analysis_options(camera))
        self.pipeline.update_features(camera)

    def report(self, now: float, *, last: bool = False, restarts: int = 0) -> Report:
        """Everything about the camera, with the rows since the last report."""
        checkpoint = self._checkpoint()
        return Report(
            self._status(now),
            checkpoint,
            self.pipeline.stages.snapshots(),
            tuple(self._figures(restarts)),
            self._retry(),
            last,
        )

    def event_report(self, latest: Report) -> Report:
        """The rows since the last report; the rest is as it was there, at most a second ago."""
        return replace(latest, checkpoint=self._checkpoint())

    def _checkpoint(self) -> Checkpoint:
        pipeline = self.pipeline
        results = pipeline.take_results()
        self._events_total.update((row.kind, row.place) for row in results if isinstance(row, Event))
        counts, windows = pipeline.analysis.rows(self._dropped)
        if windows:
            self._newest = windows[-1]
        return Checkpoint(self.camera.name, (*counts, *windows, *results), pipeline.snapshot())

    @property
    def _dropped(self) -> int:
        return self.pipeline.mailbox.dropped + self.pipeline.dropped

    def _retry(self) -> Retry:
        return Retry(self.feed.failures, self.feed.wait_s)

    def _figures(self, restarts: int) -> Iterator[Figure]:
        stray = self.feed.counters.stray_frames
        yield Figure("stray_frames_total", stray, help="Frames dropped for a missing or backward time stamp.")
        text = "Times the camera was started again within its worker."
        yield Figure("camera_restarts_total", restarts, help=text)
        for (kind, place), count in self._events_total.items():
            labels = {"kind": kind, "place": place}
            yield Figure("events_total", count, labels, "Events that rules made.")
        yield from self.pipeline.figures()

    def _status(self, now: float) -> CameraStatus:
        pipeline, feed, link = self.pipeline, self.feed, self.link
        counters = feed.counters
        state, message = feed.state, feed.message
        if state is CameraState.ONLINE and link.problem:
            state, message = CameraState.NO_DETECTOR, link.problem
        stages = pipeline.stages.recent_ms()
        total = stages.get("total", {})
        newest, model = self._newest, pipeline.analysis.model
        return CameraStatus(
            source=self.camera.name,
            state=state,
            message=message or pipeline.last_error or _switched_off(pipeline.failed),
            detector_message=link.problem,
            status_time=now,
            last_frame_time=pipeline.last_frame_time,
            fps=round(self._fps.rate(pipeline.frames), 2),
            frames_total=pipeline.frames,
            dropped_total=self._dropped,
            gate_skipped_total=counters.gate_skipped,
            decode_errors_total=counters.decode_errors,
            reconnects_total=feed.reconnects,
            queue_depth=len(pipeline.mailbox),
            coverage=round(pipeline.analysis.coverage, 4),
            latency_p50_ms=total.get("p50"),
            latency_p99_ms=total.get("p99"),
            transport=str(link.detector.transport),
            transport_message=link.detector.transport_message,
            decoder=self._decoder.used,
            clock_source=newest.clock_source if newest else "",
            model_version=model.version if model else "",
            stages_ms=stages | link.server_times,
        )


def _switched_off(failed: Mapping[str, str]) -> str:
    return "; ".join(f"{name} is switched off: {error}" for name, error in failed.items())
