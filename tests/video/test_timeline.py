"""Media time that is steady, breaks, lies or is missing."""

from __future__ import annotations

import itertools
import random

import pytest

from sightline.video.timeline import PtsStep, RecordedTimes, Timeline


@pytest.mark.fault(6)
@pytest.mark.parametrize(
    ("media_s", "step"),
    [
        (10.1, PtsStep.ON),
        (None, PtsStep.STRAY),
        (9.9, PtsStep.STRAY),
        (10.0, PtsStep.STRAY),
        (3.0, PtsStep.JUMP),
        (95443.7, PtsStep.JUMP),
    ],
)
def test_strays_and_jumps_are_told_apart(media_s, step):
    timeline = Timeline()
    assert timeline.step(10.0, 100.0) is PtsStep.ON
    assert timeline.step(media_s, 100.1) is step


def test_a_long_pause_is_no_jump():
    timeline = Timeline()
    timeline.step(10.0, 100.0)
    assert timeline.step(70.0, 160.0) is PtsStep.ON


@pytest.mark.fault(6)
def test_many_strays_start_a_new_time_line():
    timeline = Timeline()
    timeline.step(10.0, 100.0)
    steps = [timeline.step(9.5 + n / 1000, 100 + n / 10) for n in range(12)]
    assert steps == [PtsStep.STRAY] * 10 + [PtsStep.JUMP, PtsStep.ON]


def test_a_stream_without_times_is_taken_as_it_arrives():
    timeline = Timeline()
    steps = [timeline.step(None, float(n)) for n in range(13)]
    assert steps == [PtsStep.STRAY] * 10 + [PtsStep.UNTIMED] * 3
    assert timeline.step(5.0, 13.0) is PtsStep.UNTIMED, "one time is none"


def judged(times, timeline=None):
    """The steps of (media time, arrival) pairs."""
    timeline = timeline or Timeline()
    return [timeline.step(media_s, received_s) for media_s, received_s in times]


@pytest.mark.parametrize("scale", [2.0, 0.5, 0.84, 1.06, 0.94])
def test_a_camera_that_stamps_for_another_rate_is_not_believed(scale):
    steps = judged((n / 10 * scale, 100 + n / 10) for n in range(400))
    assert steps[0] is PtsStep.ON
    assert set(steps[300:]) == {PtsStep.UNTIMED}
    if abs(scale - 1) > 0.1:
        assert steps.index(PtsStep.UNTIMED) < 120, "within 12 s"


@pytest.mark.fault(6)
@pytest.mark.parametrize(
    "media",
    [
        lambda n: 7.0,  # stands still
        lambda n: n % 10 / 10,  # the same second, over and over
        lambda n: n // 2 / 5 + (0 if n % 2 else 1000),  # two clocks take turns
        lambda n: n // 2 / 5,  # two pictures of each time
        lambda n: n / 10 if n % 2 else None,  # every other one is missing
    ],
)
def test_times_that_mean_nothing_are_not_believed(media):
    steps = judged((media(n), 100 + n / 10) for n in range(600))
    assert PtsStep.UNTIMED in steps[:300]
    assert set(steps[300:]) == {PtsStep.UNTIMED}


def test_a_line_that_jitters_stalls_and_catches_up_is_believed():
    jitter, line_s, times = random.Random(4), 100.0, []
    for n in range(3000):
        sent_s = 100 + n / 10
        if n % 500 == 250:
            line_s = (
                sent_s + 4
            )  # the line stands for 4 s, then gives what was held up twice as fast as it came
        line_s = max(line_s + 0.05, sent_s + jitter.uniform(0.02, 0.3))
        times.append((n / 10 * 1.001, line_s))  # and the camera's clock is a little fast
    assert set(judged(times)) == {PtsStep.ON}


def test_bursts_and_pauses_that_the_times_tell_of_are_believed():
    bursts = [(n / 10, 102 + n // 20 * 2 + n % 20 / 500) for n in range(600)]  # two seconds at a time
    pauses = [(n / 10 + n // 50 * 7, 100 + n / 10 + n // 50 * 7) for n in range(600)]
    assert set(judged(bursts)) == set(judged(pauses)) == {PtsStep.ON}


def test_pauses_that_the_times_leave_out_are_noticed():
    steps = judged((n / 10, 100 + n / 10 + n // 100 * 5) for n in range(1000))
    assert set(steps[:100]) == {PtsStep.ON}
    assert set(steps[200:]) == {PtsStep.UNTIMED}


def test_times_that_agree_again_are_believed_after_a_while():
    timeline = Timeline()
    judged(((n / 5, 100 + n / 10) for n in range(200)), timeline)
    steps = judged(((40 + n / 10, 120 + n / 10) for n in range(1500)), timeline)
    assert steps[0] is PtsStep.UNTIMED
    assert steps[-1] is PtsStep.ON
    assert sum(a is not b for a, b in itertools.pairwise(steps)) == 1


def test_a_format_without_times_is_not_looked_at():
    assert judged(((n / 25, n / 5) for n in range(3)), Timeline(timed=False)) == [PtsStep.UNTIMED] * 3


# -- recordings ---------------------------------------------------------------------------------------------


def recorded(times, period_s=0.1):
    """Media times of (PTS, DTS) pairs."""
    clock = RecordedTimes(period_s)
    media = [clock.next(*pair) for pair in times]
    assert all(a < b for a, b in itertools.pairwise(media))
    return pytest.approx(media, abs=0.011)


def test_recorded_times_are_pts_where_they_rise():
    times = [-0.5, -0.4, 0.0, 0.3, 0.31, 900.0, 50_000.0]
    assert recorded([(time_s, None) for time_s in times]) == times


def test_a_recording_without_times_has_its_frames_numbered():
    assert recorded([(None, None)] * 4) == [0.0, 0.1, 0.2, 0.3]
    assert recorded([(None, 5.0), (None, 5.2), (None, 5.3)]) == [5.0, 5.2, 5.3]
    assert recorded([(3.0, None), (None, None), (None, None), (3.3, None)]) == [3.0, 3.1, 3.2, 3.3]


def test_pts_out_of_order_give_way_to_dts():
    pts = [0.1, 0.4, 0.3, 0.5, 0.2, 0.8, 0.7, 0.9, 0.6, 1.2]
    times = [(time_s, 0.2 + n / 10) for n, time_s in enumerate(pts)]
    assert recorded(times) == [0.1, *(0.4 + n / 10 for n in range(9))]


def test_two_frames_of_one_time_stay_together_and_a_clock_that_stands_is_replaced():
    assert recorded([(n // 2 / 5, None) for n in range(100)]) == [n // 2 / 5 for n in range(100)]
    media = [RecordedTimes(0.1)]
    times = [media[0].next(7.0, 7.0) for _ in range(100)]
    assert 9.4 < times[-1] - 7.0 < 10


@pytest.mark.parametrize("restart_s", [-20.0, 200_000.0])
def test_where_recordings_were_joined_time_goes_on(restart_s):
    times = [10.0, 10.1, restart_s, restart_s + 0.1, restart_s + 60.1]
    assert recorded([(time_s, None) for time_s in times]) == [10.0, 10.1, 10.2, 10.3, 70.3]
