"""How much one person may have open at once, so that others can watch as well."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.exceptions import HTTPException

from sightline.access.rights import Caller, How

SHARE = 4  # one person may have a quarter of all
#: Not bounded: this user's own programs, and whoever sits at this machine where accounts are off.
_UNBOUNDED = frozenset({How.COMMAND_LINE, How.NOTHING})


class Seats:
    """Counts what each person has open. Belongs to one event loop.

    Args:
        total: how many there are for everybody.
    """

    def __init__(self, total: int) -> None:
        self._most = total // SHARE
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken(self, caller: Caller, count: int = 1) -> Iterator[None]:
        """While this lasts, a person has ``count`` more open.

        Raises:
            HTTPException: those would be too many.
        """
        name = caller.name
        if caller.person is None or caller.person.how in _UNBOUNDED:
            yield
            return
        if self._taken[name] + count > self._most:
            text = f"one person may have {self._most} open at once, and you have {self._taken[name]}"
            text += "; close another window"
            raise HTTPException(429, text, {"Retry-After": "10"})
        self._taken[name] += count
        try:
            yield
        finally:
            self._taken[name] -= count
            if not self._taken[name]:
                del self._taken[name]
