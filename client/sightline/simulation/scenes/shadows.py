"""Shadows of the moving: where they take the sun, and where they stand close to the ground."""

from __future__ import annotations

import cv2
import numpy as np

from sightline.simulation.scenes.actors import Figure
from sightline.simulation.scenes.arrays import F32, U8, f32
from sightline.simulation.scenes.light import Light
from sightline.simulation.scenes.pinhole import PinholeCamera

_SHIFT = 3  # sub-pixel bits of the polygons


def shadow_masks(figures: list[Figure], camera: PinholeCamera, light: Light) -> tuple[U8, U8]:
    """Where sun and where sky is taken from the ground, uint8 [h, w] both; the shares say how much."""
    sun = np.zeros((camera.height, camera.width), np.uint8)
    sky = np.zeros_like(sun)
    slant = slant_of(light)
    for figure in figures:
        _draw_parts(sun, figure, camera, slant)
        _draw_contact(sky, figure, camera)
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


def _draw_parts(mask: U8, figure: Figure, camera: PinholeCamera, slant: F32) -> None:
    """Each moving part throws the shadow of its convex hull: nearly its true shadow."""
    flat = figure.outline.copy()
    flat[..., :2] -= flat[..., 2:] * slant
    flat[..., 2] = 0
    _fill(mask, camera.project(f32(flat)))


def _draw_contact(mask: U8, figure: Figure, camera: PinholeCamera) -> None:
    low = figure.outline[figure.outline[..., 2] < 0.3]
    if len(low) > 2:
        _fill(mask, camera.project(f32(low * f32([1, 1, 0])))[None])


def _fill(mask: U8, parts: F32) -> None:
    """Fill the hull of each row of projected points [B, K, 3]."""
    if (parts[..., 2] < 0.5).any():
        return
    limit = (mask.shape[1] + mask.shape[0]) * 4.0
    xy = np.clip(np.round(parts[..., :2] * (1 << _SHIFT)), -limit * 8, limit * 8).astype(np.int32)
    for points in xy:
        cv2.fillConvexPoly(mask, cv2.convexHull(points), 255, cv2.LINE_AA, _SHIFT)
