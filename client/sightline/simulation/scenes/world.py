"""The moving world, without a picture: actors, their states, and a clock of fixed steps.

A world is stepped ``STEP_S`` at a time whatever the frame rate; between two steps everything moves in a
straight line. So the world at one time is the same for every frame rate, and a speed is exactly the
distance between two steps over their time.

People on foot step aside before they meet, queue, and are never in one place. Steering in the spirit of
Reynolds' *unaligned collision avoidance* and of the social force model (Helbing and Molnár 1995), as plain
rules: oncoming people are passed on the side that already has room, slower ones ahead are followed, and two
bodies that touch all the same push each other off.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

STEP_S = 0.05
Value = str | bool | float | int


@dataclass(frozen=True, slots=True, eq=False)
class Actor:
    """A person or thing that is counted; equal only to itself."""

    id: int  # from 1, in order of appearance
    kind: str  # class name (person, car, van, truck, bus, motorcycle, bicycle, forklift, fire, smoke)
    variant: str  # which mesh of its kind
    size: tuple[float, float, float]  # length, width, height in metres
    seed: int  # of its looks
    attributes: Mapping[str, Value]  # what else is true of it (plate, helmet, vest, …)


@dataclass(frozen=True, slots=True)
class ActorState:
    """Where an actor is at one time: metres, radians, m/s."""

    x: float
    y: float
    heading: float
    speed: float = 0.0
    travel: float = 0.0  # metres gone so far; turns wheels and swings legs
    braking: bool = False  # brake lamps are lit
    strength: float = 1.0  # 0..1, how strongly a fire burns; 1 for all others


Placed = tuple[Actor, ActorState]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The actors present at one time (seconds since the scene's start), by ascending id."""

    time_s: float
    bodies: tuple[Placed, ...]
    signal: str = ""  # of the traffic light: green, amber, red, walk


class World(ABC):
    """A scene's behaviour; one thread. Subclasses say what happens in one step."""

    warm_s = 60.0  # pass before time 0, so that the scene is in full swing when it starts

    def __init__(self) -> None:
        self._step = -round(self.warm_s / STEP_S)
        self._before = self._after = Snapshot(self._step * STEP_S, ())
        self._last_id = 0

    @abstractmethod
    def move(self, time_s: float) -> tuple[Iterable[Placed], str]:
        """Go one step on, to ``time_s``; the actors present then, and the traffic light."""

    def next_id(self) -> int:
        """A number for a new actor."""
        self._last_id += 1
        return self._last_id

    def person(self, random: np.random.Generator, **attributes: Value) -> Actor:
        """A new person: a height, a seed for the looks, and other attributes."""
        size = 0.35, 0.5, float(np.clip(random.normal(1.73, 0.08), 1.52, 1.95))
        return Actor(self.next_id(), "person", "person", size, int(random.integers(1 << 31)), attributes)

    def step(self) -> tuple[Snapshot, Snapshot]:
        """Go one step on; the world before and after it."""
        self._step += 1
        self._before = self._after
        bodies, signal = self.move(self._step * STEP_S)
        self._after = Snapshot(self._step * STEP_S, tuple(sorted(bodies, key=lambda b: b[0].id)), signal)
        return self._before, self._after

    def at(self, time_s: float) -> Snapshot:
        """The world at a time, its speeds those of the step; ``ValueError`` for one already left behind."""
        now_s = self._before.time_s
        if time_s < now_s - 1e-9:
            raise ValueError(f"the world is at {now_s:.3f} s and cannot go back to {time_s:.3f} s")
        while self._after.time_s <= time_s + 1e-9:
            self.step()
        share = min(max((time_s - self._before.time_s) / STEP_S, 0.0), 1.0)
        later, bodies = {actor.id: state for actor, state in self._after.bodies}, []
        for actor, a in self._before.bodies:
            if (b := later.get(actor.id)) is not None:
                names = ("x", "y", "travel", "strength")
                moved = {n: getattr(a, n) + (getattr(b, n) - getattr(a, n)) * share for n in names}
                heading = a.heading + math.remainder(b.heading - a.heading, 2 * math.pi) * share
                speed = math.hypot(b.x - a.x, b.y - a.y) / STEP_S
                bodies.append((actor, replace(a, **moved, heading=heading, speed=speed)))
        return Snapshot(time_s, tuple(bodies), self._before.signal)


