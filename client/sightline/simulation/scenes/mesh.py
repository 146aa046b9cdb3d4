"""Triangles with colours, and the few solids that everything is built from.

A solid's axes: x forward, y left, z up. All corners of a mesh stand in one array, three for each
triangle, so that a whole scene is moved, lit and drawn by a handful of array operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sightline.simulation.scenes.arrays import F32, F64, cross, f32, unit

I8 = NDArray[np.int8]
_FIELDS = ("corners", "normals", "albedo", "gloss", "bone", "surface", "uv")
PAINT, HEAD_LAMP, TAIL_LAMP, PLATE, BRAKE_LAMP, SIGN = range(6)  # what a surface is, beyond its colour


@dataclass(frozen=True, slots=True)
class Mesh:
    """N triangles.

    Attributes:
        corners: float32 [N, 3, 3], metres, each triangle counter-clockwise from outside.
        normals: float32 [N, 3, 3], unit length, one for each corner.
        albedo: float32 [N, 3], linear colour 0..1.
        gloss: float32 [N], 0 (cloth) .. 1 (glass): how much of the sky it mirrors.
        bone: int8 [N], the moving part that the triangle belongs to; 0 is the body.
        surface: int8 [N], :data:`PAINT`, :data:`HEAD_LAMP`, :data:`TAIL_LAMP`, :data:`PLATE`, …
        uv: float32 [N, 3, 2], place in the plate's picture (0..1) for :data:`PLATE`.
    """

    corners: F32
    normals: F32
    albedo: F32
    gloss: F32
    bone: I8
    surface: I8
    uv: F32

    def __len__(self) -> int:
        return len(self.corners)

    def moved(self, offset: Sequence[float], rotation: F32 | None = None) -> Mesh:
        """Turned about the origin, then shifted."""
        corners, normals = self.corners, self.normals
        if rotation is not None:
            corners, normals = corners @ rotation.T, normals @ rotation.T
        return replace(self, corners=f32(corners + f32(offset)), normals=f32(normals))

    def on_bone(self, bone: int) -> Mesh:
        """The same triangles on another moving part."""
        return replace(self, bone=np.full(len(self), bone, np.int8))

    def as_surface(self, surface: int) -> Mesh:
        """The same triangles as lamp, plate or sign."""
        return replace(self, surface=np.full(len(self), surface, np.int8))

    def painted(self, chosen: NDArray[np.bool_], albedo: F32, gloss: float) -> Mesh:
        """With another colour on the chosen triangles."""
        colours, shine = self.albedo.copy(), self.gloss.copy()
        colours[chosen], shine[chosen] = albedo, gloss
        return replace(self, albedo=colours, gloss=shine)

    @property
    def centres(self) -> F32:
        """Middle of each triangle, float32 [N, 3]."""
        return f32(self.corners.mean(axis=1))


def mesh(corners: F32, normals: F32, albedo: F32, gloss: float = 0.0) -> Mesh:
    """A mesh of one colour; triangles are turned so that they face the way their normals point."""
    edges = cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    wrong = np.sum(edges * normals.sum(axis=1), axis=1) < 0
    corners, normals = corners.copy(), normals.copy()
    if wrong.any():
        corners[wrong], normals[wrong] = corners[wrong][:, ::-1], normals[wrong][:, ::-1]
    n = len(corners)
    return Mesh(
        f32(corners),
        unit(normals),
        f32(np.broadcast_to(albedo, (n, 3))),
        np.full(n, gloss, np.float32),
        np.zeros(n, np.int8),
        np.zeros(n, np.int8),
        np.zeros((n, 3, 2), np.float32),
    )


def join(*meshes: Mesh) -> Mesh:
    """Several meshes as one."""
    return Mesh(*(np.concatenate([getattr(m, name) for m in meshes]) for name in _FIELDS))


def quad(corners: Sequence[Sequence[float]], albedo: F32, gloss: float = 0.0) -> Mesh:
    """A flat rectangle: corners counter-clockwise seen from its front, first the lower left."""
    return _quads(f32(corners)[None], albedo, gloss)


def _quads(p: F32, albedo: F32, gloss: float) -> Mesh:
    """Flat rectangles, corners [N, 4, 3] as those of :func:`quad`."""
    normals = unit(cross(p[:, 1] - p[:, 0], p[:, 3] - p[:, 0]))
    halves = p[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3, 3)
    quads = mesh(halves, np.repeat(normals, 6, axis=0).reshape(-1, 3, 3), albedo, gloss)
    uv = f32([[0, 1], [1, 1], [1, 0], [0, 0]])[[[0, 1, 2], [0, 2, 3]]]
    return replace(quads, uv=np.tile(uv, (len(p), 1, 1)))


def wall(corner: Sequence[float], along: Sequence[float], up: Sequence[float]) -> Mesh:
    """A flat rectangle of pieces of a metre or so: those behind the camera can be left out one by one."""
    a, u, c = f32(along), f32(up), f32(corner)
    n, m = (max(1, round(float(np.linalg.norm(v)))) for v in (a, u))
    parts = []
    for i in range(n):
        for j in range(m):
            ends = ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1))
            parts.append(quad([list(c + a * (s / n) + u * (t / m)) for s, t in ends], f32([0.5, 0.5, 0.5])))
    return join(*parts)


def box(size: Sequence[float], centre: Sequence[float], albedo: F32, gloss: float = 0.0) -> Mesh:
    """An upright box with flat faces."""
    return _quads(f32(_FACES * (f32(size) / 2) + f32(centre)), albedo, gloss)


def _faces() -> F64:
    """The corners [6, 4, 3] of the faces of a box from -1 to 1."""
    faces = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            n, u, v = np.zeros(3), np.zeros(3), np.zeros(3)
            n[axis], u[(axis + 1) % 3], v[(axis + 2) % 3] = sign, 1, sign
            faces.append([n - u - v, n + u - v, n + u + v, n - u + v])
    return np.array(faces)


_FACES = _faces()


def loft(rings: F32, albedo: F32, gloss: float = 0.0, *, caps: bool = True) -> Mesh:
    """A smooth skin over closed rings [R, K, 3], with flat ends."""
    along = np.gradient(rings, axis=0)
    around = np.roll(rings, -1, axis=1) - np.roll(rings, 1, axis=1)
    normals = unit(cross(around, along))
    outward = rings - rings.mean(axis=1, keepdims=True)
    normals = f32(normals * np.sign(np.sum(normals * outward) or 1.0))
    a, b = rings[:-1], rings[1:]
    na, nb = normals[:-1], normals[1:]
    nxt = np.roll(np.arange(rings.shape[1]), -1)
    first = np.stack([a, a[:, nxt], b[:, nxt]], axis=2).reshape(-1, 3, 3)
    second = np.stack([a, b[:, nxt], b], axis=2).reshape(-1, 3, 3)
    n1 = np.stack([na, na[:, nxt], nb[:, nxt]], axis=2).reshape(-1, 3, 3)
    n2 = np.stack([na, nb[:, nxt], nb], axis=2).reshape(-1, 3, 3)
    pairs, pair_normals = np.stack([first, second], axis=1), np.stack([n1, n2], axis=1)
    parts = [mesh(f32(pairs.reshape(-1, 3, 3)), f32(pair_normals.reshape(-1, 3, 3)), albedo, gloss)]
    if caps:
        for end, inner in ((rings[0], rings[1]), (rings[-1], rings[-2])):
            parts.append(_cap(end, f32(end.mean(axis=0) - inner.mean(axis=0)), albedo, gloss))
    return join(*parts)


def patches(lofted: Mesh, k: int) -> tuple[F32, F32]:
    """Middle and normal [N, 3] of the four-cornered patch (or end) that each triangle of a loft is of."""
    middle, normal = lofted.centres, f32(lofted.normals.mean(axis=1))
    skin = len(lofted) - 2 * k
    for values in (middle, normal):
        values[:skin] = np.repeat(values[:skin].reshape(-1, 2, 3).mean(axis=1), 2, axis=0)
    return middle, unit(normal)


def _cap(ring: F32, direction: F32, albedo: F32, gloss: float) -> Mesh:
    centre = np.broadcast_to(ring.mean(axis=0), ring.shape)
    corners = f32(np.stack([centre, ring, np.roll(ring, -1, axis=0)], axis=1))
    return mesh(corners, f32(np.broadcast_to(unit(direction), corners.shape)), albedo, gloss)


def by_bone(made: Mesh) -> Mesh:
    """The same triangles, those of one bone next to each other."""
    order = np.argsort(made.bone, kind="stable")
    return Mesh(*(getattr(made, name)[order] for name in _FIELDS))


def ring(k: int, power: float = 2.0) -> F32:
    """K points of a super-ellipse of radius 1, float32 [K, 2]: 2 is a circle, 6 nearly a square."""
    angle = (np.arange(k) + 0.5) * 2 * np.pi / k
    c, s = np.cos(angle), np.sin(angle)
    return f32(
        np.stack([np.sign(c) * np.abs(c) ** (2 / power), np.sign(s) * np.abs(s) ** (2 / power)], axis=1)
    )


def limb(stations: Sequence[tuple[float, float, float, float]], k: int, albedo: F32) -> Mesh:
    """A rounded limb along z: stations (z, radius along x, radius along y, shift along x)."""
    circle = ring(k)
    rings = [
        np.stack([circle[:, 0] * rx + dx, circle[:, 1] * ry, np.full(k, z)], axis=1)
        for z, rx, ry, dx in stations
    ]
    return loft(f32(rings), albedo)


def ball(centre: Sequence[float], radii: Sequence[float], k: int, albedo: F32, gloss: float = 0.0) -> Mesh:
    """An ellipsoid."""
    angles = np.linspace(0.12, np.pi - 0.12, max(4, k // 2 + 2))
    circle = ring(k)
    rings = [
        np.stack([circle[:, 0] * np.sin(a), circle[:, 1] * np.sin(a), np.full(k, -np.cos(a))], axis=1)
        for a in angles
    ]
    sphere = loft(f32(rings), albedo, gloss)
    corners = sphere.corners * f32(radii)
    return replace(sphere, corners=f32(corners + f32(centre)), normals=unit(sphere.corners / f32(radii)))


def wheel(radius: float, width: float, k: int, rim: F32) -> Mesh:
    """A wheel about the y axis, centred on the origin: tyre, rim and five dark spokes' gaps on both sides."""
    tyre = f32([0.022, 0.022, 0.024])
    circle = ring(k) * radius
    rings = [
        np.stack([circle[:, 0] * s, np.full(k, y), circle[:, 1] * s], axis=1)
        for y, s in ((-width / 2, 0.93), (-width * 0.3, 1.0), (width * 0.3, 1.0), (width / 2, 0.93))
    ]
    parts = [loft(f32(rings), tyre)]
    for side in (-1.0, 1.0):
        parts.append(_disc(radius * 0.64, side * (width / 2 + 0.004), k, rim, lambda i: i % 2 == 0))
        parts.append(_disc(radius * 0.22, side * (width / 2 + 0.008), 8, f32(rim * 0.8), None))
    return join(*parts)


def _disc(radius: float, y: float, k: int, albedo: F32, light: Callable[[int], bool] | None) -> Mesh:
    circle = ring(k) * radius
    points = f32(np.stack([circle[:, 0], np.full(k, y), circle[:, 1]], axis=1))
    disc = _cap(points, f32([0, np.sign(y), 0]), albedo, 0.35)
    if light is None:
        return disc
    dark = np.array([not light(i) for i in range(k)])
    return disc.painted(dark, f32(albedo * 0.25), 0.1)


def bar(a: tuple[float, float, float], b: tuple[float, float, float], radius: float, albedo: F32) -> Mesh:
    """A round bar between two points."""
    axis = f32(b) - f32(a)
    axis = axis / np.linalg.norm(axis)
    side = np.cross(axis, [0, 1, 0] if abs(axis[1]) < 0.9 else [1, 0, 0])
    side = side / np.linalg.norm(side)
    other = np.cross(axis, side)
    circle = ring(6) * radius
    rings = [f32(p) + circle[:, :1] * side + circle[:, 1:] * other for p in (a, b)]
    return loft(f32(rings), albedo, 0.3)
