"""A process that has imported all that a worker needs, and forks workers from itself; both of its ends.

A fork takes milliseconds where a new interpreter takes a second of imports, and workers share the memory
of what was imported. The server has one thread, has never used gRPC, and its environment holds no
secrets. It ends when its control socket does; workers end when their own pipes do.
"""

import gc
import logging
import multiprocessing
import os
import resource
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from typing import Any

from sightline.base.processes import without_secrets
from sightline.camera.messages import LiveMessage, Message, WorkerReport, WorkerSpec

log = logging.getLogger(__name__)

EXIT_UNKNOWN = -1000
#: Answers on a worker's status pipe: one of the numbers below, and a value.
ANSWER = struct.Struct("<ii")
STARTED, REFUSED, ENDED = range(3)  # with the process id, with errno, with the exit code

OnReport = Callable[[WorkerReport], None]
OnLive = Callable[[LiveMessage], object]


# -- the supervisor's end ---------------------------------------------------------------------------------


class ForkedWorkers:
    """Starts workers by a fork server, and the server when it is not there. Main thread.

    ``on_live`` takes what is to be seen live, in a thread for each worker that starts from then on.
    """

    _control: socket.socket

    def __init__(self, on_live: OnLive = lambda _: None) -> None:
        self.on_live = on_live
        self._server: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Let the server import what it needs while the program does other things."""
        try:
            self._start_server()
        except OSError as error:
            log.warning("workers cannot be prepared (%s); it is tried again", error.strerror)

    def start(self, spec: WorkerSpec, on_report: OnReport) -> "WorkerProcess":
        """Ask for one more worker.

        Raises:
            OSError: there are no processes or descriptors left.
        """
        try:
            return self._ask(spec, on_report)
        except BrokenPipeError:  # the server has ended a moment ago
            self.close()
            return self._ask(spec, on_report)

    def _ask(self, spec: WorkerSpec, on_report: OnReport) -> "WorkerProcess":
        server = self._server
        if server is None or server.poll() is not None:
            server = self._start_server()
        return WorkerProcess(self._control, spec, on_report, self.on_live, kill_server=server.kill)

    def close(self) -> None:
        """End the server; workers end by their own pipes."""
        if self._server is None:
            return
        self._control.close()
        try:
            self._server.wait(2.0)
        except subprocess.TimeoutExpired:  # still importing
            self._server.kill()
            self._server.wait()
        self._server = None

    def _start_server(self) -> subprocess.Popen[bytes]:
        self.close()
        # Workers multiply small matrices only: a pool of threads would cost memory, and forking with one is
        # unsafe.
        environment = {"OPENBLAS_NUM_THREADS": "1", **without_secrets()}
        with ExitStack() as ours:
            control, theirs = socket.socketpair()
            ours.callback(control.close)
            with theirs:
                self._server = subprocess.Popen(
                    [sys.executable, "-m", "sightline.supervisor.fork_server", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    env=environment,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C reaches only us: we decide the order of stopping
                )
            ours.pop_all()
        self._control = control
        return self._server


class WorkerProcess:
    """A worker forked by the server: its pipe, a thread that reads it and one that writes to it.

    A second pipe, with a thread of its own, brings what is to be seen live: it never holds reports up.

    The main thread calls every method.

    Attributes:
        pid: process id; 0 until it has one.
        exit_code: None while it runs; by then every report has been handed on.
        problem: why it could not be started; empty when it could.
        heard_s: when it reported last, on the monotonic clock; None: never.
    """

    def __init__(
        self,
        control: socket.socket,
        spec: WorkerSpec,
        on_report: OnReport,
        on_live: OnLive,
        kill_server: Callable[[], None],
    ) -> None:
        self.pid = 0
        self.exit_code: int | None = None
        self.problem = ""
        self.heard_s: float | None = None
        self._name = spec.name
        self._kill_server = kill_server
        self._on_report, self._on_live = on_report, on_live
        with ExitStack() as ours, ExitStack() as theirs:
            self._connection, child = multiprocessing.Pipe()
            ours.callback(self._connection.close)
            theirs.callback(child.close)
            self._live, live = multiprocessing.Pipe(duplex=False)
            ours.callback(self._live.close)
            theirs.callback(live.close)
            self._status, status = os.pipe()
            ours.callback(os.close, self._status)
            theirs.callback(os.close, status)
            socket.send_fds(control, [b"w"], [child.fileno(), live.fileno(), status])
            self._ours = ours.pop_all()
        self._outbox: SimpleQueue[Any] = SimpleQueue()
        self._outbox.put(spec)
        works = {"reports": self._read, "live": self._read_live, "messages": self._write}
        threads = [
            threading.Thread(target=work, name=f"{spec.name}-{name}", daemon=True)
            for name, work in works.items()
        ]
        self._reader, *self._others = threads
        for thread in threads:
            thread.start()

    def send(self, message: Message) -> None:
        """Send a message; never waits, and means nothing once the worker has ended."""
        self._outbox.put(message)

    def kill(self) -> None:
        """End it at once."""
        if self.exit_code is not None:
            return
        if not self.pid:
            self._kill_server()  # it does not fork any more; the next start makes another one
            return
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(self.pid, signal.SIGKILL)

    def finish(self, timeout_s: float) -> None:
        """Wait for the end, kill the worker when it does not come, and let go of everything."""
        self._reader.join(max(0.0, timeout_s))
        if self._reader.is_alive():
            log.error("%s does not end; killing it", self._name)
            self.kill()
            self._reader.join(5.0)
        self._outbox.put(None)
        for thread in self._others:
            thread.join(5.0)
        if not any(thread.is_alive() for thread in (self._reader, *self._others)):
            self._ours.close()
        # Else it is not even forked yet: it finds its pipe closed when the server gets to it.

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
                self.problem, value = os.strerror(value), EXIT_UNKNOWN
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

    def _read_live(self) -> None:
        try:
            while True:
                self._on_live(self._live.recv())
        except (EOFError, OSError):  # it has ended, perhaps in the middle of a picture
            return

    def _write(self) -> None:
        try:
            for message in iter(self._outbox.get, None):
                self._connection.send(message)
        except OSError as error:
            log.debug("%s has ended already: %s", self._name, error)


# -- the server's end -------------------------------------------------------------------------------------


class ForkServer:
    """One thread; children are reaped when SIGCHLD rings.

    Args:
        control: for each message on it a worker is forked, until its other end closes.
        run_worker: what a worker does.
    """

    def __init__(self, control: socket.socket, run_worker: Callable[[Connection, Connection], None]) -> None:
        self._control = control
        self._run_worker = run_worker
        self._status: dict[int, int] = {}  # process id -> its status pipe
        self._woken, self._wake = socket.socketpair()
        for end in (self._woken, self._wake):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until the end."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    self._woken.recv(4096)
                    self._reap()
                    continue
                message, descriptors, _, _ = socket.recv_fds(self._control, 1, 3)
                if not message:
                    return
                self._fork(*descriptors)

    def _fork(self, pipe: int, live: int, status: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            self._answer(status, REFUSED, error.errno or 0)
            os.close(status)
        else:
            if pid == 0:
                self._become_worker(pipe, live)
            self._status[pid] = status
            self._answer(status, STARTED, pid)
        os.close(pipe)
        os.close(live)

    def _become_worker(self, pipe: int, live: int) -> None:
        """Never returns. The worker keeps its status pipe, so that its end shows even after the server's."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._selector.close()
            for end in (self._control, self._woken, self._wake):
                end.close()
            for other in self._status.values():
                os.close(other)
            self._run_worker(Connection(pipe), Connection(live, readable=False))
            code = 0
        except BaseException:  # noqa: BLE001  the end of the process: its exit code tells the supervisor
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        while self._status:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            pipe = self._status.pop(pid)
            self._answer(pipe, ENDED, os.waitstatus_to_exitcode(status))
            os.close(pipe)

    def _answer(self, pipe: int, what: int, value: int) -> None:
        with suppress(BrokenPipeError):  # the supervisor is gone; the control socket will say so
            os.write(pipe, ANSWER.pack(what, value))


if __name__ == "__main__":
    from sightline.camera.worker import run_worker

    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC):  # workers of many cameras need more
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (hard, hard))
    gc.collect()
    gc.freeze()  # what was imported is never looked at again, so its pages stay shared
    ForkServer(socket.socket(fileno=int(sys.argv[1])), run_worker).run()
