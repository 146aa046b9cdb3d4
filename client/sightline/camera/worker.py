"""A process that hosts cameras: it waits for frames, answers and messages of all of them at one place.

Threads: the main thread (everything that is not named here), a decode thread for each camera
(:mod:`feed`), gRPC's, one that listens to the supervisor, a few side threads for what may take long and,
while somebody watches, one that draws and one that sends pictures.
A worker whose supervisor has died sees the pipe end, and ends.
"""

import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from queue import SimpleQueue

from sightline.base.backoff import Backoff
from sightline.base.logs import setup_logging
from sightline.base.threads import Bell, SideThreads
from sightline.camera.detector_link import DetectorLink, ServedModels, SharedParts
from sightline.camera.live_sender import LiveSender
from sightline.camera.messages import (
    EXIT_HANGING,
    AddCamera,
    AskFeature,
    CameraSpec,
    LiveMessage,
    Message,
    RemoveCamera,
    Report,
    Stop,
    UpdateCamera,
    UpdateWorker,
    WorkerReport,
    WorkerSpec,
)
from sightline.camera.running_camera import RunningCamera
from sightline.config import Camera, TritonOptions
from sightline.entities import ENDINGS, CameraState, CameraStatus
from sightline.inference.client import TritonConnection
from sightline.video.clock import UtcClock
from sightline.video.feed import Feed
from sightline.video.open_gate import OpenGate
from sightline.video.source import Source

log = logging.getLogger(__name__)

REPORT_EVERY_S = 1.0
#: A frame of PyAV whose side data were looked at, as each key picture's are, holds itself. Python looks for
#: such garbage when there are many objects, however large they are. A look takes milliseconds, as what was
#: imported is frozen.
COLLECT_EVERY_S = 5.0
#: Between two checkpoints of events of one camera, on average; after a quiet second five may go at once.
EVENT_EVERY_S, EVENT_BURST_S = 0.2, 0.8
STEP_S = 0.25  # longest wait: features tick, and reports are on time
#: A decode thread ends with its next packet; one that waits for a silent camera is left behind after so long.
FEED_STOP_S = 3.0
STOP_S = 4.5
CLOSE_RECORDED_S = 20.0  # features of recorded files may take their time


