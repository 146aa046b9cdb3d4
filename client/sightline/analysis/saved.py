"""States as JSON gives them back, which may be damaged or another release's: taken in only where they fit."""

import reprlib
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

_TOO_LARGE = 2**63
_hints_of = cache(get_type_hints)


def from_json(kind: Any, value: Any) -> Any:
    """``value`` as a ``kind``: a dataclass, a container, a number (finite), a string, or ``… | None``.

    Fields with a default may be missing, and fields that the dataclass does not have are left out.

    Raises:
        ValueError: it is something else.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(kind, type) and isinstance(value, Mapping):
        found = {name: from_json(of, value[name]) for name, of in _hints_of(kind).items() if name in value}
        try:
            return kind(**found)
        except TypeError as error:
            raise ValueError(f"{error} in {reprlib.repr(value)}") from error
    if origin is UnionType:
        return None if value is None else from_json(arguments[0], value)
    if isinstance(value, list | tuple):
        if origin in {list, set}:
            return origin(from_json(arguments[0], item) for item in value)
        if arguments[1:] == (...,):
            arguments = arguments[:1] * len(value)
        if origin is tuple and len(value) == len(arguments):
            return tuple(map(from_json, arguments, value))
    elif isinstance(value, Mapping) and origin is dict:
        of_key, of_value = arguments
        return {of_key(key): from_json(of_value, item) for key, item in value.items()}
    elif _is_plain(kind, value):
        return kind(value)  # an enumeration refuses what it does not know
    raise ValueError(f"{reprlib.repr(value)} is no {getattr(kind, '__name__', kind)}")


def _is_plain(kind: Any, value: Any) -> bool:
    """Whether ``value`` is a number of that kind, finite and not enormous, or a string if one is wanted."""
    if isinstance(value, str):
        return isinstance(kind, type) and issubclass(kind, str)
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    types = {int: int, float: int | float}
    return kind in types and isinstance(value, types[kind]) and abs(value) < _TOO_LARGE
