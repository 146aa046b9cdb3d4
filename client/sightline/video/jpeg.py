"""An I420 picture as a JPEG, by FFmpeg's encoder."""

from __future__ import annotations

from fractions import Fraction

from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange

from sightline.entities import U8

QUALITY = "3"  # of 1 (best) to 31


def encode(picture: U8) -> bytes:
    """The file's bytes of uint8 [3/2·height, width], full range; they hold the picture and nothing else."""
    frame = VideoFrame.from_ndarray(picture, format="yuv420p")
    frame.color_range = ColorRange.JPEG
    frame.pts = 0
    codec = VideoCodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt = frame.width, frame.height, "yuv420p"
    codec.color_range = ColorRange.JPEG
    codec.time_base = Fraction(1, 25)
    codec.thread_count = 1
    codec.options = {"qmin": QUALITY, "qmax": QUALITY}
    packets = [*codec.encode(frame), *codec.encode(None)]
    return b"".join(bytes(packet) for packet in packets)
