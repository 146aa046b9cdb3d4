"""Live pictures over real HTTP: what is sent, slow viewers, many of them, and none too many."""

from __future__ import annotations

import gc
import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import psutil
import pytest
import websockets
import websockets.sync.client

from sightline.camera.messages import AskFeature, LiveMessage, Message
from sightline.entities import Role, Variant
from sightline.supervisor import live_pictures
from sightline.supervisor.http import api_live, http_server, open_socket
from sightline.supervisor.http.api_live import BOUNDARY, LiveApi
from sightline.supervisor.http.door import Door
from sightline.supervisor.http.endpoint import Call
from sightline.supervisor.http.visitors import NobodyElse, Visitors
from sightline.supervisor.live_pictures import LivePictures
from sightline.video.picture import decode_jpeg, encode_jpeg, full_range, written
from support.fakes import GreyPicture
from support.front import Front, known, served_door
from support.people import ROOT, People
from support.waiting import until

JPEG = encode_jpeg(full_range(written(GreyPicture(640, 360))))
PAD = b"\xff\xfe" + struct.pack(">H", 60_002) + bytes(60_000)  # a comment: makes a picture large


class Cameras:
    """Two cameras, ``a`` and ``b c``, that show 20 pictures a second while they are asked to."""

    def __init__(self, live: LivePictures) -> None:
        self.payload = JPEG
        self.shown = 0
        self.wanted: dict[tuple[str, Variant], float] = {}
        self._live = live
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def owner_of(self, camera: str) -> Cameras:
        if camera not in {"a", "b c"}:
            raise LookupError(camera)
        return self

    def send(self, message: Message) -> None:
        assert isinstance(message, AskFeature)
        watch: Any = message.request
        for variant in watch.variants:
            assert message.feature == variant.feature
            self.wanted[message.camera, variant] = time.monotonic() + watch.seconds

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            for (camera, variant), until_s in list(self.wanted.items()):
                if until_s > time.monotonic():
                    self.shown += 1
                    header = {"capture_time": float(self.shown), "media_s": self.shown / 2}
                    header |= {"number": self.shown, "is_key": self.shown % 10 == 0}
                    self._live.take(LiveMessage(camera, variant, header, self.payload))


