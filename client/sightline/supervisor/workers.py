"""Which camera runs in which worker process, and when one starts again."""

import logging
import resource
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from math import ceil

from sightline.base import limits
from sightline.base.backoff import Backoff
from sightline.camera import messages
from sightline.config import Camera, Config
from sightline.entities import ENDINGS, CameraState
from sightline.supervisor.fork_server import OnReport, WorkerProcess
from sightline.supervisor.hub import Hub

log = logging.getLogger(__name__)

#: Reports come every second; a worker silent for longer than any single step can take is hung.
SILENT_S = 20.0
#: Features of recorded files wait rather than leave something out, one after the other.
SILENT_RECORDED_S = 120.0
#: From asking for a worker to its first report, on a machine that is busy with everything else.
START_S = 60.0
STARTS_AT_ONCE = 4
STOP_S = 5.0  # and some seconds for the rest of the program: ten in all, on a busy machine too
#: A worker that died so often for no known reason is divided, until its culprit is alone.
DEATHS_TO_DIVIDE = 3

#: Descriptors of a process and threads of the program, as a test measures them, with some to spare.
SUPERVISOR_FILES, FILES_PER_WORKER = 800, 4
WORKER_FILES, FILES_PER_CAMERA = 64, 6
OTHER_THREADS, THREADS_PER_WORKER, THREADS_PER_CAMERA = 64, 32, 2

StartWorker = Callable[[messages.WorkerSpec, OnReport], WorkerProcess]


@dataclass(eq=False)
class HostedCamera:
    """What the supervisor knows of one camera, across its workers.

    Main thread, but for ``retry``, ``left`` and ``ended``, which reader threads set.
    """

    camera: Camera
    backoff: Backoff
    retry: messages.Retry = field(default_factory=messages.Retry)
    retry_at_s: float = 0.0
    placed: bool = False  # it has a worker
    left: bool = False  # its worker has closed it and sent the last report
    leaving: bool = False  # the worker has been asked to
    running: bool = False
    restarts: int = -1  # the first start is none
    alone: bool = False  # hung once: gets a worker of its own
    start_at_s: float = 0.0
    ended: bool = False  # a recorded file
    message: str = ""  # why it does not run
    marked_end: float = 0.0  # of the newest window marked as unwatched

    @property
    def name(self) -> str:
        """The camera's name."""
        return self.camera.name


@dataclass(eq=False)
class _Worker:
    """A place for cameras: the process at work in it, and how often it died."""

    name: str
    backoff: Backoff
    cameras: dict[str, HostedCamera] = field(default_factory=dict)
    handle: WorkerProcess | None = None
    start_at_s: float = 0.0
    asked_s: float = 0.0  # when the process was asked for
    stop_by_s: float | None = None
    deaths: int = 0  # for no known reason
    hanging: set[str] = field(default_factory=set)  # as the worker says; set by its reader thread


