"""Pictures of a scene: the backdrop, shadows, lamps' light, the actors, flames, then weather and lens."""

from dataclasses import replace

import cv2
import numpy as np

from sightline.simulation.scenes import actors
from sightline.simulation.scenes import light as lighting
from sightline.simulation.scenes.actors import TRANSPARENT, PosedActor, puffs
from sightline.simulation.scenes.arrays import F32, I64, U8, f32
from sightline.simulation.scenes.backdrop import INNER, Backdrop
from sightline.simulation.scenes.light import Light
from sightline.simulation.scenes.mesh import Mesh, Stage, Surface, join
from sightline.simulation.scenes.spec import NEAR_M, PinholeCamera, SceneSpec
from sightline.simulation.scenes.textures import plate_light
from sightline.simulation.scenes.visibility import DEPTH_UNITS, fragments, interpolated, resolve
from sightline.simulation.scenes.world import Snapshot


class Renderer:
    """Draws snapshots of one scene through one camera. One thread; making one takes seconds."""

    def __init__(self, spec: SceneSpec, stage: Stage, camera: PinholeCamera) -> None:
        self.spec, self.camera = spec, camera
        self.light = lighting.light_of(spec)
        self._inner = camera.scaled(INNER)
        self._grid = lighting.GroundLight(stage, self.light)
        self._backdrop = Backdrop(stage, self._grid, self.light, camera)
        self._still = f32(self._backdrop.albedo * self._backdrop.light + self._backdrop.glow)
        self._keys = self._backdrop.keys.copy()
        self._lens = Lens(spec, self.light, self._backdrop.ground)
        self._sprites = Sprites(spec.random("sprites"))
        self._touched = np.zeros(0, np.int64)

    def draw(self, snapshot: Snapshot) -> U8:
        """The picture, uint8 sRGB [height, width, 3]."""
        found = actors.figures(snapshot, self.camera, self.light.slant, self.light.beam_m)
        figures = [figure for figure in found if figure.actor.kind not in TRANSPARENT]
        picture = self._ground_picture(figures)
        if snapshot.signal:
            lighting.draw_signal(picture, snapshot.signal, self.camera)
        self._keys[self._touched] = self._backdrop.keys[self._touched]  # of the picture before
        self._touched = self._touched[:0]
        if figures:
            self._draw_actors(picture, figures)
        if any(actor.kind in TRANSPARENT for actor, _ in snapshot.bodies):
            keys = self._keys.reshape(self._inner.height, self._inner.width)[::INNER, ::INNER]
            depth_m = DEPTH_UNITS / np.maximum((keys >> np.uint64(32)).astype(np.float64), 1.0)
            self._sprites.draw(picture, f32(depth_m), snapshot, self.camera, self.light)
        return self._lens.expose(picture, snapshot.time_s)

    def _ground_picture(self, figures: list[PosedActor]) -> F32:
        """The still picture [h, w, 3], drawn anew only where the moving take light away or bring it."""
        drop, picture = self._backdrop, self._still.copy()
        masks = lighting.shadow_masks(figures, self.camera, self.light)
        sun_gone, sky_gone = (mask.ravel() for mask in masks)
        thrown = lighting.beams(figures, self.camera, self.light)
        changed = (sun_gone | sky_gone) > 0
        if thrown is not None:
            changed |= thrown.reshape(-1, 3)[:, 0] > 0
        pixel = np.flatnonzero(changed & (drop.ground.ravel() > 0))
        parts = (drop.albedo, drop.light, drop.sunlit, drop.glow)
        albedo, light, sunlit, glow = (np.take(part.reshape(-1, 3), pixel, axis=0) for part in parts)
        ground = drop.ground.ravel()[pixel]
        sun_share, sky_share = f32(sun_gone[pixel]) / 255, np.sqrt(f32(sky_gone[pixel]) / 255) * 0.75
        light -= sunlit * (sun_share * ground)[:, None]
        light *= (1 - sky_share * ground)[:, None]
        if thrown is not None:
            light += thrown.reshape(-1, 3)[pixel] * ground[:, None]
        picture.reshape(-1, 3)[pixel] = albedo * light + glow
        return picture

    def _draw_actors(self, picture: F32, figures: list[PosedActor]) -> None:
        """Draw the figures into linear light [h, w, 3], in place; the keys are then those of this picture."""
        width, height = self._inner.width, self._inner.height
        points = np.concatenate([f.points for f in figures])
        first = np.cumsum([0] + [len(f.points) for f in figures])
        triangles = np.concatenate([f.body.triangles + i for f, i in zip(figures, first[:-1], strict=True)])
        q = self._inner.project(points)
        seen = self._seen(q, triangles)
        corners = triangles[seen]
        drawn = fragments(f32(q[corners, :2]), f32(1 / q[corners, 2]), width, height)
        won = resolve(drawn, self._keys)
        self._touched = drawn.pixel
        has_pixels = np.zeros(len(seen), np.bool_)
        has_pixels[won.triangle] = True
        triangle, corners = (np.cumsum(has_pixels) - 1)[won.triangle], corners[has_pixels]
        used = seen[has_pixels]
        owner = np.repeat(np.arange(len(figures)), [len(f.body.mesh) for f in figures])[used]
        made = replace(join(*(f.body.mesh for f in figures))[used], corners=points[corners])
        x, y = f32(won.pixel % width + 0.5), f32(won.pixel // width + 0.5)
        xy, light = f32(q[corners, :2]), self._shaded(figures, owner, made, q[corners, 2])
        colours = np.clip(interpolated(xy, light, triangle, x, y), 0, 12)
        plates = np.flatnonzero((made.surface == Surface.PLATE)[triangle])
        if len(plates):
            which = triangle[plates]
            uv = interpolated(xy, made.uv, which, x[plates], y[plates])
            colours[plates] *= self._plate_values(figures, owner[which], uv)
        row, column = np.divmod(won.pixel, width)
        small = (row // INNER) * self.camera.width + column // INNER
        count = np.bincount(small)
        pixel = np.flatnonzero(count)
        share = 1.0 / INNER**2
        drawn_light = np.stack([np.bincount(small, colours[:, c])[pixel] for c in range(3)], axis=-1) * share
        flat = picture.reshape(-1, 3)
        left = np.take(flat, pixel, axis=0) * (1 - f32(count[pixel] * share))[:, None]
        flat[pixel] = left + f32(drawn_light)

    def _seen(self, q: F32, triangles: I64) -> I64:
        """Numbers of the triangles, of projected points, that face the camera and reach into the picture."""
        x, y, depth = (np.ascontiguousarray(q[:, i]) for i in range(3))
        a, b, c = (np.ascontiguousarray(triangles[:, i]) for i in range(3))
        ax, ay = x[a], y[a]
        number = np.flatnonzero((x[b] - ax) * (y[c] - ay) - (y[b] - ay) * (x[c] - ax) < 0)
        corners = triangles[number]
        outside = (x <= 0) * 1 + (x >= self._inner.width) * 2 + (y <= 0) * 4 + (y >= self._inner.height) * 8
        beyond = outside[corners]
        visible = (beyond[:, 0] & beyond[:, 1] & beyond[:, 2]) == 0
        if depth.min() <= NEAR_M:
            visible &= (depth[corners] > NEAR_M).all(axis=1)
        return np.asarray(number[visible])

    def _shaded(self, figures: list[PosedActor], owner: I64, made: Mesh, depth: F32) -> F32:
        """Light [T, 3, 3] from the corners of the figures' triangles, whose normals are not yet turned."""
        first = np.cumsum([0] + [len(f.rotations) for f in figures])
        turned = np.swapaxes(np.concatenate([f.rotations for f in figures]), 1, 2)[first[owner] + made.bone]
        made = replace(made, normals=f32(np.matmul(made.normals, turned)))
        sun, lamps = self._grid.sample(f32([f.state.x for f in figures]), f32([f.state.y for f in figures]))
        braking = np.array([f.state.braking for f in figures])[owner]
        surface, power = made.surface, np.zeros(len(owner), np.float32)
        power[surface == Surface.HEAD_LAMP] = 5.0 * max(self.light.lamps, 0.25)
        power[surface == Surface.TAIL_LAMP] = 1.2 * self.light.lamps
        power[((surface == Surface.TAIL_LAMP) | (surface == Surface.BRAKE_LAMP)) & braking] = 3.5
        power[surface == Surface.SIGN] = 1.0
        up, lamps = np.broadcast_to(f32([0, 0, 1]), (len(owner), 3)), lamps * np.float32(1.2)
        eye, emission = self.camera.position, f32(made.albedo * power[:, None])
        shaded = lighting.shade(made, eye, self.light, sun[owner], up, lamps[owner], emission)
        clear = np.exp(-self.light.haze_per_m / f32(1 / depth))[..., None]
        return f32(shaded * clear + self.light.haze * (1 - clear))

    @staticmethod
    def _plate_values(figures: list[PosedActor], owner: I64, uv: F32) -> F32:
        """How much of its light each place of a plate gives back, [M, 3]."""
        values = np.ones((len(owner), 3), np.float32)
        for i in np.unique(owner):
            texture, mine = plate_light(str(figures[i].actor.attributes.get("plate", ""))), owner == i
            size = f32(texture.shape[1::-1])
            column, row = np.clip(uv[mine] * size, 0, size - 1).astype(np.int64).T
            values[mine] = texture[row, column]
        return values


_MARGIN, _NOISE_MARGIN = 128, 64
_CURVE_TOP = 4.0


class Lens:
    """Turns linear light into an 8-bit picture. The rain and the noise of a time are always the same."""

    def __init__(self, spec: SceneSpec, light: Light, ground: F32) -> None:
        self._spec, self._light, self._streaks = spec, light, list[F32]()
        h, w = spec.height, spec.width
        if spec.weather == "rain" and spec.scene == "street":
            self._let_it_rain(ground)
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

    def _let_it_rain(self, ground: F32) -> None:
        random, (h, w) = self._spec.random("rain"), ground.shape
        scale = w / 640
        for length, share, gain in ((26, 0.0016, 0.9), (13, 0.004, 0.45)):
            drops = (random.random((h + _MARGIN, w + _MARGIN)) < share / scale).astype(np.float32)
            side = max(3, round(length * scale) | 1)
            kernel = np.zeros((side, side), np.float32)
            middle, lean = side // 2, side // 9
            cv2.line(kernel, (middle - lean, 0), (middle + lean, side - 1), 1.0, 1, cv2.LINE_AA)
            streaks = cv2.filter2D(drops, -1, kernel / kernel.sum() * side * 0.5)
            layer = f32(cv2.GaussianBlur(streaks, (0, 0), 0.5 * scale) * gain)
            self._streaks.append(f32(layer[..., None] * f32(self._light.haze * 0.16 + 0.01)))
        puddles = cv2.GaussianBlur(f32(random.standard_normal((h, w))), (0, 0), 22 * scale) * 22 * scale * 1.6
        wet = f32(ground * np.clip(0.24 + 0.1 * puddles, 0.06, 0.5))
        self._wet, self._reach = np.repeat(wet[..., None], 3, axis=2), max(9, round(44 * scale))

    def _rained(self, picture: F32, stamp: np.random.Generator) -> F32:
        """The wet ground shows, smeared downwards, what is above it in the picture; before it drops fall."""
        smeared, edge, (h, w) = picture, cv2.BORDER_REPLICATE, picture.shape[:2]
        size, anchor = (5, self._reach), (2, self._reach - 1)
        for _ in range(2):  # twice: the smear fades instead of ending
            smeared = f32(cv2.boxFilter(smeared, -1, size, anchor=anchor, borderType=edge))
        smeared *= 1.35
        np.minimum(smeared, 3.0, out=smeared)
        smeared -= picture
        smeared *= self._wet
        smeared += picture
        for layer in self._streaks:
            dy, dx = stamp.integers(0, _MARGIN, 2)
            smeared += layer[dy : dy + h, dx : dx + w]
        return smeared

    def expose(self, light: F32, time_s: float) -> U8:
        """The picture, uint8 sRGB [h, w, 3], of linear light [h, w, 3]."""
        stamp = np.random.default_rng([self._spec.seed, round(time_s * 1000) + (1 << 20)])
        if self._streaks:
            light = self._rained(light, stamp)
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

    def draw(self, picture: F32, depth: F32, snapshot: Snapshot, camera: PinholeCamera, light: Light) -> None:
        """Add smoke and flames to linear light [h, w, 3], in place, before what stands at ``depth``."""
        h, w = picture.shape[:2]
        for actor, state in snapshot.bodies:  # smoke comes before its fire
            if actor.kind not in TRANSPARENT:
                continue
            centres, radii, ages, strengths = puffs(actor, state, snapshot.time_s)
            q = camera.project(centres)
            for i in np.argsort(-q[:, 2], kind="stable"):
                radius = float(radii[i] * camera.focal_px / max(q[i, 2], 0.5))
                x0, y0 = int(np.floor(float(q[i, 0]) - radius)), int(np.floor(float(q[i, 1]) - radius))
                side = max(2, int(np.ceil(2 * radius)))
                left, top, right, bottom = max(x0, 0), max(y0, 0), min(x0 + side, w), min(y0 + side, h)
                if q[i, 2] <= 0.5 or radius <= 0.7 or right <= left or bottom <= top:
                    continue
                mask = cv2.resize(self._shapes[i % 6], (side, side), interpolation=cv2.INTER_LINEAR)
                area = np.s_[top:bottom, left:right]
                mask = mask[top - y0 : bottom - y0, left - x0 : right - x0] * (depth[area] > q[i, 2])
                age, strength = float(ages[i]), float(strengths[i])
                mask, under = f32(mask)[..., None], picture[area]
                if actor.kind == "fire":
                    heat = f32([2.6, 1.15 * (1 - 0.65 * age), 0.28 * (1 - age) ** 2])
                    shine = mask * (heat * np.float32(strength))
                    picture[area] = under * (1 - 0.25 * mask * strength) + shine
                else:
                    grey = (0.09 + 0.15 * age) * (light.sky + light.sun_colour * 0.4)
                    alpha = mask * np.float32(0.6 * strength)
                    picture[area] = under * (1 - alpha) + alpha * grey
