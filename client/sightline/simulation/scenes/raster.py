"""A depth-buffered rasteriser in array operations: triangles in, visible pixels out.

Triangles become rows, rows become pixels, and one ``maximum.at`` keeps the nearest: the key of a pixel is
its inverse depth (upper 32 bits) with the triangle's number (lower 32 bits).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.simulation.scenes.arrays import F32, F64, I64, f32

U64 = NDArray[np.uint64]
DEPTH_UNITS = 2.0**32 * 0.3 * 0.99  # inverse depths up to 1 / 0.3 m fit into 32 bits
NOTHING = np.uint64(0xFFFFFFFF)  # no triangle: what stands in the picture already
_MIN_AREA = 0.02  # of a pixel, twice: thinner triangles have no stable slopes


@dataclass(frozen=True, slots=True)
class Fragments:
    """Pixels of triangles: flat pixel numbers, triangle numbers, and depth keys, all [M]."""

    pixel: I64
    triangle: I64
    key: U64


@dataclass(frozen=True, slots=True)
class Planes:
    """Values that are linear over a triangle's picture: value + dx·(x − x0) + dy·(y − y0). [T, C] each."""

    value: F32
    dx: F32
    dy: F32
    origin: F32

    def at(self, triangle: I64, x: F32, y: F32) -> F32:
        """Values [M, C] at picture points of triangles."""
        parts = (self.value, self.dx, self.dy, self.origin)
        value, dx, dy, origin = (np.take(part, triangle, axis=0) for part in parts)
        dx *= (x - origin[:, 0])[:, None]
        dy *= (y - origin[:, 1])[:, None]
        value += dx
        value += dy
        return value


def planes(xy: F32, values: F32) -> Planes:
    """The slopes of values [T, 3, C] over triangles [T, 3, 2]."""
    a, b = xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    over = (1.0 / np.where(np.abs(area) < _MIN_AREA, np.inf, area))[:, None]
    u, v = values[:, 1] - values[:, 0], values[:, 2] - values[:, 0]
    dx = (u * b[:, 1:] - v * a[:, 1:]) * over
    dy = (v * a[:, :1] - u * b[:, :1]) * over
    return Planes(f32(values[:, 0]), f32(dx), f32(dy), f32(xy[:, 0]))


def fragments(xy: F32, inverse_depth: F32, width: int, height: int) -> Fragments:
    """Every pixel whose centre lies in a triangle: xy [T, 3, 2], 1 / depth [T, 3]."""
    depth = planes(xy, inverse_depth[..., None])
    row_of, y, left, right = _rows(xy, width, height)
    count = right - left
    starts = np.cumsum(count) - count
    which = np.repeat(np.arange(len(count)), count)
    x = np.arange(len(which)) - (starts - left)[which]
    slope = depth.dx[row_of, 0]
    base = depth.value[row_of, 0] + depth.dy[row_of, 0] * (y + 0.5 - depth.origin[row_of, 1])
    base = base + slope * (0.5 - depth.origin[row_of, 0])
    near = np.clip(base[which] + slope[which] * x, 0.0, 1 / 0.3)
    triangle = row_of[which]
    key = (near * DEPTH_UNITS).astype(np.uint64) << np.uint64(32) | triangle.astype(np.uint64)
    return Fragments((y * width)[which] + x, triangle, key)


def _rows(xy: F32, width: int, height: int) -> tuple[I64, I64, I64, I64]:
    """Triangle, picture row, first and last-plus-one column of every row of every triangle."""
    ya, yb, yc = xy[:, :, 1].T.astype(np.float64)
    first = np.ceil(np.minimum(np.minimum(ya, yb), yc) - 0.5)
    tall = np.flatnonzero(first < np.ceil(np.maximum(np.maximum(ya, yb), yc) - 0.5))  # many lie in no row
    xy = xy[tall]
    order = np.argsort(xy[:, :, 1], axis=1, kind="stable")
    corners = np.take_along_axis(xy, order[:, :, None], axis=1).astype(np.float64)
    (x0, y0), (x1, y1), (x2, y2) = (corners[:, i].T for i in range(3))
    top, bottom = (np.clip(np.ceil(end - 0.5), 0, height).astype(np.int64) for end in (y0, y2))
    count = np.maximum(bottom - top, 0)
    triangle = np.repeat(np.arange(len(xy)), count)
    y = np.arange(len(triangle)) - (np.cumsum(count) - count - top)[triangle]
    middle = y + 0.5

    def edge(xa: F64, ya: F64, xb: F64, yb: F64) -> F64:
        """Where the edge from a to b of each row's triangle is in the middle of that row."""
        rise = yb - ya
        slope = (xb - xa) / np.where(rise < 1e-9, np.inf, rise)
        return np.asarray(xa[triangle] + (middle - ya[triangle]) * slope[triangle])

    long = edge(x0, y0, x2, y2)
    short = np.where(middle < y1[triangle], edge(x0, y0, x1, y1), edge(x1, y1, x2, y2))
    left = np.clip(np.ceil(np.minimum(long, short) - 0.5), 0, width).astype(np.int64)
    right = np.clip(np.ceil(np.maximum(long, short) - 0.5), 0, width).astype(np.int64)
    filled = right > left
    return tall[triangle[filled]], y[filled], left[filled], right[filled]


def resolve(candidates: Fragments, keys: U64) -> Fragments:
    """The fragments nearer than everything else; ``keys`` (flat picture) is brought up to date in place."""
    np.maximum.at(keys, candidates.pixel, candidates.key)
    won = keys[candidates.pixel] == candidates.key
    return Fragments(candidates.pixel[won], candidates.triangle[won], candidates.key[won])
