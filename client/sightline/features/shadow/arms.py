"""Both models of an episode, each through a tracker, rules and windows of its own, both begun anew.

What differs then is the models' doing alone: same frames, same times, same lines and zones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.analysis.counts.windows import WindowCounter
from sightline.analysis.rules import Rules
from sightline.analysis.tracking.tracker import Tracker, TrackerOptions
from sightline.config.zones import Line, Zone
from sightline.entities import ClockSource, Detections, Event
from sightline.errors import ShadowError
from sightline.features.shadow.differences import name_of
from sightline.features.shadow.episode import Head, Pair

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


def outcomes(head: Head, pairs: Sequence[Pair]) -> tuple[Outcome, Outcome]:
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
    """One model's tracker, rules and windows.

    Args:
        camera: its name.
        classes: the model's class names.
        version: of the model.
        options: how the camera is watched, see :class:`sightline.features.shadow.episode.Head`.
    """

    def __init__(
        self, camera: str, classes: tuple[str, ...], version: str, options: Mapping[str, Any]
    ) -> None:
        self._classes = classes
        self._min_score = float(options["min_score"])
        # An episode that was kept before there was this option has none.
        overlap = options.get("second_box_overlap", TrackerOptions().second_box_overlap)
        tracking = TrackerOptions(
            min_score=self._min_score,
            second_box_overlap=float(overlap),
            confirm_s=float(options["confirm_s"]),
            lost_s=float(options["lost_s"]),
            blind_s=float(options["blind_s"]),
        )
        self._tracker = Tracker(tracking)
        lines = {name: Line.model_validate(value) for name, value in options["lines"].items()}
        zones = {name: Zone.model_validate(value) for name, value in options["zones"].items()}
        wanted = options["classes"]
        self._rules = Rules(
            camera, lines, zones, classes=wanted, lost_s=tracking.lost_s, blind_s=tracking.blind_s
        )
        self._rules.use_model(classes)
        self._windows = WindowCounter(camera, int(options["window_s"]), classes=wanted)
        self._windows.use_model(classes, version)

    def run(self, frames: Iterable[tuple[float, Detections]]) -> Outcome:
        """Take every frame, by time. The stretch is cut out of a stream: nobody leaves at its end."""
        events: list[Event] = []
        boxes: Counter[str] = Counter()
        scores = np.zeros(SCORE_BINS, np.int64)
        for capture_time, detections in frames:
            tracks = self._tracker.update(detections, capture_time)
            events += self._rules.observe(tracks, capture_time)
            self._windows.observe(tracks, capture_time, ClockSource.PTS)
            sure = detections.class_ids[detections.scores >= self._min_score]
            boxes.update(name_of(self._classes, number) for number in sure.tolist())
            bins = np.clip(detections.scores * SCORE_BINS, 0, SCORE_BINS - 1).astype(np.int64)
            scores += np.bincount(bins, minlength=SCORE_BINS)
        self._windows.finish()
        rows, _ = self._windows.rows()
        counts = {(row.window_start, row.item_class): row.count for row in rows if row.count}
        ordered = tuple(sorted(events, key=lambda event: (event.event_time, event.place, event.kind)))
        return Outcome(counts, ordered, dict(boxes), tuple(scores.tolist()))
