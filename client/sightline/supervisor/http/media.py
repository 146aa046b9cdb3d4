"""The cameras' own video: WHEP and HLS of the media server, through our port, for those who may see them."""

import asyncio
import base64
import hmac
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from pydantic import ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sightline.access.path_tokens import PathTokens
from sightline.access.rights import Right
from sightline.base.logs import WarnOnce
from sightline.base.threads import SideThreads
from sightline.config import Camera
from sightline.config.media_options import MediaOptions
from sightline.errors import MediaServerError, StoreUnavailable
from sightline.supervisor.http.endpoint import Call, Endpoint, Taken, not_there
from sightline.supervisor.http.seats import Seats
from sightline.supervisor.http.sign_in_pages import page_file
from sightline.supervisor.media_servers import PLAYLIST, SDP, MediaServer

log = logging.getLogger(__name__)

ASK_S = 5.0  # whether whoever watches may still do so
MAX_SESSIONS = 256
AT_ONCE = 16  # requests to the media server
_AGAIN = {"Retry-After": "5"}
MAX_MEDIA = 8  # sections of an offer; a browser that wants video and sound has two
#: What an offer of a browser has, in one place or another, and what each of its sections has.
_OF_AN_OFFER = (
    r"m=video [1-9]",
    r"a=rtpmap:\d+ [\w-]+/90000",
    r"a=fingerprint:\S",
    r"a=ice-ufrag:\S",
    r"a=ice-pwd:\S",
)
_OF_A_SECTION = re.compile(r"^a=mid:\S", re.MULTILINE)
_CANDIDATE = re.compile(r"a=candidate:\S+ \d+ \w+ \d+ \S+ \d+ typ \w+")
T = TypeVar("T")


class Offer(Taken):
    """An SDP offer."""

    text: str = Field(min_length=1)


class Question(Taken):
    """What MediaMTX asks about a request that it got; what else it tells is of no interest."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    action: str
    path: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True)
class IceServer:
    """As browsers take it."""

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = None


@dataclass(frozen=True, slots=True)
class CameraVideo:
    """Where a camera's own video is."""

    whep: str | None  # paths of this port; null: not in this way
    hls: str | None
    ice_servers: list[IceServer]
    problem: str  # why there is none


@dataclass(frozen=True, slots=True)
class _Session:
    camera: str
    server: MediaServer
    call: Call
    began_s: float  # on the monotonic clock
    seat: ExitStack  # the viewer's, until it is closed


