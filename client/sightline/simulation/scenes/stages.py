"""The still part of each scene with its textures: ground, walls and things (needs OpenCV)."""

import cv2
import numpy as np

from sightline.simulation.scenes import textures
from sightline.simulation.scenes.arrays import F32, U8, f32
from sightline.simulation.scenes.factory import HALL_X, HALL_Y
from sightline.simulation.scenes.mesh import Panel, Stage
from sightline.simulation.scenes.scene import THINGS
from sightline.simulation.scenes.shop import FRONT_X
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.street import KERB_Y, STOP_X, WALL_Y, ZEBRA_X

X, Y = (-14.0, 118.0), (-13.4, 13.4)  # of the street
PX_M = 28  # of the street's texture
WET_ALBEDO = 0.62  # of the dry ground's
_LINE = (214.0, 212.0, 204.0)


def stage_of(spec: SceneSpec) -> Stage:
    """Ground, walls and things."""
    stage = {"street": street_stage, "factory": factory_stage, "shop": shop_stage}[spec.scene](spec)
    THINGS[spec.scene](spec, stage)
    return stage


def street_stage(spec: SceneSpec) -> Stage:
    """The street between its houses, empty."""
    random = spec.random("stage")
    stage = Stage(X, Y, _ground(random, wet=spec.weather == "rain"))
    for side in (-1.0, 1.0):
        x = -30.0
        while x < 118:
            width = float(random.uniform(9, 17))
            height = float(random.uniform(9, 17) if side > 0 else random.uniform(7.5, 11))
            y = side * (WALL_Y + 0.1 + random.uniform(0, 0.15))
            front, glow = textures.facade(random, width, height, 26)
            up, depth = f32([0, 0, height]), f32([0, side * 9.0, 0])
            left, right = f32([x, y, 0]), f32([x + width, y, 0])
            corner, along = (right, f32([-width, 0, 0])) if side < 0 else (left, f32([width, 0, 0]))
            stage.panels.append(Panel(corner, along, up, front, glow))  # along x up points to the road
            plain = textures.finished(textures.mottled(random, 64, 64, (150, 140, 128), 5, 6))
            for base in (left, right):
                stage.panels.append(Panel(base, depth, up, plain))
                stage.panels.append(Panel(f32(base + depth), f32(-depth), up, plain))
            stage.shade((x, x + width), (y, y + side * 9.0), height)
            x += width
    for y in (-24.0, -10.0, 3.0, 15.0):  # the street bends away at its end: houses close the view
        front, glow = textures.facade(random, 13.0, 14.0, 12)
        stage.panels.append(Panel(f32([117.5, y + 13, 0]), f32([0, -13, 0]), f32([0, 0, 14]), front, glow))
    return stage


