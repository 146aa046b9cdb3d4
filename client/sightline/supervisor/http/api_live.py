"""Live pictures over HTTP: multipart JPEG of one camera or of several, single ones; boxes by WebSocket."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, aclosing, contextmanager
from functools import partial
from typing import Any, Literal

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from sightline.access.rights import Caller, Right
from sightline.entities import Variant
from sightline.errors import StoreUnavailable
from sightline.supervisor.http.endpoint import WEBSOCKET, Call, Endpoint, Taken, not_seen, not_there
from sightline.supervisor.http.open_socket import ASK_S, LATER, POLICY, converse
from sightline.supervisor.http.seats import Kinds, Seats
from sightline.supervisor.live_grid import LiveGrid
from sightline.supervisor.live_pictures import MAX_VIEWERS, LivePictures, Shown

FIRST_S = 5.0  # a single picture waits for so long
MAX_GRID = 36
MAX_GRIDS = 16  # different ones of one person: each is drawn anew
BOUNDARY = "sightline-picture"
MULTIPART = "multipart/x-mixed-replace"


class PictureQuery(Taken):
    """Which of a camera's pictures."""

    size: Literal["small", "large"] = Field("large", description="640 or 1280 pixels at most.")
    overlay: bool = Field(True, description="With boxes, places and the like.")

    @property
    def variant(self) -> Variant:
        """As cameras show it."""
        return Variant(f"{self.size}-overlay" if self.overlay else self.size)


class DetectionsQuery(Taken):
    """Whose boxes."""

    camera: str = Field(..., description="Its name.")


class GridQuery(Taken):
    """Which cameras in one picture."""

    camera: tuple[str, ...] = Field(..., min_length=1, max_length=MAX_GRID, description="Names, in order.")
    overlay: bool = Field(True, description="With boxes, places and the like.")


class LiveApi:
    """What is seen now.

    Args:
        live: of every camera.
        still_allowed: whether whoever made a call may still do so; raises StoreUnavailable.
    """

    def __init__(self, live: LivePictures, still_allowed: Callable[[Call], Awaitable[bool]]) -> None:
        self._live, self._still_allowed = live, still_allowed
        self._grid, self._seats, self._grids = LiveGrid(live), Seats(MAX_VIEWERS), Kinds(MAX_GRIDS)

    def endpoints(self) -> list[Endpoint]:
        """All of them; the grid's is before a camera of that name."""
        get = partial(Endpoint, "GET", right=Right.SEE_LIVE)
        wall = partial(Endpoint, "GET", "/live/grid.mjpg", Right.SEE_WALL, each=True)
        parts: dict[str, Any] = {"media": MULTIPART, "long": True}
        one: dict[str, Any] = {"camera": "camera", "takes": PictureQuery}
        boxes: dict[str, Any] = {"camera": lambda call: call.taken.camera, "takes": DetectionsQuery}
        return [
            wall(handler=self._several, takes=GridQuery, **parts),
            get("/live/{camera}.mjpg", handler=self._one, **one, **parts),
            get("/live/{camera}.jpg", handler=self._still, **one, media="image/jpeg"),
            get("/live/{camera}.ts", handler=self._video, camera="camera", media="video/mp2t", long=True),
            Endpoint(WEBSOCKET, "/ws/detections", Right.SEE_LIVE, self._detections, **boxes),
        ]

    async def _several(self, call: Call) -> Response:
        """Several cameras in one picture of 1280x720, five times a second, until the viewer goes."""
        query: GridQuery = call.taken
        for camera in query.camera:
            if not call.sees(camera):
                raise not_seen(camera)
            self._check(camera)
        variant = Variant.SMALL_OVERLAY if query.overlay else Variant.SMALL
        seats = self._seats_of_grid(call.caller, query.camera, variant)
        return self._stream(call, self._grid.watch(query.camera, variant), seats)

    @contextmanager
    def _seats_of_grid(self, caller: Caller, cameras: tuple[str, ...], variant: Variant) -> Iterator[None]:
        with self._grids.taken(caller, (cameras, variant)), self._seats.taken(caller, len({*cameras})):
            yield

    async def _one(self, call: Call) -> Response:
        """A camera's pictures, until the viewer goes."""
        query: PictureQuery = call.taken
        pictures = self._live.watch(self._check(call.camera), query.variant)
        return self._stream(call, pictures, self._seats.taken(call.caller))

    async def _still(self, call: Call) -> Response:
        """A camera's next picture."""
        query: PictureQuery = call.taken
        pictures = self._live.watch(self._check(call.camera), query.variant)
        try:
            with self._seats.taken(call.caller):
                async with aclosing(pictures), asyncio.timeout(FIRST_S):
                    shown = await anext(pictures)
        except (TimeoutError, StopAsyncIteration):
            text = f"camera {call.camera!r} shows nothing now; its state says why"
            raise HTTPException(503, text, {"Retry-After": "5"}) from None
        return Response(shown.payload, media_type="image/jpeg", headers=_times(shown))

    async def _video(self, call: Call) -> Response:
        """A camera's video with its overlay, H.264 in MPEG-TS, until the viewer goes."""
        pictures = self._live.watch(self._check(call.camera), Variant.VIDEO)
        parts = _whole(self._while_allowed(call, pictures))
        return LiveStream(parts, "video/mp2t", self._seats.taken(call.caller))

    async def _detections(self, socket: WebSocket, call: Call) -> None:
        """A camera's boxes, `live.fps` messages a second at most; JSON as docs/schemas/detections.v1.json."""
        await socket.accept()
        with ExitStack() as stack:
            try:
                pictures = self._live.watch(self._check(call.camera), Variant.DETECTIONS)
                stack.enter_context(self._seats.taken(call.caller))
            except HTTPException as error:
                is_gone = error.status_code == 404
                code, why = (POLICY, "there is no such camera") if is_gone else (LATER, error.detail)
                await socket.close(code, why)
                return

            async def send() -> None:
                async with aclosing(pictures):
                    async for shown in pictures:
                        await socket.send_text(shown.payload.decode())

            await converse(socket, send(), lambda: self._still_allowed(call))

    async def _while_allowed(self, call: Call, pictures: AsyncGenerator[Shown]) -> AsyncGenerator[Shown]:
        """Those of ``pictures``, as long as whoever made the call may see them; it is asked all the time."""
        due_s = time.monotonic() + ASK_S
        async with aclosing(pictures):
            coming = _next_of(pictures)
            try:
                while True:
                    await asyncio.wait((coming,), timeout=max(0.0, due_s - time.monotonic()))
                    if time.monotonic() >= due_s:
                        if not await self._may_go_on(call):
                            return
                        due_s = time.monotonic() + ASK_S
                    if coming.done():
                        if (shown := coming.result()) is None:
                            return
                        yield shown
                        coming = _next_of(pictures)
            finally:
                coming.cancel()
                await asyncio.wait((coming,))

    async def _may_go_on(self, call: Call) -> bool:
        try:
            return await self._still_allowed(call)
        except StoreUnavailable:  # nobody can tell
            return False

    def _check(self, camera: str | None) -> str:
        """The camera's name; 404, or 503 where too many watch."""
        name = camera or ""
        try:
            self._live.owner_of(name)
        except LookupError:
            raise not_there(f"camera {name!r}") from None
        if self._live.is_full:
            raise HTTPException(503, "too many watch already", {"Retry-After": "10"})
        return name

    def _stream(
        self, call: Call, pictures: AsyncGenerator[Shown], seats: AbstractContextManager[None]
    ) -> Response:
        parts = _parts(self._while_allowed(call, pictures))
        return LiveStream(parts, f"{MULTIPART}; boundary={BOUNDARY}", seats)


