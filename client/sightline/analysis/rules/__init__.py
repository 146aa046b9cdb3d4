"""Rules: tracks in, events out. A pure function of tracks in time; ``docs/rules.md`` has its meaning.

An object meets a place with its anchor, the bottom centre of its box. A crossing is first *pending*: it
becomes an event when the anchor is clearly away from the line (or the zone's edge), or has kept a little
distance for a second, and the object itself has moved since it was first seen or crossed there last: a parked
car whose box trembles or is half hidden now and then goes nowhere. A crossing back takes a pending one away,
so an anchor that trembles on a line makes no event, while its time stays that of the crossing itself,
interpolated between two frames. All distances are in units of the object's own box, all times in seconds, so
the frame rate does not matter.
"""

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
from sightline.analysis.rules.track_states import (
    F64,
    Mask,
    States,
    TrackMemory,
    blank,
    load_events,
    pairs,
    unmoved,
)
from sightline.analysis.saved import from_json
from sightline.base.geometry import travelled
from sightline.config.zones import EDGE, Line, Zone
from sightline.entities import Event, EventEnd, EventKind, Tracks, lasts

NEAR = 0.05  # box sizes from the line; nearer than this may be a trembling anchor
CLEAR = 0.15  # box sizes from the line: the crossing is certain
MOVED = 0.3  # box sizes that both of two opposite sides have moved: it is no box that was cut or trembles
#: Times as far, before a track crosses a line or enters a zone again: who is hidden from the left, and then
#: from the right, has gone nowhere. In and out of a zone people go by small steps.
LINE_AGAIN, ZONE_AGAIN = 2.0, 1.5
GROWN = 1.25  # or width and height have both become so many times what they were, or a part
STEADY_S = 1.0  # in the mean of so long, since a trembling box jumps; twice as far counts at once
SETTLE_S = 1.0  # with a little distance for so long, the crossing is certain too
LOST_SLACK_S = 0.5  # the tracker ends its tracks first: a track that comes back goes on with the same visit
UNSEEN_S = 1.0  # a crossing between sightings further apart was not seen
SILENT_SLACK_S = 20.0  # the wall clock waits so much longer than max_gap_s: frames may only be late
MIN_SIZE = 1e-3
MAX_PENDING_EVENTS = 32  # of a track that is not confirmed
EPSILON_S = 1e-3


