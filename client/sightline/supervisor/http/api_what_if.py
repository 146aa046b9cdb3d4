"""The API that tells what a camera's other lines, zones and classes would have made of its kept tracks."""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import Field
from starlette.exceptions import HTTPException

from sightline.access.rights import Right
from sightline.analysis.options import analysis_options
from sightline.analysis.what_if import Way, WhatIf, compare, ways_of
from sightline.base.threads import SideThreads
from sightline.config import Camera
from sightline.entities import Event
from sightline.store.read.kept_ways import read_track_paths
from sightline.store.read.readonly import Database
from sightline.supervisor.control import Control
from sightline.supervisor.http.endpoint import Call, Endpoint, Taken, not_there

DEADLINE_S = 20.0  # the wait for another comparison included
PLAY_S = 10.0
MAX_PIECES = 20_000  # of ways; the newest
MAX_EXAMPLES = 5  # of each kind at each place that come, and that go
FEW_TRACKS = 20


class OtherOptions(Taken):
    """What is tried on which tracks."""

    value: Any = Field(description="What would stand in the file of the camera; masked as it was read.")
    hours: float = Field(24.0, gt=0, le=24 * 14, description="Tracks of so many hours up to now.")


@dataclass(frozen=True, slots=True)
class ChangedEvent:
    """An event that there would have been besides, or would not have been."""

    added: bool
    time: float
    track_id: int
    item_class: str
    way: list[tuple[float, float]]  # of the track's foot, in shares of the picture; of no track: none


@dataclass(slots=True)
class PlaceChange:
    """Events of a kind at a line or zone, by what is in force and by what is tried."""

    place: str
    kind: str
    direction: str | None  # of crossings
    before: int = 0
    after: int = 0
    examples: list[ChangedEvent] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class WhatIfAnswer:
    """What would have changed."""

    start: float  # of the first track that was looked at, and the present
    end: float
    tracks: int
    note: str  # why that tells little; "": it does not
    places: list[PlaceChange]


class WhatIfApi:
    """Compares, one after the other, in a thread.

    Args:
        control: of the configuration.
        database: where tracks are kept.
    """

    def __init__(self, control: Control, database: Database) -> None:
        self._control, self._database = control, database
        self._threads = SideThreads("what-if", 1)

    def endpoints(self) -> list[Endpoint]:
        """The one there is."""
        path = "/api/v1/cameras/{camera}/what-if"
        kinds: dict[str, Any] = {"takes": OtherOptions, "gives": WhatIfAnswer, "long": True}
        return [
            Endpoint("POST", path, Right.WRITE_CONFIG, self._try, camera="camera", max_body=1 << 20, **kinds)
        ]

    def _try(self, call: Call) -> WhatIfAnswer:
        """What other lines, zones and classes would have made of a camera's kept tracks; nothing changes."""
        name, now = call.camera or "", time.time()
        before = self._control.config.cameras.get(name)
        if before is None:
            raise not_there(f"camera {name!r}")
        after = self._control.camera_with(name, call.taken.value)
        start = now - 3600 * call.taken.hours
        with self._database.reading() as connection:
            paths = read_track_paths(connection, call.cameras, (start, now), [name], MAX_PIECES)
        ways = ways_of(paths)
        if paths:
            start = max(start, paths[-1].start_time)
        note = _note(before, len(ways), call.taken.hours)
        try:
            found = self._threads.run(partial(_compared, ways, before, after), DEADLINE_S)
        except TimeoutError:
            text = f"{len(ways)} tracks are too many to be compared within {PLAY_S:g} s; take fewer hours"
            raise HTTPException(503, text) from None
        return WhatIfAnswer(start, now, len(ways), note, _by_place(found, ways))


def _compared(ways: Sequence[Way], before: Camera, after: Camera) -> WhatIf:
    until_s = time.monotonic() + PLAY_S

    def step() -> None:
        if time.monotonic() > until_s:
            raise TimeoutError
        time.sleep(0)  # other threads of the program first

    score = after.detect.min_score
    return compare(
        ways,
        analysis_options(before),
        analysis_options(after),
        min_score=score if score > before.detect.min_score else 0.0,
        step=step,
    )


def _note(camera: Camera, tracks: int, hours: float) -> str:
    if not tracks and not camera.track_log.paths:
        return "This camera keeps no tracks: track_log.paths is off."
    if not tracks:
        return f"No track was kept in the last {hours:g} h: nothing can be told."
    if tracks < FEW_TRACKS:
        number = f"{tracks} tracks were" if tracks > 1 else "one track was"
        return f"Only {number} kept in the last {hours:g} h: too few to rely on."
    return ""


def _by_place(found: WhatIf, ways: Sequence[Way]) -> list[PlaceChange]:
    """Those with the largest difference first."""
    way_of = {(way.track_id, float(way.times[0])): way for way in ways}
    changes: dict[tuple[str, str, str | None], PlaceChange] = {}

    def change_of(event: Event) -> PlaceChange:
        key = (event.place, event.kind.value, event.direction)
        return changes.setdefault(key, PlaceChange(*key))

    for event in found.before:
        change_of(event).before += 1
    for event in found.after:
        change_of(event).after += 1
    for added, events in ((True, found.added), (False, found.gone)):
        shown: defaultdict[int, int] = defaultdict(int)
        for event in reversed(events):  # the newest first
            change = change_of(event)
            shown[id(change)] += 1
            if shown[id(change)] > MAX_EXAMPLES:
                continue
            way = way_of.get((event.track_id, event.first_time))  # None: what is of all that are in a zone
            foot = [] if way is None else [(round(x, 4), round(y, 4)) for x, y in way.places[:, :2].tolist()]
            change.examples.append(
                ChangedEvent(added, event.event_time, event.track_id, event.item_class, foot)
            )
    return sorted(changes.values(), key=lambda change: (-abs(change.after - change.before), change.place))
