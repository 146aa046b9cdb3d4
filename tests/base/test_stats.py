"""Histograms: their percentiles stay within a bucket of the exact ones."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.base.stats import BOUNDS_S, Histogram, StageTimes


@given(st.lists(st.floats(1e-4, 50.0), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_percentile_is_within_one_bucket_of_the_exact_one(values: list[float], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    exact = float(np.quantile(values, share, method="inverted_cdf"))
    found = histogram.quantile_s(share)
    assert found is not None
    assert exact / 1.2 <= found <= exact * 1.2


@given(st.lists(st.integers(0, 3), min_size=len(BOUNDS_S) + 1, max_size=len(BOUNDS_S) + 1), st.floats(0, 1))
def test_a_percentile_lies_between_the_bounds_of_the_value_that_it_counts_to(
    counts: list[int], share: float
) -> None:
    values = [index for index, count in enumerate(counts) for _ in range(count)]
    found = Histogram(counts).quantile_s(share)
    if not values:
        assert found is None
        return
    wanted = max(math.ceil(share * len(values)), 1)
    index = values[wanted - 1]
    upper = BOUNDS_S[min(index, len(BOUNDS_S) - 1)]
    lower = BOUNDS_S[index - 1] if index else 0.0
    assert found == lower + (upper - lower) * (wanted - values.index(index)) / counts[index]


def test_nothing_observed_has_no_percentile() -> None:
    assert Histogram().quantile_s(0.5) is None


def test_durations_outside_the_bounds_are_counted_at_the_ends() -> None:
    histogram = Histogram()
    histogram.observe(-1.0)
    histogram.observe(1e6)
    assert histogram.counts[0] == 1
    assert histogram.counts[-1] == 1
    assert histogram.quantile_s(1.0) == pytest.approx(BOUNDS_S[-1])


def test_recent_times_forget_what_is_older() -> None:
    stages = StageTimes(["decode", "infer"], recent=2)
    stages.observe("decode", 1.0)
    assert stages.recent_ms()["decode"]["mean"] == pytest.approx(1000.0)
    assert "infer" not in stages.recent_ms()
    stages.recent_ms()
    stages.observe("decode", 0.010)
    assert stages.recent_ms()["decode"]["mean"] == pytest.approx(10.0)
    assert stages.snapshots()["decode"].count == 2
