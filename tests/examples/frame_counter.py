"""A feature: counts frames and says how many of them showed somebody."""

from __future__ import annotations

from collections.abc import Iterable

from sightline.analysis.observer import Observation, Observer
from sightline.entities import Figure, Result
from sightline.features import FeatureContext


class FrameCounter(Observer):
    """Goes on counting after a restart of the worker."""

    name = "frame_counter"

    def __init__(self, frames: dict[str, int] | None) -> None:
        self._frames = {"busy": 0, "empty": 0, **(frames or {})}

    def observe(self, seen: Observation) -> Iterable[Result]:
        """Count one frame."""
        self._frames["busy" if len(seen.tracks) else "empty"] += 1
        return ()

    def snapshot(self) -> dict[str, int]:
        """The counts."""
        return dict(self._frames)

    def figures(self) -> Iterable[Figure]:
        """Frames, by whether they showed somebody."""
        for kind, count in self._frames.items():
            yield Figure("frame_counter_frames_total", count, {"kind": kind}, "Frames that were tracked.")


def make(context: FeatureContext) -> FrameCounter:
    """For every camera; a feature of the package asks the camera's options."""
    return FrameCounter(dict(context.state) if context.state else None)
