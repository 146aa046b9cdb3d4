"""A pinhole camera over flat ground: from metres to pixels and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sightline.simulation.scenes.arrays import F32, F64, f32, unit

NEAR_M = 0.3  # nothing nearer than this is drawn


@dataclass(frozen=True, slots=True)
class PinholeCamera:
    """Position, view and lens.

    World: x and y on the ground, z up, metres. Picture: x right, y down, pixels; pixel (0, 0) covers 0..1.

    Attributes:
        position: float32 [3].
        rotation: float32 [3, 3]; rows are right, down and forward in world axes.
        focal_px: focal length in pixels.
        width, height: picture size in pixels.
    """

    position: F32
    rotation: F32
    focal_px: float
    width: int
    height: int

    @classmethod
    def looking_at(
        cls,
        position: tuple[float, float, float],
        target: tuple[float, float, float],
        angle_deg: float,
        size: tuple[int, int],
    ) -> PinholeCamera:
        """A level camera (no roll); ``angle_deg`` is the horizontal angle of view."""
        forward = unit(np.subtract(target, position))
        right = unit(np.cross(forward, [0.0, 0.0, 1.0]))
        rotation = np.stack([right, np.cross(forward, right), forward])
        focal = size[0] / 2 / np.tan(np.radians(angle_deg) / 2)
        return cls(f32(position), f32(rotation), float(focal), *size)

    def scaled(self, factor: float) -> PinholeCamera:
        """The same view with ``factor`` times the pixels each way."""
        size = round(self.width * factor), round(self.height * factor)
        return PinholeCamera(self.position, self.rotation, self.focal_px * factor, *size)

    def project(self, points: F32) -> F32:
        """Picture x, picture y and depth (metres along the axis) of world points [..., 3].

        Points behind the camera have a depth below zero, and x and y that mean nothing.
        """
        projected = f32((points.reshape(-1, 3) - self.position) @ self.rotation.T)
        depth = projected[:, 2]
        over = np.float32(self.focal_px) / np.where(np.abs(depth) < 1e-6, np.float32(1e-6), depth)
        projected[:, 0] = projected[:, 0] * over + np.float32(self.width / 2)
        projected[:, 1] = projected[:, 1] * over + np.float32(self.height / 2)
        return projected.reshape(points.shape)

    def rays(self, xy: F32) -> F32:
        """Directions (not of unit length: depth 1) of the rays through picture points [..., 2]."""
        flat = (xy - f32([self.width / 2, self.height / 2])) / np.float32(self.focal_px)
        local = np.concatenate([flat, np.ones_like(flat[..., :1])], axis=-1)
        return f32(local @ self.rotation)

    def ground(self, xy: F32) -> F32:
        """World x and y where rays through picture points [..., 2] meet the ground; NaN above the horizon."""
        ray = self.rays(xy)
        down = np.where(ray[..., 2:] < -1e-6, ray[..., 2:], np.nan)
        return f32(self.position[:2] - ray[..., :2] * (self.position[2] / down))

    def ground_homography(self) -> F64:
        """Float64 [3, 3] that takes ground points (x, y, 1) to picture points (times depth)."""
        r, p = self.rotation.astype(np.float64), self.position.astype(np.float64)
        plane = np.stack([r[:, 0], r[:, 1], -r @ p], axis=1)
        f = self.focal_px
        lens = np.array([[f, 0, self.width / 2], [0, f, self.height / 2], [0, 0, 1]])
        return np.asarray(lens @ plane)