class Rules(Observer):
    """The lines and zones of one camera. Belongs to one thread."""

    name = "rules"

    def __init__(
        self, options: AnalysisOptions, classes: ClassTable, *, state: Mapping[str, Any] | None = None
    ) -> None:
        """Begin, or go on from a :meth:`snapshot`; a place that has changed since then begins anew.

        New names may be added to ``classes`` later.

        Raises:
            ValueError: ``state`` is not a snapshot that this version understands.
        """
        self._classes = classes
        self._watched_s = 0.0  # at the newest frame
        self._events: list[Event | EventEnd] = []  # certain, and not handed out yet
        self._stream: tuple[float, float] | None = None  # capture time at its opening, media time less it now
        self._silent_since: float | None = None  # on the wall clock
        self._use(options)
        self._memory = TrackMemory(blank(0, len(self._names)))
        self._since: float | None = None  # capture time; no track has been at a place before
        if state is not None:
            self._restore(state)

    def update(self, options: AnalysisOptions) -> None:
        """Other options hold from the next frame on. A place that moved begins anew, the others go on."""
        state = self.snapshot()
        watched_s, had_places = self._watched_s, bool(self._names)
        self._use(options)
        self._restore(state)
        self._memory.states["seen_s"] += watched_s
        if not self._names:
            self._memory.states = blank(0, 0)
        elif not had_places:
            self._since = None
        else:
            live = set(self._memory.states["id"].tolist())
            self._memory.retired = {i: n for i, n in self._memory.retired.items() if i in live}

    def _use(self, options: AnalysisOptions) -> None:
        lines, zones = options.lines, options.zones
        self._options = options
        self._names = [*lines, *zones]
        self._first_zone = len(lines)
        places: list[Line | Zone] = [*lines.values(), *zones.values()]
        self._shapes = Shapes(places, len(lines))
        self._points = {f"line:{name}": line.points for name, line in lines.items()}
        self._points |= {f"zone:{name}": zone.points for name, zone in zones.items()}
        self._loiter_s = np.array([getattr(place, "loiter_s", None) or math.inf for place in places])
        self._loiters = bool(np.isfinite(self._loiter_s).any())
        self._occupancy = Occupancy(options.camera, zones)
        self._wanted = [options.classes if place.classes is None else place.classes for place in places]
        self._allowed_for: tuple[str, ...] | None = None  # the names that the table below is of
        self._allowed_by_class = np.zeros((0, 0), bool)

    def observe(self, seen: Observation) -> list[Event | EventEnd]:
        """Take in one frame, also when it shows no track; its events are in no order of time."""
        tracks, moment, memory = seen.tracks, seen.moment, self._memory
        memory.time, self._watched_s = moment.capture_time, moment.watched_s
        opened = memory.time if seen.frame.index == 0 or self._stream is None else self._stream[0]
        self._stream = (opened, seen.frame.media_s - memory.time)
        if not self._names:
            return self.take()
        if self._since is None:
            self._since = moment.capture_time
        if moment.blind:
            self._end_tracks(np.ones(len(memory.states), bool))
        if len(tracks):
            self._see(tracks)
        states = memory.states
        if len(states) > len(tracks):
            over = self._watched_s - states["seen_s"] > self._options.tracker.max_lost_s + LOST_SLACK_S
            if over.any():
                self._end_tracks(over)
        events = self.take()
        if self._occupancy:
            events += self._occupancy.observe(self._present(), moment.capture_time, self._placed)
        return events

    @property
    def occupancy(self) -> dict[str, int]:
        """By zone, how many confirmed tracks are in it."""
        names = self._names[self._first_zone :]
        return dict(zip(names, self._present().tolist(), strict=True)) if names else {}

    def _present(self) -> NDArray[np.int64]:
        """Int [zones]: how many confirmed tracks are in each."""
        states = self._memory.states
        inside = states["inside"][:, self._first_zone :] & states["confirmed"][:, None]
        return np.asarray(inside.sum(axis=0), np.int64)

    def end(self, time: float) -> list[Event | EventEnd]:
        """End every track: the stream has ended, or its picture has another size."""
        self._memory.time = time
        self._end_tracks(np.ones(len(self._memory.states), bool))
        self._events += self._occupancy.end(time)
        return self.take()

    def tick(self, now: float, silent: bool) -> list[Event | EventEnd]:
        """Visits end when frames no longer come.

        After ``max_gap_s`` + :data:`SILENT_SLACK_S` without a frame every open visit ends at its last
        sighting; anyone still there when frames resume starts a new one.
        """
        if not silent or self._silent_since is None or now < self._silent_since:
            self._silent_since = now
        if now - self._silent_since > self._options.max_gap_s + SILENT_SLACK_S:
            self._end_visits(True)
            self._events += self._occupancy.end(self._memory.time)
        return self.take()

    def snapshot(self) -> JSON:
        """JSON-able state for a successor; take it with the events handed out and commit both together."""
        state = self._memory.dump(self._watched_s, self._points)
        return state | {"since": self._since, "crowds": self._occupancy.snapshot()}

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._memory = memory = TrackMemory.load(state, self._points)
        self._events += memory.ended
        self._since = from_json(float | None, state.get("since", memory.time))
        unmoved_zones = {key.removeprefix("zone:") for key in unmoved(state, self._points)}
        crowds = state.get("crowds", {})
        self._events += self._occupancy.restore(crowds, unmoved_zones, memory.time)
        if len(memory.states) and self._names:
            distances = self._shapes.distances(memory.states["xy"], memory.states["size"])
            memory.states["armed"] |= distances >= NEAR

    def take(self) -> list[Event | EventEnd]:
        """What is certain and has not been handed out yet: ends that a change or another state brought."""
        events, self._events = self._events, []
        return events

    def _see(self, tracks: Tracks) -> None:
        """Take in the tracks of a frame, one or more."""
        corners = tracks.xyxy.T.astype(np.float64)
        sizes = np.maximum(corners[2:] - corners[:2], MIN_SIZE).T
        anchors = corners[2:].copy()
        anchors[0] = (corners[0] + corners[2]) / 2
        anchors = np.minimum(np.maximum(anchors, EDGE), 1 - EDGE).T
        memory = self._memory
        rows, known = memory.rows_of(tracks.ids)
        if not known.all():
            new = blank(int((~known).sum()), len(self._names))
            new["id"], new["xy"], new["seen_s"] = tracks.ids[~known], anchors[~known], -np.inf
            new["first_time"] = tracks.first_times[~known]
            new["time"] = np.maximum(new["first_time"], self._since or 0.0)
            new["steady"], new["box"] = corners.T[~known], corners.T[~known, None]
            new["moved"][:, : self._first_zone] = False  # who appears in a zone is in it
            memory.add(new, list(self._points))
            rows, _ = memory.rows_of(tracks.ids)
        every = len(rows) == len(memory.states) and bool((rows[1:] > rows[:-1]).all())
        states = memory.states if every else memory.states.take(rows)
        late = 1 - np.exp(-np.maximum(memory.time - states["time"], 0) / STEADY_S)[:, None]
        steady = states["steady"] + late * (corners.T - states["steady"])
        states["steady"] = np.where(np.isnan(steady), corners.T, steady)
        distances = self._move(states, anchors, sizes)
        _note_movement(states, corners, self._first_zone)
        states["class_id"] = tracks.class_ids
        fresh = tracks.confirmed & ~states["confirmed"]
        if fresh.any():
            states["confirmed"] |= fresh
            for row in np.flatnonzero(fresh).tolist():
                self._release(states[row])
        pending = states["pending"]
        if pending.any():
            lasting = memory.time - states["clear_since"] >= SETTLE_S - EPSILON_S
            certain = (pending != 0) & ((distances >= CLEAR) | lasting) & self._may_settle(states)
            for row, index in pairs(certain):
                self._settle(states[row], index)
                states["moved"][row, index], states["box"][row, index] = False, states["steady"][row]
        if self._loiters and (due := states["inside"] & ~states["loitered"]).any():
            due &= (states["pending"] == 0) & states["confirmed"][:, None]
            due &= memory.time - states["entered"] >= self._loiter_s - EPSILON_S
            for row, index in pairs(due):
                track = states[row]
                track["pending_xy"][index], track["unseen"][index] = track["xy"], False
                self._emit_loiter(track, index)
        if not every:
            np.put(memory.states, rows, states)

    def _move(self, states: States, anchors: F64, sizes: F64) -> F64:
        """Record crossings since the sightings before; how far tracks are from each place now, [N, P]."""
        zone, now = self._first_zone, self._memory.time
        directions, fractions, here = self._shapes.crossings(states["xy"], anchors)
        directions[:, :zone] *= states["armed"][:, :zone]
        directions[:, zone:] = here.astype(np.int8) - states["inside"][:, zone:] - states["pending"][:, zone:]
        clear_since = np.minimum(states["clear_since"], now)
        if directions.any():
            for row, index in pairs(directions):
                direction, fraction = int(directions[row, index]), float(fractions[row, index])
                self._cross(states[row], index, direction, fraction, anchors[row])
            clear_since[directions != 0] = now
        distances = self._shapes.distances(anchors, sizes)
        clear = distances >= NEAR
        states["clear_since"] = np.where(clear, clear_since, np.inf)
        states["armed"] |= clear
        states["xy"], states["size"], states["time"], states["seen_s"] = anchors, sizes, now, self._watched_s
        return distances

    def _cross(self, track: np.void, index: int, direction: int, fraction: float, anchor: F64) -> None:
        """Record a crossing at ``fraction`` of the way to ``anchor``.

        ``fraction`` < 0 means that it was never observed: the track appeared inside.
        """
        before, now = float(track["time"]), self._memory.time
        track["pending"][index] = max(-1, min(1, int(track["pending"][index]) + direction))
        track["unseen"][index] = fraction < 0 or now - before > UNSEEN_S
        if fraction < 0:
            fraction = 0.0 if np.isneginf(track["seen_s"]) else 1.0
        track["pending_time"][index] = before + (now - before) * fraction
        track["pending_xy"][index] = track["xy"] + (anchor - track["xy"]) * fraction

    def _release(self, track: np.void) -> None:
        """A track is confirmed: hand out the events that waited for it."""
        allowed = self._allowed(track["class_id"])
        item_class = self._classes.name(int(track["class_id"]))
        for index, event, ended in self._memory.pending.pop(int(track["id"]), ()):
            if allowed[index]:
                certain = replace(event, item_class=item_class, confirmed_time=self._memory.time)
                self._hand_out(index, certain, ended)
        # A visit of a class that does not count here waits: the vote may change while it lasts.
        waits = track["inside"] & ~allowed
        track["moved"][waits] = True
        track["pending"][waits] += 1
        track["pending_time"][waits] = track["entered"][waits]
        track["inside"][waits] = False

    # -- ends ------------------------------------------------------------------------------------

    def _end_tracks(self, over: Mask) -> None:
        """End the tracks that ``over`` [N] marks."""
        self._end_visits(over)
        self._memory.forget(over)

    def _end_visits(self, which: Mask | bool) -> None:
        """Settle what tracks had pending at their last sighting, and end their visits there."""
        states = self._memory.states
        busy = which & (states["inside"] | (states["pending"] != 0)).any(axis=1)
        certain = (states["pending"] != 0) & np.isfinite(states["clear_since"]) & self._may_settle(states)
        for row in np.flatnonzero(busy).tolist():
            track = states[row]
            for index in np.flatnonzero(certain[row]).tolist():
                self._settle(track, index)
            track["pending"], track["moved"][self._first_zone :] = 0, True  # it may enter anew
            for index in np.flatnonzero(track["inside"]).tolist():
                track["pending_xy"][index], track["unseen"][index] = track["xy"], True
                self._leave(track, index, float(track["time"]))

    # -- events ----------------------------------------------------------------------------------

    def _may_settle(self, states: States) -> Mask:
        """Bool [N, P]: it has moved, and its class counts, is not confirmed yet, or had entered there."""
        free: Mask = self._allowed(states["class_id"]) | ~states["confirmed"][:, None] | states["inside"]
        free &= states["moved"]
        return free

    def _settle(self, track: np.void, index: int) -> None:
        direction, track["pending"][index] = int(track["pending"][index]), 0
        time = float(track["pending_time"][index])
        if index < self._first_zone:
            way = "forward" if direction > 0 else "backward"
            self._emit(track, index, EventKind.CROSSING, time, direction=way)
        elif direction > 0:
            track["inside"][index], track["loitered"][index], track["entered"][index] = True, False, time
            self._emit(track, index, EventKind.ENTER, time)
        else:
            self._leave(track, index, time)

    def _leave(self, track: np.void, index: int, time: float) -> None:
        """End a visit; if it was long enough and no frame saw that, it has been loitering as well."""
        entered = float(track["entered"][index])
        if time - entered >= self._loiter_s[index] and not track["loitered"][index]:
            self._emit_loiter(track, index)
        track["inside"][index] = False
        self._emit(track, index, EventKind.LEAVE, time, value=max(0.0, time - entered))
        memory, track_id = self._memory, int(track["id"])
        going_on = memory.open.pop(track_id, [])
        self._events += [EventEnd(event, time) for at, event, _ in going_on if at == index]
        if others := [item for item in going_on if item[0] != index]:
            memory.open[track_id] = others
        for number, (at, event, ended) in enumerate(memory.pending.get(track_id, ())):
            if at == index and ended is None and lasts(event.kind, event.direction):
                memory.pending[track_id][number] = (at, event, time)

    def _emit_loiter(self, track: np.void, index: int) -> None:
        loiter_s = float(self._loiter_s[index])
        track["loitered"][index] = True
        time = float(track["entered"][index]) + loiter_s
        self._emit(track, index, EventKind.LOITER, time, value=loiter_s)

    def _emit(self, track: np.void, index: int, kind: EventKind, time: float, **details: Any) -> None:
        track_id, (x, y) = int(track["id"]), track["pending_xy"][index].tolist()
        event = Event(
            source=self._options.camera,
            kind=kind,
            place=self._names[index],
            track_id=track_id,
            item_class=self._classes.name(int(track["class_id"])),
            event_time=time,
            confirmed_time=self._memory.time,
            x=x,
            y=y,
            unseen=bool(track["unseen"][index]),
            first_time=float(track["first_time"]),
            ordinal=int(track["ordinal"][index]),
            **details,
        )
        event = self._placed(event)
        track["ordinal"][index] += 1
        if index >= self._first_zone:
            self._occupancy.changed(event.place, time)
        if track["confirmed"]:
            self._hand_out(index, event)
            return
        pending = self._memory.pending.setdefault(track_id, [])
        if len(pending) < MAX_PENDING_EVENTS:
            pending.append((index, event, None))

    def _hand_out(self, index: int, event: Event, ended: float | None = None) -> None:
        self._events.append(event)
        if ended is not None:
            self._events.append(EventEnd(event, ended))
        elif lasts(event.kind, event.direction):
            self._memory.open.setdefault(event.track_id, []).append((index, event, None))

    def _placed(self, event: Event) -> Event:
        """The event with its position in the stream, where the stream was open then."""
        if self._stream is None or event.event_time < self._stream[0]:
            return event
        return replace(event, media_s=event.event_time + self._stream[1])

    def _allowed(self, class_ids: NDArray[np.int32]) -> Mask:
        """Bool [N, P]: the class makes events at the place."""
        names = self._classes.names
        if names is not self._allowed_for:
            allowed = [[wanted is None or name in wanted for wanted in self._wanted] for name in names]
            allowed.append([wanted is None for wanted in self._wanted])  # an id without a name
            self._allowed_by_class = np.array(allowed, bool).reshape(len(allowed), len(self._wanted))
            self._allowed_for = names
        unknown = len(names)
        named = (class_ids >= 0) & (class_ids < unknown)
        table: Mask = self._allowed_by_class[np.where(named, class_ids, unknown)]
        return table


