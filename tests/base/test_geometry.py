"""Sizes and overlaps."""

import numpy as np
import pytest

from sightline.base.geometry import fit_size, iou_matrix


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((1920, 1080), (640, 360)),
        ((768, 432), (640, 360)),
        ((640, 480), (512, 384)),
        ((320, 180), (320, 180)),
        ((1080, 1920), (216, 384)),
        ((4000, 2), (640, 2)),
        ((641, 385), (640, 384)),
    ],
)
def test_the_picture_fits_and_is_even(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert fit_size(*size, 640, 384) == fitted


def test_overlap() -> None:
    a = np.array([[0, 0, 1, 1], [0, 0, 0, 0]], np.float32)
    b = np.array([[0, 0, 1, 1], [0.5, 0, 1.5, 1], [2, 2, 3, 3]], np.float32)
    assert iou_matrix(a, b) == pytest.approx(np.array([[1, 1 / 3, 0], [0, 0, 0]]))
