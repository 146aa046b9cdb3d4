"""The boundary to FFmpeg's input side: opening safely, errors in our words, what packets tell.

What a camera may make FFmpeg do is bounded here: protocols, formats, probing, time and picture size.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import ssl
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import av
from av.codec.context import ThreadType
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from sightline.base.redact import redact
from sightline.base.threads import SideThreads
from sightline.config import Camera
from sightline.errors import (
    SourceEnded,
    SourceError,
    SourceNotFound,
    SourceStalled,
    SourceUnauthorized,
    SourceUnreachable,
    SourceUnusable,
)
from sightline.video.challenge import why_refused

MIN_SIDE_PX, MAX_SIDE_PX = 16, 8192  # another picture is an attack or a mistake
MAX_PIXELS = MAX_SIDE_PX**2
MAX_FPS, DEFAULT_FPS = 240, 25
PROBE_BYTES = 2_000_000
PROBE_S = 1.0
#: At 5 fps two or three pictures: those that come meanwhile are late, and so are their events.
LIVE_PROBE_S = 0.5
#: Of ``open_timeout_s``: read where the size of the picture comes with a key frame only, and that comes late.
LONG_PROBE_SHARE = 0.8
#: No playlists, no concatenations: a file may not name other files.
_FILE_FORMATS = "mov,matroska,avi,mpegts,mpeg,flv,h264,hevc,m4v,mpegvideo,dhav,ivf,mjpeg,asf,ogg,mxf"
_HTTP_FORMATS = f"{_FILE_FORMATS},mpjpeg"
#: What a file carries as a video stream and is none: pictures for a list of files.
_NO_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
#: Pictures, or a coded stream, one after the other without a word about time.
_UNTIMED_FORMATS = frozenset({"mpjpeg", "mjpeg", "h264", "hevc", "m4v", "mpegvideo", "jpeg_pipe"})
#: Formats that have a length of their own, which a recording that was cut off keeps.
_TELL_LENGTH = frozenset({"mov", "matroska", "flv", "asf"})
_PROTOCOLS = {
    "rtsp": "rtsp,rtp,tcp,udp",
    "rtsps": "rtsp,rtsps,rtp,tcp,tls",
    "http": "http,tcp",
    "https": "https,tls,tcp",
    "file": "file",
}
#: A resolver that waits for dead servers keeps its thread for 20 s; later cameras wait for a thread.
_RESOLVERS = SideThreads("names", 8)
#: Text in a stream may be any bytes. PyAV 19 takes them as they are and has no such argument.
_METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
_UNAUTHORIZED = (av.HTTPUnauthorizedError, av.HTTPForbiddenError)
_NOT_FOUND = (av.HTTPNotFoundError, av.FileNotFoundError, av.IsADirectoryError)
#: Every other errno, EIO of a name that does not resolve among them, and every other answer of the server.
_UNREACHABLE = (av.HTTPClientError, av.HTTPServerError, av.EOFError, OSError)
#: What FFmpeg says of bytes that it does not know, and of a format that is not allowed.
_UNREADABLE = (av.InvalidDataError, av.ArgumentError, av.EOFError)


def is_file(url: str) -> bool:
    """Whether ``url`` is a path or a ``file://`` URL."""
    return _scheme(url) == "file"


def check_name(camera: Camera, threads: SideThreads = _RESOLVERS) -> None:
    """Resolve the host's name beforehand: no time-out reaches FFmpeg while it waits for a name server.

    Raises:
        SourceUnreachable: it does not resolve, or not within the camera's ``open_timeout_s``.
    """
    host, timeout_s = urlsplit(camera.source_url).hostname, camera.stream.open_timeout_s
    if not host or is_file(camera.source_url):
        return
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host.partition("%")[0])
        return
    try:
        threads.run(lambda: socket.getaddrinfo(host, None), timeout_s)
    except TimeoutError:
        raise SourceUnreachable(f"no name server has answered for {host!r} within {timeout_s:g} s") from None
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceUnreachable(f"the host's name {host!r} does not resolve ({reason})") from error


def open_container(
    camera: Camera, accelerator: HWAccel | None = None, again: Callable[[], object] = lambda: None
) -> InputContainer:
    """Open a camera's stream; later reads end after ``stall_timeout_s``.

    Connecting and looking into the stream take at most ``open_timeout_s`` each. Where no key frame has told a
    live picture's size so soon, it is opened once more and read for longer; ``again`` is called before that.

    Raises:
        SourceError: the kind says why; the text holds no credentials.
    """
    if is_file(camera.source_url):
        return _open(camera, accelerator, PROBE_S)
    container = _open(camera, accelerator, LIVE_PROBE_S)
    if _tells_size(container):
        return container
    container.close()
    again()
    container = _open(camera, accelerator, LONG_PROBE_SHARE * camera.stream.open_timeout_s)
    if _tells_size(container):
        return container
    container.close()
    raise SourceStalled(
        "packets come, but no key frame that tells the picture's size; let the camera send key frames "
        "more often (GOP, I-frame interval), or raise open_timeout_s"
    )


