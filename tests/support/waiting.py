"""Waiting for what happens elsewhere, with a bound."""

import time
from collections.abc import Callable


def until(condition: Callable[[], object], timeout_s: float = 60.0, *, every_s: float = 0.05) -> None:
    """Return as soon as ``condition()`` is true; fail after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(every_s)
