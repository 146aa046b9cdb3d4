"""What shapes one camera's boxes into tracks, events and counts, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sightline.analysis.tracking.kalman import MotionModel
from sightline.config import Camera
from sightline.config.zones import Line, Zone


@dataclass(frozen=True, slots=True)
class TrackerOptions:
    """How tracks start, hold and end. Scores are 0..1, times seconds.

    As in ByteTrack, boxes with at least ``min_score`` are *high*, those with less *low*.
    """

    min_score: float = 0.25  # a track starts only by a box with at least this score
    low_score: float = 0.1  # boxes with less are ignored
    confirm_s: float = 0.5  # from first to latest high box
    confirm_share: float = 0.4  # of that time lately, in which it must have had high boxes, or have moved
    max_lost_s: float = 3.0  # watched time without a box after which a track has ended
    min_iou: float = 0.2  # IoU of a predicted and a high box
    min_low_iou: float = 0.5  # the same for a low box where others are near
    max_deviation: float = 3.0  # second chance: standard deviations from the predicted position
    max_distance: float = 2.0  # second chance: object sizes from the predicted position
    max_side_ratio: float = 2.0  # second chance: how much wider or higher the box may be
    class_penalty: float = 0.4  # overlap that a class the track was never seen with costs
    dedupe_iou: float = 0.6  # a box that overlaps a better one of its class by this is the same object
    dedupe_other_iou: float = 0.7  # the same for one of another class
    max_start_iou: float = 0.8  # a box that overlaps a tracked one by this starts no track
    soft_nms_sigma: float = 0.5  # Soft-NMS: a new box's score is scaled by exp(-IoU² / sigma)
    motion: MotionModel = field(default_factory=MotionModel)


@dataclass(frozen=True, slots=True)
class AnalysisOptions:
    """How one camera's frames are analysed."""

    camera: str  # its name, the ``source`` of every row
    tracker: TrackerOptions = field(default_factory=TrackerOptions)  # how tracks start, hold and end
    max_gap_s: float = 10.0  # a gap between frames longer than this ends every track and every visit
    window_s: int = 60  # length of a counting window in seconds, a divisor of a day
    classes: tuple[str, ...] | None = None  # names to count and to make events of; None: all
    lines: Mapping[str, Line] = field(default_factory=dict)  # by name
    zones: Mapping[str, Zone] = field(default_factory=dict)
    config_hash: str = ""  # written into every source row
    # by how much the camera's clock may differ from ours and still be believed
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
