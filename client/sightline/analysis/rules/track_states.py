"""What the rules know of each track at each place, as arrays and as a successor's JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.config.zones import Point
from sightline.entities import Event, EventKind, Tracks

F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]

VERSION = 1
PendingEvents = dict[int, list[tuple[int, Event]]]  # by track, each with the column of its place
Points = Mapping[str, Sequence[Point]]  # of each place, by its key, in the order of the columns


@dataclass(slots=True)
class TrackStates:
    """N tracks by ascending id, and P places (lines first, then zones)."""

    ids: NDArray[np.int64]
    first_times: F64  # capture time of the first box
    times: F64  # capture time of the latest box
    seen_s: F64  # watched time at the latest box; -inf: this frame is the first
    xy: F64  # [N, 2] the anchor in the latest box
    sizes: F64  # [N, 2] width and height of the latest box
    class_ids: NDArray[np.int32]
    confirmed: Mask
    inside: Mask  # [N, P] of zones: a visit has begun
    pending: NDArray[np.int8]  # [N, P] crossed but not certain: 1 to the left or into it, -1 the other way
    pending_times: F64  # [N, P] when it crossed
    pending_xy: F64  # [N, P, 2] where
    unseen: Mask  # [N, P] it crossed out of sight
    armed: Mask  # [N, P] of lines: has been clear of it, so that a crossing means something
    clear_since: F64  # [N, P] capture time since when it has been clear of it; inf: it is near
    entered: F64  # [N, P] when its visit began
    loitered: Mask  # [N, P] its visit has made a loiter event
    ordinals: NDArray[np.int32]  # [N, P] events made so far

    @staticmethod
    def blank(count: int, places: int) -> TrackStates:
        """``count`` tracks of which nothing is known."""
        two = (count, places)
        return TrackStates(
            ids=np.zeros(count, np.int64),
            first_times=np.zeros(count),
            times=np.zeros(count),
            seen_s=np.zeros(count),
            xy=np.zeros((count, 2)),
            sizes=np.ones((count, 2)),
            class_ids=np.zeros(count, np.int32),
            confirmed=np.zeros(count, bool),
            inside=np.zeros(two, bool),
            pending=np.zeros(two, np.int8),
            pending_times=np.zeros(two),
            pending_xy=np.zeros((*two, 2)),
            unseen=np.zeros(two, bool),
            armed=np.zeros(two, bool),
            clear_since=np.full(two, np.inf),
            entered=np.zeros(two),
            loitered=np.zeros(two, bool),
            ordinals=np.zeros(two, np.int32),
        )

    @staticmethod
    def of_new(tracks: Tracks, which: Mask, anchors: F64, places: int) -> TrackStates:
        """Those of ``tracks`` that ``which`` marks, of which this is the first frame; ``anchors`` [N, 2]."""
        new = TrackStates.blank(int(which.sum()), places)
        new.ids = tracks.ids[which]
        new.first_times = tracks.first_times[which].astype(np.float64)
        new.times = new.first_times.copy()
        new.seen_s[:] = -np.inf
        new.xy = anchors[which]
        return new.take(np.argsort(new.ids, kind="stable"))

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, which: Mask | Index) -> TrackStates:
        """The tracks that ``which`` selects, in that order."""
        return TrackStates(*(getattr(self, name)[which] for name in self.__slots__))

    def joined(self, other: TrackStates) -> TrackStates:
        """These tracks and those, by ascending id."""
        both = TrackStates(*(np.concatenate([getattr(self, n), getattr(other, n)]) for n in self.__slots__))
        in_order = len(self) == 0 or len(other) == 0 or self.ids[-1] < other.ids[0]
        return both if in_order else both.take(np.argsort(both.ids, kind="stable"))

    def select(self, rows: Index) -> Index | slice:
        """``rows``, or all rows as a slice when that is the same: no copies are made then."""
        return slice(None) if len(rows) == len(self) and bool((rows[1:] > rows[:-1]).all()) else rows

    def rows_of(self, ids: NDArray[np.int64]) -> tuple[Index, Mask]:
        """The rows of ``ids``, and which of them there are."""
        if not len(self):
            return np.zeros(len(ids), np.intp), np.zeros(len(ids), bool)
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self) - 1)
        return rows, self.ids[rows] == ids


@dataclass(slots=True)
class TrackMemory:
    """What the rules remember from frame to frame, occupancy apart.

    Attributes:
        states: the tracks that live.
        time: capture time of the newest frame.
        pending: events of tracks that are not confirmed yet.
        retired: how many events a track has made at places that have been removed, by track and place. A
            place may come back while the track lives, and no two events may have the same name.
    """

    states: TrackStates
    time: float = 0.0
    pending: PendingEvents = field(default_factory=dict)
    retired: dict[int, dict[str, int]] = field(default_factory=dict)

    def add(self, new: TrackStates, keys: Sequence[str]) -> None:
        """Take in tracks of which this is the first frame."""
        for row, track_id in enumerate(new.ids.tolist() if self.retired else ()):
            self._resume_numbers(new, row, self.retired.pop(track_id, {}), keys)
        self.states = self.states.joined(new)

    def forget(self, over: Mask) -> None:
        """The tracks that ``over`` [N] marks have ended."""
        for track_id in self.states.ids[over].tolist():
            self.pending.pop(track_id, None)
            self.retired.pop(track_id, None)
        self.states = self.states.take(~over)

    def _resume_numbers(
        self, states: TrackStates, row: int, numbers: Mapping[str, int], keys: Sequence[str]
    ) -> None:
        for key, number in numbers.items():
            if key in keys:
                states.ordinals[row, keys.index(key)] = number
            elif number:
                self.retired.setdefault(int(states.ids[row]), {})[key] = number

    def dump(self, watched_s: float, points: Points) -> dict[str, Any]:
        """JSON-able. Of a track's places only those that it has had to do with.

        Args:
            watched_s: watched time of the newest frame.
            points: of the places, which are the columns of :attr:`states`.
        """
        keys = list(points)
        return {
            "version": VERSION,
            "time": self.time,
            "places": {key: [list(point) for point in corners] for key, corners in points.items()},
            "tracks": [_dump_track(self.states, row, watched_s, keys) for row in range(len(self.states))],
            "held": {
                str(track_id): [[keys[index], asdict(event)] for index, event in events]
                for track_id, events in self.pending.items()
            },
            "retired": {str(track_id): dict(numbers) for track_id, numbers in self.retired.items()},
        }

    @staticmethod
    def load(state: Mapping[str, Any], points: Points) -> TrackMemory:
        """What :meth:`dump` wrote, for the places of today: those that differ begin anew.

        The number of each track's events at a place goes on even so.

        Raises:
            ValueError: it is not such a state.
        """
        if state.get("version") != VERSION:
            version = state.get("version")
            raise ValueError(f"a state of rules of version {VERSION} is needed, found {version!r}")
        try:
            memory = TrackMemory(
                TrackStates.blank(len(state["tracks"]), len(points)), float(state["time"] or 0.0)
            )
            memory.retired = {int(i): dict(numbers) for i, numbers in state.get("retired", {}).items()}
            memory._load(state, points)
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"not a state of rules: {error!r}") from error
        return memory

    def _load(self, state: Mapping[str, Any], points: Points) -> None:
        keys = list(points)
        columns = unmoved(state, points)
        for row, track in enumerate(state["tracks"]):
            _load_track(self.states, row, track)
            numbers = self.retired.pop(track["id"], {})
            numbers |= {key: saved["events"] for key, saved in track["places"].items()}
            self._resume_numbers(self.states, row, numbers, keys)
            for key in track["places"].keys() & columns.keys():
                _load_place(self.states, (row, columns[key]), track["places"][key])
        for track_id, events in state["held"].items():
            self.pending[int(track_id)] = [
                (columns[key], Event(**{**event, "kind": EventKind(event["kind"])}))
                for key, event in events
                if key in columns
            ]


def unmoved(state: Mapping[str, Any], points: Points) -> dict[str, int]:
    """The places that are where they were when ``state`` was written, with their columns of today."""
    return {
        key: column
        for column, (key, corners) in enumerate(points.items())
        if state["places"].get(key) == [list(point) for point in corners]
    }


def _dump_track(states: TrackStates, row: int, watched_s: float, keys: Sequence[str]) -> dict[str, Any]:
    known = states.inside[row] | (states.pending[row] != 0) | (states.ordinals[row] > 0)
    known |= states.armed[row] & ~np.isfinite(states.clear_since[row])
    return {
        "id": int(states.ids[row]),
        "first_time": float(states.first_times[row]),
        "time": float(states.times[row]),
        "unseen_s": round(float(watched_s - states.seen_s[row]), 4),
        "xy": states.xy[row].tolist(),  # not rounded: it must stay on its side of every edge
        "size": [round(value, 6) for value in states.sizes[row].tolist()],
        "class_id": int(states.class_ids[row]),
        "confirmed": bool(states.confirmed[row]),
        "places": {
            keys[index]: _dump_place(states, (row, index)) for index in np.flatnonzero(known).tolist()
        },
    }


def _load_track(states: TrackStates, row: int, track: Mapping[str, Any]) -> None:
    states.ids[row], states.class_ids[row] = track["id"], track["class_id"]
    states.first_times[row], states.times[row] = track["first_time"], track["time"]
    states.seen_s[row], states.confirmed[row] = -track["unseen_s"], track["confirmed"]
    states.xy[row], states.sizes[row] = track["xy"], track["size"]


def _dump_place(states: TrackStates, at: tuple[int, int]) -> dict[str, Any]:
    """A track at a place; what is as at the beginning is left out."""
    saved: dict[str, Any] = {"events": int(states.ordinals[at])}
    if states.armed[at]:
        saved["ready"] = True
    if states.inside[at]:
        saved["entered"] = float(states.entered[at])
        saved["loitered"] = bool(states.loitered[at])
    if states.pending[at]:
        clear_since = float(states.clear_since[at])
        saved["pending"] = [
            int(states.pending[at]),
            float(states.pending_times[at]),
            [round(value, 6) for value in states.pending_xy[at].tolist()],
            bool(states.unseen[at]),
            clear_since if math.isfinite(clear_since) else None,
        ]
    return saved


def _load_place(states: TrackStates, at: tuple[int, int], saved: Mapping[str, Any]) -> None:
    states.armed[at] = saved.get("ready", False)
    if "entered" in saved:
        states.inside[at], states.entered[at], states.loitered[at] = True, saved["entered"], saved["loitered"]
    if "pending" in saved:
        direction, time, states.pending_xy[at], states.unseen[at], clear_since = saved["pending"]
        states.pending[at], states.pending_times[at] = direction, time
        states.clear_since[at] = math.inf if clear_since is None else clear_since
