"""A bound on how many cameras open their streams at once, so that a power cut does not end in a storm."""

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Iterator

#: A camera that does not answer costs nothing but its socket: after so long its place is the next one's.
HOLD_S = 2.0
_POLL_S = 0.05


class OpenGate:
    """At most ``limit`` cameras of a program begin to open their streams in :data:`HOLD_S` seconds.

    That holds across its processes: each place is an abstract Unix address (no file) that one socket at a
    time can be bound to, so that a killed process gives its place back and leaves nothing behind. Within a
    process cameras wait in a queue: those that have failed least often first, then in the order in which they
    came. So cameras that never answer cannot keep the others out. Decode threads call it.

    ``name`` is the program's, and not to be guessed: another user could take the places. Without one nobody
    waits.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self.resize(limit)
        self._changed = threading.Condition()  # its lock guards the three below
        self._queue: list[tuple[int, int]] = []  # failures, and the number of the one who came
        self._numbers = 0
        self._held: dict[socket.socket, float] = {}  # our places, and since when

    def resize(self, limit: int) -> None:
        """Another limit holds from the next camera on."""
        self._places = [f"\0sightline-open-{self._name}-{i}" for i in range(limit)] if self._name else []

    @contextlib.contextmanager
    def wait(self, stop: threading.Event, failures: int = 0) -> Iterator[None]:
        """Hold a place while the block runs, for :data:`HOLD_S` at most; no waiting once ``stop`` is set."""
        place = self._acquire(stop, failures) if self._places else None
        try:
            yield
        finally:
            with self._changed:
                if place is not None and self._held.pop(place, None) is not None:
                    place.close()
                    self._changed.notify_all()

    def sweep(self) -> None:
        """Give up places that were held for too long, for other processes; about once a second."""
        with self._changed:
            limit_s = time.monotonic() - HOLD_S
            for place in [place for place, since_s in self._held.items() if since_s < limit_s]:
                del self._held[place]
                place.close()

    def _acquire(self, stop: threading.Event, failures: int) -> socket.socket | None:
        with self._changed:
            self._numbers += 1
            ticket = (failures, self._numbers)
            self._queue.append(ticket)
            try:
                while not stop.is_set():
                    self.sweep()
                    if min(self._queue) == ticket and (place := self._bind_one()) is not None:
                        self._held[place] = time.monotonic()
                        return place
                    self._changed.wait(_POLL_S if min(self._queue) == ticket else 0.25)
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()
        return None

    def _bind_one(self) -> socket.socket | None:
        place = socket.socket(socket.AF_UNIX)
        try:
            for address in self._places:
                try:
                    place.bind(address)
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise
                else:
                    return place
        except BaseException:
            place.close()
            raise
        place.close()
        return None
