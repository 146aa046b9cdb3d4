"""A simulated street for judging trackers: people and cars in perspective, seen by an imperfect detector.

The world and the detector's faults live on a clock of 60 ticks a second, so the same street can be
looked at with 5, 10, 15 or 30 fps: only the frames between are missing. Scores wander (a weak moment
lasts a few tenths of a second, as on real video), boxes tremble, hidden objects give cropped boxes or
none, cars flicker between two classes, and false boxes come and go.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sightline.base.geometry import iou_matrix
from sightline.entities import Detections

TICKS = 60  # a second
ASPECT = 16 / 9
PERSON, CAR, TRUCK = 0, 2, 7
CAMERA_HEIGHT_M, CAMERA_TILT, FOCAL = 5.0, 0.25, 0.9  # radians downwards; focal length in picture widths
SCORE_FLOOR = 0.1
NMS_IOU = 0.7
LEAST_VISIBLE = 0.2  # objects hidden more than this are not in the truth
F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StreetOptions:
    """How busy the street is and how bad the detector."""

    length_s: float = 60.0
    people_a_minute: float = 30.0
    cars_a_minute: float = 15.0
    false_boxes_a_second: float = 1.0
    score: float = 0.72  # mean score of an object in full view
    score_wander: float = 0.15
    tremble: float = 0.03  # of the box's own sides


@dataclass(frozen=True, slots=True)
class StreetSample:
    """One frame: what is there and what the detector says of it."""

    time: float
    truth_ids: NDArray[np.int64]
    truth_xyxy: NDArray[np.float32]
    detections: Detections


class Street:
    """Everything that happens in one street; the same for the same seed."""

    def __init__(self, seed: int, options: StreetOptions | None = None) -> None:
        self.options = options or StreetOptions()
        self._random = np.random.default_rng(seed)
        self._ticks = int(self.options.length_s * TICKS)
        people = [self._person(start) for start in self._arrivals(self.options.people_a_minute, warm_s=20)]
        cars = [self._car(start) for start in self._arrivals(self.options.cars_a_minute, warm_s=5)]
        objects = people + cars
        self._classes = np.array([PERSON] * len(people) + [CAR] * len(cars))
        self._places = np.array([place for place, _ in objects])  # [N, ticks, 2] metres on the ground
        self._extents = np.array([extent for _, extent in objects])  # [N, 3] metres in x, up, z
        shape = (len(objects), self._ticks)
        self._wander = self._wandering(shape, 0.3) * self.options.score_wander
        self._tremble = np.stack([self._wandering(shape, 0.05) for _ in range(4)], -1) * self.options.tremble
        self._mistaken = self._wandering(shape, 0.3) > 0.8  # about a fifth of the time
        self._false_boxes = self._clutter()

    def frames(self, fps: int, *, phase: int = 0) -> list[StreetSample]:
        """The street at ``fps`` (a divisor of 60), beginning ``phase`` ticks late."""
        return [self._sample(tick) for tick in range(phase, self._ticks, TICKS // fps)]

    # -- the world -------------------------------------------------------------------------------

    def _arrivals(self, a_minute: float, warm_s: float) -> F64:
        span = self.options.length_s + warm_s
        return self._random.uniform(
            -warm_s, self.options.length_s, self._random.poisson(a_minute * span / 60)
        )

    def _person(self, start_s: float) -> tuple[F64, tuple[float, float, float]]:
        depth = self._random.uniform(7, 28)
        speed = self._random.normal(1.35, 0.25)
        side, drift = self._random.choice([-1, 1]), self._random.normal(0, 0.15)
        walked = self._travelled(start_s, speed, pause_chance=0.3, ramp_s=0.5)
        half = depth * 0.6 + 2
        sway = 0.3 * np.sin(walked / self._random.uniform(2, 6))
        places = np.stack([side * (walked - half), depth + drift * walked + sway], -1)
        return places, (0.6, self._random.normal(1.7, 0.1), 0.6)

    def _car(self, start_s: float) -> tuple[F64, tuple[float, float, float]]:
        driven = self._travelled(start_s, self._random.uniform(5, 14), pause_chance=0.2, ramp_s=1.5)
        lane = self._random.integers(3)
        if lane == 2:  # along the line of sight, towards the camera
            return np.stack([np.full(self._ticks, -3.0), 70 - driven], -1), (1.8, 1.5, 4.5)
        depth, side = (14.0, 1) if lane else (17.5, -1)
        return np.stack([side * (driven - 18), np.full(self._ticks, depth)], -1), (4.5, 1.5, 1.8)

    def _travelled(self, start_s: float, speed: float, *, pause_chance: float, ramp_s: float) -> F64:
        """Metres gone at each tick, perhaps with one stop on the way."""
        seconds = np.arange(self._ticks) / TICKS
        rate = np.full(self._ticks, speed)
        pause_s = start_s + self._random.uniform(3, 12)
        if self._random.random() < pause_chance:
            stop_s = self._random.uniform(2, 12)
            braked = np.clip((seconds - pause_s) / ramp_s, 0, 1)
            going = np.clip((seconds - pause_s - stop_s) / ramp_s, 0, 1)
            rate = speed * (1 - braked + going)
        first = speed * -start_s if start_s < 0 else 0.0
        travelled: F64 = first + np.cumsum(np.where(seconds >= start_s, rate, 0)) / TICKS
        travelled[seconds < start_s] = -1e3  # not there yet: far outside the picture
        return travelled

    def _wandering(self, shape: tuple[int, int], memory_s: float) -> F64:
        """Noise of spread 1 that remembers for ``memory_s``."""
        keep = np.exp(-1 / TICKS / memory_s)
        noise = self._random.normal(size=shape)
        for tick in range(1, shape[1]):
            noise[:, tick] = keep * noise[:, tick - 1] + np.sqrt(1 - keep**2) * noise[:, tick]
        return noise

    def _clutter(self) -> list[tuple[float, float, F64, float, int]]:
        count = self._random.poisson(self.options.false_boxes_a_second * self.options.length_s)
        found = []
        for _ in range(count):
            start = self._random.uniform(0, self.options.length_s)
            height = self._random.uniform(0.05, 0.3)
            left, top = self._random.uniform(0, 0.9), self._random.uniform(0.2, 0.7)
            box = np.array([left, top, left + height * 0.4 / ASPECT * 2, top + height])
            score = 0.1 + self._random.exponential(0.12)
            lasts = self._random.exponential(0.15)
            found.append((start, start + lasts, box, score, int(self._random.choice([PERSON, CAR]))))
        return found

    # -- the camera ------------------------------------------------------------------------------

    @cached_property
    def _corners(self) -> F64:
        sides = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (0, 1) for z in (-0.5, 0.5)])
        corners: F64 = self._extents[:, None] * sides
        return corners

    def _project(self, tick: int) -> tuple[F64, F64]:
        """Boxes xyxy [N, 4], not clipped, and distances [N]; behind the camera is a box of nothing."""
        places = self._places[:, tick]
        points = self._corners + np.stack([places[:, 0], 0 * places[:, 0], places[:, 1]], -1)[:, None]
        x, y, z = points[..., 0], points[..., 1] - CAMERA_HEIGHT_M, points[..., 2]
        ahead = np.maximum(z * np.cos(CAMERA_TILT) - y * np.sin(CAMERA_TILT), 0.5)
        up = z * np.sin(CAMERA_TILT) + y * np.cos(CAMERA_TILT)
        across, down = 0.5 + FOCAL * x / ahead, 0.5 - FOCAL * ASPECT * up / ahead
        boxes = np.stack([across.min(1), down.min(1), across.max(1), down.max(1)], -1)
        boxes[places[:, 1] < 2] = -1
        return boxes, places[:, 1]

    def _sample(self, tick: int) -> StreetSample:
        boxes, depth = self._project(tick)
        inside = np.clip(boxes, 0, 1)
        whole = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        share = np.prod(inside[:, 2:] - inside[:, :2], axis=1) / np.maximum(whole, 1e-9)
        there = np.flatnonzero((share > 0.3) & (inside[:, 3] - inside[:, 1] > 0.02))
        there = there[np.argsort(depth[there])]
        visible, cropped = _seen(inside[there])
        truth = visible >= LEAST_VISIBLE
        return StreetSample(
            tick / TICKS,
            there[truth].astype(np.int64),
            inside[there][truth].astype(np.float32),
            self._detect(tick, there, cropped, visible * np.sqrt(share[there])),
        )

    def _detect(self, tick: int, who: NDArray[np.intp], boxes: F64, visible: F64) -> Detections:
        options = self.options
        scores = np.clip(options.score * np.sqrt(visible) + self._wander[who, tick], 0, 0.99)
        scores[visible < 0.1] = 0
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        boxes = np.clip(boxes + sides * self._tremble[who, tick], 0, 1)
        classes = np.where((self._classes[who] == CAR) & self._mistaken[who, tick], TRUCK, self._classes[who])
        now = tick / TICKS
        false = [item for item in self._false_boxes if item[0] <= now < item[1]]
        if false:
            boxes = np.concatenate([boxes, np.clip([item[2] for item in false], 0, 1)])
            scores = np.concatenate([scores, [item[3] for item in false]])
            classes = np.concatenate([classes, [item[4] for item in false]])
        found = Detections(boxes.astype(np.float32), scores.astype(np.float32), classes.astype(np.int32))
        return _suppress(found.take(np.flatnonzero(scores >= SCORE_FLOOR)))


def _seen(boxes: F64) -> tuple[F64, F64]:
    """Of boxes sorted near to far: the share not hidden by nearer ones, and the box around that share."""
    steps = (np.arange(10) + 0.5) / 10
    visible, cropped = np.ones(len(boxes)), boxes.copy()
    for place in range(1, len(boxes)):
        left, top, right, bottom = boxes[place]
        x, y = np.meshgrid(left + steps * (right - left), top + steps * (bottom - top))
        near = boxes[:place]
        hidden = (
            (x[..., None] > near[:, 0])
            & (x[..., None] < near[:, 2])
            & (y[..., None] > near[:, 1])
            & (y[..., None] < near[:, 3])
        ).any(-1)
        visible[place] = 1 - hidden.mean()
        if hidden.any() and not hidden.all():
            half = np.array([right - left, bottom - top]) / 20
            seen = np.stack([x[~hidden], y[~hidden]], -1)
            cropped[place] = [*(seen.min(0) - half), *(seen.max(0) + half)]
    return visible, cropped


def _suppress(detections: Detections) -> Detections:
    """Class-aware non-maximum suppression, as the detector does it."""
    detections = detections.take(np.argsort(-detections.scores, kind="stable"))
    same = detections.class_ids[:, None] == detections.class_ids[None]
    twins = (iou_matrix(detections.xyxy, detections.xyxy) > NMS_IOU) & same
    kept: list[int] = []
    for row in range(len(detections)):
        if not twins[row, kept].any():
            kept.append(row)
    return detections.take(np.array(kept, np.intp))
