"""The still parts of the factory floor and of the shop: floors, walls, ceilings."""

from __future__ import annotations

import cv2
import numpy as np

from sightline.simulation.scenes import textures
from sightline.simulation.scenes.arrays import F32, U8, f32
from sightline.simulation.scenes.factory import HALL_X, HALL_Y
from sightline.simulation.scenes.shop import FRONT_X
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.staging import Panel, Stage

_HALL_PX_M, _SHOP_PX_M = 40, 50
_PAINT = (226.0, 178.0, 30.0)


def factory_stage(spec: SceneSpec) -> Stage:
    """The hall, empty."""
    random = spec.random("stage")
    stage = Stage((HALL_X[0] - 1, HALL_X[1]), HALL_Y, _hall_floor(random), sky=False)
    x0, x1, y0, y1 = *stage.x, *HALL_Y
    wall = _sheet(random, round(x1 - x0), 8)
    end = _sheet(random, round(y1 - y0), 8)
    length, up = f32([x1 - x0, 0, 0]), f32([0, 0, 8.0])
    stage.panels += [
        Panel(f32([x0, y1, 0]), length, up, wall),
        Panel(f32([x1, y0, 0]), -length, up, wall),
        Panel(f32([x1, y1, 0]), f32([0, y0 - y1, 0]), up, _gates(end, random)),
        Panel(f32([x0, y1, 8.0]), f32([0, y0 - y1, 0]), length, _ceiling(random)),
        Panel(f32([x0, y0, 8.0]), length, f32([0, y1 - y0, 0]), _ceiling(random)),
    ]
    return stage


