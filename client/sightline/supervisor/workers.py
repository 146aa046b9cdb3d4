"""The worker processes: their handles, which camera runs in which of them, and when one starts again."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from typing import Any, Protocol

from sightline.base.backoff import Backoff
from sightline.camera.messages import (
    EXIT_HANGING,
    AddCamera,
    CameraSpec,
    Message,
    RemoveCamera,
    Retry,
    Stop,
    UpdateCamera,
    WorkerReport,
    WorkerSpec,
)
from sightline.config import Camera

log = logging.getLogger(__name__)

#: Reports come every second; a worker silent for longer than any single step can take is hung.
SILENT_S = 20.0
#: From asking for a worker to its first report, on a machine that is busy with everything else.
START_S = 60.0
STARTS_AT_ONCE = 4
STOP_S = 7.0
#: A worker that died so often for no known reason is divided, until its culprit is alone.
DEATHS_TO_DIVIDE = 3
EXIT_UNKNOWN = -1000
#: Answers on a worker's status pipe: one of the numbers below, and a value.
ANSWER = struct.Struct("<ii")
STARTED, REFUSED, ENDED = range(3)  # with the process id, with errno, with the exit code
_SECRETS = "SIGHTLINE_"  # what placeholders of the configuration may name
_NO_SECRET = {"SIGHTLINE_CACHE"}

OnReport = Callable[[WorkerReport], None]


class WorkerHandle(Protocol):
    """One worker process. The main thread calls every method."""

    @property
    def pid(self) -> int:
        """Process id; 0 until it has one."""

    @property
    def exit_code(self) -> int | None:
        """None while it runs; by then every report has been handed on."""

    @property
    def problem(self) -> str:
        """Why it could not be started; empty when it could."""

    @property
    def heard_s(self) -> float | None:
        """When it reported last, on the monotonic clock; None: never."""

    def send(self, message: Message) -> None:
        """Send a message; never waits, and means nothing once the worker has ended."""

    def kill(self) -> None:
        """End it at once."""

    def finish(self, timeout_s: float) -> None:
        """Wait for the end, kill the worker when it does not come, and let go of everything."""


StartWorker = Callable[[WorkerSpec, OnReport], WorkerHandle]


class ForkedWorkers:
    """Starts workers by a fork server, and the server when it is not there. Main thread."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def prepare(self) -> None:
        """Let the server import what it needs while the program does other things."""
        try:
            self._start_server()
        except OSError as error:
            log.warning("workers cannot be prepared (%s); it is tried again", error.strerror)

    def start(self, spec: WorkerSpec, on_report: OnReport) -> WorkerProcess:
        """Ask for one more worker.

        Raises:
            OSError: there are no processes or descriptors left.
        """
        if self._server is None or self._server.poll() is not None or self._control is None:
            self._start_server()
        try:
            return WorkerProcess(self._socket, spec, on_report, self._kill_server)
        except BrokenPipeError:
            self.close()
            raise

    def close(self) -> None:
        """End the server; workers end by their own pipes."""
        if self._control is not None:
            self._control.close()
        if self._server is not None:
            try:
                self._server.wait(2.0)
            except subprocess.TimeoutExpired:  # still importing
                self._server.kill()
                self._server.wait()
        self._server = self._control = None

    def _kill_server(self) -> None:
        """It does not fork any more; the next start makes another one."""
        if self._server is not None:
            self._server.kill()

    @property
    def _socket(self) -> socket.socket:
        assert self._control is not None  # noqa: S101  made by _start_server
        return self._control

    def _start_server(self) -> None:
        self.close()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._server = subprocess.Popen(
                    [sys.executable, "-m", "sightline.supervisor.fork_server", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    env=_environment(),
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C reaches only us: we decide the order of stopping
                )
            except OSError:
                ours.close()
                raise
        self._control = ours


class WorkerProcess:
    """A worker forked by the server: its pipe, a thread that reads it and one that writes to it."""

    def __init__(
        self,
        control: socket.socket,
        spec: WorkerSpec,
        on_report: OnReport,
        kill_server: Callable[[], None],
    ) -> None:
        self._name = spec.name
        self._kill_server = kill_server
        self._on_report = on_report
        self._connection, child = multiprocessing.Pipe()
        try:
            self._status, status = os.pipe()
        except OSError:
            self._connection.close()
            child.close()
            raise
        try:
            socket.send_fds(control, [b"w"], [child.fileno(), status])
        except OSError:
            self._connection.close()
            os.close(self._status)
            raise
        finally:
            child.close()
            os.close(status)
        self.pid = 0
        self.problem = ""
        self.exit_code: int | None = None
        self.heard_s: float | None = None
        self._outbox: SimpleQueue[Any] = SimpleQueue()
        self._outbox.put(spec)
        self._threads = [
            threading.Thread(target=target, name=f"{spec.name}-{word}", daemon=True)
            for word, target in (("reports", self._read), ("messages", self._write))
        ]
        for thread in self._threads:
            thread.start()

    def send(self, message: Message) -> None:
        """Send a message; never waits, and means nothing once the worker has ended."""
        self._outbox.put(message)

    def kill(self) -> None:
        """End it at once."""
        if self.exit_code is None and not self.pid:
            self._kill_server()
        elif self.exit_code is None:
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                return  # it has just ended

    def finish(self, timeout_s: float) -> None:
        """Wait for the end, kill the worker when it does not come, and let go of everything."""
        reader, writer = self._threads
        reader.join(max(0.0, timeout_s))
        if reader.is_alive():
            log.error("%s does not end; killing it", self._name)
            self.kill()
            reader.join(5.0)
        self._outbox.put(None)
        writer.join(5.0)
        if reader.is_alive() or writer.is_alive():
            return  # not even forked yet: it finds its pipe closed when the server gets to it
        self._connection.close()
        os.close(self._status)

    def _read(self) -> None:
        ends: list[Connection | int] = [self._connection, self._status]
        while self.exit_code is None:
            ready = wait(ends)
            if self._connection in ready:
                if not self._take_report():
                    ends.remove(self._connection)
                continue
            answer = os.read(self._status, ANSWER.size)
            what, value = ANSWER.unpack(answer) if len(answer) == ANSWER.size else (ENDED, EXIT_UNKNOWN)
            if what == STARTED:
                self.pid = value
                continue
            while self._connection in ends and self._connection.poll() and self._take_report():
                pass  # it came between the two looks
            if what == REFUSED:
                self.problem = os.strerror(value)
                value = EXIT_UNKNOWN
            self.exit_code = value

    def _take_report(self) -> bool:
        """Hand on one report; False at the pipe's end."""
        try:
            report = self._connection.recv()
        except (EOFError, OSError):
            return False
        self.heard_s = time.monotonic()
        self._on_report(report)
        return True

    def _write(self) -> None:
        try:
            for message in iter(self._outbox.get, None):
                self._connection.send(message)
        except OSError as error:
            log.debug("%s has ended already: %s", self._name, error)


class HostedCamera:
    """What the supervisor knows of one camera, across its workers.

    Main thread, but for ``retry``, ``left`` and ``ended``, which reader threads set.
    """

    def __init__(self, camera: Camera, clock: Callable[[], float]) -> None:
        self.camera = camera
        self.retry = Retry()
        self.retry_at_s = 0.0
        self.placed = False  # it has a worker
        self.left = False  # its worker has closed it and sent the last report
        self.leaving = False  # the worker has been asked to
        self.running = False
        self.restarts = -1  # the first start is none
        self.alone = False  # hung once: gets a worker of its own
        self.backoff = Backoff(0.5, 30.0, clock=clock)
        self.start_at_s = 0.0
        self.ended = False  # a recorded file
        self.message = ""  # why it does not run
        self.marked_end = 0.0  # of the newest window marked as unwatched

    @property
    def name(self) -> str:
        """The camera's name."""
        return self.camera.name


class _Worker:
    """A place for cameras: the process at work in it, and how often it died."""

    def __init__(self, number: int, clock: Callable[[], float]) -> None:
        self.name = f"worker-{number}"
        self.cameras: dict[str, HostedCamera] = {}
        self.handle: WorkerHandle | None = None
        self.backoff = Backoff(0.25, 30.0, clock=clock)
        self.start_at_s = 0.0
        self.asked_s = 0.0  # when the process was asked for
        self.stop_by_s: float | None = None
        self.deaths = 0  # for no known reason
        self.hanging: set[str] = set()  # as the worker says; set by its reader thread


class Workers:
    """Places cameras into workers and keeps those running. Belongs to the main thread."""

    def __init__(
        self,
        start_worker: Callable[[str, OnReport], WorkerHandle],
        camera_spec: Callable[[HostedCamera], CameraSpec],
        on_report: OnReport,
        on_down: Callable[[HostedCamera], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing runs yet.

        Args:
            start_worker: makes one process of this name; an OSError is retried.
            camera_spec: what a camera is started with now.
            on_report: takes what workers report.
            on_down: called when a camera's worker has died; the camera's ``message`` says why.
            clock: monotonic seconds.
        """
        self._start_worker = start_worker
        self._camera_spec = camera_spec
        self._on_report = on_report
        self._on_down = on_down
        self._clock = clock
        self._workers: list[_Worker] = []
        self._numbers = 0
        self.cameras_per_worker = 1

    def add(self, item: HostedCamera) -> None:
        """Give a camera a place; it starts with the next :meth:`tick`."""
        item.left = item.leaving = item.running = False
        item.placed = True
        worker = None if item.alone else self._with_room()
        if worker is None:
            self._numbers += 1
            worker = _Worker(self._numbers, self._clock)
            self._workers.append(worker)
        worker.cameras[item.name] = item

    def remove(self, item: HostedCamera) -> None:
        """Close a camera; ``item.left`` says when that is done."""
        worker = self._worker_of(item)
        item.leaving = True
        if worker is None:
            item.left = True
        elif worker.handle is not None and item.running:
            worker.handle.send(RemoveCamera(item.name))
        else:
            item.left = True

    def update(self, item: HostedCamera) -> None:
        """Tell the camera's worker that options which can change at work have changed."""
        worker = self._worker_of(item)
        if worker is not None and worker.handle is not None and item.running:
            worker.handle.send(UpdateCamera(item.camera))

    def broadcast(self, message: Message) -> None:
        """Tell every worker."""
        for worker in self._workers:
            if worker.handle is not None:
                worker.handle.send(message)

    def pids(self) -> dict[str, int]:
        """Process ids by worker."""
        return {worker.name: worker.handle.pid for worker in list(self._workers) if worker.handle}

    def tick(self) -> None:
        """Start, watch and end what is due; a few times a second."""
        for worker in list(self._workers):
            self._drop_left(worker)
            if worker.handle is not None:
                self._watch(worker, worker.handle)
            if worker.handle is None and not worker.cameras:
                self._workers.remove(worker)
            elif worker.handle is None and self._may_start(worker):
                self._start(worker)
            elif worker.handle is not None:
                self._add_due(worker, worker.handle)

    def stop(self) -> None:
        """Ask every worker to end, and wait."""
        deadline_s = self._clock() + STOP_S
        handles = [worker.handle for worker in self._workers if worker.handle]
        for handle in handles:
            handle.send(Stop())
        for handle in handles:
            handle.finish(deadline_s - self._clock())
        self._workers.clear()

    def _with_room(self) -> _Worker | None:
        """The fullest worker that takes one more, so that few are needed."""
        with_room = [
            worker
            for worker in self._workers
            if worker.stop_by_s is None
            and len(worker.cameras) < self.cameras_per_worker
            and not any(item.alone for item in worker.cameras.values())
        ]
        return max(with_room, key=lambda worker: len(worker.cameras), default=None)

    def _worker_of(self, item: HostedCamera) -> _Worker | None:
        return next((worker for worker in self._workers if worker.cameras.get(item.name) is item), None)

    def _may_start(self, worker: _Worker) -> bool:
        now = self._clock()
        starting = sum(w.handle is not None and w.handle.heard_s is None for w in self._workers)
        due = any(item.start_at_s <= now and not item.leaving for item in worker.cameras.values())
        return due and now >= worker.start_at_s and starting < STARTS_AT_ONCE

    def _start(self, worker: _Worker) -> None:
        worker.hanging = set()

        def take(report: WorkerReport) -> None:
            worker.hanging.update(report.hanging)
            self._on_report(report)

        try:
            worker.handle = self._start_worker(worker.name, take)
        except OSError as error:
            self._retry(worker, f"could not be started ({error.strerror or error})", died=False)
            return
        worker.asked_s = self._clock()
        worker.stop_by_s = None
        self._add_due(worker, worker.handle)

    def _add_due(self, worker: _Worker, handle: WorkerHandle) -> None:
        now = self._clock()
        for item in worker.cameras.values():
            if not item.running and not item.leaving and item.start_at_s <= now:
                item.running, item.left, item.message = True, False, ""
                item.restarts += 1
                handle.send(AddCamera(self._camera_spec(item)))

    def _drop_left(self, worker: _Worker) -> None:
        for item in [item for item in worker.cameras.values() if item.left]:
            item.running = False
            del worker.cameras[item.name]

    def _watch(self, worker: _Worker, handle: WorkerHandle) -> None:
        """Notice the end or the silence of a worker."""
        now, code, heard_s = self._clock(), handle.exit_code, handle.heard_s
        if worker.stop_by_s is None and not worker.cameras:  # no camera is left for it
            handle.send(Stop())
            worker.stop_by_s = now + STOP_S
        if worker.stop_by_s is not None and (code is not None or now >= worker.stop_by_s):
            handle.finish(0.0)
            worker.handle, worker.stop_by_s = None, None
        elif code is not None:
            handle.finish(0.0)  # reads what was sent
            problem = handle.problem
            why = f"could not be started ({problem})" if problem else f"ended with {code}"
            self._lose(worker, why, code)
        elif heard_s is None and now - worker.asked_s > START_S:
            self._kill(worker, handle, f"did not start within {START_S:.0f} s")
        elif heard_s is not None and now - heard_s > SILENT_S:
            self._kill(worker, handle, f"said nothing for {SILENT_S:.0f} s")
        elif heard_s is not None:
            worker.backoff.good()
            for item in worker.cameras.values():
                if item.running:
                    item.backoff.good()

    def _kill(self, worker: _Worker, handle: WorkerHandle, why: str) -> None:
        handle.kill()
        handle.finish(1.0)
        self._lose(worker, why, None)

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
            self._go_down(
                [item], f"its decoder hung in C; it starts again in a worker of its own in {delay_s:.1f} s"
            )
            if not item.left:
                self.add(item)
        if hung and code == EXIT_HANGING:
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
        if worker.deaths >= DEATHS_TO_DIVIDE and len(worker.cameras) > 1:
            self._divide(worker)

    def _divide(self, worker: _Worker) -> None:
        """Half of the cameras go elsewhere: the one that brings a worker down is alone after a few steps."""
        self._numbers += 1
        other = _Worker(self._numbers, self._clock)
        other.start_at_s, other.deaths = worker.start_at_s, worker.deaths
        other.backoff.failures = worker.backoff.failures
        for name in list(worker.cameras)[len(worker.cameras) // 2 :]:
            other.cameras[name] = worker.cameras.pop(name)
        self._workers.append(other)
        log.warning("%s: %d of its cameras move to %s", worker.name, len(other.cameras), other.name)

    def _go_down(self, items: Iterable[HostedCamera], why: str) -> None:
        for item in list(items):
            if item.leaving:
                item.left = True
            item.running = False
            item.message = why
            self._on_down(item)


def _environment() -> dict[str, str]:
    """Ours, without what the configuration's placeholders take their secrets from."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_SECRETS) or name in _NO_SECRET
    }
    # Workers multiply small matrices only: a pool of threads would cost memory, and forking with one is
    # unsafe.
    return {"OPENBLAS_NUM_THREADS": "1", **kept}
