"""Chosen frames on their way to the disk, in a thread of their own: the live path never waits for them."""

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait

import numpy as np

from sightline.base.logs import WarnOnce
from sightline.base.threads import SideThreads
from sightline.config.groups import DriftOptions
from sightline.entities import U8, Detections
from sightline.features.drift.samples import Samples
from sightline.video import blur
from sightline.video.picture import YuvPicture, encode_jpeg, full_range

log = logging.getLogger(__name__)

MAX_WAITING = 2  # decoded pictures that wait for the thread; more are left out and counted
SWEEP_EVERY_S = 600.0
CLOSE_S = 2.0


class FrameSampler:
    """Takes frames from the main thread; its own thread owns folder, scaler and encoder.

    The thread keeps its usual priority on purpose: a thread of low priority that holds the interpreter's
    lock while it waits for a core would hold up the live path. Scaling and encoding run without that lock.
    """

    def __init__(self, source: str, options: DriftOptions) -> None:
        self.kept = 0  # pictures written
        self.lost = 0  # frames left out: the thread was busy, or the disk did not take them
        self.refused = 0  # frames left out: what is to be blurred is no class of the model
        self._source, self._options, self._samples = source, options, Samples(source, options)
        self._warnings = WarnOnce(log)
        self._thread = SideThreads("drift", 1)
        self._at_work: list[Future[None]] = []
        self._next_sweep_s = time.monotonic() + SWEEP_EVERY_S
        self._submit(self._samples.open)

    def offer(
        self, picture: YuvPicture | U8, captured: float, stratum: str, found: Detections, names: Sequence[str]
    ) -> None:
        """Hand a frame (U8: I420 of limited range) over; class ids are places in ``names``. Never waits."""
        if self.waiting > MAX_WAITING:
            self.lost += 1
        else:
            self._submit(lambda: self._take(picture, captured, stratum, found, names))

    @property
    def waiting(self) -> int:
        """What the thread has not done yet, with what it does now; raises what no disk or picture did."""
        for done in [future for future in self._at_work if future.done()]:
            self._at_work.remove(done)
            done.result()
        return len(self._at_work)

    def tick(self) -> None:
        """Time passes: delete old pictures every now and then."""
        if time.monotonic() >= self._next_sweep_s:
            self._next_sweep_s = time.monotonic() + SWEEP_EVERY_S
            self._submit(self._samples.sweep)

    def close(self) -> None:
        """Write what waits, for at most :data:`CLOSE_S`; then the process may end."""
        wait(self._at_work, CLOSE_S)
        self._thread.close()

    def _submit(self, what: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                what()
            except (OSError, ValueError) as error:
                self.lost += 1
                problem = getattr(error, "strerror", None) or error
                self._warnings.warn_once(f"camera {self._source}: pictures cannot be kept: {problem}")

        self._at_work.append(self._thread.submit(guarded))

    def _take(
        self, frame: YuvPicture | U8, captured: float, stratum: str, found: Detections, known: Sequence[str]
    ) -> None:
        if problem := blur.why_not(self._options.blur, found.model, known):
            self.refused += 1
            self._warnings.warn_once(f"camera {self._source}: no pictures are kept: {problem}")
            return
        if (place := self._samples.place(captured, stratum)) is None:
            return
        model = found.model
        names = [known[i] if 0 <= i < len(known) else "" for i in found.class_ids.tolist()]
        picture = frame.copy_full_range() if isinstance(frame, YuvPicture) else full_range(frame)
        blur.hide(picture, self._options.blur, found.xyxy, names)
        encoded = encode_jpeg(picture)
        record = {
            "camera": self._source,
            "capture_time": round(captured, 3),
            "stratum": stratum,
            "width": picture.shape[1],
            "height": picture.shape[0] * 2 // 3,
            "sha256": hashlib.sha256(encoded).hexdigest(),
            "blurred": [str(item) for item in self._options.blur],
            "model": model.name if model else "",
            "model_version": model.version if model else "",
            "class_names": list(model.class_names if model else known),
            "classes": names,
            "scores": np.round(found.scores.astype(np.float64), 4).tolist(),
            "xyxy": np.round(found.xyxy.astype(np.float64), 5).tolist(),
        }
        self._samples.keep(captured, stratum, place, encoded, record)
        self.kept += 1
