"""Who was recognised lately: that is still believed for a while when the database goes away."""

import threading
from collections import OrderedDict
from collections.abc import Callable

from sightline.access.rights import Person
from sightline.errors import StoreUnavailable

GRACE_S = 300.0  # while the database is away, nobody can be closed or changed there either
ASK_AGAIN_S = 2.0  # after the database did not answer
MAX_PEOPLE = 10_000


class LastKnown:
    """Remembers people by the hash of what they show; any thread may ask.

    Args:
        clock: UTC epoch seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._away_time = float("-inf")  # when the database did not answer last
        self._people: OrderedDict[str, tuple[Person, float]] = OrderedDict()

    def ask(self, key: str, find: Callable[[], Person | None]) -> Person | None:
        """Who it is by the database or, while that is away, who it was in the last five minutes.

        Raises:
            StoreUnavailable: neither is known.
        """
        now = self._clock()
        with self._lock:
            person, time = self._people.get(key, (None, float("-inf")))
            is_away = 0 <= now - self._away_time < ASK_AGAIN_S
        is_fresh = 0 <= now - time < GRACE_S
        if is_away and is_fresh:
            return person
        try:
            person = find()
        except StoreUnavailable:
            with self._lock:
                self._away_time = self._clock()
            if is_fresh:
                return person
            raise
        with self._lock:
            self._away_time = float("-inf")
            self._people.pop(key, None)
            if person is not None:
                self._people[key] = (person, now)
                if len(self._people) > MAX_PEOPLE:
                    self._people.popitem(last=False)
        return person

    def forget(self, key: str) -> None:
        """No longer believe it."""
        with self._lock:
            self._people.pop(key, None)
