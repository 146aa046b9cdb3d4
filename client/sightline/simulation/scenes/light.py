"""Light, linear float32: sun, sky, lamps, how surfaces give it back, shadows, beams, the traffic light."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from sightline.simulation.scenes.actors import PosedActor
from sightline.simulation.scenes.arrays import F32, U8, f32, unit
from sightline.simulation.scenes.mesh import Lamp, Mesh, Stage
from sightline.simulation.scenes.spec import PinholeCamera, SceneSpec
from sightline.simulation.scenes.street import SIGNAL_HEADS


@dataclass(frozen=True, slots=True)
class Light:
    """What lights a scene."""

    sun: F32  # unit vector [3] towards the sun (or towards the main lamp indoors)
    haze_per_m: float
    lamps: float  # 0..1, how bright street lamps, head lamps and lit windows are
    exposure: float  # what the camera multiplies light by
    noise: float  # standard deviation of the sensor's noise in the finished picture (0..255)
    softness: float  # width of a shadow's edge, relative to a clear sun's
    sun_colour: F32  # linear colours [3] of direct light, light from above, light from the ground
    sky: F32
    bounce: F32
    haze: F32  # colour [3] that distance fades to; ``haze_per_m`` is how fast

    @property
    def slant(self) -> F32:
        """How far (x and y, metres) from under it a point 1 m up throws its shadow, backwards."""
        return f32(self.sun[:2] / max(float(self.sun[2]), 0.12))

    @property
    def beam_m(self) -> float:
        """How far head lamps shine ahead; 0 by day."""
        return 16.0 if self.lamps >= 0.5 else 0.0


def light_of(spec: SceneSpec) -> Light:
    """The light of a scene; the sun of a clear day stands elsewhere for each seed."""
    if spec.scene != "street":
        share, lamps = {"day": (1.0, 0.0), "dusk": (0.7, 0.6), "night": (0.55, 1.0)}[spec.light]
        colours = f32([(0.75, 0.72, 0.66), (0.72, 0.70, 0.66), (0.26, 0.25, 0.23), (0.6, 0.6, 0.6)])
        colours[:3] *= np.float32(share)
        return Light(unit([0.12, -0.15, 1.0]), 0.0006, lamps, 0.95, 1.8 + 1.8 * (1 - share), 6.0, *colours)
    random, rain = spec.random("sun"), spec.weather == "rain"
    turn, height = random.uniform(-0.5, 0.5), random.uniform(0.75, 1.15)
    sun = unit([0.7 * turn, -0.52, height])
    if spec.light == "day" and not rain:
        colours = f32([(3.0, 2.75, 2.35), (0.46, 0.56, 0.74), (0.22, 0.20, 0.17), (0.62, 0.72, 0.86)])
        return Light(sun, 0.0018, 0.0, 1.0, 1.6, 1.0, *colours)
    if spec.light == "day":
        colours = f32([(0.25, 0.25, 0.26), (0.62, 0.66, 0.72), (0.2, 0.2, 0.2), (0.50, 0.53, 0.57)])
        return Light(unit([sun[0], sun[1], 3.0]), 0.0055, 0.12, 1.0, 2.2, 5.0, *colours)
    if spec.light == "dusk":
        colours = f32([(1.6, 0.75, 0.38), (0.15, 0.17, 0.27), (0.07, 0.06, 0.055), (0.36, 0.30, 0.34)])
        colours[0] *= np.float32(0.06 if rain else 0.35)
        return Light(unit([-0.8, -0.6, 0.38]), 0.0055 if rain else 0.003, 0.7, 1.7, 3.2, 2.5, *colours)
    colours = f32([(0.006, 0.007, 0.01), (0.016, 0.019, 0.03), (0.008, 0.008, 0.008), (0.035, 0.032, 0.035)])
    return Light(unit([0.3, -0.4, 0.9]), 0.005 if rain else 0.003, 1.0, 2.4, 5.5, 6.0, *colours)


def shade(made: Mesh, eye: F32, light: Light, sun: F32, way: F32, lamps: F32, emission: F32) -> F32:
    """Light that reaches the camera from every corner: [N, 3, 3].

    ``sun`` [N] is the share of the sun that reaches each triangle; ``way`` and ``lamps`` [N, 3] are the
    direction and the light of the lamps around, as one; ``emission`` [N, 3] is light of its own.
    """
    corners, normals = made.corners, made.normals
    up = normals[..., 2:]
    direct = np.maximum(normals @ light.sun, 0)[..., None] * sun[:, None, None] * light.sun_colour
    near_ground = np.clip(0.5 + corners[..., 2:] * 0.7, 0.5, 1.0)
    ambient = ((0.5 + 0.5 * up) * light.sky + (0.5 - 0.5 * up) * light.bounce) * near_ground
    facing = np.sum(normals * way[:, None], axis=-1, keepdims=True)
    lit = np.clip(facing * 0.6 + 0.4, 0, 1) * lamps[:, None]
    colour = made.albedo[:, None] * (direct + ambient + lit) + emission[:, None]
    shiny = np.flatnonzero(made.gloss > 0.02)
    view, normals, shine = unit(corners[shiny] - eye), normals[shiny], made.gloss[shiny][:, None, None]
    against = np.sum(view * normals, axis=-1, keepdims=True)
    mirror = view - 2 * against * normals
    fresnel = 0.05 + 0.95 * (1 - np.clip(-against, 0, 1)) ** 5
    height = np.clip(mirror[..., 2:] * 2.5 + 0.15, 0, 1)
    seen = height * (light.sky * 1.1) + (1 - height) * light.bounce * 0.5
    spot = np.clip(mirror @ light.sun, 0, 1)[..., None] ** 70
    spot = spot * sun[shiny][:, None, None] * light.sun_colour * 1.5
    colour[shiny] += f32(shine * (fresnel * seen + 0.25 * shine * spot))
    return f32(colour)


_CELL_M = 0.1


class GroundLight:
    """How much sun and lamp light falls on each place of the ground; a grid of 10 cm cells."""

    def __init__(self, stage: Stage, light: Light) -> None:
        self.x, self.y = stage.x, stage.y
        w, h = (round((end - start) / _CELL_M) for start, end in (self.x, self.y))
        shadow = np.zeros((h, w), np.uint8)
        for points in stage.casters:
            flat = points[:, :2] - points[:, 2:] * (light.sun[:2] / max(float(light.sun[2]), 0.05))
            pixels = (flat - f32((self.x[0], self.y[0]))) / np.float32(_CELL_M) * 16
            cv2.fillConvexPoly(shadow, cv2.convexHull(pixels.astype(np.int32)), 255, cv2.LINE_AA, 4)
        soft = cv2.GaussianBlur(shadow, (0, 0), 0.6 + 0.7 * light.softness)
        self.sun = f32(1.0 - soft.astype(np.float32) / 255.0)
        self.lamps = np.zeros((h, w, 3), np.float32)
        if light.lamps > 0:
            gy, gx = np.mgrid[0:h, 0:w].astype(np.float32) * np.float32(_CELL_M)
            points = np.stack([gx + self.x[0], gy + self.y[0], np.zeros_like(gx)], axis=-1)
            self.lamps = f32(lamp_light(f32(points), f32([0, 0, 1]), stage.lamps) * light.lamps)

    def sample(self, x: F32, y: F32) -> tuple[F32, F32]:
        """The share of the sun, and the light of lamps, at the cells of ground points; the edge's outside."""
        h, w = self.sun.shape
        i = np.clip(np.nan_to_num((y - self.y[0]) / _CELL_M), 0, h - 1).astype(np.int64)
        j = np.clip(np.nan_to_num((x - self.x[0]) / _CELL_M), 0, w - 1).astype(np.int64)
        return f32(self.sun[i, j]), f32(self.lamps[i, j])


