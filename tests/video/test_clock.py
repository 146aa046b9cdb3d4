from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Callable, Iterator

import pytest

from sightline.entities import ClockSource
from sightline.video.clock import MAX_EARLY_S, MAX_LATE_S, CaptureClock, ClockReading, FpsGate, UtcClock

HOUR_S = 3600.0


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


# -- clocks that are off ------------------------------------------------------------------------------------


def watch(
    hands: Hands,
    capture: CaptureClock,
    ahead_s: Callable[[float], float],
    seconds: float = 120.0,
    *,
    report_s: float = 5.0,
    jitter_s: float = 0.02,
    early_s: float = MAX_EARLY_S,
) -> Iterator[tuple[float, float, ClockSource]]:
    """Ten frames a second of a camera that is ``ahead_s(t)`` ahead of true time, and reports every 5 s.

    Gives when each was really taken (UTC by the hands at the start), its capture time, and the clock.
    """
    jitter, start_s, to_utc = random.Random(4), hands.monotonic_s, hands.wall_s - hands.monotonic_s
    base_s: float | None = None
    for number in range(round(10 * seconds)):
        passed_s = number / 10
        hands.pass_s(start_s + passed_s + 0.03 + jitter.uniform(0, jitter_s) - hands.monotonic_s)
        if passed_s % report_s == 1.0:  # what FFmpeg makes of it: the last report, counted on by media time
            base_s = start_s + to_utc + ahead_s(passed_s)
        camera_time = None if base_s is None else base_s + passed_s
        captured, source = capture.stamp_live(7.0 + passed_s, hands.monotonic_s, camera_time)
        assert -MAX_LATE_S <= captured - hands.monotonic_s - capture._utc.offset() <= early_s + 1e-6
        yield start_s + to_utc + passed_s, captured, source


def steps_of(capture: CaptureClock) -> list[ClockReading]:
    return [reading for reading in capture.sender.readings if reading.step_s]


@pytest.mark.parametrize("drift", [0.0, 1e-4, -1e-4])
@pytest.mark.parametrize("ahead_s", [HOUR_S, -HOUR_S, 20.0])
def test_a_camera_clock_that_is_far_off_is_corrected_by_its_offset(ahead_s, drift):
    hands = Hands()
    capture = CaptureClock(hands.clock(), camera="yard")
    seen = list(watch(hands, capture, lambda passed_s: ahead_s + drift * passed_s, 900.0))
    assert all(0.0 <= captured - true < 0.055 for true, captured, _ in seen[100:])
    assert all(0.089 < b[1] - a[1] < 0.111 for a, b in itertools.pairwise(seen))
    assert {source for *_, source in seen[:100]} == {ClockSource.PTS}
    assert {source for *_, source in seen[120:]} == {ClockSource.RTCP_CORRECTED}
    last = capture.sender.readings[-1]
    assert last.offset_s == pytest.approx(ahead_s + drift * 900, abs=0.045)
    assert not steps_of(capture)


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S, 40.0, -86_400.0])
def test_a_camera_clock_that_is_set_is_told_once_and_moves_no_frame(step_s):
    hands = Hands()
    capture = CaptureClock(hands.clock())
    seen = list(watch(hands, capture, lambda passed_s: 100.0 + step_s * (passed_s >= 60)))
    assert all(0.089 < b[1] - a[1] < 0.111 for a, b in itertools.pairwise(seen))
    assert all(0.0 <= captured - true < 0.055 for true, captured, _ in seen[100:])
    [step] = steps_of(capture)
    assert step.step_s == pytest.approx(step_s, abs=0.001)
    assert step.step_time == pytest.approx(seen[610][1], abs=0.1)  # that of the report after it
    assert seen[-1][2] is ClockSource.RTCP_CORRECTED


def test_a_camera_clock_that_is_put_right_is_believed_again():
    hands = Hands()
    capture = CaptureClock(hands.clock())
    seen = list(watch(hands, capture, lambda passed_s: HOUR_S * (passed_s < 60)))
    assert seen[600][2] is ClockSource.RTCP_CORRECTED
    assert {source for *_, source in seen[615:]} == {ClockSource.RTCP}
    assert steps_of(capture)[0].step_s == pytest.approx(-HOUR_S, abs=0.001)


def test_a_step_while_the_stream_is_closed_is_told():
    hands = Hands()
    capture = CaptureClock(hands.clock())
    list(watch(hands, capture, lambda _: 0.0, 30.0))
    capture.restart()
    hands.pass_s(60.0)
    list(watch(hands, capture, lambda _: -HOUR_S, 30.0))  # it has restarted, and has no time server
    assert [reading.step_s for reading in steps_of(capture)] == [pytest.approx(-HOUR_S, abs=0.05)]


@pytest.mark.fault(23)
def test_our_own_wall_clocks_step_is_none_of_the_cameras():
    hands = Hands()
    capture = CaptureClock(hands.clock())
    list(watch(hands, capture, lambda _: 0.0, 30.0))
    leads = [reading.lead_s for reading in capture.sender.readings]
    hands.wall_s += HOUR_S
    for number in range(300):
        hands.pass_s(0.1)
        camera_time = hands.wall_s - HOUR_S - 0.03
        capture.stamp_live(37.0 + number / 10, hands.monotonic_s, camera_time)
    assert capture.sender.readings[-1].offset_s == pytest.approx(-HOUR_S, abs=0.05)
    assert capture.sender.readings[-1].lead_s == pytest.approx(leads[-1], abs=0.05)
    assert not steps_of(capture)


def test_a_clock_that_means_nothing_is_neither_used_nor_told():
    hands = Hands()
    capture, wild = CaptureClock(hands.clock()), random.Random(5)
    seen = list(watch(hands, capture, lambda _: wild.uniform(-1e6, 1e6), 300.0))
    assert {source for *_, source in seen} == {ClockSource.PTS}
    assert all(0.0 <= captured - true < 0.055 for true, captured, _ in seen)
    assert not capture.sender.readings


def test_a_clock_at_the_limit_is_not_believed_and_corrected_by_turns():
    hands = Hands()
    capture = CaptureClock(hands.clock(), max_skew_s=10)
    ahead = watch(hands, capture, lambda at: 9.95 + 1e-4 * at, 1800.0, jitter_s=0.1, early_s=11.0)
    seen = list(ahead)
    assert {source for *_, source in seen[20:]} == {ClockSource.RTCP, ClockSource.RTCP_CORRECTED}
    assert len(list(itertools.groupby(source for *_, source in seen[20:]))) == 2
    assert all(0.089 < b[1] - a[1] < 0.111 for a, b in itertools.pairwise(seen))


def test_machines_and_cameras_whose_clocks_differ_agree_on_one_time_line():
    """What happens at one moment has the same time in the results of every camera, whatever its clock."""
    clocks: list[Callable[[float], float]] = [
        lambda _: 0.0,
        lambda _: HOUR_S,
        lambda _: -HOUR_S,
        lambda passed_s: 50.0 + 1e-4 * passed_s,
        lambda passed_s: HOUR_S * (passed_s < 300),
        lambda passed_s: -90.0 if passed_s < 200 else 900.0,
    ]
    hands = [Hands() for _ in clocks]
    seen = [
        list(watch(of, CaptureClock(of.clock()), ahead_s, 600.0))
        for of, ahead_s in zip(hands, clocks, strict=True)
    ]
    for moments in zip(*(frames[100:] for frames in seen), strict=True):
        times = [captured for _, captured, _ in moments]
        assert max(times) - min(times) < 0.055
        assert min(times) >= moments[0][0] - 0.001


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
