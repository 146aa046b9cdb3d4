"""Flames and smoke drawn into a picture: soft puffs, far ones first, hidden by what stands before them."""

from __future__ import annotations

import cv2
import numpy as np

from sightline.simulation.scenes.arrays import F32, f32
from sightline.simulation.scenes.fire import Puffs, puffs
from sightline.simulation.scenes.light import Light
from sightline.simulation.scenes.viewpoints import PinholeCamera
from sightline.simulation.scenes.world import Snapshot

_SIZE = 48


class Sprites:
    """Draws the puffs of a snapshot. One thread."""

    def __init__(self, random: np.random.Generator) -> None:
        gy, gx = np.mgrid[0:_SIZE, 0:_SIZE].astype(np.float32) / (_SIZE / 2) - 1
        round_ = np.clip(1 - (gx**2 + gy**2), 0, 1)
        self._shapes = []
        for _ in range(6):
            noise = cv2.resize(
                f32(random.standard_normal((7, 7))), (_SIZE, _SIZE), interpolation=cv2.INTER_CUBIC
            )
            self._shapes.append(f32(np.clip(round_ * (0.75 + 0.55 * noise), 0, 1) * round_**0.5))

    def draw(
        self, picture: F32, depth_m: F32, snapshot: Snapshot, camera: PinholeCamera, light: Light
    ) -> None:
        """Add smoke and flames to linear light [h, w, 3], in place; ``depth_m`` is what stands there."""
        for actor, state in snapshot.bodies:  # smoke comes before its fire
            if actor.kind in ("smoke", "fire"):
                cloud = puffs(actor, state, snapshot.time_s)
                self._draw(picture, depth_m, cloud, camera, light if actor.kind == "smoke" else None)

    def _draw(
        self, picture: F32, depth_m: F32, cloud: Puffs, camera: PinholeCamera, light: Light | None
    ) -> None:
        q = camera.project(cloud.centres)
        for i in np.argsort(-q[:, 2], kind="stable"):
            radius = float(cloud.radii[i] * camera.focal_px / max(q[i, 2], 0.5))
            if q[i, 2] > 0.5 and radius > 0.7:
                shape = self._shapes[i % len(self._shapes)]
                patch = _placed(picture.shape[:2], (float(q[i, 0]), float(q[i, 1])), radius, shape)
                if patch is None:
                    continue
                area, mask = patch
                mask = f32(mask * (depth_m[area] > q[i, 2]))[..., None]
                _blend(picture, area, mask, (float(cloud.age[i]), float(cloud.strength[i])), light)


def _blend(
    picture: F32, area: tuple[slice, slice], mask: F32, puff: tuple[float, float], light: Light | None
) -> None:
    age, strength = puff
    if light is None:
        heat = f32([2.6, 1.15 * (1 - 0.65 * age), 0.28 * (1 - age) ** 2])
        picture[area] = picture[area] * (1 - 0.25 * mask * strength) + mask * (heat * np.float32(strength))
        return
    grey = (0.09 + 0.15 * age) * (light.sky + light.sun_colour * 0.4)
    alpha = mask * np.float32(0.6 * strength)
    picture[area] = picture[area] * (1 - alpha) + alpha * grey


def _placed(
    size: tuple[int, ...], centre: tuple[float, float], radius: float, shape: F32
) -> tuple[tuple[slice, slice], F32] | None:
    h, w = size
    x0, y0 = int(np.floor(centre[0] - radius)), int(np.floor(centre[1] - radius))
    side = max(2, int(np.ceil(2 * radius)))
    left, top, right, bottom = max(x0, 0), max(y0, 0), min(x0 + side, w), min(y0 + side, h)
    if right <= left or bottom <= top:
        return None
    scaled = cv2.resize(shape, (side, side), interpolation=cv2.INTER_LINEAR)
    return np.s_[top:bottom, left:right], f32(scaled[top - y0 : bottom - y0, left - x0 : right - x0])
