"""People on foot: their paths, their pace, and their looks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sightline.simulation.scenes.world import STEP_S, Actor, ActorState, Value

NEAR_M, HELD_S = 1.5, 1.0  # a walker held up this near to a stop for this long takes it as reached
Stop = tuple[float, float, bool]  # x, y, and whether to wait there until one may go


@dataclass(slots=True)
class Walker:
    """A person who walks a path of stops, waits where told to and turns smoothly."""

    actor: Actor
    path: Sequence[Stop]
    pace: float
    waits_s: dict[int, float] = field(default_factory=dict)  # stop -> seconds to stand there
    x: float = 0.0
    y: float = 0.0
    heading: float = 0.0
    speed: float = 0.0
    travel: float = 0.0
    aside: float = 0.0  # m/s to the left of its way, to make room
    _goal: int = 1
    _there: bool = False  # has come to the stop, and stands there
    _held_s: float = 0.0  # how long its way has been blocked

    def __post_init__(self) -> None:
        self.x, self.y, _ = self.path[0]
        self.heading = math.atan2(self.path[1][1] - self.y, self.path[1][0] - self.x)

    @property
    def arrived(self) -> bool:
        """At the end of the path."""
        return self._goal >= len(self.path)

    def move(self, *, may_go: bool = True, room: float = 9.0, aside: float = 0.0) -> None:
        """One step.

        Args:
            may_go: walkers that wait at a stop may go on.
            room: the free way ahead, metres.
            aside: how fast to step to the left as well, m/s.
        """
        if self.arrived:
            return
        x, y, waits = self.path[self._goal]
        left = math.hypot(x - self.x, y - self.y)
        self._there |= left < max(0.05, self.pace * STEP_S) or (left < NEAR_M and self._held_s > HELD_S)
        if self._there:
            self._pause_or_go_on(waits and not may_go)
            return
        wish = self.pace * min(1.0, max(0.0, room / 0.8))
        stops_there = (waits and not may_go) or self.waits_s.get(self._goal, 0) > 0
        if stops_there:
            wish = min(wish, 0.25 + left * 1.2)
        self.speed += max(-2.5 * STEP_S, min(2.0 * STEP_S, wish - self.speed))
        stride = min(self.speed * STEP_S, left)
        self._held_s = 0.0 if self.speed > 0.2 else self._held_s + STEP_S
        self.aside = aside
        self.shift((x - self.x) / left * stride, (y - self.y) / left * stride)
        self.shift(-math.sin(self.heading) * aside * STEP_S, math.cos(self.heading) * aside * STEP_S)
        self.travel += stride
        self._turn(math.atan2(y - self.y, x - self.x))

    def shift(self, dx: float, dy: float) -> None:
        """Move by (dx, dy) metres."""
        self.x += dx
        self.y += dy

    def _pause_or_go_on(self, held: bool) -> None:
        rest = self.waits_s.get(self._goal, 0.0)
        if rest > 0:
            self.waits_s[self._goal] = rest - STEP_S
        if held or rest > 0:
            self.speed = 0.0
        else:
            self._goal += 1
            self._there, self._held_s = False, 0.0

    def _turn(self, wanted: float) -> None:
        off = math.remainder(wanted - self.heading, 2 * math.pi)
        self.heading += max(-4.0 * STEP_S, min(4.0 * STEP_S, off))

    def state(self) -> ActorState:
        """As the world sees it."""
        return ActorState(self.x, self.y, self.heading, self.speed, self.travel)


def person_actor(number: int, random: np.random.Generator, **attributes: Value) -> Actor:
    """A new person: a height, a seed for the looks, and other attributes."""
    height = float(np.clip(random.normal(1.73, 0.08), 1.52, 1.95))
    return Actor(number, "person", "person", (0.35, 0.5, height), int(random.integers(1 << 31)), attributes)
