"""A street: four lanes, two cycle lanes, two pavements, and a crossing with a traffic light.

The road runs along x; traffic keeps to the right, so lanes at y < 0 run towards +x. Drivers follow each
other by the Intelligent Driver Model, and stop for red. First the world, then the things
that stand in it and hide what is behind: trees, lamps, traffic lights, posts, benches.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from sightline.simulation.scenes.arrays import f32, linear, palette
from sightline.simulation.scenes.mesh import Stage, Surface, ball, bar, box, join, mesh
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.world import STEP_S, Actor, ActorState, Placed, Walker, World, walk

LANES = ((-1.75, 1.0), (-5.1, 1.0), (1.75, -1.0), (5.1, -1.0), (-7.55, 1.0), (7.55, -1.0))  # y, direction
CYCLE_LANE_Y = 7.0  # further out are the cycle lanes
KERB_Y, WALL_Y = 8.5, 13.2
ROAD = {1.0: (-45.0, 116.0), -1.0: (-116.0, 45.0)}  # where traffic appears and leaves, along its way
ZEBRA_X = (17.0, 21.0)
STOP_X = {1.0: 15.2, -1.0: 22.8}
SPEED_LIMIT = 50 / 3.6
CYCLE_S, AMBER_UNTIL_S = 44.0, 23.0  # of the traffic light
SIGNALS = (("green", 20.0), ("amber", AMBER_UNTIL_S), ("red", 24.5), ("walk", 30.0))  # until when; then red
KINDS = {  # length, width, height; share of the traffic; mean wanted speed in m/s
    "sedan": ("car", (4.6, 1.82, 1.45), 0.28, 12.6),
    "hatchback": ("car", (4.0, 1.76, 1.48), 0.26, 12.4),
    "suv": ("car", (4.5, 1.88, 1.70), 0.16, 12.8),
    "van": ("van", (5.4, 2.0, 2.35), 0.10, 12.0),
    "truck": ("truck", (8.4, 2.5, 3.55), 0.07, 10.8),
    "bus": ("bus", (11.5, 2.5, 3.25), 0.05, 10.5),
    "motorcycle": ("motorcycle", (2.1, 0.8, 1.5), 0.08, 13.0),
    "bicycle": ("bicycle", (1.8, 0.6, 1.75), 0.0, 5.0),
}
_MOTORS = [name for name, kind in KINDS.items() if kind[2]]
_SHARES = np.array([KINDS[name][2] for name in _MOTORS])
_LETTERS, _DIGITS = list("ABCDEFGHJKLMNPRSTUVWXYZ"), list("0123456789")


@dataclass(slots=True)
class Driver:
    """A vehicle in its lane; ``along`` runs in the direction of travel."""

    actor: Actor
    y: float
    along: float
    speed: float
    wanted: float
    runs_red: bool
    travel: float = 0.0
    braking: bool = False

    def drive(self, room: float, ahead_speed: float) -> None:
        """One step of the Intelligent Driver Model with ``room`` metres to what is ahead."""
        gap = max(room, 0.1)
        hard, soft = 1.6, 2.4
        closing = self.speed * (self.speed - ahead_speed) / (2 * math.sqrt(hard * soft))
        wish = 2.0 + max(0.0, self.speed * 1.2 + closing)
        gain = max(hard * (1 - (self.speed / self.wanted) ** 4 - (wish / gap) ** 2), -8.0)
        self.braking = gain < -0.8 or (self.speed < 0.2 and gain <= 0.05)
        self.speed = max(0.0, self.speed + gain * STEP_S)
        self.along += self.speed * STEP_S
        self.travel += self.speed * STEP_S

    def placed(self, way: float) -> Placed:
        """As the world sees it; ``way`` is its lane's direction."""
        x, heading = self.along * way, 0.0 if way > 0 else math.pi
        return self.actor, ActorState(x, self.y, heading, self.speed, self.travel, self.braking)

    def must_stop(self, to_line: float, signal: str, time_s: float) -> bool:
        """Whether it stops for the traffic light, ``to_line`` metres before the stop line."""
        if signal == "green" or to_line < -0.5:
            return False
        if signal == "amber":
            return to_line > self.speed**2 / 5.0
        late = time_s % CYCLE_S < AMBER_UNTIL_S + 1.2
        return not (self.runs_red and late and self.speed > 6)


