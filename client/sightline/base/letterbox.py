"""A picture centred on grey in the network's input, and boxes brought back from there.

The client writes every picture in this form, so that all requests have one shape; training, evaluation and
the tests do the same by the same functions.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from sightline.base.geometry import fit_size
from sightline.entities import F32, U8, Box, Picture

#: Grey 114 in RGB is (114, 128, 128) in limited-range BT.601: 1.164 · (114 - 16) = 114.
PAD_Y, PAD_UV = 114, 128


def picture_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the picture in an I420 array [3/2·height, width]; ValueError: there is none."""
    if len(shape) != 2 or min(shape) < 2 or shape[0] % 3 or shape[1] % 2:
        raise ValueError(
            f"frame {list(shape)} is no I420 picture: its shape must be [3/2·height, width], both sides even"
        )
    return shape[0] // 3 * 2, shape[1]


@lru_cache(maxsize=256)
def fit_box(width: int, height: int, network: tuple[int, int]) -> Box:
    """Where a picture of any size lies in an input of ``network`` (height, width) once scaled to fit."""
    width, height = fit_size(width, height, network[1], network[0])
    return place_box((height, width), network)


def place_box(size: tuple[int, int], network: tuple[int, int]) -> Box:
    """Where a picture of ``size`` lies in an input of ``network``, centred; both are (height, width).

    Left and top are even, since a chroma sample covers 2x2 pixels; an odd half margin is rounded down.
    ValueError: the picture is larger than the input.
    """
    if size[0] > network[0] or size[1] > network[1]:
        raise ValueError(
            f"picture {size[1]}x{size[0]} does not fit the network's {network[1]}x{network[0]}: "
            "scale it to fit before sending"
        )
    return (network[1] - size[1]) // 4 * 2, (network[0] - size[0]) // 4 * 2, size[1], size[0]


def split_i420(frame: Any, box: Box | None = None) -> tuple[Any, Any, Any]:
    """The Y [h, w], U and V [h/2, w/2] planes of a contiguous I420 picture, or of its part ``box``, as views.

    ``frame`` is uint8 [3/2·height, width], of numpy or of a module that is called like it.
    """
    rows, columns = picture_size(frame.shape)
    flat, size, half = frame.reshape(-1), rows * columns, (rows // 2, columns // 2)
    y = flat[:size].reshape(rows, columns)
    u, v = flat[size : size * 5 // 4].reshape(half), flat[size * 5 // 4 :].reshape(half)
    if box is None:
        return y, u, v
    left, top, width, height = box
    part = slice(top // 2, (top + height) // 2), slice(left // 2, (left + width) // 2)
    return y[top : top + height, left : left + width], u[part], v[part]


def fill_border(frame: Any, box: Box) -> None:
    """Make everything around ``box`` grey."""
    for plane, grey, unit in zip(split_i420(frame), (PAD_Y, PAD_UV, PAD_UV), (1, 2, 2), strict=True):
        left, top, width, height = (side // unit for side in box)
        plane[:top] = plane[top + height :] = grey
        plane[top : top + height, :left] = plane[top : top + height, left + width :] = grey


def letterbox_i420(frame: U8, network: tuple[int, int]) -> tuple[U8, Box]:
    """Put an I420 picture that fits in the middle of an input of ``network`` (height, width), on grey.

    Returns I420, uint8 [3/2·network height, network width] (``frame`` itself when it fills the input), and
    where the picture lies in it. ValueError: ``frame`` is no I420 picture, or too large.
    """
    size = picture_size(frame.shape)
    box = place_box(size, network)
    if size == network:
        return frame, box
    padded = np.empty((network[0] // 2 * 3, network[1]), np.uint8)
    fill_border(padded, box)
    for part, plane in zip(split_i420(padded, box), split_i420(frame), strict=True):
        part[:] = plane
    return padded, box


def letterboxed(picture: Picture, network: tuple[int, int]) -> tuple[U8, Box]:
    """A picture of any size as the network takes it: as of :func:`letterbox_i420`."""
    frame = np.empty((network[0] // 2 * 3, network[1]), np.uint8)
    box = fit_box(picture.width, picture.height, network)
    fill_border(frame, box)
    picture.write_i420(frame, box)
    return frame, box


def undo_letterbox(xyxy: F32, box: Box, network: tuple[int, int]) -> F32:
    """Boxes [N, 4] in 0..1 of the network's input as boxes in 0..1 of the picture in ``box``, clipped."""
    scale, offset = _undoing(box, network)
    inside: F32 = xyxy * scale
    inside -= offset
    return np.clip(inside, 0, 1, out=inside)


@lru_cache(maxsize=256)
def _undoing(box: Box, network: tuple[int, int]) -> tuple[F32, F32]:
    """What coordinates are multiplied by, and what is then subtracted: float32 [4] each."""
    corner, size = np.array(box[:2] * 2, np.float32), np.array(box[2:] * 2, np.float32)
    return np.array((network[1], network[0]) * 2, np.float32) / size, corner / size
