"""Both models of an episode, each through a tracker, rules and windows of its own, both begun anew.

What differs then is the models' doing alone: same frames, same times, same lines and zones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.analysis.chain import CameraAnalysis, frame_at
from sightline.analysis.classes import class_name
from sightline.analysis.options import AnalysisOptions
from sightline.analysis.tracking.tracker_options import TrackerOptions
from sightline.config.zones import Line, Zone
from sightline.entities import Detections, Event, ModelInfo
from sightline.errors import ShadowError
from sightline.features.shadow.episode import EpisodeHead, PairedFrame

SCORE_BINS = 10  # of 0..1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one model would have reported of an episode.

    Attributes:
        counts: by window start (epoch seconds) and class: what would stand in ``count_windows``.
        events: what its rules saw, by time.
        boxes: boxes that start tracks, over all frames, by class.
        scores: int, boxes by tenth of their score, 0..1.
    """

    counts: Mapping[tuple[float, str], int]
    events: tuple[Event, ...]
    boxes: Mapping[str, int]
    scores: tuple[int, ...]


def outcomes(head: EpisodeHead, pairs: Sequence[PairedFrame]) -> tuple[Outcome, Outcome]:
    """What the live model and the candidate would have reported.

    Raises:
        ShadowError: the episode's options are not those of a camera.
    """
    try:
        live = Arm(head.camera, head.live_classes, head.live_version, head.options)
        candidate = Arm(head.camera, head.candidate_classes, head.candidate_version, head.options)
    except (KeyError, TypeError, ValueError) as error:
        raise ShadowError(f"camera {head.camera!r}, options of an episode: {error!r}") from error
    return (
        live.run((pair.capture_time, pair.live) for pair in pairs),
        candidate.run((pair.capture_time, pair.candidate) for pair in pairs),
    )


class Arm:
    """One model's tracker, rules and windows, begun anew.

    Args:
        camera: its name.
        classes: the model's class names.
        version: of the model.
        options: how the camera is watched, see :class:`sightline.features.shadow.episode.EpisodeHead`.
    """

    def __init__(
        self, camera: str, classes: tuple[str, ...], version: str, options: Mapping[str, Any]
    ) -> None:
        self._classes = classes
        self._min_score = float(options["min_score"])
        # An episode that was kept before there was this option has none.
        dedupe_iou = float(options.get("second_box_overlap", TrackerOptions().dedupe_iou))
        self._analysis = CameraAnalysis(
            AnalysisOptions(
                camera=camera,
                tracker=TrackerOptions(
                    min_score=self._min_score,
                    dedupe_iou=dedupe_iou,
                    confirm_s=float(options["confirm_s"]),
                    max_lost_s=float(options["lost_s"]),
                ),
                max_gap_s=float(options["blind_s"]),
                window_s=int(options["window_s"]),
                classes=options["classes"],
                lines={name: Line.model_validate(value) for name, value in options["lines"].items()},
                zones={name: Zone.model_validate(value) for name, value in options["zones"].items()},
            )
        )
        self._analysis.use_model(ModelInfo("", version, classes, 0, 0, "", 0.0))

    def run(self, frames: Iterable[tuple[float, Detections]]) -> Outcome:
        """Take every frame, by time. An episode is cut out of a stream: visits stay open at its end."""
        analysis = self._analysis
        boxes: Counter[str] = Counter()
        scores = np.zeros(SCORE_BINS, np.int64)
        for capture_time, detections in frames:
            analysis.observe(frame_at(capture_time), detections)
            high = detections.class_ids[detections.scores >= self._min_score]
            boxes.update(class_name(self._classes, number) for number in high.tolist())
            bins = np.clip(detections.scores * SCORE_BINS, 0, SCORE_BINS - 1).astype(np.int64)
            scores += np.bincount(bins, minlength=SCORE_BINS)
        events = [result for result in analysis.take_results() if isinstance(result, Event)]
        rows, _ = analysis.rows()
        counts = {(row.window_start, row.item_class): row.count for row in rows if row.count}
        ordered = tuple(sorted(events, key=lambda event: (event.event_time, event.place, event.kind)))
        return Outcome(counts, ordered, dict(boxes), tuple(scores.tolist()))
