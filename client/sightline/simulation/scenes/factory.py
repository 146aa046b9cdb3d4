"""A factory floor: workers at their stations, forklifts in the aisle, a forbidden zone, a machine that burns.

The hall runs along x (0 .. 28 m); the aisle is at y between -2.2 and 2.2. First the world, then the things
that stand in it: machines, racks, barriers, columns, pallets.
"""

import math
from collections.abc import Iterable

import numpy as np

from sightline.simulation.scenes.arrays import f32, linear, palette
from sightline.simulation.scenes.mesh import Mesh, Stage, Surface, ball, bar, box, join, limb, wall
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.world import Actor, ActorState, Placed, Stop, Walker, World, walk

HALL_X, HALL_Y = (-2.0, 28.0), (-9.0, 9.0)
BURNING = (19.2, -5.6)  # the machine that catches fire
BURNING_TOP_M = 2.3
STATIONS = ((6.0, -3.6), (9.5, -3.4), (13.0, -3.6), (22.5, -3.6), (7.5, 3.4), (11.0, 3.3), (21.0, 3.4),
            (24.5, 3.2))  # fmt: skip
_FORBIDDEN = ((14.3, 3.9), (16.5, 3.8), (17.3, 4.0))
_DOORS = ((29.5, -1.4), (29.5, 1.4), (-1.5, -1.5), (-1.5, 1.5))
_FIRE_EVERY_S, _FIRE_S, _SMOKE_BEFORE_S = 140.0, 45.0, 8.0


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
        self._burning: tuple[float, Actor, Actor] | None = None  # since when, smoke, fire

    def move(self, time_s: float) -> tuple[Iterable[Placed], str]:
        """One step of workers, forklifts and fire."""
        if time_s >= self._next_worker_s:
            self._next_worker_s = time_s + float(self._random.exponential(6.0))
            if len(self._workers) < 12:
                self._workers.append(self._worker())
        if time_s >= self._next_forklift_s:
            self._next_forklift_s = time_s + float(self._fork_random.uniform(9, 24))
            if len(self._forklifts) < 3:
                self._forklifts.append(self._forklift())
        workers = walk(self._workers)
        for forklift in self._forklifts:
            forklift.move(room=self._room_before(forklift))
        self._workers = workers
        self._forklifts = [f for f in self._forklifts if not f.arrived]
        return (*(w.placed() for w in (*self._workers, *self._forklifts)), *self._fire(time_s)), ""

    def _fire(self, time_s: float) -> Iterable[Placed]:
        """Smoke first, then flames too; both grow and die."""
        if time_s >= self._next_fire_s:
            self._next_fire_s = time_s + _FIRE_EVERY_S + float(self._fire_random.uniform(0, 30))
            seed = int(self._fire_random.integers(1 << 31))
            smoke = Actor(self.next_id(), "smoke", "smoke", (1.5, 1.5, 3.0), seed, {})
            fire = Actor(self.next_id(), "fire", "fire", (1.0, 1.0, 1.2), seed + 1, {})
            self._burning = time_s, smoke, fire
        if self._burning is None:
            return
        since_s, smoke, fire = self._burning
        age, flames = time_s - since_s, time_s - since_s - _SMOKE_BEFORE_S
        if 0 <= age < _SMOKE_BEFORE_S + _FIRE_S + 6:
            yield smoke, ActorState(*BURNING, heading=0.0, strength=min(1.0, age / 10))
        if 0 <= flames < _FIRE_S:
            strength = min(1.0, 0.3 + flames / 8, (_FIRE_S - flames) / 5 + 0.2)
            yield fire, ActorState(*BURNING, heading=0.0, strength=strength)

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
        helmet, vest = bool(random.random() > 0.14), bool(random.random() > 0.12)
        actor = self.person(random, helmet=helmet, vest=vest)
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
        y, start, end = (-0.85, -3.5, 31.0) if random.random() < 0.5 else (0.85, 31.0, -3.5)
        seed = int(random.integers(1 << 31))
        attributes = {"loaded": bool(seed % 3)}
        actor = Actor(self.next_id(), "forklift", "forklift", (3.2, 1.25, 2.2), seed, attributes)
        stops = [(x, y, False) for x in (start, float(random.uniform(8, 20)), end)]
        return Walker(actor, stops, float(random.uniform(1.8, 2.8)), {1: float(random.uniform(0, 6))})


