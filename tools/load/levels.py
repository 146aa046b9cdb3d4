"""Levels as they are written on the command line: ``1:8``, ``1:8:2``, ``10:60:10``, ``4``, ``1,2,8``."""

from __future__ import annotations

from load.measured import Level

MAX_LEVELS = 200


def parse_levels(text: str, kind: str) -> list[Level]:
    """The levels of a sweep, ascending.

    Args:
        text: ``from:to[:step]``, or values with commas.
        kind: "concurrency", whole numbers, or "rate".

    Raises:
        ValueError: it is neither, or too many.
    """
    parts = text.split(":")
    try:
        numbers = [float(part) for part in (parts if len(parts) > 1 else text.split(","))]
    except ValueError as error:
        raise ValueError(f"{text!r} is neither from:to[:step] nor values with commas") from error
    values = _range(text, numbers) if len(parts) > 1 else sorted(set(numbers))
    if not values or values[0] <= 0 or len(values) > MAX_LEVELS:
        raise ValueError(f"{text!r}: levels are above 0, and at most {MAX_LEVELS}")
    if kind == "concurrency" and any(value % 1 for value in values):
        raise ValueError(f"{text!r}: requests in flight are whole numbers")
    return [Level(kind, value) for value in values]


def _range(text: str, numbers: list[float]) -> list[float]:
    first, last, step = (*numbers, 1.0)[:3]
    if len(numbers) > 3 or step <= 0 or last < first or (last - first) / step > MAX_LEVELS:
        raise ValueError(f"{text!r} is no from:to[:step] of at most {MAX_LEVELS} levels")
    return [first + index * step for index in range(int((last - first) / step + 1e-9) + 1)]
