"""A look at a camera's picture: small and grey, with its edges and how fine they are."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.entities import F32, U8, Picture
from sightline.features.drift.hourly_stats import DARK, DIM
from sightline.video.picture import written

C64 = NDArray[np.complex64]
Mask = NDArray[np.bool_]
WIDTH = 160  # of the grey picture; it is looked at twice as wide
CELL_PX = 16  # side of a cell of the grey picture, about
_PAD = 8
COLOURLESS = 1.5  # mean distance of chroma from grey, below which a picture is that of infrared light


@dataclass(frozen=True, slots=True)
class Look:
    """One picture."""

    time: float  # capture time
    fine: U8  # uint8 [2h, 320], luma of limited range
    grey: F32  # float32 [h, 160], means of 2 × 2 of its values
    edges: C64  # complex64 [h, 160], see :func:`edges_of`
    fineness: F32  # float32 [rows, columns], see :func:`_fineness`
    light: str  # by which references are told apart

    @property
    def contrast(self) -> float:
        """Standard deviation of grey levels."""
        return float(self.grey.std())


def take_look(picture: Picture, time: float) -> Look:
    """Look at a frame's picture. Called by the thread that may scale it."""
    height = max(CELL_PX, round(WIDTH * picture.height / picture.width / 2) * 2)
    planes = written(picture, 2 * WIDTH, 2 * height)
    fine, chroma = planes[: 2 * height], planes[2 * height :]
    grey = halved(fine.astype(np.float32))
    mean, colour = float(grey.mean()), float(np.abs(chroma.astype(np.int16) - 128).mean())
    light = "night" if mean < DARK else "dusk" if mean < DIM else "day"
    light += "-grey" if colour < COLOURLESS else ""
    return Look(time, fine, grey, edges_of(grey), _fineness(fine, grey), light)


def halved(grey: F32) -> F32:
    """Means of 2 × 2 values; an odd last row or column is left out."""
    rows, columns = (side // 2 * 2 for side in grey.shape)
    lines = grey[:rows:2, :columns] + grey[1:rows:2, :columns]
    return np.asarray((lines[:, ::2] + lines[:, 1::2]) / 4, np.float32)


def edges_of(grey: F32) -> C64:
    """Edges: their strength (levels a pixel) as magnitude, twice their direction as angle.

    Twice, so that an edge from dark to bright is the same as one from bright to dark: infrared light turns
    some of them round.
    """
    smooth: list[NDArray[Any]] = [np.pad(grey, _PAD, mode="edge")]
    for reach in (1, 2, 4):  # binomial, each twice as wide as the one before
        values = smooth[-1]
        for axis in (0, 1):
            values = (np.roll(values, reach, axis) + 2 * values + np.roll(values, -reach, axis)) / 4
        smooth.append(values)
    band = smooth[1] - smooth[3]  # neither the noise of single pixels, nor a fold, a shadow or a lamp's shine
    inner, before, after = (slice(_PAD + by, by - _PAD) for by in (0, -1, 1))
    across = (band[inner, after] - band[inner, before]) / 2
    down = (band[after, inner] - band[before, inner]) / 2
    gradient = across + 1j * down
    return np.asarray(gradient * gradient / np.maximum(np.abs(gradient), 1e-3), np.complex64)


def cell_means(values: NDArray[Any]) -> F32:
    """Means over cells of about 16 × 16 values of an array as large as the grey picture: [rows, columns]."""
    sums = values
    for axis, size in enumerate(values.shape):
        starts = np.linspace(0, size, max(1, round(size / CELL_PX)) + 1).astype(int)
        counts = np.diff(starts).astype(np.float32)
        sums = np.add.reduceat(sums, starts[:-1], axis=axis) / (counts[:, None] if axis == 0 else counts)
    return np.asarray(sums, np.float32)


def _fineness(fine: U8, grey: F32) -> F32:
    """By cell, the steepest steps of the picture at 320 pixels by those at 80: falls when it is not sharp.

    Fourth powers, so that edges count and the noise of flat places does not.
    """
    steep, coarse = halved(_steps(fine.astype(np.float32))), _steps(halved(grey))
    coarse = coarse.repeat(2, 0).repeat(2, 1)
    return np.asarray(cell_means(steep) ** 0.25 / (cell_means(coarse) ** 0.25 + 0.25), np.float32)


def _steps(values: F32) -> F32:
    """Fourth powers of the steps to the left and to the upper neighbour, added up."""
    steps = np.zeros(values.shape, np.float32)
    steps[:, 1:] += np.square(np.square(np.diff(values, axis=1)))
    steps[1:] += np.square(np.square(np.diff(values, axis=0)))
    return steps
