"""Pictures of a scene: the backdrop, shadows, lamps' light, the actors, then weather and lens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.simulation.scenes.actors import TRANSPARENT, Cast, PosedActor
from sightline.simulation.scenes.arrays import F32, I64, U8, f32
from sightline.simulation.scenes.backdrop import bake
from sightline.simulation.scenes.lens import Lens, Sprites
from sightline.simulation.scenes.light import (
    BEAM_M,
    LAMPS_ON,
    GroundLight,
    Local,
    beams,
    draw_signal,
    light_of,
    shade,
    shadow_masks,
    sky_share,
    slant_of,
    sun_share,
)
from sightline.simulation.scenes.mesh import BRAKE_LAMP, HEAD_LAMP, I8, PLATE, SIGN, TAIL_LAMP, Stage
from sightline.simulation.scenes.raster import DEPTH_UNITS, Fragments, fragments, planes, resolve
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.textures import plate_picture
from sightline.simulation.scenes.viewpoints import NEAR_M, PinholeCamera
from sightline.simulation.scenes.world import Snapshot

INNER = 2  # actors are drawn at so many times the picture's size, for smooth edges


@dataclass(frozen=True, slots=True)
class _Batch:
    """Triangles of all figures that face the camera and lie in the picture.

    Attributes:
        xy, inverse, corners: where each corner is in the picture, 1 / its depth, and its place in metres.
        owner: [T], which figure; number: [T], among the triangles of all figures.
    """

    figures: list[PosedActor]
    xy: F32
    inverse: F32
    corners: F32
    owner: I64
    number: I64

    def of(self, field: str, triangles: I64) -> Any:
        """A field of the figures' meshes, of some of the triangles."""
        return np.concatenate([getattr(f.body.mesh, field) for f in self.figures])[self.number[triangles]]


