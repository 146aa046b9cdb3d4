"""Seen live on the whole program: real cameras, the real detector, a browser, and viewers of every kind."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import websockets
import websockets.sync.client

from sightline.entities import Role
from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer
from support.browser import chromium, fill_in
from support.people import PASSWORD, people_of
from support.system import System
from support.toy import Passage, write_clip
from support.waiting import until

pytestmark = [pytest.mark.rtsp, pytest.mark.triton]

NAMES = ("a", "b", "c", "d")
FPS = 10
GRID = "/live/grid.mjpg?" + "&".join(f"camera={name}" for name in NAMES)
#: Of each quarter of the grid: how much of it is the colour of boxes, and where what is red has its middle.
_LOOK = """
const canvas = document.createElement("canvas");
[canvas.width, canvas.height] = [1280, 720];
const context = canvas.getContext("2d");
context.drawImage(document.querySelector("#grid"), 0, 0);
return [0, 1, 2, 3].map((cell) => {
  const pixels = context.getImageData(640 * (cell % 2), 360 * (cell >> 1), 640, 360).data;
  let [green, red, x] = [0, 0, 0];
  for (let at = 0; at < pixels.length; at += 4) {
    const [r, g, b] = pixels.slice(at, at + 3);
    green += g > 150 && r < 140 && b < 100;
    if (r > 150 && g < 90 && b < 90) { red += 1; x += (at / 4) % 640; }
  }
  return [green, red, x / red];
});
"""


@pytest.fixture(scope="module")
def system(toy_triton: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Four cameras in two workers; before each somebody passes, again and again."""
    folder = tmp_path_factory.mktemp("live")
    passages = [Passage(3 * at, 3 * at + 3) for at in range(10)]
    clip = write_clip(folder / "passing.mp4", passages, seconds=30, fps=FPS)
    with RtspServer(dict.fromkeys(NAMES, clip)) as rtsp:
        cameras = {name: {"url": rtsp.url(name), "stream": {"fps": FPS}} for name in NAMES}
        made = System(folder, cameras, triton_url=toy_triton.grpc_url, cameras_per_worker=2)
        with made:
            for name in NAMES:
                made.until_state(name, "online")
            yield made
            assert made.stop() < 10


@pytest.mark.browser
def test_who_signs_in_sees_four_cameras_in_a_grid(system: System, tmp_path: Path) -> None:
    with people_of(system.database_url) as people, chromium(tmp_path / "profile") as browser:
        people.now = time.time()
        people.add("anna", Role.VIEWER)
        browser.get(f"{system.origin}/auth/sign-in")
        fill_in(browser, "sign-in", name="anna", password=PASSWORD)
        until(lambda: "Signed in as anna" in browser.find_element("id", "text").text, 20)
        show = "const it = new Image(); it.id = 'grid'; it.src = arguments[0]; document.body.append(it);"
        browser.execute_script(show, GRID)
        width = "return document.querySelector('#grid').naturalWidth"
        until(lambda: browser.execute_script(width) == 1280, 20)
        seen: list[list[tuple[float, float, float]]] = []

        def all_move() -> bool:
            seen.append(browser.execute_script(_LOOK))
            by_camera = list(zip(*seen, strict=True))
            return all(
                len({round(x) for _, red, x in cells if red > 500}) >= 5
                and max(green for green, _, _ in cells) > 300
                for cells in by_camera
            )

        until(all_move, 30, every_s=0.2)
        browser.save_screenshot(str(tmp_path / "grid.png"))
        assert system.viewers() == dict.fromkeys(NAMES, 1)
        browser.get("about:blank")
        until(lambda: not any(system.viewers().values()), 10)


@pytest.mark.long
def test_viewers_slow_many_and_malformed_leave_memory_flat_and_cameras_untouched(system: System) -> None:
    storm(system)  # what is held from the first time on is held
    until(lambda: not any(system.viewers().values()), 20)
    gc.collect()
    assert system.process is not None
    processes = [psutil.Process(system.process.pid), *system.workers()]
    assert len(processes) == 3
    before = [(one.memory_info().rss, one.num_fds(), one.num_threads()) for one in processes]
    cameras = [system.camera(name) for name in NAMES]
    with slow_viewers(system):
        for _ in range(4):
            storm(system)
            malformed(system)
    until(lambda: not any(system.viewers().values()), 20)
    until(lambda: processes[0].num_fds() <= before[0][1] + 5, 30)
    for one, (memory, _, threads) in zip(processes, before, strict=True):
        assert one.memory_info().rss - memory < 25e6
        assert one.num_threads() <= threads + 40  # what answers in threads has a pool of so many at most
    for was, name in zip(cameras, NAMES, strict=True):
        now = system.camera(name)
        frames, dropped = (now[key] - was[key] for key in ("frames_total", "dropped_total"))
        seconds = now["status_time"] - was["status_time"]
        assert (now["state"], now["reconnects_total"]) == ("online", was["reconnects_total"])
        assert frames > 0.9 * FPS * seconds
        assert dropped < 0.01 * frames


def connect(system: System, path: str, rcvbuf: int | None = None) -> socket.socket:
    """A request that has been sent."""
    client = socket.socket()
    if rcvbuf is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    client.settimeout(20)
    address = urlsplit(system.origin)
    client.connect((address.hostname, address.port))
    headers = {"Host": address.netloc, **system.own_key()}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    client.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
    return client


def boxes_of(system: System, camera: str) -> websockets.sync.client.ClientConnection:
    address = f"ws://{urlsplit(system.origin).netloc}/ws/detections?camera={camera}"
    return websockets.sync.client.connect(address, additional_headers=system.own_key(), open_timeout=20)


def storm(system: System) -> None:
    """Two hundred come, see something, and go."""
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(system, f"/live/{NAMES[at % 4]}.mjpg")) for at in range(190)]
        sockets = [stack.enter_context(boxes_of(system, NAMES[at % 4])) for at in range(6)]
        for client in clients:
            assert client.recv(65_536).startswith(b"HTTP/1.1 200")
        for one in sockets:
            assert one.recv(timeout=20)


@contextmanager
def slow_viewers(system: System) -> Iterator[None]:
    """One of each camera, each of whom reads 1 kB a second."""
    over = threading.Event()
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(system, f"/live/{name}.mjpg", rcvbuf=4096)) for name in NAMES]

        def read() -> None:
            while not over.wait(1.0):
                for client in clients:
                    assert client.recv(1024)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
            assert reader.is_alive(), "a slow viewer has been cut off"
        finally:
            over.set()
            reader.join(30)


def malformed(system: System) -> None:
    """Frames of WebSockets that are none, and a request that is none."""
    with connect(system, "/live/a.mjpg") as garbage:
        garbage.sendall(b"\x81\xff" * 50_000)
        assert garbage.recv(65_536)
    for frame in (b"\xff" * 5000, b"\x81\xfe\x20\x00" + bytes(8196), b"\x81\x85" + bytes(4) + b"\xff" * 5):
        with boxes_of(system, "b") as wild:
            wild.recv(timeout=20)
            with suppress(OSError):
                wild.socket.sendall(frame)
            with pytest.raises(websockets.ConnectionClosed):
                until_closed(wild)


def until_closed(connection: Any) -> None:
    for _ in range(500):
        connection.recv(timeout=20)