def _ground(random: np.random.Generator, *, wet: bool) -> U8:
    h, w = round((Y[1] - Y[0]) * PX_M), round((X[1] - X[0]) * PX_M)
    picture = textures.mottled(random, h, w, (92, 92, 94), 9, 3.0)
    for y in (-5.1, -1.75, 1.75, 5.1):  # where wheels run, and where oil drips
        for offset, tone in ((-0.8, -6), (0.8, -6), (0.0, 5)):
            profile = np.exp(-(((np.arange(h) - _py(y + offset)) / (0.3 * PX_M)) ** 2)).astype(np.float32)
            picture += (profile * tone)[:, None, None]
    textures.stained(picture, random, 160, 0.7 * PX_M, 0.3)
    for _ in range(16):  # mended places
        x, y = int(random.integers(w)), int(random.integers(_py(-8), _py(7)))
        tall, wide = int(random.integers(20, 60)), int(random.integers(40, 160))
        picture[y : y + tall, x : x + wide] *= random.uniform(0.82, 0.95)
    textures.cracked(picture, random, 60, 50)
    _markings(picture, random)
    pavements = (0, _py(-KERB_Y)), (_py(KERB_Y), h)
    for y0, y1 in pavements:
        picture[y0:y1] = textures.slabs(random, y1 - y0, w, (150, 146, 140), (PX_M // 2, PX_M))
    for y0, y1 in pavements:
        textures.stained(picture[y0:y1], random, 40, 12, 0.25)
    for a, gutter in ((_py(-KERB_Y), 4), (_py(KERB_Y), -14)):
        picture[a - 4 : a + 4] = f32((178, 176, 170)) + random.normal(0, 6, (8, w, 1)).astype(np.float32)
        picture[a + gutter : a + gutter + 10] *= 0.72
        picture[a - 4 : a + 4, ::PX_M] *= 0.7
    for cover in (4.0, 30.0, 52.0):
        at = _px(cover), _py(-3.2)
        cv2.circle(picture, at, round(0.35 * PX_M), (66.0, 64.0, 62.0), -1, cv2.LINE_AA)
        cv2.circle(picture, at, round(0.28 * PX_M), (84.0, 82.0, 80.0), 2, cv2.LINE_AA)
    if wet:
        picture *= WET_ALBEDO**0.5  # a square root, since these are sRGB values
    return textures.finished(picture)


def _px(x: float) -> int:
    return round((x - X[0]) * PX_M)


def _py(y: float) -> int:
    return round((y - Y[0]) * PX_M)


def _markings(picture: F32, random: np.random.Generator) -> None:
    h, w = picture.shape[:2]
    paint = np.zeros((h, w), np.float32)
    for y0, y1 in ((_py(-8.4), _py(-6.75)), (_py(6.75), _py(8.4))):  # cycle lanes are red asphalt
        picture[y0:y1] *= f32([1.22, 0.82, 0.74])
    half, broad = round(0.07 * PX_M), round(0.4 * PX_M)
    before, after = _px(STOP_X[1.0]), _px(STOP_X[-1.0])
    for y in (-0.12, 0.12, -6.75, 6.75):
        for part in (slice(before), slice(after, None)):
            paint[_py(y) - half : _py(y) + half, part] = 1
    for y in (-3.4, 3.4):
        for x in np.arange(X[0], X[1] - 3, 6.0):
            if x + 3 < STOP_X[1.0] or x > STOP_X[-1.0]:
                paint[_py(y) - half : _py(y) + half, _px(x) : _px(x + 3)] = 1
    for y in np.arange(-KERB_Y + 0.35, KERB_Y - 0.3, 1.0):
        paint[_py(y) : _py(y + 0.5), _px(ZEBRA_X[0]) : _px(ZEBRA_X[1])] = 1
    paint[_py(-6.75) : _py(-0.1), before : before + broad] = 1
    paint[_py(0.1) : _py(6.75), after - broad : after] = 1
    arrow = [(0, -0.07), (1.8, -0.07), (1.8, -0.35), (3.0, 0), (1.8, 0.35), (1.8, 0.07), (0, 0.07)]
    for y, x, way in ((-1.75, 7.0, 1), (-5.1, 7.0, 1), (1.75, 31.0, -1), (5.1, 31.0, -1)):
        shape = np.array([(_px(x + way * a), _py(y + b)) for a, b in arrow], np.int32)
        cv2.fillPoly(paint, [shape], 1.0, cv2.LINE_AA)
    worn = 0.9 - 0.16 * np.abs(textures.cloud(random, h, w, 5)) - 0.22 * (random.random((h, w)) > 0.8)
    worn = np.clip(worn, 0.3, 1)[..., None].astype(np.float32)
    share = cv2.GaussianBlur(paint, (0, 0), 0.7)[..., None] * worn
    picture *= 1 - share
    picture += share * f32(_LINE)


_HALL_PX_M, _SHEET_PX_M, _SHOP_PX_M = 40, 24, 50
_PAINT = (226.0, 178.0, 30.0)


def factory_stage(spec: SceneSpec) -> Stage:
    """The hall, empty."""
    random, px = spec.random("stage"), _SHEET_PX_M
    stage = Stage((HALL_X[0] - 1, HALL_X[1]), HALL_Y, _hall_floor(random), sky=False)
    x0, x1, y0, y1 = *stage.x, *HALL_Y
    wall, end = (_sheet(random, round(long), 8) for long in (x1 - x0, y1 - y0))
    bottom, top, left, right = end.shape[0], end.shape[0] - 4 * px, round(7.1 * px), round(10.9 * px)
    gated = end.astype(np.float32)  # its gate is open
    gated[top:, left:right] = textures.mottled(random, 4 * px, right - left, (34, 36, 40), 1, 1)
    cv2.rectangle(gated, (left, top), (right, bottom), (210.0, 170.0, 30.0), 4)
    length, across, up = f32([x1 - x0, 0, 0]), f32([0, y0 - y1, 0]), f32([0, 0, 8.0])
    stage.panels.append(Panel(f32([x0, y1, 0]), length, up, wall))
    stage.panels.append(Panel(f32([x1, y0, 0]), -length, up, wall))
    stage.panels.append(Panel(f32([x1, y1, 0]), across, up, textures.finished(gated)))
    for y, ways in ((y1, (across, length)), (y0, (length, f32([0, y1 - y0, 0])))):  # the ceiling
        ceiling = textures.mottled(random, 256, 256, (96, 100, 104), 2, 2)
        ceiling[::32, :] = 130
        ceiling[:, ::42] = 62
        stage.panels.append(Panel(f32([x0, y, 8.0]), *ways, textures.finished(ceiling)))
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
    (left, top), (right, bottom) = at(13.5, 3.0), at(18.0, 7.6)
    zone = picture[top:bottom, left:right]
    zone[...] = zone * 0.6 + f32((190, 60, 40)) * 0.4
    gy, gx = np.mgrid[0:h, 0:w]
    rim = np.zeros((h, w), bool)
    rim[top - 12 : bottom + 12, left - 12 : right + 12] = True
    rim[top:bottom, left:right] = False
    striped = ((gx + gy) // 14) % 2 == 0
    picture[rim & striped] = f32(_PAINT)
    picture[rim & ~striped] = 34
    for x in np.arange(8.0, 12.0, 0.8):  # where people cross the aisle
        cv2.rectangle(picture, at(x, -2.2), at(x + 0.4, 2.2), (206.0, 206.0, 200.0), -1)
    wear = np.clip(0.93 + 0.05 * textures.cloud(random, h, w, 30), 0.75, 1.05)
    return textures.finished(picture * wear[..., None])


def _sheet(random: np.random.Generator, width: int, height: int) -> U8:
    px = _SHEET_PX_M
    picture = textures.mottled(random, height * px, width * px, (158, 166, 170), 2, 3)
    ribs = 1 + 0.09 * np.sign(np.sin(np.arange(width * px) * 2 * np.pi / 9))
    picture *= ribs[None, :, None].astype(np.float32)
    picture[-round(1.2 * px) :] *= f32([0.75, 0.78, 0.82])
    picture[2 * px : 3 * px] = picture[2 * px : 3 * px] * 0.4 + 140  # a band of roof light
    return textures.finished(picture)


def shop_stage(spec: SceneSpec) -> Stage:
    """The shop, empty; what lies outside the door has the light of the day."""
    random = spec.random("stage")
    outside = {"day": 1.0, "dusk": 0.5, "night": 0.16}[spec.light] * (0.75 if spec.weather == "rain" else 1.0)
    stage = Stage((-3.0, 17.0), (-9.0, 9.0), _shop_floor(random, outside), sky=False)
    wall = textures.finished(textures.mottled(random, 120, 320, (206, 198, 184), 2, 2))
    front, glow = textures.facade(random, 40.0, 12.0, 20)
    front = textures.finished(f32(front) * np.float32(1.25 * outside))
    gable = textures.finished(textures.mottled(random, 40, 400, (206, 198, 184), 2, 2))
    tiles = textures.mottled(random, 300, 300, (224, 222, 216), 1, 1)
    tiles[::30] *= 0.85
    tiles[:, ::30] *= 0.85
    length, up = f32([FRONT_X + 3.0, 0, 0]), f32([0, 0, 3.8])
    stage.panels += [
        Panel(f32([-3.0, 4.95, 0]), length, up, wall),
        Panel(f32([FRONT_X, -4.95, 0]), -length, up, wall),
        Panel(f32([-3.0, -4.95, 3.6]), length, f32([0, 9.9, 0]), textures.finished(tiles)),
        Panel(f32([FRONT_X, 4.95, 2.7]), f32([0, -9.9, 0]), f32([0, 0, 1.1]), gable),
        Panel(f32([17.0, 20.0, 0]), f32([0, -40, 0]), f32([0, 0, 12.0]), front, glow),
    ]
    return stage


def _shop_floor(random: np.random.Generator, outside: float) -> U8:
    px = _SHOP_PX_M
    h, w, edge = 18 * px, 20 * px, round((FRONT_X + 3.0) * px)
    kerb = edge + round(3.4 * px)
    picture = textures.slabs(random, h, w, (186, 178, 164), (px * 3 // 5, px * 3 // 5))
    paved = textures.slabs(random, h, kerb - edge, (196, 192, 186), (px // 2, px // 2))
    road = textures.mottled(random, h, w - kerb, (112, 112, 114), 7, 3)
    picture[:, edge:kerb] = paved * (1.2 * outside)
    picture[:, kerb:] = road * (1.2 * outside)
    picture[:, kerb : kerb + 8] = 190 * outside
    mat = picture[round(7.6 * px) : round(10.4 * px), edge - round(1.7 * px) : edge - round(0.15 * px)]
    mat[...] = textures.mottled(random, mat.shape[0], mat.shape[1], (62, 64, 70), 9, 2)
    mat[:, ::6] *= 0.8
    reach = round(4.5 * px)  # light that falls in through the glass front fades into the room
    fade = np.linspace(0, 1, reach, dtype=np.float32) ** 2 * (0.22 * outside)
    picture[:, edge - reach : edge] *= 1 + fade[None, :, None]
    return textures.finished(picture)
