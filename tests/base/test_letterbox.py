"""The grey border: even, centred, undone exactly."""

import numpy as np
import pytest

from sightline.base.letterbox import fit_box, letterbox_i420, letterboxed, picture_size, undo_letterbox
from sightline.serving.runtime import numerics
from support.fakes import GreyPicture

NETWORK = (192, 320)


def frame_of(height, width, seed=0):
    """A smooth picture: chroma and luma differ from place to place."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 230, (height * 3 // 2 // 6 + 1, width // 10 + 1), np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((6, 10), np.uint8))[: height * 3 // 2, :width])


@pytest.mark.parametrize("shape", [(7, 4), (6, 5), (0, 4), (6,), (1, 6, 4), (3, 0)])
def test_a_shape_that_is_no_picture_is_refused_with_what_is_needed(shape):
    with pytest.raises(ValueError, match=r"3/2·height"):
        picture_size(shape)


def test_a_picture_larger_than_the_network_is_refused():
    with pytest.raises(ValueError, match="does not fit the network's 320x192"):
        letterbox_i420(frame_of(194, 320), NETWORK)


def test_a_picture_that_fills_the_network_is_not_copied():
    frame = frame_of(*NETWORK)
    padded, box = letterbox_i420(frame, NETWORK)
    assert padded is frame
    assert box == (0, 0, 320, 192)


@pytest.mark.parametrize("size", [(180, 320), (192, 256), (2, 2), (178, 318), (190, 314)])
def test_the_letterbox_is_grey_and_even_and_holds_the_picture_unchanged(size):
    frame = frame_of(*size)
    padded, (left, top, width, height) = letterbox_i420(frame, NETWORK)
    assert (height, width) == size
    assert left % 2 == top % 2 == 0
    assert abs(NETWORK[1] - width - 2 * left) <= 2
    assert abs(NETWORK[0] - height - 2 * top) <= 2
    whole = numerics.network_input(padded)
    inside = np.zeros(NETWORK, bool)
    inside[top : top + size[0], left : left + size[1]] = True
    np.testing.assert_array_equal(
        whole[:, inside].reshape(3, *size), numerics.network_input(frame), strict=True
    )
    np.testing.assert_allclose(whole[:, ~inside], 114 / 255, atol=0.5 / 255)


def test_a_camera_s_picture_is_scaled_into_the_box_that_fits_its_aspect_ratio():
    assert fit_box(1920, 1080, (384, 640)) == (0, 12, 640, 360)
    frame, box = letterboxed(GreyPicture(1080, 1920, level=200), NETWORK)
    assert box == (106, 0, 108, 192)
    assert (frame[0, 106], frame[0, 105], frame[0, 213], frame[0, 214]) == (200, 114, 200, 114)


def test_boxes_come_back_in_shares_of_the_picture_and_clipped_to_it():
    box = (0, 6, 320, 180)
    xyxy = np.array([[0.0, 6 / 192, 1.0, 186 / 192], [0.25, 96 / 192, 0.5, 1.0]], np.float32)
    np.testing.assert_allclose(
        undo_letterbox(xyxy, box, NETWORK), [[0, 0, 1, 1], [0.25, 0.5, 0.5, 1]], atol=1e-6
    )
