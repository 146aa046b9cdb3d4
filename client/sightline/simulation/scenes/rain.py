"""Rain: falling streaks, and a wet ground that mirrors what stands on it."""

from __future__ import annotations

import cv2
import numpy as np

from sightline.simulation.scenes.arrays import F32, f32
from sightline.simulation.scenes.light import Light

_MARGIN = 128
WET_ALBEDO = 0.62  # of the dry ground's


class Rain:
    """The streaks of one scene; where they are at a time follows from the time."""

    def __init__(self, random: np.random.Generator, size: tuple[int, int], light: Light, ground: F32) -> None:
        h, w = size
        scale = w / 640
        self._layers = []
        for length, share, gain in ((26, 0.0016, 0.9), (13, 0.004, 0.45)):
            drops = (random.random((h + _MARGIN, w + _MARGIN)) < share / scale).astype(np.float32)
            side = max(3, round(length * scale) | 1)
            kernel = np.zeros((side, side), np.float32)
            cv2.line(
                kernel, (side // 2 - side // 9, 0), (side // 2 + side // 9, side - 1), 1.0, 1, cv2.LINE_AA
            )
            streaks = cv2.filter2D(drops, -1, kernel / kernel.sum() * side * 0.5)
            layer = f32(cv2.GaussianBlur(streaks, (0, 0), 0.5 * scale) * gain)
            self._layers.append(f32(layer[..., None] * f32(light.haze * 0.16 + 0.01)))
        puddles = cv2.GaussianBlur(f32(random.standard_normal((h, w))), (0, 0), 22 * scale) * 22 * scale * 1.6
        wet = f32(ground * np.clip(0.24 + 0.1 * puddles, 0.06, 0.5))
        self._wet = np.repeat(wet[..., None], 3, axis=2)
        self._reach = max(9, round(44 * scale))

    def mirror(self, picture: F32) -> F32:
        """The wet ground shows, smeared downwards, what is above it in the picture."""
        reach, smeared, edge = self._reach, picture, cv2.BORDER_REPLICATE
        for _ in range(2):  # twice: the smear fades instead of ending
            smeared = f32(cv2.boxFilter(smeared, -1, (5, reach), anchor=(2, reach - 1), borderType=edge))
        smeared *= 1.35
        np.minimum(smeared, 3.0, out=smeared)
        smeared -= picture
        smeared *= self._wet
        smeared += picture
        return smeared

    def fall(self, picture: F32, random: np.random.Generator) -> None:
        """Add the streaks of one moment, in place."""
        h, w = picture.shape[:2]
        for layer in self._layers:
            dy, dx = random.integers(0, _MARGIN, 2)
            picture += layer[dy : dy + h, dx : dx + w]
