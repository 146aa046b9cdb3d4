"""Lines, zones and boxes drawn on a picture, with their names.

Needs OpenCV 5 (the extra ``draw``), which brings letters of nearly all scripts along. Whoever imports this
module checks that it is there.
"""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from sightline.config.zones import Line, Point, Zone
from sightline.entities import F32, U8

#: Blue, green, red.
LINE_COLOUR, ZONE_COLOUR, BOX_COLOUR, TEXT_COLOUR = (
    (0, 200, 255),
    (255, 160, 0),
    (80, 220, 0),
    (255, 255, 255),
)
ZONE_TINT = 0.2  # how much of its colour covers a zone
JPEG_QUALITY = 65  # of live pictures: as good as FFmpeg's 6, for a third of its time
TEXT_SHARE, MIN_TEXT_PX = 1 / 36, 13  # height of letters, by the picture's shorter side
ARROW_TEXTS = 3.0  # length of an arrow, in heights of letters
Rectangle = tuple[int, int, int, int]  # left, top, right, bottom, pixels
GRID = 256  # places inside a zone are told apart by so many rows and columns

cv2.setNumThreads(1)  # the other cores have cameras of their own


def to_bgr(i420: U8) -> U8:
    """A picture to draw on, uint8 [height, width, 3], of I420 [3/2·height, width], limited range."""
    return np.asarray(cv2.cvtColor(i420, cv2.COLOR_YUV2BGR_I420), np.uint8)


def to_i420(bgr: U8) -> U8:
    """The picture, sides even, as :func:`to_bgr` took it."""
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420), np.uint8)


def to_jpeg(bgr: U8) -> bytes:
    """The picture as a JPEG file."""
    _, data = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    return data.tobytes()


def draw_places(picture: U8, lines: Mapping[str, Line], zones: Mapping[str, Zone]) -> None:
    """Draw zones, and lines with an arrow to the side that crossings "in" (forward) lead to, by their names.

    Args:
        picture: uint8 [height, width, 3], BGR, C-contiguous, changed in place.
        lines: by name.
        zones: by name.
    """
    texts: list[tuple[str, Point]] = []  # over everything else
    for name, zone in zones.items():
        corners = _pixels(zone.points, picture)
        left, top = corners.min(axis=0).clip(0).tolist()  # its part of the picture alone is tinted
        right, bottom = corners.max(axis=0).clip(0).tolist()
        part = picture[top : bottom + 1, left : right + 1]
        if part.size:
            tinted = cv2.fillPoly(part.copy(), [corners - (left, top)], ZONE_COLOUR)
            cv2.addWeighted(tinted, ZONE_TINT, part, 1 - ZONE_TINT, 0, dst=part)
        cv2.polylines(picture, [corners], True, ZONE_COLOUR, _stroke_px(picture), cv2.LINE_AA)
        if (place := _deepest(zone.points)) is not None:
            height, width = picture.shape[:2]
            texts.append((name, (place[0] * width, place[1] * height)))
    for name, line in lines.items():
        corners = _pixels(line.points, picture)
        cv2.polylines(picture, [corners], False, LINE_COLOUR, _stroke_px(picture), cv2.LINE_AA)
        texts += _draw_arrow(picture, corners, name)
    taken: list[Rectangle] = []
    for text, place in texts:
        _write(picture, text, place, taken)


def draw_boxes(picture: U8, xyxy: F32, labels: Sequence[str]) -> None:
    """Draw boxes, float32 [N, 4] in 0..1 of the picture, each with its label above it; else as above."""
    taken: list[Rectangle] = []
    for (left, top, right, bottom), label in zip(xyxy.tolist(), labels, strict=True):
        corner, opposite = _pixels([(left, top), (right, bottom)], picture).tolist()
        cv2.rectangle(picture, corner, opposite, BOX_COLOUR, _stroke_px(picture))
        if label:
            _write(picture, label, (corner[0] + _text_px(picture), corner[1] - _text_px(picture)), taken)


def draw_trails(picture: U8, trails: Sequence[Sequence[Point]]) -> None:
    """Draw where each of some objects has come from, points in shares of the picture; else as above."""
    for trail in trails:
        cv2.polylines(picture, [_pixels(trail, picture)], False, BOX_COLOUR, _stroke_px(picture), cv2.LINE_AA)