_GREYS = palette("969ea2 babebc 606c76")
_COLOURS = palette("1c5480 246e54 aa7828 788084")
_YELLOW, _DARK, _WOOD = palette("ecba14 282a2c a88054")
_CARTON, _ORANGE, _TUBE = palette("b08a60 ec6e18 f0f4fa")


def place_things(spec: SceneSpec, stage: Stage) -> None:
    """Put everything in its place; needs no textures."""
    random = spec.random("things")
    x1, (y0, y1) = HALL_X[1], HALL_Y
    stage.walls.append(wall([x1, y0, 0], [0, y1 - y0, 0], [0, 0, 4.0]))
    for x, y in STATIONS:
        stage.stand(_machine(random, x, y + float(np.sign(y)) * 2.2))
    (x, y), red = BURNING, linear(150, 60, 34)
    press = [
        box([2.2, 1.7, 0.9], [x, y, 0.45], linear(118, 124, 126), 0.1),
        box([0.45, 1.5, 1.6], [x - 0.85, y, 1.2], red, 0.2),
        box([0.45, 1.5, 1.6], [x + 0.85, y, 1.2], red, 0.2),
        box([2.3, 1.5, 0.5], [x, y, 2.1], red, 0.2),
        bar((x, y, 1.3), (x, y, 1.9), 0.14, linear(190, 192, 194)),
        box([0.9, 0.9, 0.2], [x, y, 1.25], _DARK),
    ]
    x, y = 15.9, 6.0
    elbow = (x - 0.6, y - 0.3, 2.1)
    robot = [
        box([1.2, 1.2, 0.3], [x, y, 0.15], _DARK),
        limb([(0.3, 0.34, 0.34, 0), (0.9, 0.26, 0.26, 0)], 12, _ORANGE).moved([x, y, 0]),
        bar((x, y, 0.9), elbow, 0.17, _ORANGE),
        ball(elbow, [0.24, 0.24, 0.24], 10, _DARK),
        bar(elbow, (x - 0.2, y - 1.4, 1.6), 0.12, _ORANGE),
        box([0.2, 0.2, 0.35], [x - 0.2, y - 1.4, 1.4], _DARK),
        box([1.6, 0.9, 0.8], [x + 0.2, y - 1.7, 0.4], _GREYS[0]),
    ]
    stage.stand(join(*press))
    stage.stand(join(*robot))
    for x in (13.5, 18.0):  # the fences of the forbidden zone
        parts = [bar((x, y, 0), (x, y, 1.1), 0.035, _YELLOW) for y in np.linspace(3.0, 7.6, 5)]
        parts += [bar((x, 3.0, z), (x, 7.6, z), 0.03, _YELLOW) for z in (0.5, 1.05)]
        stage.meshes.append(join(*parts))
    for x in (5.0, 12.0, 19.0, 26.0):  # columns
        for y in (-8.4, 8.4):
            stage.meshes.append(box([0.35, 0.35, 8.0], [x, y, 4.0], _GREYS[1]))
            stage.meshes.append(box([0.4, 0.4, 1.2], [x, y, 0.6], _YELLOW))
    stage.meshes += [_rack(random, 27.0, y) for y in (-6.3, -3.6, 3.6, 6.3)]
    for x, y in ((4.2, 5.6), (4.4, -5.8), (25.3, -6.2)):  # pallets
        more = [box([1.0, 0.75, 0.5], [x, y, 1.25], f32(_CARTON * 0.85))] if random.random() < 0.6 else []
        stage.stand(join(load(x, y, 0.0), *more))
    for x in np.arange(2.0, HALL_X[1], 6.0).tolist():
        for y in (-4.5, 4.5):
            stage.meshes.append(box([2.4, 0.3, 0.12], [x, y, 7.4], _TUBE, surface=Surface.SIGN))
            stage.lamps.append(((x, y, 7.4), (9.0, 9.2, 9.0)))


