"""One camera at work in a worker: made from its options, and what is told of it."""

import logging
from collections import Counter
from collections.abc import Iterator
from functools import partial

from sightline.analysis.chain import CameraAnalysis
from sightline.analysis.observer import Observer
from sightline.analysis.options import analysis_options
from sightline.base.stats import RateMeter, StageTimes
from sightline.camera.clock_record import ClockRecord
from sightline.camera.detector_link import CandidateDetector, DetectorLink, SharedParts
from sightline.camera.messages import CameraSpec, LiveMessage, Report, Retry
from sightline.camera.pipeline import Pipeline
from sightline.camera.played_file import PlayedFile
from sightline.config import Camera, unknown_classes
from sightline.entities import (
    STAGES,
    CameraState,
    CameraStatus,
    Checkpoint,
    Event,
    Figure,
    ModelInfo,
    SourceWindow,
)
from sightline.features import FEATURES, FeatureContext
from sightline.video.feed import Feed
from sightline.video.mailbox import Mailbox
from sightline.video.packets import PacketObserver

log = logging.getLogger(__name__)


class RunningCamera:
    """A camera's feed, pipeline and what is told of them. The main thread calls it."""

    def __init__(self, spec: CameraSpec, parts: SharedParts, link: DetectorLink) -> None:
        """Make everything; ``feed.start()`` starts it. ``link``: to the model that looks at its frames."""
        self.camera = camera = spec.camera
        self.link = link
        stages, mailbox = StageTimes(STAGES), Mailbox(parts.bell, lossless=spec.until_end)
        analysis = CameraAnalysis(analysis_options(camera), state=spec.resume)
        if (model := link.detector.info) is not None:
            analysis.use_model(model)
        self.pipeline = Pipeline(
            mailbox,
            analysis,
            stages,
            parts.bell,
            in_flight=parts.triton.in_flight,
            deadline_s=None if spec.until_end else parts.triton.deadline_s,
        )
        source = parts.make_source(camera, realtime=not spec.until_end)
        self.feed = Feed(camera.name, source, mailbox, stages, until_end=spec.until_end, gate=parts.gate)
        state = spec.resume.get(ClockRecord.name)
        self._clock = ClockRecord(camera.name, source.clock_readings, state)
        self.pipeline.observers.append(self._clock)
        if spec.until_end and source.recorded:
            state = spec.resume.get(PlayedFile.name)
            played = PlayedFile(camera.name, spec.play, camera.source_url, state)
            self.pipeline.observers.append(played)
            if played.place is not None:
                source.go_on(*played.place)
                self.pipeline.last_frame_time = played.place[1]
        for name, make_feature in FEATURES.items():
            context = FeatureContext(
                camera=camera,
                state=spec.resume.get(name),
                live_model=camera.detect.model or parts.triton.model,
                lossless=spec.until_end,
                is_busy=lambda: len(mailbox) > 0,
                candidate=partial(CandidateDetector, parts.models),
                gate=parts.gate,
                publish=lambda *what: parts.show(LiveMessage(camera.name, *what)),
                occupancy=lambda: analysis.occupancy,
            )
            self.pipeline.add_feature(name, partial(make_feature, context))
        observers = self.pipeline.observers
        source.packet_observers = tuple(one for one in observers if isinstance(one, PacketObserver))
        self._until_end, self._bell = spec.until_end, parts.bell
        self._fps, self._due_fps = RateMeter(), RateMeter()
        self._decoder_waits, self._worker_waits = RateMeter(), RateMeter()
        self._events_total: Counter[tuple[str, str]] = Counter()  # by kind and place
        self._newest: SourceWindow | None = None
        self._compared: tuple[Camera, ModelInfo | None] = (camera, None)  # what the warnings are about
        self._warnings: tuple[str, ...] = ()

    def update(self, camera: Camera) -> None:
        """Use other options from the next frame on."""
        self.camera = camera
        self.feed.source.change_fps(camera.stream.fps)
        self.pipeline.analysis.update(analysis_options(camera))
        self.pipeline.update_features(camera)

    def finish(self) -> None:
        """Analyse the frames whose detections have come."""
        detector, stages = self.link.detector, [self.pipeline.stages]
        gone = self.pipeline.finish(lambda frame: detector.submit([frame], stages)[0])
        if gone is not None:
            self.link.lose(gone)

    def take_retired(self) -> list[Observer]:
        """Features that have failed, to be closed: neither thread gives them anything more."""
        self._switch_off_failed()
        retired, self.pipeline.retired = self.pipeline.retired, []
        for observer in retired:
            self.feed.source.leave_out(observer)
        return retired

    def _switch_off_failed(self) -> None:
        """Those that have failed on the decode thread."""
        failed = self.feed.source.failed_observers
        while failed:
            self.pipeline.switch_off(*failed.popleft())

    def report(self, now: float, *, last: bool = False, restarts: int = 0) -> Report:
        """Everything about the camera, with the rows since the last report."""
        self._switch_off_failed()
        checkpoint, histograms = self.checkpoint(), self.pipeline.stages.snapshots()
        figures = tuple(self._figures(restarts))
        return Report(self._status(now), checkpoint, histograms, figures, self.retry, last)

    def checkpoint(self) -> Checkpoint:
        """The rows since the last one, and what to go on from."""
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

    @property
    def retry(self) -> Retry:
        """Where its back-off stands."""
        return Retry(self.feed.backoff.failures, self.feed.wait_s)

    def _figures(self, restarts: int) -> Iterator[Figure]:
        stray = self.feed.source.stray_frames
        yield Figure("stray_frames_total", stray, help="Frames dropped for a missing or backward time stamp.")
        text = "Times the camera was started again within its worker."
        yield Figure("camera_restarts_total", restarts, help=text)
        for (kind, place), count in self._events_total.items():
            labels = {"kind": kind, "place": place}
            yield Figure("events_total", count, labels, "Events that rules made.")
        yield from self.pipeline.figures()

    def _compare_classes(self) -> tuple[str, ...]:
        """Warnings about classes that the model lacks; logged when options or the version have changed."""
        model = self.pipeline.analysis.model
        if (self.camera, model) != self._compared:
            self._compared = (self.camera, model)
            problems = unknown_classes(self.camera, model.version, model.class_names) if model else []
            self._warnings = tuple(map(str, problems))
            for warning in self._warnings:
                log.warning("%s", warning)
        return self._warnings

    def _status(self, now: float) -> CameraStatus:
        pipeline, feed, link = self.pipeline, self.feed, self.link
        state, message = feed.state, feed.message
        if state is CameraState.ONLINE and link.problem:
            state, message = CameraState.NO_DETECTOR, link.problem
        stages = pipeline.stages.recent_ms()
        total = stages.get("total", {})
        newest, model = self._newest, pipeline.analysis.model
        problems = pipeline.problems()  # may switch one off
        failed = [f"{name} is switched off: {error}" for name, error in pipeline.failed.items()]
        warnings = (*failed, *problems, *self._compare_classes())
        return CameraStatus(
            source=self.camera.name,
            state=state,
            message="; ".join(filter(None, (message or pipeline.last_error, *warnings))),
            warnings=warnings,
            detector_message=link.problem,
            status_time=now,
            last_frame_time=pipeline.last_frame_time,
            fps=round(self._fps.rate(pipeline.frames), 2),
            due_fps=round(self._due_fps.rate(pipeline.frames + self._dropped), 2),
            # Without the frames that are skipped undecoded, fewer than asked for say nothing of the camera.
            asked_fps=None if self.camera.stream.skip_non_reference else self.camera.stream.fps,
            # A recorded file is read as fast as its frames are taken: its decoder waits for nothing else.
            decoder_busy=0.0 if self._until_end else _busy(self._decoder_waits.rate(feed.source.waited_s)),
            worker_busy=_busy(self._worker_waits.rate(self._bell.waited_s)),
            frames_total=pipeline.frames,
            dropped_total=self._dropped,
            gate_skipped_total=feed.source.gate_skipped,
            decode_errors_total=feed.source.decode_errors,
            reconnects_total=feed.reconnects,
            queue_depth=len(pipeline.mailbox),
            coverage=round(pipeline.analysis.coverage, 4),
            latency_p50_ms=total.get("p50"),
            latency_p99_ms=total.get("p99"),
            transport=str(link.detector.transport),
            transport_message=link.detector.transport_message,
            decoder=feed.source.decoder.used,
            clock_source=newest.clock_source if newest else "",
            clock_offset_s=self._clock.offset_s,
            clock_drift_ppm=self._clock.drift_ppm,
            model_version=model.version if model else "",
            batch_size=link.detector.batch_size,
            stages_ms=stages | link.server_times,
            lines=tuple(pipeline.analysis.options.lines),
            occupancy=pipeline.analysis.occupancy,
        )


def _busy(waiting: float) -> float:
    """The share of the time in which a thread did not wait."""
    return round(min(1.0, max(0.0, 1.0 - waiting)), 3)
