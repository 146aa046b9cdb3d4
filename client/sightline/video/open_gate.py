"""A bound on how many cameras open their streams at once, so that a power cut does not end in a storm."""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

#: A camera that does not answer costs nothing but its socket: after so long its place is the next one's.
HOLD_S = 2.0
_POLL_S = 0.05


class OpenGate:
    """At most ``limit`` cameras of a machine begin to open their streams in :data:`HOLD_S` seconds.

    That holds across processes: each place is a locked file, so that a killed process gives its place back.
    Within a process cameras wait in a queue: those that have failed least often first, then in the order in
    which they came. So cameras that never answer cannot keep the others out. Decode threads call it.
    """

    def __init__(self, folder: Path | None, limit: int) -> None:
        self._folder = folder
        self.resize(limit)
        self._changed = threading.Condition()  # its lock guards the three below
        self._queue: list[tuple[int, int]] = []  # failures, and the number of the one who came
        self._numbers = 0
        self._held: dict[int, float] = {}  # descriptors of our places, and since when

    def resize(self, limit: int) -> None:
        """Another limit holds from the next camera on."""
        self._paths = [self._folder / f"open-{i}.lock" for i in range(limit)] if self._folder else []

    @contextlib.contextmanager
    def wait(self, stop: threading.Event, failures: int = 0) -> Iterator[None]:
        """Hold a place while the block runs, for :data:`HOLD_S` at most; no waiting once ``stop`` is set."""
        place = self._acquire(stop, failures) if self._paths else None
        try:
            yield
        finally:
            with self._changed:
                if place is not None and self._held.pop(place, None) is not None:
                    os.close(place)
                    self._changed.notify_all()

    def sweep(self) -> None:
        """Give up places that were held for too long, for other processes; about once a second."""
        with self._changed:
            limit_s = time.monotonic() - HOLD_S
            for place in [place for place, since_s in self._held.items() if since_s < limit_s]:
                del self._held[place]
                os.close(place)

    def _acquire(self, stop: threading.Event, failures: int) -> int | None:
        with self._changed:
            self._numbers += 1
            ticket = (failures, self._numbers)
            self._queue.append(ticket)
            try:
                while not stop.is_set():
                    self.sweep()
                    if min(self._queue) == ticket and (place := self._lock_one()) is not None:
                        self._held[place] = time.monotonic()
                        return place
                    self._changed.wait(_POLL_S if min(self._queue) == ticket else 0.25)
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()
        return None

    def _lock_one(self) -> int | None:
        for path in self._paths:
            place = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(place)
            else:
                return place
        return None
