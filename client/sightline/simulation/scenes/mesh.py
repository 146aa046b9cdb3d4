"""Triangles with colours, the few solids that everything is built from, and the still part of a scene.

A solid's axes: x forward, y left, z up. All corners of a mesh stand in one array, three for each
triangle, so that a whole scene is moved, lit and drawn by a handful of array operations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from sightline.simulation.scenes.arrays import F32, U8, cross, f32, unit, xyz

I8 = NDArray[np.int8]
Vector = Sequence[float]


class Surface(IntEnum):
    """What a surface is, beyond its colour."""

    PAINT, HEAD_LAMP, TAIL_LAMP, PLATE, BRAKE_LAMP, SIGN = range(6)


@dataclass(frozen=True, slots=True)
class Mesh:
    """N triangles."""

    corners: F32  # float32 [N, 3, 3], metres, each triangle counter-clockwise from outside
    normals: F32  # float32 [N, 3, 3], unit length, one for each corner
    albedo: F32  # float32 [N, 3], linear colour 0..1
    gloss: F32  # float32 [N], 0 (cloth) .. 1 (glass): how much of the sky it mirrors.
    bone: I8  # int8 [N], the moving part that the triangle belongs to; 0 is the body
    surface: I8  # int8 [N], of :class:`Surface`
    uv: F32  # float32 [N, 3, 2], place in the plate's picture (0..1) for a plate

    def __len__(self) -> int:
        return len(self.corners)

    def __getitem__(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Mesh":
        return Mesh(*(getattr(self, name)[chosen] for name in Mesh.__slots__))

    def moved(self, offset: Vector) -> "Mesh":
        """Shifted."""
        return replace(self, corners=f32(self.corners + f32(offset)))

    def on_bone(self, bone: int) -> "Mesh":
        """The same triangles on another moving part."""
        return replace(self, bone=np.full(len(self), bone, np.int8))

    def painted(self, chosen: NDArray[np.bool_], albedo: F32, gloss: float) -> "Mesh":
        """With another colour on the chosen triangles."""
        colours, shine = self.albedo.copy(), self.gloss.copy()
        colours[chosen], shine[chosen] = albedo, gloss
        return replace(self, albedo=colours, gloss=shine)

    def patches(self, k: int) -> tuple[F32, F32]:
        """Of a loft: middle and normal [N, 3] of the four-cornered patch (or end) each triangle is of."""
        middle, normal = f32(self.corners.mean(axis=1)), f32(self.normals.mean(axis=1))
        skin = len(self) - 2 * k
        for values in (middle, normal):
            values[:skin] = np.repeat(values[:skin].reshape(-1, 2, 3).mean(axis=1), 2, axis=0)
        return middle, unit(normal)


def mesh(corners: F32, normals: F32, albedo: F32, gloss: float = 0.0) -> Mesh:
    """A mesh of one colour; triangles are turned so that they face the way their normals point."""
    edges = cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    wrong = np.sum(edges * normals.sum(axis=1), axis=1) < 0
    corners, normals = corners.copy(), normals.copy()
    corners[wrong], normals[wrong] = corners[wrong][:, ::-1], normals[wrong][:, ::-1]
    n = len(corners)
    albedo, shine = f32(np.broadcast_to(albedo, (n, 3))), np.full(n, gloss, np.float32)
    bone, surface, uv = np.zeros(n, np.int8), np.zeros(n, np.int8), np.zeros((n, 3, 2), np.float32)
    return Mesh(f32(corners), unit(normals), albedo, shine, bone, surface, uv)


def join(*meshes: Mesh) -> Mesh:
    """Several meshes as one."""
    return Mesh(*(np.concatenate([getattr(m, name) for m in meshes]) for name in Mesh.__slots__))


def quads(p: F32, albedo: F32, gloss: float = 0.0, surface: Surface = Surface.PAINT) -> Mesh:
    """Flat rectangles: corners [N, 4, 3] counter-clockwise seen from the front, first the lower left."""
    normals = unit(cross(p[:, 1] - p[:, 0], p[:, 3] - p[:, 0]))
    halves = p[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3, 3)
    made = mesh(halves, np.repeat(normals, 6, axis=0).reshape(-1, 3, 3), albedo, gloss)
    uv = f32([[0, 1], [1, 1], [1, 0], [0, 0]])[[[0, 1, 2], [0, 2, 3]]]
    return replace(made, uv=np.tile(uv, (len(p), 1, 1)), surface=np.full(len(made), surface, np.int8))


def wall(corner: Vector, along: Vector, up: Vector) -> Mesh:
    """A flat rectangle of pieces of a metre or so: those behind the camera can be left out one by one."""
    a, u, c = f32(along), f32(up), f32(corner)
    n, m = (max(1, round(float(np.linalg.norm(v)))) for v in (a, u))
    pieces = [
        [c + a * (s / n) + u * (t / m) for s, t in ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1))]
        for i, j in np.ndindex(n, m)
    ]
    return quads(f32(pieces), f32([0.5, 0.5, 0.5]))


def box(size: Vector, at: Vector, albedo: F32, gloss: float = 0.0, surface: Surface = Surface.PAINT) -> Mesh:
    """An upright box with flat faces; ``at`` is its middle."""
    return quads(f32(_FACES * (f32(size) / 2) + f32(at)), albedo, gloss, surface)


_AXES = [np.roll(np.eye(3), -axis, axis=0) * [[s], [1], [s]] for axis in range(3) for s in (-1.0, 1.0)]
_FACES = np.array([[n - u - v, n + u - v, n + u + v, n - u + v] for n, u, v in _AXES])  # of -1 to 1


def loft(rings: F32, albedo: F32, gloss: float = 0.0, *, caps: bool = True) -> Mesh:
    """A smooth skin over closed rings [R, K, 3], with flat ends."""
    around = np.roll(rings, -1, axis=1) - np.roll(rings, 1, axis=1)
    normals = unit(cross(around, np.gradient(rings, axis=0)))
    outward = rings - rings.mean(axis=1, keepdims=True)
    normals = f32(normals * np.sign(np.sum(normals * outward) or 1.0))

    def patched(points: F32) -> F32:
        following = np.roll(points, -1, axis=1)
        a, b, c, d = points[:-1], following[:-1], following[1:], points[1:]
        return f32(np.stack([a, b, c, a, c, d], axis=2).reshape(-1, 3, 3))

    parts = [mesh(patched(rings), patched(normals), albedo, gloss)]
    for end, inner in ((rings[0], rings[1]), (rings[-1], rings[-2])) if caps else ():
        parts.append(_cap(end, f32(end.mean(axis=0) - inner.mean(axis=0)), albedo, gloss))
    return join(*parts)


def _cap(ring: F32, direction: F32, albedo: F32, gloss: float) -> Mesh:
    centre = np.broadcast_to(ring.mean(axis=0), ring.shape)
    corners = f32(np.stack([centre, ring, np.roll(ring, -1, axis=0)], axis=1))
    return mesh(corners, f32(np.broadcast_to(unit(direction), corners.shape)), albedo, gloss)


def ring(k: int, power: float = 2.0) -> F32:
    """K points of a super-ellipse of radius 1, float32 [K, 2]: 2 is a circle, 6 nearly a square."""
    angle = (np.arange(k) + 0.5) * 2 * np.pi / k
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return f32(np.sign(circle) * np.abs(circle) ** (2 / power))


def limb(stations: Sequence[Vector] | NDArray[np.float64], k: int, albedo: F32) -> Mesh:
    """A rounded limb along z: stations (z, radius along x, radius along y, shift along x)."""
    z, rx, ry, dx = f32(stations).T[..., None]
    x, y = ring(k).T
    return loft(xyz(x * rx + dx, y * ry, z), albedo)


def ball(centre: Vector, radii: Vector, k: int, albedo: F32, gloss: float = 0.0) -> Mesh:
    """An ellipsoid."""
    angles = np.linspace(0.12, np.pi - 0.12, max(4, k // 2 + 2))[:, None]
    x, y = ring(k).T
    sphere = loft(xyz(x * np.sin(angles), y * np.sin(angles), -np.cos(angles)), albedo, gloss)
    corners = f32(sphere.corners * f32(radii) + f32(centre))
    return replace(sphere, corners=corners, normals=unit(sphere.corners / f32(radii)))


def wheel(radius: float, width: float, k: int, rim: F32) -> Mesh:
    """A wheel about the y axis, centred on the origin: tyre, rim and five dark spokes' gaps on both sides."""
    (x, z), half = (ring(k) * radius).T, width / 2
    y, scale = f32([(-half, 0.93), (-width * 0.3, 1.0), (width * 0.3, 1.0), (half, 0.93)]).T[..., None]
    parts = [loft(xyz(x * scale, y, z * scale), f32([0.022, 0.022, 0.024]))]
    for side in (-1.0, 1.0):
        for share, out, corners, colour in ((0.64, 0.004, k, rim), (0.22, 0.008, 8, f32(rim * 0.8))):
            x, z = (ring(corners) * (radius * share)).T
            parts.append(_cap(xyz(x, side * (half + out), z), f32([0, side, 0]), colour, 0.35))
        parts[-2] = parts[-2].painted(np.arange(k) % 2 == 1, f32(rim * 0.25), 0.1)
    return join(*parts)


