"""Pictures: a decoded one that scales itself straight into memory which somebody else owns, copies, JPEG."""

import time
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from sightline.base.letterbox import split_i420
from sightline.entities import F32, U8, Box, Picture
from sightline.video.display import AS_DECODED, Display

_VALUES = np.arange(256)
_LUMA = np.clip(np.rint((_VALUES - 16) * (255 / 219)), 0, 255).astype(np.uint8).tobytes()
_CHROMA = np.clip(np.rint((_VALUES - 128) * (255 / 224) + 128), 0, 255).astype(np.uint8).tobytes()
SMALL_PX = 128  # width of what is made to look at
JPEG_QUALITY = 3
_FULL_RANGE = frozenset({"yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p", "yuvj411p"})


class YuvPicture:
    """One decoded frame of a source as it is to be shown; a :class:`sightline.entities.Picture`.

    It is turned and mirrored where its planes are copied, which it needs anyway. The decode thread makes it,
    the main thread writes it. All pictures of a source share one scaler,
    so only one thread may call :meth:`write_i420`.
    """

    __slots__ = ("_display", "_frame", "_scaler", "height", "scale_s", "width")

    def __init__(self, frame: VideoFrame, scaler: VideoReformatter, display: Display = AS_DECODED) -> None:
        self._frame = frame
        self._scaler = scaler
        self._display = display
        #: In square pixels, as shown.
        self.width, self.height = display.size(frame.width, frame.height)
        self.scale_s = 0.0  # what the last write_i420 spent scaling

    def write_i420(self, out: U8, box: Box | None = None) -> None:
        """Scale to the size of ``box`` and write it there, with one copy.

        Args:
            out: uint8 [3/2·height, width], C-contiguous, both sides even. Limited-range BT.601.
            box: the part of ``out`` that the picture fills; by default all of it.

        Raises:
            ValueError: ``out`` is not of that shape.
        """
        rows, columns = out.shape
        if rows % 3 or columns % 2 or not out.flags.c_contiguous or out.dtype != np.uint8:
            raise ValueError(f"out must be contiguous uint8 [3/2·even, even], found {out.dtype} {out.shape}")
        planes = self._planes(out, box)
        height, width = planes[0].shape
        started = time.perf_counter()
        scaled = self._scaled(self._scaler, width, height, ColorRange.MPEG)
        self.scale_s = time.perf_counter() - started
        _copy_planes(scaled, planes)

    def luma(self) -> U8 | None:
        """The Y plane as decoded, uint8 [height, width], a view; None when the format has no such plane."""
        frame = self._frame
        luma_first = frame.format.name.startswith(("yuv4", "yuvj4", "nv12"))
        if not luma_first or frame.format.components[0].bits != 8:
            return None
        plane = frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8, frame.height * plane.line_size)
        return rows.reshape(frame.height, plane.line_size)[:, : frame.width]

    def copy(self, width: int, height: int, colours: ColorRange = ColorRange.MPEG) -> U8:
        """A copy of that size, both sides even; unlike :meth:`write_i420` any thread may call it.

        Returns:
            uint8 [3/2·height, width], I420, BT.601; of limited range, or of ``colours``.

        Raises:
            ValueError: FFmpeg cannot convert it.
        """
        out = np.empty((height // 2 * 3, width), np.uint8)
        planes = self._planes(out)
        rows, columns = planes[0].shape
        try:
            scaled = self._scaled(VideoReformatter(), columns, rows, colours)
        except FFmpegError as error:
            raise ValueError(f"the picture cannot be converted: {error}") from error
        _copy_planes(scaled, planes)
        return out

    def copy_full_range(self) -> U8:
        """A copy for a file, 0..255: as shown but for an odd last row or column; else as :meth:`copy`."""
        return self.copy(self.width // 2 * 2, self.height // 2 * 2, ColorRange.JPEG)

    def _planes(self, out: Any, box: Box | None = None) -> tuple[Any, Any, Any]:
        """The planes of ``out``, or of its part ``box``, as the frame's own lie."""
        planes = split_i420(out, box)
        if self._display is AS_DECODED:
            return planes
        y, u, v = map(self._display.as_decoded, planes)
        return y, u, v

    def _scaled(self, scaler: VideoReformatter, width: int, height: int, wanted: ColorRange) -> VideoFrame:
        """The frame as I420, BT.601, of that size and range; itself when it is so already."""
        frame, name = self._frame, self._frame.format.name
        full = frame.color_range == ColorRange.JPEG or name in _FULL_RANGE
        same_size = (frame.width, frame.height) == (width, height)
        if same_size and name == "yuv420p" and wanted == ColorRange.MPEG and not full:
            return frame
        return scaler.reformat(
            frame,
            width=width,
            height=height,
            format="yuv420p",
            src_colorspace=Colorspace.ITU601,
            dst_colorspace=Colorspace.ITU601,
            interpolation=Interpolation.AREA,  # shrinking only: cheaper than bilinear, and more exact
            src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
            dst_color_range=wanted,
            threads=1,
        )


def _copy_planes(frame: VideoFrame, planes: tuple[U8, U8, U8]) -> None:
    for plane, out in zip(frame.planes, planes, strict=True):
        rows, columns = out.shape
        # Lines of a plane may be padded; the last one need not be there in full length.
        lines = np.frombuffer(memoryview(plane), np.uint8, rows * plane.line_size)
        out[:] = lines.reshape(rows, plane.line_size)[:, :columns]


def draw_edges(planes: Sequence[U8], xyxy: F32, colour: tuple[int, int, int], thick_px: int) -> None:
    """Draw the edges of boxes, float32 [N, 4] in 0..1 of the picture, into I420 planes; colour is Y, U, V."""
    for plane, value, thick in zip(planes, colour, (thick_px, thick_px // 2, thick_px // 2), strict=True):
        scaled = np.clip(xyxy, 0, 1) * np.array(plane.shape[::-1] * 2, np.float32)
        for left, top, right, bottom in np.rint(scaled).astype(int).tolist():
            plane[top : top + thick, left:right] = value
            plane[max(top, bottom - thick) : bottom, left:right] = value
            plane[top:bottom, left : left + thick] = value
            plane[top:bottom, max(left, right - thick) : right] = value


def full_range(i420: U8) -> U8:
    """A picture of limited range, uint8 [3/2·height, width], as JPEG wants it: 0..255."""
    luma, out = len(i420) * 2 // 3, bytearray()
    out += i420[:luma].tobytes().translate(_LUMA)  # half of what an index into an array would cost
    out += i420[luma:].tobytes().translate(_CHROMA)
    return np.frombuffer(out, np.uint8).reshape(i420.shape)


def from_i420(i420: U8) -> YuvPicture:
    """A picture of uint8 [3/2·height, width], limited range, that scales itself like a decoded one."""
    return YuvPicture(VideoFrame.from_ndarray(i420, format="yuv420p"), VideoReformatter())


def decode_jpeg(data: bytes) -> YuvPicture:
    """The picture of :func:`encode_jpeg`.

    Raises:
        ValueError: it is none.
    """
    codec = VideoCodecContext.create("mjpeg", "r")
    try:
        frames = [*codec.decode(Packet(data)), *codec.decode(None)]
    except FFmpegError as error:
        raise ValueError(f"this is no JPEG: {error}") from error
    if not frames:
        raise ValueError("this is no JPEG")
    return YuvPicture(frames[0], VideoReformatter())


def small_luma(picture: Picture) -> U8:
    """The luma of a picture, scaled to a width of 128: uint8 [height, 128]."""
    height = max(2, round(picture.height * SMALL_PX / picture.width / 2) * 2)
    return written(picture, SMALL_PX, height)[:height]


def written(picture: Picture, width: int | None = None, height: int | None = None) -> U8:
    """The picture at another (even) size or its own made even: uint8 [3/2·height, width], limited range."""
    width, height = width or picture.width // 2 * 2, height or picture.height // 2 * 2
    out = np.empty((height * 3 // 2, width), np.uint8)
    picture.write_i420(out)
    return out


def encode_jpeg(picture: U8, quality: int = JPEG_QUALITY) -> bytes:
    """The file's bytes of uint8 [3/2·height, width], full range; they hold the picture and nothing else.

    ``quality`` is 1 (best) to 31.

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
    codec.options = {"qmin": str(quality), "qmax": str(quality)}
    try:
        packets = [*codec.encode(frame), *codec.encode(None)]
    except FFmpegError as error:
        raise ValueError(f"the picture cannot be encoded: {error}") from error
    return b"".join(bytes(packet) for packet in packets)
