"""Openings without end: one camera's thousands of times, and hundreds of cameras at the same moment."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sightline.base.backoff import Backoff
from sightline.base.stats import StageTimes
from sightline.entities import STAGES
from sightline.simulation.rtsp_server import RtspServer, free_port
from sightline.video import feed as feed_module
from sightline.video.feed import Feed
from sightline.video.mailbox import Mailbox
from sightline.video.open_gate import OpenGate
from sightline.video.source import Source
from support.camera_world import camera, make_clip
from support.gst import gst_camera
from support.short_server import FORBIDDEN, NOT_FOUND, OK, ShortServer
from support.system import System, leftovers
from support.toy import write_clip
from support.waiting import until

# -- 25: nothing is left behind ---------------------------------------------------------------------------

RECONNECTS, ROUNDS = 10_000, 5
ALONE = "SIGHTLINE_TEST_ALONE"
SLOW, SLOW_SHARE = "over rtsp", 200  # its server takes a tenth of a second for each client


@pytest.fixture
def urls(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Cameras by how their streams end, each a moment after it was opened."""
    clip = make_clip(tmp_path / "clip.ts", frames=10).read_bytes()
    with (
        gst_camera(make_clip(tmp_path / "short.mp4", frames=3)) as gst,
        ShortServer(OK + clip) as whole,
        ShortServer(OK + clip[: len(clip) * 2 // 3 - 50]) as torn,
        ShortServer(OK + clip[: len(clip) // 2], resets=True) as reset,
        ShortServer(bytes(range(256)) * 8) as garbage,
        ShortServer(FORBIDDEN) as denied,
        ShortServer(NOT_FOUND) as missing,
    ):
        yield {
            SLOW: f"rtsp://127.0.0.1:{gst.port}/cam",
            "whole": f"http://{whole.host}/cam.ts",
            "torn": f"http://{torn.host}/cam.ts",
            "reset": f"http://{reset.host}/cam.ts",
            "garbage": f"rtsp://{garbage.host}/cam",
            "denied": f"rtsp://u:p@{denied.host}/cam",
            "missing": f"rtsp://{missing.host}/cam",
            "refused": f"rtsp://127.0.0.1:{free_port()}/cam",
        }


def reconnect(urls: dict[str, str], times: int) -> dict[str, int]:
    """Let the cameras be opened again and again, all together so often; packets of each."""
    gate = OpenGate(f"reconnects-{os.getpid()}", 4)
    feeds = []
    for name, url in urls.items():
        source = Source(camera(url, open_timeout_s=5, stall_timeout_s=5))
        feed = Feed(name, source, Mailbox(), StageTimes(STAGES), gate=gate)
        feed.backoff = Backoff(0.001, 0.001)
        feeds.append(feed)
        feed.start()

    def all_done() -> bool:
        for feed in feeds:
            if feed.reconnects >= times // (SLOW_SHARE if feed.name == SLOW else len(feeds) - 1):
                feed.ask_to_stop()
        return all(feed.stopped for feed in feeds)

    until(all_done, 120)
    assert [feed.failure for feed in feeds if feed.failure] == []
    return {feed.name: feed.source.packets for feed in feeds}


def held() -> tuple[int, int, int, int]:
    """Descriptors, threads, Python's objects and bytes in use of this process."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    process = psutil.Process()
    return process.num_fds(), process.num_threads(), len(gc.get_objects()), process.memory_info().rss


@pytest.mark.fault(25)
@pytest.mark.rtsp
def test_reconnects_leave_nothing_behind(
    urls: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
) -> None:
    if ALONE not in os.environ:  # memory is that of a process in which nothing else has run
        own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        command = [sys.executable, "-m", "pytest", "-q", f"{__file__}::{request.node.name}"]
        done = subprocess.run(
            command, env=own | {ALONE: "1"}, cwd=request.config.rootpath, capture_output=True, text=True,
            check=False, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-4000:]
        return
    monkeypatch.setattr(feed_module, "SLOW_RETRY_S", 0.0)
    others = threading.active_count()
    caplog.set_level("CRITICAL", "sightline")  # else the test itself keeps what is said
    packets, found = Counter[str](), []
    for _ in range(ROUNDS + 1):  # in the first one libraries take what they keep for good
        packets.update(reconnect(urls, RECONNECTS // ROUNDS))
        until(lambda: threading.active_count() <= others, 10)
        found.append(held())
    files, threads, objects, memory = zip(*found, strict=True)
    assert max(files[-1] - files[0], threads[-1] - threads[0]) <= 0, "descriptors and threads"
    assert objects[-1] - objects[0] < RECONNECTS // 100, "objects"
    # The allocator gives pages back when it likes, so one figure may be high by ten megabytes.
    half = len(memory) // 2
    assert min(memory[-half:]) - min(memory[:half]) < 1000 * RECONNECTS * half / ROUNDS, f"bytes: {memory}"
    assert {name for name, count in packets.items() if count} == {SLOW, "whole", "torn", "reset"}
    assert min(packets[name] for name in ("whole", "torn", "reset")) >= 2 * RECONNECTS // len(urls)
    assert packets[SLOW] >= RECONNECTS // SLOW_SHARE


# -- 28: all at once --------------------------------------------------------------------------------------

CAMERAS, OPEN_LIMIT, ALL_BACK_S = 200, 32, 45


class Front:
    """A TCP forwarder in a thread of its own, that counts cameras between connection and PLAY."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self.opening: set[object] = set()
        self.max_opening = self.plays = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Front:
        self._thread.start()
        until(lambda: self.port, 5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._main = self._loop.create_task(self._serve())
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._main)
        for task in (tasks := asyncio.all_tasks(self._loop)):
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            await server.serve_forever()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opening.add(writer)
        self.max_opening = max(self.max_opening, len(self.opening))
        with contextlib.suppress(OSError):
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._behind)
            await asyncio.gather(self._pump(reader, back_writer, writer), self._pump(back_reader, writer))
        self.opening.discard(writer)
        writer.close()

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, client: object = None
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                if client in self.opening and b"PLAY rtsp" in data:
                    self.opening.discard(client)
                    self.plays += 1
                target.write(data)
                await target.drain()
        target.close()


@pytest.mark.fault(28)
@pytest.mark.long
@pytest.mark.rtsp
def test_two_hundred_cameras_come_back_together_when_their_server_restarts(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [], seconds=10, fps=5, size=(160, 96))
    names = [f"cam-{i}" for i in range(CAMERAS)]

    def watching() -> int:
        """Cameras whose stream is there; detectors are not part of this. A tenth of a second's work."""
        page = system.get("/metrics")[1]
        return page.count('state="no_detector"} 1.0') + page.count('state="online"} 1.0')

    with RtspServer({"cam": clip}) as server, Front(server.port) as front:
        url = f"rtsp://127.0.0.1:{front.port}/cam"
        cameras = {name: {"url": url, "stream": {"fps": 1}} for name in names}
        options = {"open_limit": OPEN_LIMIT, "cameras_per_worker": 64}
        with System(tmp_path, cameras, triton_url="127.0.0.1:1", **options) as system:
            until(lambda: watching() == CAMERAS, ALL_BACK_S, every_s=1.0)
            workers, plays, front.max_opening = system.workers(), front.plays, 0
            server.stop()
            until(lambda: watching() == 0, 15, every_s=0.5)
            server.start()
            until(lambda: watching() == CAMERAS, ALL_BACK_S, every_s=1.0)
            assert front.plays - plays >= CAMERAS
            assert 4 < front.max_opening <= OPEN_LIMIT, "opening at once"
            assert system.workers() == workers
            assert system.stop() < 10
    assert leftovers() == []
