"""What a feature is: an observer of frames with I/O, made from a camera's options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sightline.analysis.observer import Observer
from sightline.config import Camera
from sightline.entities import ModelInfo
from sightline.inference.detector import Detector


class Candidate(Detector, Protocol):
    """A detector of the feature's own, behind all live frames."""

    def connect(self) -> ModelInfo:
        """Connect, also again.

        Raises:
            DetectorError: not now.
        """

    def close(self) -> None:
        """End."""


@dataclass(frozen=True, slots=True)
class FeatureContext:
    """What a feature is made from.

    Attributes:
        camera: its options.
        state: what the feature's ``snapshot`` gave last; None for nothing.
        live_model: the served model that the camera's boxes come from.
        lossless: a recorded file: waiting is better than leaving a frame out.
        is_busy: whether a live frame waits to be detected.
        candidate: connects to another served model.
    """

    camera: Camera
    state: Mapping[str, Any] | None
    live_model: str
    lossless: bool
    is_busy: Callable[[], bool]
    candidate: Callable[[str], Candidate]


@dataclass(frozen=True, slots=True)
class Feature:
    """One line of the list of features.

    Attributes:
        name: also the key of its part of a camera's resume state.
        make: an observer at work; None when the camera's options do not ask for it.
    """

    name: str
    make: Callable[[FeatureContext], Observer | None]