@dataclass(slots=True)
class Lane:
    """The drivers in a lane, the first one ahead, and when the next comes."""

    y: float
    direction: float
    random: np.random.Generator
    a_minute: float
    drivers: list[Driver] = field(default_factory=list)
    next_s: float = -1e9

    def move(self, time_s: float, signal: str) -> bool:
        """One step of all drivers; whether another one comes now."""
        start, end = ROAD[self.direction]
        ahead: Driver | None = None
        for driver in self.drivers:
            room, speed = 1e3, driver.wanted
            nose = driver.along + driver.actor.size[0] / 2
            if ahead is not None:
                room, speed = ahead.along - ahead.actor.size[0] / 2 - nose, ahead.speed
            to_line = STOP_X[self.direction] * self.direction - nose
            if driver.must_stop(to_line, signal, time_s) and to_line < room:
                room, speed = to_line + 1.2, 0.0
            driver.drive(room, speed)
            ahead = driver
        self.drivers = [d for d in self.drivers if d.along < end]
        return time_s >= self.next_s and (not self.drivers or self.drivers[-1].along - start > 22)

    def enter(self, number: int) -> None:
        """Another driver comes."""
        random = self.random
        seed, cycles = int(random.integers(1 << 31)), abs(self.y) > CYCLE_LANE_Y
        variant = "bicycle" if cycles else str(random.choice(_MOTORS, p=_SHARES / _SHARES.sum()))
        kind, size, _, mean = KINDS[variant]
        wanted = float(np.clip(random.normal(mean, 0.15 * mean), 0.6 * mean, 1.45 * mean))
        parts = () if cycles else ((_LETTERS, 2), (_DIGITS, 3), (_LETTERS, 1))
        plate = "".join(letter for kinds, n in parts for letter in random.choice(kinds, n))
        speed = min(wanted, self.drivers[-1].speed + 2.0) if self.drivers else wanted
        y = self.y + float(random.normal(0, 0.15))
        actor = Actor(number, kind, variant, size, seed, {"plate": plate} if plate else {})
        runs_red = bool(random.random() < 0.3)
        self.drivers.append(Driver(actor, y, ROAD[self.direction][0], speed, wanted, runs_red))


def signal_at(time_s: float) -> str:
    """The traffic light: green, amber or red for drivers, walk for people."""
    phase = time_s % CYCLE_S
    return next((signal for signal, until_s in SIGNALS if phase < until_s), "red")


class StreetWorld(World):
    """What happens in the street."""

    def __init__(self, spec: SceneSpec) -> None:
        super().__init__()
        busy = {"day": 1.0, "dusk": 0.85, "night": 0.5}[spec.light]
        self._lanes = []
        for y, way in LANES:
            a_minute = 5.0 if abs(y) < 3 else 3.0 if abs(y) > CYCLE_LANE_Y else 6.5
            self._lanes.append(Lane(y, way, spec.random(f"lane {y}"), a_minute * busy))
        self._random = spec.random("people")
        self._people_a_minute = 20.0 * spec.people * busy * (0.6 if spec.weather == "rain" else 1.0)
        self._next_person_s = -1e9
        self._people: list[Walker] = []

    def move(self, time_s: float) -> tuple[Iterable[Placed], str]:
        """One step of traffic, people and the traffic light."""
        signal = signal_at(time_s)
        for lane in self._lanes:
            if lane.move(time_s, signal):
                if lane.next_s > -1e8:
                    lane.enter(self.next_id())
                lane.next_s = time_s + float(lane.random.exponential(60 / lane.a_minute))
        if time_s >= self._next_person_s:
            if self._next_person_s > -1e8:
                self._people.append(self._walker())
            self._next_person_s = time_s + float(self._random.exponential(60 / self._people_a_minute))
        self._people = walk(self._people, may_go=signal == "walk")
        drivers = (driver.placed(lane.direction) for lane in self._lanes for driver in lane.drivers)
        return (*drivers, *(person.placed() for person in self._people)), signal

    def _walker(self) -> Walker:
        random = self._random
        actor = self.person(random)
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


#: x, y, z and facing (-1: towards traffic that runs along +x) of the drivers' traffic lights.
SIGNAL_HEADS = [(STOP_X[d] + 0.9 * d, s * 8.95, 2.7, -d) for d, s in ((1, -1), (-1, 1), (1, 1), (-1, -1))]
_METAL, _STEEL, _WOOD = palette("4a5052 828688 785434")


