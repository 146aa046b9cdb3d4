"""Cars, vans, trucks, buses and forklifts as meshes: body, glass, wheels that turn, lamps, plates.

The origin is on the ground under the vehicle's middle; x points forward. Bone 0 is the body, bone i + 1 the
wheels of axle i (turning about the axle).
"""

from dataclasses import dataclass, replace

import numpy as np

from sightline.simulation.scenes.arrays import F32, f32, linear, xyz
from sightline.simulation.scenes.factory import load
from sightline.simulation.scenes.mesh import Mesh, Surface, bar, box, join, loft, quads, ring, wheel
from sightline.simulation.scenes.people import LAMP, Appearance, Pose, bones, person

GLASS = f32([0.012, 0.016, 0.02])
DARK = f32([0.015, 0.015, 0.016])
RED = f32([0.35, 0.012, 0.01])
_FRAME, _TAIL = linear(34, 35, 37), f32([0.4, 0.02, 0.02])  # of a forklift


@dataclass(frozen=True, slots=True)
class Shape:
    """The measures of a car, metres; fractions run from the tail (0) to the nose (1)."""

    length: float
    width: float
    height: float
    wheel_radius: float
    axles: tuple[float, float]
    # fractions of the length, and how high the body's upper edge is there
    belt: tuple[tuple[float, ...], tuple[float, ...]]
    # fractions at which the cabin starts and ends at the belt, and at the roof
    cabin: tuple[float, float, float, float]
    pillars: tuple[float, ...]  # fractions at which its panes are parted


SHAPES = {
    "sedan": Shape(4.6, 1.82, 1.45, 0.32, (0.19, 0.80),
        ((0, 0.04, 0.2, 0.7, 0.85, 0.96, 1), (0.86, 0.98, 1.0, 0.98, 0.86, 0.74, 0.62)),
        (0.10, 0.74, 0.27, 0.58), (0.42,)),
    "hatchback": Shape(4.0, 1.76, 1.48, 0.31, (0.17, 0.80),
        ((0, 0.03, 0.2, 0.74, 0.88, 0.97, 1), (0.9, 1.0, 1.02, 0.98, 0.87, 0.75, 0.62)),
        (0.01, 0.80, 0.10, 0.60), (0.36,)),
    "suv": Shape(4.5, 1.88, 1.70, 0.36, (0.18, 0.80),
        ((0, 0.03, 0.2, 0.72, 0.88, 0.97, 1), (1.0, 1.1, 1.12, 1.1, 1.02, 0.9, 0.75)),
        (0.01, 0.76, 0.08, 0.60), (0.24, 0.42)),
    "van": Shape(5.4, 2.0, 2.35, 0.35, (0.17, 0.82),
        ((0, 0.03, 0.3, 0.84, 0.93, 0.98, 1), (1.2, 1.3, 1.3, 1.28, 1.05, 0.9, 0.7)),
        (0.0, 0.925, 0.01, 0.74), ()),
}  # fmt: skip
#: Place along x and wheel radius of every axle of a variant, in the order of the wheels' bones.
AXLES = {
    "truck": ((-2.9, 0.48), (-1.7, 0.48), (3.05, 0.48)),
    "bus": ((-2.9, 0.48), (3.2, 0.48)),
    "forklift": ((0.55, 0.33), (-0.75, 0.27)),
    **{name: tuple(((f - 0.5) * s.length, s.wheel_radius) for f in s.axles) for name, s in SHAPES.items()},
}


def car(variant: str, paint: F32, k: int = 20) -> Mesh:
    """A sedan, hatchback, SUV or van. ``k`` is the number of corners of round things."""
    shape = SHAPES[variant]
    body, cabin = _body(shape, paint, k), _cabin(shape, paint, variant == "van", max(16, k + 8))
    return join(body, cabin, *_details(shape, paint), wheels(variant, shape.width, k))


def wheels(variant: str, width: float, k: int) -> Mesh:
    """Wheels and their arches."""
    parts = []
    for bone, (x, radius) in enumerate(AXLES[variant], start=1):
        arch, tyre = wheel(radius * 1.17, 0.17, k, DARK), wheel(radius, 0.2, k, f32([0.33, 0.34, 0.36]))
        arch = replace(arch, albedo=f32(arch.albedo * 0 + DARK * 0.5), gloss=arch.gloss * 0)
        for side in (-1.0, 1.0):
            y = side * (width / 2 - 0.095)
            parts.append(arch.moved([x, y - side * 0.01, radius * 1.05]))
            parts.append(tyre.moved([x, y, radius]).on_bone(bone))
    return join(*parts)


