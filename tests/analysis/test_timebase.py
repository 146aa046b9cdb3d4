"""Watched time: gaps, holes, blindness, and clocks that go back."""

from __future__ import annotations

import json
from functools import partial

import pytest

from sightline.analysis.timebase import MIN_STEP_S, Moment, Timebase

T0 = 1.7e9
close = partial(pytest.approx, abs=1e-5)  # capture times are large numbers


def watch(timebase: Timebase, *times: float) -> Moment:
    for time in times:
        moment = timebase.advance(T0 + time)
    return moment


def steady(timebase: Timebase, fps: float = 10) -> Moment:
    """Ten frames, the last of them at 9 / ``fps`` seconds."""
    return watch(timebase, *(frame / fps for frame in range(10)))


def test_an_even_stream_is_watched_all_the_time() -> None:
    moment = steady(Timebase(10.0))
    assert (moment.gap, moment.blind) == (False, False)
    assert (moment.step_s, moment.usual_s, moment.watched_s) == close((0.1, 0.1, 0.9))
    assert moment.covered == close((T0 + 0.8, T0 + 0.9))


def test_a_gap_counts_as_one_usual_step() -> None:
    timebase = Timebase(10.0)
    before = steady(timebase)
    moment = watch(timebase, 0.9 + 5.0)
    assert (moment.gap, moment.blind) == (True, False)
    assert (moment.elapsed_s, moment.step_s) == close((5.0, 0.1))
    assert moment.watched_s - before.watched_s == close(0.1)
    assert moment.covered == close((T0 + 0.9, T0 + 1.0))


def test_a_short_gap_ends_no_coverage_though_tracks_do_not_age() -> None:
    """The two thresholds differ on purpose: see the module."""
    timebase = Timebase(10.0)
    steady(timebase)
    moment = watch(timebase, 0.9 + 0.5)
    assert moment.gap
    assert moment.step_s == close(0.1)
    assert moment.covered == close((T0 + 0.9, T0 + 1.4))


def test_after_more_than_max_gap_s_it_was_blind() -> None:
    timebase = Timebase(3.0)
    steady(timebase)
    assert not watch(timebase, 3.8).blind
    timebase.max_gap_s = 2.0  # from the next frame on
    assert watch(timebase, 6.0).blind


def test_a_clock_set_back_is_one_usual_step_and_covers_nothing() -> None:
    timebase = Timebase(10.0)
    before = steady(timebase)
    moment = watch(timebase, -3600.0)
    assert (moment.elapsed_s, moment.gap, moment.blind) == (close(0.1), False, False)
    assert moment.watched_s - before.watched_s == close(0.1)
    assert moment.covered[0] >= moment.covered[1]
    assert watch(timebase, -3600.0).step_s == 0, "the same time again adds none"


def test_before_anything_is_known_a_long_step_is_not_believed() -> None:
    assert watch(Timebase(60.0), 0.0).usual_s == MIN_STEP_S
    timebase = Timebase(60.0)
    moment = watch(timebase, 0.0, 30.0)
    assert moment.step_s == 1.0
    assert moment.covered[0] >= moment.covered[1]


def test_a_successor_goes_on_with_the_same_steps() -> None:
    first = Timebase(10.0)
    steady(first)
    second = Timebase(10.0, json.loads(json.dumps(first.snapshot())))
    one, other = watch(first, 5.0), watch(second, 5.0)
    assert (one.step_s, one.usual_s, one.gap, one.covered) == (
        other.step_s, other.usual_s, other.gap, other.covered,
    )  # fmt: skip
    assert other.watched_s == other.step_s, "watched time begins at 0 again"


@pytest.mark.parametrize("state", [{}, {"time": [], "steps": []}, {"time": 0.0, "steps": None}])
def test_a_state_that_is_not_one_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="state of watched time"):
        Timebase(10.0, state)
