"""A clip once more as H.264, each frame at its time: for players that know no H.265, or with parts covered.

It costs what decoding and encoding cost, so it is done by :func:`submit`: one after the other in a process,
behind everything else.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import av
from av.codec.codec import Codec, UnknownCodecError
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from av.video.stream import VideoStream

from sightline.base.threads import SideThreads
from sightline.entities import U8
from sightline.video.clip_file import Finished, make_private, os_error
from sightline.video.display import display_of
from sightline.video.picture import YuvPicture, written

T = TypeVar("T")

#: Changes a picture in place: uint8 [3/2·height, width], I420 of limited range, as it is shown (turned, its
#: pixels square); and its position in the file, seconds.
Draw = Callable[[U8, float], None]

NICE = 10  # of the thread: it gets what live cameras leave
KEY_EVERY_S, DEFAULT_FPS = 2, 25
ENCODER = "libx264"
_OPTIONS = {"preset": "veryfast", "crf": "23", "bf": "0"}  # without B-frames the first is at 0 s
_THREADS = SideThreads("transcode", 1)


def has_encoder() -> bool:
    """Whether this FFmpeg can write H.264; the one in PyAV's wheels can, by x264, which is under the GPL."""
    try:
        Codec(ENCODER, "w")
    except UnknownCodecError:
        return False
    return True


def submit(work: Callable[[], T]) -> Future[T]:
    """Do ``work``, which transcodes, once what was submitted before has been done; any thread may call it."""

    def at_low_priority() -> T:
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(NICE, os.getpriority(os.PRIO_PROCESS, thread)))
        return work()

    return _THREADS.submit(at_low_priority)


def transcode(source: Path, target: Path, *, draw: Draw | None = None) -> Finished:
    """Write the MP4 file ``source`` as H.264, fast-start, with all its frames at their times.

    The picture is written as it is shown, so nothing has to turn it. Sound is copied. Frames that cannot be
    decoded are left out. ``target``, for its owner's eyes alone, is there once it is whole.

    Args:
        source: an MP4 file that :func:`sightline.video.clip_file.finish` made.
        target: another path.
        draw: is given each picture before it is encoded.

    Raises:
        OSError: the disk does not give or take it.
        ValueError: it cannot be decoded or encoded.
    """
    draft = target.with_name(f"{target.name}.new")
    make_private(draft)
    try:
        with (
            av.open(str(source)) as opened,
            av.open(str(draft), "w", format="mp4", options={"movflags": "faststart"}) as sink,
        ):
            seconds = _copy(opened, sink, draw)
    except av.FFmpegError as error:
        draft.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise os_error(error) from error
        raise ValueError(f"{source.name} cannot be transcoded: {error}") from error
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    draft.replace(target)
    return Finished("h264", seconds, target.stat().st_size)


def _copy(source: InputContainer, sink: Any, draw: Draw | None) -> float:
    """Transcode the video and copy the sound; the time of the last frame, seconds."""
    video, sounds = source.streams.video[0], source.streams.audio[:1]
    video.codec_context.thread_count = 1
    base, scaler = video.time_base or Fraction(1, 90_000), VideoReformatter()
    aspect = float(video.sample_aspect_ratio or video.codec_context.sample_aspect_ratio or 0)
    outputs = {sound.index: sink.add_stream_from_template(sound, opaque=True) for sound in sounds}
    encoder, last, size = None, -1, (0, 0)
    waiting: list[Packet[Any]] = []  # sound; nothing is written before all streams are known
    for item in _frames(source, video, sounds):
        if isinstance(item, Packet):
            item.stream = outputs[item.stream.index]
            waiting.append(item)
            continue
        picture = YuvPicture(item, scaler, display_of(item, aspect))
        if encoder is None:
            size = picture.width // 2 * 2, picture.height // 2 * 2
            encoder = _encoder(sink, video, item, size, base)
        while waiting:
            sink.mux_one(waiting.pop(0))
        out = written(picture, *size)
        last = max(item.pts or 0, last + 1)
        if draw is not None:
            draw(out, float(last * base))
        frame = VideoFrame.from_ndarray(out, format="yuv420p")
        frame.pts, frame.time_base, frame.color_range = last, base, ColorRange.MPEG
        sink.mux(encoder.encode(frame))
    if encoder is None:
        raise ValueError("no frame of the clip can be decoded")
    sink.mux(encoder.encode(None))
    for item in waiting:
        sink.mux_one(item)
    return float(last * base)


def _frames(source: InputContainer, video: VideoStream, sounds: Any) -> Iterator[VideoFrame | Packet[Any]]:
    """Frames in the order of display, and between them packets of sound."""
    for packet in source.demux(video, *sounds):
        if packet.stream is not video:
            if packet.size:
                yield packet
            continue
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            continue
        yield from (frame for frame in frames if isinstance(frame, VideoFrame))


def _encoder(
    sink: Any, video: VideoStream, first: VideoFrame, size: tuple[int, int], base: Fraction
) -> VideoStream:
    rate = video.average_rate or video.guessed_rate or Fraction(DEFAULT_FPS)
    output: VideoStream = sink.add_stream(ENCODER, rate=rate, options=_OPTIONS)
    output.width, output.height, output.pix_fmt = *size, "yuv420p"
    context = output.codec_context
    context.time_base = output.time_base = base
    context.gop_size = max(1, round(KEY_EVERY_S * rate))
    context.thread_count = 1
    context.color_range = ColorRange.MPEG
    context.colorspace, context.color_primaries, context.color_trc = (
        first.colorspace,
        first.color_primaries,
        first.color_trc,
    )
    return output
