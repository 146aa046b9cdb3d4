"""A shop's entrance seen from inside: people come and go, alone and in groups; some linger; some pass by.

The camera looks along +x to the door in the front wall at x = 7.6; the street is behind it. First the
world, then the things that stand in it: shelves with goods, a till, the door's frame, plants.
"""

from collections.abc import Iterable

import numpy as np

from sightline.simulation.scenes.arrays import f32, linear, palette
from sightline.simulation.scenes.mesh import Mesh, Stage, Surface, ball, bar, box, join, limb, wall
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.world import Placed, Stop, Walker, World, walk

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

    def move(self, time_s: float) -> tuple[Iterable[Placed], str]:
        """One step of all people."""
        if time_s >= self._next_s:
            self._next_s = time_s + float(self._random.exponential(self._gap_s))
            if len(self._people) < self._most:
                self._people += self._group()
        if time_s >= self._next_passing_s:
            random = self._passing
            self._next_passing_s = time_s + float(random.exponential(self._passing_gap_s))
            y, x = _STREET_Y * float(random.choice([-1.0, 1.0])), float(random.uniform(9.6, 12.4))
            actor, pace = self.person(random), float(np.clip(random.normal(1.4, 0.15), 1, 1.8))
            self._people.append(Walker(actor, [(x, -y, False), (x, y, False)], pace))
        self._people = walk(self._people)
        return (person.placed() for person in self._people), ""

    def _group(self) -> list[Walker]:
        random = self._random
        count = int(random.choice([1, 2, 3, 4], p=[0.62, 0.24, 0.10, 0.04]))
        inward = bool(random.random() < 0.52)
        # Everybody keeps to the right.
        middle = float(np.clip(random.normal(0.75 if inward else -0.75, 0.3), -1.1, 1.1))
        out_y = float(random.choice([-_STREET_Y, _STREET_Y]))
        depth_y = float(random.uniform(-2.6, 2.6))
        lingers = float(random.uniform(16, 35)) if random.random() < 0.14 else 0.0
        speed = float(np.clip(random.normal(1.25, 0.15), 0.8, 1.6))
        group = []
        for i in range(count):
            aside, back = (i % 2) * 0.62 - (0.31 if count > 1 else 0.0), (i // 2) * 0.85
            y = float(np.clip(middle + aside, -DOOR_Y + 0.35, DOOR_Y - 0.35))
            path: list[Stop] = [
                (11.3 + aside * 0.6, out_y + (back if out_y > 0 else -back), False),
                (9.6 + aside * 0.4, y * 1.6, False),
                (8.2, y, False),
                (6.4 + aside * 0.6 - back * 0.4, y, False),
                (4.6, depth_y * 0.5 + aside, False),
                (_BEHIND_X - back, depth_y + aside, False),
            ]
            waits = {3 if inward else 2: lingers} if lingers else {}
            actor = self.person(random)
            group.append(Walker(actor, path if inward else path[::-1], speed, waits))
        return group


_FRAME, _WHITE, _WOOD, _TUBE = palette("3a3e42 e2e2de b08a62 faf8f0")
_GOODS = palette("be282c e2aa28 286eaa 468c50 e6e2d6 824682 e27832 3c424a")


def place_things(spec: SceneSpec, stage: Stage) -> None:
    """Put everything in its place; needs no textures."""
    random = spec.random("things")
    # Posts, rails and the door's wings, slid open, of the glass front; the glass itself is clear.
    ends = (-4.9, -DOOR_Y, DOOR_Y, 4.9)
    front = [([0.1, 0.1, 2.9], y, 1.45) for y in ends] + [([0.07, 0.05, 2.6], y, 1.3) for y in (-3.3, 3.3)]
    front.append(([0.14, 9.9, 0.22], 0, 2.6))
    front += [([0.1, b - a, 0.14], (a + b) / 2, 0.07) for a, b in (ends[:2], ends[2:])]
    stage.meshes += [box(size, [FRONT_X, y, z], _FRAME, 0.2) for size, y, z in front]
    for side in (-1.0, 1.0):
        for y in (DOOR_Y + 0.1, DOOR_Y + 1.3):
            stage.meshes.append(box([0.05, 0.06, 2.4], [FRONT_X - 0.12, side * y, 1.2], _FRAME, 0.3))
    stage.shade((FRONT_X - 0.1, FRONT_X + 0.1), (1.6, 4.9), 0.2)
    stage.walls += [wall([-3.0, y, 0], [FRONT_X + 3.0, 0, 0], [0, 0, 3.8]) for y in (-4.95, 4.95)]
    stage.walls.append(wall([FRONT_X, -4.95, 2.7], [0, 9.9, 0], [0, 0, 1.1]))
    for y, face in ((-4.6, 1.0), (4.6, -1.0)):
        for x in (1.6, 3.2, 4.8):
            stage.stand(_shelf(random, x, y, face))
    stage.stand(_table(random, 4.6, -2.9))
    stage.stand(_table(random, 3.4, 3.0))
    stage.stand(_plant(random, 7.0, 2.7))
    stage.stand(_plant(random, 7.0, -2.7))
    for x in (1.5, 4.0, 6.4):
        for y in (-2.4, 0.0, 2.4):
            stage.meshes.append(box([0.9, 0.25, 0.06], [x, y, 3.55], _TUBE, surface=Surface.SIGN))
            stage.lamps.append(((x, y, 3.5), (2.4, 2.2, 1.9)))
    stage.meshes += [bar((13.0, y, 0), (13.0, y, 4.5), 0.06, _FRAME) for y in (-6.0, 6.0)]


def _shelf(random: np.random.Generator, x: float, y: float, face: float) -> Mesh:
    parts = [box([1.5, 0.06, 2.0], [x, y - face * 0.2, 1.0], _WHITE)]
    parts += [box([0.04, 0.5, 2.0], [x + dx, y, 1.0], _WHITE) for dx in (-0.76, 0.76)]
    for z in (0.15, 0.6, 1.05, 1.5):
        parts.append(box([1.5, 0.48, 0.04], [x, y, z], _WHITE))
        parts.append(box([1.5, 0.02, 0.05], [x, y + face * 0.25, z], linear(200, 40, 40)))
        at = -0.68
        while at < 0.62:
            colour = _GOODS[int(random.integers(len(_GOODS)))]
            w, h = float(random.uniform(0.08, 0.2)), float(random.uniform(0.16, 0.34))
            for _ in range(int(random.integers(1, 4))):
                if at + w < 0.72:
                    middle = [x + at + w / 2, y + face * 0.04, z + 0.02 + h / 2]
                    parts.append(box([w * 0.9, 0.3, h], middle, colour))
                at += w
    return join(*parts)


def _table(random: np.random.Generator, x: float, y: float) -> Mesh:
    parts = [box([1.3, 0.9, 0.06], [x, y, 0.78], _WOOD, 0.1), box([1.1, 0.7, 0.75], [x, y, 0.375], _WHITE)]
    for _ in range(16):
        colour = _GOODS[int(random.integers(len(_GOODS)))]
        dx, dy = float(random.uniform(-0.52, 0.52)), float(random.uniform(-0.34, 0.34))
        h = float(random.uniform(0.08, 0.28))
        parts.append(box([0.16, 0.14, h], [x + dx, y + dy, 0.81 + h / 2], colour))
    parts.append(bar((x, y, 0.8), (x, y, 1.5), 0.015, _FRAME))
    return join(*parts, box([0.02, 0.42, 0.28], [x, y, 1.55], linear(206, 40, 44)))


def _plant(random: np.random.Generator, x: float, y: float) -> Mesh:
    pot = limb([(0.0, 0.2, 0.2, 0), (0.5, 0.26, 0.26, 0), (0.52, 0.22, 0.22, 0)], 12, linear(150, 146, 140))
    parts = [pot.moved([x, y, 0])]
    for _ in range(26):
        way = random.normal(0, 1, 3)
        tip = (x + way[0] * 0.25, y + way[1] * 0.25, 0.95 + abs(way[2]) * 0.4)
        tone = f32(linear(60, 110, 50) * random.uniform(0.6, 1.3))
        parts.append(ball(tip, [0.12, 0.12, 0.05 + 0.1 * random.random()], 6, tone))
    return join(*parts)
