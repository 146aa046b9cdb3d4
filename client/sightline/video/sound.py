"""The sound of a clip: AAC as it comes; G.711, which players do not take in MP4 files, as AAC."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from sightline.video.packets import CodedPacket, CodedStream

G711 = frozenset({"pcm_alaw", "pcm_mulaw"})
_BITS_PER_SAMPLE = 3  # of AAC: 24 kbit/s at 8 kHz


def sound_of(container: InputContainer) -> tuple[AudioStream | None, str]:
    """The sound that comes with a video, if a clip can have it; else why not."""
    streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if not streams:
        return None, "the stream has no sound"
    coded = CodedStream.of(streams[0])
    if coded.codec in G711 or (coded.codec == "aac" and coded.extradata and coded.header):
        return streams[0], ""
    return None, f"no clip can hold its sound ({coded.codec})"


class SoundTrack:
    """A file's track of sound; gives packets to be written. For one thread.

    Raises:
        av.FFmpegError: FFmpeg does not take it.
    """

    def __init__(self, sink: OutputContainer, stream: CodedStream, start_s: Fraction) -> None:
        """Add the track; ``start_s``: the media time that is the file's 0."""
        self._stream = stream
        self._base = stream.time_base
        self._zero = round(start_s / self._base)
        self._last_dts = -1
        self._decoder: Any = None
        self._output: Any
        if stream.codec in G711:
            layout = "mono" if stream.channels == 1 else "stereo"
            self._decoder = av.CodecContext.create(stream.codec, "r")
            self._decoder.sample_rate, self._decoder.layout = stream.rate, layout
            self._output = sink.add_stream("aac", rate=stream.rate, layout=layout)
            self._output.codec_context.bit_rate = _BITS_PER_SAMPLE * stream.rate * stream.channels
        else:
            with av.open(BytesIO(stream.header)) as template:
                self._output = sink.add_stream_from_template(template.streams.audio[0], opaque=True)
            self._output.time_base = self._base
            self._output.codec_context.extradata = stream.extradata

    def packets(self, packet: CodedPacket) -> Iterator[Packet[Any]]:
        """What to write for a packet: nothing of what is before the file's 0, or of another stream."""
        pts = packet.pts - self._zero
        if packet.stream is not self._stream or pts < 0:
            return
        copy = Packet(packet.data)
        copy.pts, copy.dts, copy.time_base = pts, pts, self._base
        if self._decoder is None:
            yield from self._forward([copy])
            return
        rate = self._stream.rate
        with contextlib.suppress(av.InvalidDataError):
            for frame in self._decoder.decode(copy):
                frame.pts, frame.time_base = round(pts * self._base * rate), Fraction(1, rate)
                yield from self._forward(self._output.encode(frame))

    def rest(self) -> Iterator[Packet[Any]]:
        """What the encoder still holds."""
        if self._decoder is not None:
            yield from self._forward(self._output.encode(None))

    def _forward(self, packets: list[Packet[Any]]) -> Iterator[Packet[Any]]:
        """Those whose time goes on: a file takes no others."""
        for packet in packets:
            if packet.dts is not None and packet.dts > self._last_dts:
                self._last_dts = packet.dts
                packet.stream = self._output
                yield packet
