"""The system's own troubles as events that begin and end.

A trouble is looked for in statuses and healths. It begins once it has been seen for some seconds, and ends
once it has not been for some more, so that nothing flickers; both times are those of the first look that saw
it so. It outlives the program: what a start finds open in the database goes on if it still holds, and
otherwise ends at the last moment at which the program before can have seen it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sightline.camera.messages import Report
from sightline.entities import VIEW_KINDS, CameraState, CameraStatus, Event, EventEnd, EventKind
from sightline.store.read.open_events import OpenEvent
from sightline.store.spooled_store import WriterHealth
from sightline.supervisor.bottlenecks import Cause, Notice

if TYPE_CHECKING:  # whose alerts ask for the times below
    from sightline.supervisor.sinks import SinkHealth

SPOOL_FILLING = 0.5  # of database.spool_max_bytes
SETTLE_S = 30.0  # after a start, what is not seen may only not be seen yet
GIVEN_UP_S = 600.0  # a message that was given up is a trouble for so long
UNKNOWN_S = 60.0  # a camera that has not come up within so long is away
#: Of each kind, for how long it must be seen before it begins, and not be seen before it ends. The database's
#: must have been told before its lease has run out. Overloads are settled already.
HOLD_S = {
    EventKind.CAMERA_OFFLINE: (15.0, 5.0),
    EventKind.TRITON_AWAY: (0.0, 3.0),
    EventKind.DATABASE_AWAY: (3.0, 5.0),
    EventKind.SPOOL_FILLING: (5.0, 15.0),
    EventKind.OVERLOAD: (0.0, 3.0),
    EventKind.DELIVERY_FAILED: (60.0, 5.0),
    EventKind.UPLOAD_FAILED: (60.0, 5.0),
    EventKind.CLIPS_FAILED: (5.0, 5.0),
    EventKind.OUTPUT_FAILED: (15.0, 5.0),
} | dict.fromkeys(VIEW_KINDS, (0.0, 0.0))  # settled already
_NOTICES = {Cause.TRITON: EventKind.TRITON_AWAY} | dict.fromkeys(
    (Cause.DETECTOR, Cause.DECODER, Cause.WORKER), EventKind.OVERLOAD
)
_AWAY = {CameraState.OFFLINE, CameraState.UNAUTHORIZED, CameraState.NOT_FOUND, CameraState.UNUSABLE}
_PASSING = {CameraState.STARTING, CameraState.CONNECTING, CameraState.STOPPED}  # to one of the others


class Trouble(NamedTuple):
    """What is troubled, and how."""

    kind: EventKind
    source: str = ""  # the camera; "": the program
    place: str = ""  # of an overload its cause, of a delivery its sink


class Sign(NamedTuple):
    """What one look says of a trouble."""

    holds: bool | None  # None: it cannot be told; what was seen before is believed
    value: float | None = None
    certain: bool = False  # it is not waited for that it lasts
    since: float | None = None  # UTC epoch seconds; None: since it is seen


@dataclass(slots=True)
class _Watched:
    holds: bool | None
    since_s: float
    since: float  # UTC epoch seconds
    event: Event | None = None  # that has not ended
    ended: float | None = None  # by the last program's word, if it is not seen again


def signs_of(
    statuses: Iterable[CameraStatus],
    writer: WriterHealth,
    notices: Iterable[Notice],
    sinks: "Iterable[SinkHealth]",
    reports: Iterable[Report] = (),
) -> dict[Trouble, Sign]:
    """What one look at everything says; what is not among them does not hold."""
    signs = {
        Trouble(EventKind.DATABASE_AWAY): Sign(writer.database_away),
        Trouble(EventKind.SPOOL_FILLING): Sign(writer.spool_used >= SPOOL_FILLING, writer.spool_used),
    }
    for status in statuses:
        if status.state is not CameraState.MISCONFIGURED:
            holds = None if status.state in _PASSING else status.state in _AWAY
            signs[Trouble(EventKind.CAMERA_OFFLINE, status.source)] = Sign(holds)
    for notice in notices:
        if (kind := _NOTICES.get(notice.cause)) is not None:
            place = notice.cause if kind is EventKind.OVERLOAD else ""
            signs[Trouble(kind, place=place)] = Sign(True, len(notice.cameras))
    for sink in sinks:
        lost = sink.gave_up_ago_s is not None and sink.gave_up_ago_s < GIVEN_UP_S
        if sink.trouble is not None and (lost or not sink.ok):
            value = sink.given_up if lost else None
            signs[Trouble(sink.trouble, place=sink.name)] = Sign(True, value, lost)
    for report in reports:
        for figure in report.figures:
            if figure.trouble is not None:
                trouble = Trouble(figure.trouble, report.status.source)
                signs[trouble] = Sign(figure.value != 0, since=figure.since)
    return signs


class Troubles:
    """Makes events of what is looked at. Belongs to one thread.

    Args:
        clock: monotonic seconds.
        wall_clock: UTC epoch seconds.
    """

    def __init__(self, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self._clock, self._wall_clock = clock, wall_clock
        self._began_s: float | None = None  # the first look
        self._watched: dict[Trouble, _Watched] = {}
        self.lasting: tuple[Event, ...] = ()  # those that go on, by the last look; any thread may read it

    def adopt(self, open_events: Iterable[OpenEvent], cameras: Iterable[str]) -> None:
        """Go on with what the program before has left open, of itself and of the cameras that are left."""
        sources = {"", *cameras}
        for item in open_events:
            event = item.event
            if event.kind not in HOLD_S or event.source not in sources:
                continue
            trouble = Trouble(event.kind, event.source, event.place)
            watched = self._watched.setdefault(trouble, _Watched(None, self._clock(), event.event_time))
            if watched.event is None:
                watched.event, watched.ended = event, item.seen

    def look(self, signs: Mapping[Trouble, Sign]) -> list[Event | EventEnd]:
        """Take in one look; what has begun and ended."""
        now_s, now = self._clock(), self._wall_clock()
        self._began_s = now_s if self._began_s is None else self._began_s
        settles = now_s - self._began_s < SETTLE_S
        results: list[Event | EventEnd] = []
        for trouble in [*self._watched, *(key for key in signs if key not in self._watched)]:
            if (watched := self._watched.get(trouble)) is None:
                watched = self._watched[trouble] = _Watched(None, now_s, now)
            if (sign := signs.get(trouble)) is None:
                sign = Sign(None if settles and watched.ended is not None else False)
            elif sign.holds is False and watched.holds is False and watched.event is None:
                continue  # as most: it was not, and is not
            if sign.holds is not None and sign.holds is not watched.holds:
                watched.holds, watched.since_s, watched.since = sign.holds, now_s, now
            if sign.holds:
                watched.ended = None
            begins_s, ends_s = HOLD_S[trouble.kind]
            begins_s = 0.0 if sign.certain else begins_s
            lasted_s = now_s - watched.since_s
            if watched.event is not None:
                if watched.holds is False and lasted_s >= ends_s:
                    ended = watched.since if watched.ended is None else watched.ended
                    results.append(EventEnd(watched.event, max(ended, watched.event.event_time)))
                    watched.event = watched.ended = None
            elif watched.holds is not False and lasted_s >= (begins_s if watched.holds else UNKNOWN_S):
                since = watched.since if sign.since is None else sign.since
                watched.event = _event(trouble, since, now, sign.value)
                results.append(watched.event)
            if watched.event is None and trouble not in signs and watched.holds is False:
                del self._watched[trouble]
        self.lasting = tuple(watched.event for watched in self._watched.values() if watched.event is not None)
        return results

    def goes_on(self, event: Event) -> bool:
        """Whether an event is one of those that have not ended."""
        watched = self._watched.get(Trouble(event.kind, event.source, event.place))
        return watched is not None and watched.event is not None and watched.event.key == event.key

    def end(self) -> list[EventEnd]:
        """Nothing is looked at any more: end everything."""
        now, watched = self._wall_clock(), list(self._watched.values())
        self._watched.clear()
        return [EventEnd(w.event, max(now, w.event.event_time)) for w in watched if w.event is not None]


def _event(trouble: Trouble, since: float, now: float, value: float | None) -> Event:
    begun = min(since, now)
    names = (trouble.source, trouble.kind, trouble.place)
    return Event(*names, 0, "", begun, now, value=value, first_time=begun)
