"""The picture of what stands still, drawn once for each camera at several times the picture's size."""

import cv2
import numpy as np

from sightline.simulation.scenes.arrays import F32, U8, f32, unit
from sightline.simulation.scenes.light import GroundLight, Light, lamp_light, shade
from sightline.simulation.scenes.mesh import Mesh, Panel, Stage, join
from sightline.simulation.scenes.spec import NEAR_M, PinholeCamera
from sightline.simulation.scenes.visibility import DEPTH_UNITS, NOTHING, U64, fragments, interpolated, resolve

INNER = 2  # everything is drawn at so many times the picture's size, for smooth edges


class Backdrop:
    """The still picture, in parts that the moving light needs apart; all at the picture's size but ``keys``.

    Attributes:
        albedo: float32 [h, w, 3], colour of the surfaces.
        light: float32 [h, w, 3], light that falls on them in the empty scene.
        sunlit: float32 [h, w, 3], the sun's part of it: what a shadow takes away.
        glow: float32 [h, w, 3], light of their own: lamps, sky, lit windows; haze.
        ground: float32 [h, w], 1 where the ground is seen.
        keys: uint64, flat, the depth keys at the inner size (see :mod:`.visibility`).
    """

    def __init__(self, stage: Stage, grid: GroundLight, light: Light, camera: PinholeCamera) -> None:
        self._stage, self._light, self._camera = stage, light, camera.scaled(INNER)
        h, w = self._camera.height, self._camera.width
        self.albedo, self.light, self.sunlit, self.glow = np.zeros((4, h, w, 3), np.float32)
        self.ground = np.zeros((h, w), np.float32)
        self._inverse = np.full((h, w), 1e-4, np.float32)  # 1 / depth
        if stage.sky:
            up = np.clip(unit(self._camera.rays(_pixels(0, h, 0, w)))[..., 2:] * 2.2, 0, 1) ** 0.6
            self.glow += (light.haze * (1 - up) + light.sky * 1.1 * up).astype(np.float32)
        self._draw_ground(grid)
        for panel in stage.panels:
            self._draw_panel(panel)
        if stage.meshes:
            self._draw_meshes(join(*stage.meshes))
        distance = 1 / np.maximum(self._inverse, 1e-4)
        clear = np.exp(-distance * light.haze_per_m)[..., None].astype(np.float32)
        clear[self._inverse <= 2e-4] = 1
        lit, sunlit = self.albedo * (self.light * clear), self.albedo * (self.sunlit * clear)
        glow = self.glow * clear + light.haze * (1 - clear)
        self.albedo, lit, sunlit, self.glow, self.ground = (
            f32(cv2.resize(f32(part), (camera.width, camera.height), interpolation=cv2.INTER_AREA))
            for part in (self.albedo, lit, sunlit, glow, self.ground)
        )
        over = np.maximum(self.albedo, 1e-4)
        self.light, self.sunlit, self.keys = f32(lit / over), f32(sunlit / over), self._keys()

    def _keys(self) -> U64:
        """Depth keys of a picture in which everything drawn stands already, flat."""
        depth = (self._inverse.ravel().astype(np.float64) * DEPTH_UNITS).astype(np.uint64)
        return depth << np.uint64(32) | NOTHING

    def _draw_ground(self, grid: GroundLight) -> None:
        stage, light, camera = self._stage, self._light, self._camera
        xy = camera.ground(_pixels(0, camera.height, 0, camera.width))
        x, y = xy[..., 0], xy[..., 1]
        seen = (x > stage.x[0]) & (x < stage.x[1]) & (y > stage.y[0]) & (y < stage.y[1])
        scale = stage.ground.shape[1] / (stage.x[1] - stage.x[0])
        u, v = f32(np.nan_to_num((x - stage.x[0]) * scale)), f32(np.nan_to_num((y - stage.y[0]) * scale))
        depth = f32((np.nan_to_num(xy, nan=1e4) - camera.position[:2]) @ camera.rotation[2, :2])
        depth = f32(depth - camera.position[2] * camera.rotation[2, 2])
        colour = _sampled(stage.ground, u, v, depth / camera.focal_px * scale)
        sun, lamps = grid.sample(x, y)
        direct = sun[..., None] * (light.sun_colour * light.sun[2])
        self.albedo[seen] = colour[seen]
        self.sunlit[seen] = direct[seen]
        self.light[seen] = (direct + light.sky + lamps)[seen]
        self.glow[seen] = 0
        self.ground[seen] = 1
        self._inverse[seen] = 1 / np.maximum(depth[seen], NEAR_M)

    def _draw_panel(self, panel: Panel) -> None:
        light, camera = self._light, self._camera
        corner, along, up = panel.corner, panel.along, panel.up
        normal = unit(np.cross(along, up))
        if float(normal @ (camera.position - corner)) <= 0:
            return  # seen from behind
        q = camera.project(f32([corner + a * along + b * up for a in (0, 1) for b in (0, 1)]))
        x0, y0, x1, y1 = 0, 0, camera.width, camera.height
        if (q[:, 2] > NEAR_M).all():
            x0, y0 = (int(np.clip(np.floor(q[:, i].min()), 0, size)) for i, size in ((0, x1), (1, y1)))
            x1, y1 = (int(np.clip(np.ceil(q[:, i].max()), 0, size)) for i, size in ((0, x1), (1, y1)))
        elif (q[:, 2] < NEAR_M).all():
            return
        if x1 <= x0 or y1 <= y0:
            return
        ray = camera.rays(_pixels(y0, y1, x0, x1))
        slant = ray @ normal
        slant = np.where(np.abs(slant) < 1e-6, -1e-6, slant)
        depth = f32(float(normal @ (corner - camera.position)) / slant)
        at = camera.position + ray * depth[..., None] - corner
        s, t = (at @ way / (way @ way) for way in (along, up))
        area = np.s_[y0:y1, x0:x1]
        seen = (s >= 0) & (s <= 1) & (t >= 0) & (t <= 1) & (depth > NEAR_M)
        seen &= 1 / np.maximum(depth, NEAR_M) > self._inverse[area]
        h, w = panel.texture.shape[:2]
        u, v = f32(s * w - 0.5), f32((1 - t) * h - 0.5)
        spread = f32(depth / camera.focal_px * w / np.linalg.norm(along))
        colour = _sampled(panel.texture, u, v, np.where(seen, spread, 0))
        lamps = lamp_light(f32(at + corner), normal, self._stage.lamps if light.lamps else []) * light.lamps
        ambient = light.sky * (0.55 + 0.45 * normal[2]) + light.bounce * 0.5 * (1 - abs(normal[2]))
        foot = np.clip(0.65 + (at[..., 2] + corner[2]) * 0.25, 0.65, 1.0)[..., None]
        direct = light.sun_colour * max(0.0, float(normal @ light.sun))
        self.albedo[area][seen] = colour[seen]
        self.light[area][seen] = ((ambient + direct) * foot + lamps)[seen]
        self.sunlit[area][seen] = self.glow[area][seen] = self.ground[area][seen] = 0
        if panel.glow is not None and light.lamps > 0:
            shine = cv2.remap(panel.glow, u, v, cv2.INTER_LINEAR)[..., None] / 255.0 * f32([1.0, 0.75, 0.42])
            self.glow[area][seen] = (shine * (0.2 + 1.3 * colour) * light.lamps * 0.8)[seen]
        self._inverse[area][seen] = 1 / depth[seen]

    def _draw_meshes(self, things: Mesh) -> None:
        light, camera = self._light, self._camera
        q = camera.project(things.corners)
        a, b = q[:, 1, :2] - q[:, 0, :2], q[:, 2, :2] - q[:, 0, :2]
        facing = (q[..., 2] > NEAR_M).all(axis=1) & (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] < 0)
        q, things = q[facing], things[facing]
        emission = f32(things.albedo * (things.surface > 0)[:, None] * light.lamps * 6)
        centres, normals = f32(things.corners.mean(axis=1)), f32(things.normals.mean(axis=1))
        lamps = lamp_light(centres, normals, self._stage.lamps) * light.lamps
        sun = np.ones(len(q), np.float32)
        colour = shade(things, camera.position, light, sun, things.normals[:, 0], lamps, emission)
        won = resolve(fragments(q[..., :2], f32(1 / q[..., 2]), camera.width, camera.height), self._keys())
        x, y = f32(won.pixel % camera.width + 0.5), f32(won.pixel // camera.width + 0.5)
        for array in (self.albedo, self.light, self.sunlit):
            array.reshape(-1, 3)[won.pixel] = 0
        rgb = np.clip(interpolated(q[..., :2], colour, won.triangle, x, y), 0, 8)
        self.glow.reshape(-1, 3)[won.pixel] = rgb
        self.ground.ravel()[won.pixel] = 0
        self._inverse.ravel()[won.pixel] = (won.key >> np.uint64(32)).astype(np.float64) / DEPTH_UNITS


def _pixels(y0: int, y1: int, x0: int, x1: int) -> F32:
    gy, gx = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    return f32(np.stack([gx + 0.5, gy + 0.5], axis=-1))


def _sampled(texture: U8, u: F32, v: F32, spread: F32) -> F32:
    """Linear colours of a texture; coarser levels where many cells (``spread``) fall on one pixel."""
    level, factor = texture, 1.0
    colours = cv2.remap(level, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    while min(level.shape[:2]) > 8 and spread.max() > factor * 2:
        level = np.asarray(cv2.resize(level, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
        factor *= 2
        coarse = cv2.remap(level, u / factor, v / factor, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        colours = np.where((spread > factor)[..., None], coarse, colours)
    to_linear = np.power(np.arange(256) / 255.0, 2.2).astype(np.float32)
    return f32(to_linear[np.asarray(colours, np.uint8)])
