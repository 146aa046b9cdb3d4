"""How long to wait before trying again."""

import random
import time
from collections.abc import Callable


class Backoff:
    """Doubling delays with jitter that start over once things have gone well for a while."""

    def __init__(
        self,
        first_s: float,
        max_s: float,
        *,
        reset_after_s: float = 300.0,  # of success, after which delays start over
        failures: int = 0,  # so far: a successor goes on where its predecessor was
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first_s, self._max_s, self._reset_after_s = first_s, max_s, reset_after_s
        self._clock = clock
        self._good_since: float | None = None
        self.failures = failures

    def good(self) -> None:
        """Say that it works now; may be called as often as one likes."""
        if self._good_since is None:
            self._good_since = self._clock()

    def next_delay_s(self, *, least_s: float = 0.0) -> float:
        """Say that it failed; gives the seconds to wait, at least ``least_s``, spread by half.

        The spread keeps a thousand cameras that lost their switch from coming back in the same second.
        """
        if self._good_since is not None and self._clock() - self._good_since >= self._reset_after_s:
            self.failures = 0
        self._good_since = None
        delay = min(self._first_s * 2.0**self.failures, self._max_s)
        self.failures = min(self.failures + 1, 30)
        return max(delay * random.uniform(0.5, 1.0), least_s * random.uniform(1.0, 1.5))  # noqa: S311
