"""Ends the events that nothing goes on with: of cameras that run no more, and of states that were lost."""

from collections.abc import Callable
from dataclasses import dataclass

from sightline.entities import Event, EventEnd
from sightline.store.read.open_events import OpenEvents

CERTAIN_S = 1.0  # from a report's arrival until the writer has what was in it, at most


@dataclass(slots=True)
class _Doubted:
    """An event that is open in the database and of which nothing says that it goes on."""

    seen: float  # UTC epoch seconds, when that was said last
    since_s: float | None = None  # since when it is known that nothing will; None: it may still be said


class OpenSpans:
    """Compares what is open in the database with what goes on. Belongs to one thread.

    Args:
        clock: monotonic seconds, as those of :class:`OpenEvents`.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._read_s = float("-inf")
        self._doubted: dict[str, _Doubted] = {}  # by the event's key

    def look(self, newest: OpenEvents | None, goes_on: Callable[[Event], bool | None]) -> list[EventEnd]:
        """The ends of events that are over, each at the last moment at which it was seen.

        An end may be on its way when an event goes on no more. So the database is asked again before it is
        believed that none comes.

        Args:
            newest: what the database has; looked at once.
            goes_on: whether an event does; None while that is not known.
        """
        if newest is None or newest.read_s <= self._read_s:
            return []
        self._read_s, now_s, ends = newest.read_s, self._clock(), []
        before, self._doubted = self._doubted, {}
        for item in newest.events:
            key, verdict = item.event.key, goes_on(item.event)
            if verdict:
                continue
            doubted = self._doubted[key] = before.get(key) or _Doubted(item.seen)
            if verdict is None:
                doubted.since_s = None
            elif doubted.since_s is None:
                doubted.since_s = now_s
            elif newest.read_s >= doubted.since_s + CERTAIN_S:
                ends.append(EventEnd(item.event, doubted.seen))
        return ends
