"""An end for all that is said over a connection: the time-out of a socket begins anew with every byte."""

import contextlib
import os
import socket
import threading
from types import TracebackType
from typing import Any


class Deadline:
    """Connections that are made within the block are cut when its time is over.

    Whoever reads from one then sees its end, and the block raises a TimeoutError, whatever came of that.
    """

    def __init__(self, timeout_s: float) -> None:
        self.is_over = False
        self._lock = threading.Lock()  # guards the one below
        self._handles: list[socket.socket] = []
        self._timer = threading.Timer(timeout_s, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> "Deadline":
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for handle in self._handles:
                handle.close()
            self._handles.clear()
        if self.is_over and (error is None or isinstance(error, Exception)):
            raise TimeoutError("timed out") from error

    def connect(self, *arguments: Any, **options: Any) -> socket.socket:
        """Connect, as :func:`socket.create_connection` does."""
        made = socket.create_connection(*arguments, **options)
        self.watch(made)
        return made

    def watch(self, connection: socket.socket) -> None:
        """Cut this one too; it stays the caller's own, and may become a TLS socket."""
        with self._lock:
            self._handles.append(socket.socket(fileno=os.dup(connection.fileno())))
        if self.is_over:
            self._cut()

    def _cut(self) -> None:
        with self._lock:
            self.is_over = True
            for handle in self._handles:
                with contextlib.suppress(OSError):  # the other side has closed it
                    handle.shutdown(socket.SHUT_RDWR)
