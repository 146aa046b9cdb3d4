"""The observer that mirrors a sample of a camera's live frames to a candidate, and keeps what both found.

The live path comes first. It hands a frame over after its tracks are known, if the candidate has room for it,
and never waits; everything else happens in a thread of the shadow's own. ``docs/shadow.md`` has the meaning.
"""

import contextlib
import logging
import queue
import threading
import time
from collections import Counter
from dataclasses import replace

import numpy as np

from sightline.analysis.observer import Observation, Observer
from sightline.base.backoff import Backoff
from sightline.base.geometry import fit_size
from sightline.base.letterbox import split_i420
from sightline.base.logs import WarnOnce
from sightline.config import Camera
from sightline.entities import U8, Box, Figure, Frame, ModelInfo
from sightline.errors import DetectorError, DetectorUnavailable
from sightline.features.feature import Candidate, FeatureContext
from sightline.features.shadow.episode import EpisodeSampler
from sightline.features.shadow.recorder import Answer, Recorder
from sightline.video.picture import written

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
    """A picture that has been scaled already: uint8 [3/2·height, width]."""

    scale_s = 0.0

    def __init__(self, i420: U8) -> None:
        self.i420 = i420
        self.width, self.height = i420.shape[1], i420.shape[0] * 2 // 3

    def write_i420(self, out: U8, box: Box | None = None) -> None:
        """Copy it; ValueError: ``box`` has another size, as another version of the candidate serves now."""
        for part, plane in zip(split_i420(out, box), split_i420(self.i420), strict=True):
            np.copyto(part, plane)


Mirrored = tuple[int, Frame, Answer]  # the interval's number, a frame, and what the live model found in it
Lost = Counter[tuple[int, str]]  # frames that were not handed over, by interval and reason
Handed = tuple[Lost, Mirrored | None]  # what was lost before a frame, and it; None: the interval is over