class Workers:
    """Places cameras into workers and keeps those running. Belongs to the main thread; nothing runs at first.

    Args:
        options: the program's; those of a worker's start may be replaced later.
        hub: takes what workers report, and knows what cameras resume from.
        start_worker: makes one process; an OSError is retried.
        until_end: recorded files are played once, without drops.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        options: Config,
        hub: Hub,
        start_worker: StartWorker,
        *,
        until_end: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.options = options
        self._cameras_per_worker = options.cameras_per_worker
        self._hub = hub
        self._start_worker = start_worker
        self._clock = clock
        self._gate = secrets.token_hex(8)
        self._play = secrets.token_hex(8) if until_end else ""
        self._workers: list[_Worker] = []
        self._numbers = count(1)

    def add(self, item: HostedCamera) -> None:
        """Give a camera a place; it starts with the next :meth:`tick`.

        It is the fullest worker that takes one more, so that few are needed, or a new one.
        """
        item.left = item.leaving = item.running = False
        item.placed = True
        with_room = [
            worker
            for worker in self._workers
            if worker.stop_by_s is None
            and len(worker.cameras) < self._cameras_per_worker
            and not any(other.alone for other in (item, *worker.cameras.values()))
        ]
        worker = max(with_room, key=lambda worker: len(worker.cameras), default=None) or self._new_worker()
        worker.cameras[item.name] = item

    def remove(self, item: HostedCamera) -> None:
        """Close a camera; ``item.left`` says when that is done."""
        item.leaving = True
        if not self.tell(item, messages.RemoveCamera(item.name)):
            item.left = True

    def owner_of(self, item: HostedCamera) -> WorkerProcess | None:
        """The worker in which the camera runs; None when it runs in none. Any thread may call it."""
        for worker in list(self._workers):
            if worker.cameras.get(item.name) is item and item.running:
                return worker.handle
        return None

    def tell(self, item: HostedCamera, message: messages.Message) -> bool:
        """Send a message to the worker in which the camera runs; False when it runs in none."""
        if (owner := self.owner_of(item)) is None:
            return False
        owner.send(message)
        return True

    def broadcast(self, message: messages.Message) -> None:
        """Tell every worker."""
        for worker in self._workers:
            if worker.handle is not None:
                worker.handle.send(message)

    def tick(self) -> None:
        """Start, watch and end what is due; a few times a second."""
        for worker in list(self._workers):
            self._drop_left(worker)
            if worker.handle is not None:
                self._watch(worker, worker.handle)
            if worker.handle is not None:
                self._add_due(worker, worker.handle)
            elif not worker.cameras:
                self._workers.remove(worker)
            else:
                self._start_if_due(worker)

    def stop(self) -> None:
        """Ask every worker to end, and wait."""
        deadline_s = self._clock() + STOP_S
        handles = [worker.handle for worker in self._workers if worker.handle]
        for handle in handles:
            handle.send(messages.Stop())
        for handle in handles:
            handle.finish(deadline_s - self._clock())
        self._workers.clear()

    def _new_worker(self) -> _Worker:
        worker = _Worker(f"worker-{next(self._numbers)}", Backoff(0.25, 30.0, clock=self._clock))
        self._workers.append(worker)
        return worker

    def _start_if_due(self, worker: _Worker) -> None:
        now = self._clock()
        starting = sum(w.handle is not None and w.handle.heard_s is None for w in self._workers)
        due = any(item.start_at_s <= now and not item.leaving for item in worker.cameras.values())
        if not due or now < worker.start_at_s or starting >= STARTS_AT_ONCE:
            return
        worker.hanging = set()
        options = self.options
        spec = messages.WorkerSpec(
            worker.name, options.triton, self._gate, options.open_limit, options.log_level
        )
        try:
            worker.handle = self._start_worker(spec, lambda report: self._take(worker, report))
        except OSError as error:
            self._retry(worker, f"could not be started ({error.strerror or error})", died=False)
            return
        worker.asked_s, worker.stop_by_s = now, None
        self._add_due(worker, worker.handle)

    def _take(self, worker: _Worker, message: messages.WorkerReport) -> None:
        """Runs in the worker's reader thread."""
        worker.hanging.update(message.hanging)
        for report in message.reports:
            try:
                self._hub.take(report)
            except Exception:  # a feature has made what cannot be a row: the other cameras are still heard
                log.exception("camera %s: what it reports cannot be taken", report.status.source)
            if (item := worker.cameras.get(report.status.source)) is not None:
                item.retry = report.retry
                item.retry_at_s = self._clock() + report.retry.wait_s
                item.ended |= report.last and report.status.state in ENDINGS
                item.left = report.last

    def _add_due(self, worker: _Worker, handle: WorkerProcess) -> None:
        now = self._clock()
        for item in worker.cameras.values():
            if not item.running and not item.leaving and item.start_at_s <= now:
                item.running, item.left, item.message = True, False, ""
                item.restarts += 1
                retry = messages.Retry(item.retry.failures, max(0.0, item.retry_at_s - now))
                resume = self._hub.resume_of(item.name)
                spec = messages.CameraSpec(item.camera, resume, self._play, retry)
                handle.send(messages.AddCamera(spec))

    def _drop_left(self, worker: _Worker) -> None:
        for item in [item for item in worker.cameras.values() if item.left]:
            item.running = False
            del worker.cameras[item.name]

    def _watch(self, worker: _Worker, handle: WorkerProcess) -> None:
        """Notice the end or the silence of a worker."""
        now, code, heard_s = self._clock(), handle.exit_code, handle.heard_s
        since_s, limit_s, what = worker.asked_s, START_S, "did not start within"
        if heard_s is not None:
            since_s, what = heard_s, "said nothing for"
            limit_s = SILENT_RECORDED_S if self._play else SILENT_S
        if worker.stop_by_s is None and not worker.cameras:  # no camera is left for it
            handle.send(messages.Stop())
            worker.stop_by_s = now + STOP_S
        if worker.stop_by_s is not None and (code is not None or now >= worker.stop_by_s):
            handle.finish(0.0)
            worker.handle, worker.stop_by_s = None, None
        elif code is not None:
            handle.finish(0.0)  # reads what was sent
            why = f"could not be started ({handle.problem})" if handle.problem else f"ended with {code}"
            self._lose(worker, why, code)
        elif now - since_s > limit_s:
            handle.kill()
            handle.finish(1.0)
            self._lose(worker, f"{what} {limit_s:.0f} s", None)
        elif heard_s is not None:
            worker.backoff.good()
            for item in worker.cameras.values():
                if item.running:
                    item.backoff.good()

    def _lose(self, worker: _Worker, why: str, code: int | None) -> None:
        """Bring the cameras of a dead worker up again, each from its newest checkpoint."""
        had_run = worker.handle is not None and worker.handle.heard_s is not None
        worker.handle = None
        self._drop_left(worker)
        hung = [worker.cameras.pop(name) for name in worker.hanging if name in worker.cameras]
        for item in hung:
            item.alone = True
            delay_s = item.backoff.next_delay_s()
            item.start_at_s = self._clock() + delay_s
            again = f"it starts again in a worker of its own in {delay_s:.1f} s"
            self._go_down([item], f"its decoder hung in C; {again}")
            if not item.left:
                self.add(item)
        if hung and code == messages.EXIT_HANGING:
            self._go_down(worker.cameras.values(), f"{worker.name} ended, since {hung[0].name} hung")
            return  # the others are not to blame: at once
        self._retry(worker, why, died=had_run)

    def _retry(self, worker: _Worker, why: str, *, died: bool) -> None:
        if not worker.cameras:
            return
        delay_s = worker.backoff.next_delay_s()
        if worker.backoff.failures == 1:  # the first for a long time
            worker.deaths = 0
        worker.deaths += died
        worker.start_at_s = self._clock() + delay_s
        log.error("%s %s; starting it again in %.1f s", worker.name, why, delay_s)
        self._go_down(worker.cameras.values(), f"worker {why}")
        if worker.deaths < DEATHS_TO_DIVIDE or len(worker.cameras) == 1:
            return
        # Half of the cameras go elsewhere: the one that brings a worker down is alone after a few steps.
        other = self._new_worker()
        other.start_at_s, other.deaths = worker.start_at_s, worker.deaths
        other.backoff.failures = worker.backoff.failures
        for name in list(worker.cameras)[len(worker.cameras) // 2 :]:
            other.cameras[name] = worker.cameras.pop(name)
        log.warning("%s: %d of its cameras move to %s", worker.name, len(other.cameras), other.name)

    def _go_down(self, items: Iterable[HostedCamera], why: str) -> None:
        for item in list(items):
            item.left |= item.leaving
            item.running, item.message = False, why
            log.error("camera %s: %s", item.name, why)
            self._hub.set_state(item.name, CameraState.OFFLINE, why)


def shortages(cameras: int, per_worker: int) -> Iterator[str]:
    """Raise the system's limits to what so many cameras need, and say which ones are too low all the same."""
    workers = ceil(cameras / per_worker)
    files = max(
        SUPERVISOR_FILES + FILES_PER_WORKER * workers,
        WORKER_FILES + FILES_PER_CAMERA * min(cameras, per_worker),
    )
    threads = OTHER_THREADS + THREADS_PER_WORKER * workers + THREADS_PER_CAMERA * cameras
    who = f"{cameras} cameras in {workers} processes need about"
    limit = limits.raise_to(resource.RLIMIT_NOFILE, files)
    if limit is not None and limit < files:
        cure = "raise it (ulimit -Hn, LimitNOFILE= of systemd, ulimits: nofile of compose)"
        yield f"{who} {files} open files in one process, of which {limit} are allowed: {cure}"
    limit = limits.processes(threads)
    if limit is not None and limit < threads:
        cure = "raise it (ulimit -Hu, TasksMax= of systemd, pids_limit of compose)"
        yield f"{who} {threads} processes and threads, of which {limit} are allowed: {cure}"
