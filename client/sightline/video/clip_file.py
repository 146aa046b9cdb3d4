"""Packets into MP4 as they are: a fragmented file while it grows, at last one that plays at once.

What has been written of a fragmented file can be read, wherever the program was killed.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from sightline.video.packets import CodedPacket, parameter_sets
from sightline.video.sound import SoundTrack

FRAGMENT_S = 0.5
_GROWING = {
    "movflags": "empty_moov+default_base_moof",
    "frag_duration": str(round(FRAGMENT_S * 1e6)),
    "flush_packets": "1",
    "max_interleave_delta": str(round(FRAGMENT_S * 1e6)),  # a video does not wait for sound that stays away
}
#: Players of Apple's want this one; FFmpeg writes another unless it is told.
_TAGS = {"hevc": "hvc1"}


class FragmentFile:
    """A file that grows, in the order of decoding, from a key frame on. For one thread; raises OSError."""

    def __init__(self, path: Path, first: CodedPacket) -> None:
        """Begin it with its first packet, which is a key frame's.

        Raises:
            ValueError: no MP4 file can hold what the stream is coded with.
        """
        stream = first.stream
        if not stream.header:
            raise ValueError(f"no MP4 file can hold {stream.codec}")
        self._base, self._first_pts = stream.time_base, first.pts
        self._zero = min(first.pts, first.dts)  # where the file's own times begin
        self._last_dts = self._zero - 1
        self.media_s = first.media_s  # of the newest picture
        make_private(path)
        try:
            self._sink = av.open(str(path), "w", format="mp4", options=_GROWING)
            with av.open(io.BytesIO(stream.header)) as template:
                self._output = _output(self._sink, template.streams.video[0])
            self._output.time_base = stream.time_base
            self._output.codec_context.extradata = parameter_sets(first) or stream.extradata
            start_s = self._zero * self._base
            self._sound = SoundTrack(self._sink, stream.sound, start_s) if stream.sound else None
            self._sink.start_encoding()
        except av.FFmpegError as error:
            raise os_error(error) from error
        self.write(first)

    def write(self, packet: CodedPacket) -> None:
        """Add a packet of the same stream; pictures due before the first, which need others, are left out."""
        if packet.is_sound:
            self._write_sound(lambda sound: sound.packets(packet))
            return
        if packet.pts < self._first_pts:
            return
        self._last_dts = dts = max(min(packet.dts, packet.pts), self._last_dts + 1)
        self.media_s = max(self.media_s, packet.media_s)
        copy = Packet(packet.data)
        copy.pts, copy.dts = max(packet.pts, dts) - self._zero, dts - self._zero
        copy.time_base = self._base
        copy.is_keyframe = packet.is_key
        copy.stream = self._output
        try:
            self._sink.mux_one(copy)
        except av.FFmpegError as error:
            raise os_error(error) from error

    def close(self) -> None:
        """Write what is left."""
        try:
            self._write_sound(SoundTrack.rest)
        finally:
            try:
                self._sink.close()
            except av.FFmpegError as error:
                raise os_error(error) from error

    def _write_sound(self, make: Callable[[SoundTrack], Iterator[Packet[Any]]]) -> None:
        if self._sound is None:
            return
        try:
            for packet in make(self._sound):
                self._sink.mux_one(packet)
        except av.FFmpegError as error:
            raise os_error(error) from error


@dataclass(frozen=True, slots=True)
class Finished:
    """What :func:`finish` has made."""

    codec: str
    seconds: float  # from its first frame to its last
    bytes: int


def finish(part: Path, path: Path) -> Finished | None:
    """Make the file that plays at once, its first frame at 0 s, of a fragmented one; None: nothing is in it.

    The end of ``part`` may be missing. OSError: the disk does not take it.
    """
    try:
        source = av.open(str(part))
    except av.FFmpegError as error:
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise os_error(error) from error
        return None
    draft = path.with_name(f"{path.name}.new")
    with source:
        streams = [*source.streams.video[:1], *source.streams.audio[:1]]
        starts = [_start(part, stream) for stream in streams]  # a track of sound may be empty
        if not streams or streams[0].type != "video" or starts[0] is None:
            return None
        streams = [stream for stream, start in zip(streams, starts, strict=True) if start is not None]
        codec, base = streams[0].codec_context.codec.canonical_name, streams[0].time_base or Fraction(1)
        start = last = starts[0]
        make_private(draft)
        try:
            with av.open(str(draft), "w", format="mp4", options={"movflags": "faststart"}) as sink:
                outputs = {stream: _output(sink, stream) for stream in streams}
                for packet in _readable(source, streams):
                    zero = round(start * base / (packet.stream.time_base or base))
                    packet.pts, packet.dts = _pts(packet) - zero, (packet.dts or 0) - zero
                    if packet.stream is streams[0]:
                        last = max(last, packet.pts + start)
                    elif packet.pts < 0:
                        continue
                    packet.stream = outputs[packet.stream]
                    sink.mux_one(packet)
        except av.FFmpegError as error:
            draft.unlink(missing_ok=True)
            raise os_error(error) from error
    draft.replace(path)
    return Finished(codec, float((last - start) * base), path.stat().st_size)


def _readable(source: InputContainer, streams: Sequence[Any]) -> Iterator[Packet[Any]]:
    """Packets until the end, or until nothing more can be read."""
    with contextlib.suppress(av.FFmpegError):
        yield from (packet for packet in source.demux(*streams) if packet.size and not packet.is_corrupt)


def _start(part: Path, stream: Any) -> int | None:
    """The first time stamp of a file's stream; None: there is no packet of it."""
    with av.open(str(part)) as source:
        first = next(_readable(source, [source.streams[stream.index]]), None)
        return None if first is None else _pts(first)


def _pts(packet: Packet[Any]) -> int:
    return packet.pts or 0  # an MP4 file has one for each


def _output(sink: OutputContainer, template: Any) -> Any:
    output = sink.add_stream_from_template(template, opaque=True)
    output.time_base = template.time_base
    codec = template.codec_context.codec.canonical_name
    if codec in _TAGS:
        output.codec_context.codec_tag = _TAGS[codec]
    return output


def make_private(path: Path) -> None:
    """An empty file for its owner's eyes alone, which FFmpeg writes over."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))


def os_error(error: av.FFmpegError) -> OSError:
    """What the disk did, as Python says it."""
    return OSError(error.errno, error.strerror)
