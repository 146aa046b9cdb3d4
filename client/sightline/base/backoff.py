"""How long to wait before trying again."""

from __future__ import annotations

import random
import time


class Backoff:
    """Doubling delays with jitter that start over once things have gone well for a while."""

    def __init__(self, first_s: float, most_s: float, *, reset_after_s: float = 300.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._reset_after_s = reset_after_s
        self._failures = 0
        self._good_since: float | None = None

    def good(self) -> None:
        """Say that it works now; may be called as often as one likes."""
        if self._good_since is None:
            self._good_since = time.monotonic()

    def next_delay_s(self, *, least_s: float = 0.0) -> float:
        """Say that it failed; gives the seconds to wait, at least ``least_s``, spread by half.

        The spread keeps a thousand cameras that lost their switch from coming back in the same second.
        """
        now = time.monotonic()
        if self._good_since is not None and now - self._good_since >= self._reset_after_s:
            self._failures = 0
        self._good_since = None
        delay = min(self._first_s * 2.0**self._failures, self._most_s)
        self._failures = min(self._failures + 1, 30)
        return max(delay * random.uniform(0.5, 1.0), least_s * random.uniform(1.0, 1.5))  # noqa: S311
