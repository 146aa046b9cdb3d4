"""Generated pictures as training examples: which, what part of them, and how they are changed. Plain numpy.

Objects that are nearly wholly hidden, or so small that they are a few pixels, are *ignored*: finding them is
neither right nor wrong, in training and in evaluation alike (:func:`ignored`).
"""

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sightline.base.letterbox import PAD_Y, letterbox_i420, split_i420
from training.generate import CLASSES

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

NETWORK = (384, 640)
#: Of an object's pixels in the picture, how many may be hidden; its box's shorter side and area, in pixels.
MAX_HIDDEN, MIN_SIDE_PX, MIN_AREA_PX = 0.8, 5.0, 100.0
#: What a crop leaves of an object's box, at least, for it to be an object there.
MIN_LEFT = 0.2
SCALES = (-0.7, 0.4)  # logarithms of the smallest and the largest
PICTURE, CLASS, FULL, OCCLUSION = 0, 1, slice(2, 6), 10  # columns of the boxes


class Objects(NamedTuple):
    """What is in one picture.

    Attributes:
        xyxy: float32 [N, 4], pixels; class_ids: int64 [N].
        ignored: bool [N]: neither to be found nor to be denied.
    """

    xyxy: F32
    class_ids: NDArray[np.int64]
    ignored: NDArray[np.bool_]


class Example(NamedTuple):
    """RGB uint8 [height, width, 3] and what is in it."""

    picture: U8
    objects: Objects


def ignored(rows: F32) -> NDArray[np.bool_]:
    """Which rows of boxes [N, 12] are neither right nor wrong to be found."""
    size = rows[:, 4:6] - rows[:, 2:4]
    small = (size.min(axis=1) < MIN_SIDE_PX) | (size.prod(axis=1) < MIN_AREA_PX)
    result: NDArray[np.bool_] = small | (rows[:, OCCLUSION] > MAX_HIDDEN)
    return result


class Pictures:
    """All pictures of a folder, by number; they stay on the disk."""

    def __init__(self, folder: Path) -> None:
        self.files = [path.with_suffix(".npy") for path in sorted(folder.glob("[!.]*.npz"))]
        tables = [np.load(path.with_suffix(".npz"))["boxes"] for path in self.files]
        self._open = [np.load(path, mmap_mode="r") for path in self.files]
        self.places = [(f, i) for f, stack in enumerate(self._open) for i in range(len(stack))]
        self.rows = [tables[f][tables[f][:, PICTURE] == i] for f, i in self.places]
        counts = np.bincount(np.concatenate(tables)[:, CLASS].astype(int), minlength=len(CLASSES))
        self.weights = np.maximum(counts, 1.0) ** -0.6  # of the classes, when a crop is chosen

    def __len__(self) -> int:
        return len(self.places)

    def frame(self, number: int) -> tuple[U8, F32]:
        """The picture as the network gets it, I420, and its boxes in network pixels."""
        f, i = self.places[number]
        frame, box = letterbox_i420(np.asarray(self._open[f][i]), NETWORK)
        rows = self.rows[number].copy()
        rows[:, FULL] += np.array(box[:2] * 2, np.float32)
        return frame, rows

    def shares(self) -> NDArray[np.float64]:
        """How often to take each picture: those with rare classes more often, as LVIS has it."""
        present = np.zeros((len(self), len(CLASSES)))
        for number, rows in enumerate(self.rows):
            present[number, rows[~ignored(rows), CLASS].astype(int)] = 1
        wanted = np.maximum(1.0, 0.6 / np.maximum(present.mean(axis=0), 0.01)) ** 0.8
        weight = np.maximum(1.0, (present * wanted).max(axis=1)) * np.where(present.any(axis=1), 1.0, 0.4)
        shares: NDArray[np.float64] = weight / weight.sum()
        return shares


