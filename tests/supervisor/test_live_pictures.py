"""What viewers get: the newest of each variant, for as long as they watch, from whoever runs the camera."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from sightline.camera.messages import AskFeature, LiveMessage, Message
from sightline.entities import Variant, Watch
from sightline.supervisor import live_grid, live_pictures
from sightline.supervisor.live_grid import LiveGrid
from sightline.supervisor.live_pictures import LEASE_S, RENEW_S, LivePictures, Shown
from sightline.video.picture import decode_jpeg, encode_jpeg, full_range, written
from support.fakes import GreyPicture


class Owner:
    """Runs cameras; answers a request by one picture at once, unless it is told to be silent."""

    def __init__(self, live: LivePictures) -> None:
        self.asked: list[AskFeature] = []
        self.answers = True
        self._live = live

    def send(self, message: Message) -> None:
        assert isinstance(message, AskFeature)
        self.asked.append(message)
        if self.answers:
            watch: Any = message.request
            for variant in watch.variants:
                self.show(message.camera, len(self.asked), variant)

    def show(self, camera: str, number: int, variant: Variant = Variant.SMALL) -> None:
        header = {"capture_time": float(number), "media_s": float(number)}
        self._live.take(LiveMessage(camera, variant, header, b"%d" % number))


class World:
    """Live pictures of two cameras, ``a`` and ``b``, and a clock of our own."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.live = LivePictures(lambda: self.now_s)
        self.owner: Owner | None = Owner(self.live)
        self.cameras = {"a", "b"}
        self.live.owner_of = self.owner_of

    def owner_of(self, camera: str) -> Owner | None:
        if camera not in self.cameras:
            raise LookupError(camera)
        return self.owner


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(live_pictures, "RETRY_S", 0.02)
    return World()


async def within(what: Awaitable[Any], seconds: float = 5.0) -> Any:
    return await asyncio.wait_for(what, seconds)


def test_a_viewer_asks_and_gets_what_comes(world: World) -> None:
    async def look() -> None:
        assert world.owner is not None
        async with aclosing(world.live.watch("a", Variant.SMALL)) as pictures:
            assert (await within(anext(pictures))).payload == b"1"
            assert world.owner.asked == [AskFeature("a", "live", Watch(frozenset({Variant.SMALL}), LEASE_S))]
            world.owner.show("b", 5)
            world.owner.show("a", 6, Variant.LARGE)
            world.owner.show("a", 7)
            assert (await within(anext(pictures))).payload == b"7"
        assert not world.live._watched

    asyncio.run(look())


def test_a_slow_viewer_gets_the_newest_alone_and_a_fast_one_everything(world: World) -> None:
    async def look() -> None:
        assert world.owner is not None
        fast: list[int] = []

        async def follow() -> None:
            async with aclosing(world.live.watch("a", Variant.SMALL)) as pictures:
                async for shown in pictures:
                    fast.append(int(shown.payload))

        async with aclosing(world.live.watch("a", Variant.SMALL)) as slow:
            await within(anext(slow))
            follower = asyncio.create_task(follow())
            for number in range(100, 200):
                world.owner.show("a", number)
                await asyncio.sleep(0.001)
            assert (await within(anext(slow))).payload == b"199"
            assert fast[-100:] == list(range(100, 200))
            follower.cancel()

    asyncio.run(look())


def test_the_lease_is_renewed_while_somebody_watches_and_not_a_moment_longer(world: World) -> None:
    async def look() -> None:
        assert world.owner is not None
        async with aclosing(world.live.watch("a", Variant.SMALL)) as pictures:
            await within(anext(pictures))
            for step in range(30):
                world.now_s += 1.0
                world.owner.show("a", step)
                await within(anext(pictures))
            assert len(world.owner.asked) == pytest.approx(1 + 30 / RENEW_S, abs=1)
        asked = len(world.owner.asked)
        world.now_s += 100
        await asyncio.sleep(0.1)
        assert len(world.owner.asked) == asked

    asyncio.run(look())


def test_while_nothing_comes_it_is_asked_again_and_again_and_another_owner_is_found(world: World) -> None:
    async def look() -> None:
        first, world.owner = world.owner, None
        assert first is not None
        async with aclosing(world.live.watch("a", Variant.SMALL)) as pictures:
            waiting = asyncio.create_task(anext(pictures))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            world.owner = first  # it runs at last
            await within(waiting)
            first.answers = False  # the worker dies, and its successor knows of no viewer
            world.owner = second = Owner(world.live)
            world.now_s += 1.1
            assert (await within(anext(pictures))).payload == b"1"
            assert len(second.asked) == 1

    asyncio.run(look())


