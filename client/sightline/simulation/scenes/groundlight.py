"""Light on the ground: still shadows and lamps, moving shadows, head lamps; and the traffic light."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from sightline.simulation.scenes.actors import PosedActor
from sightline.simulation.scenes.arrays import F32, F64, U8, f32
from sightline.simulation.scenes.light import Light
from sightline.simulation.scenes.staging import Lamp, Stage
from sightline.simulation.scenes.street import signal_heads
from sightline.simulation.scenes.viewpoints import PinholeCamera

LIGHT_CELL_M = 0.1


class GroundLight:
    """How much sun and lamp light falls on each place of the ground; a grid of 10 cm cells."""

    def __init__(self, stage: Stage, light: Light) -> None:
        self.x, self.y = stage.x, stage.y
        w = round((self.x[1] - self.x[0]) / LIGHT_CELL_M)
        h = round((self.y[1] - self.y[0]) / LIGHT_CELL_M)
        shadow = np.zeros((h, w), np.uint8)
        for points in stage.casters:
            flat = points[:, :2] - points[:, 2:] * (light.sun[:2] / max(float(light.sun[2]), 0.05))
            pixels = (flat - f32((self.x[0], self.y[0]))) / np.float32(LIGHT_CELL_M) * 16
            cv2.fillConvexPoly(shadow, cv2.convexHull(pixels.astype(np.int32)), 255, cv2.LINE_AA, 4)
        soft = cv2.GaussianBlur(shadow, (0, 0), 0.6 + 0.7 * light.softness)
        self.sun = f32(1.0 - soft.astype(np.float32) / 255.0)
        self.lamps = self._lamp_light(stage, light, h, w)

    def _lamp_light(self, stage: Stage, light: Light, h: int, w: int) -> F32:
        total = np.zeros((h, w, 3), np.float32)
        if light.lamps <= 0:
            return total
        gy, gx = np.mgrid[0:h, 0:w].astype(np.float32) * np.float32(LIGHT_CELL_M)
        points = np.stack([gx + self.x[0], gy + self.y[0], np.zeros_like(gx)], axis=-1)
        return f32(total + lamp_light(f32(points), f32([0, 0, 1]), stage.lamps) * light.lamps)

    def sample(self, grid: F32, x: F32, y: F32) -> F32:
        """Nearest values of a grid at ground points; the edge's outside."""
        i = np.clip(np.nan_to_num((y - self.y[0]) / LIGHT_CELL_M), 0, grid.shape[0] - 1).astype(np.int64)
        j = np.clip(np.nan_to_num((x - self.x[0]) / LIGHT_CELL_M), 0, grid.shape[1] - 1).astype(np.int64)
        return f32(grid[i, j])


def lamp_light(points: F32, normals: F32, lamps: Sequence[Lamp]) -> F32:
    """Light [..., 3] that falls from lamps on points [..., 3] with normals."""
    total = np.zeros((*points.shape[:-1], 3), np.float32)
    for lamp in lamps:
        to = f32(lamp.position) - points
        square = np.sum(to * to, axis=-1)
        facing = np.maximum(np.sum(to * normals, axis=-1), 0) / np.sqrt(square)
        down = np.clip(to[..., 2] / np.sqrt(square), 0, 1)  # street lamps shine downwards
        total += (facing * down / (square + 4.0))[..., None] * f32(lamp.colour)
    return total


_SHIFT = 3  # sub-pixel bits of the polygons


def shadow_masks(figures: list[PosedActor], camera: PinholeCamera, light: Light) -> tuple[U8, U8]:
    """Where sun and where sky is taken from the ground, uint8 [h, w] both; the shares say how much."""
    sun = np.zeros((camera.height, camera.width), np.uint8)
    sky = np.zeros_like(sun)
    slant = slant_of(light)
    for figure in figures:
        # Each moving part throws the shadow of its convex hull: nearly its true shadow.
        flat = figure.outline.copy()
        flat[..., :2] -= flat[..., 2:] * slant
        flat[..., 2] = 0
        _fill(sun, camera.project(f32(flat)))
        low = figure.outline[figure.outline[..., 2] < 0.3]  # close to the ground
        if len(low) > 2:
            _fill(sky, camera.project(f32(low * f32([1, 1, 0])))[None])
    scale = camera.width / 640
    gone = cv2.GaussianBlur(sun, (0, 0), (0.4 + 0.3 * light.softness) * scale)
    near = cv2.GaussianBlur(sky, (0, 0), 2.2 * scale)
    return np.asarray(gone, np.uint8), np.asarray(near, np.uint8)


def slant_of(light: Light) -> F32:
    """How far (x and y, metres) from under it the shadow of a point 1 m over the ground falls, backwards."""
    return f32(light.sun[:2] / max(float(light.sun[2]), 0.12))