def _body(shape: Shape, paint: F32, k: int) -> Mesh:
    fractions = np.array([0, 0.012, 0.04, 0.1, 0.2, 0.35, 0.5, 0.65, 0.78, 0.88, 0.95, 0.985, 1])[:, None]
    plan = np.interp(fractions, [0, 0.012, 0.05, 0.2, 0.8, 0.94, 0.985, 1],
                     [0.80, 0.90, 0.965, 1, 1, 0.95, 0.84, 0.7])  # fmt: skip
    top = np.interp(fractions, *shape.belt)
    low = np.interp(fractions, [0, 0.03, 0.08, 0.92, 0.97, 1], [0.42, 0.3, 0.2, 0.2, 0.26, 0.4])
    y, z = ring(k, 4.5).T
    z = (top + low) / 2 + z * (top - low) / 2
    leaning = np.where(z > 0.7 * top, 1 - 0.10 * (z - 0.7 * top) / (0.3 * top), 1.0)  # the shoulders lean in
    rings = xyz((fractions - 0.5) * shape.length, y * plan * shape.width / 2 * leaning, z)
    body = loft(rings, paint, 0.5)
    return body.painted(body.patches(k)[0][:, 2] < 0.36, DARK, 0.05)


def _cabin(shape: Shape, paint: F32, closed: bool, k: int) -> Mesh:
    back, front, roof_back, roof_front = ((f - 0.5) * shape.length for f in shape.cabin)
    belt = max(shape.belt[1]) - 0.06
    level = np.array([0, 0.25, 0.5, 0.78, 0.9, 0.97, 1.0])[:, None]
    lean = np.array([0, 0.27, 0.54, 0.84, 0.93, 0.99, 1.04])[:, None]
    w = [0.98, 0.98, 0.975, 0.96, 0.94, 0.88, 0.75] if closed else [0.93, 0.9, 0.865, 0.82, 0.79, 0.72, 0.6]
    rounded = np.where(level >= 0.97, 0.06, 0)
    a, b = back + (roof_back - back) * lean + rounded, front + (roof_front - front) * lean - rounded
    x, y = ring(k, 7.0).T
    y = y * (np.array(w)[:, None] * shape.width / 2)
    cabin = loft(xyz((a + b) / 2 + x * (b - a) / 2, y, belt + level * (shape.height - belt)), paint, 0.5)
    c, n = cabin.patches(k)
    height = (c[:, 2] - belt) / (shape.height - belt)
    sideways, lengthways = np.abs(n[:, 1]) > 0.8, np.abs(n[:, 0]) > 0.5
    pane = (height > 0.12) & (height < 0.84) & (sideways | lengthways)
    if closed:
        pane &= (c[:, 0] > shape.length * 0.22) | (lengthways & (c[:, 0] < 0))
    for f in shape.pillars:
        pane &= ~(sideways & (np.abs(c[:, 0] - (f - 0.5) * shape.length) < 0.11))
    return cabin.painted(pane, GLASS, 1.0)


def _details(shape: Shape, paint: F32) -> list[Mesh]:
    """Bumpers, lamps and plates, and on both sides the gaps of doors, handles and mirrors."""
    w, nose, tail = shape.width, shape.length / 2 + 0.005, -shape.length / 2 - 0.005
    bonnet, boot = float(np.interp(0.985, *shape.belt)), shape.belt[1][1] - 0.15
    stop = [tail + 0.12 + shape.cabin[0] * shape.length, 0, shape.height * 0.7]
    front, head, rear = bonnet - 0.1, [0.16, w * 0.17, 0.12], [0.12, w * 0.13, 0.17]
    parts = [
        box([0.05, w * 0.5, 0.14], [nose - 0.02, 0, 0.43], DARK, 0.1),
        box([0.06, w * 0.42, 0.10], [nose - 0.03, 0, bonnet - 0.13], DARK, 0.3),
        *(box(head, [nose - 0.13, s * w * 0.335, front], LAMP, 0.9, Surface.HEAD_LAMP) for s in (-1, 1)),
        plate(nose + 0.02, 0.52, 1.0),
        box([0.05, w * 0.8, 0.1], [tail + 0.03, 0, 0.36], DARK, 0.05),
        *(box(rear, [tail + 0.07, s * w * 0.36, boot], RED, 0.6, Surface.TAIL_LAMP) for s in (-1, 1)),
        box([0.05, 0.3, 0.03], stop, RED, 0.3, Surface.BRAKE_LAMP),
        plate(tail - 0.02, 0.66, -1.0),
    ]
    low, high = 0.38, max(shape.belt[1]) - 0.1
    tall, middle, mirror = high - low, (low + high) / 2, (shape.cabin[1] - 0.5) * shape.length - 0.25
    gaps, handles = ([(f - 0.5) * shape.length for f in part] for part in ((0.36, 0.50, 0.68), (0.46, 0.62)))
    for y in (-shape.width / 2, shape.width / 2):
        parts += [box([0.018, 0.012, tall], [x, y * 0.985, middle], f32(paint * 0.2)) for x in gaps]
        parts += [box([0.16, 0.03, 0.03], [x, y, high - 0.1], f32(paint * 0.5), 0.5) for x in handles]
        parts.append(box([0.1, 0.2, 0.13], [mirror, y * 1.07, high + 0.12], paint, 0.4))
    return parts


