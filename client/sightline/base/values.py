"""The values of a dataclass' fields as they are: what ``asdict`` takes its time for is to copy them."""

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from operator import attrgetter
from typing import Any


@cache
def _names_and_reader(kind: Any) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    names = tuple(item.name for item in fields(kind))
    if len(names) < 2:
        raise TypeError(f"{kind.__name__} has less than two fields")  # of which attrgetter makes no tuple
    return names, attrgetter(*names)


def reader_of(kind: type) -> Callable[[Any], tuple[Any, ...]]:
    """What reads all fields of a dataclass, which has two or more, in their order."""
    return _names_and_reader(kind)[1]


def values_of(entity: Any) -> dict[str, Any]:
    """Names and values of an entity's fields, two or more.

    They are its own, not copies, and dataclasses among them stay what they are.
    """
    kind: Any = type(entity)
    names, read = _names_and_reader(kind)
    return dict(zip(names, read(entity), strict=True))
