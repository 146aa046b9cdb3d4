"""The moving world, without a picture: actors, their states, and a clock of fixed steps.

A world is stepped ``STEP_S`` at a time whatever the frame rate; between two steps everything moves in a
straight line. So the world at one time is the same for every frame rate, and a speed is exactly the
distance between two steps over their time.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

STEP_S = 0.05
Value = str | bool | float | int


@dataclass(frozen=True, slots=True)
class Actor:
    """A person or thing that is counted.

    Attributes:
        id: from 1, in order of appearance.
        kind: class name (person, car, van, truck, bus, motorcycle, bicycle, forklift, fire, smoke).
        variant: which mesh of its kind.
        size: length, width, height in metres.
        seed: of its looks.
        attributes: what else is true of it (plate, helmet, vest, …).
    """

    id: int
    kind: str
    variant: str
    size: tuple[float, float, float]
    seed: int
    attributes: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class ActorState:
    """Where an actor is at one time: metres, radians, m/s.

    Attributes:
        travel: metres gone so far; turns wheels and swings legs.
        braking: brake lamps are lit.
        strength: 0..1, how strongly a fire burns; 1 for all others.
    """

    x: float
    y: float
    heading: float
    speed: float = 0.0
    travel: float = 0.0
    braking: bool = False
    strength: float = 1.0


Placed = tuple[Actor, ActorState]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The actors present at one time (seconds since the scene's start), by ascending id."""

    time_s: float
    bodies: tuple[Placed, ...]
    signal: str = ""  # of the traffic light: green, amber, red, walk


class World(ABC):
    """A scene's behaviour; one thread. Subclasses say what happens in one step.

    ``warm_s`` seconds pass before time 0, so that the scene is in full swing when it starts.
    """

    warm_s = 60.0

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

    def step(self) -> tuple[Snapshot, Snapshot]:
        """Go one step on; the world before and after it."""
        self._step += 1
        self._before = self._after
        bodies, signal = self.move(self._step * STEP_S)
        self._after = Snapshot(self._step * STEP_S, tuple(sorted(bodies, key=lambda b: b[0].id)), signal)
        return self._before, self._after

    def at(self, time_s: float) -> Snapshot:
        """The world at a time, its speeds those of the step; times must not go back.

        Raises:
            ValueError: the time is before the step that the world has left behind.
        """
        if time_s < self._before.time_s - 1e-9:
            raise ValueError(
                f"the world is at {self._before.time_s:.3f} s and cannot go back to {time_s:.3f} s"
            )
        while self._after.time_s <= time_s + 1e-9:
            self.step()
        share = min(max((time_s - self._before.time_s) / STEP_S, 0.0), 1.0)
        later, bodies = {actor.id: state for actor, state in self._after.bodies}, []
        for actor, a in self._before.bodies:
            if (b := later.get(actor.id)) is not None:
                state = replace(
                    a,
                    x=a.x + (b.x - a.x) * share,
                    y=a.y + (b.y - a.y) * share,
                    heading=a.heading + math.remainder(b.heading - a.heading, 2 * math.pi) * share,
                    speed=math.hypot(b.x - a.x, b.y - a.y) / STEP_S,
                    travel=a.travel + (b.travel - a.travel) * share,
                    strength=a.strength + (b.strength - a.strength) * share,
                )
                bodies.append((actor, state))
        return Snapshot(time_s, tuple(bodies), self._before.signal)
