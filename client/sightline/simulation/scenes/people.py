"""People as meshes of limbs, the way they walk, stand and ride, and the cycles they ride.

Bones: 0 body, 1 head, 2/3 upper arms, 4/5 forearms, 6/7 thighs, 8/9 shins, 10/11 feet (left, right). A limb's
mesh hangs from its joint along -z; the origin of the body is on the ground between the feet. Of a cycle the
rider's bones come first, then bone 12 is the frame, 13 and 14 the front and rear wheel, 15 the cranks.
"""

from dataclasses import dataclass

import numpy as np

from sightline.simulation.scenes.arrays import F32, f32, palette, pitch, roll
from sightline.simulation.scenes.mesh import Mesh, Surface, ball, bar, box, join, limb, quads, tyre, wheel
from sightline.simulation.scenes.world import Actor

BONES = 12
LAMP = f32([0.75, 0.76, 0.78])
CLOTHES = palette(
    "282c38 464a52 78282c 2e5278 c4beb2 dcdcde 405c42 966e42 5a3c5a 1e1e21 be963c aa5660 3c7882 6e747c"
)
TROUSERS = palette("242c42 1c1d21 46423c 605c54 2e3a58 36302c")
SKINS = palette("ecc4a8 deb292 be8c68 8c6044 5c3e2e")
HAIRS = palette("1e1814 3c2a1c 6e4c2c aa8854 787470 141416")
SHOES = palette("1e1c1b dcdcda 6e4628")
HELMETS = palette("f0be14 ebebeb 1e5abe dc4614")
VESTS = palette("cdeb1e ff640a")


class Appearance:
    """How a person is built and dressed, from an actor's seed and attributes; colours are linear."""

    def __init__(self, actor: Actor) -> None:
        random = np.random.default_rng([actor.seed, 1])

        def pick(colours: list[F32]) -> F32:
            return colours[int(random.integers(len(colours)))]

        drives = actor.kind == "forklift"
        worker = drives or "helmet" in actor.attributes
        self.height = actor.size[2] if actor.kind == "person" else float(random.uniform(1.62, 1.88))
        self.build = float(random.uniform(0.88, 1.2))
        self.skin, self.hair = pick(SKINS), pick(HAIRS)
        self.top = pick(CLOTHES[:4] + CLOTHES[9:10] if worker else CLOTHES)
        self.bottom, self.shoes = pick(TROUSERS), pick(SHOES)
        self.coat = not worker and random.random() < 0.22  # the top reaches to the knees
        self.sleeves = worker or random.random() < 0.75
        self.long_hair = random.random() < 0.35
        self.backpack = pick(CLOTHES) if not worker and random.random() < 0.3 else None
        self.helmet = pick(HELMETS) if actor.attributes.get("helmet", drives) else None
        self.vest = pick(VESTS) if actor.attributes.get("vest", drives) else None


def person(look: Appearance, k: int = 10) -> Mesh:
    """The mesh of a person standing at attention; ``k`` is the number of corners of a limb."""
    return join(*_torso(look, k), _head(look, k).on_bone(1), *_limbs(look, k))


def _torso(look: Appearance, k: int) -> list[Mesh]:
    h, round_ = look.height, k + 4
    stout = np.array([1, look.build, look.build, 1])
    trunk = np.array([
        (0.47, 0.055, 0.075, 0), (0.50, 0.070, 0.098, -0.006), (0.55, 0.069, 0.096, -0.004),
        (0.61, 0.060, 0.085, 0.004), (0.68, 0.064, 0.092, 0.006), (0.75, 0.070, 0.106, 0.004)])  # fmt: skip
    neck = np.array([
        (0.80, 0.060, 0.108, -0.002), (0.825, 0.046, 0.080, -0.004), (0.845, 0.032, 0.036, 0),
        (0.875, 0.029, 0.031, 0.006)])  # fmt: skip
    body = limb([*(trunk * h * stout), *(neck * h)], round_, look.top)
    z = body.patches(round_)[0][:, 2]
    body = body.painted(z < (0.0 if look.coat else 0.535 * h), look.bottom, 0.0)
    parts = [body.painted(z > 0.842 * h, look.skin, 0.03)]
    if look.coat:
        coat = np.array([(0.30, 0.085, 0.105, 0), (0.42, 0.078, 0.104, 0), (0.56, 0.073, 0.100, 0)])
        parts.append(limb(coat * h * stout, round_, look.top))
    if look.vest is not None:
        cut = np.array([
            (0.50, 0.074, 0.102, 0.003), (0.54, 0.072, 0.100, 0.003), (0.565, 0.071, 0.098, 0.003),
            (0.59, 0.068, 0.095, 0.003), (0.615, 0.066, 0.092, 0.003), (0.66, 0.067, 0.094, 0.003),
            (0.70, 0.070, 0.100, 0.003), (0.725, 0.071, 0.104, 0.003), (0.78, 0.068, 0.106, 0.003),
            (0.815, 0.055, 0.090, 0.003)])  # fmt: skip
        vest = limb(cut * h * stout + [0, 0.012, 0.012, 0], round_, look.vest)
        z = vest.patches(round_)[0][:, 2] / h
        stripes = ((z > 0.56) & (z < 0.592)) | ((z > 0.695) & (z < 0.727))
        parts.append(vest.painted(stripes, LAMP, 0.3))
    if look.backpack is not None:
        parts.append(ball([-0.105 * h, 0, 0.70 * h], [0.055 * h, 0.085 * h, 0.12 * h], k, look.backpack))
    return parts