class LiveStream(StreamingResponse):
    """Pictures or video until the client or the source ends them.

    Args:
        parts: what is sent.
        media_type: of all of it.
        seats: what the viewer has open meanwhile; where those would be too many, nothing is sent.
    """

    def __init__(
        self, parts: AsyncGenerator[bytes], media_type: str, seats: AbstractContextManager[None]
    ) -> None:
        self._all_parts, self._seats = parts, seats
        super().__init__(parts, media_type=media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them; nobody watches once this has ended."""
        with self._seats:
            async with aclosing(self._all_parts):
                if scope["method"] == "HEAD":  # it would never end
                    await Response(media_type=self.media_type)(scope, receive, send)
                else:
                    await super().__call__(scope, receive, send)


async def _parts(pictures: AsyncGenerator[Shown]) -> AsyncGenerator[bytes]:
    line = f"--{BOUNDARY}\r\n".encode()
    yield line
    async with aclosing(pictures):
        async for shown in pictures:
            head = {"Content-Type": "image/jpeg", "Content-Length": len(shown.payload), **_times(shown)}
            text = "".join(f"{name}: {value}\r\n" for name, value in head.items())
            # With the next part's boundary: browsers show a part when it has ended.
            yield b"".join((text.encode(), b"\r\n", shown.payload, b"\r\n", line))


def _next_of(pictures: AsyncGenerator[Shown]) -> asyncio.Task[Shown | None]:
    async def coming() -> Shown | None:
        return await anext(pictures, None)

    return asyncio.create_task(coming())


async def _whole(pictures: AsyncGenerator[Shown]) -> AsyncGenerator[bytes]:
    """What a decoder can make something of: from a key frame on, and again from one after a gap."""
    number = None
    async with aclosing(pictures):
        async for shown in pictures:
            if shown.header["is_key"] or shown.header["number"] == number:
                number = shown.header["number"] + 1
                yield shown.payload


def _times(shown: Shown) -> dict[str, str]:
    names = {"X-Capture-Time": "capture_time", "X-Media-Time": "media_s", "X-Dark": "dark"}
    return {name: str(shown.header[key]) for name, key in names.items() if key in shown.header}
