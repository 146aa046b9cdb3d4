"""What is seen live of every camera, for any number of viewers: of each variant the newest, and no queue.

A camera shows a variant for as long as it is asked to (:class:`~sightline.entities.Watch`). It is asked while
somebody watches, again and again: a word that is lost, a worker that dies, a camera that moves costs a moment
without pictures, and nobody has to say that he has gone.
"""

import asyncio
import threading
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from sightline.camera.messages import AskFeature, LiveMessage, Message
from sightline.entities import Variant, Watch

#: A camera is asked for so long, and so often; sooner while nothing comes.
LEASE_S, RENEW_S, RETRY_S = 12.0, 5.0, 1.0
MAX_VIEWERS = 200


class CameraOwner(Protocol):
    """Who runs a camera: a worker of this program; another machine, some day."""

    def send(self, message: Message) -> None:
        """Send a message; never waits, and may be lost."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Something to be seen."""

    number: int  # greater than that of everything before
    header: Mapping[str, Any]  # with ``capture_time`` and ``media_s``; of pictures ``width`` and ``height``
    payload: bytes
    came_s: float  # on the monotonic clock


@dataclass(eq=False, slots=True)
class _Watched:
    """A variant of a camera that somebody watches."""

    viewers: int = 0
    newest: Shown | None = None
    asked_s: float = float("-inf")
    waiting: set[asyncio.Future[None]] = field(default_factory=set)


class LivePictures:
    """Takes what workers show, and gives it to viewers.

    Attributes:
        owner_of: who runs a camera; None: nobody now. LookupError: there is no such camera.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.owner_of: Callable[[str], CameraOwner | None] = lambda _: None
        self._clock = clock
        self._numbers = count(1)
        self._lock = threading.Lock()  # guards what follows
        self._watched: dict[tuple[str, Variant], _Watched] = {}

    def take(self, message: LiveMessage) -> None:
        """Take what a worker shows; what nobody watches (any more) is forgotten. Any thread."""
        with self._lock:
            watched = self._watched.get((message.camera, message.variant))
            if watched is None:
                return
            watched.newest = Shown(next(self._numbers), message.header, message.payload, self._clock())
            waiting, watched.waiting = watched.waiting, set()
        _wake(waiting)

    @property
    def viewers(self) -> Counter[str]:
        """How many watch each camera now; those who share a grid are one. Any thread."""
        found: Counter[str] = Counter()
        with self._lock:
            for (camera, _), watched in self._watched.items():
                found[camera] += watched.viewers
        return found

    @property
    def is_full(self) -> bool:
        """Whether one more viewer is too many."""
        return self.viewers.total() >= MAX_VIEWERS

    async def watch(self, camera: str, variant: Variant) -> AsyncGenerator[Shown]:
        """What is to be seen from now on; of what comes while the caller is busy, the newest.

        Ends when there is no such camera (any more). Close it: until then the camera is asked to show itself.
        """
        key = (camera, variant)
        with self._lock:
            watched = self._watched.setdefault(key, _Watched())
            watched.viewers += 1
        number = 0
        try:
            while (shown := await self._newer(key, watched, number)) is not None:
                number = shown.number
                yield shown
        finally:
            with self._lock:
                watched.viewers -= 1
                if not watched.viewers:
                    del self._watched[key]

    async def _newer(self, key: tuple[str, Variant], watched: _Watched, number: int) -> Shown | None:
        """The newest once it is newer than that; None without such a camera."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._ask(*key, watched)
            except LookupError:
                return None
            waiter: asyncio.Future[None] = loop.create_future()
            with self._lock:
                shown = watched.newest
                oldest_s = self._clock() - LEASE_S  # before that the camera went away
                if shown is not None and shown.number > number and shown.came_s > oldest_s:
                    return shown
                watched.waiting.add(waiter)
            try:
                await asyncio.wait([waiter], timeout=RETRY_S)
            finally:
                with self._lock:
                    watched.waiting.discard(waiter)

    def _ask(self, camera: str, variant: Variant, watched: _Watched) -> None:
        """Ask a camera to show itself, if that is due; LookupError: there is no such camera."""
        owner, now_s = self.owner_of(camera), self._clock()
        with self._lock:
            comes = watched.newest is not None and now_s - watched.newest.came_s < RETRY_S
            every_s = RENEW_S if comes else RETRY_S
            if owner is None or now_s - watched.asked_s < every_s:
                return
            watched.asked_s = now_s
        owner.send(AskFeature(camera, variant.feature, Watch(frozenset({variant}), LEASE_S)))


def _wake(waiting: Iterable[asyncio.Future[None]]) -> None:
    """Let those go on who wait in event loops of other threads."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = defaultdict(list)
    for waiter in waiting:
        by_loop[waiter.get_loop()].append(waiter)
    for loop, waiters in by_loop.items():
        with suppress(RuntimeError):  # the loop has ended, and with it those who waited
            loop.call_soon_threadsafe(_let_go, waiters)


def _let_go(waiters: Iterable[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
