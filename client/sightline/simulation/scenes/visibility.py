"""What of each actor is seen: boxes and occlusion from an id buffer, with no picture drawn."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sightline.simulation.scenes.actors import TRANSPARENT, Cast, PosedActor
from sightline.simulation.scenes.arrays import F32, I64, f32
from sightline.simulation.scenes.mesh import Mesh, join
from sightline.simulation.scenes.raster import NOTHING, fragments
from sightline.simulation.scenes.viewpoints import NEAR_M, PinholeCamera
from sightline.simulation.scenes.world import Snapshot

Box = tuple[float, float, float, float]  # x0, y0, x1, y1, pixels


@dataclass(frozen=True, slots=True)
class FrameTruth:
    """What is true of one picture. N actors with at least one pixel in it, by ascending id.

    Attributes:
        time_s: seconds since the scene's start.
        ids: int64 [N]; kinds: class names.
        full_xyxy: float32 [N, 4], pixels: the whole actor, hidden parts included, cut at the picture's edge.
        visible_xyxy: float32 [N, 4], pixels: what is seen of it; zeros when nothing is.
        occlusion: float32 [N], 0..1: share of its pixels in the picture that something else hides.
        truncation: float32 [N], 0..1: share of its box that lies outside the picture.
        foot_xy: float32 [N, 2], pixels: its place on the ground (under its middle); may lie outside.
        position: float32 [N, 3], metres; heading: float32 [N], radians; speed: float32 [N], m/s.
    """

    time_s: float
    ids: I64
    kinds: tuple[str, ...]
    full_xyxy: F32
    visible_xyxy: F32
    occlusion: F32
    truncation: F32
    foot_xy: F32
    position: F32
    heading: F32
    speed: F32

    def __len__(self) -> int:
        return len(self.ids)


class TruthObserver:
    """Looks at a world through one camera. One thread.

    Args:
        still: meshes in the scene that can hide an actor.
    """

    def __init__(self, camera: PinholeCamera, still: list[Mesh]) -> None:
        self.camera = camera
        self._cast = Cast()
        self._keys = np.zeros(camera.width * camera.height, np.uint64)
        if still:
            q = camera.project(join(*still).corners)
            q = q[(q[..., 2] > NEAR_M).all(axis=1)]
            pixels = fragments(f32(q[..., :2]), f32(1 / q[..., 2]), camera.width, camera.height)
            np.maximum.at(self._keys, pixels.pixel, pixels.key | NOTHING)

    def look(self, snapshot: Snapshot) -> FrameTruth:
        """The truth of one picture."""
        projected = self._projected(self._cast.figures(snapshot, self.camera))
        seen: list[tuple[PosedActor, tuple[Box, Box, float, float]]] = []
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
                    seen.append((figure, self._sight(box, pixel, drawn.key[part] >= keys[pixel])))
        states = [figure.state for figure, _ in seen]
        ground = f32([[s.x, s.y, 0.0] for s in states]).reshape(-1, 3)
        return FrameTruth(
            time_s=snapshot.time_s,
            ids=np.array([figure.actor.id for figure, _ in seen], np.int64),
            kinds=tuple(figure.actor.kind for figure, _ in seen),
            full_xyxy=f32([full for _, (full, _, _, _) in seen]).reshape(-1, 4),
            visible_xyxy=f32([visible for _, (_, visible, _, _) in seen]).reshape(-1, 4),
            occlusion=f32([occlusion for _, (_, _, occlusion, _) in seen]),
            truncation=f32([truncation for _, (_, _, _, truncation) in seen]),
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

    def _sight(self, box: F32, pixel: I64, won: NDArray[np.bool_]) -> tuple[Box, Box, float, float]:
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
        return full, _bounds(shown, left, top), occlusion, truncation


def _bounds(taken: NDArray[np.bool_], left: int, top: int) -> Box:
    """The box of the pixels that are taken, of a part of the picture; zeros when there are none."""
    y, x = (np.flatnonzero(taken.any(axis=axis)) for axis in (1, 0))
    if not len(y):
        return 0.0, 0.0, 0.0, 0.0
    return float(left + x[0]), float(top + y[0]), float(left + x[-1] + 1), float(top + y[-1] + 1)
