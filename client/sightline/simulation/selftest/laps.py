"""A looped scene, lap by lap: each time it plays from its first second to its last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sightline.features.track_log import TrackedFrame
from sightline.simulation.selftest.evidence import ClaimedEvent, Evidence

#: The scene's clock went back by more than this: a new lap.
BACK_S = 1.0


@dataclass(frozen=True, slots=True)
class Lap:
    """The frames of a lap that is over."""

    frames: tuple[TrackedFrame, ...]

    @property
    def start_time(self) -> float:
        """Capture time of its first frame."""
        return self.frames[0].capture_time

    @property
    def end_time(self) -> float:
        """Capture time of its last frame."""
        return self.frames[-1].capture_time


def finished(frames: Sequence[TrackedFrame]) -> list[Lap]:
    """Every whole lap, oldest first: not the first, which may have begun in its middle, nor the last."""
    read = [frame for frame in frames if frame.scene_s is not None]
    starts = [i for i in range(1, len(read)) if _scene(read[i]) < _scene(read[i - 1]) - BACK_S]
    return [Lap(tuple(read[a:b])) for a, b in pairwise(starts)]


def evidence(
    lap: Lap, events: Sequence[ClaimedEvent], began_time: float | None, length_s: float, fps: float
) -> Evidence:
    """What a lap left behind; ``began_time`` is when the player began with its first lap."""
    begun = began_time
    if begun is not None:
        first = lap.frames[0]
        begun += round((first.capture_time - _scene(first) - begun) / length_s) * length_s
    mine = tuple(e for e in events if lap.start_time <= e.event_time <= lap.end_time)
    return Evidence(lap.frames, mine, {}, len(lap.frames) / fps, 0, begun, fps)


def _scene(frame: TrackedFrame) -> float:
    return frame.scene_s if frame.scene_s is not None else 0.0
