"""The observation of one frame, the same for every observer, and what an observer is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sightline.analysis.classes import ClassTable
from sightline.analysis.timebase import Moment
from sightline.entities import Detections, Figure, Frame, ModelInfo, Result, Tracks

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Observation:
    """One tracked frame.

    Attributes:
        frame: the picture and its times.
        detections: every box of the detector.
        tracks: those that have a box in this frame.
        classes: what the class ids of ``detections`` and ``tracks`` mean; the same numbers for as long as the
            camera runs, whatever versions of the network come and go.
        moment: its place in time.
        results: of the pure observers, which run before those with I/O.
        model: the network that made the boxes, by whose own numbers their classes no longer go; None when it
            is not known.
    """

    frame: Frame
    detections: Detections
    tracks: Tracks
    classes: ClassTable
    moment: Moment
    results: Sequence[Result] = ()
    model: ModelInfo | None = None

    @property
    def model_version(self) -> str:
        """Of the network that made the boxes; empty when that is not known."""
        return self.model.version if self.model else ""


@dataclass(frozen=True, slots=True)
class Doubt:
    """What the frames show may not be what the camera is to watch."""

    since: float  # capture time up to which it was
    certain: bool  # it is not, and what came after that was not watched; False: that will be known soon


class Observer(Protocol):
    """Something that looks at every tracked frame: rules and windows (pure), features (with I/O).

    Subclass it: what an observer does not need it inherits. Every method is called by one thread and must not
    block. A pure observer that fails restarts its camera; a feature that fails is switched off.
    """

    name: str

    @property
    def doubt(self) -> Doubt | None:
        """Whether the frames that come now show what is to be watched; asked before each of them."""
        return None

    def observe(self, seen: Observation) -> Iterable[Result]:
        """Take one tracked frame; the results that it made certain."""

    def tick(self, now: float, silent: bool) -> Iterable[Result]:
        """Time passes, also without frames; called about four times a second.

        Args:
            now: UTC epoch seconds.
            silent: no frame has come for a second or more.
        """
        return ()

    def end(self, time: float) -> Iterable[Result]:
        """No frame that follows shows the same scene: a file has ended, or the picture has another size.

        Args:
            time: capture time of the last frame, or of the first that differs.
        """
        return ()

    def update(self, options: Any) -> None:
        """Other options hold from the next frame on; what was seen so far goes on."""
        return

    def request(self, message: object) -> None:
        """A word from the supervisor: subscribe, snapshot, cut a clip."""
        return

    def snapshot(self) -> JSON:
        """What a successor goes on from; JSON-able, empty for nothing."""
        return {}

    def problem(self) -> str:
        """What is wrong, for people, while its camera goes on all the same; empty: nothing."""
        return ""

    def figures(self) -> Iterable[Figure]:
        """Numbers about its work."""
        return ()

    def close(self) -> None:
        """Write what waits, and end."""
        return
