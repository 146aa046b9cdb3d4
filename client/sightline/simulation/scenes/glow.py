"""Light that comes and goes: head lamps' beams on the ground, and the traffic light's lamps."""

from __future__ import annotations

import cv2
import numpy as np

from sightline.simulation.scenes.actors import Figure
from sightline.simulation.scenes.arrays import F32, F64, f32
from sightline.simulation.scenes.light import Light
from sightline.simulation.scenes.pinhole import PinholeCamera
from sightline.simulation.scenes.streetthings import signal_heads

_DRIVEN = ("car", "van", "truck", "bus", "motorcycle", "forklift", "bicycle")
BEAM_M = (16.0, 7.0)  # length and width of a beam
LAMPS_ON = 0.5  # from here on head lamps throw beams
_BEAM_COLOUR = f32([1.15, 1.05, 0.85])
_CELLS = 64
_LAMPS = {
    "red": (0.28, (3.5, 0.12, 0.08)),
    "amber": (0.0, (3.2, 1.5, 0.1)),
    "green": (-0.28, (0.1, 2.8, 1.2)),
}


def beams(figures: list[Figure], camera: PinholeCamera, light: Light) -> F32 | None:
    """Light [h, w, 3] that head lamps throw on the ground; None by day."""
    if light.lamps < LAMPS_ON:
        return None
    total = np.zeros((camera.height, camera.width), np.float32)
    shape, to_picture = _beam(), camera.ground_homography()
    for figure in figures:
        if figure.actor.kind in _DRIVEN:
            power = 0.3 if figure.actor.kind == "bicycle" else 1.0
            _throw(total, f32(shape * np.float32(power)), to_picture @ _placed(figure))
    return f32(total[..., None] * (_BEAM_COLOUR * np.float32(light.lamps)))


def _beam() -> F32:
    """A beam from above, first column at the lamps: float32 [cells, cells]."""
    t, s = np.meshgrid(np.linspace(-1, 1, _CELLS), np.linspace(0.001, 1, _CELLS), indexing="ij")
    spread = 0.22 + 0.7 * s
    return f32(np.exp(-((t / spread) ** 2) * 2.5) * np.clip(s * 6, 0, 1) * (1 - s) ** 1.4 * 1.1)


def _placed(figure: Figure) -> F64:
    """Float64 [3, 3] from the beam's cells to the ground, before the figure's nose."""
    state = figure.state
    c, s = np.cos(state.heading), np.sin(state.heading)
    reach = figure.actor.size[0] / 2
    cell = np.array([[BEAM_M[0] / _CELLS, 0, reach], [0, BEAM_M[1] / _CELLS, -BEAM_M[1] / 2], [0, 0, 1]])
    return np.asarray(np.array([[c, -s, state.x], [s, c, state.y], [0, 0, 1]]) @ cell)


def _throw(total: F32, shape: F32, way: F64) -> None:
    h, w = total.shape
    ends = way @ np.array([[0, _CELLS, _CELLS, 0], [0, 0, _CELLS, _CELLS], [1, 1, 1, 1.0]])
    if (ends[2] < 1.0).any():
        return  # behind the camera, or under it
    x, y = ends[0] / ends[2], ends[1] / ends[2]
    left, right = max(0, int(x.min())), min(w, int(x.max()) + 2)
    top, bottom = max(0, int(y.min())), min(h, int(y.max()) + 2)
    if right - left < 2 or bottom - top < 2:
        return
    moved = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1.0]]) @ way
    total[top:bottom, left:right] += cv2.warpPerspective(shape, moved, (right - left, bottom - top))


def draw_signal(picture: F32, signal: str, camera: PinholeCamera) -> None:
    """Light the street's traffic lights in linear light [h, w, 3], in place."""
    lamp = _LAMPS.get("red" if signal == "walk" else signal)
    if lamp is None:
        return
    for x, y, z, facing in signal_heads():
        if (camera.position[0] - x) * facing <= 0:
            continue  # seen from behind
        px, py, depth = camera.project(f32([[x + facing * 0.13, y, z + lamp[0]]]))[0].tolist()
        if depth > 1 and 0 <= px < camera.width and 0 <= py < camera.height:
            radius = max(1.0, 0.1 * camera.focal_px / depth)
            centre = round(px * 16), round(py * 16)
            cv2.circle(picture, centre, round(radius * 16), lamp[1], -1, cv2.LINE_AA, 4)
