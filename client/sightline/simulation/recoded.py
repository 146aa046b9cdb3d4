"""Copies of videos for simulated cameras."""

import hashlib
import tempfile
from fractions import Fraction
from pathlib import Path

import av

from sightline.base.resources import cache_folder
from sightline.video.clock import FpsGate


def copy_at_fps(video: Path, fps: float, folder: Path | None = None) -> Path:
    """A copy of ``video`` without sound, at ``fps`` frames a second or, if these are fewer, all that it has.

    Frames are chosen by media time and keep their times, so the copy lasts as long as the original. It is
    made once, in ``folder``, by default ``clips`` in the cache folder.
    """
    folder = folder or cache_folder() / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    stat = video.stat()
    key = hashlib.sha256(f"{video.resolve()} {stat.st_mtime_ns} {stat.st_size} {fps}".encode()).hexdigest()
    copy = folder / f"{video.stem}-{fps:g}fps-{key[:12]}.mp4"
    if not copy.is_file():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            draft = Path(scratch) / copy.name
            _encode(video, fps, draft)
            draft.replace(copy)
    return copy


def _encode(video: Path, fps: float, path: Path) -> None:
    gate = FpsGate(fps)
    with av.open(str(video)) as source, av.open(str(path), "w") as sink:
        stream = source.streams.video[0]
        options = {"preset": "veryfast", "crf": "20", "bf": "0"}
        output = sink.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000), options=options)
        output.width, output.height, output.pix_fmt = stream.width, stream.height, "yuv420p"
        output.codec_context.time_base = stream.time_base or Fraction(1, 90_000)
        output.codec_context.gop_size = max(1, round(2 * fps))
        for frame in source.decode(stream):
            if frame.time is not None and gate.passes(frame.time):
                frame.pict_type = 0
                sink.mux(output.encode(frame))
        sink.mux(output.encode(None))
