from __future__ import annotations

import threading
import time

import pytest

from sightline.entities import ClockSource, Frame
from sightline.errors import SourceEnded, SourceStalled
from sightline.video.mailbox import Mailbox


class NoPicture:
    width = height = 2

    def write_i420(self, out):
        raise NotImplementedError


def frame(index):
    return Frame(NoPicture(), index, float(index), float(index), ClockSource.PTS, 0.0)


def test_the_newest_wins_and_drops_are_counted():
    box = Mailbox()
    for index in range(100):
        assert box.put(frame(index))
    assert (len(box), box.dropped) == (1, 99)
    assert box.get(0).index == 99
    assert box.get(0) is None


def test_a_lossless_box_makes_the_decoder_wait():
    box = Mailbox(lossless=True, size=3)
    producer = threading.Thread(target=lambda: [box.put(frame(n)) for n in range(50)] and box.close())
    producer.start()
    got = []
    with pytest.raises(SourceEnded):
        while True:
            got.append(box.get(5).index)
            assert len(box) <= 3
    producer.join(5)
    assert got == list(range(50))
    assert box.dropped == 0


def test_wake_ends_a_wait():
    box = Mailbox()
    threading.Timer(0.05, box.wake).start()
    started = time.monotonic()
    assert box.get(30) is None
    assert time.monotonic() - started < 10


def test_wake_before_get_is_not_lost():
    box = Mailbox()
    box.wake()
    started = time.monotonic()
    assert box.get(30) is None
    assert time.monotonic() - started < 10


def test_close_gives_its_error_after_the_last_frame_and_goes_on_giving_it():
    box = Mailbox()
    box.put(frame(1))
    box.close(SourceStalled("nothing came"))
    assert not box.closed
    assert box.get(0).index == 1
    assert box.closed
    for _ in range(2):
        with pytest.raises(SourceStalled, match="nothing came"):
            box.get(0)
    assert not box.put(frame(2))


def test_shut_lets_a_waiting_decoder_go():
    box = Mailbox(lossless=True, size=1)
    box.put(frame(0))
    results = []
    producer = threading.Thread(target=lambda: results.append(box.put(frame(1))))
    producer.start()
    box.shut()
    producer.join(5)
    assert results == [False]
    assert len(box) == 0
