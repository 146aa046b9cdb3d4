"""How WHEP and HLS are asked of the media server, whose own ports nobody else reaches.

MediaMTX has ports on an inner network, and asks us (``authMethod: http``) about every request: the answer is
yes to what carries a :class:`~sightline.access.path_tokens.PathTokens` token. It is told where a camera's
stream is just before somebody watches. go2rtc, the demo's, listens on a socket in a folder of our user's;
its streams have the cameras' names.
"""

import http.client
import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, urlencode

from sightline.access.path_tokens import PathTokens
from sightline.config import Camera
from sightline.config.media_options import MediaOptions, MediaServerKind
from sightline.errors import MediaServerError

TIMEOUT_S = 8.0  # less than what a request at our own port may take
START_S = 6  # of a stream that is fetched for the first viewer
MAX_BYTES = 64 << 20  # of a part of an HLS stream
SDP = "application/sdp"
PLAYLIST = "index.m3u8"
MAX_PLAYED = 1000  # HLS sessions of go2rtc whose camera is remembered


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A playlist, or a part of a stream."""

    media: str  # its type
    data: bytes


class MediaServer(Protocol):
    """What passes video on. Every method may take some seconds, and raises MediaServerError."""

    has_hls: bool

    def answer(self, camera: Camera, offer: str, session: str) -> str:
        """The SDP by which a browser gets the camera's video; ``session`` is our name for that."""

    def file(self, camera: Camera, name: str, query: Mapping[str, str]) -> MediaFile | None:
        """A file of the camera's HLS stream; None: there is none of that name."""

    def sessions(self) -> Mapping[str, str] | None:
        """By our names, its own of those that go on; None: it cannot tell, and cannot end them."""

    def end(self, session: str) -> None:
        """End a session, by its own name."""


def media_server_of(options: MediaOptions, tokens: PathTokens) -> MediaServer | None:
    """The one that is configured."""
    if options.url is None:
        return None
    if options.kind is MediaServerKind.GO2RTC:
        return Go2rtc(options.url)
    return MediaMtx(options, tokens)


class MediaMtx:
    """MediaMTX; a stream's path is its camera's name."""

    def __init__(self, options: MediaOptions, tokens: PathTokens) -> None:
        self._urls = {"webrtc": options.url, "api": options.api_url, "hls": options.hls_url}
        self._tokens = tokens
        self.has_hls = options.hls_url is not None

    def answer(self, camera: Camera, offer: str, session: str) -> str:
        """The SDP by which a browser gets the camera's video."""
        self._tell(camera)
        path = f"/{camera.name}/whep?{urlencode({'session': session})}"
        _, answer = self._ask("webrtc", "POST", path, offer.encode(), SDP, camera=camera.name)
        return answer.data.decode()

    def file(self, camera: Camera, name: str, query: Mapping[str, str]) -> MediaFile | None:
        """A file of the camera's HLS stream."""
        if not self.has_hls or not re.fullmatch(r"[\w-]+\.(m3u8|mp4|mp|ts)", name, re.ASCII):
            return None
        if name == PLAYLIST:
            self._tell(camera)
        wanted = {key: value for key, value in query.items() if key.startswith("_HLS_")}
        path = f"/{camera.name}/{name}?{urlencode(wanted)}".rstrip("?")
        status, answer = self._ask("hls", "GET", path, camera=camera.name, missing=True)
        return answer if status < 400 else None

    def sessions(self) -> Mapping[str, str]:
        """By our names, its own of those that go on."""
        _, answer = self._ask("api", "GET", "/v3/webrtcsessions/list?itemsPerPage=10000")
        items = json.loads(answer.data)["items"]
        return {str(item["query"]).removeprefix("session="): str(item["id"]) for item in items}

    def end(self, session: str) -> None:
        """End a session; it may have ended."""
        self._ask("api", "POST", f"/v3/webrtcsessions/kick/{quote(session, safe='')}", missing=True)

    def _tell(self, camera: Camera) -> None:
        """Tell where the camera's stream is; nobody who watches notices where that is known."""
        options = {
            "source": camera.video_url,
            "rtspTransport": camera.stream.rtsp_transport,
            "sourceOnDemand": True,
            "sourceOnDemandStartTimeout": f"{START_S}s",
        }
        path = f"/v3/config/paths/replace/{camera.name}"
        self._ask("api", "POST", path, json.dumps(options).encode(), "application/json")

    def _ask(
        self,
        port: str,
        method: str,
        path: str,
        body: bytes = b"",
        media: str = "",
        *,
        camera: str = "",
        missing: bool = False,
    ) -> tuple[int, MediaFile]:
        token = self._tokens.make("read" if camera else "api", camera)
        headers = {"Authorization": f"Bearer {token}", **({"Content-Type": media} if media else {})}
        return _exchange(self._urls[port] or "", method, path, body, headers, missing=missing)


