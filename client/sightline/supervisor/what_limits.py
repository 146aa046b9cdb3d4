"""What limits the system now, named in plain words with what to do about it; the worst first.

A pure function of what cameras, writer and disks say at one moment, and of the troubles that go on. Nothing
is measured here, and what needs some seconds to be believed has been settled before.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sightline.base.redact import redact
from sightline.entities import CameraState, CameraStatus, Event, EventKind
from sightline.store.spooled_store import WriterHealth
from sightline.supervisor.bottlenecks import Cause, Notice
from sightline.supervisor.machine_watch import DiskRoom

SLOW_WRITE_S = 2.0  # results come once a second
OLD_RESULTS_S = 5.0
FULL_BYTES, FULL_SHARE = 50_000_000, 0.002  # less room than this is none
LOW_BYTES, LOW_SHARE = 1_000_000_000, 0.03
NAMED = 3  # cameras that are told by name
#: Cameras in these states are not counted: nothing is expected of them.
_IDLE = {CameraState.STOPPED, CameraState.ENDED}


class Limiter(StrEnum):
    """What limits. What may be why others hold comes first; of equals what holds more cameras back."""

    RESULTS_LOST = "results_lost"
    TRITON = "triton"
    DISK_FULL = "disk_full"
    DATABASE_AWAY = "database_away"
    DETECTOR = "detector"
    DECODER = "decoder"
    WORKER = "worker"
    CAMERA = "camera"
    VIEW = "view"
    BURSTS = "bursts"
    RATE = "rate"
    DATABASE_SLOW = "database_slow"
    CLIPS = "clips"
    DELIVERY = "delivery"
    DISK_LOW = "disk_low"


_EQUALS = (
    {Limiter.DETECTOR, Limiter.DECODER, Limiter.WORKER},
    {Limiter.CAMERA, Limiter.VIEW, Limiter.BURSTS, Limiter.RATE},
)


@dataclass(frozen=True, slots=True)
class Limit:
    """One thing that limits."""

    limiter: Limiter
    text: str  # a sentence
    remedy: str  # what to do, in another one
    since: float | None = None  # UTC epoch seconds
    cameras: tuple[str, ...] = ()  # that it holds back
    detail: str = ""  # the figures, in engineers' words


@dataclass(frozen=True, slots=True)
class SystemState:
    """What is said of the system at one moment, as far as somebody may be told of it."""

    statuses: Sequence[CameraStatus]
    notices: Sequence[Notice] = ()
    troubles: Sequence[Event] = ()  # those that go on
    writer: WriterHealth | None = None  # None: they may not be told of it
    disks: Sequence[DiskRoom] = ()


def limits_of(state: SystemState) -> list[Limit]:
    """All that limits, the bottleneck first; nothing limits where there is none."""
    order = list(Limiter)

    def rank(limit: Limit) -> tuple[int, int, int]:
        equals = next((group for group in _EQUALS if limit.limiter in group), {limit.limiter})
        return min(map(order.index, equals)), -len(limit.cameras), order.index(limit.limiter)

    finders: tuple[Callable[[SystemState], Iterable[Limit]], ...] = (
        _of_database,
        _of_disks,
        _of_notices,
        _of_cameras,
        _of_views,
        _of_deliveries,
    )
    return sorted((limit for find in finders for limit in find(state)), key=rank)


# -- the program's ----------------------------------------------------------------------------------------

#: By the writer's state, why results may be lost.
_LOSING = {
    "memory": (
        "neither the database nor the disk takes them",
        "Make room on the disk, and start the database",
    ),
    "refused": (
        "the database is not this program's",
        "Give Sightline a database of its own, or start the version that it is of",
    ),
    "lost": ("another program has taken the database over", "End one of the two programs"),
    "stopped": ("what writes them has stopped", "Start Sightline again"),
}


def _of_database(state: SystemState) -> Iterator[Limit]:
    writer = state.writer
    if writer is None:
        return
    since = _since(state, EventKind.DATABASE_AWAY)
    detail = f"{redact(writer.last_error)}; " if writer.last_error else ""
    detail += (
        f"{writer.pending_records} results in memory, {writer.spooled_records} in the spool "
        f"({writer.spool_used:.0%} of its limit), the oldest {writer.oldest_age_s:.0f} s old; the last batch "
        f"took {writer.write_s * 1e3:.0f} ms"
    )
    if (losing := _LOSING.get(writer.state)) is not None:
        text = f"Results are being lost, or soon will be: {losing[0]}."
        yield Limit(Limiter.RESULTS_LOST, text, f"{losing[1]}.", since, detail=detail)
    elif writer.database_away:
        full = _is_full(writer.last_error)
        words = "is full" if full else "does not answer"
        text = f"The database {words}; results wait on this machine's disk"
        text += (
            f", of whose room for them {writer.spool_used:.0%} is used." if writer.spool_used >= 0.01 else "."
        )
        remedy = "See whether the database runs and can be reached"
        remedy = "Make room on the database's disk" if full else remedy
        limiter = Limiter.DISK_FULL if full else Limiter.DATABASE_AWAY
        yield Limit(limiter, text, f"{remedy}; what waits is written then.", since, detail=detail)
    elif writer.spooled_records:
        text = f"The database is back, and {writer.spooled_records} results that waited are being written."
        yield Limit(Limiter.DATABASE_SLOW, text, "Nothing: it ends by itself.", detail=detail)
    elif writer.write_s >= SLOW_WRITE_S or writer.oldest_age_s >= OLD_RESULTS_S:
        late_s = max(writer.write_s, writer.oldest_age_s)
        text = f"The database is slow: results are written {late_s:.0f} s late."
        remedy = "See what else uses the database, its disk and the way to it."
        yield Limit(Limiter.DATABASE_SLOW, text, remedy, detail=detail)


def _of_disks(state: SystemState) -> Iterator[Limit]:
    for disk in state.disks:
        full = disk.free_bytes < max(FULL_BYTES, FULL_SHARE * disk.total_bytes)
        if not full and disk.free_bytes >= min(LOW_BYTES, LOW_SHARE * disk.total_bytes):
            continue
        room = f"{disk.free_bytes / 1e9:.1f} of {disk.total_bytes / 1e9:.0f} GB are free"
        text = f"The disk of {_listed(disk.holds)} is {'full' if full else 'nearly full'}: {room}."
        keep = ", or keep clips for fewer days" if "clips" in disk.holds else ""
        limiter = Limiter.DISK_FULL if full else Limiter.DISK_LOW
        yield Limit(limiter, text, f"Make room on it{keep}.", detail=disk.path)


#: Sinks to which nothing goes: they keep the folder of clips in order.
_CHORES = {
    "clip_retention": "Old clips cannot be deleted, so their disk fills.",
    "clip_sweep": "The folder of clips cannot be tidied: what no clip needs any more stays there.",
}


def _of_deliveries(state: SystemState) -> Iterator[Limit]:
    failing = [event for event in state.troubles if event.kind is EventKind.CLIPS_FAILED]
    if failing:
        names = tuple(event.source for event in failing)
        text = f"Clips of {_listed(names)} cannot be written."
        remedy = "See whether the disk of clips is there, has room, and may be written."
        yield Limit(Limiter.CLIPS, text, remedy, min(event.event_time for event in failing), names)
    for event in state.troubles:
        if event.kind in {EventKind.DELIVERY_FAILED, EventKind.UPLOAD_FAILED}:
            if event.place in _CHORES:
                remedy = "See whether the folder of clips is there, and may be written by Sightline's user."
                yield Limit(Limiter.CLIPS, _CHORES[event.place], remedy, event.event_time)
                continue
            what = "clips" if event.kind is EventKind.UPLOAD_FAILED else "messages"
            text = f"“{event.place}” takes no {what}; what it is to get waits."
            if event.value:
                text = f"“{event.place}” has refused {event.value:.0f} {what} for good."
            remedy = "See whether the other side runs, can be reached, and lets Sightline in."
            yield Limit(Limiter.DELIVERY, text, remedy, event.event_time)
        elif event.kind is EventKind.OUTPUT_FAILED:
            text = f"The media server does not take the video of {event.source}."
            remedy = "See whether it runs, can be reached, and lets Sightline in."
            yield Limit(Limiter.DELIVERY, text, remedy, event.event_time, (event.source,))


# -- the cameras' -----------------------------------------------------------------------------------------

#: By cause: the limiter, what is said after the cameras, and what to do. Notices name the options.
_CAUSES = {
    Cause.TRITON: (
        Limiter.TRITON,
        "not analysed: the detector does not answer",
        "Start it, or correct where it is looked for; cameras go on by themselves.",
    ),
    Cause.DETECTOR: (
        Limiter.DETECTOR,
        "analysed too seldom: the detector is busy all of the time",
        "Let cameras analyse fewer pictures a second, watch fewer cameras, or give the detector a faster "
        "processor.",
    ),
    Cause.DECODER: (
        Limiter.DECODER,
        "behind: reading the video takes more of the processor than there is",
        "Choose a smaller or slower stream of these cameras, or give the machine more cores.",
    ),
    Cause.WORKER: (
        Limiter.WORKER,
        "analysed too seldom: the processor of this machine is too slow",
        "Let cameras analyse fewer pictures a second, let fewer of them share a process, or give the machine "
        "more cores.",
    ),
    Cause.BURSTS: (
        Limiter.BURSTS,
        "analysed with gaps: the pictures come in bursts, so the network is what limits",
        "Look at the network between camera and machine, or let the video come another way (TCP or UDP).",
    ),
    Cause.CAMERA: (
        Limiter.RATE,
        "analysed less often than asked for, since fewer pictures are sent",
        "Raise the rate in the camera's own settings, or ask for fewer pictures a second.",
    ),
}


def _of_notices(state: SystemState) -> Iterator[Limit]:
    names = {status.source for status in state.statuses}
    for notice in state.notices:
        cameras = tuple(name for name in notice.cameras if name in names)
        if cameras:
            limiter, words, remedy = _CAUSES[notice.cause]
            text = f"{_some(cameras, state)} {words}."
            # A notice counts all cameras, also those that somebody does not see.
            detail = notice.text if cameras == notice.cameras else ""
            yield Limit(limiter, text, remedy, notice.since, cameras, detail)


#: By state, what is said of a camera that is away, and what to do.
_AWAY = {
    CameraState.OFFLINE: (
        "not answering",
        "Look at power, cable and network of the camera; it is tried again all the time.",
    ),
    CameraState.UNAUTHORIZED: (
        "refusing the password",
        "Enter the camera's user name and password anew, on the page Cameras.",
    ),
    CameraState.NOT_FOUND: (
        "there, but without the stream that is asked for",
        "Correct the path in the camera's URL, on the page Cameras.",
    ),
    CameraState.UNUSABLE: (
        "sending no video that can be read",
        "Let the camera send H.264, H.265 or MJPEG.",
    ),
    CameraState.MISCONFIGURED: (
        "not running: its entry in the configuration has a mistake",
        "Correct it, on the page Cameras.",
    ),
}
_ALL_AWAY = "Look at what these cameras share: the network, its switches and their power."


def _of_cameras(state: SystemState) -> Iterator[Limit]:
    away = {event.source: event for event in state.troubles if event.kind is EventKind.CAMERA_OFFLINE}
    for wrong, (words, remedy) in _AWAY.items():
        found = [
            status
            for status in state.statuses
            if status.state is wrong and (status.source in away or wrong is CameraState.MISCONFIGURED)
        ]
        if not found:
            continue
        cameras = tuple(status.source for status in found)
        times = [away[name].event_time for name in cameras if name in away]
        together = wrong is CameraState.OFFLINE and len(cameras) == _expected(state) > 1
        text = f"{_some(cameras, state)} {words}."
        detail = "; ".join(f"{status.source}: {redact(status.message)}" for status in found if status.message)
        cure = _ALL_AWAY if together else remedy
        yield Limit(Limiter.CAMERA, text, cure, min(times, default=None), cameras, detail)


#: By kind of event, how a view is, and what to do.
_VIEWS = {
    EventKind.VIEW_COVERED: ("covered, or sees nothing", "Look what is before the camera, and at its light."),
    EventKind.VIEW_FROZEN: ("sending the same picture all of the time", "Restart the camera."),
    EventKind.VIEW_DEFOCUSED: ("out of focus", "Clean the camera's glass, and focus it."),
    EventKind.VIEW_MOVED: (
        "turned away from what it was set up to see",
        "Turn it back, or move its lines and zones on the page Cameras.",
    ),
}


def _of_views(state: SystemState) -> Iterator[Limit]:
    for kind, (words, remedy) in _VIEWS.items():
        events = [event for event in state.troubles if event.kind is kind]
        if events:
            cameras = tuple(event.source for event in events)
            text = f"{_some(cameras, state)} {words}; this time is not counted."
            yield Limit(Limiter.VIEW, text, remedy, min(event.event_time for event in events), cameras)


# -- words ------------------------------------------------------------------------------------------------


def _expected(state: SystemState) -> int:
    """How many cameras are to run."""
    return sum(status.state not in _IDLE for status in state.statuses)


def _some(cameras: Sequence[str], state: SystemState) -> str:
    """How a sentence about cameras begins."""
    total = _expected(state)
    if len(cameras) == 1:
        return f"Camera {cameras[0]} is"
    if len(cameras) == total:
        return f"All {total} cameras are"
    named = f" ({', '.join(cameras)})" if len(cameras) <= NAMED else ""
    return f"{len(cameras)} of {total} cameras{named} are"


def _listed(names: Sequence[str]) -> str:
    if len(names) > NAMED:
        return f"{len(names)} cameras"
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _since(state: SystemState, kind: EventKind) -> float | None:
    return min((event.event_time for event in state.troubles if event.kind is kind), default=None)


def _is_full(error: str) -> bool:
    """Whether an error of a database is that its disk has no room."""
    return any(words in error.lower() for words in ("is full", "no space", "disk full"))
