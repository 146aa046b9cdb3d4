"""How far two networks agree on a video that nobody has labelled: box by box, and in counts.

Neither is the truth. A box counts when its score is sure (``min_score`` of the configuration); the other
network has it when it gives a box of the same class there (IoU 0.5) with any score that it serves: so a score
that moves from 0.26 to 0.24 is a shift of scores and no missing box.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import numpy as np

from sightline.analysis.chain import CameraAnalysis, frame_at
from sightline.analysis.options import AnalysisOptions
from sightline.analysis.pairing import pair_boxes, pair_events
from sightline.entities import CountWindow, Detections, Event, Frame, ModelInfo
from sightline.models.evaluation.cocoset import scaled_i420
from sightline.models.evaluation.onnx_engine import BareEngine

SAME_EVENT_S = 1.0  # two events of one kind, place, direction and class this near in time are one
SERVED_FLOOR = 0.1  # of an exported network, unless --score-floor says otherwise


class Watcher:
    """What one network makes of one video, by the analysis of a live camera.

    Attributes:
        detections: of every frame.
        events: what the rules saw; complete after :meth:`finish`.
    """

    def __init__(self, engine: BareEngine, site: AnalysisOptions) -> None:
        self.engine = engine
        self.detections: list[Detections] = []
        self.events: list[Event] = []
        self._analysis = CameraAnalysis(site)
        self._analysis.use_model(ModelInfo("", "candidate", tuple(engine.class_names), 0, 0, "", 0.0))
        self._last = 0.0

    def see(self, frame: Frame) -> Detections:
        """Detect, track, count and judge one frame."""
        boxes = self.engine.detect(scaled_i420(frame, self.engine.network), SERVED_FLOOR)
        self._analysis.observe(frame_at(frame.capture_time), boxes)
        self.detections.append(boxes)
        self._last = frame.capture_time
        return boxes

    def finish(self) -> tuple[CountWindow, ...]:
        """The counts of every window; call it once, after the last frame."""
        self._analysis.end(self._last)
        self.events = [result for result in self._analysis.take_results() if isinstance(result, Event)]
        return self._analysis.rows()[0]


@dataclass(slots=True)
class BoxAgreement:
    """Sums over the frames of one or more videos.

    Attributes:
        boxes: of each side, by class.
        found: of these, what the other side has.
        shifts: of scores: the second's minus the first's, of boxes that both have.
        overlaps: their IoU.
        missing: for each frame, scores of boxes that one side has alone.
    """

    boxes: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))
    found: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))
    shifts: list[float] = field(default_factory=list)
    overlaps: list[float] = field(default_factory=list)
    missing: list[float] = field(default_factory=list)

    def add(self, one: Detections, other: Detections, names: Sequence[Sequence[str]], sure: float) -> None:
        """Take in one frame."""
        pairs = pair_boxes(one, other, names, sure)
        alone = 0.0
        for side, detections in enumerate((one, other)):
            rows = np.flatnonzero(detections.scores >= sure)
            both = np.isin(rows, pairs.same[side])
            classes = [names[side][number] for number in detections.class_ids[rows]]
            self.boxes[side].update(classes)
            self.found[side].update(compress(classes, both))
            alone += float(detections.scores[rows[~both]].sum())
        self.missing.append(alone)
        self.shifts += (other.scores[pairs.same[1]] - one.scores[pairs.same[0]]).tolist()
        self.overlaps += pairs.iou.tolist()

    def describe(self) -> dict[str, Any]:
        """Shares and shifts, JSON-able."""
        shifts, totals = np.array(self.shifts or [0.0]), [side.total() for side in self.boxes]
        found = [side.total() for side in self.found]
        low, high = np.percentile(shifts, [5, 95]).tolist()
        return {
            "boxes": totals,
            "found_by_the_other": [
                part / all_ if all_ else 1.0 for part, all_ in zip(found, totals, strict=True)
            ],
            "score_shift": {"mean": float(shifts.mean()), "p5": low, "p95": high},
            "mean_iou": float(np.mean(self.overlaps or [1.0])),
            "classes": {
                name: {
                    "boxes": [side[name] for side in self.boxes],
                    "found_by_the_other": [side[name] for side in self.found],
                }
                for name in sorted(self.boxes[0] | self.boxes[1])
            },
        }


def compare_counts(one: Sequence[CountWindow], other: Sequence[CountWindow]) -> dict[str, Any]:
    """Counts by class over all windows, and every window whose counts differ."""
    sides = [{(row.window_start, row.item_class): row.count for row in rows} for rows in (one, other)]
    counts = {key: [side.get(key, 0) for side in sides] for key in sorted(sides[0] | sides[1])}
    totals: dict[str, list[int]] = {name: [0, 0] for name in sorted({name for _, name in counts})}
    for (_, name), both in counts.items():
        totals[name] = [total + count for total, count in zip(totals[name], both, strict=True)]
    differing = [
        {"window_start": start, "item_class": name, "counts": both}
        for (start, name), both in counts.items()
        if both[0] != both[1]
    ]
    return {
        "windows": len({start for start, _ in counts}),
        "totals": totals,
        "equal": len(counts) - len(differing),
        "differing": differing,
    }


def compare_events(one: Sequence[Event], other: Sequence[Event]) -> dict[str, Any]:
    """Events of one kind, place, direction and class, paired by time; and those that one side has alone."""

    def what(*parts: str | None) -> str:
        return " ".join(filter(None, parts))

    counts, alone = pair_events(one, other, SAME_EVENT_S)
    kinds = {what(place, kind, *rest): pair for (kind, place, *rest), pair in counts.items()}
    return {
        "kinds": [
            {"what": name, "events": [pair.live, pair.candidate], "both": pair.both}
            for name, pair in sorted(kinds.items())
        ],
        "alone": [
            {
                "candidate": side,
                "what": what(event.place, str(event.kind), event.direction, event.item_class),
                "event_time": event.event_time,
            }
            for side, event in sorted(alone, key=lambda item: item[1].event_time)
        ],
    }
