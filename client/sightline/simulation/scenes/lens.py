"""From light to the finished picture: flames, smoke, rain, glare, vignette, blur, exposure, sensor noise."""

from __future__ import annotations

import cv2
import numpy as np

from sightline.simulation.scenes.actors import puffs
from sightline.simulation.scenes.arrays import F32, U8, f32
from sightline.simulation.scenes.light import Light
from sightline.simulation.scenes.spec import PinholeCamera, SceneSpec
from sightline.simulation.scenes.world import Snapshot

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
            middle, lean = side // 2, side // 9
            cv2.line(kernel, (middle - lean, 0), (middle + lean, side - 1), 1.0, 1, cv2.LINE_AA)
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


_NOISE_MARGIN = 64
_CURVE_TOP = 4.0


class Lens:
    """Turns linear light into an 8-bit picture. The noise of a time is always the same."""

    def __init__(self, spec: SceneSpec, light: Light, ground: F32) -> None:
        self._spec, self._light = spec, light
        h, w = spec.height, spec.width
        self._rain: Rain | None = None
        if spec.weather == "rain" and spec.scene == "street":
            self._rain = Rain(spec.random("rain"), (h, w), light, ground)
        gy, gx = np.mgrid[0:h, 0:w].astype(np.float32)
        square = ((gx - w / 2) ** 2 + (gy - h / 2) ** 2) / (w / 2) ** 2
        gain = f32((1 - 0.26 * square) * light.exposure)
        self._gain = np.repeat(gain[..., None], 3, axis=2)  # of every value: broadcasting is far slower
        random = spec.random("noise")
        grain = random.standard_normal((h + _NOISE_MARGIN, w + _NOISE_MARGIN, 3)).astype(np.float32)
        grain = f32(cv2.GaussianBlur(grain, (0, 0), 0.55)) * np.float32(1.5)
        self._grain = f32(grain * light.noise)
        levels = np.linspace(0, _CURVE_TOP, 4096)
        curve = np.clip(levels * (1 + levels / 9.0) / (1 + levels), 0, 1) * 1.06
        self._curve = f32(np.clip(curve, 0, 1) ** (1 / 2.2) * 255)

    def expose(self, light: F32, time_s: float) -> U8:
        """The picture, uint8 sRGB [h, w, 3], of linear light [h, w, 3]."""
        stamp = np.random.default_rng([self._spec.seed, round(time_s * 1000) + (1 << 20)])
        if self._rain is not None:
            light = self._rain.mirror(light)
            self._rain.fall(light, stamp)
        seen = f32(light * self._gain)
        if self._light.lamps > 0.3:  # glare
            bright = cv2.resize(seen, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
            bright = np.maximum(bright - 0.8, 0)
            spread = cv2.GaussianBlur(bright, (0, 0), 2.0) * 0.7 + cv2.GaussianBlur(bright, (0, 0), 7.0) * 0.5
            seen = f32(seen + cv2.resize(f32(spread), seen.shape[1::-1], interpolation=cv2.INTER_LINEAR))
        seen = f32(cv2.GaussianBlur(seen, (0, 0), 0.42 * (self._spec.width / 640) ** 0.5))
        seen *= 4095 / _CURVE_TOP
        picture = np.take(self._curve, seen.astype(np.intp), mode="clip")
        dy, dx = stamp.integers(0, _NOISE_MARGIN, 2)
        grain = self._grain[dy : dy + self._spec.height, dx : dx + self._spec.width]
        return np.asarray(cv2.add(picture, grain, dtype=cv2.CV_8U), np.uint8)  # rounds and clips


_SIZE = 48


class Sprites:
    """Draws flames and smoke: soft puffs, far ones first, hidden by what stands before them. One thread."""

    def __init__(self, random: np.random.Generator) -> None:
        gy, gx = np.mgrid[0:_SIZE, 0:_SIZE].astype(np.float32) / (_SIZE / 2) - 1
        round_ = np.clip(1 - (gx**2 + gy**2), 0, 1)
        self._shapes = []
        for _ in range(6):
            noise = f32(random.standard_normal((7, 7)))
            noise = f32(cv2.resize(noise, (_SIZE, _SIZE), interpolation=cv2.INTER_CUBIC))
            self._shapes.append(f32(np.clip(round_ * (0.75 + 0.55 * noise), 0, 1) * round_**0.5))

    def draw(
        self, picture: F32, depth_m: F32, snapshot: Snapshot, camera: PinholeCamera, light: Light
    ) -> None:
        """Add smoke and flames to linear light [h, w, 3], in place; ``depth_m`` is what stands there."""
        h, w = picture.shape[:2]
        for actor, state in snapshot.bodies:  # smoke comes before its fire
            if actor.kind not in ("smoke", "fire"):
                continue
            cloud = puffs(actor, state, snapshot.time_s)
            q = camera.project(cloud.centres)
            for i in np.argsort(-q[:, 2], kind="stable"):
                radius = float(cloud.radii[i] * camera.focal_px / max(q[i, 2], 0.5))
                x0, y0 = int(np.floor(float(q[i, 0]) - radius)), int(np.floor(float(q[i, 1]) - radius))
                side = max(2, int(np.ceil(2 * radius)))
                left, top, right, bottom = max(x0, 0), max(y0, 0), min(x0 + side, w), min(y0 + side, h)
                if q[i, 2] <= 0.5 or radius <= 0.7 or right <= left or bottom <= top:
                    continue
                mask = cv2.resize(self._shapes[i % 6], (side, side), interpolation=cv2.INTER_LINEAR)
                area = np.s_[top:bottom, left:right]
                mask = mask[top - y0 : bottom - y0, left - x0 : right - x0] * (depth_m[area] > q[i, 2])
                age, strength = float(cloud.age[i]), float(cloud.strength[i])
                mask, under = f32(mask)[..., None], picture[area]
                if actor.kind == "fire":
                    heat = f32([2.6, 1.15 * (1 - 0.65 * age), 0.28 * (1 - age) ** 2])
                    picture[area] = under * (1 - 0.25 * mask * strength) + mask * (
                        heat * np.float32(strength)
                    )
                else:
                    grey = (0.09 + 0.15 * age) * (light.sky + light.sun_colour * 0.4)
                    alpha = mask * np.float32(0.6 * strength)
                    picture[area] = under * (1 - alpha) + alpha * grey
