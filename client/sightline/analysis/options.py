"""What shapes one camera's boxes into tracks, events and counts, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sightline.analysis.tracking.tracker_options import TrackerOptions
from sightline.config import Camera
from sightline.config.zones import Line, Zone


@dataclass(frozen=True, slots=True)
class AnalysisOptions:
    """How one camera's frames are analysed.

    Attributes:
        camera: its name, the ``source`` of every row.
        tracker: how tracks start, hold and end.
        max_gap_s: a gap between frames longer than this ends every track and every visit.
        window_s: length of a counting window in seconds, a divisor of a day.
        classes: names to count and to make events of; None: all.
        lines, zones: by name.
        config_hash: written into every source row.
        max_clock_skew_s: by how much the camera's clock may differ from ours and still be believed.
    """

    camera: str
    tracker: TrackerOptions = field(default_factory=TrackerOptions)
    max_gap_s: float = 10.0
    window_s: int = 60
    classes: tuple[str, ...] | None = None
    lines: Mapping[str, Line] = field(default_factory=dict)
    zones: Mapping[str, Zone] = field(default_factory=dict)
    config_hash: str = ""
    max_clock_skew_s: float = 10.0


def analysis_options(camera: Camera) -> AnalysisOptions:
    """What a camera's configuration says about its analysis."""
    return AnalysisOptions(
        camera=camera.name,
        tracker=TrackerOptions(
            min_score=camera.detect.min_score,
            dedupe_iou=camera.detect.dedupe_iou,
            confirm_s=camera.track.confirm_s,
            max_lost_s=camera.track.max_lost_s,
        ),
        max_gap_s=camera.track.max_gap_s,
        window_s=camera.count.window_s,
        classes=camera.count.classes,
        lines=camera.rules.lines,
        zones=camera.rules.zones,
        config_hash=camera.config_hash,
        max_clock_skew_s=camera.stream.max_clock_skew_s,
    )
