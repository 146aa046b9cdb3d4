"""What the pipeline wrote about one camera, rows and kept tracks, and how its claims pair with the truth."""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from sightline.entities import KEY_SEPARATOR, RULE_KINDS
from sightline.features import track_log
from sightline.features.track_log import TrackedFrame
from sightline.simulation.selftest.ground_truth import Happening, SimulatedCamera
from sightline.store.kinds import EVENT
from sightline.store.read.queries import distinct, read_counts, read_events, read_watched
from sightline.store.read.readonly import Database
from sightline.store.read.spans import Span

TOLERANCE_S = 1.0  # between a claim and what it claims


@dataclass(frozen=True, slots=True)
class ClaimedEvent:
    """A row of ``events``; times in UTC epoch seconds."""

    kind: str
    place: str
    direction: str | None
    item_class: str
    track_id: int
    event_time: float
    created_at: float
    confirmed_time: float  # capture time of the frame after which it was certain
    unseen: bool = False
    key: str = ""  # by which alerts name it
    told_time: float | None = None  # its alert was received then; None: none was


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything about one camera that is scored."""

    frames: tuple[TrackedFrame, ...]  # as kept, oldest first
    events: tuple[ClaimedEvent, ...]  # rows of ``events``
    counts: dict[str, int]  # distinct tracks of ``count_windows`` by class
    watched_s: float  # seconds of coverage, added over ``source_windows``
    dropped_frames: int  # the same rows' drops
    # UTC epoch seconds at which second 0 was due to be taken; None when pictures say so
    began_time: float | None
    fps: float  # frames a second that the camera sends


def scene_clock(frames: Sequence[TrackedFrame]) -> Callable[[float], float] | None:
    """The scene's time at a capture time, by the time codes that were read; None where none was."""
    known = [(frame.capture_time, frame.scene_s) for frame in frames if frame.scene_s is not None]
    if not known:
        return None
    capture, scene = np.array(known).T
    first = capture[0]  # from which times are counted: epoch seconds would cost digits
    offsets = scene - (capture - first)
    # Beyond the frames the nearest one's offset holds.
    return lambda time: float(time - first + np.interp(time - first, capture - first, offsets))


def claims(evidence: Evidence) -> list[Happening]:
    """Crossings, entries and exits among the events, on the scene's clock."""
    scene_s = scene_clock(evidence.frames)
    if scene_s is None:
        return []
    happenings = []
    for e in evidence.events:
        if e.kind in ("crossing", "enter", "leave"):
            what, unseen = e.direction or e.kind, e.unseen and e.kind != "crossing"
            time_s = scene_s(e.event_time)
            happenings.append(Happening(time_s, e.place, what, e.item_class, e.track_id, unseen))
    return happenings


#: A `leave` of a track that was lost: it is certain only after ``track.max_lost_s``.
LOST = "leave (lost)"


@dataclass(frozen=True, slots=True)
class EventLatency:
    """What passed from an event's moment, seconds."""

    certain_s: float  # until the frame was taken after which it was certain
    row_s: float  # from then until its row was made
    told_s: float | None  # from then until its alert was received; None: none was


def latencies_s(evidence: Evidence) -> tuple[list[float], dict[str, list[EventLatency]]]:
    """Seconds from the moment a picture was due to be taken to its tracks, and what passed of each event.

    Events are by kind, and :data:`LOST` is one.
    """

    def due_time(frame: TrackedFrame) -> float | None:
        if frame.due_time is not None or evidence.began_time is None or frame.scene_s is None:
            return frame.due_time
        return evidence.began_time + frame.scene_s

    dues = [(frame, due) for frame in evidence.frames if (due := due_time(frame)) is not None]
    tracked = [frame.tracked_time - due for frame, due in dues]
    offsets = [frame.scene_s - due for frame, due in dues if frame.scene_s is not None]
    scene_s = scene_clock(evidence.frames)
    events: defaultdict[str, list[EventLatency]] = defaultdict(list)
    if scene_s is not None and offsets:
        offset = float(np.median(offsets))  # of the scene's clock against UTC
        for event in evidence.events:
            kind = LOST if event.kind == "leave" and event.unseen else event.kind
            certain_s = scene_s(event.confirmed_time)
            certain, told = certain_s - offset, event.told_time
            told_s = None if told is None else told - certain
            passed = EventLatency(certain_s - scene_s(event.event_time), event.created_at - certain, told_s)
            events[kind].append(passed)
    return tracked, dict(events)


_EVER = Span.over(0.0, 4e9, 4_000_000_000)  # one bucket, until 2096
_COLUMNS = tuple(field.name for field in fields(ClaimedEvent) if field.name not in ("key", "told_time"))


def claimed_events(
    database: Database, camera: str, since: float = 0.0, told: Mapping[str, float] | None = None
) -> list[ClaimedEvent]:
    """Every event that rules saw at a camera from ``since`` (UTC epoch seconds) on, by time.

    ``told``: when their alerts were received, by the events' keys.
    """
    with database.reading() as connection:
        kinds = tuple(RULE_KINDS)
        rows = read_events(connection, None, (since, _EVER.end), [camera], kinds=kinds, limit=None)
    times = ("event_time", "created_at", "confirmed_time")
    events = []
    for row in reversed(rows):
        values = {n: row[n].timestamp() if n in times else row[n] for n in _COLUMNS}
        key = KEY_SEPARATOR.join(str(row[name]) for name in EVENT.key)
        key = f"{EVENT.name}{KEY_SEPARATOR}{key}"
        events.append(ClaimedEvent(**values, key=key, told_time=(told or {}).get(key)))
    return events