class Go2rtc:
    """go2rtc; a stream's name is its camera's, ``NAME-main`` for the main one beside a smaller one.

    It cannot end what it has begun to send by WebRTC, nor tell who sees it.
    """

    has_hls = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._played: dict[str, str] = {}  # cameras by go2rtc's ids of their HLS sessions, the newest last

    def answer(self, camera: Camera, offer: str, session: str) -> str:
        """The SDP by which a browser gets the camera's video."""
        path = f"/api/webrtc?{urlencode({'src': self._stream(camera)})}"
        return _exchange(self._url, "POST", path, offer.encode(), {"Content-Type": SDP})[1].data.decode()

    def file(self, camera: Camera, name: str, query: Mapping[str, str]) -> MediaFile | None:
        """A file of the camera's HLS stream."""
        if name == PLAYLIST:
            path = f"/api/stream.m3u8?{urlencode({'src': self._stream(camera)})}"
            _, answer = _exchange(self._url, "GET", path)
            for session in re.findall(rb"[?&]id=(\w+)", answer.data):
                self._played[session.decode()] = camera.name
            for session in list(self._played)[:-MAX_PLAYED]:
                self._played.pop(session, None)
            return MediaFile(answer.media, answer.data.replace(b"hls/", b""))
        if name not in {"playlist.m3u8", "segment.ts"}:
            return None
        if self._played.get(query.get("id", "")) != camera.name:  # else one could see another camera's
            return None
        wanted = {key: value for key, value in query.items() if key in {"id", "n"}}
        status, answer = _exchange(self._url, "GET", f"/api/hls/{name}?{urlencode(wanted)}", missing=True)
        return answer if status < 400 else None

    def sessions(self) -> None:
        """Nothing: it cannot tell."""

    def end(self, session: str) -> None:
        """Nothing: it cannot."""

    @staticmethod
    def _stream(camera: Camera) -> str:
        is_main = camera.live.video == "main" and camera.sub_url is not None
        return f"{camera.name}-main" if is_main else camera.name


class _UnixConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        """Connect to the socket whose path is the host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._unix_path)

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._unix_path = path


def _exchange(
    base: str,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    missing: bool = False,
) -> tuple[int, MediaFile]:
    """Status and body of an answer.

    Args:
        base: http://HOST:PORT or unix:/PATH.
        method: GET or POST.
        path: with its query.
        body: what is sent.
        headers: that are sent.
        missing: 404 is an answer.

    Raises:
        MediaServerError: there is no answer, or it is an error.
    """
    scheme, _, rest = base.partition(":")
    unix = scheme == "unix"
    host = rest.removeprefix("//")
    connection = (
        _UnixConnection(rest, TIMEOUT_S) if unix else http.client.HTTPConnection(host, timeout=TIMEOUT_S)
    )
    try:
        connection.request(method, path, body or None, dict(headers or {}))
        answer = connection.getresponse()
        data = answer.read(MAX_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise MediaServerError(f"the media server does not answer ({error})") from error
    finally:
        connection.close()
    if answer.status >= 400 and not (missing and answer.status == 404):
        raise MediaServerError(f"the media server answers {answer.status} to {path.partition('?')[0]}")
    if len(data) > MAX_BYTES:
        raise MediaServerError(f"the media server sends more than {MAX_BYTES} bytes at once")
    return answer.status, MediaFile(answer.headers.get("Content-Type", ""), data)