REACHED_M, HELD_S = 1.5, 1.0  # a walker held up this near to a stop for this long takes it as reached
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
        """One step, with ``room`` metres free ahead and ``aside`` m/s to the left; who waits ``may_go``."""
        if self.arrived:
            return
        x, y, waits = self.path[self._goal]
        held, rest = waits and not may_go, self.waits_s.get(self._goal, 0.0)
        left = math.hypot(x - self.x, y - self.y)
        self._there |= left < max(0.05, self.pace * STEP_S) or (left < REACHED_M and self._held_s > HELD_S)
        if self._there:
            if rest > 0:
                self.waits_s[self._goal] = rest - STEP_S
            if held or rest > 0:
                self.speed = 0.0
            else:
                self._goal, self._there, self._held_s = self._goal + 1, False, 0.0
            return
        wish = self.pace * min(1.0, max(0.0, room / 0.8))
        if held or rest > 0:  # stops there
            wish = min(wish, 0.25 + left * 1.2)
        self.speed += max(-2.5 * STEP_S, min(2.0 * STEP_S, wish - self.speed))
        stride = min(self.speed * STEP_S, left)
        self._held_s = 0.0 if self.speed > 0.2 else self._held_s + STEP_S
        self.aside = aside
        self.shift((x - self.x) / left * stride, (y - self.y) / left * stride)
        self.shift(-math.sin(self.heading) * aside * STEP_S, math.cos(self.heading) * aside * STEP_S)
        self.travel += stride
        off = math.remainder(math.atan2(y - self.y, x - self.x) - self.heading, 2 * math.pi)
        self.heading += max(-4.0 * STEP_S, min(4.0 * STEP_S, off))

    def shift(self, dx: float, dy: float) -> None:
        """Move by (dx, dy) metres."""
        self.x += dx
        self.y += dy

    def placed(self) -> Placed:
        """As the world sees it."""
        return self.actor, ActorState(self.x, self.y, self.heading, self.speed, self.travel)


BODY_M = 0.6  # from middle to middle, two people are never nearer; shoulders are half a metre wide
ASIDE_M = 0.8  # from middle to middle, the room wanted when passing
LOOK_M = 3.0  # people further away than this are ignored
LOOK_S = 2.0  # as are those who will not be met within this time
STEP_ASIDE = 0.7  # m/s, at most
_EASE = STEP_S / 0.25  # people change their step within a quarter of a second
_TURNS = 3  # of pushing off: being pushed may bring a third one near


def walk(people: Sequence[Walker], *, may_go: bool = True) -> list[Walker]:
    """Move all by one step; those that have not arrived. With ``may_go`` those that wait may go on."""
    plans = [_plan(one, people) for one in people]
    for one, (room, aside) in zip(people, plans, strict=True):
        one.move(may_go=may_go, room=room, aside=one.aside + (aside - one.aside) * _EASE)
    for _ in range(_TURNS):
        for i, one in enumerate(people):
            for other in people[i + 1 :]:
                dx, dy = other.x - one.x, other.y - one.y
                if abs(dx) >= BODY_M or abs(dy) >= BODY_M or (apart := math.hypot(dx, dy)) >= BODY_M:
                    continue
                if apart < 1e-6:  # from one place: any way will do, but always the same
                    dx, dy, apart = 1e-6, 0.0, 1e-6
                push = (BODY_M - apart) / 2 / apart
                one.shift(-dx * push, -dy * push)
                other.shift(dx * push, dy * push)
    return [one for one in people if not one.arrived]


def _plan(one: Walker, people: Sequence[Walker]) -> tuple[float, float]:
    """Free metres ahead, and how fast to step to the left (m/s, below zero to the right)."""
    room, aside = 9.0, 0.0
    c, s = math.cos(one.heading), math.sin(one.heading)
    for other in people:
        dx, dy = other.x - one.x, other.y - one.y
        if other is one or abs(dx) >= LOOK_M or abs(dy) >= LOOK_M:
            continue
        ahead, left = dx * c + dy * s, -dx * s + dy * c
        closing = one.pace - other.speed * math.cos(other.heading - one.heading)
        if ahead <= 0 or closing <= 0:
            continue
        if abs(left) < BODY_M * 0.8:
            room = min(room, ahead - BODY_M)
        if ahead < closing * LOOK_S + BODY_M and abs(left) < ASIDE_M:
            # Two people meeting head on both keep to the right.
            way = -1.0 if left > -0.02 else 1.0
            aside += way * (ASIDE_M - abs(left)) / max(ahead / closing, 0.5)
    return room, max(-STEP_ASIDE, min(STEP_ASIDE, aside))