def open_events(state: Mapping[str, Any]) -> list[Event]:
    """The events that go on, by a :meth:`Rules.snapshot`; ValueError: it is none."""
    visits = [event for track in load_events(state.get("open", {})).values() for _, event, _ in track]
    crowds = [from_json(Event | None, zone.get("event")) for zone in state.get("crowds", {}).values()]
    return [*visits, *filter(None, crowds)]


def _note_movement(states: States, corners: F64, first_zone: int) -> None:
    """Note at which places tracks have really moved; ``corners`` [4, N] are their boxes in this frame.

    Places from ``first_zone`` on are zones.
    """
    rows, places = np.nonzero(~states["moved"])
    if not len(rows):
        return
    old = states["box"][rows, places].T
    old_sides = np.maximum(old[2:] - old[:2], MIN_SIZE)
    again = (states["ordinal"][rows, places] > 0) & ~states["inside"][rows, places]
    times = np.where(again, np.where(places < first_zone, LINE_AGAIN, ZONE_AGAIN), 1)
    for new, sure in ((states["steady"][rows].T, times), (corners[:, rows], 2 * times)):
        sides = np.maximum(new[2:] - new[:2], MIN_SIZE)
        growth, moved = sides / old_sides, travelled(old, new) >= MOVED * sure
        moved |= (growth.min(axis=0) >= GROWN**sure) | (growth.max(axis=0) <= GROWN**-sure)
        states["moved"][rows, places] |= moved
