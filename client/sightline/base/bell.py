"""One thing to wait for, rung by many threads."""

import threading


class Bell:
    """Wakes the one thread that waits, however many things have happened since it last looked.

    Whoever rings has made its change before, and the waiter looks at everything after each wait: no ring
    is lost, and a ring while the waiter is at work costs no switch between threads.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._rung = False

    def ring(self) -> None:
        """Make the wait that is under way, or the next one, return. Any thread."""
        if self._rung:
            return  # the waiter has not looked yet, and will see this change as well
        with self._condition:
            self._rung = True
            self._condition.notify()

    def wait(self, timeout_s: float) -> None:
        """Return when it has been rung since the last call, or after ``timeout_s``."""
        with self._condition:
            if not self._rung:
                self._condition.wait(timeout_s)
            self._rung = False
