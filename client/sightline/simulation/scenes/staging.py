"""The still part of a scene as data; :mod:`sightline.simulation.scenes.backdrop` draws it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sightline.simulation.scenes.arrays import F32, U8, f32
from sightline.simulation.scenes.mesh import Mesh

Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Panel:
    """A flat textured rectangle: corner + s·along + t·up, s and t from 0 to 1.

    Attributes:
        texture: uint8 [h, w, 3] sRGB, its first row at t = 1 (0 for the ground: at t = 0).
        glow: uint8 [h, w] or None: how strongly each place shines when lamps are on.
        gloss: 0..1, how much it mirrors when wet.
    """

    corner: F32
    along: F32
    up: F32
    texture: U8
    glow: U8 | None = None
    glow_colour: tuple[float, float, float] = (1.0, 0.75, 0.42)


@dataclass(frozen=True, slots=True)
class Lamp:
    """A lamp at a point: colour is its light at 1 m, straight on."""

    position: tuple[float, float, float]
    colour: tuple[float, float, float]


@dataclass(slots=True)
class Stage:
    """What stands still.

    Attributes:
        x, y: the ground's extent in metres.
        ground: uint8 sRGB texture, first row at the least y, first column at the least x.
        walls: where the panels that can hide actors stand, for truth, which has no panels.
        casters: convex point clouds [N, 3] that throw sun shadows on the ground.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    ground: U8 = field(default_factory=lambda: np.zeros((1, 1, 3), np.uint8))
    panels: list[Panel] = field(default_factory=list)
    meshes: list[Mesh] = field(default_factory=list)
    casters: list[F32] = field(default_factory=list)
    lamps: list[Lamp] = field(default_factory=list)
    walls: list[Mesh] = field(default_factory=list)
    sky: bool = True

    def stand(self, mesh: Mesh) -> None:
        """Put a thing there that throws the shadow of its bounding box."""
        self.meshes.append(mesh)
        low, high = mesh.corners.min(axis=(0, 1)), mesh.corners.max(axis=(0, 1))
        self.shade((low[0], high[0]), (low[1], high[1]), (0, high[2]))

    def shade(self, x: Pair, y: Pair, z: Pair) -> None:
        """Throw the shadow of a block between two places on each axis, metres."""
        self.casters.append(f32([[a, b, c] for a in x for b in y for c in z]))