class Renderer:
    """Draws snapshots of one scene through one camera. One thread; making one takes seconds."""

    def __init__(self, spec: SceneSpec, stage: Stage, camera: PinholeCamera) -> None:
        self.spec, self.camera = spec, camera
        self.light = light_of(spec)
        self._cast = Cast(slant_of(self.light), BEAM_M[0] if self.light.lamps >= LAMPS_ON else 0.0)
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
        picture = self._ground_picture(figures)
        if snapshot.signal:
            draw_signal(picture, snapshot.signal, self.camera)
        self._draw_actors(picture, figures)
        if any(actor.kind in TRANSPARENT for actor, _ in snapshot.bodies):
            keys = self._keys.reshape(self._inner.height, self._inner.width)[::INNER, ::INNER]
            depth_m = DEPTH_UNITS / np.maximum((keys >> np.uint64(32)).astype(np.float64), 1.0)
            self._sprites.draw(picture, f32(depth_m), snapshot, self.camera, self.light)
        return self._lens.expose(picture, snapshot.time_s)

    def _ground_picture(self, figures: list[PosedActor]) -> F32:
        """The still picture [h, w, 3], drawn anew only where the moving take light away or bring it."""
        drop, picture = self._backdrop, self._still.copy()
        sun_gone, sky_gone = (mask.ravel() for mask in shadow_masks(figures, self.camera, self.light))
        thrown = beams(figures, self.camera, self.light)
        changed = (sun_gone | sky_gone) > 0
        if thrown is not None:
            changed |= thrown.reshape(-1, 3)[:, 0] > 0
        pixel = np.flatnonzero(changed & (drop.ground.ravel() > 0))
        parts = (drop.albedo, drop.light, drop.sunlit, drop.glow)
        albedo, light, sunlit, glow = (np.take(part.reshape(-1, 3), pixel, axis=0) for part in parts)
        ground = drop.ground.ravel()[pixel]
        light -= sunlit * (sun_share(sun_gone[pixel]) * ground)[:, None]
        light *= (1 - sky_share(sky_gone[pixel]) * ground)[:, None]
        if thrown is not None:
            light += thrown.reshape(-1, 3)[pixel] * ground[:, None]
        picture.reshape(-1, 3)[pixel] = albedo * light + glow
        return picture

    def _draw_actors(self, picture: F32, figures: list[PosedActor]) -> None:
        """Draw the figures into linear light [h, w, 3], in place; the keys are then those of this picture."""
        self._keys[self._touched] = self._backdrop.keys[self._touched]  # of the picture before
        self._touched = self._touched[:0]
        batch = self._batch(figures)
        if batch is None:
            return
        drawn = fragments(batch.xy, batch.inverse, self._inner.width, self._inner.height)
        won = resolve(drawn, self._keys)
        self._touched = drawn.pixel
        colours = self._colours(batch, won)
        y, x = np.divmod(won.pixel, self._inner.width)
        small = (y // INNER) * self.camera.width + x // INNER
        count = np.bincount(small)
        pixel = np.flatnonzero(count)
        share = 1.0 / INNER**2
        actors = np.stack([np.bincount(small, colours[:, c])[pixel] for c in range(3)], axis=-1) * share
        flat = picture.reshape(-1, 3)
        left = np.take(flat, pixel, axis=0) * (1 - f32(count[pixel] * share))[:, None]
        flat[pixel] = left + f32(actors)

    def _batch(self, figures: list[PosedActor]) -> _Batch | None:
        """The triangles that face the camera and reach into the picture; None when there are none."""
        if not figures:
            return None
        points = np.concatenate([f.points for f in figures])
        first = np.cumsum([0] + [len(f.points) for f in figures])
        triangles = np.concatenate([f.body.triangles + i for f, i in zip(figures, first[:-1], strict=True)])
        q, width, height = self._inner.project(points), self._inner.width, self._inner.height
        x, y, depth = (np.ascontiguousarray(q[:, i]) for i in range(3))
        a, b, c = (np.ascontiguousarray(triangles[:, i]) for i in range(3))
        ax, ay = x[a], y[a]
        number = np.flatnonzero((x[b] - ax) * (y[c] - ay) - (y[b] - ay) * (x[c] - ax) < 0)
        chosen = triangles[number]
        beyond = ((x <= 0) * 1 + (x >= width) * 2 + (y <= 0) * 4 + (y >= height) * 8)[chosen]
        visible = (beyond[:, 0] & beyond[:, 1] & beyond[:, 2]) == 0
        if depth.min() <= NEAR_M:
            visible &= (depth[chosen] > NEAR_M).all(axis=1)
        number, chosen = number[visible], chosen[visible]
        if not len(number):
            return None
        owner = np.repeat(np.arange(len(figures)), [len(f.body.mesh) for f in figures])[number]
        at = q[chosen]
        return _Batch(figures, f32(at[..., :2]), f32(1 / at[..., 2]), points[chosen], owner, number)

    def _colours(self, batch: _Batch, won: Fragments) -> F32:
        """Light [M, 3] of the pixels that the figures have won."""
        x, y = f32(won.pixel % self._inner.width + 0.5), f32(won.pixel // self._inner.width + 0.5)
        has_pixels = np.zeros(len(batch.xy), np.bool_)
        has_pixels[won.triangle] = True
        used, triangle = np.flatnonzero(has_pixels), (np.cumsum(has_pixels) - 1)[won.triangle]
        xy, owner, surface, albedo = (
            batch.xy[used],
            batch.owner[used],
            batch.of("surface", used),
            batch.of("albedo", used),
        )
        first = np.cumsum([0] + [len(f.rotations) for f in batch.figures])
        turned = np.swapaxes(np.concatenate([f.rotations for f in batch.figures]), 1, 2)
        turned = turned[first[owner] + batch.of("bone", used).astype(np.int64)]  # into the world's axes
        local = self._local(batch.figures, owner, albedo, surface)
        shaded = shade(batch.corners[used], f32(np.matmul(batch.of("normals", used), turned)), albedo,
                       batch.of("gloss", used), self.camera.position, self.light, local)  # fmt: skip
        clear = np.exp(-self.light.haze_per_m / batch.inverse[used])[..., None]
        colours = planes(xy, f32(shaded * clear + self.light.haze * (1 - clear))).at(triangle, x, y)
        np.clip(colours, 0, 12, out=colours)
        plates = np.flatnonzero((surface == PLATE)[triangle])
        if len(plates):
            which = triangle[plates]
            uv = planes(xy, batch.of("uv", used)).at(which, x[plates], y[plates])
            colours[plates] *= self._plate_values(batch.figures, owner[which], uv)
        return colours

    def _local(self, figures: list[PosedActor], owner: I64, albedo: F32, surface: I8) -> Local:
        x, y = f32([f.state.x for f in figures]), f32([f.state.y for f in figures])
        sun = self._grid.sample(self._grid.sun, x, y)
        lamps = self._grid.sample(self._grid.lamps, x, y) * np.float32(1.2)
        braking = np.array([f.state.braking for f in figures])[owner]
        power = np.zeros(len(owner), np.float32)
        power[surface == HEAD_LAMP] = 5.0 * max(self.light.lamps, 0.25)
        power[surface == TAIL_LAMP] = 1.2 * self.light.lamps
        power[((surface == TAIL_LAMP) | (surface == BRAKE_LAMP)) & braking] = 3.5
        power[surface == SIGN] = 1.0
        up = np.broadcast_to(f32([0, 0, 1]), (len(owner), 3))
        return Local(sun[owner], f32(up), lamps[owner], f32(albedo * power[:, None]))

    def _plate_values(self, figures: list[PosedActor], owner: I64, uv: F32) -> F32:
        """How much of its light each place of a plate gives back, [M, 3]."""
        values = np.ones((len(owner), 3), np.float32)
        for i in np.unique(owner):
            actor, mine = figures[i].actor, owner == i
            if actor.id not in self._plates:
                picture = plate_picture(str(actor.attributes.get("plate", "")))
                self._plates[actor.id] = f32((picture / 255.0) ** 2.2)
            texture = self._plates[actor.id]
            size = f32(texture.shape[1::-1])
            column, row = np.clip(uv[mine] * size, 0, size - 1).astype(np.int64).T
            values[mine] = texture[row, column]
        return values
