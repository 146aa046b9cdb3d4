"""A dataclass' fields, read without copies."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import pytest

from sightline.base.values import reader_of, values_of


@dataclass(frozen=True, slots=True)
class Pair:
    second: int
    first: dict[str, int] = field(default_factory=dict)


@dataclass
class Alone:
    one: int = 1


def test_values_stand_under_their_names_in_the_order_of_the_fields() -> None:
    pair = Pair(2, {"a": 1})
    assert list(values_of(pair).items()) == list(asdict(pair).items())
    assert reader_of(Pair)(pair) == (2, {"a": 1})


def test_values_are_not_copied_but_their_mapping_is_new() -> None:
    pair = Pair(2)
    values = values_of(pair)
    assert values["first"] is pair.first
    values["second"] = 3
    assert pair.second == 2


def test_a_single_field_is_refused_rather_than_taken_for_its_parts() -> None:
    with pytest.raises(TypeError, match="Alone has less than two fields"):
        values_of(Alone())
