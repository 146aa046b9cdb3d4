"""Numbers of one camera's hour: boxes of a frame, scores, classes, light, sharpness. No picture, no place."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sightline.entities import Detections, DriftWindow
from sightline.features.drift.image_stats import LUMA_BINS, ImageStats

WINDOW_S = 3600
SCORE_BINS = 20
#: First value of each bin but the first: 0 | 1 | 2 | 3 | 4 | 5, 6 | 7 to 9 | …
BOXES_FROM = (1, 2, 3, 4, 5, 7, 10, 15, 25, 50)
SHARPNESS_FROM = tuple(0.01 * 2 ** (place / 2) for place in range(13))  # 0.01 to 0.64
#: More class names than this are counted as one.
MAX_CLASSES = 100
OTHER_CLASSES = "(others)"
_MAX_CLOSED = 48  # hours that wait for a checkpoint; checkpoints are made every second


class HourlyStats:
    """Counts frames into the hour of their capture time. The worker's main thread owns it.

    Args:
        source: the camera.
        min_score: boxes from this score on are counted as seen; weaker ones only in the scores.
        state: what :meth:`snapshot` gave, to go on in the same hour.

    Raises:
        ValueError: the state is not one of ours.
    """

    def __init__(self, source: str, min_score: float, state: Mapping[str, Any] | None = None) -> None:
        self._source = source
        self.min_score = min_score
        self._closed: deque[DriftWindow] = deque(maxlen=_MAX_CLOSED)
        self._reset(-1, "")
        if state:
            self._resume(state)

    @property
    def open_window(self) -> DriftWindow | None:
        """The hour so far; None before the first frame."""
        if self._hour < 0:
            return None
        start = float(self._hour * WINDOW_S)
        return DriftWindow(
            self._source,
            start,
            start + WINDOW_S,
            self._model_version,
            self._frames,
            self._boxes,
            self._pictures,
            self._figures(),
        )

    def observe(self, detections: Detections, class_names: Sequence[str], time: float, version: str) -> None:
        """Count one frame; ``time`` is its capture time, class ids are places in ``class_names``."""
        hour = max(int(time // WINDOW_S), self._hour)  # a late frame counts in the hour that is open
        if (hour, version) != (self._hour, self._model_version):
            self._close(hour, version)
        scores = detections.scores
        seen = scores >= self.min_score
        boxes = int(np.count_nonzero(seen))
        self._frames += 1
        self._boxes += boxes
        self._weak += len(scores) - boxes
        self._per_frame[bisect_right(BOXES_FROM, boxes)] += 1
        if len(scores):
            places = np.minimum(scores * SCORE_BINS, SCORE_BINS - 1).astype(np.int64)
            self._scores += np.bincount(places, minlength=SCORE_BINS)
            self._classes.update(_names(detections.class_ids[seen].tolist(), class_names))

    def observe_image(self, image: ImageStats) -> None:
        """Count the picture of the frame observed last."""
        self._pictures += 1
        self._luma += image.luma
        self._sharpness[bisect_right(SHARPNESS_FROM, image.sharpness)] += 1
        self._luma_sum += image.mean
        self._sharpness_sum += image.sharpness

    def take_closed(self) -> tuple[DriftWindow, ...]:
        """Hours that ended since the last call."""
        taken = tuple(self._closed)
        self._closed.clear()
        return taken

    def snapshot(self) -> dict[str, Any]:
        """What a successor goes on from; JSON-able."""
        window = self.open_window
        if window is None:
            return {}
        return {
            "hour": self._hour,
            "model_version": window.model_version,
            "frames": window.frames,
            "boxes": window.boxes,
            "pictures": window.pictures,
            "figures": dict(window.figures),
        }

    def _figures(self) -> dict[str, Any]:
        return {
            "min_score": self.min_score,
            "weak": self._weak,
            "scores": self._scores.tolist(),
            "per_frame": list(self._per_frame),
            "classes": _bounded(self._classes),
            "luma": [round(float(share), 4) for share in self._luma],
            "luma_sum": round(self._luma_sum, 3),
            "sharpness": list(self._sharpness),
            "sharpness_sum": round(self._sharpness_sum, 5),
        }

    def _close(self, hour: int, version: str) -> None:
        window = self.open_window
        if window is not None and window.frames:
            self._closed.append(window)
        self._reset(hour, version)

    def _reset(self, hour: int, version: str) -> None:
        self._hour, self._model_version = hour, version
        self._frames = self._boxes = self._pictures = self._weak = 0
        self._per_frame = [0] * (len(BOXES_FROM) + 1)
        self._scores = np.zeros(SCORE_BINS, np.int64)
        self._classes: Counter[str] = Counter()
        self._luma = np.zeros(LUMA_BINS, np.float64)
        self._sharpness = [0] * (len(SHARPNESS_FROM) + 1)
        self._luma_sum = self._sharpness_sum = 0.0

    def _resume(self, state: Mapping[str, Any]) -> None:
        try:
            values = state["figures"]
            if values["min_score"] != self.min_score:
                return  # another rule counts now: what was counted before does not fit
            scores, luma = np.array(values["scores"], np.int64), np.array(values["luma"], np.float64)
            per_frame = [int(count) for count in values["per_frame"]]
            sharpness = [int(count) for count in values["sharpness"]]
            shapes = (len(scores), len(luma), len(per_frame), len(sharpness))
            if shapes != (SCORE_BINS, LUMA_BINS, len(self._per_frame), len(self._sharpness)):
                raise ValueError(f"bins {shapes}")
            sums = (float(values["luma_sum"]), float(values["sharpness_sum"]))
            if not math.isfinite(sum(sums)):
                raise ValueError("sums are not finite")
            hour, version = int(state["hour"]), str(state["model_version"])
            numbers = (int(state["frames"]), int(state["boxes"]), int(state["pictures"]), int(values["weak"]))
            classes = Counter({str(name): int(count) for name, count in values["classes"].items()})
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"the drift stats's saved state is not usable: {error!r}") from error
        self._hour, self._model_version = hour, version
        self._frames, self._boxes, self._pictures, self._weak = numbers
        self._scores, self._luma, self._per_frame, self._sharpness = scores, luma, per_frame, sharpness
        self._luma_sum, self._sharpness_sum = sums
        self._classes = classes


def _names(class_ids: Sequence[int], class_names: Sequence[str]) -> list[str]:
    known = len(class_names)
    return [class_names[number] if 0 <= number < known else OTHER_CLASSES for number in class_ids]


def _bounded(classes: Counter[str]) -> dict[str, int]:
    """The most frequent classes by name; the rest is one."""
    named = dict(classes.most_common(MAX_CLASSES))
    rest = sum(classes.values()) - sum(named.values())
    if rest:
        named[OTHER_CLASSES] = named.get(OTHER_CLASSES, 0) + rest
    return named
