"""The way of a frame, one way and no going back: mailbox → detector → tracker → rules → windows.

Decoding happens in another thread (:mod:`feed`), detection in another process (Triton). This module
is the line between them: it keeps a few frames in flight and takes their results in order.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Protocol

from sightline.analysis.classes import ClassTable, renumber
from sightline.analysis.counts.windows import WindowCounter
from sightline.analysis.rules import Rules
from sightline.analysis.tracking.tracker import Tracker
from sightline.base.stats import StageTimes
from sightline.entities import Detections, Event, Frame, ModelInfo, Tracks
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


class Keeper(Protocol):
    """Something that keeps what the tracker saw."""

    def keep(
        self, frame: Frame, detections: Detections, tracks: Tracks, class_names: tuple[str, ...]
    ) -> None:
        """Take one tracked frame; class ids of both are places in ``class_names``."""


class Mirror(Protocol):
    """Something that looks at frames a second time, once the live path has done with them."""

    def mirror(
        self, frame: Frame, detections: Detections, class_names: tuple[str, ...], *, busy: bool
    ) -> None:
        """Take one tracked frame, and return soon; ``busy``: another one waits to be detected."""


@dataclass(frozen=True, slots=True)
class _InFlight:
    frame: Frame
    future: Future[Detections]
    submitted_s: float
    again: bool = False  # sent a second time, since another version serves now


class Pipeline:
    """Frames in, counts and events out. Used by the main thread alone."""

    def __init__(
        self,
        mailbox: Mailbox,
        tracker: Tracker,
        windows: WindowCounter,
        stages: StageTimes,
        *,
        in_flight: int = 2,
        deadline_s: float = 2.0,
        classes: ClassTable | None = None,
    ) -> None:
        self.mailbox = mailbox
        self.tracker = tracker
        self.windows = windows
        self._stages = stages
        self._most_in_flight = in_flight
        self._deadline_s = deadline_s
        self.keepers: list[Keeper] = []  # of what the tracker saw
        self._in_flight: deque[_InFlight] = deque()
        self._size: tuple[int, int] | None = None
        self.classes = classes or ClassTable()
        self._lookup = self.classes.lookup(())
        self.rules = Rules("", {}, {})  # none
        self.mirror: Mirror | None = None
        self._events: list[Event] = []  # since they were taken
        self.model: ModelInfo | None = None  # that made the newest boxes
        self.frames = 0  # tracked
        self.dropped = 0  # taken from the mailbox, but got no detections
        self.last_error = ""
        self.last_frame_time: float | None = None

    def use_rules(self, rules: Rules) -> None:
        """The lines and zones of the camera."""
        self.rules = rules
        rules.use_model(self.classes.names)

    def use_model(self, model: ModelInfo) -> None:
        """The version that makes the boxes from now on; tracks go on, their classes keep their names."""
        self.model = model
        self._lookup = self.classes.lookup(model.class_names)
        self.windows.use_model(self.classes.names, model.version)
        self.rules.use_model(self.classes.names)

    def tick(self, now: float) -> None:
        """Tell the wall clock about once a second (live streams), so that a silent stream's results end."""
        self.windows.tick(now)
        self._events += self.rules.tick(now)

    def finish(self) -> None:
        """The stream has ended for good (a recorded file): close every window, end every visit."""
        self.windows.finish()
        if self.last_frame_time is not None:
            self._events += self.rules.end_all(self.last_frame_time)

    def take_events(self) -> tuple[Event, ...]:
        """The events made since the last call."""
        taken, self._events = tuple(self._events), []
        return taken

    def step(self, detector: Detector, timeout_s: float) -> None:
        """Start the next frame if there is room, then track every frame whose detections have come.

        Returns after ``timeout_s`` at the latest.

        Raises:
            DetectorUnavailable: the detector is gone; what was in flight has been dropped and counted.
            SourceEnded: the mailbox is closed and everything in it has been tracked.
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
        """The next frame if the detector has room for it: first it gets work, then results are tracked."""
        busy = sum(not item.future.done() for item in self._in_flight)
        if busy < self._most_in_flight:
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
            self._track(item.frame, detections)

    def _track(self, frame: Frame, detections: Detections) -> None:
        started = time.perf_counter()
        size = (frame.picture.width, frame.picture.height)
        if self._size not in {None, size}:
            self.tracker.end_all()  # the picture is another one now: its boxes are not comparable
            self._events += self.rules.end_all(frame.capture_time)
        self._size = size
        if detections.model is not None:
            if detections.model is not self.model:
                self.use_model(detections.model)
            detections = replace(detections, class_ids=renumber(detections.class_ids, self._lookup))
        tracks = self.tracker.update(detections, frame.capture_time)
        tracked = time.perf_counter()
        self._events += self.rules.observe(tracks, frame.capture_time)
        ruled = time.perf_counter()
        self.windows.observe(tracks, frame.capture_time, frame.clock_source)
        for keeper in self.keepers:
            keeper.keep(frame, detections, tracks, self.classes.names)
        self._stages.observe("track", tracked - started)
        self._stages.observe("rules", ruled - tracked)
        self._stages.observe("windows", time.perf_counter() - ruled)
        self._stages.observe("total", time.monotonic() - frame.received_s)
        self.frames += 1
        self.last_error = ""
        self.last_frame_time = frame.capture_time
        if self.mirror is not None:
            self.mirror.mirror(frame, detections, self.classes.names, busy=len(self.mailbox) > 0)

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
