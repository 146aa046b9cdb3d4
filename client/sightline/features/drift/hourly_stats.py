"""Numbers of one camera's hour: boxes of a frame, scores, classes, light, sharpness. No picture, no place."""

import math
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.base.values import values_of
from sightline.entities import U8, Detections, DriftWindow, Frame
from sightline.video.picture import YuvPicture, small_luma

WINDOW_S = 3600
LUMA_BINS = 16
SCORE_BINS = 20
#: First value of each bin but the first: 0 | 1 | 2 | 3 | 4 | 5, 6 | 7 to 9 | …
BOXES_FROM = (1, 2, 3, 4, 5, 7, 10, 15, 25, 50)
SHARPNESS_FROM = tuple(0.01 * 2 ** (place / 2) for place in range(13))  # 0.01 to 0.64
#: More class names than this are counted as one.
MAX_CLASSES = 100
OTHER_CLASSES = "(others)"
DARK, DIM = 60.0, 95.0  # mean luma (limited range, 16 is black and 235 white) below which it is so
_POINTS = 4096  # of a picture that are measured
_MAX_CLOSED = 48  # hours that wait for a checkpoint; checkpoints are made every second


@dataclass(frozen=True, slots=True)
class ImageStats:
    """A picture in a few numbers: its light and its sharpness. No person can be recognised in them."""

    luma: NDArray[np.float64]  # float64 [16], share of its points in each sixteenth of 0..255
    mean: float  # mean luma, 0..255
    sharpness: float  # mean step between neighbours in a row, divided by the spread of luma; falls with blur

    @property
    def light(self) -> str:
        """``dark``, ``dim`` or ``bright``."""
        return "dark" if self.mean < DARK else "dim" if self.mean < DIM else "bright"


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


class HourlyStats:
    """Counts frames into the hour of their capture time. The worker's main thread owns it.

    Boxes from ``min_score`` on are counted as seen; weaker ones only in the scores. ``state`` is what
    :meth:`snapshot` gave, to go on in the same hour; ValueError: it is not one of ours.
    """

    def __init__(self, source: str, min_score: float, state: Mapping[str, Any] | None = None) -> None:
        self._source, self.min_score = source, min_score
        self._closed: deque[DriftWindow] = deque(maxlen=_MAX_CLOSED)
        self._begin(-1, "")
        if state:
            self._resume(state)

    def _begin(self, hour: int, version: str) -> None:
        self._hour, self._model_version = hour, version
        #: Of the open hour. ``boxes`` may start tracks, ``weak`` are the others; ``pictures`` were measured.
        self.sums = {"frames": 0, "boxes": 0, "pictures": 0, "weak": 0, "luma_sum": 0.0, "sharpness_sum": 0.0}
        self._classes: Counter[str] = Counter()
        self._histograms: dict[str, NDArray[Any]] = {
            "scores": np.zeros(SCORE_BINS, np.int64),
            "per_frame": np.zeros(len(BOXES_FROM) + 1, np.int64),
            "luma": np.zeros(LUMA_BINS, np.float64),
            "sharpness": np.zeros(len(SHARPNESS_FROM) + 1, np.int64),
        }

    @property
    def open_window(self) -> DriftWindow | None:
        """The hour so far; None before its first frame."""
        if not self.sums["frames"]:
            return None
        classes = dict(self._classes.most_common(MAX_CLASSES))
        if rest := sum(self._classes.values()) - sum(classes.values()):
            classes[OTHER_CLASSES] = classes.get(OTHER_CLASSES, 0) + rest
        start = float(self._hour * WINDOW_S)
        sums = {name: round(value, 5) for name, value in self.sums.items()}
        counted = {name: int(sums.pop(name)) for name in ("frames", "boxes", "pictures")}
        shares = {name: np.round(counts, 4).tolist() for name, counts in self._histograms.items()}
        figures = {"min_score": self.min_score, "classes": classes, **sums, **shares}
        version = self._model_version
        return DriftWindow(self._source, start, start + WINDOW_S, version, **counted, figures=figures)

    def observe(self, detections: Detections, class_names: Sequence[str], time: float, version: str) -> None:
        """Count one frame; ``time`` is its capture time, class ids are places in ``class_names``."""
        hour = max(int(time // WINDOW_S), self._hour)  # a late frame counts in the hour that is open
        if (hour, version) != (self._hour, self._model_version):
            if (window := self.open_window) is not None:
                self._closed.append(window)
            self._begin(hour, version)
        scores = detections.scores
        seen = scores >= self.min_score
        boxes = int(np.count_nonzero(seen))
        self.sums["frames"] += 1
        self.sums["boxes"] += boxes
        self.sums["weak"] += len(scores) - boxes
        self._histograms["per_frame"][bisect_right(BOXES_FROM, boxes)] += 1
        if len(scores):
            places = np.minimum(scores * SCORE_BINS, SCORE_BINS - 1).astype(np.int64)
            self._histograms["scores"] += np.bincount(places, minlength=SCORE_BINS)
            known = len(class_names)
            self._classes.update(
                class_names[number] if 0 <= number < known else OTHER_CLASSES
                for number in detections.class_ids[seen].tolist()
            )

    def observe_image(self, image: ImageStats) -> None:
        """Count the picture of the frame observed last."""
        self.sums["pictures"] += 1
        self._histograms["luma"] += image.luma
        self._histograms["sharpness"][bisect_right(SHARPNESS_FROM, image.sharpness)] += 1
        self.sums["luma_sum"] += image.mean
        self.sums["sharpness_sum"] += image.sharpness

    def take_closed(self) -> tuple[DriftWindow, ...]:
        """Hours that ended since the last call."""
        return tuple(self._closed.popleft() for _ in range(len(self._closed)))

    def snapshot(self) -> dict[str, Any]:
        """What a successor goes on from; JSON-able."""
        window = self.open_window
        return {"hour": self._hour, **values_of(window)} if window else {}

    def _resume(self, state: Mapping[str, Any]) -> None:
        try:
            figures = state["figures"]
            if figures["min_score"] != self.min_score:
                return  # another rule counts now: what was counted before does not fit
            self._begin(int(state["hour"]), str(state["model_version"]))
            saved = {**figures, **state}
            self.sums = {name: type(zero)(saved[name]) for name, zero in self.sums.items()}
            if not math.isfinite(sum(self.sums.values())):
                raise ValueError("sums are not finite")
            self._classes.update({str(name): int(count) for name, count in figures["classes"].items()})
            for name, zeros in self._histograms.items():
                self._histograms[name] = np.array(figures[name], zeros.dtype).reshape(zeros.shape)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"the drift stats's saved state is not usable: {error!r}") from error
