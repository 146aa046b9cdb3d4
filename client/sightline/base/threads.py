"""Threads for calls that may take long in C, and one thing that a thread waits for, rung by many."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class SideThreads:
    """At most ``limit`` daemon threads, for any caller; a process ends without waiting for a hanging call."""

    def __init__(self, name: str, limit: int) -> None:
        self._name, self._limit = name, limit
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._lock = threading.Lock()  # guards the two below
        self._threads = 0
        self._open_calls = 0

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Start ``call`` as soon as a thread is free; until then, cancelling the future takes it back."""
        future: Future[T] = Future()
        with self._lock:
            self._open_calls += 1
            needs_thread = self._open_calls > self._threads and self._threads < self._limit
            self._threads += needs_thread
        self._calls.put((call, future))
        if needs_thread:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return future

    def run(self, call: Callable[[], T], timeout_s: float) -> T:
        """What ``call`` gives or raises; TimeoutError after ``timeout_s``, the wait for a thread included."""
        future = self.submit(call)
        try:
            return future.result(timeout_s)
        finally:
            future.cancel()

    def close(self) -> None:
        """Let the threads end once all that was submitted before has been done; nothing may come after."""
        with self._lock:
            for _ in range(self._threads):
                self._calls.put(None)

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            call, future = item
            try:
                if future.set_running_or_notify_cancel():
                    future.set_result(call())
            except BaseException as error:  # noqa: BLE001  the caller raises it
                future.set_exception(error)
            with self._lock:
                self._open_calls -= 1


class Bell:
    """Wakes the one thread that waits, however many things have happened since it last looked.

    Whoever rings has made its change before, and the waiter looks at everything after each wait: no ring
    is lost, and a ring while the waiter is at work costs no switch between threads.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._rung = False
        self.waited_s = 0.0  # in all; written by the waiter

    def ring(self) -> None:
        """Make the wait that is under way, or the next one, return. Any thread."""
        if self._rung:
            return  # the waiter has not looked yet, and will see this change as well
        with self._condition:
            self._rung = True
            self._condition.notify()

    def wait(self, timeout_s: float) -> None:
        """Return when it has been rung since the last call, or after ``timeout_s``."""
        started_s = time.monotonic()
        with self._condition:
            if not self._rung:
                self._condition.wait(timeout_s)
            self._rung = False
        self.waited_s += time.monotonic() - started_s
