"""Live pictures through everything that is real but the detector: cameras in several worker processes."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import jsonschema
import numpy as np
import psutil
import pytest
import websockets
import websockets.sync.client

from sightline.camera.messages import LiveMessage
from sightline.config import parse_config
from sightline.entities import Variant
from sightline.features.live.detections_message import SCHEMA
from sightline.simulation.rtsp_server import RtspServer
from sightline.supervisor import live_pictures
from sightline.supervisor.fork_server import ForkedWorkers
from sightline.supervisor.http.api_live import LiveApi
from sightline.supervisor.http.door import Door
from sightline.supervisor.http.endpoint import Call
from sightline.supervisor.http.visitors import NobodyElse
from sightline.supervisor.live_pictures import Shown
from sightline.supervisor.supervisor import Supervisor
from sightline.video.picture import decode_jpeg
from support.camera_world import make_clip
from support.fake_triton import FakeTriton
from support.front import served_door
from support.running_hub import running
from support.waiting import until

NAMES = ("a", "b", "c")
PERSON = (0.3, 0.3, 0.5, 0.7)
SHOWN_LIVE = set(Variant) - {Variant.VIDEO}


class World:
    """Three cameras in two workers of a supervisor that runs in this process."""

    def __init__(
        self,
        folder: Path,
        parts: ExitStack,
        take: Callable[[LiveMessage], Any] | None = None,
        **options: Any,
    ) -> None:
        triton = parts.enter_context(FakeTriton())
        triton.answer = lambda _: [PERSON]
        hub = parts.enter_context(running(folder))
        video = make_clip(folder / "video.mp4", 600)
        config = parse_config(
            {
                "allow": {"files": True},
                "cameras_per_worker": 2,
                "triton": {"url": triton.url, "transport": "grpc"},
                "log_level": "error",
                "cameras": {name: {"url": str(video)} for name in NAMES},
                **options,
            }
        )
        assert not config.problems
        self.live = hub.live
        self.forked = ForkedWorkers(take or self.live.take)
        parts.callback(self.forked.close)
        self.supervisor = Supervisor(config, hub, start_worker=self.forked.start)
        thread = threading.Thread(target=self.supervisor.run)
        thread.start()
        parts.callback(thread.join)
        parts.callback(self.supervisor.stop)
        for name in NAMES:
            self.until_frames(name, 5)

    def frames(self, name: str) -> int:
        return sum(s.frames_total for s in self.supervisor.statuses() if s.source == name)

    def until_frames(self, name: str, more: int) -> None:
        before = self.frames(name)
        until(lambda: self.frames(name) >= before + more, 60)

    def figure(self, camera: str, name: str) -> float:
        return next(f.value for f in self.supervisor.reports()[camera].figures if f.name == name)

    def workers(self) -> list[psutil.Process]:
        [server] = [one for one in psutil.Process().children() if "fork_server" in " ".join(one.cmdline())]
        return server.children()

    def see(self, *wanted: tuple[str, Variant], count: int = 3) -> dict[tuple[str, Variant], list[Shown]]:
        """The first few of each, all watched at once."""

        async def follow(camera: str, variant: Variant) -> list[Shown]:
            async with aclosing(self.live.watch(camera, variant)) as pictures:
                return [await anext(pictures) for _ in range(count)]

        async def all_of_them() -> list[list[Shown]]:
            return await asyncio.wait_for(asyncio.gather(*(follow(*key) for key in wanted)), 60)

        return dict(zip(wanted, asyncio.run(all_of_them()), strict=True))


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2] / "client"))
    with ExitStack() as stack:
        yield stack


def test_cameras_of_several_workers_are_seen_and_cost_nothing_once_nobody_looks(
    tmp_path: Path, parts: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_pictures, "LEASE_S", 2.0)
    world = World(tmp_path, parts)
    assert len(world.workers()) == 2
    assert {world.figure(name, "live_pictures_total") for name in NAMES} == {0}
    shown = world.see(*((name, variant) for name in NAMES for variant in SHOWN_LIVE))
    for (name, variant), newest in shown.items():
        times = [one.header["capture_time"] for one in newest]
        assert times == sorted(set(times))
        assert time.time() - 20 < times[0] <= time.time() + 1
        if variant is Variant.DETECTIONS:
            message = json.loads(newest[-1].payload)
            jsonschema.validate(message, SCHEMA)
            assert (message["camera"], message["width"], message["height"]) == (name, 320, 240)
            assert [found["class"] for found in message["objects"]] == ["person"]
        else:
            picture = decode_jpeg(newest[-1].payload)
            assert (picture.width, picture.height) == (320, 240)
    assert not world.live._watched
    for name in NAMES:
        until(lambda name=name: world.figure(name, "live_pictures_total") > 0, 10)
        until(lambda name=name: world.figure(name, "live_variants") == 0, 10)
    made = {name: world.figure(name, "live_pictures_total") for name in NAMES}
    for name in NAMES:
        world.until_frames(name, 10)
    assert made == {name: world.figure(name, "live_pictures_total") for name in NAMES}


@pytest.mark.fault(18)
def test_who_watches_while_a_worker_is_killed_goes_on_seeing(tmp_path: Path, parts: ExitStack) -> None:
    world = World(tmp_path, parts)

    async def watch() -> None:
        async with aclosing(world.live.watch("a", Variant.SMALL)) as pictures:
            first = await asyncio.wait_for(anext(pictures), 30)
            for worker in world.workers():
                worker.kill()
            died = time.time()
            async with asyncio.timeout(60):
                async for shown in pictures:
                    if shown.header["capture_time"] > died + 0.5:
                        assert shown.number > first.number
                        return

    asyncio.run(watch())
    for name in NAMES:
        world.until_frames(name, 5)


def test_a_supervisor_that_takes_no_picture_holds_neither_cameras_nor_reports_up(
    tmp_path: Path, parts: ExitStack
) -> None:
    stuck = threading.Event()
    parts.callback(stuck.set)
    world = World(tmp_path, parts, lambda _: stuck.wait())

    async def watch() -> None:
        async with aclosing(world.live.watch("a", Variant.LARGE)) as pictures:
            waiting = asyncio.ensure_future(anext(pictures))
            while world.figure("a", "live_pictures_total") < 20:
                await asyncio.sleep(0.1)
            before = world.frames("a"), world.frames("b")
            await asyncio.sleep(3)
            assert min(world.frames("a") - before[0], world.frames("b") - before[1]) >= 15
            assert not waiting.done()
            waiting.cancel()
            await asyncio.wait([waiting])

    asyncio.run(asyncio.wait_for(watch(), 60))
    memory = sum(worker.memory_info().rss for worker in world.workers())
    world.until_frames("a", 30)
    assert sum(worker.memory_info().rss for worker in world.workers()) - memory < 10e6


# -- over HTTP, and on to a media server -------------------------------------------------------------------


@contextmanager
def served(world: World) -> Iterator[str]:
    """The world's live pictures over HTTP; the address."""

    async def still_allowed(_: Call) -> bool:
        return True

    with served_door(Door(LiveApi(world.live, still_allowed).endpoints(), NobodyElse())) as front:
        yield "{}:{}".format(*front.address)


