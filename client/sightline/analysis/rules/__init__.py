"""Rules: tracks in, events out. A pure function of tracks in time; ``docs/rules.md`` has its meaning.

An object meets a place with its anchor, the bottom centre of its box. A crossing is first *pending*: it
becomes an event when the anchor is clearly away from the line (or the zone's edge), or has kept a little
distance for a second. A crossing back takes a pending one away, so an anchor that trembles on a line makes no
event, while its time stays that of the crossing itself, interpolated between two frames. All distances
are in units of the object's own box, all times in seconds, so the frame rate does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.analysis.classes import ClassTable
from sightline.analysis.observer import JSON, Observation, Observer
from sightline.analysis.options import AnalysisOptions
from sightline.analysis.rules.occupancy import Occupancy
from sightline.analysis.rules.shapes import Shapes
from sightline.analysis.rules.track_states import F64, Index, Mask, TrackMemory, TrackStates, unmoved
from sightline.entities import Event, EventKind, Tracks

NEAR = 0.05  # box sizes from the line; nearer than this may be a trembling anchor
CLEAR = 0.15  # box sizes from the line: the crossing is certain
SETTLE_S = 1.0  # with a little distance for so long, the crossing is certain too
LOST_SLACK_S = 0.5  # the tracker ends its tracks first: a track that comes back goes on with the same visit
UNSEEN_S = 1.0  # a crossing between sightings further apart was not seen
SILENT_SLACK_S = 20.0  # the wall clock waits so much longer than max_gap_s: frames may only be late
EDGE = 1e-3  # anchors are kept so far inside the picture: zones drawn to its edge contain them
MIN_SIZE = 1e-3
MAX_PENDING_EVENTS = 32  # of a track that is not confirmed
EPSILON_S = 1e-3


class Rules(Observer):
    """The lines and zones of one camera. Belongs to one thread."""

    name = "rules"

    def __init__(
        self, options: AnalysisOptions, classes: ClassTable, *, state: Mapping[str, Any] | None = None
    ) -> None:
        """Begin, or go on from a :meth:`snapshot`.

        Args:
            options: lines, zones, and when a track ends.
            classes: what the class ids of the tracks mean; new names may be added to it.
            state: where to go on; a place that has changed since then begins anew.

        Raises:
            ValueError: ``state`` is not a snapshot that this version understands.
        """
        self._classes = classes
        self._watched_s = 0.0  # at the newest frame
        self._events: list[Event] = []  # certain, and not handed out yet
        self._silent_since: float | None = None  # on the wall clock
        self._use(options)
        self._memory = TrackMemory(TrackStates.blank(0, len(self._names)))
        self._since: float | None = None  # capture time; no track has been at a place before
        if state is not None:
            self._restore(state)

    def update(self, options: AnalysisOptions) -> None:
        """Other options hold from the next frame on. A place that moved begins anew, the others go on."""
        state = self.snapshot()
        watched_s, had_places = self._watched_s, bool(self._names)
        self._use(options)
        self._restore(state)
        self._memory.states.seen_s += watched_s
        if not self._names:
            self._memory.states = TrackStates.blank(0, 0)
        elif not had_places:
            self._since = None
        else:
            live = set(self._memory.states.ids.tolist())
            self._memory.retired = {i: n for i, n in self._memory.retired.items() if i in live}

    def _use(self, options: AnalysisOptions) -> None:
        lines, zones = options.lines, options.zones
        self._options = options
        self._names = [*lines, *zones]
        self._first_zone = len(lines)
        places = [*lines.values(), *zones.values()]
        self._shapes = Shapes(list(lines.values()), list(zones.values()))
        self._points = {f"line:{name}": line.points for name, line in lines.items()}
        self._points |= {f"zone:{name}": zone.points for name, zone in zones.items()}
        self._loiter_s = np.array([getattr(place, "loiter_s", None) or math.inf for place in places])
        self._loiters = bool(np.isfinite(self._loiter_s).any())
        self._occupancy = Occupancy(options.camera, zones)
        self._wanted = [options.classes if place.classes is None else place.classes for place in places]
        self._allowed_for: tuple[str, ...] | None = None  # the names that the table below is of
        self._allowed_by_class = np.zeros((0, 0), bool)

    def observe(self, seen: Observation) -> list[Event]:
        """Take in one frame, also when it shows no track.

        Returns:
            The events that have become certain, in no order of time.
        """
        tracks, moment, memory = seen.tracks, seen.moment, self._memory
        memory.time, self._watched_s = moment.capture_time, moment.watched_s
        if not self._names:
            return []
        if self._since is None:
            self._since = moment.capture_time
        if moment.blind:
            self._end_tracks(np.ones(len(memory.states), bool))
        if len(tracks):
            anchors, sizes = _anchors(tracks)
            rows = self._rows_of(tracks, anchors)
            distances = self._move(rows, anchors, sizes)
            self._confirm(rows, tracks)
            self._settle_certain(rows, distances)
            self._loiter(rows)
        if len(memory.states) > len(tracks):
            unseen_s = self._watched_s - memory.states.seen_s
            over = unseen_s > self._options.tracker.max_lost_s + LOST_SLACK_S
            if over.any():
                self._end_tracks(over)
        return self._drain() + self._occupancy.observe(self._present(), moment.capture_time)

    def end(self, time: float) -> list[Event]:
        """End every track: the stream has ended, or its picture has another size.

        Args:
            time: capture time, epoch seconds.
        """
        self._memory.time = time
        self._end_tracks(np.ones(len(self._memory.states), bool))
        return self._drain()

    def tick(self, now: float, silent: bool) -> list[Event]:
        """Visits end when frames no longer come.

        After ``max_gap_s`` + :data:`SILENT_SLACK_S` without a frame every open visit ends at its last
        sighting; anyone still there when frames resume starts a new one.
        """
        if not silent or self._silent_since is None or now < self._silent_since:
            self._silent_since = now
        if now - self._silent_since > self._options.max_gap_s + SILENT_SLACK_S:
            states = self._memory.states
            for row in np.flatnonzero((states.inside | (states.pending != 0)).any(axis=1)).tolist():
                self._end_visits(row)
        return self._drain()

    def snapshot(self) -> JSON:
        """JSON-able state for a successor; take it with the events handed out and commit both together."""
        state = self._memory.dump(self._watched_s, self._points)
        return state | {"since": self._since, "crowds": self._occupancy.snapshot()}

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._memory = memory = TrackMemory.load(state, self._points)
        self._since = state.get("since", memory.time)
        unmoved_zones = {key.removeprefix("zone:") for key in unmoved(state, self._points)}
        crowds = state.get("crowds", {})
        self._occupancy.restore({name: crowds[name] for name in crowds.keys() & unmoved_zones})
        if len(memory.states) and self._names:
            distances = self._shapes.distances(memory.states.xy, memory.states.sizes)
            memory.states.armed |= distances >= NEAR

    def _drain(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    # -- one frame -------------------------------------------------------------------------------

    def _rows_of(self, tracks: Tracks, anchors: F64) -> Index:
        """The tracks' rows in the states; new tracks are added."""
        memory = self._memory
        rows, known = memory.states.rows_of(tracks.ids)
        if known.all():
            return rows
        new = TrackStates.of_new(tracks, ~known, anchors, len(self._names))
        np.maximum(new.times, self._since or 0.0, out=new.times)
        memory.add(new, list(self._points))
        return memory.states.rows_of(tracks.ids)[0]

    def _move(self, rows: Index, anchors: F64, sizes: F64) -> F64:
        """Record crossings since the sightings before; how far ``rows`` are from each place now, [N, P]."""
        states, shapes, zone, now = self._memory.states, self._shapes, self._first_zone, self._memory.time
        some = states.select(rows)
        directions, fractions, here = shapes.crossings(states.xy[some], anchors)
        armed = states.armed[some]
        directions[:, :zone] *= armed[:, :zone]
        directions[:, zone:] = (
            here.astype(np.int8) - states.inside[some][:, zone:] - states.pending[some][:, zone:]
        )
        for item, index in _pairs(directions):
            direction, fraction = int(directions[item, index]), float(fractions[item, index])
            self._cross(int(rows[item]), index, direction, fraction, anchors[item])
        distances = shapes.distances(anchors, sizes)
        clear = distances >= NEAR
        clear_since = np.where(directions != 0, now, np.minimum(states.clear_since[some], now))
        states.clear_since[some] = np.where(clear, clear_since, np.inf)
        states.armed[some] = armed | clear
        states.xy[some], states.sizes[some], states.times[some] = anchors, sizes, now
        states.seen_s[some] = self._watched_s
        return distances

    def _cross(self, row: int, index: int, direction: int, fraction: float, anchor: F64) -> None:
        """Record a crossing at ``fraction`` of the way to ``anchor``.

        ``fraction`` < 0 means that it was never observed: the track appeared inside.
        """
        states, now = self._memory.states, self._memory.time
        before = float(states.times[row])
        states.pending[row, index] = max(-1, min(1, int(states.pending[row, index]) + direction))
        states.unseen[row, index] = fraction < 0 or now - before > UNSEEN_S
        if fraction < 0:
            fraction = 0.0 if np.isneginf(states.seen_s[row]) else 1.0
        states.pending_times[row, index] = before + (now - before) * fraction
        states.pending_xy[row, index] = states.xy[row] + (anchor - states.xy[row]) * fraction

    def _confirm(self, rows: Index, tracks: Tracks) -> None:
        """Take over classes and confirmations; events that waited for a confirmation are released."""
        states, some = self._memory.states, self._memory.states.select(rows)
        states.class_ids[some] = tracks.class_ids
        fresh = tracks.confirmed & ~states.confirmed[some]
        states.confirmed[some] |= tracks.confirmed
        for row in rows[fresh].tolist():
            self._release(row)

    def _release(self, row: int) -> None:
        states, allowed = self._memory.states, self._allowed(np.array([row]))[0]
        item_class = self._classes.name(int(states.class_ids[row]))
        for index, event in self._memory.pending.pop(int(states.ids[row]), ()):
            if allowed[index]:
                self._events.append(replace(event, item_class=item_class, confirmed_time=self._memory.time))
        # A visit of a class that does not count here waits: the vote may change while it lasts.
        waits = states.inside[row] & ~allowed
        states.pending[row, waits] += 1
        states.pending_times[row, waits] = states.entered[row, waits]
        states.inside[row, waits] = False

    def _settle_certain(self, rows: Index, distances: F64) -> None:
        """Make events of the crossings that are certain; ``distances`` [N, P] of ``rows``, in boxes."""
        states = self._memory.states
        pending = states.pending[states.select(rows)]
        if not pending.any():
            return
        lasting = self._memory.time - states.clear_since[rows] >= SETTLE_S - EPSILON_S
        certain = (pending != 0) & ((distances >= CLEAR) | lasting) & self._may_settle(rows)
        for item, index in _pairs(certain):
            self._settle(int(rows[item]), index)

    def _loiter(self, rows: Index) -> None:
        """Make events of visits that have become long enough, while they last."""
        if not self._loiters:
            return
        states, some = self._memory.states, self._memory.states.select(rows)
        lasts = states.inside[some] & ~states.loitered[some]
        if not lasts.any():
            return
        due = lasts & (states.pending[some] == 0) & states.confirmed[some][:, None]
        due &= self._memory.time - states.entered[some] >= self._loiter_s - EPSILON_S
        for item, index in _pairs(due):
            row = int(rows[item])
            states.pending_xy[row, index], states.unseen[row, index] = states.xy[row], False
            self._emit_loiter(row, index)

    def _present(self) -> NDArray[np.int64]:
        """How many confirmed tracks are in each zone."""
        states = self._memory.states
        counts: NDArray[np.int64] = (states.inside & states.confirmed[:, None]).sum(axis=0)
        return counts[self._first_zone :]

    # -- ends ------------------------------------------------------------------------------------

    def _end_tracks(self, over: Mask) -> None:
        """End the tracks that ``over`` [N] marks."""
        states = self._memory.states
        busy = over & (states.inside | (states.pending != 0)).any(axis=1)
        for row in np.flatnonzero(busy).tolist():
            self._end_visits(row)
        self._memory.forget(over)

    def _end_visits(self, row: int) -> None:
        """Settle what a track had pending at its last sighting, and end its visits there."""
        states = self._memory.states
        clear = np.isfinite(states.clear_since[row])
        certain = (states.pending[row] != 0) & clear & self._may_settle(np.array([row]))[0]
        for index in np.flatnonzero(certain).tolist():
            self._settle(row, index)
        states.pending[row] = 0
        for index in np.flatnonzero(states.inside[row]).tolist():
            states.pending_xy[row, index], states.unseen[row, index] = states.xy[row], True
            self._leave(row, index, float(states.times[row]))

    # -- events ----------------------------------------------------------------------------------

    def _may_settle(self, rows: Index) -> Mask:
        """Bool [N, P]: the class counts there; or it is not confirmed yet, or leaves where it had entered."""
        states = self._memory.states
        free: Mask = self._allowed(rows) | ~states.confirmed[rows, None] | states.inside[rows]
        return free

    def _settle(self, row: int, index: int) -> None:
        states = self._memory.states
        direction, states.pending[row, index] = int(states.pending[row, index]), 0
        time = float(states.pending_times[row, index])
        if index < self._first_zone:
            way = "forward" if direction > 0 else "backward"
            self._emit(row, index, EventKind.CROSSING, time, direction=way)
        elif direction > 0:
            states.inside[row, index], states.loitered[row, index] = True, False
            states.entered[row, index] = time
            self._emit(row, index, EventKind.ENTER, time)
        else:
            self._leave(row, index, time)

    def _leave(self, row: int, index: int, time: float) -> None:
        """End a visit; if it was long enough and no frame saw that, it has been loitering as well."""
        states = self._memory.states
        entered = float(states.entered[row, index])
        if time - entered >= self._loiter_s[index] and not states.loitered[row, index]:
            self._emit_loiter(row, index)
        states.inside[row, index] = False
        self._emit(row, index, EventKind.LEAVE, time, value=max(0.0, time - entered))

    def _emit_loiter(self, row: int, index: int) -> None:
        states, loiter_s = self._memory.states, float(self._loiter_s[index])
        states.loitered[row, index] = True
        time = float(states.entered[row, index]) + loiter_s
        self._emit(row, index, EventKind.LOITER, time, value=loiter_s)

    def _emit(
        self,
        row: int,
        index: int,
        kind: EventKind,
        time: float,
        *,
        direction: str | None = None,
        value: float | None = None,
    ) -> None:
        states, track_id = self._memory.states, int(self._memory.states.ids[row])
        x, y = states.pending_xy[row, index].tolist()
        event = Event(
            source=self._options.camera,
            kind=kind,
            place=self._names[index],
            track_id=track_id,
            item_class=self._classes.name(int(states.class_ids[row])),
            event_time=time,
            confirmed_time=self._memory.time,
            direction=direction,
            value=value,
            x=x,
            y=y,
            unseen=bool(states.unseen[row, index]),
            first_time=float(states.first_times[row]),
            ordinal=int(states.ordinals[row, index]),
        )
        states.ordinals[row, index] += 1
        if index >= self._first_zone:
            self._occupancy.changed(event.place, time)
        if states.confirmed[row]:
            self._events.append(event)
            return
        pending = self._memory.pending.setdefault(track_id, [])
        if len(pending) < MAX_PENDING_EVENTS:
            pending.append((index, event))

    def _allowed(self, rows: Index) -> Mask:
        """Bool [N, P]: the track's class makes events at the place."""
        names = self._classes.names
        if names is not self._allowed_for:
            allowed = [[wanted is None or name in wanted for wanted in self._wanted] for name in names]
            allowed.append([wanted is None for wanted in self._wanted])  # an id without a name
            self._allowed_by_class = np.array(allowed, bool).reshape(len(allowed), len(self._wanted))
            self._allowed_for = names
        class_ids, unknown = self._memory.states.class_ids[rows], len(names)
        named = (class_ids >= 0) & (class_ids < unknown)
        table: Mask = self._allowed_by_class[np.where(named, class_ids, unknown)]
        return table


def _pairs(table: NDArray[Any]) -> zip[tuple[int, int]]:
    """Row and column of every entry of ``table`` [N, P] that is not 0."""
    rows, columns = np.nonzero(table)
    return zip(rows.tolist(), columns.tolist(), strict=True)


def _anchors(tracks: Tracks) -> tuple[F64, F64]:
    """Where objects stand, [N, 2], and the width and height of their boxes."""
    xyxy = tracks.xyxy.astype(np.float64)
    anchors = xyxy[:, 2:].copy()
    anchors[:, 0] = (xyxy[:, 0] + xyxy[:, 2]) / 2
    anchors = np.minimum(np.maximum(anchors, EDGE), 1 - EDGE)
    return anchors, np.maximum(xyxy[:, 2:] - xyxy[:, :2], MIN_SIZE)
