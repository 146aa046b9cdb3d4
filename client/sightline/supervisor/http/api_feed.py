"""Events and alerts by WebSocket, as they change."""

from collections.abc import Awaitable, Callable
from contextlib import ExitStack, aclosing

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.websockets import WebSocket

from sightline.access.rights import Right
from sightline.supervisor.http.endpoint import WEBSOCKET, Call, Endpoint, Taken
from sightline.supervisor.http.event_feed import MAX_READERS, EventFeed
from sightline.supervisor.http.feed_message import FeedItem
from sightline.supervisor.http.open_socket import LATER, converse
from sightline.supervisor.http.seats import Seats


class FeedQuery(Taken):
    """From where on."""

    after: int | None = Field(None, ge=0, lt=1 << 63, description="The id of the last message; null: now.")


class FeedApi:
    """What has changed, to those who may see it.

    Args:
        feed: of all cameras.
        still_allowed: whether whoever made a call may still do so; raises StoreUnavailable.
    """

    def __init__(self, feed: EventFeed, still_allowed: Callable[[Call], Awaitable[bool]]) -> None:
        self._feed, self._still_allowed = feed, still_allowed
        self._seats = Seats(MAX_READERS)

    def endpoints(self) -> list[Endpoint]:
        """The one there is."""
        return [Endpoint(WEBSOCKET, "/ws/events", Right.SEE_EVENTS, self._events, each=True, takes=FeedQuery)]

    async def _events(self, socket: WebSocket, call: Call) -> None:
        """Events and alerts as they change, resumed after a break; JSON as docs/schemas/feed.v1.json."""
        await socket.accept()
        if self._feed.is_full:
            await socket.close(LATER, "too many follow already")
            return

        def sees(item: FeedItem) -> bool:
            right = Right.SEE_ALERTS if item.is_alert else Right.SEE_EVENTS
            return call.may(right, item.source or None)

        async def send() -> None:
            async with aclosing(self._feed.follow(call.taken.after, sees)) as texts:
                async for text in texts:
                    await socket.send_text(text)

        with ExitStack() as stack:
            try:
                stack.enter_context(self._seats.taken(call.caller))
            except HTTPException as error:
                await socket.close(LATER, error.detail)
                return
            await converse(socket, send(), lambda: self._still_allowed(call))
