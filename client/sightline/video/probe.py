"""A short look at a camera's stream before it is watched: what it sends, by which clock, and one picture."""

import contextlib
import time
from dataclasses import dataclass

from sightline.config import Camera
from sightline.entities import U8, ClockSource
from sightline.errors import SourceEnded
from sightline.video.container import is_file
from sightline.video.picture import written
from sightline.video.source import Source

RATE_S = 2.0  # of frames, to tell their rate from
CLOCK_S = 6.0  # cameras that tell their clock do so every five seconds
MAX_STEP_S = 5.0  # between two frames; more is a jump of the stream's times


@dataclass(frozen=True, slots=True)
class StreamProbe:
    """What a look at a stream has shown."""

    codec: str  # as FFmpeg names it, such as h264
    picture: U8  # the last one, [3/2·height, width], I420 of limited range; sides made even
    size: tuple[int, int]  # width and height as shown, in square pixels
    fps: float | None  # frames a second that come; None: too few came
    capture_time: float  # of the picture, UTC epoch seconds
    clock_source: ClockSource
    clock_skew_s: float | None  # how far the camera's clock is ahead of ours, latency included
    decoder: str  # cpu, cuda, …; after a colon, why it is not the one asked for
    decode_errors: int


def tells_time(camera: Camera) -> bool:
    """Whether a camera can tell its clock: by RTCP sender reports, which only RTSP brings along."""
    return camera.source_url.lower().startswith("rtsp")


def probe(camera: Camera, *, only_picture: bool = False, clock: bool = True) -> StreamProbe:
    """Open a camera's stream and look at it for some seconds; with ``only_picture``, for one picture.

    ``clock``: wait until the camera has told its clock, if it can.

    Raises:
        SourceError: the kind says why there is nothing to see.
    """
    every_frame = camera.stream.model_copy(update={"fps": None})
    source = Source(camera.model_copy(update={"stream": every_frame}), realtime=False)
    source.resolve()
    with contextlib.closing(source):
        source.open()
        frames, started_s = source.frames(), time.monotonic()
        frame = next(frames)
        steps, span_s = 0, 0.0
        while not only_picture:
            patient = time.monotonic() - started_s < CLOCK_S
            if not patient or (
                span_s >= RATE_S and (not clock or source.clock_skew_s is not None or not tells_time(camera))
            ):
                break
            before = frame
            try:
                frame = next(frames)
            except SourceEnded:
                if not is_file(camera.source_url):
                    raise
                break  # a short one
            if 0 < (step_s := frame.media_s - before.media_s) < MAX_STEP_S:
                steps, span_s = steps + 1, span_s + step_s
        return StreamProbe(
            codec=source.codec,
            picture=written(frame.picture),
            size=(frame.picture.width, frame.picture.height),
            fps=steps / span_s if steps else None,
            capture_time=frame.capture_time,
            clock_source=frame.clock_source,
            clock_skew_s=source.clock_skew_s,
            decoder=source.decoder.used,
            decode_errors=source.decode_errors,
        )
