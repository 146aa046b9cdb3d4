from __future__ import annotations

import threading
import time

import pytest

from sightline.base.threads import Bell
from sightline.entities import ClockSource, Frame
from sightline.video.mailbox import Mailbox


class NoPicture:
    width = height = 2

    def write_i420(self, out, box=None):
        raise NotImplementedError


def frame(index):
    return Frame(NoPicture(), index, float(index), float(index), ClockSource.PTS, 0.0)


@pytest.mark.fault(12)
def test_the_newest_wins_and_drops_are_counted():
    box = Mailbox()
    for index in range(100):
        assert box.put(frame(index))
    assert (len(box), box.dropped) == (1, 99)
    assert box.take().index == 99
    assert box.take() is None


def test_a_lossless_box_makes_the_decoder_wait():
    bell = Bell()
    box = Mailbox(bell, lossless=True, size=3)
    producer = threading.Thread(target=lambda: [box.put(frame(n)) for n in range(50)] and box.shutdown())
    producer.start()
    got = []
    while not box.ended:
        bell.wait(5)
        while (item := box.take()) is not None:
            got.append(item.index)
            assert len(box) <= 3
    producer.join(5)
    assert got == list(range(50))
    assert box.dropped == 0


def test_a_frame_rings_the_bell_that_several_boxes_share():
    bell = Bell()
    _, second = Mailbox(bell), Mailbox(bell)
    threading.Timer(0.05, lambda: second.put(frame(1))).start()
    started = time.monotonic()
    bell.wait(30)
    assert time.monotonic() - started < 10
    assert second.take().index == 1


def test_a_ring_before_the_wait_is_not_lost():
    bell = Bell()
    bell.ring()
    started = time.monotonic()
    bell.wait(30)
    assert time.monotonic() - started < 10
    started = time.monotonic()
    bell.wait(0.05)
    assert time.monotonic() - started > 0.04, "one ring ends one wait"


def test_frames_that_wait_can_be_taken_after_the_end():
    box = Mailbox()
    box.put(frame(1))
    box.shutdown()
    assert not box.ended
    assert box.take().index == 1
    assert box.ended
    assert not box.put(frame(2))


def test_an_immediate_shutdown_lets_a_waiting_decoder_go():
    box = Mailbox(lossless=True, size=1)
    box.put(frame(0))
    results = []
    producer = threading.Thread(target=lambda: results.append(box.put(frame(1))))
    producer.start()
    box.shutdown(immediate=True)
    producer.join(5)
    assert results == [False]
    assert len(box) == 0
    assert box.ended