def tyre(radius: float, k: int, albedo: F32) -> Mesh:
    """A thin tyre about the y axis, open inside."""
    rim = (radius * 0.93, -0.018), (radius, 0.0), (radius * 0.93, 0.018), (radius * 0.92, 0.0)
    (x, z), (r, y) = ring(k).T, f32(rim).T[..., None]
    rings = xyz(x * r, y, z * r)
    return loft(f32([*rings, rings[0]]), albedo, caps=False)


def bar(a: Vector, b: Vector, radius: float, albedo: F32) -> Mesh:
    """A round bar between two points."""
    axis = f32(b) - f32(a)
    axis = axis / np.linalg.norm(axis)
    side = np.cross(axis, [0, 1, 0] if abs(axis[1]) < 0.9 else [1, 0, 0])
    side = side / np.linalg.norm(side)
    circle = ring(6) * radius
    rings = [f32(p) + circle[:, :1] * side + circle[:, 1:] * np.cross(axis, side) for p in (a, b)]
    return loft(f32(rings), albedo, 0.3)


@dataclass(frozen=True, slots=True)
class Panel:
    """A flat textured rectangle: corner + s·along + t·up, s and t from 0 to 1."""

    corner: F32
    along: F32
    up: F32
    texture: U8  # uint8 [h, w, 3] sRGB, its first row at t = 1
    glow: U8 | None = None  # uint8 [h, w] or None: how strongly each place shines when lamps are on


