"""How much of a difference between two runs is chance: both are measured on the same redrawn pictures.

A paired bootstrap: pictures are drawn with replacement, as many as there are, and the difference of both
runs' mAP on the draw is taken; the interval holds the middle 95 % of such differences. It says how the
difference would vary with other pictures of this kind, nothing about other kinds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sightline.models.evaluation.average_precision import F64

DRAWS = 1000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class BootstrapInterval:
    """A figure of one run minus the same figure of another, and its interval."""

    value: float
    low: float
    high: float


def draw(pictures: int, draws: int = DRAWS, seed: int = 0) -> F64:
    """How often each picture is drawn, float64 [1 + draws, pictures]; the first row is the set itself."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(pictures, np.full(pictures, 1 / pictures), size=draws)
    return np.concatenate([np.ones((1, pictures)), drawn]).astype(np.float64)


def difference(one: F64, other: F64) -> BootstrapInterval:
    """``other`` minus ``one``, figures of both on the same draws; the first is of the set itself."""
    moved = other - one
    tail = (1 - LEVEL) / 2 * 100
    low, high = np.percentile(moved[1:], [tail, 100 - tail])
    return BootstrapInterval(float(moved[0]), float(low), float(high))
