"""What the rules know of each track at each place, as one array and as a successor's JSON."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.analysis.saved import from_json
from sightline.config.zones import Point
from sightline.entities import Event, EventEnd

F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]

VERSION = 1
States = NDArray[np.void]  # N tracks by ascending id; the fields are those of :func:`blank`
#: By track: an event, the column of its place, and when it ended (None: it has not, or is a moment).
TrackEvents = dict[int, list[tuple[int, Event, float | None]]]
_SAVED_EVENTS = dict[int, list[tuple[str, Event, float | None]]]  # with the key of the place
Points = Mapping[str, Sequence[Point]]  # of each place, by its key, in the order of the columns


@lru_cache(maxsize=64)
def _state_type(places: int) -> np.dtype[np.void]:
    each = (places,)
    fields = [
        ("id", np.int64),
        ("first_time", np.float64),  # capture time of the first box
        ("time", np.float64),  # capture time of the latest box
        ("seen_s", np.float64),  # watched time at the latest box; -inf: this frame is the first
        ("xy", np.float64, (2,)),  # the anchor in the latest box
        ("size", np.float64, (2,)),  # width and height of the latest box
        ("steady", np.float64, (4,)),  # left, top, right, bottom, as the latest second or so had them
        ("class_id", np.int32),
        ("confirmed", np.bool_),
        ("inside", np.bool_, each),  # of zones: a visit has begun
        ("pending", np.int8, each),  # crossed but not certain: 1 to the left or into it, -1 the other way
        ("pending_time", np.float64, each),  # when it crossed
        ("pending_xy", np.float64, (places, 2)),  # where
        ("unseen", np.bool_, each),  # it crossed out of sight
        ("armed", np.bool_, each),  # of lines: has been clear of it, so that a crossing means something
        ("clear_since", np.float64, each),  # capture time since when it has been clear; inf: it is near
        ("entered", np.float64, each),  # when its visit began
        ("moved", np.bool_, each),  # it has really gone somewhere since it was first seen or crossed last
        ("box", np.float64, (places, 4)),  # what ``steady`` was then
        ("loitered", np.bool_, each),  # its visit has made a loiter event
        ("ordinal", np.int32, each),  # events made so far
    ]
    return np.dtype(fields, align=True)


def blank(count: int, places: int) -> States:
    """``count`` tracks of which nothing is known, and so many places (lines first, then zones)."""
    states = np.zeros(count, _state_type(places))
    states["size"], states["clear_since"], states["moved"] = 1, np.inf, True
    return states


def pairs(table: NDArray[Any]) -> Iterable[tuple[int, int]]:
    """Row and column of every entry of ``table`` [N, P] that is not 0."""
    rows, columns = np.nonzero(table)
    return zip(rows.tolist(), columns.tolist(), strict=True)


_Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class _SavedPlace:
    """What a state says of a track at one place; what is as at the beginning is left out."""

    events: int
    ready: bool = False
    box: _Box | None = None
    entered: float | None = None
    loitered: bool = False
    pending: tuple[int, float, tuple[float, float], bool, float | None] | None = None


@dataclass(frozen=True, slots=True)
class _SavedStates:
    """What it says of a track."""

    id: int
    first_time: float
    time: float
    unseen_s: float
    xy: tuple[float, float]
    size: tuple[float, float]
    class_id: int
    confirmed: bool
    places: dict[str, _SavedPlace]
    steady: _Box | None = None  # earlier releases lack it


@dataclass(slots=True)
class TrackMemory:
    """What the rules remember from frame to frame, occupancy apart.

    Attributes:
        states: the tracks that live.
        time: capture time of the newest frame.
        pending: events of tracks that are not confirmed yet.
        open: events that were handed out and last.
        ended: the ends of those in places that are no longer where they were, when this was loaded.
        retired: how many events a track has made at places that have been removed, by track and place. A
            place may come back while the track lives, and no two events may have the same name.
    """

    states: States
    time: float = 0.0
    pending: TrackEvents = field(default_factory=dict)
    open: TrackEvents = field(default_factory=dict)
    ended: list[EventEnd] = field(default_factory=list)
    retired: dict[int, dict[str, int]] = field(default_factory=dict)

    def rows_of(self, ids: NDArray[np.int64]) -> tuple[Index, Mask]:
        """The rows of the tracks ``ids``, and which of them there are."""
        known = self.states["id"]
        if not len(known):
            return np.zeros(len(ids), np.intp), np.zeros(len(ids), bool)
        rows = np.minimum(known.searchsorted(ids), len(known) - 1)
        return rows, known[rows] == ids

    def add(self, new: States, keys: Sequence[str]) -> None:
        """Take in tracks of which this is the first frame."""
        for row, track_id in enumerate(new["id"].tolist() if self.retired else ()):
            self._resume_numbers(new[row], self.retired.pop(track_id, {}), keys)
        states = np.concatenate([self.states, new])
        self.states = states[np.argsort(states["id"], kind="stable")]

    def forget(self, over: Mask) -> None:
        """The tracks that ``over`` [N] marks have ended."""
        for track_id in self.states["id"][over].tolist():
            for memory in (self.pending, self.open, self.retired):
                memory.pop(track_id, None)
        self.states = self.states[~over]

    def _resume_numbers(self, track: np.void, numbers: Mapping[str, int], keys: Sequence[str]) -> None:
        for key, number in numbers.items():
            if key in keys:
                track["ordinal"][keys.index(key)] = number
            elif number:
                self.retired.setdefault(int(track["id"]), {})[key] = number

    def dump(self, watched_s: float, points: Points) -> dict[str, Any]:
        """JSON-able; of a track's places (the columns of :attr:`states`) those it has had to do with.

        Watched time is that of the newest frame.
        """
        keys, states = list(points), self.states
        columns = {
            "id": states["id"],
            "first_time": states["first_time"],
            "time": states["time"],
            "unseen_s": (watched_s - states["seen_s"]).round(4),
            "xy": states["xy"],  # not rounded: it must stay on its side of every edge
            "size": states["size"].round(6),
            "steady": states["steady"].round(6),
            "class_id": states["class_id"],
            "confirmed": states["confirmed"],
        }
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        tracks: list[dict[str, Any]] = [dict(zip(columns, row, strict=True), places={}) for row in rows]
        for track in tracks:
            if math.isnan(track["steady"][0]):  # from an earlier release, and not seen since
                del track["steady"]
        # What is as at the beginning is left out.
        visited = states["inside"] | (states["pending"] != 0)
        known = (
            visited
            | ~states["moved"]
            | (states["ordinal"] > 0)
            | states["armed"] & ~np.isfinite(states["clear_since"])
        )
        armed, ordinals, boxes = (states[name].tolist() for name in ("armed", "ordinal", "box"))
        moved = states["moved"].tolist()
        for row, at in pairs(known):
            saved = tracks[row]["places"][keys[at]] = {"events": ordinals[row][at]}
            saved |= {"ready": True} if armed[row][at] else {}
            saved |= {} if moved[row][at] else {"box": [round(side, 5) for side in boxes[row][at]]}
        for row, at in pairs(visited):
            track, saved = states[row], tracks[row]["places"][keys[at]]
            if track["inside"][at]:
                saved |= {"entered": float(track["entered"][at]), "loitered": bool(track["loitered"][at])}
            if track["pending"][at]:
                clear_since = float(track["clear_since"][at])
                saved["pending"] = [
                    int(track["pending"][at]),
                    float(track["pending_time"][at]),
                    track["pending_xy"][at].round(6).tolist(),
                    bool(track["unseen"][at]),
                    clear_since if math.isfinite(clear_since) else None,
                ]
        return {
            "version": VERSION,
            "time": self.time,
            "places": {key: [list(point) for point in corners] for key, corners in points.items()},
            "tracks": tracks,
            "held": _dump_events(self.pending, keys),
            "open": _dump_events(self.open, keys),
            "retired": {str(track_id): dict(numbers) for track_id, numbers in self.retired.items()},
        }

    @staticmethod
    def load(state: Mapping[str, Any], points: Points) -> "TrackMemory":
        """What :meth:`dump` wrote, for the places of today: those that differ begin anew.

        The number of each track's events at a place goes on even so.

        Raises:
            ValueError: it is not such a state.
        """
        if state.get("version") != VERSION:
            version = state.get("version")
            raise ValueError(f"a state of rules of version {VERSION} is needed, found {version!r}")
        try:
            tracks = from_json(list[_SavedStates], state["tracks"])
            time = from_json(float | None, state["time"]) or 0.0
            memory = TrackMemory(blank(len(tracks), len(points)), time)
            memory.retired = from_json(dict[int, dict[str, int]], state.get("retired", {}))
            keys, columns = list(points), unmoved(state, points)
            for states, track in zip(memory.states, tracks, strict=True):
                for name in ("id", "first_time", "time", "xy", "size", "class_id", "confirmed"):
                    states[name] = getattr(track, name)
                states["seen_s"] = -track.unseen_s
                states["steady"] = math.nan if track.steady is None else track.steady
                numbers = memory.retired.pop(track.id, {})
                numbers |= {key: saved.events for key, saved in track.places.items()}
                memory._resume_numbers(states, numbers, keys)
                for key in track.places.keys() & columns.keys():
                    _load_place(states, columns[key], track.places[key])
            for into, saved in ((memory.pending, state["held"]), (memory.open, state.get("open", {}))):
                for track_id, events in load_events(saved).items():
                    for key, event, ended in events:
                        if key in columns:
                            into.setdefault(track_id, []).append((columns[key], event, ended))
                        elif into is memory.open:
                            memory.ended.append(EventEnd(event, memory.time))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(f"not a state of rules: {error!r}") from error
        return memory


def _dump_events(tracks: TrackEvents, keys: Sequence[str]) -> dict[str, list[Any]]:
    return {
        str(track_id): [[keys[index], asdict(event), ended] for index, event, ended in events]
        for track_id, events in tracks.items()
    }


def load_events(saved: Mapping[str, Any]) -> dict[int, list[tuple[str, Event, float | None]]]:
    """By track: place, event, and when it ended; ValueError: it is something else."""
    # Earlier releases have no ends.
    padded = {track_id: [[*event, None][:3] for event in events] for track_id, events in saved.items()}
    events: dict[int, list[tuple[str, Event, float | None]]] = from_json(_SAVED_EVENTS, padded)
    return events


def unmoved(state: Mapping[str, Any], points: Points) -> dict[str, int]:
    """The places that are where they were when ``state`` was written, with their columns of today."""
    return {
        key: column
        for column, (key, corners) in enumerate(points.items())
        if state["places"].get(key) == [list(point) for point in corners]
    }


def _load_place(track: np.void, at: int, saved: _SavedPlace) -> None:
    track["armed"][at], track["moved"][at] = saved.ready, saved.box is None
    track["box"][at] = saved.box or 0.0
    if saved.entered is not None:
        track["inside"][at], track["entered"][at] = True, saved.entered
        track["loitered"][at] = saved.loitered
    if saved.pending is not None:
        direction, time, track["pending_xy"][at], track["unseen"][at], clear_since = saved.pending
        track["pending"][at], track["pending_time"][at] = direction, time
        track["clear_since"][at] = math.inf if clear_since is None else clear_since
