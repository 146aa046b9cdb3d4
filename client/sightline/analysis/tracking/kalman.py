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

from __future__ import annotations

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
        mean: float64 [N, 4], centre x, centre y, width, height in 0..1 of the picture.
        velocity: float64 [N, 4], per second.
        mean_var, cross_var, velocity_var: float64 [N, 4], the covariance of each position and velocity.
        speed_sq: float64 [N], the square of the speed when last detected, in sizes/s.
    """

    __slots__ = (
        "_memory_s",
        "_noise",
        "_noise_gain",
        "_repeated",
        "_speed",
        "cross_var",
        "mean",
        "mean_var",
        "model",
        "speed_sq",
        "velocity",
        "velocity_var",
    )

    def __init__(self, model: MotionModel) -> None:
        self.model = model
        self._speed = np.array([model.speed, model.speed, model.size_rate, model.size_rate])
        self._noise_gain = np.array([model.speed_noise_gain] * 2 + [model.size_rate_noise_gain] * 2)
        self._memory_s = np.array([model.memory_s, model.memory_s] + [model.size_rate_memory_s] * 2)
        self._noise = np.array([model.position_noise] * 2 + [model.size_noise] * 2)
        self._repeated = 1.0
        self.mean = np.zeros((0, 4))
        self.speed_sq = np.zeros(0)
        self.velocity, self.mean_var, self.cross_var, self.velocity_var = (self.mean.copy() for _ in range(4))

    def __len__(self) -> int:
        return len(self.mean)

    def add(self, boxes: F64, velocity: F64 | None = None) -> None:
        """Append boxes [M, 4]: centre x, centre y, width, height; at rest unless ``velocity`` is given."""
        boxes = boxes.copy()
        np.maximum(boxes[:, 2:], MIN_SIDE, out=boxes[:, 2:])
        scale = self.sizes(boxes)
        first_speed = self._speed.copy()
        if velocity is None:
            first_speed[:2] = self.model.first_speed
        self.mean = np.concatenate([self.mean, boxes])
        self.velocity = np.concatenate(
            [self.velocity, np.zeros_like(boxes) if velocity is None else velocity]
        )
        self.mean_var = np.concatenate([self.mean_var, (scale * self._noise) ** 2])
        self.cross_var = np.concatenate([self.cross_var, np.zeros_like(boxes)])
        self.velocity_var = np.concatenate([self.velocity_var, (scale * first_speed) ** 2])
        new = slice(len(self.speed_sq), None)
        self.speed_sq = np.concatenate([self.speed_sq, self._speeds_sq(self.velocity[new], boxes)])

    def keep(self, which: NDArray[np.bool_]) -> None:
        """Keep the boxes that ``which`` [N] marks."""
        for name in ("mean", "velocity", "mean_var", "cross_var", "velocity_var", "speed_sq"):
            setattr(self, name, getattr(self, name)[which])

    def predict(self, dt: float) -> None:
        """Let ``dt`` >= 0 seconds pass."""
        memory = self._memory_s
        left = np.exp(-dt / memory)  # how much of a velocity is left
        gone = -np.expm1(-dt / memory)
        path = memory * gone  # how far a velocity of 1 carries
        spread = self.sizes(self.mean) ** 2 * (self._speed**2 + self.speed_sq[:, None] * self._noise_gain**2)
        self.mean += path * self.velocity
        self.velocity *= left
        drift = 2 * memory * (dt - 2 * path + memory / 2 * (1 - left**2))
        self.mean_var += path * (2 * self.cross_var + path * self.velocity_var) + spread * np.maximum(
            drift, 0
        )
        self.cross_var += path * self.velocity_var
        self.cross_var *= left
        self.cross_var += spread * memory * gone**2
        self.velocity_var *= left**2
        self.velocity_var += spread * (1 - left**2)
        np.maximum(self.mean[:, 2:], MIN_SIDE, out=self.mean[:, 2:])
        # An error that lasts longer than a frame counts for less: averaging it does not help.
        alike = math.exp(-max(dt, 1e-3) / self.model.noise_memory_s)
        self._repeated = (1 + alike) / (1 - alike)

    def update(self, rows: NDArray[np.intp], boxes: F64) -> None:
        """Correct the boxes ``rows`` [M] by what was detected.

        Args:
            rows: which boxes, each at most once.
            boxes: float64 [M, 4], centre x, centre y, width, height.
        """
        mean, mean_var = self.mean[rows], self.mean_var[rows]
        cross = self.cross_var[rows]
        total = mean_var + (self.sizes(mean) * self._noise) ** 2 * self._repeated
        gain, speed_gain = mean_var / total, cross / total
        error = boxes - mean
        self.mean[rows] = mean + gain * error
        self.velocity[rows] += speed_gain * error
        self.mean_var[rows] = mean_var * (1 - gain)
        self.cross_var[rows] = cross * (1 - gain)
        self.velocity_var[rows] -= speed_gain * cross
        np.maximum(self.mean[:, 2:], MIN_SIDE, out=self.mean[:, 2:])
        self.speed_sq[rows] = self._speeds_sq(self.velocity[rows], self.mean[rows])

    def _speeds_sq(self, velocity: F64, boxes: F64) -> F64:
        """The square of the speed of each of ``boxes`` [M, 4], in sizes/s: [M]."""
        speeds_sq: F64 = ((velocity[:, :2] / self.sizes(boxes)[:, :2]) ** 2).sum(axis=1)
        return speeds_sq

    def sizes(self, boxes: F64) -> F64:
        """The size of each of ``boxes`` [M, 4] along its four axes, in 0..1 of the picture: [M, 4]."""
        size = np.sqrt(boxes[:, 2] * boxes[:, 3])
        along_x, along_y = size / math.sqrt(self.model.aspect), size * math.sqrt(self.model.aspect)
        return np.stack([along_x, along_y, along_x, along_y], axis=1)

    def xyxy(self) -> F64:
        """The boxes as left, top, right, bottom, not clipped: float64 [N, 4]."""
        return to_xyxy(self.mean)


def to_xyxy(boxes: F64) -> F64:
    """Centre x, centre y, width, height to left, top, right, bottom."""
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def from_xyxy(xyxy: NDArray[np.floating]) -> F64:
    """Left, top, right, bottom to centre x, centre y, width, height."""
    xyxy = xyxy.astype(np.float64)
    return np.concatenate([(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]], axis=1)
