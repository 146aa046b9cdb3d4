"""The one seam of the pipeline: something that turns a frame into detections."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from sightline.entities import Detections, Frame


class Detector(Protocol):
    """Anything that finds boxes. The real one is :class:`sightline.inference.client.TritonDetector`."""

    def submit(self, frame: Frame) -> Future[Detections]:
        """Start detecting and return at once; frames complete in any order.

        The frame's pixels have been read when this returns, so the caller may let go of it.

        Returns:
            A future that gives the detections, or raises a :class:`sightline.errors.DetectorError`.
        """
