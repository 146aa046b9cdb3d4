"""What happened in a run: crossings, visits to zones, violations; exact in time, whatever the frame rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sightline.simulation.scenes.scene_places import Places, Point, SceneLine, SceneZone
from sightline.simulation.scenes.world import STEP_S, Actor, ActorState, Snapshot

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


def meeting(line: SceneLine, p: Point, q: Point) -> tuple[float, bool] | None:
    """Where (0..1) the way from p to q crosses the line, and whether forward; None when it does not."""
    along = line.b[0] - line.a[0], line.b[1] - line.a[1]
    before = along[0] * (p[1] - line.a[1]) - along[1] * (p[0] - line.a[0])
    after = along[0] * (q[1] - line.a[1]) - along[1] * (q[0] - line.a[0])
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


class TruthRecorder:
    """Records crossings, visits and violations step by step, from time 0 on. One thread."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.crossings: list[Crossing] = []
        self.visits: list[Visit] = []
        self.violations: list[Violation] = []
        self.actors: dict[int, Actor] = {}
        self._open: dict[tuple[str, int], Visit] = {}
        self._speeding: dict[int, Violation] = {}
        self._before: set[int] = set()

    def step(self, before: Snapshot, after: Snapshot) -> None:
        """Take in one step of the world."""
        if after.time_s <= 1e-9:
            return
        earlier = {actor.id: state for actor, state in before.bodies}
        for actor, now in after.bodies:
            self.actors.setdefault(actor.id, actor)
            was = earlier.get(actor.id, now)
            self._cross(actor, was, now, before)
            for zone in self._places.zones:
                self._visit(zone, actor, was, now, before.time_s)
            if self._places.speed_limit is not None and actor.kind in VEHICLES:
                self._watch_speed(actor, was, now, before.time_s)
        here = {actor.id for actor, _ in after.bodies}
        for key in [key for key in self._open if key[1] not in here]:
            self._open.pop(key).leave_s = before.time_s
        for number in [number for number in self._speeding if number not in here]:
            self._speeding.pop(number).end_s = before.time_s

    def _cross(self, actor: Actor, was: ActorState, now: ActorState, before: Snapshot) -> None:
        p, q = (was.x, was.y), (now.x, now.y)
        for line in self._places.lines:
            met = meeting(line, p, q)
            if met is not None:
                direction = "forward" if met[1] else "backward"
                time_s = before.time_s + met[0] * STEP_S
                speed = math.dist(p, q) / STEP_S
                at = p[0] + (q[0] - p[0]) * met[0], p[1] + (q[1] - p[1]) * met[0]
                self.crossings.append(
                    Crossing(time_s, line.name, actor.id, actor.kind, direction, speed, *at)
                )
        if before.signal in ("red", "walk") and actor.kind in VEHICLES:
            self._stop_lines(actor, was, now, before)

    def _stop_lines(self, actor: Actor, was: ActorState, now: ActorState, before: Snapshot) -> None:
        reach = actor.size[0] / 2  # its nose counts, not its middle
        nose = [(s.x + reach * math.cos(s.heading), s.y + reach * math.sin(s.heading)) for s in (was, now)]
        for line in self._places.stop_lines:
            met = meeting(line, nose[0], nose[1])
            if met is not None and met[1]:
                at = before.time_s + met[0] * STEP_S
                self.violations.append(Violation(at, "red light", actor.id, actor.kind, line.name, at))

    def _visit(self, zone: SceneZone, actor: Actor, was: ActorState, now: ActorState, time_s: float) -> None:
        key = zone.name, actor.id
        visit = self._open.get(key)
        here = inside(zone.points, now.x, now.y)
        if here and visit is None:
            at = time_s if inside(zone.points, was.x, was.y) else _moment(zone, was, now, time_s)
            self._open[key] = Visit(zone.name, actor.id, actor.kind, at)
            self.visits.append(self._open[key])
            self._check_entry(zone, actor, at)
        elif visit is not None and not here:
            visit.leave_s = _moment(zone, was, now, time_s)
            del self._open[key]
        elif visit is not None and zone.rule == "loiter":
            due = visit.enter_s + zone.loiter_s
            if time_s < due <= time_s + STEP_S:
                self.violations.append(Violation(due, "loitering", actor.id, actor.kind, zone.name))

    def _check_entry(self, zone: SceneZone, actor: Actor, at: float) -> None:
        if zone.rule == "forbidden" and actor.kind in ("person", "forklift"):
            self.violations.append(Violation(at, "forbidden zone", actor.id, actor.kind, zone.name))
        if zone.rule == "helmet and vest" and actor.kind == "person":
            for worn in ("helmet", "vest"):
                if not actor.attributes.get(worn, False):
                    self.violations.append(Violation(at, f"no {worn}", actor.id, actor.kind, zone.name))

    def _watch_speed(self, actor: Actor, was: ActorState, now: ActorState, time_s: float) -> None:
        speed = math.hypot(now.x - was.x, now.y - was.y) / STEP_S
        open_one = self._speeding.get(actor.id)
        if speed > (self._places.speed_limit or math.inf):
            if open_one is None:
                open_one = Violation(time_s, "speeding", actor.id, actor.kind, speed)
                self._speeding[actor.id] = open_one
                self.violations.append(open_one)
            open_one.value = max(float(open_one.value), speed)
        elif open_one is not None:
            open_one.end_s = time_s
            del self._speeding[actor.id]


def _moment(zone: SceneZone, was: ActorState, now: ActorState, time_s: float) -> float:
    """When, within a step, the zone's edge was passed."""
    start = inside(zone.points, was.x, was.y)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        x, y = was.x + (now.x - was.x) * middle, was.y + (now.y - was.y) * middle
        low, high = (middle, high) if inside(zone.points, x, y) == start else (low, middle)
    return time_s + high * STEP_S
