"""An I420 picture as a JPEG, by FFmpeg's encoder."""

from __future__ import annotations

from fractions import Fraction

from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter

from sightline.entities import U8
from sightline.video.host_copy import HostCopy
from sightline.video.picture import YuvPicture

QUALITY = "3"  # of 1 (best) to 31


class PictureCopier:
    """Copies pictures for files. Each thread has one of its own."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()

    def copy(self, picture: YuvPicture | HostCopy) -> U8:
        """Uint8 [3/2·height, width], I420, BT.601, 0..255.

        Raises:
            ValueError: FFmpeg cannot convert it.
        """
        try:
            return picture.copy_full_range(self._scaler)
        except FFmpegError as error:
            raise ValueError(f"the picture cannot be converted: {error}") from error


def encode(picture: U8) -> bytes:
    """The file's bytes of uint8 [3/2·height, width], full range; they hold the picture and nothing else.

    Raises:
        ValueError: FFmpeg cannot encode it.
    """
    frame = VideoFrame.from_ndarray(picture, format="yuv420p")
    frame.color_range = ColorRange.JPEG
    frame.pts = 0
    codec = VideoCodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt = frame.width, frame.height, "yuv420p"
    codec.color_range = ColorRange.JPEG
    codec.time_base = Fraction(1, 25)
    codec.thread_count = 1
    codec.options = {"qmin": QUALITY, "qmax": QUALITY}
    try:
        packets = [*codec.encode(frame), *codec.encode(None)]
    except FFmpegError as error:
        raise ValueError(f"the picture cannot be encoded: {error}") from error
    return b"".join(bytes(packet) for packet in packets)
