"""Events and alerts as they change, for any number of readers: read once for all of them, and no queues.

While anybody follows, a task reads what has been committed since it read last, and keeps some of it. Whoever
has fallen behind that reads on from the database, a page at a time.
"""

import asyncio
import logging
import time
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from operator import attrgetter

from starlette.concurrency import run_in_threadpool

from sightline.errors import StoreUnavailable
from sightline.store.read.changes import is_within, read_changes, read_last_change
from sightline.store.read.readonly import Database
from sightline.supervisor.http.feed_message import FeedItem, feed_item, feed_text

log = logging.getLogger(__name__)

MAX_READERS = 128
MAX_KEPT = 2000  # changes
PAGE = 500  # changes that are read at once
AT_HAND = 100  # of those that are kept, so many are held for a reader at a time
PAGES_AT_ONCE = 2
POLL_S = 2.0  # in case rows came without notice: another program writes them, or the database is back
ALIVE_S = 15.0  # without a message
MAX_BEHIND = 100_000  # events or alerts; who has missed more begins anew


class EventFeed:
    """What has changed, as messages.

    Args:
        database: where results are.
        is_away: whether what happens now is not written there. Any thread.
    """

    def __init__(self, database: Database, is_away: Callable[[], bool]) -> None:
        self._database, self._is_away = database, is_away
        self._reading: _Reading | None = None

    def notice(self) -> None:
        """Something has been committed. Any thread; never waits."""
        reading = self._reading
        if reading is not None:
            with suppress(RuntimeError):  # its loop has ended
                reading.loop.call_soon_threadsafe(reading.bell.set)

    @property
    def is_full(self) -> bool:
        """Whether one more reader is too many."""
        return self._reading is not None and self._reading.readers >= MAX_READERS

    async def follow(self, after: int | None, sees: Callable[[FeedItem], bool]) -> AsyncGenerator[str]:
        """Messages, from now on or after a number, of what one ``sees``; close it when nobody reads them."""
        reading = self._reading
        if reading is None or reading.loop is not asyncio.get_running_loop():
            reading = self._reading = _Reading(self._database, self._is_away)
        reading.readers += 1
        try:
            async with aclosing(reading.follow(after, sees)) as texts:
                async for text in texts:
                    yield text
        finally:
            reading.readers -= 1
            if not reading.readers:
                reading.task.cancel()
                self._reading = None if self._reading is reading else self._reading


class _Reading:
    """What the readers of one event loop share; used in that loop alone."""

    def __init__(self, database: Database, is_away: Callable[[], bool]) -> None:
        self._database, self._writes_elsewhere = database, is_away
        self.loop = asyncio.get_running_loop()
        self.readers = 0
        self.bell = asyncio.Event()
        self._away = False
        #: All changes with numbers above the first and up to the second, in order; 0: nothing is read yet.
        self._begins, self._ends = 0, 0
        self._kept: list[FeedItem] = []
        self._pages = asyncio.Semaphore(PAGES_AT_ONCE)
        self._waiting: set[asyncio.Future[None]] = set()
        self.task = self.loop.create_task(self._run())
        self.task.add_done_callback(lambda _: self._wake())

    async def follow(self, after: int | None, sees: Callable[[FeedItem], bool]) -> AsyncGenerator[str]:
        position, away = after or 0, False
        while (resumed := await self._reaches(after)) is None:
            if self._away and not away:
                away = True
                yield feed_text("database", position, answers=False)
            await self._wait()
        position = position if resumed else self._ends
        yield feed_text("start", position, resumed=resumed)
        sent_s = time.monotonic()
        while True:
            if self._away is not away:
                away = self._away
                yield feed_text("database", position, answers=not away)
            items, position_after = await self._after(position)
            for item in items:
                if sees(item):
                    yield item.text
                    sent_s = time.monotonic()
            is_idle, position = position_after == position, position_after
            if time.monotonic() - sent_s >= ALIVE_S:
                yield feed_text("alive", position)
                sent_s = time.monotonic()
            if is_idle and self._away is away:
                await self._wait()

    async def _reaches(self, after: int | None) -> bool | None:
        """Whether all that came after a number can be told; None: not yet known."""
        if not self._ends or after is None or after > max(self._ends, time.time_ns() // 1000):
            return False if self._ends else None
        with suppress(StoreUnavailable):
            async with self._pages:
                return await run_in_threadpool(self._is_within, after)
        return None

    async def _after(self, position: int) -> tuple[list[FeedItem], int]:
        """Some changes after a position, and up to where there are no others."""
        if position >= self._begins:
            first = bisect_right(self._kept, position, key=attrgetter("number"))
            items = self._kept[first : first + AT_HAND]
            return items, items[-1].number if len(items) == AT_HAND else max(position, self._ends)
        try:
            async with self._pages:
                return await run_in_threadpool(self._read, position)
        except StoreUnavailable:
            self.bell.set()  # it is told in a moment
            return [], position

    async def _wait(self) -> None:
        """Return when something has changed, at least now and then.

        Raises:
            Exception: what has ended the task that reads.
        """
        if self.task.done():
            self.task.result()
        waiter = self.loop.create_future()
        self._waiting.add(waiter)
        try:
            await asyncio.wait([waiter], timeout=POLL_S)
        finally:
            self._waiting.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    # -- the task that reads --------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self.bell.clear()
            before = (self._ends, self._away)
            try:
                is_all = await self._read_on()
            except StoreUnavailable as error:
                if not self._away:
                    log.warning("events cannot be followed until the database answers: %s", error)
                self._away, is_all = True, True
            else:
                self._away = self._writes_elsewhere()
            if before != (self._ends, self._away):
                self._wake()
            if is_all:
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self.bell.wait()

    async def _read_on(self) -> bool:
        """Read what is new; False: there may be more."""
        if not self._ends:
            self._begins = self._ends = await run_in_threadpool(self._read_last)
            return True
        items, self._ends = await run_in_threadpool(self._read, self._ends)
        self._kept += items
        if over := max(0, len(self._kept) - MAX_KEPT):
            self._begins = self._kept[over - 1].number
            del self._kept[:over]
        return len(items) < PAGE

    def _read_last(self) -> int:
        with self._database.reading() as connection:
            return max(1, read_last_change(connection))

    def _is_within(self, after: int) -> bool:
        with self._database.reading() as connection:
            return is_within(connection, after, MAX_BEHIND)

    def _read(self, after: int) -> tuple[list[FeedItem], int]:
        with self._database.reading() as connection:
            changes, ends = read_changes(connection, after, PAGE)
        return [feed_item(change) for change in changes], ends