def plate(x: float, z: float, facing: float) -> Mesh:
    """A number plate at ``x``, facing forward (1) or back (-1)."""
    # Wider and taller than the real 0.52 x 0.11 m, so that fewer pixels can read it.
    y, tall = facing * 0.60 / 2, 0.15 / 2
    corners = [[x, -y, z - tall], [x, y, z - tall], [x, y, z + tall], [x, -y, z + tall]]
    return quads(f32([corners]), f32([0.8, 0.8, 0.78]), 0.05, Surface.PLATE)


def truck(paint: F32, cargo: F32, k: int = 20) -> Mesh:
    """A box truck, 8.4 m: cab, chassis, cargo box, three axles."""
    cab_x, width = 3.2, 2.4
    x, y = ring(k, 6.0).T
    sections = ((0.55, 0.96, 0.96, 0), (0.7, 1, 1, 0), (1.5, 1, 1, 0), (1.75, 0.99, 0.99, 0.02),
                (2.45, 0.93, 0.97, 0.1), (2.65, 0.88, 0.93, 0.15), (2.75, 0.75, 0.8, 0.18))  # fmt: skip
    z, sx, sy, lean = f32(sections).T[..., None]
    cab = loft(xyz(cab_x + x * 0.95 * sx - lean, y * width / 2 * sy, z), paint, 0.4)
    c, n = cab.patches(k)
    glazed = (n[:, 0] > 0.6) | ((np.abs(n[:, 1]) > 0.8) & (c[:, 0] > cab_x))
    parts = [
        cab.painted((c[:, 2] > 1.55) & (c[:, 2] < 2.45) & glazed, GLASS, 1.0),
        box([7.6, 0.9, 0.3], [-0.3, 0, 0.85], DARK),
        box([6.1, 2.46, 2.5], [-1.12, 0, 2.3], cargo, 0.15),
        *(box([0.03, 2.49, 2.5], [x, 0, 2.3], f32(cargo * 0.7)) for x in np.linspace(-4.0, 1.8, 9)),
        box([6.14, 2.5, 0.1], [-1.12, 0, 1.07], f32(paint * 0.8)),
        box([0.06, 2.2, 0.1], [-4.2, 0, 0.6], f32([0.5, 0.05, 0.03])),
        *(box([2.2, 0.06, 0.4], [0.3, side * 1.15, 0.75], f32([0.1, 0.1, 0.1])) for side in (-1, 1)),
    ]
    for side in (-1.0, 1.0):
        parts.append(box([0.1, 0.4, 0.18], [4.12, side * 0.85, 0.8], LAMP, 0.9, Surface.HEAD_LAMP))
        parts.append(box([0.08, 0.35, 0.15], [-4.2, side * 0.95, 0.85], RED, 0.5, Surface.TAIL_LAMP))
        parts.append(box([0.12, 0.22, 0.45], [4.0, side * 1.36, 2.0], DARK, 0.3))
    grille = box([0.08, 1.4, 0.4], [4.12, 0, 1.15], DARK, 0.1)
    return join(*parts, grille, plate(4.18, 0.62, 1.0), plate(-4.25, 0.62, -1.0), wheels("truck", width, k))


