"""Bicycles, motorcycles and forklifts with those who ride them. The origin is on the ground, in the middle.

Of a cycle the rider's bones come first (see :mod:`people`), then bone 12 is the frame, 13 and 14 the front
and rear wheel, 15 the cranks. A forklift's driver is a part of its body, bone 0; its wheels bones 1 and 2.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sightline.simulation.scenes.arrays import F32, f32, linear, pitch, xyz
from sightline.simulation.scenes.factory import load
from sightline.simulation.scenes.mesh import Mesh, Surface, ball, bar, box, join, loft, quads, ring, wheel
from sightline.simulation.scenes.people import Appearance, Pose, bones, person
from sightline.simulation.scenes.vehicles import AXLES, LAMP

FRAME, FRONT, REAR, CRANKS = 12, 13, 14, 15
CYCLES = {"bicycle": (0.52, -0.52, 0.34), "motorcycle": (0.72, -0.70, 0.31)}  # front x, rear x, radius
_BLACK = f32([0.02, 0.02, 0.022])
_STEEL = f32([0.4, 0.41, 0.43])
_RED = f32([0.4, 0.02, 0.02])
_DARK = linear(34, 35, 37)


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
    x, z = ring(k + 6).T
    r, y = f32([(radius * 0.93, -0.018), (radius, 0.0), (radius * 0.93, 0.018), (radius * 0.92, 0.0)]).T[
        ..., None
    ]
    tyre = xyz(x * r, y, z * r)
    ends = [(radius * 0.94 * np.cos(a), 0, radius * 0.94 * np.sin(a)) for a in np.arange(8) * np.pi / 4]
    spokes = [bar((0, 0, 0), end, 0.006, _STEEL) for end in ends]
    spoked = join(loft(f32([*tyre, tyre[0]]), _BLACK, caps=False), *spokes)
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
    tyre = wheel(radius, 0.13, k + 6, f32([0.12, 0.12, 0.13]))
    shell = ball([0.01 * look.height, 0, 0.06 * look.height], [0.15, 0.125, 0.16], k + 2, paint, 0.6)
    visor = ball([0.055 * look.height, 0, 0.06 * look.height], [0.08, 0.1, 0.055], k, _BLACK, 1.0)
    helmet = join(shell, visor).on_bone(1)
    return join(person(look, k), helmet, frame.on_bone(FRAME), tyre.on_bone(FRONT), tyre.on_bone(REAR))


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


def forklift(look: Appearance, paint: F32, *, loaded: bool, k: int = 12) -> Mesh:
    """A forklift, 3.2 m with its forks, and its driver, who sits stiffly at the wheel."""
    y, z = ring(k, 5.0).T
    x, wide, tall = f32([(-1.3, 0.45, 0.36), (-1.22, 0.55, 0.46), (-0.6, 0.56, 0.48), (-0.5, 0.55, 0.3),
                         (0.5, 0.52, 0.26)]).T[..., None]  # fmt: skip
    parts = [
        loft(xyz(x, y * wide, 0.62 + z * tall), paint, 0.3),
        box([0.6, 0.8, 0.12], [-0.25, 0, 0.98], _DARK),
        box([0.12, 0.7, 0.5], [-0.55, 0, 1.2], _DARK),
        box([0.1, 0.9, 0.5], [0.5, 0, 1.0], paint, 0.3),
        box([1.3, 1.0, 0.06], [-0.2, 0, 2.12], _DARK),
        bar((0.35, 0.0, 1.15), (0.2, 0.0, 1.42), 0.03, _DARK),
    ]
    for side in (-0.46, 0.46):
        parts += [
            bar((0.5, side, 1.1), (0.25, side, 2.12), 0.04, _DARK),
            bar((-0.85, side, 1.0), (-0.75, side, 2.12), 0.04, _DARK),
            box([0.12, 0.1, 2.1], [0.82, side * 0.8, 1.15], _DARK),
            box([1.15, 0.12, 0.05], [1.45, side * 0.62, 0.12], linear(70, 72, 74), 0.3),
            box([0.06, 0.14, 0.14], [0.56, side * 0.8, 1.3], LAMP, surface=Surface.HEAD_LAMP),
            box([0.05, 0.12, 0.1], [-1.29, side * 0.8, 0.9], _RED, surface=Surface.TAIL_LAMP),
        ]
    parts += [box([0.08, 0.85, 0.1], [0.82, 0, z], _DARK) for z in (0.5, 1.2, 2.15)]
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
