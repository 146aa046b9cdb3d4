"""A time code in the picture: two rows of black and white cells in the lower left corner.

80 bits: a fixed mark (8), the scene's time in milliseconds (32), wall-clock time in milliseconds modulo
2^32 (32; 0 when the picture was not made live), and a CRC-8. A cell is 8 x 8 pixels in a picture 640 wide,
so that it fills whole blocks of the usual codecs; wider pictures have larger cells.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.entities import U8

MARK = 0b10110010
COLUMNS, ROWS = 40, 2
BLACK, WHITE = 24, 232
WRAP_MS = 1 << 32


@dataclass(frozen=True, slots=True)
class TimeCode:
    """What a picture says of its time."""

    scene_ms: int  # milliseconds since the scene's start
    utc_ms: int = 0  # milliseconds since 1970, modulo 2^32, when it was drawn live; else 0


def cell_px(width: int) -> int:
    """Side of a cell in a picture of this width."""
    return max(4, 8 * max(1, round(width / 640))) if width >= 480 else 4


def draw(picture: U8, code: TimeCode) -> None:
    """Write the code into a picture, uint8 [h, w] or [h, w, 3], in place; times are taken modulo 2^32."""
    body = struct.pack(">II", code.scene_ms % WRAP_MS, code.utc_ms % WRAP_MS)
    bits = np.unpackbits(np.frombuffer(bytes([MARK, *body, _crc8(body)]), np.uint8))
    side = cell_px(picture.shape[1])
    cells = np.where(bits.reshape(ROWS, COLUMNS), WHITE, BLACK).astype(np.uint8)
    block = np.kron(cells, np.ones((side, side), np.uint8))
    h, w = block.shape
    corner = picture[picture.shape[0] - h :, :w]
    corner[...] = block if picture.ndim == 2 else block[..., None]


def read(picture: NDArray[np.uint8]) -> TimeCode | None:
    """The code in a picture, grey (or the Y plane) [h, w] or colour [h, w, 3]; None when none can be read."""
    grey = picture if picture.ndim == 2 else picture.mean(axis=2)
    side = cell_px(grey.shape[1])
    h, w = ROWS * side, COLUMNS * side
    if grey.shape[0] < h or grey.shape[1] < w:
        return None
    corner = grey[grey.shape[0] - h :, :w].astype(np.float32).reshape(ROWS, side, COLUMNS, side)
    edge = side // 4  # a cell's rim takes colour from its neighbours
    means = corner[:, edge : side - edge, :, edge : side - edge].mean(axis=(1, 3)).ravel()
    mark, *body, check = np.packbits(means > (means.min() + means.max()) / 2).tobytes()
    if mark != MARK or check != _crc8(bytes(body)):
        return None
    return TimeCode(*struct.unpack(">II", bytes(body)))


def _crc8(body: bytes) -> int:
    """CRC-8 (polynomial x^8 + x^2 + x + 1), started at 0xFF."""
    value = 0xFF
    for byte in body:
        value ^= byte
        for _ in range(8):
            value = (value << 1) & 0xFF ^ (0x07 if value & 0x80 else 0)
    return value
