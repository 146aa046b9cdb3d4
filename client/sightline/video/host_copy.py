"""A host's copy of a picture that is not there as planes: on a GPU, say, or of more than 8 bits."""

from __future__ import annotations

import numpy as np
from av.video.reformatter import VideoReformatter

from sightline.entities import U8, Picture

_VALUES = np.arange(256)
_LUMA = np.clip(np.rint((_VALUES - 16) * (255 / 219)), 0, 255).astype(np.uint8)
_CHROMA = np.clip(np.rint((_VALUES - 128) * (255 / 224) + 128), 0, 255).astype(np.uint8)
SMALL_PX = 128  # width of what is made to look at


class HostCopy:
    """A picture in the host's memory. Made by the thread that owns the picture; any may read it."""

    def __init__(self, picture: Picture) -> None:
        self._limited = written(picture, picture.width // 2 * 2, picture.height // 2 * 2)

    def copy_full_range(self, _scaler: VideoReformatter) -> U8:
        """Uint8 [3/2·height, width], I420, BT.601, 0..255."""
        return full_range(self._limited)


def full_range(i420: U8) -> U8:
    """A picture of limited range, uint8 [3/2·height, width], as JPEG wants it: 0..255."""
    luma = len(i420) * 2 // 3
    return np.concatenate([_LUMA[i420[:luma]], _CHROMA[i420[luma:]]])


def small_luma(picture: Picture) -> U8:
    """The luma of a picture, scaled to a width of 128: uint8 [height, 128]."""
    height = max(2, round(picture.height * SMALL_PX / picture.width / 2) * 2)
    return written(picture, SMALL_PX, height)[:height]


def written(picture: Picture, width: int, height: int) -> U8:
    """The picture at another size (both sides even), uint8 [3/2·height, width], limited range."""
    out = np.empty((height * 3 // 2, width), np.uint8)
    picture.write_i420(out)
    return out
