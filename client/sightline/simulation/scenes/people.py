"""People as meshes of limbs, and the way they walk, stand and ride.

Bones: 0 body, 1 head, 2/3 upper arms, 4/5 forearms, 6/7 thighs, 8/9 shins, 10/11 feet (left, right). A limb's
mesh hangs from its joint along -z; the origin of the body is on the ground between the feet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sightline.simulation.scenes.arrays import F32, f32, pitch, roll
from sightline.simulation.scenes.mesh import Mesh, ball, box, join, limb, patches

BONES = 12


@dataclass(frozen=True, slots=True)
class Appearance:
    """How a person is built and dressed; colours are linear float32 [3]."""

    height: float
    build: float
    skin: F32
    hair: F32
    top: F32
    bottom: F32
    shoes: F32
    coat: bool = False  # the top reaches to the knees
    sleeves: bool = True
    long_hair: bool = False
    bag: F32 | None = None  # a backpack
    helmet: F32 | None = None
    vest: F32 | None = None


def person(look: Appearance, k: int = 10) -> Mesh:
    """The mesh of a person standing at attention; ``k`` is the number of corners of a limb."""
    return join(_torso(look, k), *_head(look, k), *_arms(look, k), *_legs(look, k))


def _torso(look: Appearance, k: int) -> Mesh:
    h, b = look.height, look.build
    body = limb(
        [(0.47 * h, 0.055 * h * b, 0.075 * h * b, 0), (0.50 * h, 0.070 * h * b, 0.098 * h * b, -0.006 * h),
         (0.55 * h, 0.069 * h * b, 0.096 * h * b, -0.004 * h), (0.61 * h, 0.060 * h * b, 0.085 * h * b,
         0.004 * h),
         (0.68 * h, 0.064 * h * b, 0.092 * h * b, 0.006 * h), (0.75 * h, 0.070 * h * b, 0.106 * h * b,
         0.004 * h),
         (0.80 * h, 0.060 * h, 0.108 * h, -0.002 * h), (0.825 * h, 0.046 * h, 0.080 * h, -0.004 * h),
         (0.845 * h, 0.032 * h, 0.036 * h, 0), (0.875 * h, 0.029 * h, 0.031 * h, 0.006 * h)],
        k + 4, look.top,
    )  # fmt: skip
    z = patches(body, k + 4)[0][:, 2]
    body = body.painted(z < (0.0 if look.coat else 0.535 * h), look.bottom, 0.0).painted(
        z > 0.842 * h, look.skin, 0.03
    )
    parts = [body]
    if look.coat:
        parts.append(limb([(0.30 * h, 0.085 * h * b, 0.105 * h * b, 0), (0.42 * h, 0.078 * h * b,
            0.104 * h * b, 0),
                           (0.56 * h, 0.073 * h * b, 0.100 * h * b, 0)], k + 4, look.top))  # fmt: skip
    if look.vest is not None:
        parts.append(_vest(look, look.vest, k))
    if look.bag is not None:
        parts.append(ball([-0.105 * h, 0, 0.70 * h], [0.055 * h, 0.085 * h, 0.12 * h], k, look.bag))
    return join(*parts)


def _vest(look: Appearance, colour: F32, k: int) -> Mesh:
    h, b = look.height, look.build
    vest = limb([(z * h, rx * h * b + 0.012, ry * h * b + 0.012, 0.003 * h) for z, rx, ry in
                 ((0.50, 0.074, 0.102), (0.54, 0.072, 0.100), (0.565, 0.071, 0.098), (0.59, 0.068, 0.095),
                  (0.615, 0.066, 0.092), (0.66, 0.067, 0.094), (0.70, 0.070, 0.100), (0.725, 0.071, 0.104),
                  (0.78, 0.068, 0.106), (0.815, 0.055, 0.090))], k + 4, colour)  # fmt: skip
    z = patches(vest, k + 4)[0][:, 2] / h
    stripes = ((z > 0.56) & (z < 0.592)) | ((z > 0.695) & (z < 0.727))
    return vest.painted(stripes, f32([0.75, 0.76, 0.78]), 0.3)


def _head(look: Appearance, k: int) -> list[Mesh]:
    h = look.height
    r = 0.056 * h
    skull = ball([0.008 * h, 0, 0.055 * h], [r * 1.08, r * 0.88, r * 1.28], k + 2, look.skin, 0.03)
    c, _ = patches(skull, k + 2)
    scalp = (c[:, 2] > 0.085 * h) | ((c[:, 0] < -0.002 * h) & (c[:, 2] > 0.035 * h))
    parts = [skull.painted(scalp, look.hair, 0.08)]
    parts.append(ball([0.010 * h + r, 0, 0.052 * h], [0.012 * h, 0.009 * h, 0.014 * h], 6, look.skin))
    if look.long_hair:
        parts.append(ball([-0.03 * h, 0, 0.035 * h], [r * 0.6, r * 0.95, r * 1.5], k, look.hair, 0.08))
    if look.helmet is not None:
        shell = ball([0.004 * h, 0, 0.095 * h], [r * 1.32, r * 1.15, r * 1.05], k + 4, look.helmet, 0.25)
        brim = box([r * 1.1, r * 1.7, 0.012], [r * 1.2, 0, 0.095 * h], look.helmet, 0.25)
        parts += [shell, brim]
    return [join(*parts).on_bone(1)]


def _arms(look: Appearance, k: int) -> list[Mesh]:
    h, b = look.height, (look.build + 1) / 2
    lower = look.top if look.sleeves else look.skin
    upper = limb([(0.022 * h, 0.022 * h, 0.022 * h, 0), (0, 0.033 * h * b, 0.033 * h * b, 0),
                  (-0.08 * h, 0.030 * h * b, 0.030 * h * b, 0), (-0.175 * h, 0.025 * h, 0.025 * h, 0)],
                 k, look.top)  # fmt: skip
    fore = limb([(0.02 * h, 0.024 * h, 0.024 * h, 0), (-0.05 * h, 0.024 * h, 0.024 * h, 0),
                 (-0.14 * h, 0.017 * h, 0.018 * h, 0)], k, lower)  # fmt: skip
    hand = ball([0.004 * h, 0, -0.175 * h], [0.022 * h, 0.013 * h, 0.045 * h], 6, look.skin)
    return [part for side in (0, 1) for part in (upper.on_bone(2 + side), join(fore, hand).on_bone(4 + side))]


def _legs(look: Appearance, k: int) -> list[Mesh]:
    h, b = look.height, look.build
    thigh = limb([(0.03 * h, 0.045 * h * b, 0.045 * h * b, 0), (-0.04 * h, 0.053 * h * b,
        0.052 * h * b, 0),
                  (-0.14 * h, 0.045 * h * b, 0.042 * h, 0), (-0.25 * h, 0.034 * h, 0.033 * h, 0)],
                 k, look.bottom)  # fmt: skip
    shin = limb([(0.02 * h, 0.034 * h, 0.033 * h, 0), (-0.07 * h, 0.035 * h, 0.033 * h, -0.005 * h),
                 (-0.16 * h, 0.027 * h, 0.026 * h, -0.002 * h), (-0.225 * h, 0.026 * h, 0.025 * h, 0)],
                k, look.bottom)  # fmt: skip
    sole = ball([0.035 * h, 0, -0.012 * h], [0.075 * h, 0.027 * h, 0.025 * h], 8, look.shoes, 0.1)
    return [
        part
        for side in (0, 1)
        for part in (thigh.on_bone(6 + side), shin.on_bone(8 + side), sole.on_bone(10 + side))
    ]


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
    phase = 2 * np.pi * travel_m / (0.80 * height)
    swing = min(1.0, speed / 1.2)
    s = np.sin(phase)
    knees = tuple(swing * (0.12 + 0.75 * max(0.0, np.cos(phase + side)) ** 1.5) for side in (0.0, np.pi))
    return Pose(
        thigh=(swing * 0.46 * s + 0.05 * swing, -swing * 0.46 * s + 0.05 * swing),
        knee=(float(knees[0]), float(knees[1])),
        shoulder=(-swing * 0.42 * s, swing * 0.42 * s),
        elbow=(0.18 + swing * 0.3, 0.18 + swing * 0.3),
        lean=0.04 * swing,
        bob=float(-0.012 * height * swing * (1 - abs(np.cos(phase)))),
    )


def bones(pose: Pose, height: float) -> tuple[F32, F32]:
    """Rotations [12, 3, 3] and offsets [12, 3] of every bone for a pose."""
    h = height
    lean = pitch(-pose.lean)
    rotations, offsets = np.empty((BONES, 3, 3), np.float32), np.empty((BONES, 3), np.float32)
    hips = f32([0, 0, 0.50 * h + pose.bob if pose.seat is None else pose.seat])
    rotations[0], offsets[0] = lean, hips - lean @ f32([0, 0, 0.50 * h])
    rotations[1], offsets[1] = pitch(pose.lean * 0.3), offsets[0] + lean @ f32([0.004 * h, 0, 0.865 * h])
    for side, sign in ((0, 1.0), (1, -1.0)):
        upper = lean @ pitch(pose.shoulder[side]) @ roll(sign * 0.10)
        fore = upper @ pitch(pose.elbow[side])
        shoulder = offsets[0] + lean @ f32([0, sign * 0.118 * h, 0.80 * h])
        rotations[2 + side], offsets[2 + side] = upper, shoulder
        rotations[4 + side], offsets[4 + side] = fore, shoulder + upper @ f32([0, 0, -0.17 * h])
        thigh = pitch(pose.thigh[side])
        shin = pitch(pose.thigh[side] - pose.knee[side])
        hip = hips + f32([0, sign * 0.048 * h, 0])
        knee = hip + thigh @ f32([0, 0, -0.245 * h])
        ankle = knee + shin @ f32([0, 0, -0.225 * h])
        rotations[6 + side], offsets[6 + side] = thigh, hip
        rotations[8 + side], offsets[8 + side] = shin, knee
        rotations[10 + side], offsets[10 + side] = pitch((pose.thigh[side] - pose.knee[side]) * 0.4), ankle
    return rotations, offsets