def draw_caption(picture: U8, text: str) -> None:
    """Write a line at the bottom of the picture; else as above."""
    height, width = picture.shape[:2]
    _write(picture, text, (width / 2, height), [])


def _draw_arrow(picture: U8, corners: NDArray[np.int32], name: str) -> list[tuple[str, Point]]:
    """The arrow of a line, in the middle of the longest piece that is seen; its texts and their places."""
    height, width = picture.shape[:2]
    pieces = [cv2.clipLine((0, 0, width, height), a, b) for a, b in pairwise(corners)]
    seen = [(np.array(a, float), np.array(b, float)) for visible, a, b in pieces if visible]
    if not seen:
        return []
    begin, end = max(seen, key=lambda piece: float(np.hypot(*(piece[1] - piece[0]))))
    x, y = (end - begin) / max(float(np.hypot(*(end - begin))), 1.0)
    ahead = np.array([y, -x]) * ARROW_TEXTS * _text_px(picture)  # to the left, as a viewer sees it
    foot = (begin + end) / 2
    if not ((foot + ahead >= 0) & (foot + ahead < (width, height))).all():  # it would leave the picture
        foot = foot - ahead
    tip = foot + ahead
    start, stop = np.rint([foot, tip]).astype(int).tolist()
    cv2.arrowedLine(picture, start, stop, LINE_COLOUR, _stroke_px(picture), cv2.LINE_AA, tipLength=0.35)
    first = seen[0][0]
    return [(name, (first[0], first[1])), ("in", tuple(tip + ahead / ARROW_TEXTS))]


def _write(picture: U8, text: str, middle: Point, taken: list[Rectangle]) -> None:
    """Write a text around a place, on dark ground, where it is wholly in the picture.

    Where another text is, it goes above or below, as near as there is room; ``taken`` holds where texts are.
    """
    height, width = picture.shape[:2]
    font, size = _font(), _text_px(picture)
    _, top, wide, tall = cv2.getTextSize((width, height), text, (0, 0), font, size)
    x = min(max(round(middle[0] - wide / 2), 0), max(width - wide, 0))
    last = max(height - tall, 0)
    wanted = min(max(round(middle[1] - tall / 2), 0), last)
    beside = [r for r in taken if r[0] < x + wide and x < r[2]]
    free = [
        row
        for row in {wanted, *(r[1] - tall for r in beside), *(r[3] for r in beside)}
        if 0 <= row <= last and not any(r[1] < row + tall and row < r[3] for r in beside)
    ]
    y = min(free, key=lambda row: abs(row - wanted), default=wanted)
    taken.append((x, y, x + wide, y + tall))
    ground = picture[y : y + tall, x : x + wide]
    ground //= 3
    cv2.putText(picture, text, (x, y - top), TEXT_COLOUR, font, size)


@lru_cache(maxsize=1024)
def _deepest(points: tuple[Point, ...]) -> Point | None:
    """The place in a zone that is furthest from its edges and the picture's; None: it cannot be seen."""
    mask = np.zeros((GRID, GRID), np.uint8)
    cv2.fillPoly(mask, [_pixels(points, mask)], 1)
    mask = np.pad(mask, 1)  # beyond the picture is outside
    _, depth, _, (x, y) = cv2.minMaxLoc(cv2.distanceTransform(mask, cv2.DIST_L2, 3))
    return ((x - 1) / GRID, (y - 1) / GRID) if depth > 0 else None


def _pixels(points: Sequence[Point], picture: U8) -> NDArray[np.int32]:
    """Points in shares of the picture as pixels, int32 [N, 2]; 0 and 1 are its first and its last."""
    height, width = picture.shape[:2]
    pixels: NDArray[np.int32] = np.rint(np.array(points) * (width - 1, height - 1)).astype(np.int32)
    return pixels


@cache
def _font() -> cv2.FontFace:
    return cv2.FontFace("sans")


def _text_px(picture: U8) -> int:
    """Height of letters."""
    return max(MIN_TEXT_PX, round(int(min(picture.shape[:2])) * TEXT_SHARE))


def _stroke_px(picture: U8) -> int:
    """Width of lines."""
    return max(1, round(_text_px(picture) / 8))
