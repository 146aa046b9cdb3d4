"""What is seen live on its way out of a worker: the newest, whatever the other end does."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from sightline.camera.live_sender import LiveSender
from sightline.camera.messages import LiveMessage
from sightline.entities import Variant
from support.waiting import until

LARGE = bytes(300_000)  # more than a pipe holds


def message(number: int, camera: str = "a", payload: bytes = LARGE) -> LiveMessage:
    return LiveMessage(camera, Variant.SMALL, {"number": number}, payload)


@contextlib.contextmanager
def way_out() -> Iterator[tuple[LiveSender, Connection]]:
    """A sender, and the supervisor's end of its pipe."""
    theirs, ours = Pipe(duplex=False)
    sender = LiveSender(ours)
    yield sender, theirs
    theirs.close()
    sender.put(message(0))
    until(lambda: sender._is_over, 5)
    ours.close()


def test_who_reads_late_gets_the_newest_of_each_camera_and_nobody_waits_for_him() -> None:
    with way_out() as (sender, theirs):
        sender.put(message(0))
        time.sleep(0.2)  # it is being sent, and stuck
        began_s = time.monotonic()
        replaced = sum(sender.put(message(number, "ab"[number % 2])) for number in range(1, 1000))
        assert time.monotonic() - began_s < 0.5
        assert (len(sender._newest), replaced) == (2, 997)
        got = [theirs.recv() for _ in range(3)]
        assert [(item.camera, item.header["number"]) for item in got] == [("a", 0), ("b", 999), ("a", 998)]
        sender.put(message(1000))
        assert theirs.recv() == message(1000)


def test_a_camera_that_shows_much_does_not_keep_others_from_their_turn() -> None:
    with way_out() as (sender, theirs):
        sender.put(message(0))
        time.sleep(0.2)
        for number in range(1, 4):
            for camera in "abc":
                sender.put(message(number, camera))
        turns = []
        for number in range(7):
            turns.append(theirs.recv().camera)
            sender.put(message(10 + number, "a"))  # one that is always there first
        assert set(turns[1:4]) == {"a", "b", "c"}


def test_without_a_supervisor_nothing_is_kept() -> None:
    with way_out() as (sender, theirs):
        theirs.close()
        sender.put(message(0))
        until(lambda: sender._is_over, 5)
        sender.put(message(1))
        assert not sender._newest


def test_while_nothing_is_shown_there_is_no_thread() -> None:
    before = threading.active_count()
    theirs, ours = Pipe(duplex=False)
    with ours, theirs:  # the other end goes first
        LiveSender(ours)
        assert threading.active_count() == before
