"""How much of a time was watched, by the seconds that are stored of it."""

from __future__ import annotations

import pytest

from sightline.entities import SourceWindow
from sightline.store.read.coverage import WRITE_LAG_S, Covered, KnownTime, known_until

T0 = 1_790_000_040.0
MINUTE = (T0, T0 + 60)


def window(watched_s: float, start: float = 0.0) -> SourceWindow:
    """A minute."""
    return SourceWindow("gate", T0 + start, T0 + start + 60, watched_s / 60, 10, 0, "pts", "", "")


@pytest.mark.parametrize(
    ("watched_s", "now", "until"),
    [
        (60, 62, 60),
        (60, 66, 66 - WRITE_LAG_S),  # nothing is heard any more
        (27, 30, 27),  # open: the last 3 s are not written yet
        (20, 30, 30 - WRITE_LAG_S),  # 10 s are missing: half of them cannot be of the last ones
        (0, 30, 30 - WRITE_LAG_S),  # a camera that is dead is not forgiven
        (0, 4, 0),
        (2, 4, 2),
        (57, 62, 57),  # just over: what is missing may not be written yet
        (57, 64, 64 - WRITE_LAG_S),
        (10, -1, -1),  # of a time before the newest window all is known
    ],
)
def test_the_newest_window_tells_until_when_it_is_known_what_was_watched(
    watched_s: float, now: float, until: float
) -> None:
    assert known_until(window(watched_s), T0 + now) == pytest.approx(T0 + until)


def test_of_a_camera_without_windows_all_but_the_last_seconds_are_known() -> None:
    assert known_until(None, T0) == T0 - WRITE_LAG_S


@pytest.mark.parametrize(
    ("stored_s", "until", "now", "expected_s", "share"),
    [
        (60, 1000, 1000, 60, 1.0),
        (56, 1000, 1000, 60, 56 / 60),  # over for long: what is missing is missing
        (0, 1000, 1000, 60, 0.0),
        (27, 27, 30, 27, 1.0),  # open
        (20, 25, 30, 25, 0.8),
        (0, 0, 4, 0, 0.0),  # nothing can be said yet
        (0, -6, -1, 0, 0.0),  # to come
    ],
)
def test_a_time_is_judged_until_it_is_known(
    stored_s: float, until: float, now: float, expected_s: float, share: float
) -> None:
    covered = Covered.of(MINUTE, stored_s, KnownTime(T0 - 600, T0 + until), T0 + now)
    assert (covered.expected_s, covered.share()) == (expected_s, pytest.approx(share))
    assert covered.end == min(T0 + 60, max(T0, T0 + now))
    assert covered.passed_s == min(60, max(0, now))


def test_time_before_the_first_window_is_not_waited_for() -> None:
    now = T0 + 1000
    assert Covered.of(MINUTE, 30, KnownTime(T0 + 30, now), now).share() == 1.0
    before = Covered.of(MINUTE, 0, KnownTime(T0 + 60, now), now)
    assert (before.passed_s, before.expected_s, before.share()) == (0, 0, 0.0)
    assert Covered.of(MINUTE, 0, None, now) == before


def test_seconds_in_which_the_model_lacked_a_class_are_not_watched_for_it() -> None:
    covered = Covered.of(MINUTE, 57, KnownTime(T0, T0 + 57), T0 + 60)
    assert (covered.share(27), covered.share(57), covered.share(60)) == (pytest.approx(30 / 57), 0.0, 0.0)
