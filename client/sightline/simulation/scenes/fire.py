"""Flames and smoke as puffs that rise; where each is at a time follows from the time alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sightline.simulation.scenes.arrays import F32, f32, xyz
from sightline.simulation.scenes.factory import BURNING_TOP_M
from sightline.simulation.scenes.mesh import Mesh, mesh, ring
from sightline.simulation.scenes.world import Actor, ActorState


@dataclass(frozen=True, slots=True)
class Puffs:
    """N round puffs: centres float32 [N, 3], radii [N] in metres, age [N] (0..1) and strength [N] (0..1)."""

    centres: F32
    radii: F32
    age: F32
    strength: F32


def puffs(actor: Actor, state: ActorState, time_s: float) -> Puffs:
    """The puffs of a fire or of its smoke, at a time."""
    flame = actor.kind == "fire"
    count, life_s = (46, 0.75) if flame else (44, 4.2)
    slots = np.arange(count)
    turns = time_s / life_s + slots / count
    born = np.floor(turns).astype(np.int64)
    age = turns - born
    # Three numbers 0..1 for each puff, from its number and its birth: float32 [3, N].
    base = slots * 7919.0 + (born % 9973) * 104.729 + actor.seed % 1009
    factors = (0.129898, 0.078233, 0.053717)
    noise = f32([np.modf(np.abs(np.sin(base * factor)) * 43758.5453)[0] for factor in factors])
    spread, wider = (0.55 if flame else 0.4) * state.strength, 1 - 0.6 * age if flame else 1 + 1.6 * age
    x = (noise[0] - 0.5) * 2 * spread * wider
    y = (noise[1] - 0.5) * 1.4 * spread * wider
    sway = np.sin(age * 5 + noise[2] * 6.3) * (0.10 if flame else 0.25 * age)
    rise = (1.25 if flame else 3.4) * state.strength * age * (0.6 + 0.6 * noise[2])
    z = BURNING_TOP_M - (0.25 if flame else -0.25) + rise
    radii = (0.26 - 0.17 * age if flame else 0.22 + 0.62 * age) * (0.5 + 0.5 * state.strength)
    centres = np.stack([state.x + x + sway + (0.0 if flame else 0.5 * age), state.y + y, z], axis=1)
    strength = state.strength * np.sin(np.pi * np.clip(age * 0.9 + 0.1, 0, 1))
    return Puffs(f32(centres), f32(radii * np.ones(count)), f32(age), f32(strength))


def outline(cloud: Puffs) -> Mesh:
    """The puffs that can be seen as round solids, for boxes: octagons that face along -x, and along y."""
    visible = cloud.strength > 0.25
    centres, radii = cloud.centres[visible][:, None], cloud.radii[visible] * np.float32(0.75)
    c, s = ring(8).T
    faces = []
    for rim in (xyz(c, 0, s), xyz(0, c, s)):
        points = centres + rim * radii[:, None, None]
        middle = np.broadcast_to(centres, points.shape)
        faces.append(np.stack([middle, points, np.roll(points, -1, axis=1)], axis=2).reshape(-1, 3, 3))
    corners = f32(np.concatenate(faces))
    return mesh(corners, f32(np.broadcast_to(f32([-1, 0.01, 0.01]), corners.shape)), f32([0.5, 0.5, 0.5]))
