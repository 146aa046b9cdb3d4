"""Numbers of the scenes' command lines, refused with a reason if they make no sense."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def above_zero(maximum: float) -> Callable[[str], float]:
    """A parser of a number above 0, up to ``maximum``, for an argument."""

    def number(text: str) -> float:
        value = float(text)
        if not 0 < value <= maximum:
            raise argparse.ArgumentTypeError(f"{text} is not a number above 0, up to {maximum:g}")
        return value

    return number


def even(text: str) -> int:
    """Pixels of a side."""
    value = int(text)
    if not 64 <= value <= 4096 or value % 2:
        raise argparse.ArgumentTypeError(f"{text} is not an even number from 64 to 4096")
    return value
