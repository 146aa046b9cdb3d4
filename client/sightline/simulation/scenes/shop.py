"""A shop's entrance seen from inside: people come and go, alone and in groups; some linger; some pass by.

The camera looks along +x to the door in the front wall at x = 7.6; the street is behind it.
"""

from __future__ import annotations

import numpy as np

from sightline.simulation.scenes.crowd import walk
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.walkers import Stop, Walker, person_actor
from sightline.simulation.scenes.world import Actor, State, World

FRONT_X, DOOR_Y = 7.6, 1.6
_BEHIND_X, _STREET_Y = -2.5, 9.0


class ShopWorld(World):
    """What happens at the door."""

    warm_s = 40.0

    def __init__(self, spec: SceneSpec) -> None:
        super().__init__()
        self._random = spec.random("customers")
        self._passing = spec.random("passers-by")
        share = {"day": 1.0, "dusk": 0.9, "night": 0.5}[spec.light] * spec.people
        share *= 0.75 if spec.weather == "rain" else 1.0
        self._gap_s, self._passing_gap_s = 5.0 / share, 7.0 / share
        self._most = round(18 * max(1.0, spec.people))
        self._next_s = self._next_passing_s = -1e9
        self._people: list[Walker] = []

    def move(self, time_s: float) -> tuple[tuple[tuple[Actor, State], ...], str]:
        """One step of everybody."""
        if time_s >= self._next_s:
            self._next_s = time_s + float(self._random.exponential(self._gap_s))
            if len(self._people) < self._most:
                self._people += self._group()
        if time_s >= self._next_passing_s:
            self._next_passing_s = time_s + float(self._passing.exponential(self._passing_gap_s))
            self._people.append(self._passer())
        walk(self._people)
        self._people = [p for p in self._people if not p.arrived]
        return tuple((p.actor, p.state()) for p in self._people), ""

    def _group(self) -> list[Walker]:
        random = self._random
        count = int(random.choice([1, 2, 3, 4], p=[0.62, 0.24, 0.10, 0.04]))
        inward = bool(random.random() < 0.52)
        lane = 0.75 if inward else -0.75  # one keeps to the right
        middle = float(np.clip(random.normal(lane, 0.3), -1.1, 1.1))
        out_y = float(random.choice([-_STREET_Y, _STREET_Y]))
        depth_y = float(random.uniform(-2.6, 2.6))
        lingers = float(random.uniform(16, 35)) if random.random() < 0.14 else 0.0
        pace = float(np.clip(random.normal(1.25, 0.15), 0.8, 1.6))
        made = []
        for i in range(count):
            aside = (i % 2) * 0.62 - (0.31 if count > 1 else 0.0)
            back = (i // 2) * 0.85
            made.append(self._customer(inward, (middle, out_y, depth_y), (aside, back), (lingers, pace)))
        return made

    def _customer(
        self,
        inward: bool,
        way: tuple[float, float, float],
        offset: tuple[float, float],
        pace: tuple[float, float],
    ) -> Walker:
        (middle, out_y, depth_y), (aside, back) = way, offset
        y = float(np.clip(middle + aside, -DOOR_Y + 0.35, DOOR_Y - 0.35))
        lingers, speed = pace
        spot = 6.4 + aside * 0.6 - back * 0.4
        path: list[Stop] = [
            (11.3 + aside * 0.6, out_y + (back if out_y > 0 else -back), False),
            (9.6 + aside * 0.4, y * 1.6, False),
            (8.2, y, False),
            (spot, y, False),
            (4.6, depth_y * 0.5 + aside, False),
            (_BEHIND_X - back, depth_y + aside, False),
        ]
        if not inward:
            path.reverse()
        waits = {3 if inward else 2: lingers} if lingers else {}
        return Walker(person_actor(self.next_id(), self._random), path, speed, waits)

    def _passer(self) -> Walker:
        random = self._passing
        way = float(random.choice([-1.0, 1.0]))
        x = float(random.uniform(9.6, 12.4))
        path = [(x, -way * _STREET_Y, False), (x, way * _STREET_Y, False)]
        return Walker(
            person_actor(self.next_id(), random), path, float(np.clip(random.normal(1.4, 0.15), 1, 1.8))
        )
