"""How much one person may have open at once, so that others can watch as well."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException

from sightline.access.attempts import network_of
from sightline.access.rights import Caller, How

SHARE = 4  # one person may have a quarter of all
AT_ONCE = 8  # answers that are made for one person; there are threads for forty
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


class Kinds:
    """Counts how many different things each person has open. Belongs to one event loop.

    Args:
        most: how many one may have.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: defaultdict[str, Counter[Hashable]] = defaultdict(Counter)

    @contextmanager
    def taken(self, caller: Caller, kind: Hashable) -> Iterator[None]:
        """While this lasts, a person has one of a kind open.

        Raises:
            HTTPException: of so many other kinds there are some already.
        """
        own = self._taken[caller.name]
        if kind not in own and len(own) >= self._most:
            text = f"one person may have {self._most} different ones open at once; close another window"
            raise HTTPException(429, text, {"Retry-After": "10"})
        own[kind] += 1
        try:
            yield
        finally:
            own[kind] -= 1
            own += Counter()  # forgets what nobody has open
            if not own:
                self._taken.pop(caller.name, None)


@dataclass(slots=True)
class _Turn:
    free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    asked: int = 0


class Turns:
    """Answers few of one person's requests at a time; the rest wait, and keep nobody else waiting.

    Whoever is not known is one with those of the same network. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._turns: defaultdict[str, _Turn] = defaultdict(_Turn)

    @asynccontextmanager
    async def of(self, caller: Caller) -> AsyncIterator[None]:
        """The turn of a request."""
        name = f"{caller.person.how} {caller.name}" if caller.person else network_of(caller.address)
        turn = self._turns[name]
        turn.asked += 1
        try:
            async with turn.free:
                yield
        finally:
            turn.asked -= 1
            if not turn.asked:
                self._turns.pop(name, None)