def _head(look: Appearance, k: int) -> Mesh:
    h, r = look.height, 0.056 * look.height
    skull = ball([0.008 * h, 0, 0.055 * h], [r * 1.08, r * 0.88, r * 1.28], k + 2, look.skin, 0.03)
    c, _ = skull.patches(k + 2)
    scalp = (c[:, 2] > 0.085 * h) | ((c[:, 0] < -0.002 * h) & (c[:, 2] > 0.035 * h))
    nose = ball([0.010 * h + r, 0, 0.052 * h], [0.012 * h, 0.009 * h, 0.014 * h], 6, look.skin)
    parts = [skull.painted(scalp, look.hair, 0.08), nose]
    if look.long_hair:
        parts.append(ball([-0.03 * h, 0, 0.035 * h], [r * 0.6, r * 0.95, r * 1.5], k, look.hair, 0.08))
    if look.helmet is not None:
        shell = ball([0.004 * h, 0, 0.095 * h], [r * 1.32, r * 1.15, r * 1.05], k + 4, look.helmet, 0.25)
        parts += [shell, box([r * 1.1, r * 1.7, 0.012], [r * 1.2, 0, 0.095 * h], look.helmet, 0.25)]
    return join(*parts)


def _limbs(look: Appearance, k: int) -> list[Mesh]:
    """Arms, then legs; of each the left ones first."""
    h, b, arm = look.height, look.build, (look.build + 1) / 2
    upper = np.array([(0.022, 0.022, 0.022, 0), (0, 0.033, 0.033, 0), (-0.08, 0.030, 0.030, 0),
                      (-0.175, 0.025, 0.025, 0)]) * h  # fmt: skip
    fore = np.array([(0.02, 0.024, 0.024, 0), (-0.05, 0.024, 0.024, 0), (-0.14, 0.017, 0.018, 0)]) * h
    thigh = np.array([(0.03, 0.045, 0.045, 0), (-0.04, 0.053, 0.052, 0), (-0.14, 0.045, 0.042, 0),
                      (-0.25, 0.034, 0.033, 0)]) * h  # fmt: skip
    shin = np.array([(0.02, 0.034, 0.033, 0), (-0.07, 0.035, 0.033, -0.005), (-0.16, 0.027, 0.026, -0.002),
                     (-0.225, 0.026, 0.025, 0)]) * h  # fmt: skip
    upper[1:3, 1:3] *= arm
    thigh[:2, 1:3] *= b
    thigh[2, 1] *= b
    hand = ball([0.004 * h, 0, -0.175 * h], [0.022 * h, 0.013 * h, 0.045 * h], 6, look.skin)
    forearm = join(limb(fore, k, look.top if look.sleeves else look.skin), hand)
    foot = ball([0.035 * h, 0, -0.012 * h], [0.075 * h, 0.027 * h, 0.025 * h], 8, look.shoes, 0.1)
    arms = ((2, limb(upper, k, look.top)), (4, forearm))
    legs = ((6, limb(thigh, k, look.bottom)), (8, limb(shin, k, look.bottom)), (10, foot))
    return [part.on_bone(bone + side) for pair in (arms, legs) for side in (0, 1) for bone, part in pair]


