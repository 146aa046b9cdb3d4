"""The truth of a run: frame by frame, and what happened in it. Pure arithmetic: no picture is drawn.

Crossings, visits to zones and violations are exact in time, whatever the frame rate.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from sightline.simulation.scenes.scene import still_of, world_of
from sightline.simulation.scenes.scene_places import Places, Point, SceneLine, SceneZone, places_of
from sightline.simulation.scenes.spec import SceneSpec, camera_of
from sightline.simulation.scenes.visibility import FrameTruth, TruthObserver
from sightline.simulation.scenes.world import STEP_S, Actor, ActorState, Placed, Snapshot

VEHICLES = ("car", "van", "truck", "bus", "motorcycle")
_HALVINGS = 24  # of a step, when looking for the moment of entry


@dataclass(frozen=True, slots=True)
class Crossing:
    """An actor's place on the ground went over a line, at x and y (metres)."""

    time_s: float
    line: str
    id: int
    kind: str
    direction: str  # forward, or backward
    speed: float
    x: float
    y: float


@dataclass(slots=True)
class Visit:
    """An actor's place on the ground was in a zone; ``leave_s`` is None when the run ended first."""

    zone: str
    id: int
    kind: str
    enter_s: float
    leave_s: float | None = None

    @property
    def dwell_s(self) -> float | None:
        """Seconds in the zone."""
        return None if self.leave_s is None else self.leave_s - self.enter_s


@dataclass(slots=True)
class Violation:
    """A rule was broken from ``time_s`` on; ``value`` is a top speed in m/s, or what was missing."""

    time_s: float
    rule: str
    id: int
    kind: str
    value: float | str = ""
    end_s: float | None = None


def frames(spec: SceneSpec, fps: float, length_s: float) -> Iterator[FrameTruth]:
    """The truth of every frame: frame i is at i / fps seconds."""
    observer, world = TruthObserver(camera_of(spec), still_of(spec)), world_of(spec)
    for i in range(round(length_s * fps)):
        yield observer.look(world.at(i / fps))


def run(spec: SceneSpec, length_s: float) -> "RunTruth":
    """What happens in the scene."""
    result, world = RunTruth(spec, length_s, places_of(spec.scene)), world_of(spec)
    before, after = world.step()
    while before.time_s < length_s - 1e-9:
        result.step(before, after)
        before, after = world.step()
    result.crossings.sort(key=lambda c: (c.time_s, c.id))
    return result


def meeting(line: SceneLine, p: Point, q: Point) -> tuple[float, bool] | None:
    """Where (0..1) the way from p to q crosses the line, and whether forward; None when it does not."""
    along = line.b[0] - line.a[0], line.b[1] - line.a[1]
    before, after = (along[0] * (y - line.a[1]) - along[1] * (x - line.a[0]) for x, y in (p, q))
    if (before >= 0) == (after >= 0):
        return None
    share = before / (before - after)
    x, y = p[0] + (q[0] - p[0]) * share, p[1] + (q[1] - p[1]) * share
    place = ((x - line.a[0]) * along[0] + (y - line.a[1]) * along[1]) / (along[0] ** 2 + along[1] ** 2)
    return (share, after >= 0) if 0 <= place <= 1 else None


def inside(points: Sequence[Point], x: float, y: float) -> bool:
    """Whether a point lies in a polygon."""
    odd = False
    for (xa, ya), (xb, yb) in zip(points, [*points[1:], points[0]], strict=True):
        if (ya > y) != (yb > y) and x < xa + (y - ya) / (yb - ya) * (xb - xa):
            odd = not odd
    return odd


