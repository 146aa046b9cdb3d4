"""Two streams of a camera, each with a media clock of its own."""

from __future__ import annotations

from fractions import Fraction

import pytest

from sightline.video.packets import CodedPacket, CodedStream
from sightline.video.stream_clock import MAX_DIFFERENCE_S, StreamClock, shift_s


class Stream:
    """Packets of a camera whose media clock began at ``began`` (monotonic), ``delay_s`` late or more."""

    def __init__(self, began: float, delay_s: float, *, sender: float | None = None) -> None:
        self.began, self.delay_s, self.sender = began, delay_s, sender
        self.clock, self._stream = StreamClock(), CodedStream("h264", Fraction(1, 1000), b"", b"")

    def send(self, at_s: float, late_s: float = 0.0) -> None:
        pts = round(1000 * (at_s - self.began))
        sender_time = None if self.sender is None else self.sender + at_s
        received_s = at_s + self.delay_s + late_s
        self.clock.add(CodedPacket(b"", pts, pts, False, self._stream, received_s, sender_time))

    def reopen(self, began: float) -> None:
        self.began, self._stream = began, CodedStream("h264", Fraction(1, 1000), b"", b"")


def test_nothing_is_known_before_both_have_come() -> None:
    one, other = Stream(0, 0.1), Stream(0, 0.1)
    one.send(1)
    assert shift_s(one.clock, other.clock, one_sender=True) is None
    assert shift_s(other.clock, one.clock, one_sender=True) is None


def test_reports_of_one_sender_are_exact_and_arrival_is_as_exact_as_delays_are_alike() -> None:
    sub, main = Stream(100.0, 0.05, sender=1e9), Stream(70.0, 0.35, sender=1e9)
    for at_s in range(101, 120):
        sub.send(at_s, late_s=0.2 * (at_s % 3))
        main.send(at_s, late_s=0.1 * (at_s % 4))
    assert shift_s(sub.clock, main.clock, one_sender=True) == pytest.approx(30.0, abs=1e-6)
    assert shift_s(main.clock, sub.clock, one_sender=True) == pytest.approx(-30.0, abs=1e-6)
    assert shift_s(sub.clock, main.clock, one_sender=False) == pytest.approx(30.0 - 0.3, abs=1e-6)
    sub.sender = 1e9 + MAX_DIFFERENCE_S + 1  # its clock was set, and the other has not told yet
    sub.send(120)
    assert shift_s(sub.clock, main.clock, one_sender=True) == pytest.approx(30.0 - 0.3, abs=1e-6)


@pytest.mark.parametrize("jump_s", [-500.0, 500.0])
@pytest.mark.parametrize("reopened", [False, True])
def test_a_clock_that_begins_anew_is_followed_at_once(jump_s: float, reopened: bool) -> None:
    sub, main = Stream(100.0, 0.05, sender=1e9), Stream(70.0, 0.05)
    for at_s in range(101, 110):
        sub.send(at_s)
        main.send(at_s)
    if reopened:
        main.reopen(70.0 + jump_s)
    main.began = 70.0 + jump_s
    main.send(110)
    assert shift_s(sub.clock, main.clock, one_sender=True) == pytest.approx(30.0 - jump_s, abs=1e-6)
