"""A forklift with its driver. Bone 0 is the body, bones 1 and 2 the front and rear wheels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sightline.simulation.scenes.arrays import F32, f32, linear
from sightline.simulation.scenes.factory import load
from sightline.simulation.scenes.mesh import HEAD_LAMP, TAIL_LAMP, Mesh, bar, box, join, loft, ring, wheel
from sightline.simulation.scenes.people import Appearance, Pose, bones, person

AXLES = ((0.55, 0.33), (-0.75, 0.27))  # place along x, radius
_DARK = linear((34, 35, 37))


def forklift(look: Appearance, paint: F32, *, loaded: bool, k: int = 12) -> Mesh:
    """The whole forklift, 3.2 m with its forks."""
    section = ring(k, 5.0)
    hull = [
        np.stack([np.full(k, x), section[:, 0] * w, 0.62 + section[:, 1] * h], axis=1)
        for x, w, h in ((-1.3, 0.45, 0.36), (-1.22, 0.55, 0.46), (-0.6, 0.56, 0.48), (-0.5, 0.55, 0.3),
                        (0.5, 0.52, 0.26))
    ]  # fmt: skip
    parts = [
        loft(f32(hull), paint, 0.3),
        box([0.6, 0.8, 0.12], [-0.25, 0, 0.98], _DARK),
        box([0.12, 0.7, 0.5], [-0.55, 0, 1.2], _DARK),
        box([0.1, 0.9, 0.5], [0.5, 0, 1.0], paint, 0.3),
        box([1.3, 1.0, 0.06], [-0.2, 0, 2.12], _DARK),
        bar((0.35, 0.0, 1.15), (0.2, 0.0, 1.42), 0.03, _DARK),
    ]
    for side in (-0.46, 0.46):
        parts.append(bar((0.5, side, 1.1), (0.25, side, 2.12), 0.04, _DARK))
        parts.append(bar((-0.85, side, 1.0), (-0.75, side, 2.12), 0.04, _DARK))
        parts.append(box([0.12, 0.1, 2.1], [0.82, side * 0.8, 1.15], _DARK))
        parts.append(box([1.15, 0.12, 0.05], [1.45, side * 0.62, 0.12], linear((70, 72, 74)), 0.3))
        head = box([0.06, 0.14, 0.14], [0.56, side * 0.8, 1.3], f32([0.75, 0.76, 0.78]))
        tail = box([0.05, 0.12, 0.1], [-1.29, side * 0.8, 0.9], f32([0.4, 0.02, 0.02]))
        parts += [head.as_surface(HEAD_LAMP), tail.as_surface(TAIL_LAMP)]
    parts += [box([0.08, 0.85, 0.1], [0.82, 0, z], _DARK) for z in (0.5, 1.2, 2.15)]
    if loaded:
        parts.append(load(1.5, 0.0, 0.15))
    for bone, (x, radius) in enumerate(AXLES, start=1):
        for side in (-0.5, 0.5):
            tyre = wheel(radius, 0.2, k, linear((220, 214, 200)))
            parts.append(tyre.moved([x, side, radius]).on_bone(bone))
    return join(*parts, driver(look, k))


def driver(look: Appearance, k: int) -> Mesh:
    """A driver who sits stiffly at the wheel: a part of the body."""
    seated = Pose(thigh=(1.3, 1.3), knee=(1.2, 1.2), shoulder=(0.7, 0.7), elbow=(0.6, 0.6), seat=1.12)
    rotations, offsets = bones(seated, look.height)
    rider = person(look, k)
    turned = np.swapaxes(rotations, 1, 2)[rider.bone]
    corners = np.matmul(rider.corners, turned) + offsets[rider.bone][:, None] + f32([-0.3, 0, 0])
    return replace(rider, corners=f32(corners), normals=f32(np.matmul(rider.normals, turned))).on_bone(0)