def lamp_light(points: F32, normals: F32, lamps: Sequence[Lamp]) -> F32:
    """Light [..., 3] that falls from lamps on points [..., 3] with normals."""
    total = np.zeros((*points.shape[:-1], 3), np.float32)
    for position, colour in lamps:
        to = f32(position) - points
        square = np.sum(to * to, axis=-1)
        facing = np.maximum(np.sum(to * normals, axis=-1), 0) / np.sqrt(square)
        down = np.clip(to[..., 2] / np.sqrt(square), 0, 1)  # street lamps shine downwards
        total += (facing * down / (square + 4.0))[..., None] * f32(colour)
    return total


_SHIFT = 3  # sub-pixel bits of the polygons


def shadow_masks(figures: list[PosedActor], camera: PinholeCamera, light: Light) -> tuple[U8, U8]:
    """Where sun and where sky is taken from the ground, uint8 [h, w] both."""
    sun = np.zeros((camera.height, camera.width), np.uint8)
    sky = np.zeros_like(sun)
    for figure in figures:
        # Each moving part throws the shadow of its convex hull: nearly its true shadow.
        flat = figure.outline.copy()
        flat[..., :2] -= flat[..., 2:] * light.slant
        flat[..., 2] = 0
        _fill(sun, camera.project(f32(flat)))
        low = figure.outline[figure.outline[..., 2] < 0.3]  # close to the ground
        if len(low) > 2:
            _fill(sky, camera.project(f32(low * f32([1, 1, 0])))[None])
    scale = camera.width / 640
    gone = cv2.GaussianBlur(sun, (0, 0), (0.4 + 0.3 * light.softness) * scale)
    near = cv2.GaussianBlur(sky, (0, 0), 2.2 * scale)
    return np.asarray(gone, np.uint8), np.asarray(near, np.uint8)


