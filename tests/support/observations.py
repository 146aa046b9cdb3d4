"""Observations for tests of a single observer: frames of a camera whose tracks the test invents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sightline.analysis.chain import frame_at
from sightline.analysis.classes import ClassTable
from sightline.analysis.observer import Observation
from sightline.analysis.timebase import Timebase
from sightline.entities import ClockSource, Detections, Frame, ModelInfo, Tracks


class Watched:
    """One camera's time and classes, from which observations are made."""

    def __init__(
        self, class_names: Sequence[str], *, max_gap_s: float = 10.0, state: dict[str, Any] | None = None
    ) -> None:
        self.classes = ClassTable(enumerate(class_names))
        self.timebase = Timebase(max_gap_s, state)

    def __call__(
        self,
        at: Frame | float,
        tracks: Tracks | None = None,
        detections: Detections | None = None,
        *,
        clock_source: ClockSource = ClockSource.PTS,
        model_version: str = "",
    ) -> Observation:
        """A frame, or one without a picture of that capture time."""
        frame = at if isinstance(at, Frame) else frame_at(at, clock_source)
        return Observation(
            frame,
            Detections.empty() if detections is None else detections,
            Tracks.empty() if tracks is None else tracks,
            self.classes,
            self.timebase.advance(frame.capture_time),
            model=_model(model_version, self.classes) if model_version else None,
        )


def _model(version: str, classes: ClassTable) -> ModelInfo:
    return ModelInfo("detector", version, classes.names, 384, 640, "fp32", 0.1)
