"""What the command lines of scenes take: numbers that are refused with a reason."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def above_zero(most: float) -> Callable[[str], float]:
    """What reads a number above 0, up to ``most``, from an argument."""

    def number(text: str) -> float:
        value = float(text)
        if not 0 < value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not a number above 0, up to {most:g}")
        return value

    return number


def even(text: str) -> int:
    """Pixels of a side."""
    value = int(text)
    if not 64 <= value <= 4096 or value % 2:
        raise argparse.ArgumentTypeError(f"{text} is not an even number from 64 to 4096")
    return value