def sun_share(mask: U8) -> F32:
    """How much of the sun (0..1) the values of the first mask take away."""
    return f32(mask.astype(np.float32) / 255)


def sky_share(mask: U8) -> F32:
    """How much of the sky (0..1) the values of the second mask take away."""
    return f32(np.sqrt(mask.astype(np.float32) / 255) * 0.75)


def _fill(mask: U8, parts: F32) -> None:
    """Fill the hull of each row of projected points [B, K, 3]."""
    if (parts[..., 2] < 0.5).any():
        return
    limit = (mask.shape[1] + mask.shape[0]) * 4.0
    xy = np.clip(np.round(parts[..., :2] * (1 << _SHIFT)), -limit * 8, limit * 8).astype(np.int32)
    for points in xy:
        cv2.fillConvexPoly(mask, cv2.convexHull(points), 255, cv2.LINE_AA, _SHIFT)


_DRIVEN = ("car", "van", "truck", "bus", "motorcycle", "forklift", "bicycle")
BEAM_M = (16.0, 7.0)  # length and width of a beam
LAMPS_ON = 0.5  # from here on head lamps throw beams
_BEAM_COLOUR = f32([1.15, 1.05, 0.85])
_CELLS = 64
_LAMPS = {
    "red": (0.28, (3.5, 0.12, 0.08)),
    "amber": (0.0, (3.2, 1.5, 0.1)),
    "green": (-0.28, (0.1, 2.8, 1.2)),
}


def beams(figures: list[PosedActor], camera: PinholeCamera, light: Light) -> F32 | None:
    """Light [h, w, 3] that head lamps throw on the ground; None by day."""
    if light.lamps < LAMPS_ON:
        return None
    total = np.zeros((camera.height, camera.width), np.float32)
    t, s = np.meshgrid(np.linspace(-1, 1, _CELLS), np.linspace(0.001, 1, _CELLS), indexing="ij")
    spread = 0.22 + 0.7 * s  # a beam from above, its first column at the lamps: float32 [cells, cells]
    shape = f32(np.exp(-((t / spread) ** 2) * 2.5) * np.clip(s * 6, 0, 1) * (1 - s) ** 1.4 * 1.1)
    to_picture = camera.ground_homography()
    for figure in figures:
        if figure.actor.kind in _DRIVEN:
            power = 0.3 if figure.actor.kind == "bicycle" else 1.0
            _throw(total, f32(shape * np.float32(power)), to_picture @ _placed(figure))
    return f32(total[..., None] * (_BEAM_COLOUR * np.float32(light.lamps)))


def _placed(figure: PosedActor) -> F64:
    """Float64 [3, 3] from the beam's cells to the ground, before the figure's nose."""
    state = figure.state
    c, s = np.cos(state.heading), np.sin(state.heading)
    reach = figure.actor.size[0] / 2
    cell = np.array([[BEAM_M[0] / _CELLS, 0, reach], [0, BEAM_M[1] / _CELLS, -BEAM_M[1] / 2], [0, 0, 1]])
    return np.asarray(np.array([[c, -s, state.x], [s, c, state.y], [0, 0, 1]]) @ cell)


def _throw(total: F32, shape: F32, way: F64) -> None:
    h, w = total.shape
    ends = way @ np.array([[0, _CELLS, _CELLS, 0], [0, 0, _CELLS, _CELLS], [1, 1, 1, 1.0]])
    if (ends[2] < 1.0).any():
        return  # behind the camera, or under it
    x, y = ends[0] / ends[2], ends[1] / ends[2]
    left, right = max(0, int(x.min())), min(w, int(x.max()) + 2)
    top, bottom = max(0, int(y.min())), min(h, int(y.max()) + 2)
    if right - left < 2 or bottom - top < 2:
        return
    moved = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1.0]]) @ way
    total[top:bottom, left:right] += cv2.warpPerspective(shape, moved, (right - left, bottom - top))


def draw_signal(picture: F32, signal: str, camera: PinholeCamera) -> None:
    """Light the street's traffic lights in linear light [h, w, 3], in place."""
    lamp = _LAMPS.get("red" if signal == "walk" else signal)
    if lamp is None:
        return
    for x, y, z, facing in signal_heads():
        if (camera.position[0] - x) * facing <= 0:
            continue  # seen from behind
        px, py, depth = camera.project(f32([[x + facing * 0.13, y, z + lamp[0]]]))[0].tolist()
        if depth > 1 and 0 <= px < camera.width and 0 <= py < camera.height:
            radius = max(1.0, 0.1 * camera.focal_px / depth)
            centre = round(px * 16), round(py * 16)
            cv2.circle(picture, centre, round(radius * 16), lamp[1], -1, cv2.LINE_AA, 4)
