"""How a decoded picture is to be shown: turned, mirrored, its pixels stretched, as every player does it."""

import cmath
import math
import struct
from dataclasses import dataclass
from typing import Any

from av.video.frame import VideoFrame

MAX_PIXEL_ASPECT = 4.0  # the widest known is 2.9; beyond it, or below its inverse, it is a mistake


@dataclass(frozen=True, slots=True)
class Display:
    """Right angles and mirrors, and the shape of a decoded pixel."""

    transposed: bool = False  # rows become columns, before it is mirrored
    mirrored: bool = False
    upside_down: bool = False
    pixel_aspect: float = 1.0  # width of a decoded pixel by its height

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height in square pixels of a picture of that size as it is shown; no side is shrunk."""
        width, height = round(width * max(self.pixel_aspect, 1)), round(height / min(self.pixel_aspect, 1))
        return (height, width) if self.transposed else (width, height)

    def as_decoded(self, plane: Any) -> Any:
        """A view of a plane of the shown picture, [h, w] of numpy or CuPy, as it lies in the decoded one."""
        plane = plane[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]
        return plane.T if self.transposed else plane


AS_DECODED = Display()


def _matrix(frame: VideoFrame) -> tuple[float, float, float, float]:
    """(a, b, c, d): but for a shift, a decoded point (x, y) is shown at (a·x + c·y, b·x + d·y)."""
    try:
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    except (
        ValueError
    ):  # it carries something that PyAV does not know, as EXIF; then PyAV tells the angle alone
        turn = cmath.rect(1, -math.radians(frame.rotation))
        return turn.real, turn.imag, -turn.imag, turn.real
    if matrix is None:
        return 1, 0, 0, 1
    a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
    return a, b, c, d


def display_of(frame: VideoFrame, pixel_aspect: float) -> Display:
    """What a frame's display matrix says, to the nearest right angle; :data:`AS_DECODED` for nearly all.

    ``pixel_aspect`` 0 is unknown.
    """
    if not 1 / MAX_PIXEL_ASPECT <= pixel_aspect <= MAX_PIXEL_ASPECT:
        pixel_aspect = 1.0
    a, b, c, d = _matrix(frame)
    transposed = abs(b) > abs(a)
    across, down = (c, b) if transposed else (a, d)
    display = Display(transposed, across < 0, down < 0, pixel_aspect)
    return AS_DECODED if display == AS_DECODED else display
