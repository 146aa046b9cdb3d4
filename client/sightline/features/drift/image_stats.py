"""A picture in a few numbers: its light and its sharpness. No person can be recognised in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.entities import U8, Frame
from sightline.video.host_copy import small_luma
from sightline.video.picture import YuvPicture

LUMA_BINS = 16
DARK, DIM = 60.0, 95.0  # mean luma (limited range, 16 is black and 235 white) below which it is so
_POINTS = 4096  # of a picture that are measured


@dataclass(frozen=True, slots=True)
class ImageStats:
    """One picture's numbers.

    Attributes:
        luma: float64 [16], share of its points in each sixteenth of 0..255.
        mean: mean luma, 0..255.
        sharpness: mean step between neighbours in a row, divided by the spread of luma; falls with blur.
    """

    luma: NDArray[np.float64]
    mean: float
    sharpness: float

    @property
    def light(self) -> str:
        """``dark``, ``dim`` or ``bright``."""
        if self.mean < DARK:
            return "dark"
        return "dim" if self.mean < DIM else "bright"


def measure_frame(frame: Frame) -> ImageStats:
    """Measure a frame. Called by the thread that may scale its picture."""
    picture = frame.picture
    luma = picture.luma() if isinstance(picture, YuvPicture) else None
    return measure_luma(small_luma(picture) if luma is None else luma)


def measure_luma(luma: U8) -> ImageStats:
    """Measure a luma plane, uint8 [height, width], by about 4096 of its points."""
    height, width = luma.shape
    step = max(1, int((height * width / _POINTS) ** 0.5))
    points = luma[::step, : width - 1 : step].astype(np.int16)
    neighbours = luma[::step, 1::step].astype(np.int16)[:, : points.shape[1]]
    steps = float(np.abs(neighbours - points[:, : neighbours.shape[1]]).mean())
    counted = np.bincount(points.reshape(-1) >> 4, minlength=LUMA_BINS) / points.size
    return ImageStats(counted, float(points.mean()), steps / (float(points.std()) + 1.0))
