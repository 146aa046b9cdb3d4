"""How far two networks agree on a video that nobody has labelled: box by box, and in counts.

Neither is the truth. A box counts when its score is sure (``min_score`` of the configuration); the other
network has it when it gives a box of the same class there (IoU 0.5) with any score that it serves: so a score
that moves from 0.26 to 0.24 is a shift of scores and no missing box.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from sightline.analysis.box_pairs import pair_boxes
from sightline.analysis.chain import CameraAnalysis, frame_at
from sightline.analysis.event_pairs import pair_events
from sightline.analysis.options import AnalysisOptions, analysis_options
from sightline.config import load_config
from sightline.entities import ClockSource, CountWindow, Detections, Event, Frame, ModelInfo
from sightline.errors import EvaluationError
from sightline.models.evaluation.cocoset import scaled_i420
from sightline.models.evaluation.onnx_engine import BareEngine
from sightline.video.picture import YuvPicture

SAME_EVENT_S = 1.0  # two events of one kind, place, direction and class this near in time are one
SERVED_FLOOR = 0.1  # of an exported network, unless --score-floor says otherwise


def frames_of(path: Path, fps: float | None = None, seconds: float | None = None) -> Iterator[Frame]:
    """Frames of a recorded file with its own times; at most ``fps`` a second, the first ``seconds`` alone.

    Raises:
        EvaluationError: the file is no video.
    """
    scaler, due = VideoReformatter(), 0.0
    try:
        with av.open(str(path)) as container:
            for index, picture in enumerate(container.decode(video=0)):
                time = float(picture.time or 0.0)
                if seconds is not None and time >= seconds:
                    return
                if fps is None or time >= due - 1e-3:
                    due = max(due + 1 / fps, time) if fps else 0.0
                    yield Frame(YuvPicture(picture, scaler), index, time, time, ClockSource.PTS, 0.0)
    except av.FFmpegError as error:
        raise EvaluationError(f"{path.name} cannot be read: {error}") from error


def site_of(config: Path, name: str) -> AnalysisOptions:
    """How a camera of a configuration is analysed.

    Raises:
        ConfigError: the file is none.
        EvaluationError: it has no such camera.
    """
    camera = load_config(config).cameras.get(name)
    if camera is None:
        raise EvaluationError(f"{config} has no usable camera {name!r}")
    return analysis_options(camera)


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

    def see(self, frame: Frame) -> None:
        """Detect, track, count and judge one frame."""
        found = self.engine.detect(scaled_i420(frame, self.engine.network), SERVED_FLOOR)
        self.take(found, frame.capture_time)

    def take(self, found: Detections, time: float) -> None:
        """The same with boxes that are there already."""
        self._analysis.observe(frame_at(time), found)
        self.detections.append(found)
        self._last = time

    def finish(self) -> tuple[CountWindow, ...]:
        """The counts of every window; call it once, after the last frame."""
        self._analysis.end(self._last)
        self.events = [result for result in self._analysis.take_results() if isinstance(result, Event)]
        return self._analysis.rows()[0]


@dataclass(slots=True)
class BoxAgreement:
    """Sums over the frames of one or more videos."""

    boxes: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))
    found: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))
    shifts: list[float] = field(default_factory=list)  # the second's score minus the first's
    overlaps: list[float] = field(default_factory=list)  # IoU of boxes that both have
    missing: list[float] = field(
        default_factory=list
    )  # for each frame, scores of boxes that one side has alone

    def add(self, one: Detections, other: Detections, names: Sequence[Sequence[str]], sure: float) -> None:
        """Take in one frame."""
        pairs = pair_boxes(one, other, names, sure)
        alone = 0.0
        for side, detections in enumerate((one, other)):
            both = set(pairs.same[side].tolist())
            for row in np.flatnonzero(detections.scores >= sure).tolist():
                name = names[side][detections.class_ids[row]]
                self.boxes[side][name] += 1
                self.found[side][name] += row in both
                alone += 0.0 if row in both else float(detections.scores[row])
        self.missing.append(alone)
        self.shifts += (other.scores[pairs.same[1]] - one.scores[pairs.same[0]]).tolist()
        self.overlaps += pairs.iou.tolist()

    def describe(self) -> dict[str, Any]:
        """Shares and shifts, JSON-able."""
        shifts, overlaps = np.array(self.shifts or [0.0]), np.array(self.overlaps or [1.0])
        names = sorted(set(self.boxes[0]) | set(self.boxes[1]))
        return {
            "boxes": [sum(side.values()) for side in self.boxes],
            "found_by_the_other": [_share(self.found[side], self.boxes[side]) for side in (0, 1)],
            "score_shift": {
                "mean": float(shifts.mean()),
                "p5": float(np.percentile(shifts, 5)),
                "p95": float(np.percentile(shifts, 95)),
            },
            "mean_iou": float(overlaps.mean()),
            "classes": {
                name: {
                    "boxes": [side[name] for side in self.boxes],
                    "found_by_the_other": [side[name] for side in self.found],
                }
                for name in names
            },
        }


def _share(part: Counter[str], whole: Counter[str]) -> float:
    total = sum(whole.values())
    return sum(part.values()) / total if total else 1.0


def compare_counts(one: Sequence[CountWindow], other: Sequence[CountWindow]) -> dict[str, Any]:
    """Counts by class over all windows, and every window whose counts differ."""
    sides = [{(row.window_start, row.item_class): row.count for row in rows} for rows in (one, other)]
    keys = sorted(set(sides[0]) | set(sides[1]))
    counts = [(*key, sides[0].get(key, 0), sides[1].get(key, 0)) for key in keys]
    names = sorted({name for _, name, _, _ in counts})
    differing = [
        {"window_start": start, "item_class": name, "counts": [first, second]}
        for start, name, first, second in counts
        if first != second
    ]
    return {
        "windows": len({start for start, _ in keys}),
        "totals": {
            name: [sum(row[2 + side] for row in counts if row[1] == name) for side in (0, 1)]
            for name in names
        },
        "equal": len(counts) - len(differing),
        "differing": differing,
    }


def compare_events(one: Sequence[Event], other: Sequence[Event]) -> dict[str, Any]:
    """Events of one kind, place, direction and class, paired by time; and those that one side has alone."""
    counts, alone = pair_events(one, other, SAME_EVENT_S)
    kinds = {_what(place, kind, *rest): pair for (kind, place, *rest), pair in counts.items()}
    return {
        "kinds": [
            {"what": what, "events": [pair.live, pair.candidate], "both": pair.both}
            for what, pair in sorted(kinds.items())
        ],
        "alone": [
            {
                "candidate": side,
                "what": _what(event.place, str(event.kind), event.direction or "", event.item_class),
                "event_time": event.event_time,
            }
            for side, event in sorted(alone, key=lambda item: item[1].event_time)
        ],
    }


def _what(*parts: str) -> str:
    return " ".join(filter(None, parts))
