"""Occupancy: how many are in a zone at once, and when that becomes too many."""

from collections.abc import Callable, Container, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.analysis.saved import from_json
from sightline.config.zones import Zone
from sightline.entities import Event, EventEnd, EventKind

HOLD_S = 1.0  # above, or below again, for so long: then it is an event
EPSILON_S = 1e-3


@dataclass(slots=True)
class _ZoneState:
    index: int
    max_occupancy: int
    above: bool = False  # as the last event said
    since: float | None = None  # frame since when it is otherwise
    begun: float = 0.0  # when an entry or an exit made it otherwise
    changed: float | None = None  # when a track last entered or left
    event: Event | None = None  # that says "above" and has not ended


class Occupancy:
    """The zones with ``max_occupancy``. Belongs to one thread."""

    def __init__(self, source: str, zones: Mapping[str, Zone]) -> None:
        self._source = source
        self._zones = {
            name: _ZoneState(index, zone.max_occupancy)
            for index, (name, zone) in enumerate(zones.items())
            if zone.max_occupancy is not None
        }

    def __bool__(self) -> bool:
        return bool(self._zones)

    def changed(self, name: str, time: float) -> None:
        """A track entered or left at ``time``."""
        if name in self._zones:
            self._zones[name].changed = time

    def observe(
        self, present: NDArray[np.int64], time: float, placed: Callable[[Event], Event] = lambda event: event
    ) -> list[Event | EventEnd]:
        """A frame of capture time ``time``: ``present`` [zones] confirmed tracks are inside.

        ``placed`` gives an event its position in the stream.
        """
        events: list[Event | EventEnd] = []
        for name, zone in self._zones.items():
            count, changed, zone.changed = int(present[zone.index]), zone.changed, None
            if (count > zone.max_occupancy) == zone.above:
                zone.since = None
                continue
            if zone.since is None:
                zone.since, zone.begun = time, time if changed is None else changed
            if time - zone.since < HOLD_S - EPSILON_S:
                continue
            zone.above, zone.since = not zone.above, None
            event = Event(
                source=self._source,
                kind=EventKind.OCCUPANCY,
                place=name,
                track_id=0,
                item_class="",
                event_time=zone.begun,
                confirmed_time=time,
                direction="above" if zone.above else "below",
                value=float(count),
                first_time=zone.begun,
            )
            event = placed(event)
            events += [event, *_ended(zone, zone.begun)]
            zone.event = event if zone.above else None
        return events

    def end(self, time: float) -> list[EventEnd]:
        """Nothing is seen any more: what lasts ends."""
        return [end for zone in self._zones.values() for end in _ended(zone, time)]

    def snapshot(self) -> dict[str, Any]:
        """JSON-able state by zone."""
        return {
            name: {
                "most": zone.max_occupancy,
                "above": zone.above,
                "since": zone.since,
                "begun": zone.begun,
                "event": None if zone.event is None else asdict(zone.event),
            }
            for name, zone in self._zones.items()
        }

    def restore(self, state: Mapping[str, Any], unmoved: Container[str], time: float) -> list[EventEnd]:
        """Go on from a snapshot; zones that have moved, or whose bound has changed, begin anew.

        Gives the ends, at ``time``, of what lasted there.
        """
        ends: list[EventEnd] = []
        for name, saved in state.items():
            event = from_json(Event | None, saved.get("event"))
            zone = self._zones.get(name)
            if zone is not None and zone.max_occupancy == saved["most"] and name in unmoved:
                zone.above, zone.begun = bool(saved["above"]), from_json(float, saved["begun"])
                zone.since, zone.event = from_json(float | None, saved["since"]), event
            elif event is not None:
                ends.append(EventEnd(event, time))
        return ends


def _ended(zone: _ZoneState, time: float) -> list[EventEnd]:
    event, zone.event = zone.event, None
    return [] if event is None else [EventEnd(event, time)]
