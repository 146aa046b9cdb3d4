"""Pictures of a scene: the backdrop, shadows, lamps' light, the actors, then weather and lens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sightline.scenes.arrays import F32, I64, U8, f32
from sightline.scenes.backdrop import bake
from sightline.scenes.camera import NEAR_M, PinholeCamera
from sightline.scenes.cast import TRANSPARENT, Cast, Figure
from sightline.scenes.glow import beams, draw_signal
from sightline.scenes.groundlight import GroundLight
from sightline.scenes.lens import Lens
from sightline.scenes.light import Local, light_of, shade
from sightline.scenes.mesh import BRAKE_LAMP, HEAD_LAMP, PLATE, SIGN, TAIL_LAMP
from sightline.scenes.raster import DEPTH_UNITS, Fragments, fragments, planes, resolve, twice_area
from sightline.scenes.shadows import shadow_masks, sky_share, sun_share
from sightline.scenes.spec import SceneSpec
from sightline.scenes.sprites import Sprites
from sightline.scenes.stage import Stage
from sightline.scenes.textures import plate_picture
from sightline.scenes.world import Snapshot

INNER = 2  # actors are drawn at so many times the picture's size, for smooth edges


@dataclass(frozen=True, slots=True)
class _Batch:
    """Triangles of all figures that face the camera and lie in the picture."""

    xy: F32
    inverse: F32
    corners: F32
    normals: F32  # in the mesh's own axes
    bone: I64
    albedo: F32
    gloss: F32
    surface: I64
    uv: F32
    owner: I64


class Renderer:
    """Draws snapshots of one scene through one camera. One thread; making one takes seconds."""

    def __init__(self, spec: SceneSpec, stage: Stage, camera: PinholeCamera) -> None:
        self.spec, self.camera = spec, camera
        self.light = light_of(spec)
        self._cast = Cast()
        self._inner = camera.scaled(INNER)
        self._grid = GroundLight(stage, self.light)
        self._backdrop = bake(stage, self._grid, self.light, camera, INNER)
        self._still = f32(self._backdrop.albedo * self._backdrop.light + self._backdrop.glow)
        self._keys = self._backdrop.keys.copy()
        self._lens = Lens(spec, self.light, self._backdrop.ground)
        self._plates: dict[int, F32] = {}
        self._sprites = Sprites(spec.random("sprites"))
        self._touched = np.zeros(0, np.int64)

    def draw(self, snapshot: Snapshot) -> U8:
        """The picture, uint8 sRGB [height, width, 3]."""
        figures = [f for f in self._cast.figures(snapshot, self.camera) if f.actor.kind not in TRANSPARENT]
        picture = self._ground_picture(figures, snapshot.signal)
        self._draw_actors(picture, figures)
        if any(actor.kind in TRANSPARENT for actor, _ in snapshot.bodies):
            self._sprites.draw(picture, self._depth(), snapshot, self.camera, self.light)
        return self._lens.expose(picture, snapshot.time_s)

    def _depth(self) -> F32:
        """Metres to what is seen in each pixel of the picture, from the keys of the last drawing."""
        keys = self._keys.reshape(self._inner.height, self._inner.width)[::INNER, ::INNER]
        return f32(DEPTH_UNITS / np.maximum((keys >> np.uint64(32)).astype(np.float64), 1.0))

    def _ground_picture(self, figures: list[Figure], signal: str) -> F32:
        """The still picture [h, w, 3], drawn anew only where the moving take light away or bring it."""
        drop = self._backdrop
        picture = self._still.copy()
        sun_gone, sky_gone = (mask.ravel() for mask in shadow_masks(figures, self.camera, self.light))
        thrown = beams(figures, self.camera, self.light)
        changed = (sun_gone | sky_gone) > 0
        if thrown is not None:
            changed |= thrown.reshape(-1, 3)[:, 0] > 0
        pixel = np.flatnonzero(changed & (drop.ground.ravel() > 0))
        albedo, light, sunlit, glow = (
            np.take(part.reshape(-1, 3), pixel, axis=0)
            for part in (drop.albedo, drop.light, drop.sunlit, drop.glow)
        )
        ground = drop.ground.ravel()[pixel]
        light -= sunlit * (sun_share(sun_gone[pixel]) * ground)[:, None]
        light *= (1 - sky_share(sky_gone[pixel]) * ground)[:, None]
        if thrown is not None:
            light += thrown.reshape(-1, 3)[pixel] * ground[:, None]
        picture.reshape(-1, 3)[pixel] = albedo * light + glow
        if signal:
            draw_signal(picture, signal, self.camera)
        return picture

    def _draw_actors(self, picture: F32, figures: list[Figure]) -> None:
        """Draw the figures into linear light [h, w, 3], in place; the keys are then those of this picture."""
        self._keys[self._touched] = self._backdrop.keys[self._touched]  # of the picture before
        self._touched = self._touched[:0]
        batch = self._batch(figures)
        if batch is None:
            return
        found = fragments(batch.xy, batch.inverse, self._inner.width, self._inner.height)
        won = resolve(found, self._keys)
        self._touched = found.pixel
        colours = self._colours(batch, figures, won)
        y, x = np.divmod(won.pixel, self._inner.width)
        small = (y // INNER) * self.camera.width + x // INNER
        count = np.bincount(small)
        pixel = np.flatnonzero(count)
        share = 1.0 / INNER**2
        actors = np.stack([np.bincount(small, colours[:, c])[pixel] for c in range(3)], axis=-1) * share
        flat = picture.reshape(-1, 3)
        flat[pixel] = flat[pixel] * (1 - f32(count[pixel] * share))[:, None] + f32(actors)

    def _batch(self, figures: list[Figure]) -> _Batch | None:
        if not figures:
            return None
        corners = np.concatenate([f.corners for f in figures])
        q = self._inner.project(corners)
        xy = q[..., :2]
        depth = q[..., 2]
        kept = (depth[:, 0] > NEAR_M) & (depth[:, 1] > NEAR_M) & (depth[:, 2] > NEAR_M)
        kept &= twice_area(xy) < 0
        a, b, c = xy[:, 0], xy[:, 1], xy[:, 2]
        low, high = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
        kept &= (high[:, 0] > 0) & (low[:, 0] < self._inner.width)
        kept &= (high[:, 1] > 0) & (low[:, 1] < self._inner.height)
        index = np.flatnonzero(kept)
        if not len(index):
            return None

        def chosen(name: str) -> F32:
            return f32(np.concatenate([getattr(f.mesh, name) for f in figures])[index])

        owner = np.repeat(np.arange(len(figures)), [len(f.mesh) for f in figures])[index]
        bone = np.concatenate([f.mesh.bone for f in figures])[index].astype(np.int64)
        surface = np.concatenate([f.mesh.surface for f in figures])[index].astype(np.int64)
        return _Batch(f32(xy[index]), f32(1 / q[index, :, 2]), f32(corners[index]), chosen("normals"), bone,
            chosen("albedo"),
                      chosen("gloss"), surface, chosen("uv"), owner)  # fmt: skip

    def _colours(self, batch: _Batch, figures: list[Figure], won: Fragments) -> F32:
        x = f32(won.pixel % self._inner.width + 0.5)
        y = f32(won.pixel // self._inner.width + 0.5)
        used, triangle = np.unique(won.triangle, return_inverse=True)
        local = self._local(batch, figures, used)
        normals = self._turned(batch, figures, used)
        shaded = shade(batch.corners[used], normals, batch.albedo[used], batch.gloss[used],
                       self.camera.position, self.light, local)  # fmt: skip
        shaded = self._hazed(shaded, batch.inverse[used])
        colours = np.clip(planes(batch.xy[used], shaded).at(triangle, x, y), 0, 12)
        plates = np.flatnonzero(batch.surface[won.triangle] == PLATE)
        if len(plates):
            which = won.triangle[plates]
            uv = planes(batch.xy, batch.uv).at(which, x[plates], y[plates])
            colours[plates] *= self._plate_values(figures, batch.owner[which], uv)
        return f32(colours)

    def _turned(self, batch: _Batch, figures: list[Figure], used: I64) -> F32:
        first = np.cumsum([0] + [len(f.rotations) for f in figures])
        table = np.swapaxes(np.concatenate([f.rotations for f in figures]), 1, 2)
        return f32(np.matmul(batch.normals[used], table[first[batch.owner[used]] + batch.bone[used]]))

    def _hazed(self, colours: F32, inverse: F32) -> F32:
        clear = np.exp(-self.light.haze_per_m / inverse)[..., None]
        return f32(colours * clear + self.light.haze * (1 - clear))

    def _local(self, batch: _Batch, figures: list[Figure], used: I64) -> Local:
        x, y = f32([f.state.x for f in figures]), f32([f.state.y for f in figures])
        sun = self._grid.sample(self._grid.sun, x, y)
        lamps = self._grid.sample(self._grid.lamps, x, y) * np.float32(1.2)
        owner = batch.owner[used]
        braking = np.array([f.state.braking for f in figures])[owner]
        surface = batch.surface[used]
        power = np.zeros(len(used), np.float32)
        lit = max(self.light.lamps, 0.25)
        power[surface == HEAD_LAMP] = 5.0 * lit
        power[surface == TAIL_LAMP] = 1.2 * self.light.lamps
        power[(surface == TAIL_LAMP) & braking] = 3.5
        power[(surface == BRAKE_LAMP) & braking] = 3.5
        power[surface == SIGN] = 1.0
        emission = batch.albedo[used] * power[:, None]
        up = np.broadcast_to(f32([0, 0, 1]), (len(used), 3))
        return Local(sun[owner], f32(up), lamps[owner], f32(emission))

    def _plate_values(self, figures: list[Figure], owner: I64, uv: F32) -> F32:
        values = np.ones((len(owner), 3), np.float32)
        for i in np.unique(owner):
            actor = figures[i].actor
            if actor.id not in self._plates:
                picture = plate_picture(str(actor.attributes.get("plate", "")))
                self._plates[actor.id] = f32((picture / 255.0) ** 2.2)
            texture = self._plates[actor.id]
            mine = owner == i
            col = np.clip(uv[mine, 0] * texture.shape[1], 0, texture.shape[1] - 1).astype(np.int64)
            row = np.clip(uv[mine, 1] * texture.shape[0], 0, texture.shape[0] - 1).astype(np.int64)
            values[mine] = texture[row, col]
        return values
