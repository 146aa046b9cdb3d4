"""The one seam of the pipeline: something that turns frames into detections."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from sightline.base.stats import StageTimes
from sightline.entities import Detections, Frame


class Detector(Protocol):
    """Anything that finds boxes. The real one is :class:`sightline.inference.client.ServedDetector`."""

    def submit(self, frames: Sequence[Frame], stages: Sequence[StageTimes] = ()) -> list[Future[Detections]]:
        """Start detecting and return at once; frames complete in any order.

        The frames are of one camera or of several, and their pixels have been read when this returns. Each
        gets a future with its detections, or with a DetectorError; an error of a request belongs to each of
        its frames. ``stages``: for each frame where ``scale``, ``write`` and ``infer`` are timed, or nothing.
        """
