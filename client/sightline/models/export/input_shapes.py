"""Sizes of a network's input, height before width, as people write them."""

import argparse

LONG_SIDE = 640
MULTIPLE = 32


def shape_for_aspect(across: float, down: float, long_side: int = LONG_SIDE) -> tuple[int, int]:
    """The smallest (height, width) that holds a picture of this aspect ratio scaled to the long side.

    >>> shape_for_aspect(16, 9), shape_for_aspect(4, 3), shape_for_aspect(9, 16)
    ((384, 640), (480, 640), (640, 384))
    """
    scale = long_side / max(across, down)
    height, width = (-(-round(side * scale) // MULTIPLE) * MULTIPLE for side in (down, across))
    return height, width


def parse_shape(text: str) -> tuple[int, int]:
    """`HxW` of a command line as height and width."""
    height, width = _numbers(text, "x")
    return int(height), int(width)


def parse_aspect(text: str) -> tuple[int, int]:
    """`W:H` of a command line as the height and width of a network for such pictures."""
    across, down = _numbers(text, ":")
    if not (0 < across <= 20 * down and 0 < down <= 20 * across):
        raise argparse.ArgumentTypeError("an aspect ratio such as 16:9 is needed")
    return shape_for_aspect(across, down)


def _numbers(text: str, separator: str) -> tuple[float, float]:
    first, _, second = text.partition(separator)
    try:
        return float(first), float(second)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"two numbers with {separator!r} between are needed") from error