def test_a_camera_that_is_taken_out_ends_its_viewers(world: World) -> None:
    async def look() -> None:
        async with aclosing(world.live.watch("a", Variant.SMALL)) as pictures:
            await within(anext(pictures))
            world.cameras.clear()
            with pytest.raises(StopAsyncIteration):
                await within(anext(pictures))
        async with aclosing(world.live.watch("nowhere", Variant.SMALL)) as pictures:
            with pytest.raises(StopAsyncIteration):
                await within(anext(pictures))
        assert not world.live._watched

    asyncio.run(look())


def test_what_nobody_watches_is_not_kept_and_what_is_old_is_not_shown(world: World) -> None:
    async def look() -> None:
        assert world.owner is not None
        world.owner.show("a", 1)
        assert not world.live._watched
        first = world.live.watch("a", Variant.SMALL)
        await within(anext(first))
        world.owner.answers = False
        world.now_s += 3600  # the camera went away an hour ago
        second = world.live.watch("a", Variant.SMALL)
        waiting = asyncio.create_task(anext(second))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        world.owner.show("a", 2)
        assert (await within(waiting)).payload == b"2"
        await first.aclose()
        await second.aclose()

    asyncio.run(look())


def test_viewers_come_and_go_in_loops_of_their_own_while_workers_show(world: World) -> None:
    stop = threading.Event()
    owner = world.owner
    assert owner is not None

    def show() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            owner.show("a", number)
            time.sleep(0.0005)

    async def view() -> int:
        numbers = []
        async with aclosing(world.live.watch("a", Variant.SMALL)) as pictures:
            async for shown in pictures:
                numbers.append(shown.number)
                if len(numbers) == 20:
                    break
        assert numbers == sorted(set(numbers))
        return len(numbers)

    async def many() -> list[int]:
        return await asyncio.gather(*(view() for _ in range(20)))

    found: list[int] = []
    shower = threading.Thread(target=show)
    shower.start()
    viewers = [threading.Thread(target=lambda: found.extend(asyncio.run(many()))) for _ in range(4)]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join(30)
    stop.set()
    shower.join(5)
    assert found == [20] * 80
    assert not world.live._watched


def test_a_viewer_who_is_cancelled_is_counted_no_longer(world: World) -> None:
    async def look() -> None:
        assert world.owner is not None
        world.owner.answers = False

        async def follow() -> None:
            async with aclosing(world.live.watch("a", Variant.SMALL)) as pictures:
                await anext(pictures)

        tasks = [asyncio.create_task(follow()) for _ in range(live_pictures.MAX_VIEWERS)]
        await asyncio.sleep(0.05)
        assert world.live.is_full
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        assert not world.live.is_full
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert not world.live._watched

    asyncio.run(look())


# -- grid ------------------------------------------------------------------------------------------------


def grey(level: int, width: int = 64, height: int = 36) -> bytes:
    return encode_jpeg(full_range(written(GreyPicture(width, height, level))))


def cells(jpeg: bytes, columns: int, rows: int) -> list[int]:
    """The level in the middle of each place of a grid."""
    picture = decode_jpeg(jpeg)
    assert (picture.width, picture.height) == (live_grid.WIDTH, live_grid.HEIGHT)
    luma = written(picture)
    wide, high = live_grid.WIDTH // columns, live_grid.HEIGHT // rows
    return [
        int(luma[row * high + high // 2, column * wide + wide // 2])
        for row in range(rows)
        for column in range(columns)
    ]


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (3, 2, 2), (7, 3, 3), (36, 6, 6)]
)
def test_a_grid_has_a_place_for_every_camera(count: int, columns: int, rows: int) -> None:
    names = [f"cam-{number}" for number in range(count)]
    levels = [40 + 5 * number for number in range(count)]
    pictures = {
        name: Shown(1, {}, grey(level, *((640, 360), (360, 640))[level % 2]), 0.0)
        for name, level in zip(names, levels, strict=True)
    }
    found = cells(live_grid.compose(names, pictures), columns, rows)
    assert found[:count] == pytest.approx(levels, abs=3)
    assert found[count:] == pytest.approx([16] * (columns * rows - count), abs=2)


