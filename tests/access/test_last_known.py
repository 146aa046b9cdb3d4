"""While the database is away, those whom it knew a moment ago are still known."""

from __future__ import annotations

import pytest

from sightline.access import last_known
from sightline.access.last_known import LastKnown
from sightline.access.rights import How, Person
from sightline.entities import Role
from sightline.errors import StoreUnavailable

ANNA = Person("anna", Role.VIEWER, None, How.PASSWORD)


class World:
    def __init__(self) -> None:
        self.now, self.away, self.asked = 1000.0, False, 0
        self.person: Person | None = ANNA
        self.known = LastKnown(lambda: self.now)

    def find(self) -> Person | None:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("away")
        return self.person

    def ask(self, key: str = "a") -> Person | None:
        return self.known.ask(key, self.find)


def test_the_database_is_asked_each_time_and_what_it_says_holds() -> None:
    world = World()
    assert world.ask() == ANNA
    world.person = None
    assert world.ask() is None
    world.away = True
    with pytest.raises(StoreUnavailable):
        world.ask()  # the last that was known is that it is nobody
    assert world.asked == 3


def test_for_five_minutes_at_most_after_the_last_answer() -> None:
    world = World()
    world.ask()
    world.away = True
    for _ in range(299):
        world.now += 1
        assert world.ask() == ANNA
    world.now += 1
    with pytest.raises(StoreUnavailable):
        world.ask()
    assert world.asked <= 152  # one that does not answer is not asked for each request


def test_only_who_was_known_and_has_not_signed_out() -> None:
    world = World()
    world.ask()
    world.away = True
    with pytest.raises(StoreUnavailable):
        world.ask("b")
    world.known.forget("a")
    with pytest.raises(StoreUnavailable):
        world.ask()


def test_a_clock_that_is_set_back_makes_nobody_known_for_longer() -> None:
    world = World()
    world.ask()
    world.away = True
    world.now -= 10_000
    with pytest.raises(StoreUnavailable):
        world.ask()


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_known, "MAX_PEOPLE", 10)
    world = World()
    for number in range(100):
        world.ask(str(number))
    assert list(world.known._people) == [str(number) for number in range(90, 100)]
