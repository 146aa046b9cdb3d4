"""Textures made from noise and shapes: asphalt, slabs, facades, plates. uint8 sRGB [h, w, 3], seeded."""

from functools import lru_cache

import cv2
import numpy as np

from sightline.simulation.scenes.arrays import F32, U8, f32

Rgb = tuple[int, int, int]


def cloud(random: np.random.Generator, h: int, w: int, cell: float) -> F32:
    """Smooth noise, mean 0, deviation about 1, with features of ``cell`` pixels."""
    small = random.standard_normal((max(2, round(h / cell) + 2), max(2, round(w / cell) + 2)))
    return f32(cv2.resize(f32(small), (w, h), interpolation=cv2.INTER_CUBIC))


def mottled(random: np.random.Generator, h: int, w: int, colour: Rgb, grain: float, patches: float) -> F32:
    """A surface of one colour with fine grain and broad patches; float32, still to be drawn on."""
    tone = random.standard_normal((h, w)).astype(np.float32) * grain
    for cell in (6, 40, 160):
        tone += cloud(random, h, w, cell) * (patches * (0.5 if cell == 6 else 1.0))
    return f32(f32(colour) + tone[..., None])


def finished(picture: F32) -> U8:
    """Clipped to 0..255."""
    return np.clip(picture, 0, 255).astype(np.uint8)


def stained(picture: F32, random: np.random.Generator, count: int, size: float, strength: float) -> None:
    """Darken soft blots here and there, in place."""
    h, w = picture.shape[:2]
    mask = np.zeros((h, w), np.uint8)
    for _ in range(count):
        centre = int(random.integers(w)), int(random.integers(h))
        axes = int(size * random.uniform(0.3, 1.6)) + 1, int(size * random.uniform(0.2, 0.8)) + 1
        angle, value = float(random.uniform(0, 30)), int(random.integers(60, 255))
        cv2.ellipse(mask, centre, axes, angle, 0, 360, value, -1)
    soft = cv2.GaussianBlur(mask, (0, 0), size / 4 + 0.5).astype(np.float32) / 255
    picture *= 1 - strength * soft[..., None]


def cracked(picture: F32, random: np.random.Generator, count: int, length: int) -> None:
    """Draw dark wandering cracks, in place."""
    h, w = picture.shape[:2]
    for _ in range(count):
        start = random.integers((w, h))
        steps = np.cumsum(random.normal(0, 3.0, (length, 2)) + random.normal(0, 1.5, 2), axis=0)
        line = (steps + start).astype(np.int32)
        cv2.polylines(picture, [line], False, (62.0, 62.0, 64.0), 1, cv2.LINE_AA)


def slabs(random: np.random.Generator, h: int, w: int, colour: Rgb, cell: tuple[int, int]) -> F32:
    """Paving slabs with joints, each slab a little different."""
    picture = mottled(random, h, w, colour, 5, 3)
    rows, columns = h // cell[0] + 1, w // cell[1] + 1
    tones = random.normal(0, 6, (rows, columns)).astype(np.float32)
    picture += np.kron(tones, np.ones(cell, np.float32))[:h, :w, None]
    picture[:: cell[0]] *= 0.74
    picture[:, :: cell[1]] *= 0.74
    return picture


_WALLS: tuple[Rgb, ...] = ((176, 164, 146), (150, 108, 86), (196, 188, 172), (128, 92, 78), (168, 172, 172),
                           (206, 190, 150), (140, 146, 150))  # fmt: skip
_AWNINGS: tuple[Rgb, ...] = ((140, 36, 36), (34, 84, 62), (30, 58, 110), (176, 132, 40), (70, 70, 74))


