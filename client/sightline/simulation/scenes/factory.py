"""A factory floor: workers at their stations, forklifts in the aisle, a forbidden zone, a machine that burns.

The hall runs along x (0 .. 28 m); the aisle is at y between -2.2 and 2.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sightline.simulation.scenes.crowd import walk
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.walkers import Stop, Walker, person_actor
from sightline.simulation.scenes.world import Actor, State, World

HALL_X, HALL_Y = (-2.0, 28.0), (-9.0, 9.0)
BURNING = (19.2, -5.6)  # the machine that catches fire
BURNING_TOP_M = 2.3
STATIONS = (
    (6.0, -3.6),
    (9.5, -3.4),
    (13.0, -3.6),
    (22.5, -3.6),
    (7.5, 3.4),
    (11.0, 3.3),
    (21.0, 3.4),
    (24.5, 3.2),
)
_FORBIDDEN = ((14.3, 3.9), (16.5, 3.8), (17.3, 4.0))
_DOORS = ((29.5, -1.4), (29.5, 1.4), (-1.5, -1.5), (-1.5, 1.5))
_FIRE_EVERY_S, _FIRE_S, _SMOKE_BEFORE_S = 140.0, 45.0, 8.0


@dataclass(slots=True)
class _Blaze:
    start_s: float
    smoke: Actor
    fire: Actor

    def bodies(self, time_s: float) -> list[tuple[Actor, State]]:
        """Smoke first, then flames too; both grow and die."""
        made = []
        age = time_s - self.start_s
        if 0 <= age < _SMOKE_BEFORE_S + _FIRE_S + 6:
            made.append((self.smoke, _burning(min(1.0, age / 10))))
        flames = age - _SMOKE_BEFORE_S
        if 0 <= flames < _FIRE_S:
            strength = min(1.0, 0.3 + flames / 8, (_FIRE_S - flames) / 5 + 0.2)
            made.append((self.fire, _burning(strength)))
        return made


def _burning(strength: float) -> State:
    return State(*BURNING, heading=0.0, strength=strength)


class FactoryWorld(World):
    """What happens in the hall."""

    warm_s = 45.0

    def __init__(self, spec: SceneSpec) -> None:
        super().__init__()
        self._random = spec.random("workers")
        self._fork_random = spec.random("forklifts")
        self._fire_random = spec.random("fire")
        self._workers: list[Walker] = []
        self._forklifts: list[Walker] = []
        self._next_worker_s = self._next_forklift_s = -1e9
        self._next_fire_s = float(self._fire_random.uniform(12, 30))
        self._blaze: _Blaze | None = None

    def move(self, time_s: float) -> tuple[tuple[tuple[Actor, State], ...], str]:
        """One step of workers, forklifts and fire."""
        if time_s >= self._next_worker_s:
            self._next_worker_s = time_s + float(self._random.exponential(6.0))
            if len(self._workers) < 12:
                self._workers.append(self._worker())
        if time_s >= self._next_forklift_s:
            self._next_forklift_s = time_s + float(self._fork_random.uniform(9, 24))
            if len(self._forklifts) < 3:
                self._forklifts.append(self._forklift())
        walk(self._workers)
        for forklift in self._forklifts:
            forklift.move(room=self._room_before(forklift))
        self._workers = [w for w in self._workers if not w.arrived]
        self._forklifts = [f for f in self._forklifts if not f.arrived]
        walking = [(w.actor, w.state()) for w in (*self._workers, *self._forklifts)]
        return (*walking, *self._fire(time_s)), ""

    def _fire(self, time_s: float) -> list[tuple[Actor, State]]:
        if time_s >= self._next_fire_s:
            self._next_fire_s = time_s + _FIRE_EVERY_S + float(self._fire_random.uniform(0, 30))
            seed = int(self._fire_random.integers(1 << 31))
            smoke = Actor(self.next_id(), "smoke", "smoke", (1.5, 1.5, 3.0), seed, {})
            fire = Actor(self.next_id(), "fire", "fire", (1.0, 1.0, 1.2), seed + 1, {})
            self._blaze = _Blaze(time_s, smoke, fire)
        return [] if self._blaze is None else self._blaze.bodies(time_s)

    def _room_before(self, forklift: Walker) -> float:
        """Free metres before a forklift: it waits for people and for other forklifts."""
        c, s = math.cos(forklift.heading), math.sin(forklift.heading)
        room = 9.0
        for other in (*self._workers, *self._forklifts):
            dx, dy = other.x - forklift.x, other.y - forklift.y
            ahead, aside = dx * c + dy * s, -dx * s + dy * c
            if other is not forklift and 0 < ahead < 9 and abs(aside) < 1.1:
                room = min(room, ahead - 2.6)
        return max(room, 0.0)

    def _worker(self) -> Walker:
        random = self._random
        actor = person_actor(
            self.next_id(), random, helmet=bool(random.random() > 0.14), vest=bool(random.random() > 0.12)
        )
        start, end = (_DOORS[int(i)] for i in random.integers(0, len(_DOORS), 2))
        stops: list[Stop] = [(*start, False)]
        waits: dict[int, float] = {}
        count = int(random.integers(1, 4))
        goals = [STATIONS[int(i)] for i in random.choice(len(STATIONS), count, replace=False)]
        if random.random() < 0.16:
            goals.insert(0, _FORBIDDEN[int(random.integers(len(_FORBIDDEN)))])
        for x, y in goals:
            gx, gy = x + float(random.normal(0, 0.25)), y + float(random.normal(0, 0.12))
            lane = math.copysign(1.75, gy)
            stops += [(stops[-1][0], lane, False), (gx, lane, False), (gx, gy, False)]
            waits[len(stops) - 1] = float(random.uniform(4, 18))
        stops += [(stops[-1][0], math.copysign(1.75, stops[-1][1]), False), (*end, False)]
        return Walker(actor, stops, float(np.clip(random.normal(1.3, 0.15), 0.9, 1.7)), waits)

    def _forklift(self) -> Walker:
        random = self._fork_random
        out = bool(random.random() < 0.5)
        y = -0.85 if out else 0.85
        seed = int(random.integers(1 << 31))
        actor = Actor(
            self.next_id(), "forklift", "forklift", (3.2, 1.25, 2.2), seed, {"loaded": bool(seed % 3)}
        )
        middle = float(random.uniform(8, 20))
        ends = (-3.5, 31.0) if out else (31.0, -3.5)
        stops = [(ends[0], y, False), (middle, y, False), (ends[1], y, False)]
        return Walker(actor, stops, float(random.uniform(1.8, 2.8)), {1: float(random.uniform(0, 6))})