def run_worker(connection: Connection, live: Connection) -> None:
    """Entry point of the process; its first message says what it is. ``live`` takes what is seen live."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the supervisor decides; Ctrl-C reaches the whole group
    try:
        spec: WorkerSpec = connection.recv()
    except EOFError:
        return  # the supervisor has changed its mind
    setup_logging(spec.log_level)
    Worker(spec, connection, LiveSender(live).put).run()


@dataclass(eq=False, slots=True)
class _Place:
    """One camera in this worker, across its restarts here; times are on the monotonic clock."""

    spec: CameraSpec
    running: RunningCamera | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(1.0, 30.0))
    start_at_s: float = 0.0
    restarts: int = 0
    problem: str = ""  # why it does not run now
    leaving_s: float | None = None  # since when
    last: Report | None = None  # made, and sent when the features have ended
    closing: Future[None] | None = None
    latest: Report | None = None  # what was sent last
    event_due_s: float = 0.0  # when the next checkpoint of an event may go; behind: more than one may

    @property
    def name(self) -> str:
        return self.spec.camera.name


class Worker:
    """The cameras of one process. ``run`` is its main thread."""

    def __init__(
        self,
        spec: WorkerSpec,
        connection: Connection,  # to the supervisor
        show: Callable[[LiveMessage], bool] = lambda _: False,  # as LiveSender.put
        *,
        connect: Callable[[TritonOptions, str], TritonConnection] = TritonConnection,
        make_source: Callable[..., Source] = Source,
        end_process: Callable[[int], object] = os._exit,  # at once, hanging threads and all
    ) -> None:
        """Prepare; no camera is there yet."""
        self._connection = connection
        self._end_process = end_process
        self._inbox: SimpleQueue[Message] = SimpleQueue()
        self._triton = connect(spec.triton, spec.name)
        models, gate = ServedModels(self._triton), OpenGate(spec.gate, spec.open_limit)
        threads = SideThreads(f"{spec.name}-side", 8)
        self._parts = SharedParts(spec.name, spec.triton, models, gate, Bell(), threads, make_source, show)
        self._links: dict[str, DetectorLink] = {}
        self._places: dict[str, _Place] = {}
        self._old_feeds: list[Feed] = []  # of cameras that ended; they may still wait in FFmpeg
        self._clock = UtcClock()
        self._stop_by_s: float | None = None
        self._turn = 0

    def run(self) -> None:
        """Work until told to stop."""
        threading.Thread(target=self._listen, name="supervisor", daemon=True).start()
        next_tick_s = next_report_s = next_collection_s = 0.0
        while self._stop_by_s is None or (self._places and time.monotonic() < self._stop_by_s):
            self._take_messages()
            now = time.monotonic()
            if now >= next_tick_s:
                next_tick_s = now + STEP_S
                self._tick()
            if now >= next_report_s:
                next_report_s = now + REPORT_EVERY_S
                self._report_all()
            if now >= next_collection_s:
                next_collection_s = now + COLLECT_EVERY_S
                gc.collect()
            self._serve()
            self._move_places()
            self._parts.bell.wait(self._wait_s())
        self._end()

    # -- messages -------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Runs in its own thread: hands messages on; the end of the pipe means Stop."""
        message: Message | None = None
        while not isinstance(message, Stop):
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                log.warning("%s: the supervisor is gone; ending", self._parts.worker)
                message = Stop()
            self._inbox.put(message)
            self._parts.bell.ring()

    def _take_messages(self) -> None:
        while not self._inbox.empty():
            message = self._inbox.get()
            match message:
                case AddCamera(spec):
                    self._add(spec)
                case Stop():
                    self._begin_stop()
                case UpdateCamera(camera):
                    self._update(camera)
                case UpdateWorker(open_limit, log_level):
                    logging.getLogger().setLevel(log_level.upper())
                    self._parts.gate.resize(open_limit)
                case AskFeature(name, feature, request) if place := self._places.get(name):
                    if place.running is not None:
                        place.running.pipeline.request(feature, request)
                case RemoveCamera(name) if name in self._places:
                    self._begin_leaving(self._places[name])

    def _add(self, spec: CameraSpec) -> None:
        """A camera that is still here is replaced: its successor starts when its decode thread has ended."""
        old = self._places.get(spec.camera.name)
        if old is not None and old.running is not None:
            self._give_up(old.running)
        self._places[spec.camera.name] = _Place(spec)

    def _update(self, camera: Camera) -> None:
        if (place := self._places.get(camera.name)) is None:
            return
        place.spec = replace(place.spec, camera=camera)
        try:
            if place.running is not None:
                place.running.update(camera)
                log.info("camera %s: changed options are in use", place.name)
        except Exception as error:  # noqa: BLE001  its own fault alone
            self._restart(place, error)

    def _begin_stop(self) -> None:
        if self._stop_by_s is None:
            recorded = any(place.spec.until_end for place in self._places.values())
            self._stop_by_s = time.monotonic() + (CLOSE_RECORDED_S if recorded else STOP_S)
            for place in self._places.values():
                self._begin_leaving(place)

    # -- frames ---------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """First the detectors get work, then results are analysed. Cameras are served in turn."""
        self._turn += 1
        for link in self._links.values():
            link.serve(self._turn)
        for place in self._places.values():
            running = place.running
            if running is None or not (running.pipeline.is_waiting or running.pipeline.has_event):
                continue
            try:
                running.finish()
                if running.pipeline.has_event and time.monotonic() >= place.event_due_s:
                    self._report_event(place, running)
            except Exception as error:  # noqa: BLE001  a fault in this camera's chain: the others do not notice
                self._restart(place, error)

    def _wait_s(self) -> float:
        """Until something is due that rings no bell."""
        for place in self._places.values():
            if place.running and place.running.pipeline.has_event:
                return 0.05
            if place.leaving_s is not None:
                return 0.02
        return STEP_S

    # -- the clock ------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Time passes, also for cameras without frames."""
        now = self._clock.now()
        for place in self._places.values():
            if place.running is None or place.spec.until_end or place.leaving_s is not None:
                continue
            try:
                place.running.pipeline.tick(now)
            except Exception as error:  # noqa: BLE001
                self._restart(place, error)

    def _report_all(self) -> None:
        self._parts.gate.sweep()
        self._old_feeds = [feed for feed in self._old_feeds if not feed.stopped]
        for link in self._links.values():
            link.read_server_times()
        now = self._clock.now()
        places = [place for place in self._places.values() if place.last is None]
        reports = [report for place in places if (report := self._report(place, now)) is not None]
        feeds = [place.running.feed for place in self._places.values() if place.running] + self._old_feeds
        hanging = {feed.name: why for feed in feeds if (why := feed.hanging)}
        for name, why in hanging.items():
            log.error("camera %s: %s", name, why)
        self._send(reports, tuple(hanging))
        if hanging:
            log.error("%s: ends, since cameras hang: %s", self._parts.worker, ", ".join(hanging))
            self._end_process(EXIT_HANGING)

    def _send(self, reports: Sequence[Report], hanging: tuple[str, ...] = ()) -> None:
        for report in reports:
            if place := self._places.get(report.status.source):
                place.latest = report
        try:
            self._connection.send(WorkerReport(tuple(reports), hanging))
        except OSError:  # the supervisor has closed the pipe
            self._begin_stop()

    def _report_event(self, place: _Place, running: RunningCamera) -> None:
        """Send a checkpoint of one camera now: its event and its resume state are committed together."""
        place.event_due_s = max(place.event_due_s, time.monotonic() - EVENT_BURST_S) + EVENT_EVERY_S
        if place.latest is not None and place.latest.checkpoint is not None:  # at most a second ago
            report = replace(place.latest, checkpoint=running.checkpoint())
        else:  # it has just been started
            report = running.report(self._clock.now(), restarts=place.restarts)
        self._send([report])

    def _report(self, place: _Place, now: float) -> Report | None:
        if (running := place.running) is None:
            return self._report_waiting(place)
        try:
            if running.feed.failure is not None:
                raise running.feed.failure
            for observer in running.take_retired():
                self._parts.threads.submit(partial(running.pipeline.close_feature, observer))
            return running.report(now, restarts=place.restarts)
        except Exception as error:  # noqa: BLE001
            self._restart(place, error)
            return None

    def _report_waiting(self, place: _Place) -> Report:
        state = CameraState.OFFLINE if place.problem else CameraState.STARTING
        status = CameraStatus(place.name, state, place.problem, self._clock.now())
        histograms = place.latest.histograms if place.latest else {}
        return Report(status, None, histograms, retry=place.spec.retry)

    # -- cameras come and go --------------------------------------------------------------------------------

    def _move_places(self) -> None:
        for place in list(self._places.values()):
            if place.leaving_s is not None:
                self._leave(place, place.leaving_s)
            elif place.running is None and time.monotonic() >= place.start_at_s:
                self._start(place)
            elif place.running is not None and place.running.pipeline.ended:
                place.running.pipeline.end()
                self._begin_leaving(place)

    def _start(self, place: _Place) -> None:
        if any(feed.name == place.name for feed in self._old_feeds if not feed.stopped):
            return  # its predecessor may still hold the camera's stream
        model = place.spec.camera.detect.model or self._parts.triton.model
        try:
            if (link := self._links.get(model)) is None:
                link = self._links[model] = DetectorLink(self._parts, model)
            place.running = RunningCamera(place.spec, self._parts, link)
        except Exception as error:  # noqa: BLE001
            self._restart(place, error)
            return
        self._share_links()
        place.problem = ""
        place.running.feed.start(failures=place.spec.retry.failures, wait_s=place.spec.retry.wait_s)

    def _restart(self, place: _Place, error: BaseException) -> None:
        """Begin anew from the newest checkpoint that was sent."""
        delay_s = place.backoff.next_delay_s()
        place.start_at_s = time.monotonic() + delay_s
        place.restarts += 1
        place.problem = f"a fault of ours: {error!r}; starts again in {delay_s:.1f} s"
        log.error("camera %s: %s", place.name, place.problem, exc_info=error)
        if place.running is not None:
            place.spec = replace(place.spec, retry=place.running.retry)
            self._give_up(place.running)
            place.running = None
        if place.latest and place.latest.checkpoint:
            place.spec = replace(place.spec, resume=place.latest.checkpoint.resume)
        self._send([self._report_waiting(place)])

    def _dismiss(self, running: RunningCamera) -> None:
        running.feed.ask_to_stop()
        running.pipeline.abandon()
        self._old_feeds.append(running.feed)

    def _give_up(self, running: RunningCamera) -> None:
        self._dismiss(running)
        self._parts.threads.submit(running.pipeline.close)
        running.link.pipelines.remove(running.pipeline)

    def _begin_leaving(self, place: _Place) -> None:
        if place.leaving_s is None:
            place.leaving_s = time.monotonic()
            if place.running is not None and not place.running.pipeline.ended:
                self._dismiss(place.running)

    def _leave(self, place: _Place, since_s: float) -> None:
        """The last report is sent when the decode thread and the features have ended."""
        running, now = place.running, time.monotonic()
        if running is not None and place.closing is None:
            if not running.feed.stopped and now - since_s < FEED_STOP_S:
                return
            place.last = self._last_report(place)
            place.closing = self._parts.threads.submit(running.pipeline.close)
            place.closing.add_done_callback(lambda _: self._parts.bell.ring())
        if place.closing is None or place.closing.done():
            self._say_goodbye(place)

    def _last_report(self, place: _Place) -> Report:
        now = self._clock.now()
        try:
            if place.running is not None:
                place.running.pipeline.end_features()
                report = place.running.report(now, last=True, restarts=place.restarts)
                if place.spec.until_end and report.status.state in ENDINGS:
                    return report
                status = replace(report.status, state=CameraState.STOPPED, message="", fps=0.0)
                return replace(report, status=status)
        except Exception:
            log.exception("camera %s: its last report cannot be made", place.name)
        return Report(CameraStatus(place.name, CameraState.STOPPED, place.problem, now), None, {}, last=True)

    def _say_goodbye(self, place: _Place) -> None:
        self._send([place.last or self._last_report(place)])
        del self._places[place.name]
        self._share_links()

    def _share_links(self) -> None:
        """Cameras have come or gone: give each model the room that its cameras need."""
        running = [place.running for place in self._places.values() if place.running]
        for name, link in list(self._links.items()):
            link.pipelines = [camera.pipeline for camera in running if camera.link is link]
            if link.pipelines:
                link.resize(len(link.pipelines))
            else:
                self._parts.threads.submit(link.close)
                del self._links[name]

    def _end(self) -> None:
        """Everything has been reported, or its time is over."""
        for place in list(self._places.values()):
            self._say_goodbye(place)
        self._triton.close()
