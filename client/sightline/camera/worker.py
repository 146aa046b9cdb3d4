"""One camera's process: feed → pipeline → reports.

Threads: the decode thread (:mod:`feed`), the main thread (everything else), gRPC's, and one that
waits for the supervisor's word. A worker whose supervisor has died sees the pipe end, and ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection

from sightline.analysis.chain import CameraAnalysis
from sightline.analysis.observer import Observer
from sightline.analysis.options import analysis_options
from sightline.base.backoff import Backoff
from sightline.base.logs import setup_logging
from sightline.base.stats import RateMeter, StageTimes
from sightline.camera.messages import Command, Report, WorkerSpec
from sightline.camera.pipeline import Pipeline
from sightline.config import Camera
from sightline.entities import STAGES, CameraState, CameraStatus, Checkpoint, Event, SourceWindow
from sightline.errors import DetectorError, SourceEnded
from sightline.features.drift import watch_of
from sightline.features.shadow import Shadow
from sightline.features.track_log import TrackLog
from sightline.inference.client import TritonConnection
from sightline.video.clock import UtcClock
from sightline.video.decoders import Decoders
from sightline.video.feed import Feed, OpenGate
from sightline.video.mailbox import Mailbox
from sightline.video.source import Source

log = logging.getLogger(__name__)

REPORT_EVERY_S = 1.0
STEP_S = 0.25  # longest wait for a frame, so that reports are on time
SERVER_TIMES_EVERY_S = 5.0
#: Beyond the source's own timeouts: then FFmpeg hangs in C and only the process's end helps.
HANG_GRACE_S = 5.0
EXIT_HANGING = 70
LOWEST_PRIORITY = 2  # of the two levels of Triton's queues


def run_worker(spec: WorkerSpec, connection: Connection) -> None:
    """Entry point of the process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the supervisor decides; Ctrl-C reaches the whole group
    setup_logging(spec.log_level)
    Worker(spec, connection).run()


