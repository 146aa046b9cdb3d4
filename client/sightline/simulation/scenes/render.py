"""Pictures of a scene: the backdrop, shadows, lamps' light, the actors, then weather and lens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.simulation.scenes.actors import TRANSPARENT, Cast, PosedActor
from sightline.simulation.scenes.arrays import F32, I64, U8, f32
from sightline.simulation.scenes.backdrop import bake
from sightline.simulation.scenes.groundlight import (
    BEAM_M,
    LAMPS_ON,
    GroundLight,
    beams,
    draw_signal,
    shadow_masks,
    sky_share,
    slant_of,
    sun_share,
)
from sightline.simulation.scenes.lens import Lens
from sightline.simulation.scenes.light import Local, light_of, shade
from sightline.simulation.scenes.mesh import BRAKE_LAMP, HEAD_LAMP, PLATE, SIGN, TAIL_LAMP
from sightline.simulation.scenes.raster import DEPTH_UNITS, Fragments, fragments, planes, resolve
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.sprites import Sprites
from sightline.simulation.scenes.staging import Stage
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

    def of(self, field: str, triangles: I64) -> NDArray[np.generic]:
        """A field of the figures' meshes, of some of the triangles."""
        whole: NDArray[np.generic] = np.concatenate([getattr(f.mesh, field) for f in self.figures])
        return whole[self.number[triangles]]


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
        picture = self._ground_picture(figures, snapshot.signal)
        self._draw_actors(picture, figures)
        if any(actor.kind in TRANSPARENT for actor, _ in snapshot.bodies):
            self._sprites.draw(picture, self._depth(), snapshot, self.camera, self.light)
        return self._lens.expose(picture, snapshot.time_s)

    def _depth(self) -> F32:
        """Metres to what is seen in each pixel of the picture, from the keys of the last drawing."""
        keys = self._keys.reshape(self._inner.height, self._inner.width)[::INNER, ::INNER]
        return f32(DEPTH_UNITS / np.maximum((keys >> np.uint64(32)).astype(np.float64), 1.0))

    def _ground_picture(self, figures: list[PosedActor], signal: str) -> F32:
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
        if not figures:
            return None
        points = np.concatenate([f.points for f in figures])
        first = np.cumsum([0] + [len(f.points) for f in figures])
        triangles = np.concatenate([f.triangles + i for f, i in zip(figures, first[:-1], strict=True)])
        q = self._inner.project(points)
        number = self._seen(q, triangles)
        if not len(number):
            return None
        owner = np.repeat(np.arange(len(figures)), [len(f.mesh) for f in figures])[number]
        chosen = triangles[number]
        at = q[chosen]
        return _Batch(figures, f32(at[..., :2]), f32(1 / at[..., 2]), points[chosen], owner, number)

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

    def _colours(self, batch: _Batch, won: Fragments) -> F32:
        x = f32(won.pixel % self._inner.width + 0.5)
        y = f32(won.pixel // self._inner.width + 0.5)
        has_pixels = np.zeros(len(batch.xy), np.bool_)
        has_pixels[won.triangle] = True
        used, triangle = np.flatnonzero(has_pixels), (np.cumsum(has_pixels) - 1)[won.triangle]
        albedo, surface = f32(batch.of("albedo", used)), batch.of("surface", used)
        local = self._local(batch, used, albedo, surface)
        shaded = shade(batch.corners[used], self._turned(batch, used), albedo, f32(batch.of("gloss", used)),
                       self.camera.position, self.light, local)  # fmt: skip
        clear = np.exp(-self.light.haze_per_m / batch.inverse[used])[..., None]
        shaded = f32(shaded * clear + self.light.haze * (1 - clear))
        colours = planes(batch.xy[used], shaded).at(triangle, x, y)
        np.clip(colours, 0, 12, out=colours)
        plates = np.flatnonzero((surface == PLATE)[triangle])
        if len(plates):
            which = triangle[plates]
            uv = planes(batch.xy[used], f32(batch.of("uv", used))).at(which, x[plates], y[plates])
            colours[plates] *= self._plate_values(batch.figures, batch.owner[used[which]], uv)
        return colours

    def _turned(self, batch: _Batch, used: I64) -> F32:
        """The normals of the used triangles' corners in world axes."""
        first = np.cumsum([0] + [len(f.rotations) for f in batch.figures])
        table = np.swapaxes(np.concatenate([f.rotations for f in batch.figures]), 1, 2)
        bone = batch.of("bone", used).astype(np.int64)
        return f32(np.matmul(batch.of("normals", used), table[first[batch.owner[used]] + bone]))

    def _local(self, batch: _Batch, used: I64, albedo: F32, surface: NDArray[np.generic]) -> Local:
        figures = batch.figures
        x, y = f32([f.state.x for f in figures]), f32([f.state.y for f in figures])
        sun = self._grid.sample(self._grid.sun, x, y)
        lamps = self._grid.sample(self._grid.lamps, x, y) * np.float32(1.2)
        owner = batch.owner[used]
        braking = np.array([f.state.braking for f in figures])[owner]
        power = np.zeros(len(used), np.float32)
        lit = max(self.light.lamps, 0.25)
        power[surface == HEAD_LAMP] = 5.0 * lit
        power[surface == TAIL_LAMP] = 1.2 * self.light.lamps
        power[(surface == TAIL_LAMP) & braking] = 3.5
        power[(surface == BRAKE_LAMP) & braking] = 3.5
        power[surface == SIGN] = 1.0
        emission = albedo * power[:, None]
        up = np.broadcast_to(f32([0, 0, 1]), (len(used), 3))
        return Local(sun[owner], f32(up), lamps[owner], f32(emission))

    def _plate_values(self, figures: list[PosedActor], owner: I64, uv: F32) -> F32:
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
