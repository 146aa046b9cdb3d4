"""The way of one camera's frames: mailbox → detector → analysis → features. One way, no going back.

Decoding happens in another thread (:mod:`sightline.video.feed`), detection in another process (Triton).
The worker takes frames of several cameras to the detector together; each pipeline keeps a few frames in
flight, and takes their results in the order of its frames.
"""

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sightline.analysis.chain import CameraAnalysis
from sightline.analysis.observer import JSON, Observer
from sightline.base.logs import WarnOnce
from sightline.base.stats import StageTimes
from sightline.base.threads import Bell
from sightline.entities import Detections, Event, Figure, Frame, Result
from sightline.errors import DetectorError, DetectorOutdated, DetectorTimeout, DetectorUnavailable
from sightline.video.mailbox import Mailbox

log = logging.getLogger(__name__)

SWITCHED_OFF = "camera %s: %s has failed and is switched off"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _InFlight:
    frame: Frame
    future: Future[Detections]
    submitted_s: float
    again: bool


class Pipeline:
    """Frames of one camera in, results out. Used by the main thread alone."""

    def __init__(
        self,
        mailbox: Mailbox,  # where its frames come from
        analysis: CameraAnalysis,  # time, tracker, rules and windows
        stages: StageTimes,  # takes the times of every stage
        bell: Bell,
        *,
        in_flight: int = 2,
        deadline_s: float | None = 2.0,  # None: a recording, of which no frame is dropped for want of time
    ) -> None:
        self.mailbox = mailbox
        self.analysis = analysis
        self.stages = stages
        self.observers: list[Observer] = []  # the features at work; one that fails is taken out
        self.failed: dict[str, str] = {}  # what features that have been switched off failed with, by name
        self.retired: list[Observer] = []  # those features, to be closed where that may take time
        self.frames = 0  # analysed so far
        self.dropped = 0  # frames taken from the mailbox that got no detections
        self.last_error = ""  # why the last frame was dropped; empty when it was not
        self.last_frame_time: float | None = None  # capture time of the last analysed frame
        self.has_event = False  # made since the results were taken
        self._camera = analysis.options.camera
        self._ring = lambda _: bell.ring()
        self._max_in_flight = in_flight
        self._deadline_s = deadline_s
        self._in_flight: deque[_InFlight] = deque()
        self._again: deque[Frame] = deque()  # those of them that are to be sent again
        self._results: list[Result] = []  # of features, since they were taken
        self._size: tuple[int, int] | None = None
        self._warnings = WarnOnce(log)
        self._lap_s = 0.0

    @property
    def busy(self) -> int:
        """Frames that the detector has not answered yet."""
        return sum(not item.future.done() for item in self._in_flight) - len(self._again)

    @property
    def has_frame(self) -> bool:
        """Whether a frame waits to be sent."""
        return bool(self._again) or len(self.mailbox) > 0

    @property
    def is_waiting(self) -> bool:
        """Whether frames are on their way to the detector or back."""
        return len(self._in_flight) > 0

    @property
    def ended(self) -> bool:
        """Whether no frame will follow and all that came have been analysed."""
        return self.mailbox.ended and not self._in_flight

    def next_frame(self, taken: int = 0) -> Frame | None:
        """The next frame to be detected, if this camera may have one more in flight.

        Args:
            taken: frames that were taken before and are not sent yet.
        """
        if self._again:
            return self._again.popleft()
        if not len(self.mailbox) or self.busy + taken >= self._max_in_flight:
            return None
        frame = self.mailbox.take()
        if frame is not None:
            self.stages.observe("queue", time.monotonic() - frame.received_s)
        return frame

    def sent(self, frame: Frame, future: Future[Detections], *, again: bool = False) -> None:
        """Take note of a frame on its way; ``again``: a second time, for another version of the model."""
        item = _InFlight(frame, future, time.monotonic(), again)
        places = [at for at, other in enumerate(self._in_flight) if other.frame is frame]
        if places:  # to its old place, so that frames stay in order
            self._in_flight[places[0]] = item
        else:
            self._in_flight.append(item)
        future.add_done_callback(self._ring)

    def finish(self, submit: Callable[[Frame], Future[Detections]]) -> DetectorUnavailable | None:
        """Analyse, in order, every frame whose detections have come.

        Args:
            submit: sends a frame once more, for another version of the model.

        Returns:
            That the detector is gone, if a frame says so.
        """
        gone: DetectorUnavailable | None = None
        while self._in_flight:
            item = self._in_flight[0]
            done = item.future.done()
            waited_s = 0.0 if self._deadline_s is None else time.monotonic() - item.submitted_s
            if not done and waited_s <= (self._deadline_s or 0.0):
                break
            self._in_flight.popleft()
            if not done:
                item.future.cancel()  # its slot stays taken until the server has let go of it
                self._drop("no detections within the deadline")
                continue
            try:
                detections = item.future.result()
            except (DetectorUnavailable, DetectorTimeout) as error:
                if isinstance(error, DetectorUnavailable):
                    gone = error
                else:
                    self.last_error = str(error)
                if self._deadline_s is None:  # it keeps its place, so that frames stay in order
                    self._in_flight.appendleft(replace(item, future=Future()))
                    self._again.append(item.frame)
                    break
                self.dropped += 1
            except DetectorOutdated as error:
                if item.again:
                    self._drop(str(error))
                    continue
                self.sent(item.frame, submit(item.frame), again=True)
                self._in_flight.rotate(1)  # to its old place, so that frames stay in order
            except DetectorError as error:
                self._drop(str(error))
            else:
                self._analyse(item.frame, detections)
        return gone

    def abandon(self) -> None:
        """Give up what is in flight: the camera ends."""
        for item in self._in_flight:
            item.future.cancel()
        self.dropped += len(self._in_flight)
        self._in_flight.clear()
        self._again.clear()

    def tick(self, now: float) -> None:
        """Tell the wall clock (live streams): what a silent stream left open ends."""
        silent = self.analysis.tick(now)
        self._ask(lambda observer: observer.tick(now, silent))

    def end(self) -> None:
        """The stream has ended for good (a recorded file): close every window, end every visit."""
        if self.last_frame_time is not None:
            self.analysis.end(self.last_frame_time)

    def end_features(self) -> None:
        """The camera stops, or its stream has ended: features write what they have."""
        if (last := self.last_frame_time) is not None:
            self._ask(lambda observer: observer.end(last))

    def add_feature(self, name: str, make: Callable[[], Observer | None]) -> None:
        """Let a feature look on from the next frame on; the camera goes on without one that cannot be made.

        ``make`` gives None where the options do not ask for it.
        """
        try:
            observer = make()
        except Exception as error:
            log.exception(SWITCHED_OFF, self._camera, name)
            self.failed[name] = repr(error)
        else:
            self.observers += () if observer is None else (observer,)

    def update_features(self, options: Any) -> None:
        """Tell the features of changed options."""
        self._ask(lambda observer: observer.update(options))

    def request(self, feature: str, message: object) -> None:
        """Hand a feature a word from the supervisor."""
        self._ask(lambda observer: observer.request(message) if observer.name == feature else None)

    def switch_off(self, observer: object, error: Exception) -> None:
        """Go on without a feature that has failed, on whatever thread; it is to be closed."""
        for feature in [feature for feature in self.observers if feature is observer]:
            log.error(SWITCHED_OFF, self._camera, feature.name, exc_info=error)
            self.failed[feature.name] = repr(error)
            self.observers.remove(feature)
            self.retired.append(feature)

    def close_feature(self, observer: Observer) -> None:
        """Close one; takes seconds, so not in the main thread."""
        try:
            observer.close()
        except Exception:
            log.exception("camera %s: %s could not be closed", self._camera, observer.name)

    def close(self) -> None:
        """Close the features; takes seconds, so not in the main thread."""
        for observer in (*self.observers, *self.retired):
            self.close_feature(observer)

    def snapshot(self) -> JSON:
        """What a successor goes on from: the analysis and, by name, the features."""
        features = {observer.name: state for observer, state in self._answers(_state) if state}
        return self.analysis.snapshot() | features

    def problems(self) -> list[str]:
        """What is wrong with features that go on all the same."""
        return [problem for _, problem in self._answers(lambda observer: observer.problem()) if problem]

    def figures(self) -> list[Figure]:
        """Numbers of the analysis and of the features; a feature that failed is one of them."""
        of_features = (found for _, found in self._answers(lambda observer: tuple(observer.figures())))
        figures = [*self.analysis.figures(), *(figure for found in of_features for figure in found)]
        text = "1 for a feature that has failed and is switched off until the camera starts again."
        return figures + [Figure("feature_failed", 1.0, {"feature": name}, text) for name in self.failed]

    def take_results(self) -> list[Result]:
        """What has become certain since the last call."""
        results = [*self.analysis.take_results(), *self._results]
        self._results.clear()
        self.has_event = False
        return results

    def _analyse(self, frame: Frame, detections: Detections) -> None:
        size = (frame.picture.width, frame.picture.height)
        if self._size not in {None, size}:
            self._ask(lambda observer: observer.end(frame.capture_time))
        self._size = size
        doubts = [doubt for _, doubt in self._answers(lambda observer: observer.doubt) if doubt is not None]
        self.analysis.take_doubt(max(doubts, key=lambda doubt: doubt.certain, default=None))
        self._lap_s = time.perf_counter()
        seen = self.analysis.observe(frame, detections, self._lap)
        self.stages.observe("total", time.monotonic() - frame.received_s)
        self.frames += 1
        self.last_error = ""
        self.last_frame_time = frame.capture_time
        self.has_event |= any(isinstance(result, Event) for result in seen.results)
        self._ask(lambda observer: observer.observe(seen))

    def _lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.stages.observe(stage, now - self._lap_s)
        self._lap_s = now

    def _ask(self, call: Callable[[Observer], Iterable[Result] | None]) -> None:
        """Call every feature for its results."""
        for _, results in self._answers(lambda observer: tuple(call(observer) or ())):
            self._results += results
            self.has_event |= any(isinstance(result, Event) for result in results)

    def _answers(self, call: Callable[[Observer], T]) -> Iterator[tuple[Observer, T]]:
        """What every feature answers; the camera goes on without one that fails."""
        for observer in tuple(self.observers):
            try:
                answer = call(observer)
            except Exception as error:  # noqa: BLE001  a fault of its own
                self.switch_off(observer, error)
            else:
                yield observer, answer

    def _drop(self, why: str) -> None:
        self.dropped += 1
        if why:
            self._warnings.warn_once(f"camera {self._camera}: frame dropped: {why}")
            self.last_error = why


def _state(observer: Observer) -> JSON:
    """What a successor of a feature goes on from; raises here, in its own name, what could not be stored."""
    state = observer.snapshot()
    json.dumps(state)
    return state
