"""What of each actor is seen: a rasteriser, and boxes and occlusion from an id buffer, with no picture drawn.

The depth-buffered rasteriser works in array operations: triangles in, visible pixels out. Triangles become
rows, rows become pixels, and one ``maximum.at`` keeps the nearest: the key of a pixel is its inverse depth
(upper 32 bits) with the triangle's number (lower 32 bits).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightline.simulation.scenes import actors
from sightline.simulation.scenes.actors import TRANSPARENT, PosedActor
from sightline.simulation.scenes.arrays import F32, F64, I64, f32
from sightline.simulation.scenes.mesh import Mesh, join
from sightline.simulation.scenes.spec import NEAR_M, PinholeCamera
from sightline.simulation.scenes.world import Snapshot

U64 = NDArray[np.uint64]
DEPTH_UNITS = 2.0**32 * 0.3 * 0.99  # inverse depths up to 1 / 0.3 m fit into 32 bits
NOTHING = np.uint64(0xFFFFFFFF)  # no triangle: what stands in the picture already
_MIN_AREA = 0.02  # of a pixel, twice: thinner triangles have no stable slopes


class Fragments(NamedTuple):
    """Pixels of triangles: flat pixel numbers, triangle numbers, and depth keys, all [M]."""

    pixel: I64
    triangle: I64
    key: U64


def slopes(xy: F32, values: F32) -> tuple[F32, F32]:
    """By how much values [T, 3, C] grow to the right and downwards over triangles [T, 3, 2]: [T, C] each."""
    a, b = xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    over = (1.0 / np.where(np.abs(area) < _MIN_AREA, np.inf, area))[:, None]
    u, v = values[:, 1] - values[:, 0], values[:, 2] - values[:, 0]
    return f32((u * b[:, 1:] - v * a[:, 1:]) * over), f32((v * a[:, :1] - u * b[:, :1]) * over)


def interpolated(xy: F32, values: F32, triangle: I64, x: F32, y: F32) -> F32:
    """Values [M, C] at picture points of triangles: value + dx·(x − x0) + dy·(y − y0)."""
    parts = (values[:, 0], *slopes(xy, values), xy[:, 0])
    value, dx, dy, origin = (np.take(part, triangle, axis=0) for part in parts)
    dx *= (x - origin[:, 0])[:, None]
    dy *= (y - origin[:, 1])[:, None]
    value += dx
    value += dy
    return value


def fragments(xy: F32, inverse_depth: F32, width: int, height: int) -> Fragments:
    """Every pixel whose centre lies in a triangle: xy [T, 3, 2], 1 / depth [T, 3]."""
    dx, dy = slopes(xy, inverse_depth[..., None])
    row_of, y, left, right = _rows(xy, width, height)
    count = right - left
    starts = np.cumsum(count) - count
    which = np.repeat(np.arange(len(count)), count)
    x = np.arange(len(which)) - (starts - left)[which]
    slope, origin = dx[row_of, 0], xy[row_of, 0]
    base = inverse_depth[row_of, 0] + dy[row_of, 0] * (y + 0.5 - origin[:, 1])
    base = base + slope * (0.5 - origin[:, 0])
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
    return Fragments(*(part[won] for part in candidates))


@dataclass(frozen=True, slots=True)
class FrameTruth:
    """What is true of one picture. N actors with at least one pixel in it, by ascending id."""

    time_s: float  # seconds since the scene's start
    ids: I64  # int64 [N]; kinds: class names
    kinds: tuple[str, ...]
    # float32 [N, 4], pixels: the whole actor, hidden parts included, cut at the picture's edge
    full_xyxy: F32
    visible_xyxy: F32  # float32 [N, 4], pixels: what is seen of it; zeros when nothing is
    occlusion: F32  # float32 [N], 0..1: share of its pixels in the picture that something else hides
    truncation: F32  # float32 [N], 0..1: share of its box that lies outside the picture
    foot_xy: F32  # float32 [N, 2], pixels: its place on the ground (under its middle); may lie outside
    position: F32  # float32 [N, 3], metres; heading: float32 [N], radians; speed: float32 [N], m/s
    heading: F32
    speed: F32

    def __len__(self) -> int:
        return len(self.ids)


class TruthObserver:
    """Looks at a world through one camera; ``still`` are meshes that can hide an actor. One thread."""

    def __init__(self, camera: PinholeCamera, still: list[Mesh]) -> None:
        self.camera = camera
        self._keys = np.zeros(camera.width * camera.height, np.uint64)
        if still:
            q = camera.project(join(*still).corners)
            q = q[(q[..., 2] > NEAR_M).all(axis=1)]
            pixels = fragments(f32(q[..., :2]), f32(1 / q[..., 2]), camera.width, camera.height)
            np.maximum.at(self._keys, pixels.pixel, pixels.key | NOTHING)

    def look(self, snapshot: Snapshot) -> FrameTruth:
        """The truth of one picture."""
        projected = self._projected(actors.figures(snapshot, self.camera))
        seen, sights = [], []
        if projected:
            corners = np.concatenate([q for _, q, _ in projected])
            size = self.camera.width, self.camera.height
            drawn = fragments(f32(corners[..., :2]), f32(1 / corners[..., 2]), *size)
            edges = np.searchsorted(drawn.triangle, [0, *np.cumsum([len(q) for _, q, _ in projected])])
            parts = [slice(a, b) for a, b in pairwise(edges)]
            keys = self._keys.copy()
            for (figure, _, _), part in zip(projected, parts, strict=True):
                if figure.actor.kind not in TRANSPARENT:
                    np.maximum.at(keys, drawn.pixel[part], drawn.key[part])
            for (figure, _, box), part in zip(projected, parts, strict=True):
                pixel = drawn.pixel[part]
                if len(pixel):
                    seen.append(figure)
                    sights.append(self._sight(box, pixel, drawn.key[part] >= keys[pixel]))
        columns, states = f32(sights).reshape(-1, 10), [figure.state for figure in seen]
        ground = f32([[s.x, s.y, 0.0] for s in states]).reshape(-1, 3)
        return FrameTruth(
            time_s=snapshot.time_s,
            ids=np.array([figure.actor.id for figure in seen], np.int64),
            kinds=tuple(figure.actor.kind for figure in seen),
            full_xyxy=columns[:, :4],
            visible_xyxy=columns[:, 4:8],
            occlusion=columns[:, 8],
            truncation=columns[:, 9],
            foot_xy=f32(self.camera.project(ground)[:, :2]),
            position=ground,
            heading=f32([s.heading for s in states]),
            speed=f32([s.speed for s in states]),
        )

    def _projected(self, figures: list[PosedActor]) -> list[tuple[PosedActor, F32, F32]]:
        """Each figure that reaches into the picture, its projected triangles [N, 3, 3] and its box [4]."""
        if not figures:
            return []
        whole = self.camera.project(np.concatenate([f.points for f in figures]))
        projected, end = [], 0
        for figure in figures:
            start, end = end, end + len(figure.points)
            points = q = whole[start:end]
            triangles, near = figure.body.triangles, q[:, 2] <= NEAR_M
            if near.any():
                triangles = triangles[~near[triangles].any(axis=1)]
                q = q[np.unique(triangles)]
            if len(q):
                x0, y0, x1, y1 = box = np.concatenate([q[:, :2].min(axis=0), q[:, :2].max(axis=0)])
                if x1 > 0 and y1 > 0 and x0 < self.camera.width and y0 < self.camera.height:
                    projected.append((figure, points[triangles], box))
        return projected

    def _sight(self, box: F32, pixel: I64, won: NDArray[np.bool_]) -> list[float]:
        """Full box, visible box, occlusion and truncation of a figure that has ``won`` some of its pixels."""
        width, height = self.camera.width, self.camera.height
        x0, y0, x1, y1 = box
        rows, columns = np.divmod(pixel, width)
        top, left = int(rows.min()), int(columns.min())
        whole = np.zeros((int(rows.max()) - top + 1, int(columns.max()) - left + 1), np.bool_)
        shown = np.zeros_like(whole)
        whole[rows - top, columns - left] = True
        shown[rows[won] - top, columns[won] - left] = True
        full = float(x0), float(y0), float(x1), float(y1)
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            full = _bounds(whole, left, top)  # what lies outside must not widen what lies inside
        area, inside = float((x1 - x0) * (y1 - y0)), (full[2] - full[0]) * (full[3] - full[1])
        truncation = float(np.clip(1.0 - inside / max(area, 1e-6), 0.0, 1.0))
        occlusion = 1.0 - np.count_nonzero(shown) / np.count_nonzero(whole)
        return [*full, *_bounds(shown, left, top), occlusion, truncation]


def _bounds(taken: NDArray[np.bool_], left: int, top: int) -> tuple[float, float, float, float]:
    """The box (x0, y0, x1, y1) of the pixels taken, of a part of the picture; zeros when there are none."""
    y, x = (np.flatnonzero(taken.any(axis=axis)) for axis in (1, 0))
    if not len(y):
        return 0.0, 0.0, 0.0, 0.0
    return float(left + x[0]), float(top + y[0]), float(left + x[-1] + 1), float(top + y[-1] + 1)
