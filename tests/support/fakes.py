"""The one fake of the project, at the detector's seam, and pictures and frames for it."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np

from sightline.base.letterbox import split_i420
from sightline.base.stats import StageTimes
from sightline.camera.pipeline import Pipeline
from sightline.entities import U8, Box, ClockSource, Detections, Frame
from sightline.errors import DetectorUnavailable
from sightline.inference.detector import Detector


class GreyPicture:
    """A picture of one grey level."""

    def __init__(self, width: int = 64, height: int = 36, level: int = 114) -> None:
        self.width, self.height, self.level = width, height, level
        self.scale_s = 0.0

    def write_i420(self, out: U8, box: Box | None = None) -> None:
        for part in split_i420(out, box):
            part[:] = self.level


class FakeDetector:
    """Answers each frame by ``answer(frame)``; an error it returns is what the future raises.

    With ``hold=True`` answers wait for :meth:`release`, as requests in flight do.
    """

    def __init__(self, answer: Callable[[Frame], Detections | BaseException], *, hold: bool = False) -> None:
        self._answer = answer
        self._hold = hold
        self._held: deque[tuple[Frame, Future[Detections]]] = deque()
        self.frames: list[Frame] = []

    def submit(self, frames: Sequence[Frame], stages: Sequence[StageTimes] = ()) -> list[Future[Detections]]:
        futures: list[Future[Detections]] = [Future() for _ in frames]
        self.frames += frames
        self._held += zip(frames, futures, strict=True)
        if not self._hold:
            for _ in frames:
                self.release()
        return futures

    def release(self, which: int = 0) -> None:
        frame, future = self._held[which]
        del self._held[which]
        if future.set_running_or_notify_cancel():
            answer = self._answer(frame)
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)


def boxes(*xyxy: Sequence[float], score: float = 0.9, class_id: int = 0) -> Detections:
    """Detections of one class and score."""
    n = len(xyxy)
    return Detections(
        np.array(xyxy, np.float32).reshape(n, 4),
        np.full(n, score, np.float32),
        np.full(n, class_id, np.int32),
    )


def frame(index: int, time: float, picture: GreyPicture | None = None) -> Frame:
    """A frame at ``time`` (epoch seconds)."""
    return Frame(
        picture=picture or GreyPicture(),
        index=index,
        media_s=time,
        capture_time=time,
        clock_source=ClockSource.PTS,
        received_s=0.0,
    )


def step(pipeline: Pipeline, detector: Detector) -> DetectorUnavailable | None:
    """What a worker does for each of its cameras: send what is due, and analyse what has come."""

    def submit(item: Frame) -> Future[Detections]:
        return detector.submit([item], [pipeline.stages])[0]

    while (item := pipeline.next_frame()) is not None:
        pipeline.sent(item, submit(item))
    return pipeline.finish(submit)
