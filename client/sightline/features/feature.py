"""What a feature is: an observer of frames with I/O, made from a camera's options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sightline.analysis.observer import JSON, Observer
from sightline.config import Camera
from sightline.entities import ModelInfo, Variant
from sightline.inference.detector import Detector
from sightline.video.open_gate import OpenGate


class Candidate(Detector, Protocol):
    """A detector of the feature's own, behind all live frames."""

    def connect(self) -> ModelInfo:
        """Connect, also again; :class:`~sightline.errors.DetectorError`: not now."""

    def close(self) -> None:
        """End."""


#: Shows what is to be seen live: a header, and JPEG, JSON or video; True where that replaces what has not
#: been sent yet. Any thread; never waits.
Publish = Callable[[Variant, JSON, bytes], bool]


@dataclass(frozen=True, slots=True)
class FeatureContext:
    """What a feature is made from."""

    camera: Camera  # its options
    state: Mapping[str, Any] | None  # what the feature's ``snapshot`` gave last; None for nothing
    live_model: str  # the served model that the camera's boxes come from
    lossless: bool  # a recorded file: waiting is better than leaving a frame out
    is_busy: Callable[[], bool]  # whether a live frame waits to be detected
    candidate: Callable[[str], Candidate]  # connects to another served model
    gate: OpenGate  # bounds how many streams open at once
    publish: Publish = lambda *_: False
    occupancy: Callable[[], Mapping[str, int]] = dict  # by zone, how many confirmed tracks are in it


#: Makes a feature; None when the camera's options do not ask for it.
MakeFeature = Callable[[FeatureContext], Observer | None]
