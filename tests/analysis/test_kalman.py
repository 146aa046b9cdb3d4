"""The filter: what it believes does not depend on the frame rate, and it finds speeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.analysis.tracking.kalman import BoxFilter, MotionModel, from_xyxy, to_xyxy

BELIEF = ("mean", "velocity", "mean_var", "cross_var", "velocity_var")


def moving(model: MotionModel | None = None) -> BoxFilter:
    boxes = BoxFilter(model or MotionModel())
    boxes.add(
        np.array([[0.2, 0.5, 0.04, 0.2], [0.7, 0.4, 0.2, 0.1]]).T, np.array([[0.1, 0.0, 0.0, 0.01]] * 2).T
    )
    return boxes


@pytest.mark.parametrize("steps", [2, 6, 30])
def test_many_short_steps_are_one_long_step(steps):
    long, short = moving(), moving()
    # The spread follows the size of the box, which must not change for the two to be comparable.
    for boxes in (long, short):
        boxes.velocity[2:] = 0
    long.predict(0.2)
    for _ in range(steps):
        short.predict(0.2 / steps)
    for name in BELIEF:
        np.testing.assert_allclose(getattr(long, name), getattr(short, name), rtol=1e-6, atol=1e-12)


def test_no_time_changes_nothing():
    boxes, before = moving(), moving()
    boxes.predict(0.0)
    for name in BELIEF:
        np.testing.assert_allclose(getattr(boxes, name), getattr(before, name), atol=1e-15)


@pytest.mark.parametrize("fps", [5, 10, 15, 30])
def test_a_steady_speed_is_found_at_any_rate(fps):
    boxes = BoxFilter(MotionModel())
    start, speed = np.array([[0.1, 0.5, 0.04, 0.2]]).T, np.array([[0.2, -0.05, 0.0, 0.0]]).T
    boxes.add(start)
    for frame in range(1, 2 * fps + 1):
        boxes.predict(1 / fps)
        boxes.update(np.array([0]), start + speed * frame / fps)
    np.testing.assert_allclose(boxes.velocity[:2], speed[:2], atol=0.01)
    np.testing.assert_allclose(boxes.mean, start + 2 * speed, atol=0.005)


def test_a_velocity_is_forgotten():
    boxes = moving()
    boxes.predict(1000.0)
    assert np.abs(boxes.velocity).max() < 1e-6
    assert boxes.mean[0, 0] == pytest.approx(0.2 + 0.1 * MotionModel().memory_s)


def test_only_the_rows_given_are_corrected():
    boxes, before = moving(), moving()
    boxes.update(np.array([1]), before.mean[:, [1]] + 0.01)
    for name in BELIEF:
        np.testing.assert_array_equal(getattr(boxes, name)[:, 0], getattr(before, name)[:, 0])
    assert (boxes.mean[:, 1] > before.mean[:, 1]).all()
    assert (boxes.mean_var[:, 1] < before.mean_var[:, 1]).all()


def test_keep_drops_rows_and_add_appends():
    boxes = moving()
    boxes.keep(np.array([False, True]))
    boxes.add(np.array([[0.5, 0.5, 0.1, 0.1]]).T)
    assert len(boxes) == 2
    np.testing.assert_allclose(boxes.mean[0], [0.7, 0.5])


def test_uncertainty_follows_the_size_of_the_object():
    boxes = BoxFilter(MotionModel())
    boxes.add(np.array([[0.5, 0.5, 0.02, 0.1], [0.5, 0.5, 0.04, 0.2]]).T)
    for _ in range(5):
        boxes.predict(0.1)
    np.testing.assert_allclose(boxes.mean_var[:, 1], 4 * boxes.mean_var[:, 0])


def test_sizes_are_square_in_pixels():
    boxes = BoxFilter(MotionModel(aspect=2.0))
    # A square of 100 px in a picture of 1000 x 500.
    boxes.add(np.array([[0.5, 0.5, 0.1, 0.2]]).T)
    along_x, along_y = boxes.sizes()[:, 0]
    assert along_x == pytest.approx(0.1)
    assert along_y == pytest.approx(0.2)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 30), st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), st.booleans()
        ),
        max_size=30,
    )
)
def test_belief_stays_sound(story):
    boxes = BoxFilter(MotionModel())
    boxes.add(np.array([[0.5, 0.5, 0.0, 0.0]]).T)
    for dt, corners, seen in story:
        boxes.predict(dt)
        if seen:
            boxes.update(np.array([0]), from_xyxy(np.array([corners])))
        assert all(np.isfinite(getattr(boxes, name)).all() for name in BELIEF)
        assert (boxes.mean[2:] > 0).all()
        assert (boxes.mean_var >= 0).all()
        assert (boxes.velocity_var >= -1e-12).all()
        assert (boxes.cross_var**2 <= boxes.mean_var * boxes.velocity_var * (1 + 1e-6) + 1e-18).all()


def test_corners_and_centres_are_inverse():
    xyxy = np.array([[0.1, 0.2, 0.3, 0.6], [0, 0, 1, 1]])
    np.testing.assert_allclose(to_xyxy(from_xyxy(xyxy)), xyxy.T)
