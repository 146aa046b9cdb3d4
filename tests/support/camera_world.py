"""Cameras and clips that the tests of sources make for themselves."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from sightline.config import Camera, parse_config

WIDTH, HEIGHT = 320, 240


def camera(url: str | Path, **options: Any) -> Camera:
    """A camera as a config gives it; ``options`` are those of its stream; files and http allowed."""
    raw = {"allow": {"files": True, "http": True}, "cameras": {"cam": {"url": str(url), "stream": options}}}
    loaded = parse_config(raw)
    assert not loaded.problems, loaded.problems
    return loaded.cameras["cam"]


def picture_at(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """I420 [3/2·height, width]: a bright square that moves over a gradient."""
    picture = np.full((height * 3 // 2, width), 128, np.uint8)
    picture[:height] = np.linspace(40, 120, width, dtype=np.uint8)
    x = 8 * number % (width - 48)
    picture[40:88, x : x + 48] = 220
    return picture


def make_clip(
    path: Path,
    frames: int = 50,
    *,
    fps: int = 10,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    codec: str = "libx264",
    gop: int = 10,
    bframes: int = 0,
    pix_fmt: str = "yuv420p",
    times: list[float] | None = None,
    start_s: float = 0.0,
    turn: tuple[int, bool, bool] | None = None,
    pixel_aspect: tuple[int, int] | None = None,
) -> Path:
    """Encode a clip; ``times`` (seconds) makes it one of variable frame rate.

    ``turn``: how players show it, degrees counter-clockwise, mirrored, upside down.
    """
    options = {
        "preset": "ultrafast",
        "bf": str(bframes),
        "x264-params": f"keyint={gop}:scenecut=0:force-cfr={int(times is None)}",
    }
    if codec == "libx265":
        options = {"preset": "ultrafast", "x265-params": f"keyint={gop}:bframes={bframes}:log-level=none"}
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        if pixel_aspect:
            stream.codec_context.sample_aspect_ratio = Fraction(*pixel_aspect)
        if turn:
            stream.set_display_rotation(*turn)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture_at(number, *size), format="yuv420p")
            if pix_fmt != "yuv420p":
                frame = frame.reformat(format=pix_fmt)
            frame.pts = round(1000 * (start_s + (times[number] if times else number / fps)))
            frame.time_base = Fraction(1, 1000)
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    return path


def make_sound(path: Path, seconds: int = 4) -> Path:
    """A file with sound and no video."""
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream("aac", rate=48_000)
        for number in range(seconds * 48_000 // 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.rate, frame.pts = 48_000, number * 1024
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    return path
