"""Boxes of an imperfect detector over a simulated scene, for judging trackers.

Truth and faults live on a clock of 30 ticks a second, so the same scene can be watched at 5, 10, 15 or 30
fps: only the frames between are missing. Scores wander (a weak moment lasts a few tenths of a second, as on
real video), boxes tremble, hidden objects give cropped boxes or none, vehicles flicker between two classes,
and false boxes come and go.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.base.geometry import iou_matrix
from sightline.entities import Detections
from sightline.simulation.scenes import truth
from sightline.simulation.scenes.formats import CLASSES
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.visibility import FrameTruth

TICKS = 30  # a second
SCORE_FLOOR = 0.1
NMS_IOU = 0.7
MAX_HIDDEN = 0.8  # objects hidden more than this are not in the truth
MIN_HEIGHT = 0.03  # of the picture; smaller objects are not in it either
SCORE, SCORE_WANDER = 0.72, 0.15  # of an object in full view: mean, and how far it wanders
TREMBLE = 0.03  # of the box's own sides
FALSE_BOXES_A_SECOND = 1.0
FLICKER = {"car": "truck", "truck": "car", "van": "car", "bus": "truck"}
F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TrackerSample:
    """One frame: what is there (ids [N], xyxy [N, 4] in 0..1), and what the detector says of it."""

    time: float
    true_ids: NDArray[np.int64]
    true_xyxy: NDArray[np.float32]
    detections: Detections


class ImperfectDetector:
    """A detector that has watched one scene; the same for the same arguments."""

    def __init__(self, spec: SceneSpec, length_s: float = 60.0) -> None:
        self._random = np.random.default_rng([spec.seed, 60])
        self._frames = list(truth.frames(spec, TICKS, length_s))
        self._scale = np.array([spec.width, spec.height] * 2, np.float64)
        known = sorted({one for frame in self._frames for one in frame.ids.tolist()})
        self._row = {one: row for row, one in enumerate(known)}
        shape = (len(self._row), len(self._frames))
        self._wander = self._wandering(shape, 0.3) * SCORE_WANDER
        self._tremble = np.stack([self._wandering(shape, 0.05) for _ in range(4)], -1) * TREMBLE
        self._mistaken = self._wandering(shape, 0.3) > 0.8  # about a fifth of the time
        self._false = self._false_boxes(length_s)

    def samples(self, fps: int) -> list[TrackerSample]:
        """What it sees at ``fps``, a divisor of :data:`TICKS`."""
        samples = []
        for tick in range(0, len(self._frames), TICKS // fps):
            frame = self._frames[tick]
            full = frame.full_xyxy / self._scale
            there = (frame.occlusion <= MAX_HIDDEN) & (full[:, 3] - full[:, 1] > MIN_HEIGHT)
            true = frame.ids[there], full[there].astype(np.float32)
            samples.append(TrackerSample(frame.time_s, *true, self._detect(frame, tick)))
        return samples

    def _wandering(self, shape: tuple[int, int], memory_s: float) -> F64:
        """Noise of spread 1 that remembers for ``memory_s``."""
        keep = np.exp(-1 / TICKS / memory_s)
        noise = self._random.normal(size=shape)
        for tick in range(1, shape[1]):
            noise[:, tick] = keep * noise[:, tick - 1] + np.sqrt(1 - keep**2) * noise[:, tick]
        return noise

    def _false_boxes(self, length_s: float) -> list[tuple[float, float, F64, float, int]]:
        """First and last second, xyxy, score and class of each."""
        random, boxes = self._random, []
        for _ in range(random.poisson(FALSE_BOXES_A_SECOND * length_s)):
            start, height = random.uniform(0, length_s), random.uniform(0.05, 0.3)
            left, top = random.uniform(0, 0.9), random.uniform(0.2, 0.7)
            box = np.array([left, top, left + height * 0.45, top + height]).clip(0, 1)
            kind = CLASSES.index(str(random.choice(["person", "car"])))
            boxes.append((start, start + random.exponential(0.15), box, 0.1 + random.exponential(0.12), kind))
        return boxes

    def _detect(self, frame: FrameTruth, tick: int) -> Detections:
        rows = [self._row[one] for one in frame.ids.tolist()]
        hidden = frame.occlusion[:, None] > 0.3
        xyxy = np.where(hidden, frame.visible_xyxy, frame.full_xyxy) / self._scale
        shown = np.clip((1 - frame.occlusion) * (1 - frame.truncation), 0, 1)
        scores = np.clip(SCORE * np.sqrt(shown) + self._wander[rows, tick], 0, 0.99)
        scores[shown < 0.1] = 0
        xyxy = xyxy + np.tile(xyxy[:, 2:] - xyxy[:, :2], 2) * self._tremble[rows, tick]
        mistaken = zip(frame.kinds, self._mistaken[rows, tick], strict=True)
        kinds = [FLICKER.get(kind, kind) if wrong else kind for kind, wrong in mistaken]
        classes = np.array([CLASSES.index(kind) for kind in kinds], np.int32)
        for first, last, box, score, kind in self._false:
            if first <= frame.time_s < last:
                xyxy, scores = np.vstack([xyxy, box]), np.append(scores, score)
                classes = np.append(classes, np.int32(kind))
        found = Detections(xyxy.clip(0, 1).astype(np.float32), scores.astype(np.float32), classes)
        found = found.take(np.flatnonzero(scores >= SCORE_FLOOR))
        # Class-aware non-maximum suppression, as the detector does it.
        found = found.take(np.argsort(-found.scores, kind="stable"))
        same = found.class_ids[:, None] == found.class_ids[None]
        overlapping = (iou_matrix(found.xyxy, found.xyxy) > NMS_IOU) & same
        kept: list[int] = []
        for row in range(len(found)):
            if not overlapping[row, kept].any():
                kept.append(row)
        return found.take(np.array(kept, np.intp))