class Worker:
    """Builds one camera's objects, runs them, and says once a second how it goes."""

    def __init__(self, spec: WorkerSpec, connection: Connection) -> None:
        camera = spec.camera
        self._spec = spec
        self._connection = connection
        self._name = camera.name
        self._stop = threading.Event()
        self._stages = StageTimes(STAGES)
        self._clock = UtcClock()  # the main thread's; the decode thread has one of its own
        self._source_clock = UtcClock()
        self._decoders = Decoders(camera)
        self._mailbox = Mailbox(lossless=spec.until_end)
        gate = OpenGate(spec.gate_folder, spec.open_limit)
        self._feed = Feed(
            camera.name, self._make_source, self._mailbox, self._stages, until_end=spec.until_end, gate=gate
        )
        self._triton = TritonConnection(spec.triton, camera.name)
        self._detector = self._triton.model(camera.detect.model or "")
        self._detector_backoff = Backoff(0.2, 1.0)
        self._detector_problem = "not connected yet"
        self._next_connect_s = 0.0
        self._pipeline = self._make_pipeline(self._make_features(self._detector.name))
        self._fps = RateMeter()
        self._events_total: Counter[tuple[str, str]] = Counter()  # by kind and place
        self._server_times: dict[str, dict[str, float]] = {}
        self._next_server_times_s = 0.0
        self._progress: tuple[tuple[int, int], float] = ((0, 0), time.monotonic())

    def run(self) -> None:
        """Work until told to stop, or until a recorded file has ended."""
        threading.Thread(target=self._listen, name="supervisor", daemon=True).start()
        self._feed.start()
        next_report_s = time.monotonic()
        try:
            while not self._stop.is_set():
                self._step()
                if time.monotonic() >= next_report_s:
                    next_report_s = time.monotonic() + REPORT_EVERY_S
                    self._watch_feed()
                    self._report()
        except SourceEnded:
            self._pipeline.end()
        finally:
            self._end()

    def _step(self) -> None:
        if self._detector_problem and not self._connect():
            self._stop.wait(0.05)
            return
        try:
            self._pipeline.step(self._detector, STEP_S)
        except DetectorError as error:
            self._lose_detector(error)

    def _connect(self) -> bool:
        if time.monotonic() < self._next_connect_s:
            return False
        try:
            info = self._detector.connect()
        except DetectorError as error:
            self._lose_detector(error)
            return False
        self._pipeline.analysis.use_model(info)
        self._detector_backoff.good()
        self._detector_problem = ""
        transport = self._detector.transport
        log.info("camera %s: %s %s over %s", self._name, info.name, info.version, transport)
        return True

    def _lose_detector(self, error: DetectorError) -> None:
        if not self._detector_problem:
            log.warning("camera %s: detector lost: %s", self._name, error)
        self._detector_problem = str(error)
        self._next_connect_s = time.monotonic() + self._detector_backoff.next_delay_s()

    def _make_source(self) -> Source:
        return Source(
            self._spec.camera,
            clock=self._source_clock,
            realtime=not self._spec.until_end,
            decoders=self._decoders,
        )

    def _make_features(self, live_model: str) -> list[Observer]:
        camera = self._spec.camera
        features: list[Observer | None] = [
            _make_track_log(camera),
            watch_of(camera, self._spec.resume.get("drift")),
            _make_shadow(self._spec, self._triton, live_model, lambda: len(self._mailbox) > 0),
        ]
        return [feature for feature in features if feature is not None]

    def _make_pipeline(self, features: list[Observer]) -> Pipeline:
        triton = self._spec.triton
        return Pipeline(
            self._mailbox,
            CameraAnalysis(analysis_options(self._spec.camera), state=self._spec.resume),
            self._stages,
            in_flight=triton.in_flight,
            deadline_s=triton.deadline_s,
            observers=features,
        )

    def _watch_feed(self) -> None:
        """End the process when the decode thread has failed or hangs in C; the supervisor starts another."""
        if self._feed.failure is not None:
            raise self._feed.failure
        camera = self._spec.camera
        progress, since_s = self._progress
        now = time.monotonic()
        if self._feed.progress != progress or self._spec.until_end:
            self._progress = (self._feed.progress, now)
        elif now - since_s > max(camera.stream.open_timeout_s, camera.stream.stall_timeout_s) + HANG_GRACE_S:
            log.error("camera %s: the decoder hangs; ending the process", self._name)
            self._report()
            os._exit(EXIT_HANGING)

    def _report(self) -> None:
        if not self._spec.until_end:
            self._pipeline.tick(self._clock.now())
        checkpoint = self._checkpoint()
        events = [row for row in checkpoint.rows if isinstance(row, Event)]
        self._events_total.update((event.kind, event.place) for event in events)
        report = Report(
            self._status(checkpoint),
            checkpoint,
            self._stages.snapshots(),
            dict(self._events_total),
            tuple(self._pipeline.figures()),
        )
        self._send(report)

    def _checkpoint(self) -> Checkpoint:
        pipeline = self._pipeline
        counts, sources = pipeline.analysis.rows(self._mailbox.dropped + pipeline.dropped)
        rows = (*counts, *sources, *pipeline.take_results())
        return Checkpoint(self._name, rows, pipeline.snapshot())

    def _status(self, checkpoint: Checkpoint) -> CameraStatus:
        pipeline, feed, model = self._pipeline, self._feed, self._pipeline.analysis.model
        _, decode_errors, gate_skipped = feed.counters
        state, message = feed.state, feed.message
        if state is CameraState.ONLINE and self._detector_problem:
            state, message = CameraState.NO_DETECTOR, self._detector_problem
        stages = self._stages.recent_ms()
        total = stages.get("total", {})
        windows = [row for row in checkpoint.rows if isinstance(row, SourceWindow)]
        newest_row = windows[-1] if windows else None
        return CameraStatus(
            source=self._name,
            state=state,
            message=message or pipeline.last_error,
            detector_message=self._detector_problem,
            status_time=self._clock.now(),
            last_frame_time=pipeline.last_frame_time,
            fps=round(self._fps.rate(pipeline.frames), 2),
            frames_total=pipeline.frames,
            dropped_total=self._mailbox.dropped + pipeline.dropped,
            gate_skipped_total=gate_skipped,
            decode_errors_total=decode_errors,
            reconnects_total=feed.reconnects,
            queue_depth=len(self._mailbox),
            coverage=round(pipeline.analysis.coverage, 4),
            latency_p50_ms=total.get("p50"),
            latency_p99_ms=total.get("p99"),
            transport=str(self._detector.transport),
            transport_message=self._detector.transport_message,
            decoder=self._decoders.used,
            clock_source=newest_row.clock_source if newest_row else "",
            model_version=model.version if model else "",
            stages_ms=stages | self._read_server_times(),
        )

    def _read_server_times(self) -> dict[str, dict[str, float]]:
        """Queue and compute time as Triton reports them, read every few seconds."""
        if self._detector_problem or time.monotonic() < self._next_server_times_s:
            return self._server_times
        self._next_server_times_s = time.monotonic() + SERVER_TIMES_EVERY_S
        with contextlib.suppress(DetectorError):  # the next frame notices what is wrong
            self._server_times = self._detector.server_times_ms() or self._server_times
        return self._server_times

    def _send(self, report: Report) -> None:
        try:
            self._connection.send(report)
        except OSError:
            self._stop.set()  # the supervisor is gone

    def _listen(self) -> None:
        """Runs in its own thread: a word from the supervisor, or its end, ends this worker."""
        try:
            while self._connection.recv() is not Command.STOP:
                pass
        except (EOFError, OSError):
            log.warning("camera %s: the supervisor is gone; ending", self._name)
        self._stop.set()

    def _end(self) -> None:
        ended = self._feed.stop(timeout_s=3.0)
        self._pipeline.end_features()
        self._report()
        self._pipeline.close()
        self._triton.close()
        self._connection.close()
        if not ended:
            os._exit(EXIT_HANGING)  # the interpreter would wait for the hanging thread


def _make_track_log(camera: Camera) -> TrackLog | None:
    if camera.track_log.folder is None:
        return None
    return TrackLog(
        camera.track_log.folder, camera.name, camera.track_log.max_bytes, time_code=camera.track_log.time_code
    )


def _make_shadow(
    spec: WorkerSpec, triton: TritonConnection, live_model: str, busy: Callable[[], bool]
) -> Shadow | None:
    """The camera's candidate, with slots of its own and the lowest priority."""
    camera = spec.camera
    if camera.shadow.model is None:
        return None
    candidate = triton.model(camera.shadow.model, slots=2, priority=LOWEST_PRIORITY)
    return Shadow(camera, candidate, live_model=live_model, lossless=spec.until_end, busy=busy)
