"""Chosen frames on their way to the disk, in a thread of their own: the live path never waits for them."""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.config.groups import DriftOptions
from sightline.entities import Detections
from sightline.features.drift.samples import Samples
from sightline.video import blur, jpeg
from sightline.video.host_copy import HostCopy
from sightline.video.picture import YuvPicture

log = logging.getLogger(__name__)

MAX_WAITING = 2  # decoded pictures that wait for the thread; more are left out and counted
SWEEP_EVERY_S = 600.0
CLOSE_S = 2.0


@dataclass(frozen=True, slots=True)
class FrameCandidate:
    """A frame that was chosen; its class ids are places in ``class_names``."""

    picture: YuvPicture | HostCopy
    captured: float
    stratum: str
    detections: Detections
    class_names: tuple[str, ...]


class FrameSampler:
    """Takes frames from the main thread; its own thread owns folder, scaler and encoder.

    The thread keeps its usual priority on purpose: a thread of low priority that holds the interpreter's
    lock while it waits for a core would hold up the live path. Scaling and encoding run without that lock.
    """

    def __init__(self, source: str, options: DriftOptions) -> None:
        self.kept = 0  # pictures written
        self.lost = 0  # frames left out: the thread was busy, or the disk did not take them
        self.refused = 0  # frames left out: what is to be blurred is no class of the model
        self._source = source
        self._options = options
        self._samples = Samples(source, options)
        self._copier = jpeg.PictureCopier()
        self._queue: queue.Queue[FrameCandidate | None] = queue.Queue(MAX_WAITING)
        self._said = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drift", daemon=True)
        self._thread.start()

    def offer(self, candidate: FrameCandidate) -> None:
        """Hand a frame over; never waits."""
        try:
            self._queue.put_nowait(candidate)
        except queue.Full:
            self.lost += 1

    def close(self) -> None:
        """Write what waits, for at most :data:`CLOSE_S`; then the process may end."""
        self._stopping.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        self._guarded(self._samples.open)
        next_sweep_s = time.monotonic() + SWEEP_EVERY_S
        while True:
            try:
                candidate = self._queue.get(timeout=0.2)
            except queue.Empty:
                if self._stopping.is_set():
                    return
                candidate = None
            if candidate is not None:
                self._guarded(lambda chosen=candidate: self._take(chosen))
            if time.monotonic() >= next_sweep_s:
                next_sweep_s = time.monotonic() + SWEEP_EVERY_S
                self._guarded(self._samples.sweep)

    def _guarded(self, what: Any) -> None:
        """Do it; say once why it cannot be done."""
        try:
            what()
        except (OSError, ValueError) as error:
            self.lost += 1
            self._say(f"pictures cannot be kept: {getattr(error, 'strerror', None) or error}")

    def _take(self, chosen: FrameCandidate) -> None:
        problem = blur.why_not(self._options.blur, chosen.class_names)
        if problem:
            self.refused += 1
            self._say(f"no pictures are kept: {problem}")
            return
        place = self._samples.place(chosen.captured, chosen.stratum)
        if place is None:
            return
        picture = self._copier.copy(chosen.picture)
        names = _names(chosen)
        for area in blur.areas(self._options.blur, chosen.detections.xyxy, names):
            blur.cover(picture, area)
        encoded = jpeg.encode(picture)
        found = self._described(chosen, names, encoded, (picture.shape[1], picture.shape[0] * 2 // 3))
        self._samples.keep(chosen.captured, chosen.stratum, place, encoded, found)
        self.kept += 1

    def _described(
        self, chosen: FrameCandidate, names: list[str], encoded: bytes, size: tuple[int, int]
    ) -> dict[str, Any]:
        detections, model = chosen.detections, chosen.detections.model
        return {
            "camera": self._source,
            "capture_time": round(chosen.captured, 3),
            "stratum": chosen.stratum,
            "width": size[0],
            "height": size[1],
            "sha256": hashlib.sha256(encoded).hexdigest(),
            "blurred": [str(item) for item in self._options.blur],
            "model": model.name if model else "",
            "model_version": model.version if model else "",
            "class_names": list(model.class_names if model else chosen.class_names),
            "classes": names,
            "scores": np.round(detections.scores.astype(np.float64), 4).tolist(),
            "xyxy": np.round(detections.xyxy.astype(np.float64), 5).tolist(),
        }

    def _say(self, text: str) -> None:
        if text != self._said:
            log.warning("camera %s: %s", self._source, text)
            self._said = text


def _names(chosen: FrameCandidate) -> list[str]:
    known = len(chosen.class_names)
    return [
        chosen.class_names[number] if 0 <= number < known else ""
        for number in chosen.detections.class_ids.tolist()
    ]