@dataclass(frozen=True)
class World:
    live: LivePictures
    cameras: Cameras
    front: Front

    def connect(self, path: str, rcvbuf: int | None = None) -> socket.socket:
        client = socket.socket()
        if rcvbuf is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        client.settimeout(10)
        client.connect(self.front.address)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return client

    def ask(self, path: str, token: str = "") -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(*self.front.address, timeout=20)
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        return connection

    def status(self, path: str, token: str = "") -> int:
        with closing(self.ask(path, token)) as connection:
            return connection.getresponse().status

    def get(self, path: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        with closing(self.ask(path)) as connection:
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()


@contextmanager
def world_of(visitors: Visitors) -> Iterator[World]:
    live = LivePictures()
    cameras = Cameras(live)
    live.owner_of = cameras.owner_of

    async def still_allowed(call: Call) -> bool:
        return await door.still_allowed(call)

    door = Door(LiveApi(live, still_allowed).endpoints(), visitors)
    with served_door(door) as front:
        try:
            yield World(live, cameras, front)
        finally:
            cameras.stop()


@pytest.fixture
def world() -> Iterator[World]:
    with world_of(NobodyElse()) as made:
        yield made


def parts(world: World, path: str, count: int) -> list[tuple[dict[str, str], bytes]]:
    """The first parts of a stream, by their own lengths."""
    connection = http.client.HTTPConnection(*world.front.address, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.headers["Content-Type"] == f"multipart/x-mixed-replace; boundary={BOUNDARY}"
    assert answer.headers["Cache-Control"] == "no-store"
    found = []
    assert answer.readline() == f"--{BOUNDARY}\r\n".encode()
    for _ in range(count):
        head = {}
        while line := answer.readline().strip():
            name, _, value = line.decode().partition(": ")
            head[name] = value
        found.append((head, answer.read(int(head["Content-Length"]))))
        assert answer.read(2) == b"\r\n"
        assert answer.readline() == f"--{BOUNDARY}\r\n".encode()
    connection.close()
    return found


@pytest.mark.parametrize("path", ["/live/a.mjpg", "/live/b%20c.mjpg?size=small&overlay=0"])
def test_a_stream_has_a_picture_for_every_part(world: World, path: str) -> None:
    found = parts(world, path, 5)
    assert [payload for _, payload in found] == [JPEG] * 5
    times = [float(head["X-Capture-Time"]) for head, _ in found]
    assert times == sorted(set(times))
    assert float(found[0][0]["X-Media-Time"]) == times[0] / 2
    until(lambda: not world.live.viewers, 5)


def test_a_stream_whose_head_alone_is_asked_for_ends(world: World) -> None:
    connection = http.client.HTTPConnection(*world.front.address, timeout=10)
    with closing(connection):
        for _ in range(2):
            connection.request("HEAD", "/live/a.mjpg")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"")
            assert answer.headers["Content-Type"].startswith("multipart/x-mixed-replace")
    assert not world.cameras.wanted


@pytest.mark.parametrize("path", ["/live/a.mjpg", "/live/grid.mjpg?camera=a"])
def test_who_leaves_while_nothing_is_shown_is_counted_no_longer(world: World, path: str) -> None:
    world.cameras.stop()
    with world.connect(path):
        until(lambda: world.live.viewers.total() == 1, 5)
    until(lambda: not world.live.viewers, 5)


def test_size_and_overlay_choose_the_variant(world: World) -> None:
    for query, variant in {
        "": Variant.LARGE_OVERLAY,
        "?size=small": Variant.SMALL_OVERLAY,
        "?overlay=0": Variant.LARGE,
        "?size=small&overlay=0": Variant.SMALL,
    }.items():
        world.cameras.wanted.clear()
        assert world.get(f"/live/a.jpg{query}")[0] == 200
        assert set(world.cameras.wanted) == {("a", variant)}


def test_a_snapshot_is_one_picture_and_says_when_there_is_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, headers, body = world.get("/live/a.jpg")
    assert (status, body, headers["Content-Type"], headers["Cache-Control"]) == (
        200,
        JPEG,
        "image/jpeg",
        "no-store",
    )
    assert float(headers["X-Capture-Time"]) > 0
    assert not world.live.viewers
    monkeypatch.setattr("sightline.supervisor.http.api_live.FIRST_S", 0.3)
    monkeypatch.setattr(world.cameras, "send", lambda _: None)
    world.cameras.wanted.clear()
    status, headers, body = world.get("/live/a.jpg")
    assert (status, headers["Retry-After"]) == (503, "5")
    assert b"'a' shows nothing now" in body


def test_a_grid_tells_which_places_are_dark(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    send = world.cameras.send
    monkeypatch.setattr(world.cameras, "send", lambda message: message.camera == "a" and send(message))
    heads = [head for head, _ in parts(world, "/live/grid.mjpg?camera=b%20c&camera=a&overlay=0", 2)]
    assert heads[-1]["X-Dark"] == "0"
    monkeypatch.undo()
    found = parts(world, "/live/grid.mjpg?camera=b%20c&camera=a&overlay=0", 12)
    assert any("X-Dark" not in head for head, _ in found)


def test_a_grid_shows_several(world: World) -> None:
    [(_, payload)] = parts(world, "/live/grid.mjpg?camera=a&camera=b%20c&overlay=0", 1)
    picture = decode_jpeg(payload)
    assert (picture.width, picture.height) == (1280, 720)
    assert set(world.cameras.wanted) == {("a", Variant.SMALL), ("b c", Variant.SMALL)}
    until(lambda: not world.live.viewers, 5)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/live/x.mjpg", 404),
        ("/live/x.jpg", 404),
        ("/live/x.ts", 404),
        ("/live/grid.jpg", 404),
        ("/live/grid.mjpg?camera=a&camera=x", 404),
        ("/live/grid.mjpg", 422),
        ("/live/grid.mjpg?" + "&".join(["camera=a"] * 37), 422),
        ("/live/a.mjpg?size=huge", 422),
        ("/live/a.jpg?overlay=2", 422),
    ],
)
def test_what_is_not_there_is_told(world: World, path: str, status: int) -> None:
    assert world.get(path)[0] == status
    assert not world.cameras.wanted


