"""Videos with sound: a short tone at every whole second, and where tones begin in a file."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

RATE, TONE_S, FRAME = 16_000, 0.2, 320


def with_tones(
    video: Path, target: Path, codec: str, *, seconds: float | None = None, rate: int = RATE
) -> Path:
    """The video's packets, and sound; ``seconds``: how long it is heard, by default as long as it is seen."""
    with av.open(str(video)) as source, av.open(str(target), "w") as sink:
        stream = source.streams.video[0]
        output = sink.add_stream_from_template(stream, opaque=True)
        sound = sink.add_stream(codec, rate=rate, layout="mono")
        packets = []
        for packet in source.demux(stream):
            if packet.size:
                packet.stream = output
                packets.append((float(packet.dts * packet.time_base), packet))
        length_s = float(stream.duration * stream.time_base) if seconds is None else seconds
        times = np.arange(int(length_s * rate)) / rate
        heard = np.where(times % 1 < TONE_S, 16_000 * np.sin(2 * np.pi * 1000 * times), 0).astype(np.int16)
        for at in range(0, len(heard), FRAME):
            frame = av.AudioFrame.from_ndarray(heard[None, at : at + FRAME], format="s16", layout="mono")
            frame.rate, frame.pts = rate, at
            packets += [(float(packet.pts * packet.time_base), packet) for packet in sound.encode(frame)]
        packets += [(float(packet.pts * packet.time_base), packet) for packet in sound.encode(None)]
        for _, packet in sorted(packets, key=lambda item: item[0]):
            sink.mux(packet)
    return target


def tones_in(path: str | Path) -> list[float]:
    """The seconds in the file at which tones begin, the first sound not among them."""
    with av.open(str(path)) as source:
        pieces = [(frame.time, np.abs(frame.to_ndarray()[0]), frame.rate) for frame in source.decode(audio=0)]
    times = np.concatenate([start + np.arange(len(piece)) / rate for start, piece, rate in pieces])
    loud = times[np.concatenate([piece for _, piece, _ in pieces]) > 0.1]
    return [float(loud[at]) for at in np.flatnonzero(np.diff(loud, prepend=loud[0]) > TONE_S)]
