"""Array types and small vector helpers that every part of the scenes uses. Metres, seconds, radians."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]


def f32(values: ArrayLike) -> F32:
    """The values as float32."""
    return np.asarray(values, dtype=np.float32)


def xyz(x: ArrayLike, y: ArrayLike, z: ArrayLike) -> F32:
    """Points [..., 3] of coordinates, some of which may be the same for all."""
    return f32(np.stack(np.broadcast_arrays(x, y, z), axis=-1))


def unit(vectors: ArrayLike) -> F32:
    """Vectors [..., 3] scaled to length 1; a zero vector stays zero."""
    v = f32(vectors)
    square = v * v
    length = np.sqrt(square[..., :1] + square[..., 1:2] + square[..., 2:3])
    return f32(v / np.maximum(length, 1e-9))


def cross(a: F32, b: F32) -> F32:
    """Cross products of vectors [..., 3], as many of each; for a few of them NumPy's own is far slower."""
    products = np.empty(a.shape, np.float32)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        products[..., i] = a[..., j] * b[..., k] - a[..., k] * b[..., j]
    return products


def pitch(angle: float) -> F32:
    """Rotation [3, 3] about the y axis that swings a limb hanging along -z forward (+x) for angle > 0."""
    c, s = np.cos(angle), np.sin(angle)
    return f32([[c, 0, -s], [0, 1, 0], [s, 0, c]])


def roll(angle: float) -> F32:
    """Rotation [3, 3] about the x axis: +y turns towards +z."""
    c, s = np.cos(angle), np.sin(angle)
    return f32([[1, 0, 0], [0, c, -s], [0, s, c]])


def linear(*rgb: float) -> F32:
    """An sRGB colour (red, green, blue, 0..255 each) as linear light 0..1, float32 [3]."""
    return f32(np.power(np.asarray(rgb, dtype=np.float64) / 255.0, 2.2))


def palette(colours: str) -> list[F32]:
    """Linear colours of sRGB ones in hexadecimal: ``"ffffff 202020"``."""
    return [linear(*bytes.fromhex(colour)) for colour in colours.split()]
