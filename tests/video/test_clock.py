from __future__ import annotations

import itertools
import logging
import random

import pytest

from sightline.entities import ClockSource
from sightline.video.clock import CaptureClock, FpsGate, UtcClock


class Hands:
    """A wall clock and a monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.wall_s = 1_000_000.0
        self.monotonic_s = 500.0

    def pass_s(self, seconds: float) -> None:
        self.wall_s += seconds
        self.monotonic_s += seconds

    def clock(self) -> UtcClock:
        return UtcClock(lambda: self.wall_s, lambda: self.monotonic_s)


def test_utc_follows_the_wall_clock():
    hands = Hands()
    clock = hands.clock()
    hands.pass_s(12.5)
    assert clock.now() == pytest.approx(hands.wall_s)


@pytest.mark.fault(23)
def test_a_step_forward_is_adopted_at_once():
    hands = Hands()
    clock = hands.clock()
    hands.wall_s += 3600
    assert clock.now() == pytest.approx(hands.wall_s)


@pytest.mark.fault(23)
def test_a_step_back_never_takes_time_back_and_is_said_once(caplog):
    hands = Hands()
    clock = hands.clock()
    before = clock.now()
    hands.wall_s -= 3600
    times = []
    with caplog.at_level(logging.WARNING):
        for _ in range(1000):
            hands.pass_s(0.1)
            times.append(clock.now())
    assert before < times[0]
    assert all(b - a == pytest.approx(0.099) for a, b in itertools.pairwise(times))
    assert len([r for r in caplog.records if "set back" in r.message]) == 1


def test_time_set_back_a_little_is_caught_up_with():
    hands = Hands()
    clock = hands.clock()
    hands.wall_s -= 1
    for _ in range(200):
        hands.pass_s(1)
        clock.now()
    assert clock.now() == pytest.approx(hands.wall_s)


def test_capture_time_from_pts_filters_jitter():
    hands = Hands()
    capture = CaptureClock(hands.clock())
    jitter = random.Random(1)
    start = hands.monotonic_s
    times = []
    for number in range(300):
        received_s = start + 0.1 * number + 0.05 + jitter.uniform(0, 0.04)
        time, source = capture.stamp_live(7.0 + 0.1 * number, received_s, None)
        assert source is ClockSource.PTS
        times.append(time)
    steps = [b - a for a, b in itertools.pairwise(times[50:])]
    assert all(step == pytest.approx(0.1, abs=0.004) for step in steps)
    late = times[-1] - (hands.wall_s + 0.1 * 299)
    assert 0.05 <= late <= 0.06  # the least delay, not the mean


def test_a_camera_clock_that_runs_slow_is_followed():
    capture = CaptureClock(Hands().clock())
    drift = 1.0005  # half a millisecond a second
    for number in range(10 * 600):
        received_s = 500 + 0.1 * number * drift
        time, _ = capture.stamp_live(0.1 * number, received_s, None)
    assert time == pytest.approx(1_000_000 + 599.9 * drift, abs=0.05)


def test_the_cameras_clock_is_used_when_it_is_near_ours():
    hands = Hands()
    capture = CaptureClock(hands.clock(), max_skew_s=10)
    time, source = capture.stamp_live(3.0, hands.monotonic_s, hands.wall_s - 2)
    assert (time, source) == (pytest.approx(hands.wall_s - 2), ClockSource.RTCP)


def test_a_camera_clock_far_from_ours_is_not_believed_and_that_is_said_once(caplog):
    hands = Hands()
    capture = CaptureClock(hands.clock(), max_skew_s=10, camera="yard")
    for number in range(5):
        hands.pass_s(0.1)
        time, source = capture.stamp_live(0.1 * number, hands.monotonic_s, 86_400.0 * number)
        assert (time, source) == (pytest.approx(hands.wall_s), ClockSource.PTS)
    [record] = caplog.records
    assert record.getMessage().startswith("camera yard: its clock is ")


@pytest.mark.parametrize("ahead_s", [-8.0, 8.0])
def test_a_change_of_clock_bends_time_and_does_not_break_it(ahead_s):
    hands = Hands()
    capture = CaptureClock(hands.clock(), max_skew_s=10)
    times = []
    for number in range(1200):
        hands.pass_s(0.1)
        camera_time = hands.wall_s + ahead_s if number > 20 else None
        times.append(capture.stamp_live(0.1 * number, hands.monotonic_s, camera_time)[0])
    assert all(0.089 < b - a < 0.111 for a, b in itertools.pairwise(times))
    assert times[-1] == pytest.approx(hands.wall_s + ahead_s)


def test_capture_time_never_goes_back_from_one_opening_to_the_next():
    hands = Hands()
    capture = CaptureClock(hands.clock())
    first, _ = capture.stamp_live(0.0, hands.monotonic_s, hands.wall_s + 9)
    capture.restart()
    second, _ = capture.stamp_live(0.0, hands.monotonic_s + 1, None)
    assert second > first


@pytest.mark.parametrize("scale", [0.0, 0.5, 0.84, 2.0, 10.0])
@pytest.mark.parametrize("reports", [True, False])
def test_capture_time_stays_near_arrival_whatever_media_time_says(scale, reports):
    hands = Hands()
    capture = CaptureClock(hands.clock(), max_skew_s=10)
    reported = (0.0, hands.wall_s)
    for number in range(300):
        media_s = 0.1 * number * scale
        if number % 20 == 0:  # the camera's clock is told every 2 s, and counted on by media time
            reported = (media_s, hands.wall_s)
        camera_time = reported[1] + media_s - reported[0] if reports else None
        captured, _ = capture.stamp_live(media_s, hands.monotonic_s, camera_time)
        ahead_s = 0.5 + (max(scale - 1, 0) * 2 if reports else 0.0)
        assert -4.1 - 2 * reports <= captured - hands.wall_s <= ahead_s + 0.31
        hands.pass_s(0.1)


def test_a_recorded_files_time_is_its_media_time_from_the_start_of_playing():
    hands = Hands()
    capture = CaptureClock(hands.clock())
    first, source = capture.stamp_recorded(20.0)
    later, _ = capture.stamp_recorded(140.5)
    assert (first, source) == (pytest.approx(hands.wall_s), ClockSource.PTS)
    assert later - first == pytest.approx(120.5)


@pytest.mark.parametrize(
    ("camera_fps", "asked", "wanted"),
    [
        (10, 5, 5),
        (12.5, 5, 5),
        (30, 10, 10),
        (30, 25, 25),
        (10, 8, 8),
        (10, 10, 10),
        (5, 10, 5),
        (29.97, 5, 5),
    ],
)
def test_the_gate_gives_the_rate_asked_for(camera_fps, asked, wanted):
    gate = FpsGate(asked)
    jitter = random.Random(2)
    media = [n / camera_fps + jitter.uniform(-0.003, 0.003) for n in range(round(camera_fps * 60))]
    passed = [t for t in media if gate.passes(t)]
    assert len(passed) == pytest.approx(wanted * 60, abs=2)


def test_the_gate_takes_every_second_frame_without_beat():
    gate = FpsGate(5)
    jitter = random.Random(3)
    taken = [n for n in range(1000) if gate.passes(n / 10 + jitter.uniform(-0.03, 0.03))]
    assert taken == list(range(0, 1000, 2))


def test_the_gate_takes_the_nearest_frame_of_a_fast_camera():
    gate = FpsGate(5)
    assert [n for n in range(60) if gate.passes(n / 20)] == list(range(0, 60, 4))


def test_no_gate_takes_every_frame():
    gate = FpsGate(None)
    assert all(gate.passes(t) for t in (0.0, 0.01, 5.0, 5.001))
