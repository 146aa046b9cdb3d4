"""Pictures as H.264 or H.265: into a file, kept for later, or live to an RTSP server."""

import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import count, islice
from pathlib import Path
from typing import Literal, cast

import av
from av.video.stream import VideoStream

from sightline.simulation.scenes.arrays import U8
from sightline.simulation.scenes.scene import painter, world_of
from sightline.simulation.scenes.spec import SceneSpec
from sightline.video import timecode
from sightline.video.timecode import TimeCode

Codec = Literal["h264", "h265"]
CODECS: tuple[Codec, ...] = ("h264", "h265")
_CLOCK = 90_000


@dataclass(frozen=True, slots=True)
class Coding:
    """How pictures are encoded."""

    codec: Codec = "h264"
    fps: float = 10.0  # frames a second; any number, 12.5 too
    gop: int = 50  # frames from one key frame to the next
    bitrate: int = 1_500_000  # bits a second
    b_frames: int = 0  # B-frames between two others; 0 for the least delay
    preset: str = "veryfast"  # of x264 and x265: faster costs quality


def pictures(spec: SceneSpec, fps: float, start_s: float = 0.0) -> Iterator[tuple[float, U8]]:
    """Time and picture of every frame, for ever; frame i is at start + i / fps, with its time code in it."""
    paint, world = painter(spec), world_of(spec)
    for i in count():
        time_s = start_s + i / fps
        picture = paint(world.at(time_s))
        timecode.draw(picture, TimeCode(round(time_s * 1000)))
        yield time_s, picture


def render(spec: SceneSpec, coding: Coding, length_s: float, path: Path) -> None:
    """Write a video file; its time code counts the scene's milliseconds."""
    temporary = path.with_name(path.name + ".part")
    container = {".mkv": "matroska", ".ts": "mpegts"}.get(path.suffix, "mp4")
    with av.open(str(temporary), "w", format=container) as sink:
        video = _open_stream(sink, spec, coding)
        for time_s, picture in islice(pictures(spec, coding.fps), round(length_s * coding.fps)):
            sink.mux(video.encode(_frame(picture, time_s)))
        sink.mux(video.encode(None))
    temporary.replace(path)


def stream(
    spec: SceneSpec, coding: Coding, url: str, stopped: Callable[[float], bool], start_s: float = 0.0
) -> None:
    """Draw, encode and send in real time, until ``stopped(seconds)`` (which waits so long) says so.

    A machine too slow for the frame rate leaves frames out; the world's clock does not wait. The time code
    holds the scene's time and the UTC time at which the frame was due to be taken.
    """
    paint, world = painter(spec), world_of(spec)
    world.at(start_s)
    with av.open(url, "w", format="rtsp", options={"rtsp_transport": "tcp"}) as sink:
        video = _open_stream(sink, spec, coding)
        sink.start_encoding()
        began, began_utc, i = time.monotonic(), time.time(), 0
        while not stopped(max(0.0, began + i / coding.fps - time.monotonic())):
            i = max(i, int((time.monotonic() - began) * coding.fps))
            time_s = i / coding.fps
            picture = paint(world.at(start_s + time_s))
            code = TimeCode(round((start_s + time_s) * 1000), round((began_utc + time_s) * 1000))
            timecode.draw(picture, code)
            sink.mux(video.encode(_frame(picture, time_s)))
            i += 1
        sink.mux(video.encode(None))


def _open_stream(sink: av.container.OutputContainer, spec: SceneSpec, coding: Coding) -> VideoStream:
    rate = Fraction(coding.fps).limit_denominator(1001)
    video = cast(VideoStream, sink.add_stream(f"libx{coding.codec[1:]}", rate=rate))
    video.width, video.height, video.pix_fmt = spec.width, spec.height, "yuv420p"
    video.bit_rate = coding.bitrate
    video.codec_context.time_base = Fraction(1, _CLOCK)
    video.codec_context.thread_count = 1
    options = {"preset": coding.preset, "g": str(coding.gop), "bf": str(coding.b_frames)}
    if coding.codec == "h265":
        kbit, gop = coding.bitrate // 1000, f"keyint={coding.gop}:bframes={coding.b_frames}"
        one_thread, buffer = "pools=1:frame-threads=1", f"vbv-maxrate={kbit}:vbv-bufsize={kbit * 2}"
        options["x265-params"] = f"{gop}:log-level=error:{one_thread}:{buffer}:repeat-headers=1"
    else:
        options |= {"maxrate": str(coding.bitrate), "bufsize": str(coding.bitrate * 2)}
        if not coding.b_frames:
            options["tune"] = "zerolatency"
    video.codec_context.options = options
    return video


def _frame(picture: U8, time_s: float) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    frame.pts, frame.time_base = round(time_s * _CLOCK), Fraction(1, _CLOCK)
    return frame


VERSION = 2  # of the pictures: raise it when they change, so that old files are not used


def cache_path(spec: SceneSpec, coding: Coding, length_s: float, folder: Path) -> Path:
    """Where in a folder the scene's video is, or will be."""
    what = repr((VERSION, sorted(asdict(spec).items()), sorted(asdict(coding).items()), length_s))
    return folder / f"{spec.scene}-{spec.seed}-{hashlib.sha256(what.encode()).hexdigest()[:16]}.mp4"


def cached(spec: SceneSpec, coding: Coding, length_s: float, folder: Path) -> Path:
    """The scene as a video file in a folder, rendered on first use; the server loops such a file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = cache_path(spec, coding, length_s, folder)
    if not path.is_file():
        render(spec, coding, length_s, path)
    return path


_PROGRAM = [sys.executable, "-m", "sightline.simulation.scenes"]


def live_command(spec: SceneSpec, coding: Coding) -> list[str]:
    """What :class:`RtspServer` runs for a camera that is drawn while it is watched."""
    return [*_PROGRAM, "stream", *options_of(spec, coding), "{output}"]


def render_command(spec: SceneSpec, coding: Coding, length_s: float, path: Path) -> list[str]:
    """The program that renders a scene into a file."""
    return [*_PROGRAM, "render", *options_of(spec, coding), "--length", str(length_s), str(path)]


def options_of(spec: SceneSpec, coding: Coding) -> list[str]:
    """The command-line options that stand for a spec and a coding."""
    values = asdict(spec) | asdict(coding)
    return [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", f"{value}")]