def facade(random: np.random.Generator, width_m: float, height_m: float, px_m: int) -> tuple[U8, U8]:
    """A house front and which of it is lit at night (uint8 [h, w]): shop below, windows above."""
    h, w = round(height_m * px_m), round(width_m * px_m)
    picture = mottled(random, h, w, _WALLS[int(random.integers(len(_WALLS)))], 4, 3)
    glow = np.zeros((h, w), np.uint8)
    if random.random() < 0.5:  # bricks
        row = max(2, round(0.09 * px_m))
        picture[::row] *= 0.88
        tones = random.normal(0, 7, (h // row + 1, w // (3 * row) + 1)).astype(np.float32)
        picture += np.kron(tones, np.ones((row, 3 * row), np.float32))[:h, :w, None]
    storey, pitch = 3.2, random.uniform(2.2, 3.2)
    count = max(1, int((width_m - 0.8) // pitch))
    margin = (width_m - count * pitch) / 2
    pane = (random.uniform(1.1, 1.6), random.uniform(1.5, 2.0))
    bright, dark = max(2, round(0.16 * px_m)), max(3, round(0.22 * px_m))
    for floor in range(int((height_m - 4.2) // storey)):
        z = 4.4 + floor * storey
        y = h - round(z * px_m) + round(0.3 * px_m)
        picture[max(0, y) : y + bright] *= 1.14
        picture[y + bright : y + dark] *= 0.7
        for i in range(count):
            x = margin + (i + 0.5) * pitch
            _window(picture, glow, random, (x - pane[0] / 2, z + 0.4, *pane), px_m)
    _shop(picture, glow, random, width_m, px_m)
    picture[: round(0.5 * px_m)] *= 0.8
    streaks = cloud(random, 1, w, 12)[0] * cloud(random, h, w, 200)
    return finished(picture - np.abs(streaks)[..., None] * 3), glow


def _window(
    picture: F32, glow: U8, random: np.random.Generator, place: tuple[float, float, float, float], px_m: int
) -> None:
    h = picture.shape[0]
    x0, x1 = round(place[0] * px_m), round((place[0] + place[2]) * px_m)
    y1, y0 = h - round(place[1] * px_m), h - round((place[1] + place[3]) * px_m)
    if y0 < 2:
        return
    rim = max(1, round(0.07 * px_m))
    cv2.rectangle(picture, (x0 - rim, y0 - rim), (x1 + rim, y1 + rim), (222.0, 218.0, 210.0), -1)
    shade = np.linspace(88, 34, y1 - y0, dtype=np.float32)[:, None, None] * f32([0.82, 0.95, 1.08])
    picture[y0:y1, x0:x1] = shade + random.normal(0, 8)
    if random.random() < 0.5:  # curtains
        part = round((x1 - x0) * random.uniform(0.15, 0.3))
        picture[y0:y1, x0 : x0 + part] = picture[y0:y1, x1 - part : x1] = random.uniform(120, 190)
    cv2.line(picture, ((x0 + x1) // 2, y0), ((x0 + x1) // 2, y1), (214.0, 210.0, 204.0), rim)
    sill = (x0 - 2 * rim, y1 + rim), (x1 + 2 * rim, y1 + 2 * rim)
    cv2.rectangle(picture, *sill, (150.0, 146.0, 140.0), -1)
    picture[y1 + 2 * rim : y1 + 3 * rim, x0 - rim : x1 + rim] *= 0.6
    if random.random() < 0.4:
        glow[y0:y1, x0:x1] = int(random.integers(110, 250))


def _shop(picture: F32, glow: U8, random: np.random.Generator, width_m: float, px_m: int) -> None:
    h, w = picture.shape[:2]
    top, bottom = h - round(3.0 * px_m), h - round(0.45 * px_m)
    picture[h - round(3.9 * px_m) :] *= 0.72
    step = random.uniform(2.6, 4.0)
    for x in np.arange(0.5, width_m - 1.5, step):
        x0, x1 = round(x * px_m), min(w - 2, round((x + step - 0.5) * px_m))
        pane = np.linspace(40, 92, bottom - top, dtype=np.float32)[:, None, None] * f32([0.9, 0.97, 1.05])
        picture[top:bottom, x0:x1] = pane
        for _ in range(9):  # goods behind the pane
            a = int(random.integers(x0, max(x0 + 1, x1 - 4)))
            b = int(random.integers(top + (bottom - top) // 3, bottom))
            colour = tuple(float(c) for c in random.uniform(30, 170, 3))
            cv2.rectangle(picture, (a, b), (min(a + px_m // 3, x1 - 1), bottom - 2), colour, -1)
        cv2.rectangle(picture, (x0, top), (x1, bottom), (52.0, 50.0, 48.0), max(1, px_m // 14))
        glow[top:bottom, x0:x1] = int(random.integers(90, 255)) if random.random() < 0.7 else 20
    if random.random() < 0.8:
        y, band, edge = h - round(3.7 * px_m), max(2, round(0.65 * px_m)), round(0.3 * px_m)
        picture[y : y + band, edge : w - edge] = f32(_AWNINGS[int(random.integers(len(_AWNINGS)))])
        for x in np.arange(0.8, width_m - 1.0, 0.35):  # an illegible name
            if random.random() < 0.75:
                a = round(x * px_m)
                letter = (a, y + band // 3), (a + px_m // 5, y + 2 * band // 3)
                cv2.rectangle(picture, *letter, (226.0, 222.0, 214.0), -1)
        picture[y + band : y + band + max(1, px_m // 10)] *= 0.5


@lru_cache(256)
def plate_light(text: str) -> F32:
    """A number plate, linear float32 [30, 120, 3]: black on white with a blue strip and a border."""
    big = np.full((120, 480, 3), 236, np.uint8)
    cv2.rectangle(big, (3, 3), (476, 116), (20, 20, 20), 5)
    big[6:114, 6:44] = (20, 50, 150)
    width = 420 / max(len(text), 1)
    for i, letter in enumerate(text):
        at, font, ink = (round(54 + i * width), 98), cv2.FONT_HERSHEY_DUPLEX, (12, 12, 14)
        cv2.putText(big, letter, at, font, 3.1, ink, 9, cv2.LINE_AA)
    return f32((cv2.resize(big, (120, 30), interpolation=cv2.INTER_AREA) / 255.0) ** 2.2)
