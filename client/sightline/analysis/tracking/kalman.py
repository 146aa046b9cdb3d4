"""A Kalman filter for many boxes at once, in seconds.

A box is (centre x, centre y, width, height), and each of the four moves by itself: a position and a
velocity that persists for a while and then forgets (an Ornstein-Uhlenbeck process). That process is
solved exactly for any step, so one step of 0.2 s and six of 1/30 s give the same belief: nothing here
depends on the frame rate. Four filters of two numbers each have closed forms, so a step is a handful of
array operations for all boxes and needs no linear algebra.

Spreads are given in units of the object's own size, the square root of its area in the picture, so
that one set of numbers serves a person far away and a lorry near by. What moves fast is believed to
change its speed more: an object that comes near at an even speed grows and speeds up in the picture.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
MIN_SIDE = 1e-4  # of the picture; keeps noise and overlap away from zero


@dataclass(frozen=True, slots=True)
class MotionModel:
    """How objects move; sizes are the square root of a box's area in a picture with square pixels."""

    aspect: float = 16 / 9  # width / height of the picture
    first_speed: float = 4.0  # sizes/s: spread of the unknown speed of a new object (a fast car: 10)
    speed: float = 0.7  # sizes/s: by how much a velocity wanders in the long run
    speed_noise_gain: float = 0.5  # of its own speed: by how much more; what comes near seems to speed up
    memory_s: float = 10.0  # for how long a velocity persists
    size_rate: float = 0.2  # sizes/s: spread of the speed at which width and height change
    size_rate_noise_gain: float = 0.2  # of its own speed: by how much more; what comes near grows
    size_rate_memory_s: float = 0.5  # short: a box shrinks while it is being hidden, and must not go on
    position_noise: float = 0.1  # sizes: error of a detected centre
    size_noise: float = 0.15  # sizes: error of a detected width or height (legs, shadows)
    noise_memory_s: float = 0.05  # for how long the same error persists from frame to frame