def boxes_in(url: str, count: int = 10) -> list[tuple[float, ...]]:
    """Left, top, right, bottom of what is green in the first pictures, in shares of each."""
    found = []
    with av.open(url, options={"rtsp_transport": "tcp"}, timeout=(20, 20)) as played:
        for picture in played.decode(video=0):
            v = picture.to_ndarray(format="yuv420p").reshape(-1)[320 * 240 * 5 // 4 :].reshape(120, 160)
            rows, columns = np.nonzero(v < 90)
            edges = columns.min() / 160, rows.min() / 120, (columns.max() + 1) / 160, (rows.max() + 1) / 120
            found.append(edges)
            if len(found) >= count:
                break
    return found


@pytest.mark.rtsp
def test_go2rtc_pulls_annotated_video_while_somebody_watches_and_may_be_killed(
    tmp_path: Path, parts: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_pictures, "LEASE_S", 2.0)
    world = World(tmp_path, parts, live={"layers": ["boxes"]})
    address = parts.enter_context(served(world))
    sources = {name: f"http://{address}/live/{name}.ts#header=X-Any: thing" for name in ("a", "c", "nobody")}
    with RtspServer(sources) as media:
        for camera in ("a", "c"):  # of two workers
            assert np.allclose(boxes_in(media.url(camera)), PERSON, atol=0.03)
        with pytest.raises(av.HTTPNotFoundError):
            boxes_in(media.url("nobody"))
        until(lambda: not world.live.viewers, 20)
        time.sleep(4.0)  # the lease, and a report
        made = world.figure("a", "annotated_pictures_total")
        world.until_frames("a", 20)
        assert world.figure("a", "annotated_pictures_total") == made, "nobody watches any more"
        media.stop()
        media.start()
        assert np.allclose(boxes_in(media.url("a")), PERSON, atol=0.03)
    until(lambda: not world.live.viewers, 20)


class Viewer:
    """Whoever watches one thing in a thread; keeps when something came, and what."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self.seen: list[tuple[float, bytes]] = []
        self._read = read
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError, ValueError, AttributeError, websockets.ConnectionClosed):  # closed
            while piece := self._read():
                self.seen.append((time.time(), piece))

    @property
    def longest_s(self) -> float:
        """Between two things that came."""
        return max(later - before for (before, _), (later, _) in pairwise(self.seen))


def viewer_of(address: str, path: str, stack: ExitStack) -> Viewer:
    if path.startswith("/ws"):
        line = stack.enter_context(websockets.sync.client.connect(f"ws://{address}{path}"))
        return Viewer(lambda: str(line.recv(timeout=60)).encode())
    answer = stack.enter_context(urllib.request.urlopen(f"http://{address}{path}", timeout=60))
    return Viewer(lambda: answer.read1(1 << 20))


@pytest.mark.fault(18)
def test_viewers_of_cameras_of_two_workers_go_on_though_one_is_killed(
    tmp_path: Path, parts: ExitStack
) -> None:
    world = World(tmp_path, parts, cameras_per_worker=1)
    address = parts.enter_context(served(world))
    kinds = ("/live/{}.mjpg", "/live/{}.ts", "/ws/detections?camera={}")
    viewers = {(name, kind): viewer_of(address, kind.format(name), parts) for name in NAMES for kind in kinds}
    grid = viewer_of(address, "/live/grid.mjpg?camera=a&camera=b&camera=c", parts)
    everybody = [*viewers.values(), grid]
    until(lambda: all(len(one.seen) > 20 for one in everybody), 60)
    workers = world.workers()
    assert len(workers) == 3
    workers[0].send_signal(signal.SIGKILL)
    killed = time.time()
    until(lambda: all(one.seen[-1][0] > killed + 3 for one in everybody), 60)
    time.sleep(3)  # everybody sees again, without having asked again
    gaps = sorted(max(viewers[name, kind].longest_s for kind in kinds) for name in NAMES)
    assert gaps[1] < 2, f"cameras of other workers were not seen either: {gaps}"
    assert grid.longest_s < 2
    assert len(set(workers) & set(world.workers())) == 2
    for name in NAMES:
        data = io.BytesIO(b"".join(piece for _, piece in viewers[name, kinds[1]].seen))
        with av.open(data, format="mpegts") as played:
            times = [float(picture.time) for picture in played.decode(video=0) if picture.time]
        assert times == sorted(times)
        assert times[-1] > killed % ((1 << 33) / 90_000) + 2, f"{name}'s video has ended with the worker"
