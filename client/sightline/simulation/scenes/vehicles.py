"""Cars, vans, trucks and buses as meshes: body, glass, wheels that turn, lamps, plates.

The origin is on the ground under the vehicle's middle; x points forward. Bone 0 is the body, bones 1 and 2
are the front and rear wheels (turning about their axles).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sightline.simulation.scenes.arrays import F32, f32
from sightline.simulation.scenes.mesh import (
    BRAKE_LAMP,
    HEAD_LAMP,
    PLATE,
    SIGN,
    TAIL_LAMP,
    Mesh,
    box,
    join,
    loft,
    patches,
    quad,
    ring,
    wheel,
)

GLASS = f32([0.012, 0.016, 0.02])
DARK = f32([0.015, 0.015, 0.016])
LAMP = f32([0.75, 0.76, 0.78])
RED = f32([0.35, 0.012, 0.01])
PLATE_SIZE = 0.60, 0.15  # metres; wider than the real 0.52 x 0.11, so that fewer pixels can read it


@dataclass(frozen=True, slots=True)
class Shape:
    """The measures of a vehicle, metres; fractions run from the tail (0) to the nose (1).

    Attributes:
        belt: height of the body's upper edge at fractions of the length.
        cabin: fractions at which the cabin starts and ends at the belt, and at the roof.
    """

    length: float
    width: float
    height: float
    wheel_radius: float
    axles: tuple[float, float]
    belt: tuple[tuple[float, float], ...]
    cabin: tuple[float, float, float, float]
    pillars: tuple[float, ...]


SHAPES = {
    "sedan": Shape(4.6, 1.82, 1.45, 0.32, (0.19, 0.80),
                   ((0, 0.86), (0.04, 0.98), (0.2, 1.0), (0.7, 0.98), (0.85, 0.86), (0.96, 0.74), (1, 0.62)),
                   (0.10, 0.74, 0.27, 0.58), (0.42,)),
    "hatchback": Shape(4.0, 1.76, 1.48, 0.31, (0.17, 0.80),
                       ((0, 0.9), (0.03, 1.0), (0.2, 1.02), (0.74, 0.98), (0.88, 0.87), (0.97, 0.75), (1,
                       0.62)),
                       (0.01, 0.80, 0.10, 0.60), (0.36,)),
    "suv": Shape(4.5, 1.88, 1.70, 0.36, (0.18, 0.80),
                 ((0, 1.0), (0.03, 1.1), (0.2, 1.12), (0.72, 1.1), (0.88, 1.02), (0.97, 0.9), (1, 0.75)),
                 (0.01, 0.76, 0.08, 0.60), (0.24, 0.42)),
    "van": Shape(5.4, 2.0, 2.35, 0.35, (0.17, 0.82),
                 ((0, 1.2), (0.03, 1.3), (0.3, 1.3), (0.84, 1.28), (0.93, 1.05), (0.98, 0.9), (1, 0.7)),
                 (0.0, 0.925, 0.01, 0.74), ()),
}  # fmt: skip


def car(kind: str, paint: F32, k: int = 20) -> Mesh:
    """A sedan, hatchback, SUV or van. ``k`` is the number of corners of round things."""
    shape = SHAPES[kind]
    parts = [_body(shape, paint, k), _cabin(shape, paint, kind == "van", k)]
    parts += _front(shape), _rear(shape), _sides(shape, paint)
    axles = [(f - 0.5) * shape.length for f in shape.axles]
    return join(*parts, *wheels(axles, shape.width, shape.wheel_radius, k))


def wheels(axles: Sequence[float], width: float, radius: float, k: int) -> list[Mesh]:
    """Wheels and their arches: axles in metres from the middle; axle i turns on bone i + 1."""
    rim = f32([0.33, 0.34, 0.36])
    arch, tyre = wheel(radius * 1.17, 0.17, k, DARK), wheel(radius, 0.2, k, rim)
    arch = replace(arch, albedo=f32(arch.albedo * 0 + DARK * 0.5), gloss=arch.gloss * 0)
    parts = []
    for bone, x in enumerate(axles, start=1):
        for side in (-1.0, 1.0):
            y = side * (width / 2 - 0.095)
            parts.append(arch.moved([x, y - side * 0.01, radius * 1.05]))
            parts.append(tyre.moved([x, y, radius]).on_bone(bone))
    return parts


def _body(shape: Shape, paint: F32, k: int) -> Mesh:
    fractions = np.array([0, 0.012, 0.04, 0.1, 0.2, 0.35, 0.5, 0.65, 0.78, 0.88, 0.95, 0.985, 1])
    plan = np.interp(fractions, [0, 0.012, 0.05, 0.2, 0.8, 0.94, 0.985, 1],
                     [0.80, 0.90, 0.965, 1, 1, 0.95, 0.84, 0.7])  # fmt: skip
    belt = np.array([_belt_at(shape, float(f)) for f in fractions])
    low = np.interp(fractions, [0, 0.03, 0.08, 0.92, 0.97, 1], [0.42, 0.3, 0.2, 0.2, 0.26, 0.4])
    section = ring(k, 4.5)
    rings = []
    for f, w, top, bottom in zip(fractions, plan, belt, low, strict=True):
        y = section[:, 0] * w * shape.width / 2
        z = (top + bottom) / 2 + section[:, 1] * (top - bottom) / 2
        y = y * np.where(
            z > 0.7 * top, 1 - 0.10 * (z - 0.7 * top) / (0.3 * top), 1.0
        )  # the shoulders lean in
        rings.append(np.stack([np.full(k, (f - 0.5) * shape.length), y, z], axis=1))
    body = loft(f32(rings), paint, 0.5)
    sill = patches(body, k)[0][:, 2] < 0.36
    return body.painted(sill, DARK, 0.05)


def _belt_at(shape: Shape, fraction: float) -> float:
    return float(np.interp(fraction, [f for f, _ in shape.belt], [z for _, z in shape.belt]))


def _cabin(shape: Shape, paint: F32, closed: bool, k: int) -> Mesh:
    k = max(16, k + 8)
    back, front, roof_back, roof_front = ((f - 0.5) * shape.length for f in shape.cabin)
    belt = max(h for _, h in shape.belt) - 0.06
    levels = np.array([0, 0.25, 0.5, 0.78, 0.9, 0.97, 1.0])
    lean = np.array([0, 0.27, 0.54, 0.84, 0.93, 0.99, 1.04])
    width = np.array([0.93, 0.9, 0.865, 0.82, 0.79, 0.72, 0.6]) * shape.width / 2
    if closed:
        width = np.array([0.98, 0.98, 0.975, 0.96, 0.94, 0.88, 0.75]) * shape.width / 2
    section = ring(k, 7.0)
    rings = []
    for level, t, w in zip(levels, lean, width, strict=True):
        a, b = back + (roof_back - back) * t, front + (roof_front - front) * t
        if level >= 0.97:
            a, b = a + 0.06, b - 0.06
        x = (a + b) / 2 + section[:, 0] * (b - a) / 2
        rings.append(
            np.stack([x, section[:, 1] * w, np.full(k, belt + level * (shape.height - belt))], axis=1)
        )
    cabin = loft(f32(rings), paint, 0.5)
    c, n = patches(cabin, k)
    height = (c[:, 2] - belt) / (shape.height - belt)
    sideways = np.abs(n[:, 1]) > 0.8
    lengthways = np.abs(n[:, 0]) > 0.5
    pane = (height > 0.12) & (height < 0.84)
    if closed:
        pane &= (c[:, 0] > shape.length * 0.22) | (lengthways & (c[:, 0] < 0))
    pillar = np.zeros(len(c), bool)
    for f in shape.pillars:
        pillar |= sideways & (np.abs(c[:, 0] - (f - 0.5) * shape.length) < 0.11)
    return cabin.painted(pane & (sideways | lengthways) & ~pillar, GLASS, 1.0)


def _front(shape: Shape) -> Mesh:
    x, w = shape.length / 2 + 0.005, shape.width
    nose = _belt_at(shape, 0.985)
    parts = [box([0.05, w * 0.5, 0.14], [x - 0.02, 0, 0.43], DARK, 0.1)]
    parts.append(box([0.06, w * 0.42, 0.10], [x - 0.03, 0, nose - 0.13], DARK, 0.3))
    for side in (-1.0, 1.0):
        lamp = box([0.16, w * 0.17, 0.12], [x - 0.13, side * w * 0.335, nose - 0.1], LAMP, 0.9)
        parts.append(lamp.as_surface(HEAD_LAMP))
    return join(*parts, plate(x + 0.02, 0.52, 1.0))


def _rear(shape: Shape) -> Mesh:
    x, w = -shape.length / 2 - 0.005, shape.width
    top = shape.belt[1][1]
    parts = [box([0.05, w * 0.8, 0.1], [x + 0.03, 0, 0.36], DARK, 0.05)]
    for side in (-1.0, 1.0):
        lamp = box([0.12, w * 0.13, 0.17], [x + 0.07, side * w * 0.36, top - 0.15], RED, 0.6)
        parts.append(lamp.as_surface(TAIL_LAMP))
    stop = box([0.05, 0.3, 0.03], [x + 0.12 + shape.cabin[0] * shape.length, 0, shape.height * 0.7], RED, 0.3)
    return join(*parts, stop.as_surface(BRAKE_LAMP), plate(x - 0.02, 0.66, -1.0))


def _sides(shape: Shape, paint: F32) -> Mesh:
    parts = []
    low, high = 0.38, max(h for _, h in shape.belt) - 0.1
    for side in (-1.0, 1.0):
        y = side * shape.width / 2
        for f in (0.36, 0.50, 0.68):
            x = (f - 0.5) * shape.length
            parts.append(box([0.018, 0.012, high - low], [x, y * 0.985, (low + high) / 2], f32(paint * 0.2)))
        for f in (0.46, 0.62):
            parts.append(
                box([0.16, 0.03, 0.03], [(f - 0.5) * shape.length, y, high - 0.1], f32(paint * 0.5), 0.5)
            )
        mirror_x = (shape.cabin[1] - 0.5) * shape.length - 0.25
        parts.append(box([0.1, 0.2, 0.13], [mirror_x, y * 1.07, high + 0.12], paint, 0.4))
    return join(*parts)


def plate(x: float, z: float, facing: float) -> Mesh:
    """A number plate at ``x``, facing forward (1) or back (-1)."""
    w, h = PLATE_SIZE
    ring_yz = [(-w / 2, -h / 2), (w / 2, -h / 2), (w / 2, h / 2), (-w / 2, h / 2)]
    corners = [[x, facing * y, z + dz] for y, dz in ring_yz]
    return quad(corners, f32([0.8, 0.8, 0.78]), 0.05).as_surface(PLATE)


def truck(paint: F32, cargo: F32, k: int = 20) -> Mesh:
    """A box truck, 8.4 m: cab, chassis, cargo box, three axles."""
    cab_x, width = 3.2, 2.4
    section = ring(k, 6.0)
    rings = [
        np.stack([cab_x + section[:, 0] * 0.95 * sx - lean, section[:, 1] * width / 2 * sy, np.full(k, z)],
            axis=1)
        for z, sx, sy, lean in ((0.55, 0.96, 0.96, 0), (0.7, 1, 1, 0), (1.5, 1, 1, 0), (1.75, 0.99, 0.99,
            0.02),
                                (2.45, 0.93, 0.97, 0.1), (2.65, 0.88, 0.93, 0.15), (2.75, 0.75, 0.8, 0.18))
    ]  # fmt: skip
    cab = loft(f32(rings), paint, 0.4)
    c, n = patches(cab, k)
    pane = (
        (c[:, 2] > 1.55)
        & (c[:, 2] < 2.45)
        & ((n[:, 0] > 0.6) | ((np.abs(n[:, 1]) > 0.8) & (c[:, 0] > cab_x)))
    )
    parts = [cab.painted(pane, GLASS, 1.0), box([7.6, 0.9, 0.3], [-0.3, 0, 0.85], DARK)]
    parts.append(box([6.1, 2.46, 2.5], [-1.12, 0, 2.3], cargo, 0.15))
    for x in np.linspace(-4.0, 1.8, 9):
        parts.append(box([0.03, 2.49, 2.5], [x, 0, 2.3], f32(cargo * 0.7)))
    parts.append(box([6.14, 2.5, 0.1], [-1.12, 0, 1.07], f32(paint * 0.8)))
    parts.append(box([0.06, 2.2, 0.1], [-4.2, 0, 0.6], f32([0.5, 0.05, 0.03])))
    parts += [box([2.2, 0.06, 0.4], [0.3, s * 1.15, 0.75], f32([0.1, 0.1, 0.1])) for s in (-1, 1)]
    for side in (-1.0, 1.0):
        parts.append(box([0.1, 0.4, 0.18], [4.12, side * 0.85, 0.8], LAMP, 0.9).as_surface(HEAD_LAMP))
        parts.append(box([0.08, 0.35, 0.15], [-4.2, side * 0.95, 0.85], RED, 0.5).as_surface(TAIL_LAMP))
        parts.append(box([0.12, 0.22, 0.45], [4.0, side * 1.36, 2.0], DARK, 0.3))
    parts.append(box([0.08, 1.4, 0.4], [4.12, 0, 1.15], DARK, 0.1))
    return join(*parts, plate(4.18, 0.62, 1.0), plate(-4.25, 0.62, -1.0),
                *wheels([-2.9, -1.7, 3.05], 2.4, 0.48, k))  # fmt: skip


def bus(paint: F32, stripe: F32, k: int = 20) -> Mesh:
    """A city bus, 11.5 m: panes between pillars, two doors on the right, a lit sign, two axles."""
    length, width, height = 11.5, 2.5, 3.1
    section = ring(k, 7.0)
    rings = [
        np.stack([np.full(k, x), section[:, 0] * width / 2 * s, 0.3 + (height - 0.3) * (0.5 + section[:,
            1] / 2 * t)],
                 axis=1)
        for x, s, t in ((-5.75, 0.93, 0.95), (-5.68, 1, 1), (0, 1, 1), (5.62, 1, 1), (5.75, 0.94, 0.96))
    ]  # fmt: skip
    parts = [loft(f32(rings), paint, 0.4)]
    for side in (-1.0, 1.0):
        y = side * (width / 2 + 0.006)
        parts.append(box([length - 0.5, 0.012, 0.3], [0, y, 0.62], stripe, 0.3))
        for i, x in enumerate(np.linspace(-4.7, 4.55, 8)):
            door = side < 0 and i in (3, 7)
            tall, z = (2.05, 1.5) if door else (1.05, 2.05)
            parts.append(box([1.12, 0.02, tall], [x, y, z], GLASS, 1.0))
            if door:
                parts.append(box([0.05, 0.03, tall], [x, y, z], f32(paint * 0.4)))
    parts.append(box([0.03, width * 0.86, 1.5], [5.76, 0, 1.85], GLASS, 1.0))
    parts.append(box([0.04, 1.7, 0.28], [5.77, 0, 2.8], f32([0.02, 0.012, 0.0])))
    parts.append(box([0.05, 1.4, 0.15], [5.78, 0, 2.8], f32([0.9, 0.45, 0.05])).as_surface(SIGN))
    parts.append(box([0.03, width * 0.8, 0.9], [-5.76, 0, 2.2], GLASS, 1.0))
    parts.append(box([2.6, 1.6, 0.18], [-2.0, 0, 3.16], f32(paint * 0.85), 0.2))
    for side in (-1.0, 1.0):
        parts.append(box([0.06, 0.35, 0.18], [5.75, side * 0.92, 0.75], LAMP, 0.9).as_surface(HEAD_LAMP))
        parts.append(box([0.06, 0.2, 0.4], [-5.75, side * 1.05, 1.2], RED, 0.5).as_surface(TAIL_LAMP))
        parts.append(box([0.15, 0.12, 0.4], [5.75, side * 1.38, 2.3], DARK, 0.3))
    return join(*parts, plate(5.8, 0.5, 1.0), plate(-5.8, 0.75, -1.0),
                *wheels([-2.9, 3.2], 2.5, 0.48, k))  # fmt: skip


def axles_of(variant: str) -> tuple[tuple[float, float], ...]:
    """Place along x and wheel radius of every axle, in the order of the wheels' bones."""
    if variant == "truck":
        return ((-2.9, 0.48), (-1.7, 0.48), (3.05, 0.48))
    if variant == "bus":
        return ((-2.9, 0.48), (3.2, 0.48))
    shape = SHAPES[variant]
    return tuple(((f - 0.5) * shape.length, shape.wheel_radius) for f in shape.axles)
