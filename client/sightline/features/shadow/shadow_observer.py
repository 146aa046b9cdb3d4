"""The observer that mirrors a sample of a camera's live frames to a candidate, and keeps what both found.

The live path comes first. It hands a frame over after its tracks are known, if the candidate has room for it,
and never waits; everything else happens in a thread of the shadow's own. ``docs/shadow.md`` has the meaning.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from sightline.analysis.observer import Observation, Observer
from sightline.base.backoff import Backoff
from sightline.base.geometry import fit_size
from sightline.base.letterbox import planes_in, split_i420
from sightline.config import Camera
from sightline.entities import U8, Box, Detections, Figure, Frame, ModelInfo
from sightline.errors import DetectorError, DetectorTimeout, DetectorUnavailable
from sightline.features.feature import Candidate
from sightline.features.shadow.episode_sampling import EpisodeSampler
from sightline.features.shadow.recorder import Answer, Recorder

log = logging.getLogger(__name__)

WAITING = 3  # frames handed over and not yet looked at
DEADLINE_S = 2.0  # for the candidate's answer
CONNECT_S = 15.0  # a recorded file waits so long for the candidate
CLOSE_S = 3.0

AWAY = "the candidate is away"
BUSY = "the live path was busy"
SLOW = "the candidate is slower than the camera"
LATE = "the candidate did not answer in time"


class ScaledPicture:
    """A picture that has been scaled already."""

    scale_s = 0.0

    def __init__(self, i420: U8) -> None:
        """Keep uint8 [3/2·height, width]."""
        self.i420 = i420
        self.width, self.height = i420.shape[1], i420.shape[0] * 2 // 3

    def write_i420(self, out: U8, box: Box | None = None) -> None:
        """Copy it.

        Raises:
            ValueError: ``box`` has another size: another version of the candidate serves now.
        """
        for part, plane in zip(planes_in(out, box), split_i420(self.i420), strict=True):
            np.copyto(part, plane)


@dataclass(frozen=True, slots=True)
class _Item:
    """What the live path hands over."""

    lost: Mapping[tuple[int, str], int]  # frames not handed over since the last time, by interval and reason
    interval_no: int | None = None  # None: the interval is over
    frame: Frame | None = None
    live: Answer | None = None


class Shadow(Observer):
    """One camera's candidate.

    The main thread calls :meth:`observe` and :meth:`close`; a thread of its own owns the candidate's
    connection, the comparison and the files. A bounded queue is between them.
    """

    name = "shadow"

    def __init__(
        self,
        camera: Camera,
        candidate: Candidate,
        *,
        live_model: str = "",
        lossless: bool = False,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        """Start.

        Args:
            camera: whose frames; its ``shadow`` says how many.
            candidate: what looks at them.
            live_model: the served model that the camera's boxes come from.
            lossless: recorded files: wait for the candidate, so that no frame is left out.
            busy: whether a live frame waits; then nothing is mirrored.
        """
        options = camera.shadow
        self._camera = camera
        self._candidate = candidate
        self._lossless = lossless
        self._busy = busy
        self._sampler = EpisodeSampler(
            camera.name, share=options.share, episode_s=options.episode_s, seed=options.seed
        )
        self._recorder = Recorder(camera, live_model)
        self._queue: queue.Queue[_Item | None] = queue.Queue(WAITING)
        self._lost: Counter[tuple[int, str]] = Counter()
        self._open = False  # an interval has begun and its end has not been handed over
        self._info: ModelInfo | None = None  # None: not connected; the thread sets it
        self._tried = threading.Event()  # to connect
        self._backoff = Backoff(1.0, 30.0)
        self._next_connect_s = 0.0
        self._problem = ""
        self.mirrored = 0  # frames handed over
        self.dropped = 0  # frames of chosen intervals that were not
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    # -- the main thread --------------------------------------------------------------------------------

    def observe(self, seen: Observation) -> tuple[()]:
        """Take a frame whose tracks are known; its picture is read before this returns."""
        frame = seen.frame
        interval_no = self._sampler.interval_no(frame.capture_time)
        if interval_no is None:
            if self._open and self._offer(_Item(self._lost)):
                self._open, self._lost = False, Counter()
            return ()
        self._open = True
        why = self._why_not()
        if not why:
            live = Answer(seen.detections, seen.classes.names, seen.model_version)
            if self._offer(_Item(self._lost, interval_no, self._copy(frame), live)):
                self._lost = Counter()
                self.mirrored += 1
                return ()
            why = SLOW
        self._lost[interval_no, why] += 1
        self.dropped += 1
        return ()

    def update(self, options: Camera) -> None:
        """Other thresholds, lines and zones hold from the next frame on."""
        self._recorder.update(options)

    @property
    def connected(self) -> bool:
        """Whether the candidate is there."""
        return self._info is not None

    def figures(self) -> tuple[Figure, ...]:
        """Frames of chosen intervals, by what became of them."""
        fates = {"mirrored": self.mirrored, "dropped": self.dropped}
        text = "Frames of the intervals chosen for a shadow model: mirrored to it, or dropped."
        return tuple(
            Figure("shadow_frames_total", count, {"fate": fate}, text) for fate, count in fates.items()
        )

    def close(self) -> None:
        """Write what was collected, and end."""
        end_s = time.monotonic() + (CONNECT_S if self._lossless else CLOSE_S)
        with contextlib.suppress(queue.Full):  # the thread hangs; it is told by the process' end
            self._queue.put(None, timeout=end_s - time.monotonic())
        self._thread.join(max(0.0, end_s - time.monotonic()))
        if self._thread.is_alive():
            log.warning("camera %s: the shadow does not end; its last episode is lost", self._camera.name)

    def _why_not(self) -> str:
        if self._lossless:
            self._tried.wait(CONNECT_S)
            return "" if self._info else AWAY
        if self._info is None:
            return AWAY
        if self._busy():
            return BUSY
        return SLOW if self._queue.full() else ""

    def _copy(self, frame: Frame) -> Frame:
        """The frame with a picture of its own, of the size that the candidate takes."""
        picture, info = frame.picture, self._info
        size = (info.network_width, info.network_height) if info else (picture.width, picture.height)
        width, height = fit_size(picture.width, picture.height, *size)
        i420 = np.empty((height * 3 // 2, width), np.uint8)
        picture.write_i420(i420)
        return replace(frame, picture=ScaledPicture(i420))

    def _offer(self, item: _Item) -> bool:
        try:
            self._queue.put(item, block=self._lossless, timeout=CONNECT_S)
        except queue.Full:
            return False
        return True

    # -- the shadow's thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._work()
        except Exception:
            log.exception("camera %s: the shadow has failed; the camera goes on", self._camera.name)
        finally:
            self._info = None
            self._tried.set()
            self._candidate.close()

    def _work(self) -> None:
        while True:
            self._connect()
            try:
                item = self._queue.get(timeout=1.0)
            except queue.Empty:
                continue
            for (interval_no, why), count in (item.lost if item else self._lost).items():
                self._recorder.drop(interval_no, why, count)
            self._recorder.begin(item.interval_no if item else None)
            if item is None:
                return
            if item.frame is not None and item.live is not None and item.interval_no is not None:
                self._compare(item.live, item.frame, item.interval_no)

    def _connect(self) -> None:
        if self._info is not None or time.monotonic() < self._next_connect_s:
            return
        try:
            self._info = self._candidate.connect()
        except DetectorError as error:
            self._lose(str(error))
        else:
            self._backoff.good()
            self._problem = ""
            log.info("camera %s: %s is its shadow", self._camera.name, self._info.version)
        self._tried.set()

    def _lose(self, problem: str) -> None:
        self._info = None
        self._next_connect_s = time.monotonic() + self._backoff.next_delay_s()
        if problem != self._problem:  # once
            self._problem = problem
            log.warning("camera %s: no shadow: %s", self._camera.name, problem)

    def _compare(self, live: Answer, frame: Frame, interval_no: int) -> None:
        if self._info is None:  # lost since the frame was handed over
            self._recorder.drop(interval_no, AWAY)
            return
        started = time.perf_counter()
        try:
            found = self._ask(frame)
        except DetectorError as error:
            self._recorder.drop(interval_no, AWAY if isinstance(error, DetectorUnavailable) else str(error))
            return
        infer_s = time.perf_counter() - started
        if not live.version or found.model is None:
            self._recorder.drop(interval_no, "its version is unknown")
            return
        assert isinstance(frame.picture, ScaledPicture)  # noqa: S101  made in _copy
        if found.model is not self._info:
            self._info = found.model  # another version of the candidate; pictures get its size
        candidate = Answer(found, found.model.class_names, found.model.version)
        self._recorder.add(interval_no, frame.capture_time, (live, candidate), infer_s, frame.picture.i420)

    def _ask(self, frame: Frame) -> Detections:
        """What the candidate finds.

        Raises:
            DetectorError: nothing.
        """
        try:
            [future] = self._candidate.submit([frame])
            return future.result(DEADLINE_S)
        except DetectorUnavailable as error:
            self._lose(str(error))
            raise
        except TimeoutError as error:
            future.cancel()  # its slot stays taken until the server has let go of it
            self._lose(LATE)
            raise DetectorTimeout(LATE) from error
        except ValueError as error:
            raise DetectorError("another version of the candidate serves, of another size") from error
