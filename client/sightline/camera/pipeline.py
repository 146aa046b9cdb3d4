"""The way of a frame, one way and no going back: mailbox → detector → analysis → observers.

Decoding happens in another thread (:mod:`feed`), detection in another process (Triton). This module
is the line between them: it keeps a few frames in flight and takes their results in order.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass

from sightline.analysis.chain import CameraAnalysis
from sightline.analysis.observer import JSON, Observer
from sightline.base.stats import StageTimes
from sightline.entities import Detections, Figure, Frame, Result
from sightline.errors import (
    DetectorError,
    DetectorOutdated,
    DetectorTimeout,
    DetectorUnavailable,
    SourceEnded,
)
from sightline.inference.detector import Detector
from sightline.video.mailbox import Mailbox

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _InFlight:
    frame: Frame
    future: Future[Detections]
    submitted_s: float
    again: bool = False  # resent after a model switch


class Pipeline:
    """Frames in, counts and events out. Used by the main thread alone.

    Args:
        mailbox: where the frames come from.
        analysis: tracker, rules and windows.
        stages: how long each of :data:`STAGES` took.
        in_flight: frames at the detector at once.
        deadline_s: a frame without an answer after this long is dropped.
        observers: features, called with every tracked frame; one that fails is closed and left out.

    Attributes:
        observers: those that are at work.
        failed: why the others are not, by name.
        frames: that were analysed.
        dropped: frames that were taken from the mailbox and got no detections.
        last_error: why the newest frame was dropped; empty when it was not.
        last_frame_time: capture time of the newest frame that was analysed.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        analysis: CameraAnalysis,
        stages: StageTimes,
        *,
        in_flight: int = 2,
        deadline_s: float = 2.0,
        observers: Iterable[Observer] = (),
    ) -> None:
        self.mailbox = mailbox
        self.analysis = analysis
        self.observers = list(observers)
        self.failed: dict[str, str] = {}
        self.frames = 0
        self.dropped = 0
        self.last_error = ""
        self.last_frame_time: float | None = None
        self._stages = stages
        self._max_in_flight = in_flight
        self._deadline_s = deadline_s
        self._in_flight: deque[_InFlight] = deque()
        self._results: list[Result] = []  # of the features, since they were taken
        self._size: tuple[int, int] | None = None

    def tick(self, now: float) -> None:
        """Tell the wall clock at least once a second (live streams): what a silent stream left open ends."""
        silent = self.analysis.tick(now)
        self._ask(lambda observer: observer.tick(now, silent))

    def end(self) -> None:
        """The stream has ended for good (a recorded file): close every window, end every visit."""
        if self.last_frame_time is not None:
            self.analysis.end(self.last_frame_time)
        self.end_features()

    def end_features(self) -> None:
        """The worker stops, or the stream has ended: features write what they have."""
        time = self.last_frame_time
        if time is not None:
            self._ask(lambda observer: observer.end(time))

    def close(self) -> None:
        """Close the features."""
        for observer in self.observers:
            observer.close()

    def take_results(self) -> list[Result]:
        """What has become certain since the last call: take it with the rows and the snapshot."""
        results, self._results = self.analysis.take_results() + self._results, []
        return results

    def snapshot(self) -> JSON:
        """What a successor goes on from: the analysis and, by name, the features."""
        features = {observer.name: observer.snapshot() for observer in self.observers}
        return self.analysis.snapshot() | {name: state for name, state in features.items() if state}

    def figures(self) -> list[Figure]:
        """Numbers of the analysis and of the features; a feature that failed is one of them."""
        figures = [*self.analysis.figures(), *(f for observer in self.observers for f in observer.figures())]
        text = "1 for a feature that has failed and is switched off until the camera starts again."
        return figures + [Figure("feature_failed", 1.0, {"feature": name}, text) for name in self.failed]

    def _ask(self, call: Callable[[Observer], Iterable[Result]]) -> None:
        """Call every feature; the camera goes on without one that fails."""
        for observer in tuple(self.observers):
            try:
                self._results += call(observer)
            except Exception as error:
                log.exception("%s has failed and is switched off; the camera goes on", observer.name)
                self.failed[observer.name] = repr(error)
                self.observers.remove(observer)
                with contextlib.suppress(Exception):  # it has failed already, and that has been said
                    observer.close()

    def step(self, detector: Detector, timeout_s: float) -> None:
        """Start the next frame if there is room, then analyse every frame whose detections have come.

        Returns after ``timeout_s`` at the latest.

        Raises:
            DetectorUnavailable: the detector is gone; what was in flight has been dropped and counted.
            SourceEnded: the mailbox is closed and everything in it has been analysed.
        """
        frame = self._next_frame(timeout_s)
        if frame is not None:
            self._stages.observe("queue", time.monotonic() - frame.received_s)
            self._in_flight.append(self._start(detector, frame))
        while self._in_flight and self._has_ended(self._in_flight[0]):
            self._finish(detector, self._in_flight.popleft())

    def _start(self, detector: Detector, frame: Frame, *, again: bool = False) -> _InFlight:
        now = time.monotonic()
        [future] = detector.submit([frame], [self._stages])
        future.add_done_callback(lambda _: self.mailbox.wake())
        return _InFlight(frame, future, now, again)

    def _next_frame(self, timeout_s: float) -> Frame | None:
        """The next frame if the detector has room for it: first it gets work, then results are analysed."""
        busy = sum(not item.future.done() for item in self._in_flight)
        if busy < self._max_in_flight:
            try:
                return self.mailbox.get(0.0 if busy < len(self._in_flight) else timeout_s)
            except SourceEnded:
                if not self._in_flight:
                    raise
        self.mailbox.wait_woken(timeout_s)
        return None

    def _has_ended(self, item: _InFlight) -> bool:
        return item.future.done() or time.monotonic() - item.submitted_s > self._deadline_s

    def _finish(self, detector: Detector, item: _InFlight) -> None:
        if not item.future.done():
            item.future.cancel()  # its slot stays taken until the server has let go of it
            self._drop("no detections within the deadline")
            return
        try:
            detections = item.future.result()
        except DetectorUnavailable:
            self._abandon()
            raise
        except DetectorOutdated as error:
            if item.again:
                self._drop(str(error))
            else:  # in its old place, so that frames stay in order
                self._in_flight.appendleft(self._start(detector, item.frame, again=True))
        except DetectorError as error:
            self._drop(str(error), quietly=isinstance(error, DetectorTimeout))
        else:
            self._analyse(item.frame, detections)

    def _analyse(self, frame: Frame, detections: Detections) -> None:
        began = time.perf_counter()

        def lap(stage: str) -> None:
            nonlocal began
            began, before = time.perf_counter(), began
            self._stages.observe(stage, began - before)

        size = (frame.picture.width, frame.picture.height)
        if self._size not in {None, size}:
            self._ask(lambda observer: observer.end(frame.capture_time))
        self._size = size
        seen = self.analysis.observe(frame, detections, lap)
        self._stages.observe("total", time.monotonic() - frame.received_s)
        self.frames += 1
        self.last_error = ""
        self.last_frame_time = frame.capture_time
        self._ask(lambda observer: observer.observe(seen))

    def _drop(self, why: str, *, quietly: bool = False) -> None:
        self.dropped += 1
        if why != self.last_error and not quietly:
            log.warning("frame dropped: %s", why)
        self.last_error = why

    def _abandon(self) -> None:
        """Give up what is in flight, the frame at hand included."""
        self.dropped += 1 + len(self._in_flight)
        for item in self._in_flight:
            item.future.cancel()
        self._in_flight.clear()
