"""What to cover in each picture of a video, from the boxes of those of its pictures that were analysed.

A detector sees some pictures only, and misses somebody now and then. So a track's area is interpolated
between its boxes, and stays for a while before the first and after the last one, also where it is likely to
have come from and to have gone to. Where nothing was analysed for long, all of the picture is covered.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from sightline.base.geometry import iou_matrix
from sightline.config.groups import Blurred
from sightline.entities import Detections, Tracks
from sightline.video.blur import Area, area_of

HOLD_S, LEAD_S = 1.0, 0.5  # after the last box of a track, and before its first
MAX_BLIND_S = 2.0  # between two analysed pictures
MAX_SHIFT = 2.0  # sizes of its box that a track is taken to go beyond its boxes
EPSILON_S = 1e-3  # times of packets and pictures are rounded each in its way
SAME_IOU = 0.5  # of a track and the detector's box of it
NO_TRACK = -1  # id of a box that no track has
EVERYTHING: Area = (0.0, 0.0, 1.0, 1.0)
#: What is to be covered in an analysed picture: the track's id, and left, top, right, bottom.
HiddenRow = tuple[int, float, float, float, float]


@dataclass(slots=True)
class _Trail:
    """Boxes of one track, in their order."""

    times: list[float] = field(default_factory=list)
    areas: list[Area] = field(default_factory=list)


def hidden_rows(
    blur: Collection[Blurred],
    tracks: Tracks,
    track_names: Sequence[str],
    detections: Detections,
    detection_names: Sequence[str],
) -> list[HiddenRow]:
    """What to cover in an analysed picture: tracks, and boxes of any score that are no track's.

    A track's filtered box lags behind a little, so it is taken together with the detector's.

    Args:
        blur: what is asked for.
        tracks: of the picture.
        track_names: their classes' names.
        detections: of the picture.
        detection_names: their classes' names.
    """
    iou, boxes = iou_matrix(detections.xyxy, tracks.xyxy), tracks.xyxy.copy()
    rows: list[HiddenRow] = []
    for at, name in enumerate(detection_names):
        box = detections.xyxy[at]
        same = int(iou[at].argmax()) if len(tracks) else -1
        if same >= 0 and iou[at, same] >= SAME_IOU and name == track_names[same]:
            boxes[same, :2] = np.minimum(boxes[same, :2], box[:2])
            boxes[same, 2:] = np.maximum(boxes[same, 2:], box[2:])
        elif area := area_of(blur, box.tolist(), name):
            rows.append((NO_TRACK, *area))
    for track, box, name in zip(tracks.ids.tolist(), boxes.tolist(), track_names, strict=True):
        if area := area_of(blur, box, name):
            rows.append((track, *area))
    return rows


class HiddenAreas:
    """Tells what to cover at any time.

    Args:
        frames: for each analysed picture its time, rising, and what is to be covered in it.
    """

    def __init__(self, frames: Iterable[tuple[float, Sequence[HiddenRow]]]) -> None:
        self._times: list[float] = []
        self._loose: list[list[Area]] = []  # of each analysed picture, the areas that belong to no track
        self._trails: defaultdict[int, _Trail] = defaultdict(_Trail)
        for time_s, rows in frames:
            self._times.append(time_s)
            self._loose.append([])
            for track, left, top, right, bottom in rows:
                if track == NO_TRACK:
                    self._loose[-1].append((left, top, right, bottom))
                else:
                    self._trails[track].times.append(time_s)
                    self._trails[track].areas.append((left, top, right, bottom))

    def at(self, time_s: float) -> list[Area]:
        """The areas to cover in the picture of that time."""
        after = bisect_right(self._times, time_s + EPSILON_S)
        seen = after > 0 and time_s - self._times[after - 1] <= EPSILON_S
        if seen:  # it was analysed itself
            after -= 1
        elif not 0 < after < len(self._times) or self._times[after] - self._times[after - 1] > MAX_BLIND_S:
            return [EVERYTHING]
        before = after if seen else after - 1
        areas = [area for at in {before, after} for area in self._loose[at]]
        for trail in self._trails.values():
            areas += self._of_track(trail, time_s)
        return areas

    def _of_track(self, trail: _Trail, time_s: float) -> Iterator[Area]:
        times = trail.times
        after = bisect_left(times, time_s - EPSILON_S)
        if after < len(times) and times[after] <= time_s + EPSILON_S:
            yield trail.areas[after]
            return
        has_both = 0 < after < len(times)
        if has_both and times[after] - times[after - 1] <= 2 * HOLD_S:
            share = (time_s - times[after - 1]) / (times[after] - times[after - 1])
            low, high = np.array(trail.areas[after - 1]), np.array(trail.areas[after])
            left, top, right, bottom = (low + share * (high - low)).tolist()
            yield left, top, right, bottom
            return
        if after > 0 and time_s - times[after - 1] <= max(HOLD_S, self._step_s(times[after - 1], 1)):
            yield _beyond(trail, after - 1, after - 2, time_s)
        if after < len(times) and times[after] - time_s <= max(LEAD_S, self._step_s(times[after], -1)):
            yield _beyond(trail, after, after + 1, time_s)

    def _step_s(self, time_s: float, step: int) -> float:
        """Seconds from an analysed picture to the next one, or the one before."""
        at = bisect_left(self._times, time_s) + step
        return abs(self._times[at] - time_s) if 0 <= at < len(self._times) else 0.0


def _beyond(trail: _Trail, end: int, inner: int, time_s: float) -> Area:
    """The box at an end of a track, stretched to where it would be at another time."""
    left, top, right, bottom = trail.areas[end]
    if not 0 <= inner < len(trail.times):
        return left, top, right, bottom
    span_s = trail.times[end] - trail.times[inner]
    if abs(span_s) > 2 * HOLD_S:
        return left, top, right, bottom
    box, other = np.array(trail.areas[end]), np.array(trail.areas[inner])
    shift = (box - other).reshape(2, 2).mean(axis=0) * ((time_s - trail.times[end]) / span_s)
    most = MAX_SHIFT * np.array([right - left, bottom - top])
    x, y = np.clip(shift, -most, most).tolist()
    return left + min(x, 0.0), top + min(y, 0.0), right + max(x, 0.0), bottom + max(y, 0.0)