def crop_example(
    pictures: Pictures, number: int, size: tuple[int, int], random: np.random.Generator
) -> Example:
    """A part of a picture, changed at random; ``size`` is height and width of the example."""
    frame, rows = pictures.frame(number)
    scale = 1.0 if size == NETWORK or random.random() < 0.45 else float(np.exp(random.uniform(*SCALES)))
    height, width = (
        min(int(side / scale) // 2 * 2, whole) for side, whole in zip(size, NETWORK, strict=True)
    )
    top, left = place_crop(rows, pictures.weights, (height, width), random)
    picture: NDArray[Any] = rgb(frame, top, left, height, width)
    shown = min(round(height * scale), size[0]), min(round(width * scale), size[1])
    if shown != (height, width):
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        picture = cv2.resize(picture, (shown[1], shown[0]), interpolation=how)
    margin = [int(random.integers(whole - side + 1)) for whole, side in zip(size, shown, strict=True)]
    objects = objects_of(rows, (left, top, width, height), (shown[1] / width, shown[0] / height))
    objects.xyxy[:] += np.array([margin[1], margin[0]] * 2, np.float32)
    canvas = np.full((*size, 3), PAD_Y, np.uint8)
    canvas[margin[0] : margin[0] + shown[0], margin[1] : margin[1] + shown[1]] = changed(picture, random)
    return mirrored(canvas, objects) if random.random() < 0.5 else Example(canvas, objects)


def place_crop(
    rows: F32, weights: NDArray[np.float64], size: tuple[int, int], random: np.random.Generator
) -> tuple[int, int]:
    """Top and left of a crop, even; four of five hold an object's middle, one of a rare class rather."""
    room = NETWORK[0] - size[0], NETWORK[1] - size[1]
    shown = rows[~ignored(rows)]
    if len(shown) and random.random() < 0.8:
        weight = weights[shown[:, CLASS].astype(int)]
        x0, y0, x1, y1 = shown[int(random.choice(len(shown), p=weight / weight.sum())), FULL]
        middle = (y0 + y1) / 2, (x0 + x1) / 2
        corner = [m - random.uniform(0.1, 0.9) * side for m, side in zip(middle, size, strict=True)]
    else:
        corner = [random.uniform(0, space) for space in room]
    top, left = (int(np.clip(c, 0, space)) // 2 * 2 for c, space in zip(corner, room, strict=True))
    return top, left


def rgb(frame: U8, top: int, left: int, height: int, width: int) -> U8:
    """RGB of a part of an I420 picture; all numbers even."""
    y, u, v = split_i420(frame)
    half = slice(top // 2, (top + height) // 2), slice(left // 2, (left + width) // 2)
    planes = y[top : top + height, left : left + width], u[half], v[half]
    part = np.concatenate([plane.ravel() for plane in planes]).reshape(height * 3 // 2, width)
    return cv2.cvtColor(part, cv2.COLOR_YUV2RGB_I420).astype(np.uint8, copy=False)


def objects_of(rows: F32, crop: tuple[int, int, int, int], scale: tuple[float, float]) -> Objects:
    """What of the boxes is in a crop (left, top, width, height), in the pixels of the example."""
    left, top, width, height = crop
    boxes = rows[:, FULL] - np.array([left, top, left, top], np.float32)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    cut = boxes.clip(0, np.array([width, height, width, height], np.float32))
    size = cut[:, 2:] - cut[:, :2]
    kept = (size > 1).all(axis=1)
    cut = cut * np.array([*scale, *scale], np.float32)
    changed_rows = rows.copy()
    changed_rows[:, FULL] = cut
    dim = ignored(changed_rows) | (size.prod(axis=1) < MIN_LEFT * area)
    return Objects(cut[kept].astype(np.float32), rows[kept, CLASS].astype(np.int64), dim[kept])


def changed(picture: U8, random: np.random.Generator) -> U8:
    """Another exposure, colour, sharpness and noise."""
    levels = np.arange(256, dtype=np.float32) / 255
    gamma, gain = np.exp(random.uniform(-0.25, 0.25)), np.exp(random.uniform(-0.25, 0.2))
    tint = np.exp(random.normal(0, 0.04, 3))
    curve = np.clip(levels[:, None] ** gamma * gain * tint * 255, 0, 255).astype(np.uint8)
    result: NDArray[Any] = cv2.LUT(picture, curve[:, None, :])
    if random.random() < 0.3:
        grey = cv2.cvtColor(cv2.cvtColor(result, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        share = float(random.uniform(0.5, 1.0)) if random.random() < 0.8 else 0.0
        result = cv2.addWeighted(result, share, grey, 1 - share, 0)
    if random.random() < 0.12:
        result = cv2.GaussianBlur(result, (3, 3), float(random.uniform(0.4, 1.1)))
    if random.random() < 0.2:
        noise = cv2.randn(np.empty(result.shape, np.int16), np.zeros(3), np.full(3, random.uniform(2, 8)))
        result = np.clip(result.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    return result


def mirrored(picture: U8, objects: Objects) -> Example:
    """Left and right exchanged."""
    boxes = objects.xyxy.copy()
    boxes[:, [0, 2]] = picture.shape[1] - objects.xyxy[:, [2, 0]]
    return Example(np.ascontiguousarray(picture[:, ::-1]), objects._replace(xyxy=boxes))
