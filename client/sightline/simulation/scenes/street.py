"""A street: four lanes, two cycle lanes, two pavements, and a crossing with a traffic light.

The road runs along x; traffic keeps to the right, so lanes at y < 0 run towards +x. Drivers follow each
other by the Intelligent Driver Model, and stop for red. First the world, then the things
that stand in it and hide what is behind: trees, lamps, traffic lights, posts, benches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from sightline.simulation.scenes.arrays import f32, linear
from sightline.simulation.scenes.mesh import SIGN, Mesh, ball, bar, box, join, mesh
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.staging import Lamp, Stage
from sightline.simulation.scenes.walkers import Walker, person_actor, walk
from sightline.simulation.scenes.world import STEP_S, Actor, ActorState, World

LANES = ((-1.75, 1.0), (-5.1, 1.0), (1.75, -1.0), (5.1, -1.0))  # y, direction
CYCLE_LANES = ((-7.55, 1.0), (7.55, -1.0))
KERB_Y, WALL_Y = 8.5, 13.2
ROAD_X = (-45.0, 116.0)  # where traffic appears and leaves
ZEBRA_X = (17.0, 21.0)
STOP_X = {1.0: 15.2, -1.0: 22.8}
SPEED_LIMIT = 50 / 3.6
CYCLE_S, GREEN_S, AMBER_S, WALK_FROM_S, WALK_S = 44.0, 20.0, 3.0, 24.5, 5.5
KINDS = {  # length, width, height; share of the traffic; mean wanted speed in m/s
    "sedan": ("car", (4.6, 1.82, 1.45), 0.28, 12.6),
    "hatchback": ("car", (4.0, 1.76, 1.48), 0.26, 12.4),
    "suv": ("car", (4.5, 1.88, 1.70), 0.16, 12.8),
    "van": ("van", (5.4, 2.0, 2.35), 0.10, 12.0),
    "truck": ("truck", (8.4, 2.5, 3.55), 0.07, 10.8),
    "bus": ("bus", (11.5, 2.5, 3.25), 0.05, 10.5),
    "motorcycle": ("motorcycle", (2.1, 0.8, 1.5), 0.08, 13.0),
}
_LETTERS, _DIGITS = "ABCDEFGHJKLMNPRSTUVWXYZ", "0123456789"


@dataclass(slots=True)
class Driver:
    """A vehicle in its lane; ``along`` runs in the direction of travel."""

    actor: Actor
    y: float
    direction: float
    along: float
    speed: float
    wanted: float
    runs_red: bool
    travel: float = 0.0
    braking: bool = False

    @property
    def nose(self) -> float:
        """Where its front bumper is, along the lane."""
        return self.along + self.actor.size[0] / 2

    def drive(self, room: float, ahead_speed: float) -> None:
        """One step of the Intelligent Driver Model with ``room`` metres to what is ahead."""
        gap = max(room, 0.1)
        hard, soft = 1.6, 2.4
        closing = self.speed * (self.speed - ahead_speed) / (2 * math.sqrt(hard * soft))
        wish = 2.0 + max(0.0, self.speed * 1.2 + closing)
        gain = hard * (1 - (self.speed / self.wanted) ** 4 - (wish / gap) ** 2)
        gain = max(gain, -8.0)
        self.braking = gain < -0.8 or (self.speed < 0.2 and gain <= 0.05)
        moved = max(0.0, self.speed + gain * STEP_S)
        self.along += moved * STEP_S
        self.travel += moved * STEP_S
        self.speed = moved

    def state(self) -> ActorState:
        """As the world sees it."""
        heading = 0.0 if self.direction > 0 else math.pi
        return ActorState(self.along * self.direction, self.y, heading, self.speed, self.travel, self.braking)


@dataclass(slots=True)
class Lane:
    """The drivers in a lane, the first one ahead, and when the next comes."""

    y: float
    direction: float
    random: np.random.Generator
    a_minute: float
    cycles: bool
    drivers: list[Driver] = field(default_factory=list)
    next_s: float = -1e9

    @property
    def start(self) -> float:
        """Where it begins, along the direction of travel."""
        return ROAD_X[0] if self.direction > 0 else -ROAD_X[1]

    @property
    def end(self) -> float:
        """Where it ends."""
        return ROAD_X[1] if self.direction > 0 else -ROAD_X[0]

    @property
    def stop_line(self) -> float:
        """Where to stop for red."""
        return STOP_X[self.direction] * self.direction


def signal_at(time_s: float) -> str:
    """The traffic light: green, amber or red for drivers, walk for people."""
    phase = time_s % CYCLE_S
    if phase < GREEN_S:
        return "green"
    if phase < GREEN_S + AMBER_S:
        return "amber"
    return "walk" if WALK_FROM_S <= phase < WALK_FROM_S + WALK_S else "red"


class StreetWorld(World):
    """What happens in the street."""

    def __init__(self, spec: SceneSpec) -> None:
        super().__init__()
        busy = {"day": 1.0, "dusk": 0.85, "night": 0.5}[spec.light]
        self._lanes = [
            Lane(y, way, spec.random(f"lane {y}"), (5.0 if abs(y) < 3 else 6.5) * busy, cycles=False)
            for y, way in LANES
        ]
        self._lanes += [
            Lane(y, way, spec.random(f"lane {y}"), 3.0 * busy, cycles=True) for y, way in CYCLE_LANES
        ]
        self._random = spec.random("people")
        self._people_a_minute = 20.0 * spec.people * busy * (0.6 if spec.weather == "rain" else 1.0)
        self._next_person_s = -1e9
        self._people: list[Walker] = []

    def move(self, time_s: float) -> tuple[tuple[tuple[Actor, ActorState], ...], str]:
        """One step of traffic, people and the traffic light."""
        signal = signal_at(time_s)
        for lane in self._lanes:
            self._move_lane(lane, time_s, signal)
        self._move_people(time_s, signal)
        drivers = [(d.actor, d.state()) for lane in self._lanes for d in lane.drivers]
        return (*drivers, *((p.actor, p.state()) for p in self._people)), signal

    def _move_lane(self, lane: Lane, time_s: float, signal: str) -> None:
        ahead: Driver | None = None
        for driver in lane.drivers:
            room, speed = 1e3, driver.wanted
            if ahead is not None:
                room, speed = ahead.along - ahead.actor.size[0] / 2 - driver.nose, ahead.speed
            to_line = lane.stop_line - driver.nose
            if _must_stop(driver, to_line, signal, time_s) and to_line < room:
                room, speed = to_line + 1.2, 0.0
            driver.drive(room, speed)
            ahead = driver
        lane.drivers = [d for d in lane.drivers if d.along < lane.end]
        free = not lane.drivers or lane.drivers[-1].along - lane.start > 22
        if time_s >= lane.next_s and free:
            if lane.next_s > -1e8:
                lane.drivers.append(self._driver(lane))
            lane.next_s = time_s + float(lane.random.exponential(60 / lane.a_minute))

    def _driver(self, lane: Lane) -> Driver:
        random = lane.random
        seed = int(random.integers(1 << 31))
        names = list(KINDS)
        shares = np.array([KINDS[name][2] for name in names])
        variant = "bicycle" if lane.cycles else str(random.choice(names, p=shares / shares.sum()))
        kind, size, _, mean = KINDS.get(variant, ("bicycle", (1.8, 0.6, 1.75), 1.0, 5.0))
        wanted = float(np.clip(random.normal(mean, 0.15 * mean), 0.6 * mean, 1.45 * mean))
        attributes = {} if lane.cycles else {"plate": _plate(random)}
        actor = Actor(self.next_id(), kind, variant, size, seed, attributes)
        speed = min(wanted, lane.drivers[-1].speed + 2.0) if lane.drivers else wanted
        y = lane.y + float(random.normal(0, 0.15))
        return Driver(actor, y, lane.direction, lane.start, speed, wanted, bool(random.random() < 0.3))

    def _move_people(self, time_s: float, signal: str) -> None:
        if time_s >= self._next_person_s:
            if self._next_person_s > -1e8:
                self._people.append(self._walker())
            self._next_person_s = time_s + float(self._random.exponential(60 / self._people_a_minute))
        walk(self._people, may_go=signal == "walk")
        self._people = [p for p in self._people if not p.arrived]

    def _walker(self) -> Walker:
        random = self._random
        actor = person_actor(self.next_id(), random)
        side, way = random.choice([-1.0, 1.0], 2)
        y = side * random.uniform(9.6, 12.4)
        start, end = (-25.0, 70.0) if way > 0 else (70.0, -25.0)
        path = [(start, y, False)]
        if random.random() < 0.45:  # crosses the road
            x = random.uniform(ZEBRA_X[0] + 0.6, ZEBRA_X[1] - 0.6)
            path += [(x - 1.5 * way, y, False), (x, side * (KERB_Y + random.uniform(0.4, 1.0)), True)]
            y = -side * random.uniform(9.6, 12.4)
            path += [(x + random.uniform(-0.5, 0.5), -side * (KERB_Y + 0.6), False)]
            end = random.choice([-25.0, 70.0])
        path.append((float(end), y + random.uniform(-0.5, 0.5), False))
        return Walker(actor, path, float(np.clip(random.normal(1.38, 0.18), 0.9, 1.9)))


def _must_stop(driver: Driver, to_line: float, signal: str, time_s: float) -> bool:
    if signal == "green" or to_line < -0.5:
        return False
    if signal == "amber":
        return to_line > driver.speed**2 / 5.0
    late = time_s % CYCLE_S < GREEN_S + AMBER_S + 1.2
    return not (driver.runs_red and late and driver.speed > 6)


def _plate(random: np.random.Generator) -> str:
    letters = "".join(random.choice(list(_LETTERS), 2))
    digits = "".join(random.choice(list(_DIGITS), 3))
    return f"{letters}{digits}{random.choice(list(_LETTERS))}"


_METAL = linear((74, 80, 82))


def place_things(spec: SceneSpec, stage: Stage) -> None:
    """Put everything in its place; needs no textures."""
    random = spec.random("things")
    for x in np.arange(-8.0, 118.0, 14.0):
        for side in (-1.0, 1.0):
            if not (side < 0 and x < 22):  # not before the camera
                _tree(stage, random, x + random.uniform(-1.5, 1.5), side * 9.3)
    for i, x in enumerate(np.arange(-6.0, 118.0, 19.0)):
        _street_lamp(stage, float(x + 3.5), -1.0 if i % 2 and x > 15 else 1.0)
    _traffic_lights(stage)
    _furniture(stage, random)


def _tree(stage: Stage, random: np.random.Generator, x: float, y: float) -> None:
    height = float(random.uniform(4.6, 6.4))
    trunk = linear((82, 66, 52))
    stage.meshes.append(bar((x, y, 0), (x, y, height - 1.2), 0.13, trunk))
    stage.meshes.append(bar((x, y, height - 1.6), (x + 0.5, y + 0.4, height - 0.4), 0.07, trunk))
    stage.meshes.append(_crown(random, (x, y, height), 1.9))
    stage.shade((x - 0.1, x + 0.1), (y - 0.1, y + 0.1), (0, height))
    for _ in range(70):
        tuft = random.normal(0, 0.95, 3) * [1, 1, 0.8] + [x, y, height]
        stage.casters.append(f32(tuft + random.normal(0, 0.22, (6, 3))))


def _crown(random: np.random.Generator, centre: tuple[float, float, float], radius: float) -> Mesh:
    """Some hundred tufts of leaves in a ball, lighter outside and on top."""
    n = 2600
    way = random.standard_normal((n, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    lumps = 1 + 0.18 * np.sin(way[:, 0] * 4 + centre[0]) * np.cos(way[:, 1] * 5 + centre[1])
    far = radius * lumps * random.uniform(0.35, 1.0, n) ** 0.5
    middle = way * far[:, None] * [1, 1, 0.85] + centre
    corners = middle[:, None] + random.normal(0, 0.105, (n, 3, 3))
    tone = (0.45 + 0.75 * far / radius * (0.6 + 0.4 * way[:, 2])) * random.uniform(0.7, 1.25, n)
    green = linear((74, 98, 44)) * tone[:, None]
    normals = np.repeat((way + np.array([0, 0, 0.35]))[:, None], 3, axis=1)
    front = mesh(f32(corners), f32(normals), f32(green))
    return join(front, replace(front, corners=f32(front.corners[:, ::-1])))


def _street_lamp(stage: Stage, x: float, side: float) -> None:
    y = side * 8.95
    top = 7.2
    arm = y - side * 1.9
    stage.meshes.append(bar((x, y, 0), (x, y, top), 0.075, _METAL))
    stage.meshes.append(bar((x, y, top), (x, arm, top + 0.25), 0.05, _METAL))
    stage.meshes.append(box([0.25, 0.7, 0.1], [x, arm, top + 0.25], _METAL))
    glass = box([0.2, 0.6, 0.05], [x, arm, top + 0.18], f32([1.0, 0.72, 0.4])).as_surface(SIGN)
    stage.meshes.append(glass)
    stage.lamps.append(Lamp((x, arm, top), (38.0, 25.0, 13.0)))
    stage.shade((x - 0.07, x + 0.07), (y - 0.07, y + 0.07), (0, top))
    stage.casters.append(f32([[x + a, b, top + 0.2] for a in (-0.07, 0.07) for b in (y, arm)]))


def signal_heads() -> list[tuple[float, float, float, float]]:
    """x, y, z and facing (-1: towards traffic that runs along +x) of the drivers' traffic lights."""
    return [(STOP_X[1.0] + 0.9, -8.95, 2.7, -1.0), (STOP_X[-1.0] - 0.9, 8.95, 2.7, 1.0),
            (STOP_X[1.0] + 0.9, 8.95, 2.7, -1.0), (STOP_X[-1.0] - 0.9, -8.95, 2.7, 1.0)]  # fmt: skip