class RunTruth:
    """Everything that happened from time 0 to ``length_s``, recorded step by step. One thread."""

    def __init__(self, spec: SceneSpec, length_s: float, places: Places) -> None:
        self.spec, self.length_s, self._places = spec, length_s, places
        self.crossings: list[Crossing] = []
        self.visits: list[Visit] = []
        self.violations: list[Violation] = []
        self._actors: dict[int, Actor] = {}
        self._open: dict[tuple[str, int], Visit] = {}
        self._speeding: dict[int, Violation] = {}

    @property
    def actors(self) -> list[Actor]:
        """All who were there, by ascending id."""
        return [actor for _, actor in sorted(self._actors.items())]

    def occupancy(self) -> dict[str, dict[str, list[tuple[float, int]]]]:
        """For each zone and class: (second, how many from then on), at every change."""
        moves: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
        for visit in self.visits:
            moves[visit.zone, visit.kind].append((visit.enter_s, 1))
            if visit.leave_s is not None:
                moves[visit.zone, visit.kind].append((visit.leave_s, -1))
        series: dict[str, dict[str, list[tuple[float, int]]]] = defaultdict(dict)
        for (zone, kind), changes in sorted(moves.items()):
            times, steps = zip(*sorted(changes), strict=True)
            series[zone][kind] = list(zip(times, accumulate(steps), strict=True))
        return dict(series)

    def step(self, before: Snapshot, after: Snapshot) -> None:
        """Take in one step of the world."""
        if after.time_s <= 1e-9:
            return
        earlier = {actor.id: state for actor, state in before.bodies}
        for actor, now in after.bodies:
            self._actors.setdefault(actor.id, actor)
            was = earlier.get(actor.id, now)
            self._cross(actor, was, now, before)
            for zone in self._places.zones:
                self._visit(zone, (actor, now), was, before.time_s)
            if self._places.speed_limit is not None and actor.kind in VEHICLES:
                speed = math.hypot(now.x - was.x, now.y - was.y) / STEP_S
                open_one = self._speeding.get(actor.id)
                if speed > self._places.speed_limit:
                    if open_one is None:
                        open_one = self._violate(before.time_s, "speeding", actor, speed)
                        self._speeding[actor.id] = open_one
                    open_one.value = max(float(open_one.value), speed)
                elif open_one is not None:
                    self._speeding.pop(actor.id).end_s = before.time_s
        here = {actor.id for actor, _ in after.bodies}
        for key in [key for key in self._open if key[1] not in here]:
            self._open.pop(key).leave_s = before.time_s
        for number in self._speeding.keys() - here:
            self._speeding.pop(number).end_s = before.time_s

    def _cross(self, actor: Actor, was: ActorState, now: ActorState, before: Snapshot) -> None:
        p, q = (was.x, was.y), (now.x, now.y)
        who, speed = (actor.id, actor.kind), math.dist(p, q) / STEP_S
        for line in self._places.lines:
            if (met := meeting(line, p, q)) is not None:
                share, way = met[0], "forward" if met[1] else "backward"
                at = p[0] + (q[0] - p[0]) * share, p[1] + (q[1] - p[1]) * share
                time_s = before.time_s + share * STEP_S
                self.crossings.append(Crossing(time_s, line.name, *who, way, speed, *at))
        if before.signal in ("red", "walk") and actor.kind in VEHICLES:
            half = actor.size[0] / 2  # its nose counts, not its middle
            p, q = ((s.x + half * math.cos(s.heading), s.y + half * math.sin(s.heading)) for s in (was, now))
            for line in self._places.stop_lines:
                if (met := meeting(line, p, q)) is not None and met[1]:
                    time_s = before.time_s + met[0] * STEP_S
                    self._violate(time_s, "red light", actor, line.name).end_s = time_s

    def _violate(self, time_s: float, rule: str, actor: Actor, value: float | str) -> Violation:
        self.violations.append(Violation(time_s, rule, actor.id, actor.kind, value))
        return self.violations[-1]

    def _visit(self, zone: SceneZone, placed: Placed, was: ActorState, time_s: float) -> None:
        actor, now = placed
        key = zone.name, actor.id
        visit, here = self._open.get(key), inside(zone.points, now.x, now.y)
        if here and visit is None:
            at = time_s if inside(zone.points, was.x, was.y) else _moment(zone, was, now, time_s)
            self._open[key] = Visit(zone.name, actor.id, actor.kind, at)
            self.visits.append(self._open[key])
            if zone.rule == "forbidden" and actor.kind in ("person", "forklift"):
                self._violate(at, "forbidden zone", actor, zone.name)
            if zone.rule == "helmet and vest" and actor.kind == "person":
                for worn in ("helmet", "vest"):
                    if not actor.attributes.get(worn, False):
                        self._violate(at, f"no {worn}", actor, zone.name)
        elif visit is not None and not here:
            visit.leave_s = _moment(zone, was, now, time_s)
            del self._open[key]
        elif visit is not None and zone.rule == "loiter":
            due = visit.enter_s + zone.loiter_s
            if time_s < due <= time_s + STEP_S:
                self._violate(due, "loitering", actor, zone.name)


def _moment(zone: SceneZone, was: ActorState, now: ActorState, time_s: float) -> float:
    """When, within a step, the zone's edge was passed."""
    start, low, high = inside(zone.points, was.x, was.y), 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        x, y = was.x + (now.x - was.x) * middle, was.y + (now.y - was.y) * middle
        low, high = (middle, high) if inside(zone.points, x, y) == start else (low, middle)
    return time_s + high * STEP_S