def _open(camera: Camera, accelerator: HWAccel | None, probe_s: float) -> InputContainer:
    """``probe_s``: how much of the stream is read at most until its parameters are known."""
    path = camera.source_url
    if is_file(path):  # with the protocol, so that a name such as "a:b" is none
        path = f"file:{Path(unquote(urlsplit(path).path)) if path.lower().startswith('file:') else path}"
    started_s = time.monotonic()
    try:
        container: InputContainer = av.open(
            path,
            options=_options(camera, probe_s),
            timeout=(camera.stream.open_timeout_s, camera.stream.stall_timeout_s),
            hwaccel=accelerator,
            **_METADATA,
        )
        return container
    except av.FFmpegError as error:
        timed_out = time.monotonic() - started_s >= camera.stream.open_timeout_s
        problem = open_error(error, camera, timed_out=timed_out)
        if isinstance(error, av.HTTPUnauthorizedError) and (why := why_refused(camera)):
            problem = SourceUnauthorized(why)
        raise problem from error
    except (ValueError, RuntimeError) as error:  # PyAV's own checks
        raise SourceUnusable(redact(f"cannot be opened: {error}")) from error


def choose_video(container: InputContainer) -> VideoStream:
    """The stream that a player would show.

    Raises:
        SourceUnusable: there is no video that something here decodes.
    """
    videos = [stream for stream in container.streams.video if not stream.disposition & _NO_VIDEO]
    if not videos:
        kinds = {"cover picture" if s.type == "video" else s.type for s in container.streams}
        raise SourceUnusable(f"the stream has no video (found: {', '.join(sorted(kinds)) or 'nothing'})")
    usable = [stream for stream in videos if stream.codec_context is not None]
    if not usable:
        raise SourceUnusable("no decoder here for the stream's video codec")
    best = container.streams.best("video")  # of several default ones: not the one of thumbnails
    return max(usable, key=lambda stream: (bool(stream.disposition & Disposition.default), stream is best))


def _tells_size(container: InputContainer) -> bool:
    """Whether the size of the picture is known already, if there is one."""
    return all(stream.width and stream.height for stream in container.streams.video if stream.codec_context)


def prepare_decoder(container: InputContainer, camera: Camera) -> VideoStream:
    """Choose the video and set up its decoder, on one thread: more would delay frames and cost memory.

    Raises:
        SourceUnusable: there is no video that something here decodes.
    """
    stream = choose_video(container)
    check_size(stream.width, stream.height)
    context = stream.codec_context
    context.thread_count = 1
    context.thread_type = ThreadType.NONE
    context.copy_opaque = True  # what a packet carries comes out with its frame, reordered with it
    context.options = {**context.options, "max_pixels": str(MAX_PIXELS)}
    if camera.stream.skip_non_reference:
        context.skip_frame = "NONREF"
    try:
        context.open(strict=False)
    except av.FFmpegError as error:
        raise SourceUnusable(f"the decoder {context.name} does not start ({_scrubbed(error)})") from error
    return stream


def has_times(container: InputContainer) -> bool:
    """Whether a live stream's times come from its sender; FFmpeg makes some up where the format has none."""
    return not _UNTIMED_FORMATS & set(container.format.name.split(","))


def frame_period_s(stream: VideoStream) -> float:
    """Seconds between two frames, as far as FFmpeg can guess."""
    rates = (stream.guessed_rate, stream.average_rate)
    return float(next((1 / rate for rate in rates if rate and 0 < rate <= MAX_FPS), 1 / DEFAULT_FPS))


def written_s(container: InputContainer, stream: VideoStream) -> float:
    """How many seconds of video a recording says it has; 0 where nothing but FFmpeg's guess tells it."""
    if not _TELL_LENGTH & set(container.format.name.split(",")):
        return 0.0
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1e6


def own_pixel_aspect(stream: VideoStream, camera: Camera) -> float:
    """Width of a pixel by its height as the camera's options or the file's header say; 0: the codec says it.

    Ask before a packet is decoded: what the codec says may change, and the header then does not.
    """
    by_file, by_codec = stream.sample_aspect_ratio, stream.codec_context.sample_aspect_ratio
    return camera.stream.pixel_aspect or (float(by_file) if by_file and by_file != by_codec else 0.0)