def _traffic_lights(stage: Stage) -> None:
    black = f32([0.02, 0.02, 0.02])
    for x, y, z, _ in signal_heads():
        stage.meshes.append(bar((x, y, 0), (x, y, z + 0.5), 0.06, _METAL))
        stage.meshes.append(box([0.22, 0.3, 0.9], [x, y, z], black))
        stage.shade((x - 0.1, x + 0.1), (y - 0.1, y + 0.1), (0, z + 0.5))


def _furniture(stage: Stage, random: np.random.Generator) -> None:
    green, steel = linear((40, 66, 52)), linear((130, 134, 136))
    for x in (9.0, 12.0, 26.0, 29.0, 32.0, 44.0, 47.0):
        for side in (-1.0, 1.0):
            y = side * 8.85
            stage.meshes.append(bar((x, y, 0), (x, y, 0.9), 0.055, steel))
            stage.meshes.append(ball([x, y, 0.93], [0.07, 0.07, 0.06], 8, steel))
            stage.shade((x - 0.05, x + 0.05), (y - 0.05, y + 0.05), (0, 0.9))
    for x in (24.5, 50.0):
        y = 12.2
        stage.meshes.append(join(box([1.8, 0.5, 0.06], [x, y, 0.45], linear((120, 84, 52))),
                                 box([1.8, 0.06, 0.4], [x, y + 0.25, 0.75], linear((120, 84, 52))),
                                 box([0.06, 0.45, 0.45], [x - 0.7, y, 0.22], steel),
                                 box([0.06, 0.45, 0.45], [x + 0.7, y, 0.22], steel)))  # fmt: skip
        stage.shade((x - 0.9, x + 0.9), (y - 0.25, y + 0.25), (0.4, 0.9))
        bin_x = x + random.uniform(2, 3)
        stage.meshes.append(bar((bin_x, y, 0), (bin_x, y, 0.95), 0.25, green))
        stage.shade((bin_x - 0.2, bin_x + 0.2), (y - 0.2, y + 0.2), (0, 0.95))
