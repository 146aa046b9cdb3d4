"""The assignment is one-to-one, within its limit, and the best there is."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sightline.analysis.tracking.assignment import assign

COSTS = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=5),
    elements=st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.5, np.inf])),
)


def best_gain(cost: np.ndarray, limit: float) -> float:
    gain = np.minimum(cost - limit, 0)
    gain = gain if gain.shape[0] <= gain.shape[1] else gain.T
    rows = range(gain.shape[0])
    return min(
        sum(gain[r, c] for r, c in zip(rows, chosen, strict=True))
        for chosen in permutations(range(gain.shape[1]), len(rows))
    )


@given(COSTS, st.floats(0.1, 1))
def test_best_of_all_assignments(cost, limit):
    rows, columns = assign(cost, limit)
    assert len(set(rows.tolist())) == len(rows) == len(set(columns.tolist()))
    assert (np.diff(rows) > 0).all()
    assert (cost[rows, columns] < limit).all()
    assert abs((cost[rows, columns] - limit).sum() - best_gain(cost, limit)) < 1e-9


def test_the_greedy_choice_is_not_always_taken():
    rows, columns = assign(np.array([[0.1, 0.2], [0.15, 0.9]]), 0.8)
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])


def test_nobody_must_be_paired():
    for shape in ((0, 0), (0, 3), (3, 0), (2, 2)):
        rows, columns = assign(np.ones(shape), 0.5)
        assert len(rows) == len(columns) == 0


def test_a_large_assignment_agrees_with_its_mirror():
    cost = np.random.default_rng(0).random((80, 120))
    rows, columns = assign(cost, 0.9)
    there = cost[rows, columns].sum()
    rows, columns = assign(cost.T, 0.9)
    assert abs(cost.T[rows, columns].sum() - there) < 1e-9
    assert len(rows) == 80