def test_one_camera_fills_its_grid() -> None:
    shown = Shown(1, {}, grey(200, 640, 360), 0.0)
    luma = written(decode_jpeg(live_grid.compose(["gate"], {"gate": shown})))
    assert min(int(luma[5, 5]), int(luma[live_grid.HEIGHT - 5, live_grid.WIDTH - 5])) > 150


def test_viewers_of_the_same_cameras_share_one_grid_and_leave_nothing_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    compose: Callable[..., bytes] = live_grid.compose

    def count(*arguments: Any) -> bytes:
        made.append(1)
        return compose(*arguments)

    monkeypatch.setattr(live_grid, "compose", count)
    world.live._clock = time.monotonic

    async def look() -> None:
        assert world.owner is not None
        world.owner.answers = False
        grid = LiveGrid(world.live)
        viewers = [grid.watch(["a", "b"], Variant.SMALL) for _ in range(10)]
        waiting = [asyncio.create_task(anext(viewer)) for viewer in viewers]
        await asyncio.sleep(0.05)
        for camera, level in (("a", 60), ("b", 120)):
            world.live.take(LiveMessage(camera, Variant.SMALL, {}, grey(level)))
        await within(asyncio.gather(*waiting))
        newest = [await within(anext(viewer)) for viewer in viewers]
        assert cells(newest[-1].payload, 2, 1) == pytest.approx([60, 120], abs=3)
        assert len({shown.number for shown in newest}) <= 2
        assert len(made) <= 4
        for viewer in viewers:
            await viewer.aclose()
        await asyncio.sleep(0.05)
        assert not world.live._watched
        assert not grid._walls

    asyncio.run(look())


def test_many_grids_have_fewer_pictures_and_take_no_more_of_the_machine(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing, most, made = 0, 0, 0

    def compose(*_: Any) -> bytes:
        nonlocal drawing, most, made
        drawing += 1
        most, made = max(most, drawing), made + 1
        time.sleep(0.05)
        drawing -= 1
        return b""

    monkeypatch.setattr(live_grid, "compose", compose)
    monkeypatch.setattr(live_grid, "STALE_S", 0.04)  # each draws as often as it may
    monkeypatch.setattr(live_grid, "FPS", 1000)

    async def look() -> None:
        grid = LiveGrid(world.live)
        viewers = [grid.watch(["a"] * count, Variant.SMALL) for count in range(1, 9)]
        waiting = [asyncio.create_task(anext(viewer)) for viewer in viewers]
        await asyncio.sleep(2.0)
        await within(asyncio.gather(*waiting))
        for viewer in viewers:
            await viewer.aclose()

    asyncio.run(look())
    assert most == 1
    assert 8 <= made <= 8 + 2.5 * live_grid.CORE_SHARE / 0.05, "one each, and the rest within the share"


@pytest.mark.parametrize("turns", range(12))
def test_the_last_viewer_of_a_grid_goes_as_a_picture_comes(
    world: World, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    monkeypatch.setattr(live_grid, "compose", lambda *_: b"")
    monkeypatch.setattr(live_grid, "FPS", 1000)

    async def look() -> None:
        assert world.owner is not None
        grid = LiveGrid(world.live)
        viewer = grid.watch(["a"], Variant.SMALL)
        await within(anext(viewer))
        await asyncio.sleep(0.05)  # it waits for the next one
        world.owner.show("a", 2)
        for _ in range(turns):  # of the event loop
            await asyncio.sleep(0)
        await viewer.aclose()
        await asyncio.sleep(0.05)
        assert not world.live._watched, "the camera goes on showing itself to nobody"

    asyncio.run(look())


def test_a_camera_that_shows_nothing_any_more_is_black(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_grid, "STALE_S", 0.4)
    world.live._clock = time.monotonic

    async def look() -> None:
        assert world.owner is not None
        world.owner.answers = False
        async with aclosing(LiveGrid(world.live).watch(["a"], Variant.SMALL)) as pictures:
            waiting = asyncio.create_task(anext(pictures))
            await asyncio.sleep(0.05)
            world.live.take(LiveMessage("a", Variant.SMALL, {}, grey(120)))
            levels = cells((await within(waiting)).payload, 1, 1)
            until_s = time.monotonic() + 5
            while levels[-1] > 20 and time.monotonic() < until_s:
                levels += cells((await within(anext(pictures))).payload, 1, 1)
            assert levels[-1] == pytest.approx(16, abs=2)
            assert max(levels) == pytest.approx(120, abs=3)

    asyncio.run(look())
