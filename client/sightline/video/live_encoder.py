"""Live pictures as H.264: in come pictures, out come RTP packets, or MPEG-TS. No file, no socket."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, Literal

import av
from av.codec import CodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange

from sightline.base.cuda import has_gpu
from sightline.entities import U8
from sightline.video.packets import coded_units

CLOCK_HZ = 90_000  # of PTS
KEY_EVERY_S = 2.0  # whoever joins waits for a key frame
RTP_BYTES = 1400
_PTS_RANGE = 1 << 33  # of MPEG-TS
_CODECS = {
    "libx264": {"preset": "ultrafast", "tune": "zerolatency", "crf": "25", "forced-idr": "1"},
    "h264_nvenc": {"preset": "p3", "tune": "ull", "rc": "vbr", "cq": "27", "delay": "0", "forced-idr": "1"},
}
_FORMATS: dict[str, dict[str, str]] = {
    "rtp": {"packetsize": str(RTP_BYTES)},
    "mpegts": {"mpegts_copyts": "1", "mpegts_flags": "+resend_headers"},
}
_BT601 = 6  # SMPTE 170M, of matrix, primaries and transfer alike
_SPS, _PPS = 7, 8  # kinds of NAL units


@dataclass(frozen=True, slots=True)
class CodedPicture:
    """One picture, ready to be sent."""

    pieces: tuple[bytes, ...]  # RTP and RTCP packets, or parts of an MPEG-TS stream
    is_key: bool  # a stream may begin with it


class LiveEncoder:
    """One stream of H.264, whose pictures keep their capture times. Belongs to one thread.

    Args:
        container: what comes out. RTP has sender reports that tell capture times; in MPEG-TS the PTS are
            capture times, in ticks of 90 kHz since the Unix epoch, modulo 2^33.
        width: of the pictures, even.
        height: of the pictures, even.
        fps: about as many will come a second.
        codec: FFmpeg's name of an encoder of H.264.
        begins: capture time of the first picture.

    Attributes:
        parameter_sets: SPS and PPS, once the first picture has been encoded.

    Raises:
        ValueError: the encoder does not start.
    """

    def __init__(
        self,
        container: Literal["rtp", "mpegts"],
        width: int,
        height: int,
        *,
        fps: float,
        codec: str,
        begins: float,
    ) -> None:
        self.width, self.height = width, height
        self.parameter_sets: tuple[bytes, bytes] = (b"", b"")
        self._begins, self._last, self._key_at = begins, -1, float("-inf")
        self._first = 0 if container == "rtp" else round(begins * CLOCK_HZ) % _PTS_RANGE
        self._pieces = _Pieces()
        options = {**_FORMATS[container], "start_time_realtime": str(round(begins * 1e6))}
        self._sink = av.open(self._pieces, "w", format=container, container_options=options)
        self._stream = _stream(self._sink, codec, width, height, fps)
        try:
            self._sink.start_encoding()
        except av.FFmpegError as error:
            raise ValueError(f"{codec} does not start: {error.strerror}") from error

    def encode(self, picture: U8, capture_time: float) -> CodedPicture | None:
        """The next picture, uint8 [3/2·height, width], I420; None for one that is not after the last.

        Raises:
            ValueError: FFmpeg cannot encode it.
        """
        at = round((capture_time - self._begins) * CLOCK_HZ)
        if at <= self._last:
            return None
        self._last = at
        frame = VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts, frame.time_base = self._first + at, Fraction(1, CLOCK_HZ)
        frame.color_range = ColorRange.MPEG
        if capture_time - self._key_at >= KEY_EVERY_S:
            self._key_at, frame.pict_type = capture_time, PictureType.I
        try:
            packets = self._stream.encode(frame)
            if not all(self.parameter_sets) and packets:
                self.parameter_sets = _parameter_sets(bytes(packets[0]))
            self._sink.mux(packets)
        except av.FFmpegError as error:
            raise ValueError(f"a picture cannot be encoded: {error.strerror}") from error
        return CodedPicture(self._pieces.take(), any(packet.is_keyframe for packet in packets))

    def close(self) -> None:
        """Free the encoder; what it would still give is lost."""
        self._sink.close()


def _stream(sink: Any, codec: str, width: int, height: int, fps: float) -> Any:
    stream = sink.add_stream(codec, rate=Fraction(fps).limit_denominator(1000), options=_CODECS[codec])
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    context = stream.codec_context
    context.time_base = stream.time_base = Fraction(1, CLOCK_HZ)
    context.gop_size, context.thread_count = 100 * round(KEY_EVERY_S * max(fps, 1)), 1  # key frames: encode
    context.color_range, context.colorspace = ColorRange.MPEG, _BT601
    context.color_primaries = context.color_trc = _BT601
    return stream


@cache
def codec_for(asked: Literal["auto", "libx264", "h264_nvenc"]) -> str:
    """FFmpeg's encoder for what is asked for: ``auto`` is the GPU's where there is one that works."""
    if asked != "auto":
        return asked
    return "h264_nvenc" if has_gpu() and _starts("h264_nvenc") else "libx264"


def _starts(codec: str) -> bool:
    """Whether an encoder can be used here: there are GPUs that cannot encode."""
    try:
        context: Any = CodecContext.create(codec, "w")
        context.width, context.height, context.pix_fmt = 640, 360, "yuv420p"
        context.time_base = Fraction(1, CLOCK_HZ)
        context.open()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _parameter_sets(packet: bytes) -> tuple[bytes, bytes]:
    """SPS and PPS of a key frame with start codes (Annex B)."""
    by_kind = {unit[0] & 31: unit for unit in coded_units(packet)}
    return by_kind.get(_SPS, b""), by_kind.get(_PPS, b"")


class _Pieces:
    """A file for FFmpeg to write to: each write is a piece; of RTP, a packet."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: Any) -> int:
        self._written.append(bytes(data))
        return len(data)

    def take(self) -> tuple[bytes, ...]:
        pieces, self._written = tuple(self._written), []
        return pieces