Lamp = tuple[Vector, Vector]  # where it hangs, and its colour: its light at 1 m, straight on
Extent = tuple[float, float]


@dataclass(slots=True)
class Stage:
    """What stands still."""

    x: Extent  # the ground's extent in metres
    y: Extent
    # uint8 sRGB texture, first row at the least y, first column at the least x
    ground: U8 = field(default_factory=lambda: np.zeros((1, 1, 3), np.uint8))
    panels: list[Panel] = field(default_factory=list)
    meshes: list[Mesh] = field(default_factory=list)
    # convex point clouds [N, 3] that throw sun shadows on the ground
    casters: list[F32] = field(default_factory=list)
    lamps: list[Lamp] = field(default_factory=list)
    # where the panels that can hide actors stand, for truth, which has no panels
    walls: list[Mesh] = field(default_factory=list)
    sky: bool = True

    def stand(self, mesh: Mesh) -> None:
        """Put a thing there that throws the shadow of its bounding box."""
        self.meshes.append(mesh)
        low, high = mesh.corners.min(axis=(0, 1)), mesh.corners.max(axis=(0, 1))
        self.shade((low[0], high[0]), (low[1], high[1]), high[2])

    def shade(self, x: Extent, y: Extent, top: float, bottom: float = 0.0) -> None:
        """Throw the shadow of a block between two places on each axis, metres."""
        self.casters.append(f32([[a, b, c] for a in x for b in y for c in (bottom, top)]))

    def post(self, x: float, y: float, half: float, top: float) -> None:
        """Throw the shadow of a square post, ``half`` its width to each side."""
        self.shade((x - half, x + half), (y - half, y + half), top)