def test_video_begins_with_a_key_frame_and_again_after_a_gap(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, left_out = world.live.take, {25, 26}

    def numbered(message: LiveMessage) -> None:
        if message.header["number"] not in left_out:
            take(replace(message, payload=f"{message.header['number']:4}".encode()))

    monkeypatch.setattr(world.cameras._live, "take", numbered)
    with closing(world.ask("/live/a.ts")) as connection:
        answer = connection.getresponse()
        assert answer.headers["Content-Type"] == "video/mp2t"
        seen = [int(answer.read(4)) for _ in range(30)]
    assert seen == [*range(10, 25), *range(30, 45)]
    assert set(world.cameras.wanted) == {("a", Variant.VIDEO)}
    until(lambda: not world.live.viewers, 5)


# -- boxes ------------------------------------------------------------------------------------------------


def socket_of(
    world: World, query: str, token: str = "", **more: Any
) -> websockets.sync.client.ClientConnection:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"{world.front.origin.replace('http', 'ws')}/ws/detections?{query}"
    return websockets.sync.client.connect(url, additional_headers=headers, open_timeout=10, **more)


def test_boxes_come_by_websocket_as_they_are_made(world: World) -> None:
    world.cameras.payload = b'{"objects": []}'
    with socket_of(world, "camera=b%20c") as boxes:
        assert [boxes.recv(timeout=5) for _ in range(5)] == ['{"objects": []}'] * 5
        assert set(world.cameras.wanted) == {("b c", Variant.DETECTIONS)}
        boxes.send("hello")
        boxes.send(b"hello")
        assert boxes.recv(timeout=5)
    until(lambda: not world.live.viewers, 5)


@pytest.mark.parametrize(("query", "code"), [("camera=x", 1008), ("camera=a", 1013)])
def test_a_socket_says_why_it_is_closed(
    world: World, monkeypatch: pytest.MonkeyPatch, query: str, code: int
) -> None:
    monkeypatch.setattr(live_pictures, "MAX_VIEWERS", 0)
    with socket_of(world, query) as boxes, pytest.raises(websockets.ConnectionClosed) as closed:
        boxes.recv(timeout=5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code


def test_a_message_that_is_too_long_or_malformed_ends_its_connection_alone(world: World) -> None:
    world.cameras.payload = b"{}"
    with socket_of(world, "camera=a") as calm:
        too_long, no_frame = b"\x81\xfe\x20\x00" + bytes(8196), b"\xff" * 5000
        no_text = b"\x81\x85" + bytes(4) + b"\xff" * 5
        for wild in (too_long, no_frame, no_text):
            with socket_of(world, "camera=a") as other:
                other.recv(timeout=5)
                other.socket.sendall(wild)
                with pytest.raises(websockets.ConnectionClosed):
                    for _ in range(200):
                        other.recv(timeout=5)
        assert calm.recv(timeout=5)
    until(lambda: not world.live.viewers, 5)


def test_two_hundred_readers_of_boxes_leave_nothing(world: World) -> None:
    world.cameras.payload = b"{}"
    for _ in range(4):
        with ExitStack() as stack:
            for one in [stack.enter_context(socket_of(world, "camera=a")) for _ in range(50)]:
                assert one.recv(timeout=10)
        until(lambda: not world.live.viewers, 10)
    until(lambda: not world.front.connections, 15)


# -- who may ---------------------------------------------------------------------------------------------


PATHS = ("/live/{}.mjpg", "/live/{}.ts", "/live/{}.jpg?size=small", "/live/grid.mjpg?camera={}")


def test_a_camera_is_seen_by_those_who_may_see_it_and_by_nobody_else(people: People) -> None:
    token = people.tokens.create("screen", Role.VIEWER, ROOT, days=1, cameras=["a"])
    with world_of(known(people)) as world:
        for path in PATHS:
            assert world.status(path.format("a")) == 401
            assert world.status(path.format("a"), "slt_forged") == 401
            assert world.status(path.format("b%20c"), token) == 403
        assert world.status("/live/grid.mjpg?camera=a&camera=b%20c", token) == 403
        assert not world.cameras.wanted, "a camera has been asked to show itself"
        for path in PATHS:
            assert world.status(path.format("a"), token) == 200
        for query, shown in (("camera=a", ""), ("camera=a", "slt_forged"), ("camera=b%20c", token)):
            with pytest.raises(websockets.InvalidStatus, match="403"):
                socket_of(world, query, shown)
        world.cameras.payload = b"{}"
        with socket_of(world, "camera=a", token) as boxes:
            assert boxes.recv(timeout=5)


@pytest.mark.parametrize("showing", [True, False])
def test_a_socket_is_closed_with_the_token_that_it_was_opened_by(
    people: People, monkeypatch: pytest.MonkeyPatch, *, showing: bool
) -> None:
    monkeypatch.setattr(open_socket, "ASK_S", 0.2)
    token = people.tokens.create("screen", Role.VIEWER, ROOT, days=1, cameras=["a"])
    with world_of(known(people)) as world:
        world.cameras.payload = b"{}"
        with (
            socket_of(world, "camera=a", token) as boxes,
            pytest.raises(websockets.ConnectionClosed) as closed,
        ):
            assert boxes.recv(timeout=5)
            if not showing:
                world.cameras.stop()
            people.tokens.revoke("screen", ROOT)
            while True:
                boxes.recv(timeout=5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


def test_a_socket_whose_client_reads_nothing_is_closed_with_its_token_too(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_socket, "ASK_S", 0.2)
    monkeypatch.setattr(open_socket, "CLOSE_S", 0.2)
    monkeypatch.setattr(http_server, "CLOSE_S", 0.2)
    token = people.tokens.create("screen", Role.VIEWER, ROOT, days=1, cameras=["a"])
    with world_of(known(people)) as world, socket.socket() as slow:
        world.cameras.payload = b" " * 100_000 + b"{}"
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(world.front.address)
        boxes = socket_of(world, "camera=a", token, sock=slow, close_timeout=0.1)
        with suppress(websockets.ConnectionClosed), boxes:
            [connection] = world.front.connections
            until(lambda: not connection.writable.is_set(), 20)
            people.tokens.revoke("screen", ROOT)
            until(lambda: not world.live.viewers, 5)
            until(lambda: not world.front.connections, 5)


@pytest.mark.parametrize("showing", [True, False])
@pytest.mark.parametrize("path", ["/live/a.mjpg", "/live/a.ts", "/live/grid.mjpg?camera=a&overlay=0"])
def test_a_stream_ends_with_the_token_that_it_was_asked_for_by(
    people: People, monkeypatch: pytest.MonkeyPatch, path: str, *, showing: bool
) -> None:
    monkeypatch.setattr(api_live, "ASK_S", 0.2)
    token = people.tokens.create("screen", Role.VIEWER, ROOT, days=1, cameras=["a"])
    with world_of(known(people)) as world, closing(world.ask(path, token)) as connection:
        answer = connection.getresponse()
        assert answer.read(3000)
        if not showing:
            world.cameras.stop()
        people.tokens.revoke("screen", ROOT)
        until(lambda: not world.live.viewers, 5)
        while answer.read(65_536):
            pass  # what was on its way, and then the end


# -- slow ones, and many ---------------------------------------------------------------------------------


def test_a_viewer_may_stay_for_longer_than_a_request_may_take(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "REQUEST_TIMEOUT_S", 0.3)
    monkeypatch.setattr(http_server, "LONG_TIMEOUT_S", 0.3)
    assert len(parts(world, "/live/a.mjpg", 30)) == 30  # 1.5 s


def test_who_reads_nothing_is_cut_off_and_costs_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "REQUEST_TIMEOUT_S", 0.5)
    monkeypatch.setattr(http_server, "LONG_TIMEOUT_S", 0.5)
    world.cameras.payload = JPEG + PAD * 10
    with world.connect("/live/a.mjpg", rcvbuf=4096):
        until(lambda: world.live.viewers.total() == 1, 5)
        until(lambda: not world.live.viewers, 10)
        assert not world.front.connections


def test_a_slow_viewer_gets_new_pictures_and_no_queue(world: World) -> None:
    world.cameras.payload = JPEG + PAD  # about 60 kB
    with world.connect("/live/a.mjpg", rcvbuf=8192) as slow:
        until(lambda: world.live.viewers.total() == 1, 5)
        time.sleep(3.0)  # sixty pictures, of which it reads none
        [protocol] = world.front.connections
        assert protocol.transport.get_write_buffer_size() < 2 * len(world.cameras.payload)
        newest = world.cameras.shown
        reader, seen = slow.makefile("rb"), []
        while len(seen) < 5:
            line = reader.readline()
            if line.startswith(b"X-Capture-Time"):
                seen.append(float(line.partition(b": ")[2]))
        assert seen[-1] >= newest, f"{newest - seen[-1]} pictures behind"
        assert sum(number < newest for number in seen) <= 3, "what waited in the system's buffers"
        reader.close()


def test_a_reader_of_1_kilobyte_a_second_keeps_neither_memory_nor_others_waiting(world: World) -> None:
    world.cameras.payload = JPEG + PAD
    parts(world, "/live/a.mjpg", 5)
    gc.collect()
    before = psutil.Process().memory_info().rss
    with ExitStack() as stack:
        slow = [stack.enter_context(world.connect("/live/a.mjpg", rcvbuf=4096)) for _ in range(20)]
        until(lambda: world.live.viewers.total() == 20, 10)
        began_s, count = time.monotonic(), world.cameras.shown
        while time.monotonic() - began_s < 4:
            time.sleep(0.5)
            for client in slow:
                client.recv(512)
        rate = (world.cameras.shown - count) / (time.monotonic() - began_s)
        assert rate > 15, "the cameras have been held up"
        quick_s = time.monotonic()
        assert len(parts(world, "/live/a.mjpg", 5)) == 5
        assert time.monotonic() - quick_s < 2
        assert psutil.Process().memory_info().rss - before < 20 * 4 * len(world.cameras.payload) + 20e6
    until(lambda: not world.live.viewers, 10)


def test_two_hundred_viewers_open_and_close_and_leave_nothing(world: World) -> None:
    def storm() -> None:
        with ExitStack() as stack:
            clients = [stack.enter_context(world.connect("/live/a.mjpg")) for _ in range(200)]
            for client in clients:
                assert client.recv(65_536).startswith(b"HTTP/1.1 200")
            until(lambda: world.live.viewers.total() == 200, 10)
            assert world.get("/live/a.jpg")[0] == 503
        until(lambda: not world.live.viewers, 10)
        until(lambda: not world.front.connections, 10)

    storm()
    gc.collect()
    process = psutil.Process()
    files, memory, threads = process.num_fds(), process.memory_info().rss, threading.active_count()
    storm()
    gc.collect()
    assert process.num_fds() <= files + 3
    assert process.memory_info().rss - memory < 15e6
    assert threading.active_count() <= threads
    assert not world.live._watched


def test_many_who_come_in_one_moment_are_all_served(world: World) -> None:
    with ExitStack() as stack:
        assert stack.enter_context(world.connect("/live/a.mjpg")).recv(100)
        [protocol] = world.front.connections
        protocol.loop.call_soon_threadsafe(time.sleep, 1.0)  # they are accepted all at once
        clients = [stack.enter_context(world.connect("/live/a.mjpg")) for _ in range(190)]
        for client in clients:
            assert client.recv(65_536).startswith(b"HTTP/1.1 200")


def test_one_viewer_too_many_is_told_and_probes_are_answered_beside_all_of_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_pictures, "MAX_VIEWERS", 30)
    with ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(world.connect("/live/a.mjpg"))
        until(lambda: world.live.viewers.total() == 30, 10)
        status, headers, _ = world.get("/live/a.mjpg")
        assert (status, headers["Retry-After"]) == (503, "10")
        assert world.get("/live/a.jpg")[0] == 503
    until(lambda: not world.live.viewers, 10)
    assert world.get("/live/a.jpg")[0] == 200


def test_one_person_takes_a_quarter_of_the_places_and_leaves_the_others_to_others(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_live, "MAX_VIEWERS", 12)
    greedy, other = (people.tokens.create(name, Role.VIEWER, ROOT, days=1) for name in ("greedy", "other"))
    with world_of(known(people)) as world:
        with ExitStack() as stack:
            for path in ("/live/grid.mjpg?camera=a&camera=b%20c&camera=b%20c", "/live/a.mjpg"):
                connection = stack.enter_context(closing(world.ask(path, greedy)))
                assert connection.getresponse().status == 200
            for path in PATHS:
                with closing(world.ask(path.format("a"), greedy)) as connection:
                    answer = connection.getresponse()
                    assert (answer.status, answer.headers["Retry-After"]) == (429, "10")
                    assert b"may have 3 open at once, and you have 3" in answer.read()
            with (
                socket_of(world, "camera=a", greedy) as boxes,
                pytest.raises(websockets.ConnectionClosed) as closed,
            ):
                boxes.recv(timeout=5)
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason[:10]) == (1013, "one person")
            for path in PATHS:
                assert world.status(path.format("a"), other) == 200
        until(lambda: world.status("/live/grid.mjpg?camera=a&camera=b%20c", greedy) == 200, 10)


