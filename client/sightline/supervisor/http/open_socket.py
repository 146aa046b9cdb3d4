"""A WebSocket that stays open for as long as whoever opened it may have it, and reads."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from sightline.errors import StoreUnavailable

ASK_S = 5.0  # whether whoever opened it may still have it
CLOSE_S = 1.0  # for one that does not read
POLICY, LATER = 1008, 1013  # why we close it


async def converse(
    socket: WebSocket, sending: Coroutine[Any, Any, None], is_allowed: Callable[[], Awaitable[bool]]
) -> None:
    """Send until the other side goes, or may have it no longer; what it says is of no interest.

    Args:
        socket: accepted already.
        sending: sends; it is cancelled at the end. Where it ends by itself, there is no more to be seen.
        is_allowed: asked every few seconds, also of one that does not read; raises StoreUnavailable.
    """
    tasks = [asyncio.create_task(job) for job in (sending, _heed(socket), _guard(is_allowed))]
    sender, heeder, guard = tasks
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    if not sender.cancelled():
        with suppress(WebSocketDisconnect):
            sender.result()
    if not heeder.cancelled():  # it has gone, or the port is closed
        return
    code, why = POLICY, "there is no more to be seen"
    if not guard.cancelled():
        away = guard.result()
        code, why = (LATER, "the database does not answer") if away else (POLICY, "the right to it has ended")
    with suppress(TimeoutError, WebSocketDisconnect):
        async with asyncio.timeout(CLOSE_S):
            await socket.close(code, why)


async def _heed(socket: WebSocket) -> None:
    """Return when the other side goes."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _guard(is_allowed: Callable[[], Awaitable[bool]]) -> bool:
    """Return when it is no longer allowed; True: nobody can tell."""
    while True:
        await asyncio.sleep(ASK_S)
        try:
            if not await is_allowed():
                return False
        except StoreUnavailable:
            return True
