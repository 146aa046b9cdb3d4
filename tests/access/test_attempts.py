"""How often something may be tried."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.access import attempts
from sightline.access.attempts import AttemptLimit, network_of


@given(st.integers(1, 50), st.lists(st.floats(0, 30), max_size=200))
def test_never_more_than_so_many_at_once_and_so_many_a_minute(limit: int, pauses: list[float]) -> None:
    now = 1000.0
    counted = AttemptLimit(limit, lambda: now)
    taken = []
    for pause in pauses:
        now += pause
        wait_s = counted.wait_s("a")
        if wait_s == 0.0:
            taken.append(now)
        else:
            assert 0 < wait_s <= 60.0 + 1e-9
    for index, begin in enumerate(taken):
        for count, end in enumerate(taken[index:], 1):
            assert count <= limit + (end - begin) * limit / 60.0 + 1e-6


def test_who_waits_as_told_may_try_again() -> None:
    now = 0.0
    counted = AttemptLimit(3, lambda: now)
    assert [counted.wait_s("a") for _ in range(3)] == [0.0] * 3
    now += counted.wait_s("a")
    assert counted.wait_s("a") == 0.0
    assert counted.wait_s("a") > 0.0
    assert counted.wait_s("b") == 0.0


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MAX_KEYS", 100)
    counted = AttemptLimit(1, lambda: 0.0)
    assert all(counted.wait_s(str(number)) == 0.0 for number in range(1000))
    assert len(counted._due_s) == 100
    assert counted.wait_s("999") > 0.0


def test_the_addresses_of_one_network_are_one() -> None:
    assert network_of("192.0.2.7") == "192.0.2.7"
    assert network_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2:5::6") != network_of("2001:db8:1:3::")
    assert network_of("fe80::1%eth0") == network_of("fe80::2%eth0")
    assert network_of("testclient") == "testclient"
