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
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from sightline.analysis.classes import ClassTable
from sightline.analysis.counts.windows import WindowCounter
from sightline.analysis.rules import Rules
from sightline.analysis.tracking.tracker import Tracker, TrackerOptions
from sightline.base.backoff import Backoff
from sightline.base.logs import setup_logging
from sightline.base.stats import RateMeter, StageTimes
from sightline.camera.messages import Command, Report, WorkerSpec
from sightline.camera.pipeline import Pipeline
from sightline.config import Camera
from sightline.entities import STAGES, CameraState, CameraStatus, Checkpoint, Event, Result, SourceWindow
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
#: More tracks than can begin between two checkpoints: ids are never given twice, however a worker ends.
SKIPPED_IDS = 1000
#: Windows stay open for late frames, for tracks confirmed late and for a camera's clock that is off.
LEAST_GRACE_S = 15.0
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
        self._shadow = _make_shadow(spec, self._triton, self._detector.name)
        self._detector_backoff = Backoff(0.2, 1.0)
        self._detector_problem = "not connected yet"
        self._next_connect_s = 0.0
        self._track_log = _make_track_log(camera)
        self._pipeline = self._make_pipeline(spec.resume)
        self._drift = watch_of(camera, spec.resume.get("drift"))
        self._pipeline.keepers += [keeper for keeper in (self._track_log, self._drift) if keeper is not None]
        self._pipeline.mirror = self._shadow
        self._fps = RateMeter()
        self._events_total: Counter[tuple[str, str]] = Counter()  # by kind and place
        self._server_times: dict[str, dict[str, float]] = {}
        self._next_server_times_s = 0.0
        self._progress: tuple[tuple[int, int], float] = ((0, 0), time.monotonic())
        self._ended = False  # a recorded file

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
            self._ended = True
            self._pipeline.finish()
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
        self._pipeline.use_model(info)
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

    def _make_pipeline(self, resume: Any) -> Pipeline:
        camera = self._spec.camera
        options = TrackerOptions(
            min_score=camera.detect.min_score,
            second_box_overlap=camera.detect.dedupe_iou,
            confirm_s=camera.track.confirm_s,
            lost_s=camera.track.max_lost_s,
            blind_s=camera.track.max_gap_s,
        )
        tracker = Tracker(options, state=resume.get("tracker"), skip_ids=SKIPPED_IDS)
        windows = WindowCounter(
            camera.name,
            camera.count.window_s,
            classes=camera.count.classes,
            config_hash=camera.config_hash,
            state=resume.get("windows"),
        )
        triton = self._spec.triton
        pipeline = Pipeline(
            self._mailbox,
            tracker,
            windows,
            self._stages,
            in_flight=triton.in_flight,
            deadline_s=triton.deadline_s,
            classes=ClassTable(resume.get("classes", ())),
        )
        pipeline.use_rules(self._make_rules(resume.get("rules")))
        return pipeline

    def _make_rules(self, state: Any) -> Rules:
        camera = self._spec.camera
        make = partial(
            Rules, camera.name, camera.rules.lines, camera.rules.zones, classes=camera.count.classes
        )
        make = partial(make, lost_s=camera.track.max_lost_s, blind_s=camera.track.max_gap_s)
        try:
            return make(state=state)
        except ValueError as error:
            log.warning("camera %s: visits and passages start anew: %s", camera.name, error)
            return make()

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
            self._drift.figures() if self._drift else {},
            self._shadow.counters() if self._shadow else {},
        )
        self._send(report)

    def _checkpoint(self) -> Checkpoint:
        windows = self._pipeline.windows
        dropped = self._mailbox.dropped + self._pipeline.dropped
        counts, sources = windows.rows(dropped)
        tracker = self._pipeline.tracker.snapshot()
        classes = self._pipeline.classes.named(tracker["class_ids"])
        resume = {
            "tracker": tracker,
            "windows": windows.snapshot(),
            "rules": self._pipeline.rules.snapshot(),
            "classes": classes,
        }
        rows: tuple[Result, ...] = (*counts, *sources, *self._pipeline.take_events())
        if self._drift is not None:
            resume["drift"] = self._drift.snapshot()
            rows += self._drift.rows(last=self._stop.is_set() or self._ended)
        return Checkpoint(self._name, rows, resume)

    def _status(self, checkpoint: Checkpoint) -> CameraStatus:
        pipeline, feed = self._pipeline, self._feed
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
            coverage=round(pipeline.windows.coverage, 4),
            latency_p50_ms=total.get("p50"),
            latency_p99_ms=total.get("p99"),
            transport=str(self._detector.transport),
            transport_message=self._detector.transport_message,
            decoder=self._decoders.used,
            clock_source=newest_row.clock_source if newest_row else "",
            model_version=pipeline.model.version if pipeline.model else "",
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
        self._report()
        if self._track_log is not None:
            self._track_log.close()
        if self._drift is not None:
            self._drift.close()
        if self._shadow is not None:
            self._shadow.close()
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


def _make_shadow(spec: WorkerSpec, triton: TritonConnection, live_model: str) -> Shadow | None:
    """The camera's candidate, with slots of its own and the lowest priority."""
    camera = spec.camera
    if camera.shadow.model is None:
        return None
    candidate = triton.model(camera.shadow.model, slots=2, priority=LOWEST_PRIORITY)
    return Shadow(camera, candidate, live_model=live_model, lossless=spec.until_end)