def bus(paint: F32, stripe: F32, k: int = 20) -> Mesh:
    """A city bus, 11.5 m: panes between pillars, two doors on the right, a lit sign, two axles."""
    length, width, height = 11.5, 2.5, 3.1
    y, z = ring(k, 7.0).T
    sections = (-5.75, 0.93, 0.95), (-5.68, 1, 1), (0, 1, 1), (5.62, 1, 1), (5.75, 0.94, 0.96)
    x, sy, sz = f32(sections).T[..., None]
    hull = xyz(x, y * width / 2 * sy, 0.3 + (height - 0.3) * (0.5 + z / 2 * sz))
    parts = [loft(hull, paint, 0.4)]
    for side in (-1.0, 1.0):
        wall = side * (width / 2 + 0.006)
        parts.append(box([length - 0.5, 0.012, 0.3], [0, wall, 0.62], stripe, 0.3))
        for i, at in enumerate(np.linspace(-4.7, 4.55, 8)):
            if side < 0 and i in (3, 7):  # a door
                parts.append(box([1.12, 0.02, 2.05], [at, wall, 1.5], GLASS, 1.0))
                parts.append(box([0.05, 0.03, 2.05], [at, wall, 1.5], f32(paint * 0.4)))
            else:
                parts.append(box([1.12, 0.02, 1.05], [at, wall, 2.05], GLASS, 1.0))
    parts += [
        box([0.03, width * 0.86, 1.5], [5.76, 0, 1.85], GLASS, 1.0),
        box([0.04, 1.7, 0.28], [5.77, 0, 2.8], f32([0.02, 0.012, 0.0])),
        box([0.05, 1.4, 0.15], [5.78, 0, 2.8], f32([0.9, 0.45, 0.05]), surface=Surface.SIGN),
        box([0.03, width * 0.8, 0.9], [-5.76, 0, 2.2], GLASS, 1.0),
        box([2.6, 1.6, 0.18], [-2.0, 0, 3.16], f32(paint * 0.85), 0.2),
    ]
    for side in (-1.0, 1.0):
        parts.append(box([0.06, 0.35, 0.18], [5.75, side * 0.92, 0.75], LAMP, 0.9, Surface.HEAD_LAMP))
        parts.append(box([0.06, 0.2, 0.4], [-5.75, side * 1.05, 1.2], RED, 0.5, Surface.TAIL_LAMP))
        parts.append(box([0.15, 0.12, 0.4], [5.75, side * 1.38, 2.3], DARK, 0.3))
    return join(*parts, plate(5.8, 0.5, 1.0), plate(-5.8, 0.75, -1.0), wheels("bus", width, k))


def forklift(look: Appearance, paint: F32, *, loaded: bool, k: int = 12) -> Mesh:
    """A forklift, 3.2 m with its forks, and its driver, who sits stiffly at the wheel."""
    y, z = ring(k, 5.0).T
    x, wide, tall = f32([(-1.3, 0.45, 0.36), (-1.22, 0.55, 0.46), (-0.6, 0.56, 0.48), (-0.5, 0.55, 0.3),
                         (0.5, 0.52, 0.26)]).T[..., None]  # fmt: skip
    parts = [
        loft(xyz(x, y * wide, 0.62 + z * tall), paint, 0.3),
        box([0.6, 0.8, 0.12], [-0.25, 0, 0.98], _FRAME),
        box([0.12, 0.7, 0.5], [-0.55, 0, 1.2], _FRAME),
        box([0.1, 0.9, 0.5], [0.5, 0, 1.0], paint, 0.3),
        box([1.3, 1.0, 0.06], [-0.2, 0, 2.12], _FRAME),
        bar((0.35, 0.0, 1.15), (0.2, 0.0, 1.42), 0.03, _FRAME),
    ]
    for side in (-0.46, 0.46):
        parts += [
            bar((0.5, side, 1.1), (0.25, side, 2.12), 0.04, _FRAME),
            bar((-0.85, side, 1.0), (-0.75, side, 2.12), 0.04, _FRAME),
            box([0.12, 0.1, 2.1], [0.82, side * 0.8, 1.15], _FRAME),
            box([1.15, 0.12, 0.05], [1.45, side * 0.62, 0.12], linear(70, 72, 74), 0.3),
            box([0.06, 0.14, 0.14], [0.56, side * 0.8, 1.3], LAMP, surface=Surface.HEAD_LAMP),
            box([0.05, 0.12, 0.1], [-1.29, side * 0.8, 0.9], _TAIL, surface=Surface.TAIL_LAMP),
        ]
    parts += [box([0.08, 0.85, 0.1], [0.82, 0, z], _FRAME) for z in (0.5, 1.2, 2.15)]
    if loaded:
        parts.append(load(1.5, 0.0, 0.15))
    for bone, (axle, radius) in enumerate(AXLES["forklift"], start=1):
        tyre = wheel(radius, 0.2, k, linear(220, 214, 200))
        parts += [tyre.moved([axle, side, radius]).on_bone(bone) for side in (-0.5, 0.5)]
    seated = Pose(thigh=(1.3, 1.3), knee=(1.2, 1.2), shoulder=(0.7, 0.7), elbow=(0.6, 0.6), seat=1.12)
    rotations, offsets = bones(seated, look.height)
    driver = person(look, k)
    turned = np.swapaxes(rotations, 1, 2)[driver.bone]
    corners = np.matmul(driver.corners, turned) + offsets[driver.bone][:, None] + f32([-0.3, 0, 0])
    driver = replace(driver, corners=f32(corners), normals=f32(np.matmul(driver.normals, turned)))
    return join(*parts, driver.on_bone(0))
