"""The worker's way to a served model: shared by all cameras that use it, made again when it is lost."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from sightline.base.backoff import Backoff
from sightline.base.threads import Bell, SideThreads
from sightline.camera.messages import LiveMessage
from sightline.camera.pipeline import Pipeline
from sightline.config import TritonOptions
from sightline.entities import Frame, ModelInfo
from sightline.errors import DetectorError
from sightline.inference.client import ServedDetector, TritonConnection
from sightline.video.open_gate import OpenGate
from sightline.video.source import Source

log = logging.getLogger(__name__)

SERVER_TIMES_EVERY_S = 5.0
LOWEST_PRIORITY = 2  # of the two levels of Triton's queues


@dataclass(frozen=True, slots=True)
class SharedParts:
    """What the cameras of a worker and their models share."""

    worker: str  # its name
    triton: TritonOptions
    models: "ServedModels"
    gate: OpenGate
    bell: Bell  # wakes the main thread
    threads: SideThreads
    make_source: Callable[..., Source]  # as Source is made
    show: Callable[[LiveMessage], bool]  # as LiveSender.put


class DetectorLink:
    """One served model. The main thread calls it; connecting, in a side thread, holds no camera up."""

    def __init__(self, parts: SharedParts, name: str) -> None:
        """Nothing is connected yet; ``name`` is that of the model."""
        self._parts = parts
        self._name = name
        self.pipelines: list[Pipeline] = []  # of the cameras that use it; they are served in turn
        self.capacity = 0  # frames that may be in flight
        self.detector = self.resize(1)
        self.problem = "not connected yet"  # why there are no detections; empty while connected
        self.server_times: dict[str, dict[str, float]] = {}  # queue and compute, as Triton reports them
        self._backoff = Backoff(0.2, 1.0)
        self._next_connect_s = 0.0
        self._connecting: Future[ModelInfo] | None = None
        self._reading: Future[dict[str, dict[str, float]]] | None = None
        self._next_times_s = 0.0

    def resize(self, cameras: int) -> ServedDetector:
        """Make room for so many cameras.

        Each may always have one frame in flight, and all together a few more: more than the engine works on
        would only wait in its queue. One slot more, so that a late answer does not stop the next frame.
        """
        self.capacity = cameras - 1 + self._parts.triton.in_flight
        return self._parts.models.hold(self._name, self, self.capacity + 1)

    def close(self) -> None:
        """The last camera has left."""
        self._parts.models.release(self._name, self)

    def serve(self, turn: int) -> None:
        """Send what is due now, in as few requests as keep the detector busy; connect when there is need."""
        if self.problem and not self._connect():
            return
        sent = 0
        while sent < self.capacity and (due := self._due(turn)):  # then results are analysed
            sent += len(due)
            pipelines, frames = zip(*due, strict=True)
            futures = self.detector.submit(frames, [pipeline.stages for pipeline in pipelines])
            for pipeline, frame, future in zip(pipelines, frames, futures, strict=True):
                pipeline.sent(frame, future)

    def _connect(self) -> bool:
        """Connect when that is due; whether that has been done."""
        now = time.monotonic()
        if self._connecting is None and now >= self._next_connect_s:
            self._connecting = self._parts.threads.submit(self.detector.connect)
            self._connecting.add_done_callback(lambda _: self._parts.bell.ring())
        if self._connecting is None or not self._connecting.done():
            return False
        connecting, self._connecting = self._connecting, None
        try:
            model = connecting.result()
        except DetectorError as error:
            self.lose(error)
            return False
        self._backoff.good()
        self.problem = ""
        worker, transport = self._parts.worker, self.detector.transport
        log.info("%s: %s %s over %s", worker, model.name, model.version, transport)
        return True

    def _due(self, turn: int) -> list[tuple[Pipeline, Frame]]:
        """Frames of the next request, within the limits of each camera and of the model.

        They are a third of what may be in flight at most: an answer comes when all frames of its request
        are done, and the detector goes on with the others meanwhile.
        """
        due: list[tuple[Pipeline, Frame]] = []
        if not any(pipeline.has_frame for pipeline in self.pipelines):
            return due
        room = self.capacity - sum(pipeline.busy for pipeline in self.pipelines)
        room = min(room, max(1, self.capacity // 3))
        first = turn % len(self.pipelines)
        for taken in range(room):
            before = len(due)
            for pipeline in self.pipelines[first:] + self.pipelines[:first]:
                if len(due) >= room:
                    return due
                if pipeline.analysis.model is None and (model := self.detector.info) is not None:
                    pipeline.analysis.use_model(model)
                if (frame := pipeline.next_frame(taken)) is not None:
                    due.append((pipeline, frame))
            if len(due) == before:
                break
        return due

    def lose(self, error: DetectorError) -> None:
        """Connect again, after a while."""
        if not self.problem:
            log.warning("%s: detector lost: %s", self._parts.worker, error)
        self.problem = str(error)
        self._next_connect_s = time.monotonic() + self._backoff.next_delay_s()

    def read_server_times(self) -> None:
        """Ask Triton every few seconds, in a side thread."""
        if self._reading is not None and self._reading.done():
            with contextlib.suppress(DetectorError):  # the next frame notices what is wrong
                self.server_times = self._reading.result() or self.server_times
            self._reading = None
        if not self.problem and self._reading is None and time.monotonic() >= self._next_times_s:
            self._next_times_s = time.monotonic() + SERVER_TIMES_EVERY_S
            self._reading = self._parts.threads.submit(self.detector.server_times_ms)


class ServedModels:
    """The models that this process uses, each with the slots that its users together need. Any thread."""

    def __init__(self, connection: TritonConnection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._users: dict[str, dict[object, int]] = {}  # by model: slots of each user

    def hold(self, name: str, user: object, slots: int, priority: int | None = None) -> ServedDetector:
        """The model, with room for ``slots`` pictures of ``user``; call again when that number changes."""
        with self._lock:
            users = self._users.setdefault(name, {})
            users[user] = slots
            detector = self._connection.model(name, slots=sum(users.values()), priority=priority)
            detector.resize(sum(users.values()))
            return detector

    def release(self, name: str, user: object) -> None:
        """``user`` needs it no more; the last one's slots are given back."""
        with self._lock:
            users = self._users.get(name, {})
            if users.pop(user, None) is None:
                return
            detector = self._connection.model(name)
            if users:
                detector.resize(sum(users.values()))
                return
            del self._users[name]
        detector.close()


class CandidateDetector:
    """A model that a feature of one camera asks for itself, behind all live frames."""

    def __init__(self, models: ServedModels, name: str) -> None:
        # One in flight, and one more so that a late answer does not stop the next frame.
        detector = models.hold(name, self, 2, LOWEST_PRIORITY)
        self.connect, self.submit = detector.connect, detector.submit
        self.close = partial(models.release, name, self)
