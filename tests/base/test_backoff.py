"""Delays double, are spread, are bounded, and start over only after good minutes."""

import pytest

from sightline.base.backoff import Backoff


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


def test_delays_double_up_to_the_most(clock: list[float]) -> None:
    waits = Backoff(1.0, 60.0, clock=lambda: clock[0])
    for most in (1, 2, 4, 8, 16, 32, 60, 60):
        assert most / 2 <= waits.next_delay_s() <= most


@pytest.mark.fault(28)
def test_delays_differ_between_cameras(clock: list[float]) -> None:
    assert len({Backoff(1.0, 60.0).next_delay_s() for _ in range(20)}) > 10


@pytest.mark.fault(1)
def test_only_five_good_minutes_start_over(clock: list[float]) -> None:
    waits = Backoff(1.0, 60.0, clock=lambda: clock[0])
    for _ in range(5):
        waits.next_delay_s()
    waits.good()
    clock[0] += 10
    assert waits.next_delay_s() >= 16
    waits.good()
    clock[0] += 301
    assert waits.next_delay_s() <= 1


def test_a_least_delay_is_kept(clock: list[float]) -> None:
    assert Backoff(1.0, 60.0).next_delay_s(least_s=60.0) >= 60.0
