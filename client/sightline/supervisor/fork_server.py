"""A process that has imported all that a worker needs, and forks workers from itself.

A fork takes milliseconds where a new interpreter takes a second of imports, and workers share the memory
of what was imported. The server has one thread, has never used gRPC, and its environment holds no
secrets. It ends when its control socket does; workers end when their own pipes do.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import sys
import traceback
from multiprocessing.connection import Connection

from sightline.camera.worker import run_worker
from sightline.supervisor.workers import ANSWER, ENDED, REFUSED, STARTED


def serve(control: socket.socket) -> None:
    """Fork a worker for each message on ``control``, until its other end closes."""
    _ForkServer(control).run()


class _ForkServer:
    """One thread; children are reaped when SIGCHLD rings."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
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
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    self._woken.recv(4096)
                    self._reap()
                    continue
                message, descriptors, _, _ = socket.recv_fds(self._control, 1, 2)
                if not message:
                    return
                self._fork(*descriptors)

    def _fork(self, pipe: int, status: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            os.write(status, ANSWER.pack(REFUSED, error.errno or 0))
            os.close(status)
            os.close(pipe)
            return
        if pid == 0:
            self._become_worker(pipe)
        os.close(pipe)
        self._status[pid] = status
        self._answer(status, STARTED, pid)

    def _become_worker(self, pipe: int) -> None:
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
            run_worker(Connection(pipe))
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
        try:
            os.write(pipe, ANSWER.pack(what, value))
        except BrokenPipeError:
            return  # the supervisor is gone; the control socket will say so


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # what was imported is never looked at again, so its pages stay shared
    serve(socket.socket(fileno=int(sys.argv[1])))
