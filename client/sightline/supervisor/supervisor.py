"""The one process that owns the workers; what they report goes to the hub.

Main thread: starts, watches, restarts and stops workers, and applies configurations. A reader thread for
each worker hands its reports on. Watching uses the monotonic clock alone.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import cache

from sightline.analysis.rules import SILENT_SLACK_S, open_events
from sightline.base.backoff import Backoff
from sightline.camera import messages
from sightline.config import LoadedConfig
from sightline.entities import ENDINGS, CameraState, CameraStatus, Event, SourceWindow
from sightline.errors import SourceUnusable
from sightline.inference.leftovers import remove_abandoned
from sightline.supervisor.bottlenecks import Bottlenecks, Notice
from sightline.supervisor.control import CameraStep, Plan
from sightline.supervisor.hub import Hub
from sightline.supervisor.live_pictures import CameraOwner
from sightline.supervisor.machine_watch import MachineFigures, MachineWatch, folders_of
from sightline.supervisor.open_spans import OpenSpans
from sightline.supervisor.troubles import HOLD_S, Troubles, signs_of
from sightline.supervisor.workers import HostedCamera, StartWorker, Workers, shortages

log = logging.getLogger(__name__)

TICK_S = 0.2


class Supervisor:
    """Runs every camera of a configuration until told to stop.

    Args:
        config: what to run. Cameras with problems are shown as misconfigured and not run.
        hub: where reports go, and where resume states come from.
        start_worker: makes one worker process; an OSError is retried.
        until_end: recorded files are played once, as fast as they can be processed, without drops.
        clock: monotonic seconds.
        wall_clock: UTC epoch seconds.
    """

    def __init__(
        self,
        config: LoadedConfig,
        hub: Hub,
        *,
        start_worker: StartWorker,
        until_end: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._hub = hub
        self._until_end = until_end
        self._clock = clock
        self._stop = threading.Event()
        self._plans: deque[Plan] = deque()
        self._cameras: dict[str, HostedCamera] = {}
        self._leaving: list[HostedCamera] = []  # removed or about to start anew
        self._misconfigured: Mapping[str, str] = {}
        self._workers = Workers(config.options, hub, start_worker, until_end=until_end, clock=clock)
        self._bottlenecks = Bottlenecks(clock)
        hub.annotate = self._bottlenecks.annotate
        self._machine = MachineWatch(lambda: folders_of(self._config.options))
        self.live = hub.live  # what is seen of the cameras
        self.live.owner_of = self.owner_of
        self._troubles, self._open_spans = Troubles(clock, wall_clock), OpenSpans(clock)
        self._adopted: bool | None = None  # what was left open; False: as far as is spooled
        self._wall_clock = wall_clock
        self._began: float | None = None  # UTC epoch seconds, of the first tick
        self.beat_s = clock()

    def stand_by(self, is_ready: Callable[[], bool]) -> bool:
        """Wait before :meth:`run`; False when told to stop."""
        while not is_ready():
            self.beat_s = self._clock()
            if self._stop.wait(TICK_S):
                return False
        return True

    def run(self) -> None:
        """Start every camera, watch them, and stop them all when told to (or when every file has ended).

        Raises:
            SourceUnusable: of a file that was to be played to its end nothing could be played.
        """
        for name in remove_abandoned():
            log.info("removed %s, left behind by a process that died", name)
        try:
            cameras = self._config.cameras.values()
            self._use(self._config, {c.name: CameraStep.START for c in cameras if c.enabled}, {})
            while True:
                self.tick()
                if self._until_end and all(item.ended for item in self._cameras.values()):
                    failed = [s for s in self.statuses() if s.state in ENDINGS - {CameraState.ENDED}]
                    if failed:
                        raise SourceUnusable("; ".join(f"camera {s.source}: {s.message}" for s in failed))
                    self._hub.put_results(self._troubles.end())
                    return
                if self._stop.wait(TICK_S):
                    return
        finally:
            self._stop_workers()
            remove_abandoned()  # of workers that had to be killed
            for item in self._cameras.values():
                if not item.ended:
                    self._hub.set_state(item.name, CameraState.STOPPED)

    def tick(self) -> None:
        """One round of :meth:`run`."""
        self.beat_s = self._clock()
        while self._plans and not self._stop.is_set():
            plan = self._plans.popleft()
            self._use(plan.config, plan.steps, plan.reasons)
        if self._stop.is_set():
            return  # no worker starts any more
        self._workers.tick()
        self._place()
        ended = {name for name, item in self._cameras.items() if item.ended}
        at_work = [status for status in self.statuses() if status.source not in ended]
        self._bottlenecks.look(at_work, self._config.options.triton.url)
        self._watch_troubles()
        for item in self._cameras.values():
            if item.running or item.ended or item.restarts < 0:
                continue
            # Coverage 0 for the window that has ended without a worker; a row that is there stays.
            camera, window_s = item.camera, item.camera.count.window_s
            end = self._wall_clock() // window_s * window_s
            if item.marked_end != end:
                item.marked_end = end
                window = SourceWindow(
                    camera.name, end - window_s, end, 0.0, 0.0, 0, "", "", camera.config_hash
                )
                self._hub.mark_unwatched([window])

    def _watch_troubles(self) -> None:
        """Make events of the system's own troubles, and end the events that nothing goes on with."""
        self._began = self._began or self._wall_clock()
        newest = self._hub.open_events()
        if newest is not None and (self._adopted is None or newest.whole > self._adopted):
            self._adopted = newest.whole
            self._troubles.adopt(newest.events, self._cameras)
        health, sinks = self._hub.writer_health(), self._hub.sinks()
        signs = signs_of(self.statuses(), health, self.notices(), sinks, self.reports().values())
        results = self._troubles.look(signs)
        keys_of = cache(self._open_keys)

        def goes_on(event: Event) -> bool | None:
            if event.kind in HOLD_S:
                return self._troubles.goes_on(event)
            keys = keys_of(event.source)
            return None if keys is None else event.key in keys

        results += self._open_spans.look(newest, goes_on)
        if results:
            self._hub.put_results(results)

    def _open_keys(self, camera: str) -> set[str] | None:
        """The keys of the events that a camera's rules go on with; None while that is not known."""
        item = self._cameras.get(camera)
        if item is None:  # its last report may still come
            return None if camera in {leaving.name for leaving in self._leaving} else set()
        report = self._hub.reports().get(camera)
        silent_s = self._wall_clock() - (report.status.status_time if report else self._began or 0.0)
        if silent_s > item.camera.track.max_gap_s + SILENT_SLACK_S:  # a worker would have ended them
            return set()
        resume = self._hub.newest_resume(camera)
        return None if resume is None else {event.key for event in open_events(resume.get("rules", {}))}

    def stop(self) -> None:
        """Ask :meth:`run` to return. Any thread may call it (a signal handler must not: see ``signals``)."""
        self._stop.set()

    def apply(self, plan: Plan) -> None:
        """Ask for a plan to be carried out, after all that were asked for before. Any thread may call it."""
        self._plans.append(plan)

    def statuses(self) -> list[CameraStatus]:
        """The newest status of every camera, misconfigured ones included. Any thread may call it."""
        reports, wrong = self._hub.reports(), self._misconfigured
        return [
            reports[name].status
            if name in reports
            else self._plain_status(name, CameraState.STARTING, item.message)
            for name, item in list(self._cameras.items())
        ] + [self._plain_status(name, CameraState.MISCONFIGURED, problem) for name, problem in wrong.items()]

    def reports(self) -> dict[str, messages.Report]:
        """The newest report of every camera that has sent one. Any thread may call it."""
        reports = self._hub.reports()
        return {name: reports[name] for name in list(self._cameras) if name in reports}

    def owner_of(self, camera: str) -> CameraOwner | None:
        """Who runs a camera; None while nobody does. Any thread may call it.

        Raises:
            LookupError: no camera of that name is to run.
        """
        return self._workers.owner_of(self._cameras[camera])

    def notices(self) -> tuple[Notice, ...]:
        """What holds cameras back now. Any thread may call it."""
        return self._bottlenecks.notices

    def troubles(self) -> tuple[Event, ...]:
        """The system's own troubles that go on. Any thread may call it."""
        return self._troubles.lasting

    def machine(self) -> MachineFigures | None:
        """How this machine does; None: not known yet. Any thread may call it, and may wait for a second."""
        return self._machine.newest()

    def restarts(self) -> dict[str, int]:
        """How often each camera had to be started again with its worker. Any thread may call it."""
        return {name: max(item.restarts, 0) for name, item in list(self._cameras.items())}

    def _use(self, config: LoadedConfig, steps: Mapping[str, CameraStep], reasons: Mapping[str, str]) -> None:
        """Carry out a plan; cameras that it does not name are not touched."""
        if config.options.triton != self._config.options.triton:
            self._stop_workers()  # each worker's connection is another one now
        before, now = self._config.options, config.options
        if (before.open_limit, before.log_level) != (now.open_limit, now.log_level):
            self._workers.broadcast(messages.UpdateWorker(now.open_limit, now.log_level))
        self._config, self._workers.options = config, now
        for name, step in steps.items():
            item = self._cameras.get(name)
            if item is not None and step is CameraStep.UPDATE:
                item.camera = config.cameras[name]
                self._workers.tell(item, messages.UpdateCamera(item.camera))
            elif item is not None:
                self._workers.remove(item)
                item.message = reasons.get(name, "").removeprefix("stops: ")
                self._leaving.append(self._cameras.pop(name))
            if step is not CameraStep.STOP and name not in self._cameras:
                backoff = Backoff(0.5, 30.0, clock=self._clock)
                self._cameras[name] = HostedCamera(config.cameras[name], backoff)
        self._hub.update_cameras(config.cameras)
        known, self._misconfigured = self._misconfigured, config.misconfigured
        for name, problem in self._misconfigured.items():
            if known.get(name) != problem:
                log.error("%s; this camera does not run", problem)
            self._hub.set_status(self._plain_status(name, CameraState.MISCONFIGURED, problem))
        leaving = {item.name for item in self._leaving}  # those are shown as stopped once they have reported
        for name, camera in config.cameras.items():
            if not camera.enabled and name not in leaving:
                self._hub.set_status(self._plain_status(name, CameraState.STOPPED, "enabled: false"))
        for shortage in shortages(len(self._cameras), config.options.cameras_per_worker):
            log.error("%s", shortage)
        self._place()
        log.info("%d cameras run, %d are misconfigured", len(self._cameras), len(self._misconfigured))

    def _place(self) -> None:
        """Give new cameras their workers; a changed one once the old one has been reported a last time."""
        for item in [item for item in self._leaving if item.left]:
            self._leaving.remove(item)
            if item.name not in self._cameras:
                self._hub.forget(item.name)
                problem = self._misconfigured.get(item.name)
                state = CameraState.MISCONFIGURED if problem else CameraState.STOPPED
                self._hub.set_status(self._plain_status(item.name, state, problem or item.message))
        leaving = {item.name for item in self._leaving}
        for name, item in self._cameras.items():
            if not item.placed and name not in leaving:
                self._workers.add(item)

    def _stop_workers(self) -> None:
        """Every camera reports a last time; those that are still wanted are placed anew."""
        self._workers.stop()
        for item in self._leaving:
            item.left = True
        for item in self._cameras.values():
            item.placed = item.running = False

    def _plain_status(self, name: str, state: CameraState, message: str) -> CameraStatus:
        return CameraStatus(source=name, state=state, message=message, status_time=self._wall_clock())
