"""Videos in which each frame shows its own number, as squares that survive coding."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS, SQUARE_PX = 12, 16
WIDTH, HEIGHT = 320, 240


def numbered_clip(
    path: Path,
    frames: int,
    *,
    fps: int = 10,
    codec: str = "libx264",
    gop: int = 10,
    bframes: int = 0,
    noise: int = 0,
) -> Path:
    """Encode the numbers 0, 1, 2, …; ``noise`` (grey levels) makes it large."""
    options = {"preset": "ultrafast", "bf": str(bframes), "x264-params": f"keyint={gop}:scenecut=0"}
    if codec == "libx265":
        options = {
            "preset": "ultrafast",
            "x265-params": f"keyint={gop}:bframes={bframes}:scenecut=0:log-level=none",
        }
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            picture = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
            if noise:
                picture[SQUARE_PX:HEIGHT] += random.integers(
                    0, noise, (HEIGHT - SQUARE_PX, WIDTH), dtype=np.uint8
                )
            for bit in range(BITS):
                picture[:SQUARE_PX, bit * SQUARE_PX : (bit + 1) * SQUARE_PX] = (
                    235 if number >> bit & 1 else 16
                )
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = round(1000 * number / fps), Fraction(1, 1000)
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    return path


def number_in(frame: av.VideoFrame) -> int:
    """The number that a decoded frame shows."""
    luma = frame.to_ndarray(format="gray")[:SQUARE_PX, : BITS * SQUARE_PX]
    means = luma.reshape(SQUARE_PX, BITS, SQUARE_PX).mean(axis=(0, 2))
    return sum(1 << bit for bit, mean in enumerate(means) if mean > 126)


def numbers_by_time(path: str | Path) -> dict[float, int]:
    """By its time in the file, in ms, the number of each frame."""
    with av.open(str(path)) as source:
        return {round(1000 * frame.time): number_in(frame) for frame in source.decode(video=0)}
