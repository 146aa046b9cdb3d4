"""Class names under numbers that stay: versions of a network may number their classes differently."""

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from sightline.analysis.saved import from_json

MAX_NAMES = 10_000  # of one camera; further ones have no number
UNKNOWN = -1
#: Classes that detectors confuse with each other in weak, blurred and small pictures, by the last words of
#: their names: a "light-truck" is a truck. A rider and the bicycle under him are two objects.
_CONFUSED = tuple(
    set(words.split())
    for words in (
        "car truck lorry bus van minivan minibus pickup suv jeep coach trailer taxi ambulance vehicle",
        "bicycle bike motorcycle motorbike moped scooter tricycle cyclist motorcyclist biker",
        "person people pedestrian human man woman child boy girl rider cyclist motorcyclist biker",
    )
)


class ClassTable:
    """The names that one camera's versions have had so far. Belongs to one thread.

    While only one version has served, its own numbers are the table's.

    Attributes:
        names: in the order of their numbers; empty where a number has none.
    """

    def __init__(self, state: Iterable[tuple[int, str]] | None = None) -> None:
        """Begin, or go on with numbers given before (:meth:`named`); ValueError: these are none."""
        names: list[str] = []
        for number, name in from_json(list[tuple[int, str]], list(state or ())):
            if not 0 <= number < MAX_NAMES:
                raise ValueError(f"no number of a class: {number}")
            names += [""] * (number + 1 - len(names))
            names[number] = name
        self.names = tuple(names)

    def name(self, number: int) -> str:
        """What a class id is called, also one that has no name."""
        return class_name(self.names, number)

    def alike(self, a: int, b: int) -> bool:
        """Whether detectors confuse these two classes."""
        words = {re.split(r"[^a-z]+", self.name(number).lower())[-1] for number in (a, b)}
        return a == b or any(words <= group for group in _CONFUSED)

    def named(self, numbers: Iterable[int]) -> list[tuple[int, str]]:
        """Those of ``numbers`` that have a name, with it; what a successor needs to know."""
        return [(number, self.names[number]) for number in numbers if 0 <= number < len(self.names)]

    def lookup(self, class_names: Sequence[str]) -> NDArray[np.int32]:
        """The numbers of a version's classes, new names added: int32 [len(class_names) + 1].

        The last one, :data:`UNKNOWN`, is for ids that the version has no name for.
        """
        names = list(self.names)
        number_of = {name: number for number, name in enumerate(names) if name}
        for index, name in enumerate(class_names):
            if name in number_of or len(names) >= MAX_NAMES:
                continue
            if index < len(names) and not names[index]:
                names[index] = name
                number_of[name] = index
            else:
                number_of[name] = len(names)
                names.append(name)
        self.names = tuple(names)
        return np.array([*(number_of.get(name, UNKNOWN) for name in class_names), UNKNOWN], np.int32)


def renumber(class_ids: NDArray[np.int32], lookup: NDArray[np.int32]) -> NDArray[np.int32]:
    """A version's ``class_ids`` [N] as the table's numbers."""
    # As unsigned numbers, negative ids lie beyond the last one too.
    return lookup.take(class_ids.view(np.uint32), mode="clip")


def class_name(names: Sequence[str], number: int) -> str:
    """What ``names`` call a class id; ``class_7`` where they do not know it."""
    known = 0 <= number < len(names)
    return names[number] if known and names[number] else f"class_{number}"
