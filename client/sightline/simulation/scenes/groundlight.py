"""Light on the ground that stands still: houses' and trees' shadows, and what lamps reach."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from sightline.simulation.scenes.arrays import F32, U8, f32
from sightline.simulation.scenes.light import Light
from sightline.simulation.scenes.staging import Lamp, Stage

LIGHT_CELL_M = 0.1


class GroundLight:
    """How much sun and lamp light falls on each place of the ground; a grid of 10 cm cells."""

    def __init__(self, stage: Stage, light: Light) -> None:
        self.x, self.y = stage.x, stage.y
        w = round((self.x[1] - self.x[0]) / LIGHT_CELL_M)
        h = round((self.y[1] - self.y[0]) / LIGHT_CELL_M)
        shadow = np.zeros((h, w), np.uint8)
        for points in stage.casters:
            _fill_shadow(shadow, points, light.sun, (self.x[0], self.y[0]))
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


def _fill_shadow(shadow: U8, points: F32, sun: F32, origin: tuple[float, float]) -> None:
    flat = points[:, :2] - points[:, 2:] * (sun[:2] / max(float(sun[2]), 0.05))
    pixels = (flat - f32(origin)) / np.float32(LIGHT_CELL_M) * 16
    hull = cv2.convexHull(pixels.astype(np.int32))
    cv2.fillConvexPoly(shadow, hull, 255, cv2.LINE_AA, 4)


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
