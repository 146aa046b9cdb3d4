"""The decode thread of a camera, its back-off, its place at the gate, and how it hangs."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline.base.stats import StageTimes
from sightline.base.threads import SideThreads
from sightline.config import Camera
from sightline.entities import STAGES, CameraState, Frame
from sightline.errors import SourceError, SourceUnreachable, SourceUnusable
from sightline.video import feed as feed_module
from sightline.video import open_gate
from sightline.video.container import check_name
from sightline.video.feed import Feed
from sightline.video.mailbox import Mailbox
from sightline.video.open_gate import OpenGate
from support.fake_source import FakeSource
from support.fakes import frame
from support.waiting import until


def _camera(url: str, open_timeout_s: float) -> Camera:
    return Camera(name="cam", url=url, stream={"open_timeout_s": open_timeout_s})


def feed_of(source, **parts) -> Feed:
    return Feed("cam", source, Mailbox(), StageTimes(STAGES), **parts)


def stop(feed: Feed, timeout_s: float) -> bool:
    feed.ask_to_stop()
    with contextlib.suppress(AssertionError):
        until(lambda: feed.stopped, timeout_s)
    return feed.stopped


def test_frames_arrive_and_the_state_says_so() -> None:
    feed = feed_of(FakeSource(lambda: iter([frame(0, 1.0), frame(1, 2.0)])))
    feed.start()
    until(lambda: feed.state is CameraState.OFFLINE, 5)
    assert feed.source.packets == 2
    assert stop(feed, 5)


def test_a_back_off_goes_on_where_the_predecessor_was() -> None:
    source = FakeSource(SourceUnreachable("away"))
    feed = feed_of(source)
    feed.start(failures=5, wait_s=0.3)
    time.sleep(0.1)
    assert (source.opened, feed.state) == (0, CameraState.OFFLINE)
    until(lambda: feed.reconnects == 1, 5)
    assert feed.backoff.failures == 6
    assert 14 < feed.wait_s < 33  # 1 s, doubled five times, spread by half
    assert stop(feed, 5)


def test_a_file_that_is_played_again_has_not_been_reconnected(caplog: pytest.LogCaptureFixture) -> None:
    source = FakeSource(lambda: iter([frame(0, 1.0)]))
    source.recorded = True
    feed = feed_of(source)
    feed.start()
    until(lambda: source.opened > 1, 5)
    assert feed.reconnects == 0
    assert stop(feed, 5)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_file_that_is_played_once_and_cannot_be_ends_and_says_why() -> None:
    feed = feed_of(FakeSource(SourceUnusable("no picture")), until_end=True)
    feed.start()
    until(lambda: feed.stopped, 5)
    assert (feed.state, feed.message) == (CameraState.UNUSABLE, "no picture")


@pytest.mark.fault(2)
def test_waiting_is_not_hanging_and_a_call_that_does_not_return_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "HANG_GRACE_S", 0.2)
    release = threading.Event()

    def hang() -> Iterator[Frame]:
        source.call = ("reading", time.monotonic())
        release.wait(30)
        source.call = None
        yield frame(0, 1.0)

    source = FakeSource(hang)
    feed = feed_of(source)
    assert feed.hanging == ""
    feed.start()
    until(lambda: feed.hanging, 5)
    assert "FFmpeg hangs while reading" in feed.hanging
    assert not stop(feed, 0.1)
    release.set()
    assert stop(feed, 5)
    assert feed.hanging == ""


def test_a_fault_of_ours_is_kept_for_the_main_thread() -> None:
    feed = feed_of(FakeSource(ZeroDivisionError("ours")))
    feed.start()
    until(lambda: feed.failure, 5)
    assert isinstance(feed.failure, ZeroDivisionError)
    assert stop(feed, 5)


# -- the gate -----------------------------------------------------------------------------------------------


@pytest.mark.fault(28)
def test_few_open_at_once_across_processes(tmp_path: Path) -> None:
    gates = [OpenGate(tmp_path.name, 2) for _ in range(3)]  # as many processes
    stop, inside, most = threading.Event(), [0], [0]
    lock = threading.Lock()

    def open_one(gate: OpenGate) -> None:
        with gate.wait(stop):
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0.05)
            with lock:
                inside[0] -= 1

    threads = [threading.Thread(target=open_one, args=(gates[i % 3],)) for i in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most[0] == 2


@pytest.mark.fault(28)
def test_cameras_that_do_not_answer_keep_no_place_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_gate, "HOLD_S", 0.2)
    stop, dead = threading.Event(), OpenGate(tmp_path.name, 1)
    opened = threading.Event()

    def hold() -> None:
        with dead.wait(stop):
            opened.wait(30)

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    until(lambda: dead._held, 5)
    started = time.monotonic()
    threading.Timer(0.3, dead.sweep).start()  # as its process does once a second
    with OpenGate(tmp_path.name, 1).wait(stop):
        assert 0.15 < time.monotonic() - started < 5
    opened.set()
    holder.join(5)


@pytest.mark.fault(28)
def test_who_has_failed_less_often_opens_first(tmp_path: Path) -> None:
    gate, stop, order = OpenGate(tmp_path.name, 1), threading.Event(), []

    def open_one(failures: int) -> None:
        with gate.wait(stop, failures):
            order.append(failures)

    with gate.wait(stop):
        threads = [threading.Thread(target=open_one, args=(n,)) for n in (5, 3, 0, 1)]
        for thread in threads:
            thread.start()
        until(lambda: len(gate._queue) == 4, 5)
    for thread in threads:
        thread.join(10)
    assert order == [0, 1, 3, 5]


@pytest.mark.fault(28)
def test_a_camera_that_is_stopped_does_not_wait_at_the_gate(tmp_path: Path) -> None:
    gate = OpenGate(tmp_path.name, 1)
    source = FakeSource(SourceUnreachable("never asked"))
    feed = feed_of(source, gate=gate)
    with gate.wait(threading.Event()):
        feed.start()
        until(lambda: gate._queue, 5)
        assert stop(feed, 2)
    assert source.opened == 0


# -- names --------------------------------------------------------------------------------------------------


@pytest.mark.fault(3)
def test_a_dead_name_server_is_the_reason_and_not_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: release.wait(30))
    threads = SideThreads("names", 2)
    for _ in range(4):  # more than there are threads
        started = time.monotonic()
        with pytest.raises(SourceUnreachable, match=r"no name server has answered for 'cam\.lan'"):
            check_name(_camera("rtsp://user:pw@cam.lan/x", 0.1), threads)
        assert time.monotonic() - started < 5
    release.set()


def test_a_name_that_does_not_exist_is_named_without_the_password() -> None:
    with pytest.raises(SourceError, match=r"'no-such\.invalid' does not resolve") as caught:
        check_name(_camera("rtsp://user:pw@no-such.invalid/x", 30))
    assert "pw" not in str(caught.value)


def test_an_address_is_not_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("resolved"))
    for url in ("rtsp://10.0.0.1:554/x", "rtsp://[fe80::1%25eth0]/x", "rtsp://[::1]:554/x"):
        check_name(_camera(url, 1))
