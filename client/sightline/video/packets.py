"""Coded packets of video and sound as they come from a camera: what clips are made of, nothing decoded.

Bytes of a packet are copied once, out of FFmpeg's memory; after that only references travel.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Protocol, runtime_checkable

import av
from av.audio.stream import AudioStream
from av.packet import Packet
from av.video.stream import VideoStream

#: By codec: shift and mask of a unit's type in its first byte; types of parameter sets; of pictures.
_UNITS = {"h264": (0, 31, {7, 8}, range(1, 6)), "hevc": (1, 63, {32, 33, 34}, range(32))}
_START = b"\x00\x00\x01"


@dataclass(frozen=True, slots=True, eq=False)
class CodedStream:
    """What a decoder or a file has to know of a stream, from one opening of the camera; told by identity."""

    codec: str  # as FFmpeg names it: h264, hevc
    time_base: Fraction
    extradata: bytes  # parameter sets, as the stream brings them
    header: bytes  # an MP4 file without a packet: size, aspect, turn, colours; empty: no MP4 can hold it
    sound: CodedStream | None = None  # what is heard with a video, where that is wanted
    rate: int = 0  # of a sound: samples a second
    channels: int = 0

    @staticmethod
    def of(stream: VideoStream | AudioStream, sound: AudioStream | None = None) -> CodedStream:
        """The stream's, while it is open; ``sound`` comes with it."""
        context: Any = stream.codec_context
        codec, base = context.codec.canonical_name, stream.time_base or Fraction(1, 90_000)
        heard = (context.sample_rate, context.channels) if isinstance(stream, AudioStream) else (0, 0)
        about = codec, base, bytes(context.extradata or b""), _header(stream)
        return CodedStream(*about, CodedStream.of(sound) if sound else None, *heard)


@dataclass(frozen=True, slots=True, eq=False)
class CodedPacket:
    """One packet, in the order of decoding."""

    data: bytes
    pts: int  # units of the stream's time base, on the clock of ``Frame.media_s``
    dts: int
    is_key: bool  # of a video: nothing before it is needed to show it
    stream: CodedStream
    received_s: float = 0.0  # time.monotonic()
    sender_time: float | None = None  # UTC on the sender's clock, where its reports have told it

    @staticmethod
    def of(
        packet: Packet[Any], stream: CodedStream, received_s: float = 0.0, sender_time: float | None = None
    ) -> CodedPacket | None:
        """A copy; a time stamp that is missing is the other one. None: it has neither."""
        pts, dts = packet.pts, packet.dts
        pts, dts = dts if pts is None else pts, pts if dts is None else dts
        if pts is None or dts is None:
            return None
        is_key = packet.is_keyframe and not stream.rate
        return CodedPacket(bytes(packet), pts, dts, is_key, stream, received_s, sender_time)

    @property
    def is_sound(self) -> bool:
        """Whether it is heard, not seen."""
        return self.stream.rate > 0

    @property
    def media_s(self) -> float:
        """When its picture is due, in seconds on the stream's own clock."""
        base = self.stream.time_base
        return self.pts * base.numerator / base.denominator

    def at(self, media_s: float) -> CodedPacket:
        """The same at another time: where those of the stream mean nothing."""
        ticks = round(media_s / self.stream.time_base)
        return replace(self, pts=ticks, dts=ticks)

    def later(self, shift_s: float) -> CodedPacket:
        """The same, later by ``shift_s``."""
        if not shift_s:
            return self
        ticks = round(shift_s / self.stream.time_base)
        return replace(self, pts=self.pts + ticks, dts=self.dts + ticks)


@runtime_checkable
class PacketObserver(Protocol):
    """Sees every packet of a camera's video, and of its sound where that is wanted.

    It is called on the decode thread, before the fps gate.
    """

    def packet(self, packet: CodedPacket) -> None:
        """Take one; never blocks."""


def parameter_sets(packet: CodedPacket) -> bytes:
    """The parameter sets before a key frame's picture, as extradata; empty: they are only in the stream's."""
    if packet.stream.codec not in _UNITS or packet.stream.extradata[:1] == b"\x01" or not packet.is_key:
        return b""  # units with their length before them do not carry any
    shift, mask, wanted, pictures = _UNITS[packet.stream.codec]
    units = dict[int, bytes]()
    for unit in coded_units(packet.data):
        kind = unit[0] >> shift & mask
        if kind in pictures:
            break
        if kind in wanted:
            units[kind] = units.get(kind, b"") + b"\x00" + _START + unit
    return b"".join(units.values()) if len(units) == len(wanted) else b""


def coded_units(data: bytes) -> Iterator[bytes]:
    """The NAL units of a coded picture with start codes (Annex B), without these."""
    start = data.find(_START)
    while start >= 0:
        end = data.find(_START, start + 3)
        if unit := data[start + 3 : len(data) if end < 0 else end].rstrip(b"\x00"):
            yield unit
        start = end


def _header(stream: VideoStream | AudioStream) -> bytes:
    memory = io.BytesIO()
    try:
        with av.open(memory, "w", format="mp4", options={"movflags": "empty_moov"}) as empty:
            empty.add_stream_from_template(stream, opaque=True)
            empty.start_encoding()
    except (av.FFmpegError, ValueError):
        return b""
    return memory.getvalue()