class BoxFilter:
    """N boxes with velocities and their uncertainty.

    Attributes:
        mean: float64 [4, N], centre x, centre y, width, height in 0..1 of the picture.
        velocity: float64 [4, N], per second.
        mean_var, cross_var, velocity_var: float64 [4, N], the covariance of each position and velocity.
        speed_sq: float64 [N], the square of the speed when last detected, in sizes/s.
    """

    def __init__(self, model: MotionModel) -> None:
        self.model = model
        # The square of a size along each axis, in 0..1 of the picture, of a box with width times height 1.
        self._axes = np.array([1 / model.aspect, model.aspect] * 2)[:, None]

        def variance(of_position: float, of_size: float) -> F64:
            squares: F64 = self._axes * np.array([of_position, of_position, of_size, of_size])[:, None] ** 2
            return squares

        self._speed_var = variance(model.speed, model.size_rate)
        self._first_speed_var = variance(model.first_speed, model.size_rate)
        self._speed_var_gain = variance(model.speed_noise_gain, model.size_rate_noise_gain)
        self._noise_var = self._error_var = variance(model.position_noise, model.size_noise)
        self._use(np.zeros((5, 4, 0)), np.zeros(0))

    def __len__(self) -> int:
        return len(self.speed_sq)

    def _use(self, state: F64, speed_sq: F64) -> None:
        self._state, self.speed_sq = state, speed_sq
        self.mean, self.velocity, self.mean_var, self.cross_var, self.velocity_var = state

    def add(self, boxes: F64, velocity: F64 | None = None) -> None:
        """Append boxes [4, M]: centre x, centre y, width, height; at rest unless ``velocity`` is given."""
        new = np.zeros((5, *boxes.shape))
        new[0] = boxes
        np.maximum(new[0, 2:], MIN_SIDE, out=new[0, 2:])
        if velocity is not None:
            new[1] = velocity
        area = new[0, 2] * new[0, 3]
        new[2] = self._noise_var * area
        new[4] = (self._first_speed_var if velocity is None else self._speed_var) * area
        speed_sq = np.concatenate([self.speed_sq, self._speeds_sq(new)])
        self._use(np.concatenate([self._state, new], axis=2), speed_sq)

    def keep(self, which: NDArray[np.bool_]) -> None:
        """Keep the boxes that ``which`` [N] marks."""
        self._use(self._state[:, :, which], self.speed_sq[which])

    def predict(self, dt: float) -> None:
        """Let ``dt`` >= 0 seconds pass."""
        place, side = _step(dt, self.model.memory_s), _step(dt, self.model.size_rate_memory_s)
        step = np.array([place, place, side, side]).T[:, :, None]
        path, left = step[0], step[1]
        spread = self._speed_var_gain * self.speed_sq
        spread += self._speed_var
        spread *= self.mean[2] * self.mean[3]
        self.mean += path * self.velocity
        np.maximum(self.mean[2:], MIN_SIDE, out=self.mean[2:])
        carried = path * self.velocity_var
        self.mean_var += path * (2 * self.cross_var + carried)
        self.cross_var += carried
        self._state[1:4:2] *= left  # velocity and cross_var
        self.velocity_var *= left * left
        self._state[2:] += spread * step[2:]
        # An error that lasts longer than a frame counts for less: averaging it does not help.
        alike = math.exp(-max(dt, 1e-3) / self.model.noise_memory_s)
        self._error_var = self._noise_var * ((1 + alike) / (1 - alike))

    def update(self, which: NDArray[np.intp], boxes: F64) -> None:
        """Correct ``which`` boxes (int [M], ascending) by what was detected: float64 [4, M], as ``mean``."""
        every = len(which) == len(self)
        state = self._state if every else self._state[:, :, which]
        mean, _, mean_var, cross_var, velocity_var = state
        total = self._error_var * (mean[2] * mean[3])
        total += mean_var
        gain, speed_gain = gains = state[2:4] / total
        velocity_var -= speed_gain * cross_var
        state[:2] += gains * (boxes - mean)
        state[2:4] *= 1 - gain
        np.maximum(mean[2:], MIN_SIDE, out=mean[2:])
        if every:
            self.speed_sq = self._speeds_sq(state)
        else:
            self._state[:, :, which], self.speed_sq[which] = state, self._speeds_sq(state)

    def _speeds_sq(self, state: F64) -> F64:
        """The square of each box's speed, in sizes/s: [M]."""
        (_, _, width, height), velocity = state[0], state[1, :2]
        speeds_sq: F64 = (velocity * velocity / self._axes[:2]).sum(axis=0) / (width * height)
        return speeds_sq

    def sizes(self) -> F64:
        """The size of each box along x and y, in 0..1 of the picture: [2, N]."""
        sizes: F64 = np.sqrt(self._axes[:2] * (self.mean[2] * self.mean[3]))
        return sizes


def _step(dt: float, memory_s: float) -> tuple[float, ...]:
    """What ``dt`` seconds do to an axis whose velocity persists for ``memory_s``.

    How far a velocity of 1 carries; how much of it is left; what a wandering velocity of spread 1 adds to
    the variance of the position, to the covariance, and to the variance of the velocity.
    """
    left, gone = math.exp(-dt / memory_s), -math.expm1(-dt / memory_s)
    path = memory_s * gone
    drift = 2 * memory_s * (dt - 2 * path + memory_s / 2 * (1 - left**2))
    return path, left, max(drift, 0.0), path * gone, 1 - left**2


def to_xyxy(boxes: F64) -> F64:
    """Centre x, centre y, width, height [4, N] to left, top, right, bottom."""
    half = boxes[2:] / 2
    return np.concatenate([boxes[:2] - half, boxes[:2] + half])


def from_xyxy(xyxy: NDArray[np.floating]) -> F64:
    """Left, top, right, bottom [N, 4] to centre x, centre y, width, height [4, N]."""
    corners = xyxy.T.astype(np.float64)
    return np.concatenate([(corners[:2] + corners[2:]) / 2, corners[2:] - corners[:2]])
