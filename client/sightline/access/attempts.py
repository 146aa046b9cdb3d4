"""How often something may be tried, by address or name."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

MAX_KEYS = 10_000  # are remembered; the one that has tried least lately is forgotten first


class AttemptLimit:
    """So many attempts of each key at once, and as many a minute in the long run. Any thread may ask.

    Args:
        per_minute: how many.
        clock: monotonic seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = 60.0 / per_minute
        self._ahead_s = 60.0 - self._every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._due_s: OrderedDict[str, float] = OrderedDict()  # when attempts so far would be spread evenly

    def wait_s(self, key: str) -> float:
        """Take an attempt, and give 0; or, when there is none left, the seconds until there is one."""
        now_s = self._clock()
        with self._lock:
            due_s = max(self._due_s.get(key, now_s), now_s)
            if due_s - now_s > self._ahead_s:
                return due_s - now_s - self._ahead_s
            self._due_s[key] = due_s + self._every_s
            self._due_s.move_to_end(key)
            if len(self._due_s) > MAX_KEYS:
                self._due_s.popitem(last=False)
            return 0.0


class FailureLocks:
    """Failures in a row by key, and until when it is locked for them. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, tuple[int, float | None]] = OrderedDict()

    def take(self, key: str, now: float, lock_until: Callable[[int, float], float | None]) -> bool:
        """Count an attempt as failed, until :meth:`forget`; False: it is locked."""
        with self._lock:
            failures, until = self._failures.get(key, (0, None))
            if until is not None and now < until:
                return False
            self._failures[key] = failures + 1, lock_until(failures + 1, now)
            self._failures.move_to_end(key)
            if len(self._failures) > MAX_KEYS:
                self._failures.popitem(last=False)
            return True

    def forget(self, key: str) -> None:
        """It has succeeded."""
        with self._lock:
            self._failures.pop(key, None)


def network_of(address: str) -> str:
    """What counts as one address: of IPv6, of which everybody has billions, the first 64 bits."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped or ip_network((parsed, 64), strict=False))
    return str(parsed)
