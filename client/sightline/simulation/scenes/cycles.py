"""Bicycles and motorcycles with their riders. The origin is on the ground between the wheels.

The rider's bones come first (see :mod:`people`), then bone 12 is the frame, 13 and 14 the
front and rear wheel, 15 the cranks.
"""

from __future__ import annotations

import numpy as np

from sightline.simulation.scenes.arrays import F32, f32, pitch
from sightline.simulation.scenes.mesh import (
    HEAD_LAMP,
    TAIL_LAMP,
    Mesh,
    ball,
    bar,
    box,
    join,
    loft,
    quad,
    ring,
    wheel,
)
from sightline.simulation.scenes.mesh import PLATE as PLATE_SURFACE
from sightline.simulation.scenes.people import Appearance, Pose, person

FRAME, FRONT, REAR, CRANKS = 12, 13, 14, 15
AXLES = {"bicycle": (0.52, -0.52, 0.34), "motorcycle": (0.72, -0.70, 0.31)}  # front x, rear x, radius
_BLACK = f32([0.02, 0.02, 0.022])
_STEEL = f32([0.4, 0.41, 0.43])


def bicycle(look: Appearance, paint: F32, k: int = 10) -> Mesh:
    """A bicycle and its rider."""
    front, rear, radius = AXLES["bicycle"]
    head, seat, crank = (0.36, 0.0, 0.86), (-0.20, 0.0, 0.92), (-0.05, 0.0, 0.30)
    bars = [
        bar(head, seat, 0.018, paint),
        bar(head, crank, 0.020, paint),
        bar(seat, crank, 0.018, paint),
        bar(crank, (rear, 0, radius), 0.013, paint),
        bar((-0.17, 0, 0.78), (rear, 0, radius), 0.011, paint),
        bar((0.33, 0, 0.98), (front, 0, radius), 0.016, _STEEL),
        bar((0.34, -0.27, 1.02), (0.34, 0.27, 1.02), 0.014, _BLACK),
        box([0.26, 0.13, 0.06], [-0.22, 0, 0.95], _BLACK),
        box([0.05, 0.06, 0.06], [0.4, 0, 0.92], f32([0.7, 0.7, 0.7])).as_surface(HEAD_LAMP),
        box([0.04, 0.06, 0.05], [-0.62, 0, 0.70], f32([0.4, 0.02, 0.02])).as_surface(TAIL_LAMP),
    ]
    frame = join(*bars).on_bone(FRAME)
    cranks = join(bar((0, 0.1, 0), (0, 0.1, -0.17), 0.014, _STEEL), bar((0, -0.1, 0), (0, -0.1, 0.17),
        0.014, _STEEL),
                  bar((0, -0.1, 0), (0, 0.1, 0), 0.05, _STEEL)).on_bone(CRANKS)  # fmt: skip
    wheels = [_spoked(radius, k + 6).on_bone(FRONT), _spoked(radius, k + 6).on_bone(REAR)]
    return join(person(look, k), frame, cranks, *wheels)


def _spoked(radius: float, k: int) -> Mesh:
    circle = ring(k)
    rings = [np.stack([circle[:, 0] * r, np.full(k, y), circle[:, 1] * r], axis=1)
             for r, y in ((radius * 0.93, -0.018), (radius, 0.0), (radius * 0.93, 0.018), (radius * 0.92,
                 0.0))]  # fmt: skip
    tyre = loft(f32([*rings, rings[0]]), _BLACK, caps=False)
    spokes = [bar((0, 0, 0), (radius * 0.94 * np.cos(a), 0, radius * 0.94 * np.sin(a)), 0.006, _STEEL)
              for a in np.arange(8) * np.pi / 4]  # fmt: skip
    return join(tyre, *spokes)


def motorcycle(look: Appearance, paint: F32, k: int = 10) -> Mesh:
    """A motorcycle and its rider, who wears a full helmet."""
    front, _, radius = AXLES["motorcycle"]
    body = [
        ball([0.12, 0, 0.80], [0.33, 0.15, 0.16], k + 2, paint, 0.5),
        ball([0.02, 0, 0.48], [0.33, 0.17, 0.2], k, f32([0.06, 0.06, 0.065]), 0.3),
        ball([-0.35, 0, 0.80], [0.36, 0.14, 0.07], k, _BLACK, 0.1),
        ball([-0.62, 0, 0.84], [0.2, 0.1, 0.08], k, paint, 0.5),
        ball([0.50, 0, 0.90], [0.16, 0.17, 0.2], k, paint, 0.5),
        bar((0.42, -0.1, 1.0), (front, -0.1, radius), 0.03, _STEEL),
        bar((0.42, 0.1, 1.0), (front, 0.1, radius), 0.03, _STEEL),
        bar((0.36, -0.36, 1.06), (0.36, 0.36, 1.06), 0.02, _BLACK),
        bar((0.0, -0.17, 0.33), (-0.8, -0.2, 0.42), 0.05, _STEEL),
        box([0.06, 0.18, 0.14], [0.66, 0, 0.92], f32([0.75, 0.76, 0.78])).as_surface(HEAD_LAMP),
        box([0.05, 0.16, 0.07], [-0.83, 0, 0.82], f32([0.4, 0.02, 0.02])).as_surface(TAIL_LAMP),
        quad([[-0.93, y, z] for y, z in ((0.13, 0.64), (-0.13, 0.64), (-0.13, 0.76), (0.13, 0.76))],
             f32([0.8, 0.8, 0.78])).as_surface(PLATE_SURFACE),
    ]  # fmt: skip
    frame = join(*body).on_bone(FRAME)
    rim = f32([0.12, 0.12, 0.13])
    tyre = wheel(radius, 0.13, k + 6, rim)
    wheels = [tyre.on_bone(bone) for bone in (FRONT, REAR)]
    shell = ball([0.01 * look.height, 0, 0.06 * look.height], [0.15, 0.125, 0.16], k + 2, paint, 0.6)
    visor = ball([0.055 * look.height, 0, 0.06 * look.height], [0.08, 0.1, 0.055], k, _BLACK, 1.0)
    return join(person(look, k), join(shell, visor).on_bone(1), frame, *wheels)


def riding(kind: str, travel_m: float) -> Pose:
    """How the rider sits: a cyclist pedals, a motorcyclist keeps still."""
    if kind == "motorcycle":
        return Pose(thigh=(1.15, 1.15), knee=(1.45, 1.45), shoulder=(0.95, 0.95), elbow=(0.35, 0.35),
                    lean=0.22, seat=0.90)  # fmt: skip
    turn = travel_m * 1.7
    left, right = np.sin(turn), np.sin(turn + np.pi)
    return Pose(
        thigh=(0.85 + 0.35 * left, 0.85 + 0.35 * right),
        knee=(1.05 + 0.45 * left, 1.05 + 0.45 * right),
        shoulder=(0.85, 0.85), elbow=(0.3, 0.3), lean=0.42, seat=0.99,
    )  # fmt: skip


def machine_bones(kind: str, travel_m: float) -> tuple[F32, F32]:
    """Rotations [4, 3, 3] and offsets [4, 3] of frame, front wheel, rear wheel and cranks."""
    front, rear, radius = AXLES[kind]
    spin = pitch(-travel_m / radius)
    rotations = np.stack([np.eye(3), spin, spin, pitch(-travel_m * 1.7)])
    offsets = ((0, 0, 0), (front, 0, radius), (rear, 0, radius), (-0.05, 0, 0.30))
    return f32(rotations), f32(offsets)