def pixel_aspect(stream: VideoStream) -> float:
    """Width of a pixel by its height as the codec says now; 0 when it does not."""
    return float(stream.codec_context.sample_aspect_ratio or 0)


def check_size(width: int, height: int) -> None:
    """Refuse pictures that only an attack or a mistake could ask for.

    Raises:
        SourceUnusable: a side is not between :data:`MIN_SIDE_PX` and :data:`MAX_SIDE_PX`.
    """
    if min(width, height) < MIN_SIDE_PX:
        raise SourceUnusable(f"a picture of {width}x{height} is smaller than {MIN_SIDE_PX} pixels a side")
    if max(width, height) > MAX_SIDE_PX:
        raise SourceUnusable(f"a picture of {width}x{height} is larger than {MAX_SIDE_PX} pixels a side")


def camera_time(packet: Packet[VideoStream]) -> float | None:
    """UTC epoch seconds of a packet on the camera's clock, when a sender report has told it."""
    if not packet.has_sidedata("prft"):
        return None
    # AVProducerReferenceTime: int64 microseconds since the epoch, int flags.
    return float(struct.unpack_from("q", bytes(packet.get_sidedata("prft")))[0]) / 1e6


def open_error(error: av.FFmpegError, camera: Camera, *, timed_out: bool = False) -> SourceError:
    """What kept a stream from opening, in our words."""
    reason = _scrubbed(error)
    recorded = is_file(camera.source_url)
    if isinstance(error, _UNAUTHORIZED):
        problem: SourceError = SourceUnauthorized(f"the camera refused the credentials ({reason})")
    elif isinstance(error, _NOT_FOUND):
        problem = SourceNotFound(f"there is nothing at this path ({reason})")
    elif timed_out or isinstance(error, av.ExitError):
        problem = SourceUnreachable(f"no stream within {camera.stream.open_timeout_s:g} s")
    elif recorded and isinstance(error, _UNREADABLE):
        problem = SourceUnusable(f"is empty, cut off, or no recording of a kind that is known ({reason})")
    elif isinstance(error, _UNREACHABLE) and not recorded:
        problem = SourceUnreachable(f"cannot connect ({reason})")
    elif isinstance(error, av.InvalidDataError):
        problem = SourceUnreachable("connected, but the answer is not that of a camera")
    elif isinstance(error, av.ArgumentError) and _scheme(camera.source_url).startswith("http"):
        problem = SourceUnusable(f"connected, but a page or a single picture is no video ({reason})")
    else:
        problem = SourceUnusable(f"cannot be opened ({reason})")
    return problem


def read_error(error: av.FFmpegError, stall_timeout_s: float) -> SourceError:
    """What ended a stream that had been open, in our words."""
    reason = _scrubbed(error)
    if isinstance(error, av.ExitError | av.TimeoutError):
        return SourceStalled(f"nothing came for {stall_timeout_s:g} s")
    return SourceEnded(f"the stream broke off ({reason})")


def _scrubbed(error: av.FFmpegError) -> str:
    """The error's own words, once its file name, which is the URL with the password, is out of it.

    The error stays behind as the cause of ours, and a traceback prints causes.
    """
    error.args = (error.errno, redact(error.strerror))
    if error.errno == errno.EIO:  # what FFmpeg gives when a name does not resolve
        return "input/output error; is the host's name right?"
    return redact(error.strerror or type(error).__name__)


def _scheme(url: str) -> str:
    scheme = urlsplit(url).scheme.lower()
    return scheme if scheme in _PROTOCOLS else "file"


def _options(camera: Camera, probe_s: float) -> dict[str, str]:
    scheme = _scheme(camera.source_url)
    options = {
        "protocol_whitelist": _PROTOCOLS[scheme],
        "probesize": str(PROBE_BYTES),
        "analyzeduration": str(int(probe_s * 1e6)),
        "max_pixels": str(MAX_PIXELS),
    }
    if scheme in {"rtsp", "rtsps"}:
        # Frame rates are not guessed from the first frames: time comes from PTS, and joining is faster.
        media = "video+audio" if camera.wants_sound else "video"
        options |= {"allowed_media_types": media, "fpsprobesize": "0"}
        options["rtsp_transport"] = "tcp" if scheme == "rtsps" else camera.stream.rtsp_transport
    else:
        options["format_whitelist"] = _FILE_FORMATS if scheme == "file" else _HTTP_FORMATS
    if scheme in {"rtsps", "https"}:
        authorities = camera.stream.tls_ca_file or ssl.get_default_verify_paths().cafile
        options["tls_verify"] = "1" if camera.stream.verify_tls else "0"
        options |= {"ca_file": str(authorities)} if authorities else {}
    return options