def test_one_person_has_few_different_grids_and_a_wall_as_many_screens_as_there_are(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One display's token drew fifty grids of 36 places, five times a second each: more than two cores."""
    monkeypatch.setattr(api_live, "MAX_GRIDS", 2)
    greedy, other = (people.tokens.create(name, Role.VIEWER, ROOT, days=1) for name in ("greedy", "other"))
    with world_of(known(people)) as world:
        with ExitStack() as stack:
            for count in (1, 2, 2, 1, 2):
                path = "/live/grid.mjpg?" + "&".join(["camera=a"] * count)
                connection = stack.enter_context(closing(world.ask(path, greedy)))
                assert connection.getresponse().status == 200
            with closing(world.ask("/live/grid.mjpg?camera=a&overlay=0", greedy)) as connection:
                answer = connection.getresponse()
                assert (answer.status, answer.headers["Retry-After"]) == (429, "10")
                assert b"may have 2 different ones open" in answer.read()
            assert world.status("/live/grid.mjpg?camera=a&overlay=0", other) == 200
        until(lambda: world.status("/live/grid.mjpg?camera=a&overlay=0", greedy) == 200, 10)


def test_garbage_on_a_live_connection_ends_that_one_alone(world: World) -> None:
    with world.connect("/live/a.mjpg") as wild, world.connect("/live/a.mjpg") as calm:
        until(lambda: world.live.viewers.total() == 2, 5)
        wild.sendall(b"\x81\xff" * 50_000)
        until(lambda: world.cameras.shown > 10, 5)
        calm.recv(65_536)
        assert world.get("/live/a.jpg")[0] == 200
    until(lambda: not world.live.viewers, 10)