class MediaApi:
    """Video as it comes from the cameras.

    Args:
        options: as the program was started.
        camera_of: the options of a camera that runs; LookupError: there is none of that name.
        server_of: the media server that has a camera's video; None: there is none.
        tokens: by which we show ourselves there.
        still_allowed: whether whoever made a call may still do so; raises StoreUnavailable.
    """

    def __init__(
        self,
        options: MediaOptions,
        camera_of: Callable[[str], Camera],
        server_of: Callable[[Camera], MediaServer | None],
        tokens: PathTokens,
        still_allowed: Callable[[Call], Awaitable[bool]],
    ) -> None:
        self._options, self._camera_of, self._server_of = options, camera_of, server_of
        self._tokens, self._still_allowed = tokens, still_allowed
        self._threads = SideThreads("media", AT_ONCE)
        self._warnings = WarnOnce(log)
        self._sessions: dict[str, _Session] = {}
        self._seats = Seats(MAX_SESSIONS)
        self._watch: asyncio.Task[None] | None = None

    def endpoints(self) -> list[Endpoint]:
        """All of them; the page's is behind the pictures of a camera, whose names end in .jpg and .mjpg."""
        of_camera = partial(Endpoint, right=Right.SEE_LIVE, camera="camera", long=True)
        return [
            of_camera("GET", "/api/v1/cameras/{camera}/video", handler=self._video, gives=CameraVideo),
            of_camera("POST", "/live/{camera}/whep", handler=self._offer, takes=Offer, sent=SDP, media=SDP),
            of_camera("DELETE", "/live/{camera}/whep/{session}", handler=self._leave),
            of_camera("GET", "/live/{camera}/hls/{file}", handler=self._file, media="video/mp4"),
            Endpoint("POST", "/media/authorize", Right.ASK_FOR_MEDIA, self._authorize, takes=Question),
            page_file("/live/{camera}", "live.html", "text/html", "The page at which a camera is watched."),
            page_file("/live/pages/live.js", "live.js", "text/javascript", "A part of that page."),
            page_file("/live/pages/live.css", "live.css", "text/css", "A part of that page."),
        ]

    async def _video(self, call: Call) -> CameraVideo:
        """Where a camera's own video is, if there is any."""
        camera = self._camera(call.camera)
        server, problem = self._server_of(camera), camera.video_problem
        if server is None or problem:
            return CameraVideo(None, None, [], problem or "there is no media server: media.url is not set")
        path = f"/live/{camera.name}"
        hls = f"{path}/hls/{PLAYLIST}" if server.has_hls else None
        return CameraVideo(f"{path}/whep", hls, self._ice_servers(call), "")

    async def _offer(self, call: Call) -> Response:
        """A camera's own video by WebRTC (WHEP): an SDP offer is answered."""
        camera, server = self._source(call.camera)
        if not is_offer(call.taken.text):
            raise HTTPException(422, "is no SDP offer of somebody who wants video")
        if len(self._sessions) >= MAX_SESSIONS:
            raise HTTPException(503, "too many watch already", _AGAIN)
        name = secrets.token_hex(12)
        with ExitStack() as seat:
            seat.enter_context(self._seats.taken(call.caller))
            answer = await self._ask(partial(server.answer, camera, call.taken.text, name))
            self._sessions[name] = _Session(camera.name, server, call, time.monotonic(), seat.pop_all())
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._watch_sessions())
        headers = {"location": f"/live/{camera.name}/whep/{name}"}
        return Response(answer, 201, headers, media_type=SDP)

    async def _leave(self, call: Call) -> None:
        """End a camera's video by WebRTC."""
        name = call.connection.path_params["session"]
        session = self._sessions.get(name)
        if session is None or session.camera != call.camera:
            raise not_there("session of that name")
        going_on = await self._ask(session.server.sessions)
        if going_on and name in going_on:
            await self._ask(partial(session.server.end, going_on[name]))
        self._forget(name)

    async def _file(self, call: Call) -> Response:
        """A camera's own video by HLS: its playlist, index.m3u8, and the parts that this names."""
        camera, server = self._source(call.camera)
        name, query = call.connection.path_params["file"], dict(call.connection.query_params)
        file = await self._ask(partial(server.file, camera, name, query))
        if file is None:
            raise not_there("part of that name")
        return Response(file.data, media_type=file.media or None)

    async def _authorize(self, call: Call) -> None:
        """Whether a request to the media server is one of ours; it asks about each."""
        asked: Question = call.taken
        if not self._tokens.allows(asked.token, asked.action, asked.path):
            raise HTTPException(401, "the token is not for that, or has expired")

    def _camera(self, name: str | None) -> Camera:
        try:
            return self._camera_of(name or "")
        except LookupError:
            raise not_there(f"camera {name!r}") from None

    def _source(self, name: str | None) -> tuple[Camera, MediaServer]:
        """The camera, and who has its video; 404 where nobody may see that."""
        camera = self._camera(name)
        server = self._server_of(camera)
        if server is None or camera.video_problem:
            raise HTTPException(404, f"camera {name!r} {camera.video_problem or 'has no media server'}")
        return camera, server

    async def _ask(self, call: Callable[[], T]) -> T:
        """What the media server says; 503 where it fails."""
        try:
            return await asyncio.wrap_future(self._threads.submit(call))
        except MediaServerError as error:
            self._warnings.warn_once(str(error))
            raise HTTPException(503, "there is no video now; try again", _AGAIN) from None

    async def _watch_sessions(self) -> None:
        """Forget those that have ended, and end those whose viewer may not watch any more."""
        while self._sessions:
            await asyncio.sleep(ASK_S)
            for server in {session.server for session in self._sessions.values()}:
                with suppress(HTTPException):  # it is asked again
                    await self._watch_server(server)

    async def _watch_server(self, server: MediaServer) -> None:
        asked_s = time.monotonic()
        going_on = await self._ask(server.sessions)
        for name, session in list(self._sessions.items()):
            if session.server is not server or session.began_s > asked_s:
                continue
            if going_on is not None and name in going_on:
                if await self._may_go_on(session):
                    continue
                await self._ask(partial(server.end, going_on[name]))
            self._forget(name)

    def _forget(self, name: str) -> None:
        if session := self._sessions.pop(name, None):
            session.seat.close()

    async def _may_go_on(self, session: _Session) -> bool:
        try:
            self._source(session.camera)
            return await self._still_allowed(session.call)
        except (HTTPException, StoreUnavailable):  # not any more, or nobody can tell
            return False

    def _ice_servers(self, call: Call) -> list[IceServer]:
        """What browsers need to reach the media server; a password for the relay is theirs, and ends soon."""
        stun, turn = self._options.stun_urls, self._options.turn
        servers = [IceServer(stun)] if stun else []
        if turn is not None:
            user = f"{int(time.time()) + turn.valid_s}:{quote(call.caller.name)}"
            key = turn.secret.get_secret_value().encode()
            password = base64.b64encode(hmac.digest(key, user.encode(), "sha1")).decode()
            servers.append(IceServer(turn.urls, user, password))
        return servers


def is_offer(sdp: str) -> bool:
    """Whether it is an SDP offer as browsers make it: media servers are not always prepared for others."""
    head, *sections = re.split(r"^(?=m=)", sdp.replace("\r\n", "\n"), flags=re.MULTILINE)
    candidates = (line for line in sdp.splitlines() if line.startswith("a=candidate"))
    return (
        head.startswith("v=0\n")
        and 0 < len(sections) <= MAX_MEDIA
        and all(re.search(rf"^{part}", sdp, re.MULTILINE) for part in _OF_AN_OFFER)
        and all(map(_OF_A_SECTION.search, sections))
        and all(map(_CANDIDATE.match, candidates))
    )