def gather(
    camera: SimulatedCamera, run: Path, database_url: str, told: Mapping[str, float] | None = None
) -> Evidence:
    """Everything that a run in a folder wrote about one camera; ``told`` as :func:`claimed_events` has it."""
    with contextlib.closing(Database(database_url)) as database:
        events = claimed_events(database, camera.name, told=told)
        with database.reading() as connection:
            counts = distinct(read_counts(connection, None, _EVER, [camera.name]))
            watched = read_watched(connection, None, _EVER, [camera.name])
    began = run / f"{camera.name}.began"
    return Evidence(
        frames=tuple(track_log.read(run / "tracks", camera.name)),
        events=tuple(events),
        counts={item_class: count or 0 for (_, item_class), count in counts.items()},
        watched_s=sum(row.watched_s for row in watched),
        dropped_frames=sum(row.dropped_frames for row in watched),
        began_time=float(began.read_text()) if began.is_file() else None,
        fps=camera.fps,
    )


@dataclass(frozen=True, slots=True)
class Matched:
    """Claims and truth, paired."""

    pairs: tuple[tuple[Happening, Happening], ...] = ()  # (true, claimed), each at most once
    missed: tuple[Happening, ...] = ()  # true ones that were visible and not claimed
    extra: tuple[Happening, ...] = ()  # claims of what did not happen
    # true ones that were not visible; a claim that meets one is neither right nor wrong
    hidden: tuple[Happening, ...] = ()

    def __add__(self, other: "Matched") -> "Matched":
        return Matched(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def true(self) -> int:
        """How many there were."""
        return len(self.pairs) + len(self.missed)

    @property
    def claimed(self) -> int:
        """How many were claimed."""
        return len(self.pairs) + len(self.extra)

    @property
    def wrong(self) -> float:
        """How many were missed or extra."""
        return float(len(self.missed) + len(self.extra))

    @property
    def precision(self) -> float | None:
        """Share of claims that are true; None without a claim."""
        return len(self.pairs) / self.claimed if self.claimed else None

    @property
    def recall(self) -> float | None:
        """Share of what was true that was claimed; None when nothing was."""
        return len(self.pairs) / self.true if self.true else None

    @property
    def bias(self) -> float | None:
        """Signed share by which the number of claims is off: above 0, too many were claimed."""
        return (self.claimed - self.true) / self.true if self.true else None

    def record(self) -> dict[str, Any]:
        """Ready for JSON."""

        def told(happenings: Iterable[Happening]) -> list[str]:
            return [f"{h.time_s:.1f} s {h.item_class} {h.what}" for h in happenings]

        counts = {"true": self.true, "claimed": self.claimed, "right": len(self.pairs)}
        wrong = {"missed": told(self.missed), "extra": told(self.extra)}
        return counts | wrong | {"hidden": len(self.hidden)}


def match(
    true: Iterable[Happening],
    claimed: Iterable[Happening],
    span_s: tuple[float, float],
    *,
    by_class: bool = True,
) -> Matched:
    """Pair claims with what was true at the same place, in the same direction, within :data:`TOLERANCE_S`.

    A claim that says itself that it was not seen may be right, and is never extra. What lies outside
    ``span_s`` may be paired with something inside, but is neither missed nor extra. Hidden ones are paired
    last, with claims that are left.
    """

    def inside(happening: Happening) -> bool:
        return span_s[0] <= happening.time_s <= span_s[1]

    groups: defaultdict[Any, tuple[list[Happening], ...]] = defaultdict(lambda: ([], [], []))
    for which, happenings in enumerate((true, claimed)):
        for h in sorted(happenings, key=lambda happening: happening.time_s):
            group = groups[h.place, h.what, h.item_class if by_class else ""]
            group[2 if which == 0 and h.hidden else which].append(h)
    matched = Matched()
    for _, (seen, claims, hidden) in sorted(groups.items()):
        pairs, missed, left = _sweep(seen, claims)
        extra = [claim for claim in _sweep(hidden, left)[2] if not claim.hidden]
        judged = (tuple(filter(inside, some)) for some in (missed, extra, hidden))
        matched += Matched(tuple(pair for pair in pairs if inside(pair[0])), *judged)
    return matched


def _sweep(
    true: Sequence[Happening], claimed: Sequence[Happening]
) -> tuple[list[tuple[Happening, Happening]], list[Happening], list[Happening]]:
    """Pairs, true ones left, claims left. With one tolerance for all, going by time finds the most pairs."""
    pairs, missed, extra = [], [], []
    i = j = 0
    while i < len(true) and j < len(claimed):
        late_s = claimed[j].time_s - true[i].time_s
        if abs(late_s) <= TOLERANCE_S:
            pairs.append((true[i], claimed[j]))
            i, j = i + 1, j + 1
        elif late_s > 0:
            missed.append(true[i])
            i += 1
        else:
            extra.append(claimed[j])
            j += 1
    return pairs, [*missed, *true[i:]], [*extra, *claimed[j:]]