class Shadow(Observer):
    """One camera's candidate. The main thread hands frames over; a thread of its own does everything else."""

    name = "shadow"

    def __init__(self, context: FeatureContext, candidate: Candidate) -> None:
        self._camera, options = context.camera.name, context.camera.shadow
        self._lossless = context.lossless  # wait for the candidate, so that no frame is left out
        self._is_busy = context.is_busy  # then nothing is mirrored
        self._candidate, self._recorder = candidate, Recorder(context)
        share, seed = options.share, options.seed
        self._sampler = EpisodeSampler(self._camera, share=share, episode_s=options.episode_s, seed=seed)
        self._lost: Lost = Counter()  # since the last frame was handed over
        self._queue: queue.Queue[Handed | None] = queue.Queue(WAITING)  # None: the camera ends
        self._open = False  # an interval has begun and its end has not been handed over
        self._info: ModelInfo | None = None  # None: not connected; the thread sets it
        self._tried = threading.Event()  # to connect
        self._backoff = Backoff(1.0, 30.0)
        self._next_connect_s = 0.0
        self._warnings = WarnOnce(log)
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
            self._open = self._open and not self._offer(None)
            return ()
        self._open = True
        if not (why := self._why_not()) and (info := self._info):
            network = info.network_width, info.network_height
            size = fit_size(frame.picture.width, frame.picture.height, *network)
            scaled = ScaledPicture(written(frame.picture, *size))
            found = replace(seen.detections, model=seen.model)
            live = Answer(found, seen.classes.names, seen.model_version)
            if self._offer((interval_no, replace(frame, picture=scaled), live)):
                self.mirrored += 1
                return ()
        self._lost[interval_no, why or SLOW] += 1
        self.dropped += 1
        return ()

    def update(self, options: Camera) -> None:
        """Other thresholds, lines and zones hold from the next frame on."""
        self._recorder.update(options)

    def figures(self) -> tuple[Figure, ...]:
        """Frames of chosen intervals, by what became of them."""
        text = "Frames of the intervals chosen for a shadow model: mirrored to it, or dropped."
        fates = {"mirrored": self.mirrored, "dropped": self.dropped}
        return tuple(Figure("shadow_frames_total", n, {"fate": fate}, text) for fate, n in fates.items())

    def close(self) -> None:
        """Write what was collected, and end."""
        end_s = time.monotonic() + (CONNECT_S if self._lossless else CLOSE_S)
        with contextlib.suppress(queue.Full):  # the thread hangs; it is told by the process' end
            self._queue.put(None, timeout=end_s - time.monotonic())
        self._thread.join(max(0.0, end_s - time.monotonic()))
        if self._thread.is_alive():
            log.warning("camera %s: the shadow does not end; its last episode is lost", self._camera)

    def _why_not(self) -> str:
        """Why a frame cannot be mirrored now; empty when it can."""
        if self._lossless:
            self._tried.wait(CONNECT_S)
        if self._lossless or self._info is None:
            return "" if self._info else AWAY
        return BUSY if self._is_busy() else SLOW if self._queue.full() else ""

    def _offer(self, mirrored: Mirrored | None) -> bool:
        """Hand a frame over, or None: an interval is over; False: there is no room for it."""
        try:
            self._queue.put((self._lost, mirrored), block=self._lossless, timeout=CONNECT_S)
        except queue.Full:
            return False
        self._lost = Counter()
        return True

    # -- the shadow's thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._work():
                pass
        except Exception:
            log.exception("camera %s: the shadow has failed; the camera goes on", self._camera)
        finally:
            self._info = None
            self._tried.set()
            self._candidate.close()

    def _work(self) -> bool:
        """Take one item of the queue, or wait a second for it; False: it was the last."""
        if self._info is None and time.monotonic() >= self._next_connect_s:
            try:
                self._info = self._candidate.connect()
            except DetectorError as error:
                self._lose(str(error))
            else:
                self._backoff.good()
                log.info("camera %s: %s is its shadow", self._camera, self._info.version)
            self._tried.set()
        try:
            item = self._queue.get(timeout=1.0)
        except queue.Empty:
            return True
        lost, mirrored = item or (self._lost, None)
        for (interval_no, why), count in lost.items():
            self._recorder.drop(interval_no, why, count)
        if mirrored is None:
            self._recorder.finish()
        else:
            self._compare(*mirrored)
        return item is not None

    def _lose(self, problem: str) -> None:
        self._info = None
        self._next_connect_s = time.monotonic() + self._backoff.next_delay_s()
        self._warnings.warn_once(f"camera {self._camera}: no shadow: {problem}")

    def _compare(self, interval_no: int, frame: Frame, live: Answer) -> None:
        if self._info is None:  # lost since the frame was handed over
            self._recorder.drop(interval_no, AWAY)
            return
        started = time.perf_counter()
        try:
            [future] = self._candidate.submit([frame])
            found = future.result(DEADLINE_S)
        except DetectorUnavailable as error:
            self._lose(str(error))
            why = AWAY
        except TimeoutError:
            future.cancel()  # its slot stays taken until the server has let go of it
            self._lose(LATE)
            why = LATE
        except DetectorError as error:
            why = str(error)
        except ValueError:
            why = "another version of the candidate serves, of another size"
        else:
            infer_s, why = time.perf_counter() - started, "its version is unknown"
            if live.version and found.model is not None:
                assert isinstance(frame.picture, ScaledPicture)  # noqa: S101  made in observe
                self._info = found.model  # perhaps another version of the candidate; pictures get its size
                answers = live, Answer(found, found.model.class_names, found.model.version)
                self._recorder.add(interval_no, frame.capture_time, answers, infer_s, frame.picture.i420)
                return
        self._recorder.drop(interval_no, why)


def make(context: FeatureContext) -> Shadow | None:
    """The camera's candidate, with slots of its own and the lowest priority."""
    model = context.camera.shadow.model
    return Shadow(context, context.candidate(model)) if model is not None else None