@dataclass(frozen=True, slots=True)
class Pose:
    """Joint angles, radians; pairs are left and right. Forward is positive, knees and elbows only bend."""

    thigh: tuple[float, float] = (0.0, 0.0)
    knee: tuple[float, float] = (0.0, 0.0)
    shoulder: tuple[float, float] = (0.0, 0.0)
    elbow: tuple[float, float] = (0.15, 0.15)
    lean: float = 0.0
    bob: float = 0.0
    seat: float | None = None  # height of the hips when riding


def walking(travel_m: float, speed: float, height: float) -> Pose:
    """The pose after ``travel_m`` metres: a double step is 0.8 body heights, so feet do not slide."""
    phase, swing = 2 * np.pi * travel_m / (0.80 * height), min(1.0, speed / 1.2)
    s = np.sin(phase)
    left, right = (swing * (0.12 + 0.75 * max(0.0, np.cos(phase + side)) ** 1.5) for side in (0.0, np.pi))
    return Pose(
        thigh=(swing * 0.46 * s + 0.05 * swing, -swing * 0.46 * s + 0.05 * swing),
        knee=(float(left), float(right)),
        shoulder=(-swing * 0.42 * s, swing * 0.42 * s),
        elbow=(0.18 + swing * 0.3, 0.18 + swing * 0.3),
        lean=0.04 * swing,
        bob=float(-0.012 * height * swing * (1 - abs(np.cos(phase)))),
    )


def bones(pose: Pose, height: float) -> tuple[F32, F32]:
    """Rotations [12, 3, 3] and offsets [12, 3] of every bone for a pose."""
    h, lean = height, pitch(-pose.lean)
    rotations, offsets = np.empty((BONES, 3, 3), np.float32), np.empty((BONES, 3), np.float32)
    hips = f32([0, 0, 0.50 * h + pose.bob if pose.seat is None else pose.seat])
    rotations[0], offsets[0] = lean, hips - lean @ f32([0, 0, 0.50 * h])
    rotations[1], offsets[1] = pitch(pose.lean * 0.3), offsets[0] + lean @ f32([0.004 * h, 0, 0.865 * h])
    for side, sign in ((0, 1.0), (1, -1.0)):
        upper = lean @ pitch(pose.shoulder[side]) @ roll(sign * 0.10)
        shoulder = offsets[0] + lean @ f32([0, sign * 0.118 * h, 0.80 * h])
        elbow = shoulder + upper @ f32([0, 0, -0.17 * h])
        bend = pose.thigh[side] - pose.knee[side]
        thigh, shin = pitch(pose.thigh[side]), pitch(bend)
        hip = hips + f32([0, sign * 0.048 * h, 0])
        knee = hip + thigh @ f32([0, 0, -0.245 * h])
        rotations[2 + side :: 2] = upper, upper @ pitch(pose.elbow[side]), thigh, shin, pitch(bend * 0.4)
        offsets[2 + side :: 2] = shoulder, elbow, hip, knee, knee + shin @ f32([0, 0, -0.225 * h])
    return rotations, offsets


FRAME, FRONT, REAR, CRANKS = 12, 13, 14, 15
CYCLES = {"bicycle": (0.52, -0.52, 0.34), "motorcycle": (0.72, -0.70, 0.31)}  # front x, rear x, radius
_BLACK = f32([0.02, 0.02, 0.022])
_STEEL = f32([0.4, 0.41, 0.43])
_RED = f32([0.4, 0.02, 0.02])


def bicycle(look: Appearance, paint: F32, k: int = 10) -> Mesh:
    """A bicycle and its rider."""
    front, rear, radius = CYCLES["bicycle"]
    head, seat, crank = (0.36, 0.0, 0.86), (-0.20, 0.0, 0.92), (-0.05, 0.0, 0.30)
    frame = join(
        bar(head, seat, 0.018, paint),
        bar(head, crank, 0.020, paint),
        bar(seat, crank, 0.018, paint),
        bar(crank, (rear, 0, radius), 0.013, paint),
        bar((-0.17, 0, 0.78), (rear, 0, radius), 0.011, paint),
        bar((0.33, 0, 0.98), (front, 0, radius), 0.016, _STEEL),
        bar((0.34, -0.27, 1.02), (0.34, 0.27, 1.02), 0.014, _BLACK),
        box([0.26, 0.13, 0.06], [-0.22, 0, 0.95], _BLACK),
        box([0.05, 0.06, 0.06], [0.4, 0, 0.92], f32([0.7, 0.7, 0.7]), surface=Surface.HEAD_LAMP),
        box([0.04, 0.06, 0.05], [-0.62, 0, 0.70], _RED, surface=Surface.TAIL_LAMP),
    )
    cranks = join(
        bar((0, 0.1, 0), (0, 0.1, -0.17), 0.014, _STEEL),
        bar((0, -0.1, 0), (0, -0.1, 0.17), 0.014, _STEEL),
        bar((0, -0.1, 0), (0, 0.1, 0), 0.05, _STEEL),
    )
    ends = [(radius * 0.94 * np.cos(a), 0, radius * 0.94 * np.sin(a)) for a in np.arange(8) * np.pi / 4]
    spokes = [bar((0, 0, 0), end, 0.006, _STEEL) for end in ends]
    spoked = join(tyre(radius, k + 6, _BLACK), *spokes)
    wheels = spoked.on_bone(FRONT), spoked.on_bone(REAR)
    return join(person(look, k), frame.on_bone(FRAME), cranks.on_bone(CRANKS), *wheels)


