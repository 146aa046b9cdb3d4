"""Several cameras in one picture: made of their small ones, once for all who watch the same cameras."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from itertools import count
from math import ceil, sqrt

import numpy as np

from sightline.base.letterbox import PAD_UV, place_box
from sightline.entities import Variant
from sightline.supervisor.live_pictures import LivePictures, Shown

WIDTH, HEIGHT = 1280, 720
FPS = 5.0
#: Of a core, that all grids together may take: many have fewer pictures, and leave the rest to the analysis.
CORE_SHARE = 0.5
STALE_S = 10.0  # a camera without a newer picture is left out: it would look as if all were quiet
_BLACK = 16


@dataclass(eq=False, slots=True)
class _Wall:
    """The same cameras for everybody who watches them."""

    task: asyncio.Task[None] | None = None
    viewers: int = 0
    newest: Shown | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # another one with each picture


class LiveGrid:
    """Belongs to one event loop."""

    def __init__(self, live: LivePictures) -> None:
        self._live = live
        self._walls: dict[tuple[tuple[str, ...], Variant], _Wall] = {}
        self._numbers = count(1)
        self._turn = asyncio.Lock()  # one is drawn at a time

    async def watch(self, cameras: Sequence[str], variant: Variant) -> AsyncGenerator[Shown]:
        """Pictures of 1280x720, in rows from left to right, at most five a second; close it.

        As :meth:`LivePictures.watch`; a camera that shows nothing leaves its place black, which
        ``dark`` in the header tells by its number from 0.
        """
        key = (tuple(cameras), variant)
        wall = self._walls.setdefault(key, _Wall())
        wall.viewers += 1
        wall.task = wall.task or asyncio.create_task(self._compose(wall, *key))
        number = 0
        try:
            while True:
                changed, shown = wall.changed, wall.newest
                if shown is not None and shown.number > number:
                    number = shown.number
                    yield shown
                elif wall.task.done():
                    wall.task.result()  # a fault of ours
                    return
                else:
                    await changed.wait()
        finally:
            wall.viewers -= 1
            if not wall.viewers:
                self._walls.pop(key, None)
                wall.task.cancel()

    async def _compose(self, wall: _Wall, cameras: Sequence[str], variant: Variant) -> None:
        newest: dict[str, Shown] = {}
        came = asyncio.Event()
        followers = [
            asyncio.create_task(self._follow(camera, variant, newest, came))
            for camera in dict.fromkeys(cameras)
        ]
        try:
            while True:
                # Not wait_for: Python 3.11's swallows a cancellation at the moment at which a picture comes.
                with suppress(TimeoutError):
                    async with asyncio.timeout(STALE_S / 4):
                        await came.wait()
                came.clear()
                now_s = time.monotonic()
                fresh = {name: shown for name, shown in newest.items() if now_s - shown.came_s < STALE_S}
                async with self._turn:
                    began_s = time.monotonic()
                    picture = await asyncio.to_thread(compose, cameras, fresh)
                    took_s = time.monotonic() - began_s
                dark = [str(at) for at, name in enumerate(cameras) if name not in fresh]
                header = {"width": WIDTH, "height": HEIGHT, **({"dark": ",".join(dark)} if dark else {})}
                wall.newest = Shown(next(self._numbers), header, picture, now_s)
                changed, wall.changed = wall.changed, asyncio.Event()
                changed.set()
                await asyncio.sleep(max(1 / FPS, took_s * len(self._walls) / CORE_SHARE))
        finally:
            for follower in followers:
                follower.cancel()
            wall.changed.set()

    async def _follow(
        self, camera: str, variant: Variant, newest: dict[str, Shown], came: asyncio.Event
    ) -> None:
        async with aclosing(self._live.watch(camera, variant)) as pictures:
            async for shown in pictures:
                newest[camera] = shown
                came.set()


def compose(cameras: Sequence[str], pictures: Mapping[str, Shown]) -> bytes:
    """A JPEG of the cameras' pictures, each as large as its place allows; takes milliseconds for each."""
    from sightline.video.picture import decode_jpeg, encode_jpeg, full_range  # noqa: PLC0415  FFmpeg, where needed

    columns = ceil(sqrt(len(cameras)))
    rows = ceil(len(cameras) / columns)
    wide, high = WIDTH // columns // 2 * 2, HEIGHT // rows // 2 * 2
    canvas = np.full((HEIGHT * 3 // 2, WIDTH), _BLACK, np.uint8)
    canvas[HEIGHT:] = PAD_UV
    for at, camera in enumerate(cameras):
        if (shown := pictures.get(camera)) is None:
            continue
        row, column = divmod(at, columns)
        picture = decode_jpeg(shown.payload)
        scale = min(wide / picture.width, high / picture.height)
        height, width = (int(side * scale) // 2 * 2 for side in (picture.height, picture.width))
        left, top, width, height = place_box((height, width), (high, wide))
        picture.write_i420(canvas, (column * wide + left, row * high + top, width, height))
    return encode_jpeg(full_range(canvas), 6)
