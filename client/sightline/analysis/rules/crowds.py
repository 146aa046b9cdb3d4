"""Occupancy: how many are in a zone at once, and when that becomes too many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.config.zones import Zone
from sightline.entities import Event, EventKind

HOLD_S = 1.0  # above, or below again, for so long: then it is an event
_EPSILON_S = 1e-3


@dataclass(slots=True)
class _Crowd:
    column: int
    most: int
    above: bool = False  # as the last event said
    since: float | None = None  # frame since when it is otherwise
    begun: float = 0.0  # the passage that made it otherwise
    changed: float | None = None  # newest passage of its edge


class Crowds:
    """The zones with ``max_occupancy``. Belongs to one thread."""

    def __init__(self, source: str, zones: Mapping[str, Zone]) -> None:
        self._source = source
        self._crowds = {
            name: _Crowd(column, zone.max_occupancy)
            for column, (name, zone) in enumerate(zones.items())
            if zone.max_occupancy is not None
        }

    def changed(self, zone: str, time: float) -> None:
        """Somebody entered or left at ``time``."""
        if zone in self._crowds:
            self._crowds[zone].changed = time

    def observe(self, present: NDArray[np.int64], time: float) -> list[Event]:
        """A frame of capture time ``time``: ``present`` [zones] confirmed tracks are inside."""
        return [
            event for name, crowd in self._crowds.items() for event in self._see(name, crowd, present, time)
        ]

    def _see(self, name: str, crowd: _Crowd, present: NDArray[np.int64], time: float) -> list[Event]:
        count, changed = int(present[crowd.column]), crowd.changed
        crowd.changed = None
        if (count > crowd.most) == crowd.above:
            crowd.since = None
            return []
        if crowd.since is None:
            crowd.since, crowd.begun = time, time if changed is None else changed
        if time - crowd.since < HOLD_S - _EPSILON_S:
            return []
        crowd.above, crowd.since = not crowd.above, None
        return [
            Event(
                source=self._source,
                kind=EventKind.OCCUPANCY,
                place=name,
                track_id=0,
                item_class="",
                event_time=crowd.begun,
                confirmed_time=time,
                direction="above" if crowd.above else "below",
                value=float(count),
                first_time=crowd.begun,
            )
        ]

    def snapshot(self) -> dict[str, Any]:
        """JSON-able state by zone."""
        return {
            name: {"most": crowd.most, "above": crowd.above, "since": crowd.since, "begun": crowd.begun}
            for name, crowd in self._crowds.items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a snapshot; zones whose bound has changed begin anew."""
        for name, saved in state.items():
            crowd = self._crowds.get(name)
            if crowd is not None and crowd.most == saved["most"]:
                crowd.above, crowd.since = bool(saved["above"]), saved["since"]
                crowd.begun = float(saved["begun"])