def _machine(random: np.random.Generator, x: float, y: float) -> Mesh:
    paint, grey = (colours[int(random.integers(len(colours)))] for colours in (_COLOURS, _GREYS))
    w, h = float(random.uniform(1.8, 2.4)), float(random.uniform(1.5, 2.1))
    face = -float(np.sign(y))
    front = y + face * 0.72
    pane, screen = f32([0.03, 0.04, 0.05]), f32([0.1, 0.45, 0.5])
    return join(
        box([w, 1.4, h * 0.55], [x, y, h * 0.275], grey, 0.1),
        box([w * 0.92, 1.2, h * 0.5], [x, y, h * 0.78], paint, 0.25),
        box([w * 0.5, 0.03, h * 0.3], [x - w * 0.12, front - face * 0.11, h * 0.78], pane, 0.9),
        box([0.34, 0.12, 0.42], [x + w * 0.36, front, h * 0.75], _DARK),
        box([0.24, 0.02, 0.16], [x + w * 0.36, front + face * 0.07, h * 0.8], screen, surface=Surface.SIGN),
        box([w * 1.02, 1.44, 0.08], [x, y, 0.06], _DARK),
        box([w, 0.02, 0.12], [x, front, h * 0.5], _YELLOW),
        bar((x + w * 0.4, y, h), (x + w * 0.4, y, h + 0.5), 0.03, _DARK),
        ball([x + w * 0.4, y, h + 0.55], [0.06, 0.06, 0.09], 8, f32([0.05, 0.6, 0.1])),
        *(box([0.05, 0.02, h * 0.35], [x - w * 0.4 + i * 0.14, front, h * 0.25], _DARK) for i in range(4)),
    )


def _rack(random: np.random.Generator, x: float, y: float) -> Mesh:
    blue, orange = linear(30, 60, 130), linear(214, 96, 24)
    posts = [(dx, dy) for dx in (-0.5, 0.5) for dy in (-1.25, 1.25)]
    parts = [box([0.08, 0.08, 4.6], [x + dx, y + dy, 2.3], blue) for dx, dy in posts]
    for z in (0.12, 1.6, 3.1):
        parts.append(box([1.1, 2.6, 0.1], [x, y, z], orange))
        for dy in (-0.8, 0.0, 0.8):
            if random.random() < 0.85:
                h = float(random.uniform(0.5, 1.1))
                tone = f32(_CARTON * random.uniform(0.6, 1.2))
                parts.append(box([0.85, 0.7, h], [x, y + dy, z + 0.05 + h / 2], tone))
                parts.append(box([0.86, 0.08, h], [x, y + dy, z + 0.05 + h / 2], f32(tone * 1.3)))
    return join(*parts)


def load(x: float, y: float, z: float) -> Mesh:
    """A pallet with cartons on it."""
    parts = [box([1.2, 0.12, 0.12], [x, y + dy, z + 0.06], _WOOD) for dy in (-0.4, 0.0, 0.4)]
    parts.append(box([1.2, 0.95, 0.03], [x, y, z + 0.135], _WOOD))
    for dx in (-0.28, 0.28):
        carton = f32(_CARTON * (1.0 + 0.3 * dx))
        parts += [box([0.53, 0.44, 0.8], [x + dx, y + dy, z + 0.55], carton) for dy in (-0.23, 0.23)]
    return join(*parts)