def _hall_floor(random: np.random.Generator) -> U8:
    x0, (y0, y1), px = HALL_X[0] - 1, HALL_Y, _HALL_PX_M
    h, w = round((y1 - y0) * px), round((HALL_X[1] - x0) * px)
    picture = textures.mottled(random, h, w, (136, 140, 138), 4, 4)
    picture[:: px * 4] *= 0.8
    picture[:, :: px * 5] *= 0.8
    textures.stained(picture, random, 120, 0.5 * px, 0.28)
    textures.cracked(picture, random, 8, 40)

    def at(x: float, y: float) -> tuple[int, int]:
        return round((x - x0) * px), round((y - y0) * px)

    for y in (-2.3, 2.3):
        cv2.line(picture, at(x0, y), at(HALL_X[1], y), _PAINT, 5, cv2.LINE_AA)
    a, b = at(13.5, 3.0), at(18.0, 7.6)
    zone = picture[a[1] : b[1], a[0] : b[0]]
    zone[...] = zone * 0.6 + f32((190, 60, 40)) * 0.4
    gy, gx = np.mgrid[0:h, 0:w]
    rim = np.zeros((h, w), bool)
    rim[a[1] - 12 : b[1] + 12, a[0] - 12 : b[0] + 12] = True
    rim[a[1] : b[1], a[0] : b[0]] = False
    striped = ((gx + gy) // 14) % 2 == 0
    picture[rim & striped] = f32(_PAINT)
    picture[rim & ~striped] = 34
    for x in np.arange(8.0, 12.0, 0.8):  # where people cross the aisle
        cv2.rectangle(picture, at(x, -2.2), at(x + 0.4, 2.2), (206.0, 206.0, 200.0), -1)
    wear = np.clip(0.93 + 0.05 * textures.cloud(random, h, w, 30), 0.75, 1.05)
    return textures.finished(picture * wear[..., None])


def _sheet(random: np.random.Generator, width: int, height: int) -> U8:
    px = 24
    picture = textures.mottled(random, height * px, width * px, (158, 166, 170), 2, 3)
    ribs = 1 + 0.09 * np.sign(np.sin(np.arange(width * px) * 2 * np.pi / 9))
    picture *= ribs[None, :, None].astype(np.float32)
    picture[-round(1.2 * px) :] *= f32([0.75, 0.78, 0.82])
    picture[2 * px : 3 * px] = picture[2 * px : 3 * px] * 0.4 + 140  # a band of roof light
    return textures.finished(picture)


def _gates(wall: U8, random: np.random.Generator) -> U8:
    picture = wall.astype(np.float32)
    px, h = 24, wall.shape[0]
    for y in (9.0 - 1.9,):
        a, b = round(y * px), round((y + 3.8) * px)
        picture[h - 4 * px :, a:b] = textures.mottled(random, 4 * px, b - a, (34, 36, 40), 1, 1)  # open
        cv2.rectangle(picture, (a, h - 4 * px), (b, h), (210.0, 170.0, 30.0), 4)
    return textures.finished(picture)


def _ceiling(random: np.random.Generator) -> U8:
    picture = textures.mottled(random, 256, 256, (96, 100, 104), 2, 2)
    picture[::32, :] = 130
    picture[:, ::42] = 62
    return textures.finished(picture)


def shop_stage(spec: SceneSpec) -> Stage:
    """The shop, empty; what lies outside the door has the light of the day."""
    random = spec.random("stage")
    outside = {"day": 1.0, "dusk": 0.5, "night": 0.16}[spec.light] * (0.75 if spec.weather == "rain" else 1.0)
    stage = Stage((-3.0, 17.0), (-9.0, 9.0), _shop_floor(random, outside), sky=False)
    wall = textures.finished(textures.mottled(random, 120, 320, (206, 198, 184), 2, 2))
    length, up = f32([FRONT_X + 3.0, 0, 0]), f32([0, 0, 3.8])
    front, glow = textures.facade(random, 40.0, 12.0, 20)
    front = textures.finished(f32(front) * np.float32(1.25 * outside))
    gable = textures.finished(textures.mottled(random, 40, 400, (206, 198, 184), 2, 2))
    stage.panels += [
        Panel(f32([-3.0, 4.95, 0]), length, up, wall),
        Panel(f32([FRONT_X, -4.95, 0]), -length, up, wall),
        Panel(f32([-3.0, -4.95, 3.6]), length, f32([0, 9.9, 0]), _tiles(random)),
        Panel(f32([FRONT_X, 4.95, 2.7]), f32([0, -9.9, 0]), f32([0, 0, 1.1]), gable),
        Panel(f32([17.0, 20.0, 0]), f32([0, -40, 0]), f32([0, 0, 12.0]), front, glow),
    ]
    return stage


def _shop_floor(random: np.random.Generator, outside: float) -> U8:
    px = _SHOP_PX_M
    h, w = 18 * px, 20 * px
    picture = textures.slabs(random, h, w, (186, 178, 164), (px * 3 // 5, px * 3 // 5))
    edge = round((FRONT_X + 3.0) * px)
    paved = textures.slabs(random, h, round(3.4 * px), (196, 192, 186), (px // 2, px // 2))
    road = textures.mottled(random, h, w - edge - paved.shape[1], (112, 112, 114), 7, 3)
    picture[:, edge : edge + paved.shape[1]] = paved * (1.2 * outside)
    picture[:, edge + paved.shape[1] :] = road * (1.2 * outside)
    picture[:, edge + paved.shape[1] : edge + paved.shape[1] + 8] = 190 * outside
    mat = picture[round(7.6 * px) : round(10.4 * px), edge - round(1.7 * px) : edge - round(0.15 * px)]
    mat[...] = textures.mottled(random, mat.shape[0], mat.shape[1], (62, 64, 70), 9, 2)
    mat[:, ::6] *= 0.8
    _daylight(picture, edge, outside)
    return textures.finished(picture)


def _daylight(picture: F32, edge: int, outside: float) -> None:
    """Light that falls in through the glass front fades into the room."""
    reach = round(4.5 * _SHOP_PX_M)
    fade = np.linspace(0, 1, reach, dtype=np.float32) ** 2 * (0.22 * outside)
    picture[:, edge - reach : edge] *= 1 + fade[None, :, None]


def _tiles(random: np.random.Generator) -> U8:
    picture = textures.mottled(random, 300, 300, (224, 222, 216), 1, 1)
    picture[::30] *= 0.85
    picture[:, ::30] *= 0.85
    return textures.finished(picture)