def place_things(spec: SceneSpec, stage: Stage) -> None:
    """Put everything in its place; needs no textures."""
    random = spec.random("things")
    for x in np.arange(-8.0, 118.0, 14.0):
        for side in (-1.0, 1.0):
            if not (side < 0 and x < 22):  # not before the camera
                _tree(stage, random, x + random.uniform(-1.5, 1.5), side * 9.3)
    for i, x in enumerate(np.arange(-2.5, 121.5, 19.0).tolist()):  # street lamps
        side, top = -1.0 if i % 2 and x > 18.5 else 1.0, 7.2
        y, arm = side * 8.95, side * 8.95 - side * 1.9
        stage.meshes += [
            bar((x, y, 0), (x, y, top), 0.075, _METAL),
            bar((x, y, top), (x, arm, top + 0.25), 0.05, _METAL),
            box([0.25, 0.7, 0.1], [x, arm, top + 0.25], _METAL),
            box([0.2, 0.6, 0.05], [x, arm, top + 0.18], f32([1.0, 0.72, 0.4]), surface=Surface.SIGN),
        ]
        stage.lamps.append(((x, arm, top), (38.0, 25.0, 13.0)))
        stage.post(x, y, 0.07, top)
        stage.casters.append(f32([[x + a, b, top + 0.2] for a in (-0.07, 0.07) for b in (y, arm)]))
    for x, y, z, _ in SIGNAL_HEADS:
        post = bar((x, y, 0), (x, y, z + 0.5), 0.06, _METAL)
        stage.meshes += [post, box([0.22, 0.3, 0.9], [x, y, z], f32([0.02, 0.02, 0.02]))]
        stage.post(x, y, 0.1, z + 0.5)
    for x in (9.0, 12.0, 26.0, 29.0, 32.0, 44.0, 47.0):
        for y in (-8.85, 8.85):
            stage.meshes.append(bar((x, y, 0), (x, y, 0.9), 0.055, _STEEL))
            stage.meshes.append(ball([x, y, 0.93], [0.07, 0.07, 0.06], 8, _STEEL))
            stage.post(x, y, 0.05, 0.9)
    for x in (24.5, 50.0):  # a bench and a bin
        y, bin_x = 12.2, x + random.uniform(2, 3)
        seat = box([1.8, 0.5, 0.06], [x, y, 0.45], _WOOD)
        back = box([1.8, 0.06, 0.4], [x, y + 0.25, 0.75], _WOOD)
        legs = [box([0.06, 0.45, 0.45], [x + dx, y, 0.22], _STEEL) for dx in (-0.7, 0.7)]
        stage.meshes.append(join(seat, back, *legs))
        stage.meshes.append(bar((bin_x, y, 0), (bin_x, y, 0.95), 0.25, linear(40, 66, 52)))
        stage.shade((x - 0.9, x + 0.9), (y - 0.25, y + 0.25), 0.9, bottom=0.4)
        stage.post(bin_x, y, 0.2, 0.95)


def _tree(stage: Stage, random: np.random.Generator, x: float, y: float) -> None:
    """A trunk, and a crown of some hundred tufts of leaves in a ball, lighter outside and on top."""
    height, trunk, radius, n = float(random.uniform(4.6, 6.4)), linear(82, 66, 52), 1.9, 2600
    stage.meshes.append(bar((x, y, 0), (x, y, height - 1.2), 0.13, trunk))
    stage.meshes.append(bar((x, y, height - 1.6), (x + 0.5, y + 0.4, height - 0.4), 0.07, trunk))
    way = random.standard_normal((n, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    lumps = 1 + 0.18 * np.sin(way[:, 0] * 4 + x) * np.cos(way[:, 1] * 5 + y)
    far = radius * lumps * random.uniform(0.35, 1.0, n) ** 0.5
    middle = way * far[:, None] * [1, 1, 0.85] + (x, y, height)
    corners = middle[:, None] + random.normal(0, 0.105, (n, 3, 3))
    tone = (0.45 + 0.75 * far / radius * (0.6 + 0.4 * way[:, 2])) * random.uniform(0.7, 1.25, n)
    normals = np.repeat((way + np.array([0, 0, 0.35]))[:, None], 3, axis=1)
    front = mesh(f32(corners), f32(normals), f32(linear(74, 98, 44) * tone[:, None]))
    stage.meshes.append(join(front, replace(front, corners=f32(front.corners[:, ::-1]))))
    stage.post(x, y, 0.1, height)
    for _ in range(70):
        tuft = random.normal(0, 0.95, 3) * [1, 1, 0.8] + [x, y, height]
        stage.casters.append(f32(tuft + random.normal(0, 0.22, (6, 3))))