def motorcycle(look: Appearance, paint: F32, k: int = 10) -> Mesh:
    """A motorcycle and its rider, who wears a full helmet."""
    front, _, radius = CYCLES["motorcycle"]
    plate = [[-0.93, y, z] for y, z in ((0.13, 0.64), (-0.13, 0.64), (-0.13, 0.76), (0.13, 0.76))]
    frame = join(
        ball([0.12, 0, 0.80], [0.33, 0.15, 0.16], k + 2, paint, 0.5),
        ball([0.02, 0, 0.48], [0.33, 0.17, 0.2], k, f32([0.06, 0.06, 0.065]), 0.3),
        ball([-0.35, 0, 0.80], [0.36, 0.14, 0.07], k, _BLACK, 0.1),
        ball([-0.62, 0, 0.84], [0.2, 0.1, 0.08], k, paint, 0.5),
        ball([0.50, 0, 0.90], [0.16, 0.17, 0.2], k, paint, 0.5),
        bar((0.42, -0.1, 1.0), (front, -0.1, radius), 0.03, _STEEL),
        bar((0.42, 0.1, 1.0), (front, 0.1, radius), 0.03, _STEEL),
        bar((0.36, -0.36, 1.06), (0.36, 0.36, 1.06), 0.02, _BLACK),
        bar((0.0, -0.17, 0.33), (-0.8, -0.2, 0.42), 0.05, _STEEL),
        box([0.06, 0.18, 0.14], [0.66, 0, 0.92], LAMP, surface=Surface.HEAD_LAMP),
        box([0.05, 0.16, 0.07], [-0.83, 0, 0.82], _RED, surface=Surface.TAIL_LAMP),
        quads(f32([plate]), f32([0.8, 0.8, 0.78]), surface=Surface.PLATE),
    )
    rolling = wheel(radius, 0.13, k + 6, f32([0.12, 0.12, 0.13]))
    shell = ball([0.01 * look.height, 0, 0.06 * look.height], [0.15, 0.125, 0.16], k + 2, paint, 0.6)
    visor = ball([0.055 * look.height, 0, 0.06 * look.height], [0.08, 0.1, 0.055], k, _BLACK, 1.0)
    helmet = join(shell, visor).on_bone(1)
    return join(person(look, k), helmet, frame.on_bone(FRAME), rolling.on_bone(FRONT), rolling.on_bone(REAR))


def riding(kind: str, travel_m: float) -> Pose:
    """How the rider sits: a cyclist pedals, a motorcyclist keeps still."""
    if kind == "motorcycle":
        return Pose((1.15, 1.15), (1.45, 1.45), (0.95, 0.95), (0.35, 0.35), lean=0.22, seat=0.90)
    left, right = np.sin(travel_m * 1.7), np.sin(travel_m * 1.7 + np.pi)
    thigh, knee = (0.85 + 0.35 * left, 0.85 + 0.35 * right), (1.05 + 0.45 * left, 1.05 + 0.45 * right)
    return Pose(thigh, knee, shoulder=(0.85, 0.85), elbow=(0.3, 0.3), lean=0.42, seat=0.99)


def cycle_bones(kind: str, travel_m: float) -> tuple[F32, F32]:
    """Rotations [4, 3, 3] and offsets [4, 3] of frame, front wheel, rear wheel and cranks."""
    front, rear, radius = CYCLES[kind]
    spin = pitch(-travel_m / radius)
    rotations = np.stack([np.eye(3), spin, spin, pitch(-travel_m * 1.7)])
    return f32(rotations), f32(((0, 0, 0), (front, 0, radius), (rear, 0, radius), (-0.05, 0, 0.30)))