def _fill(mask: U8, parts: F32) -> None:
    """Fill the hull of each row of projected points [B, K, 3]."""
    if (parts[..., 2] < 0.5).any():
        return
    limit = (mask.shape[1] + mask.shape[0]) * 4.0
    xy = np.clip(np.round(parts[..., :2] * (1 << _SHIFT)), -limit * 8, limit * 8).astype(np.int32)
    for points in xy:
        cv2.fillConvexPoly(mask, cv2.convexHull(points), 255, cv2.LINE_AA, _SHIFT)


_DRIVEN = ("car", "van", "truck", "bus", "motorcycle", "forklift", "bicycle")
_BEAM_WIDTH_M, _BEAM_COLOUR = 7.0, f32([1.15, 1.05, 0.85])
_CELLS = 64
_SIGNALS = {
    "red": (0.28, (3.5, 0.12, 0.08)),
    "walk": (0.28, (3.5, 0.12, 0.08)),
    "amber": (0.0, (3.2, 1.5, 0.1)),
    "green": (-0.28, (0.1, 2.8, 1.2)),
}


def beams(figures: list[PosedActor], camera: PinholeCamera, light: Light) -> F32 | None:
    """Light [h, w, 3] that head lamps throw on the ground; None by day."""
    if not light.beam_m:
        return None
    h, w = camera.height, camera.width
    total = np.zeros((h, w), np.float32)
    t, s = np.meshgrid(np.linspace(-1, 1, _CELLS), np.linspace(0.001, 1, _CELLS), indexing="ij")
    spread = 0.22 + 0.7 * s  # a beam from above, its first column at the lamps: float32 [cells, cells]
    shape = f32(np.exp(-((t / spread) ** 2) * 2.5) * np.clip(s * 6, 0, 1) * (1 - s) ** 1.4 * 1.1)
    corners = np.array([[0, _CELLS, _CELLS, 0], [0, 0, _CELLS, _CELLS], [1, 1, 1, 1.0]])
    long, wide = light.beam_m / _CELLS, _BEAM_WIDTH_M / _CELLS
    for figure in figures:
        if figure.actor.kind not in _DRIVEN:
            continue
        # From the beam's cells to the ground before the figure's nose, and on to the picture.
        cell = np.array([[long, 0, figure.actor.size[0] / 2], [0, wide, -_BEAM_WIDTH_M / 2], [0, 0, 1]])
        state = figure.state
        cos, sin = np.cos(state.heading), np.sin(state.heading)
        way = np.array([[cos, -sin, state.x], [sin, cos, state.y], [0, 0, 1]]) @ cell
        way = camera.ground_homography() @ way
        ends = way @ corners
        if (ends[2] < 1.0).any():
            continue  # behind the camera, or under it
        x, y = ends[0] / ends[2], ends[1] / ends[2]
        left, right = max(0, int(x.min())), min(w, int(x.max()) + 2)
        top, bottom = max(0, int(y.min())), min(h, int(y.max()) + 2)
        if right - left >= 2 and bottom - top >= 2:
            beam = f32(shape * np.float32(0.3 if figure.actor.kind == "bicycle" else 1.0))
            moved = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1.0]]) @ way
            total[top:bottom, left:right] += cv2.warpPerspective(beam, moved, (right - left, bottom - top))
    return f32(total[..., None] * (_BEAM_COLOUR * np.float32(light.lamps)))


def draw_signal(picture: F32, signal: str, camera: PinholeCamera) -> None:
    """Light the street's traffic lights in linear light [h, w, 3], in place."""
    height, colour = _SIGNALS[signal]
    for x, y, z, facing in SIGNAL_HEADS:
        if (camera.position[0] - x) * facing <= 0:
            continue  # seen from behind
        px, py, depth = camera.project(f32([[x + facing * 0.13, y, z + height]]))[0].tolist()
        if depth > 1 and 0 <= px < camera.width and 0 <= py < camera.height:
            radius = max(1.0, 0.1 * camera.focal_px / depth)
            centre = round(px * 16), round(py * 16)
            cv2.circle(picture, centre, round(radius * 16), colour, -1, cv2.LINE_AA, 4)
