"""Tokens, on SQLite and on a real Postgres."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sightline.access.rights import How, Person
from sightline.access.tokens import DAY_S, PREFIX
from sightline.entities import PERSON_ROLES, Role
from sightline.errors import AccessError, SignInRefused
from support.people import HOME, ROOT, People, people_of


@pytest.fixture
def people(database_url: str) -> Iterator[People]:
    with people_of(database_url) as made:
        yield made


def test_a_token_is_a_person_until_it_expires(people: People) -> None:
    token = people.tokens.create("prometheus", Role.OPERATOR, ROOT, days=2, cameras=[])
    assert token.startswith(PREFIX)
    wanted = Person("token prometheus", Role.OPERATOR, frozenset(), How.TOKEN)
    assert people.tokens.person_of(token) == wanted
    people.now += 2 * DAY_S - 1
    assert people.tokens.person_of(token) == wanted
    people.now += 1
    assert people.tokens.person_of(token) is None


def test_a_token_that_is_revoked_or_forged_is_nobodys(people: People) -> None:
    token = people.tokens.create("one", Role.ADMIN, ROOT, days=1)
    other = people.tokens.create("two", Role.ADMIN, ROOT, days=1)
    [row, second] = people.tokens.all_tokens()
    forged = ["", PREFIX, token.removeprefix(PREFIX), token[:-1], f"{token}x", row.token_hash]
    forged += [f"{PREFIX}\ud800", f"{PREFIX}{row.token_hash}"]
    assert [people.tokens.person_of(text) for text in forged] == [None] * len(forged)
    people.tokens.revoke("one", ROOT)
    people.tokens.revoke(second.token_id, ROOT)
    assert [people.tokens.person_of(secret) for secret in (token, other)] == [None, None]
    for name in ("one", "three"):
        with pytest.raises(AccessError, match="no token"):
            people.tokens.revoke(name, ROOT)
    assert [(entry.action, entry.target, entry.who) for entry in people.audit()] == [
        ("create_token", "one", "root"), ("create_token", "two", "root"),
        ("revoke_token", "one", "root"), ("revoke_token", "two", "root"),
    ]  # fmt: skip


def test_a_token_is_kept_nowhere(people: People) -> None:
    token = people.tokens.create("one", Role.VIEWER, ROOT, days=1, cameras=["gate"])
    assert token not in str([people.tokens.all_tokens(), people.audit()])


def test_a_displays_link_works_until_the_token_ends_and_no_other_token_is_one(people: People) -> None:
    link = people.tokens.create("lobby", Role.DISPLAY, ROOT, days=3650, cameras=["gate"])
    for _ in range(2):  # a display that starts anew opens it again
        person = people.tokens.admit(link, HOME)
        assert person == Person("token lobby", Role.DISPLAY, frozenset({"gate"}), How.TOKEN)
    last = people.audit()[-1]
    assert (last.action, last.who, last.how, last.address) == ("sign_in", "token lobby", "token", HOME)
    others = [people.tokens.create(role, role, ROOT, days=1) for role in PERSON_ROLES]
    people.tokens.revoke("lobby", ROOT)
    for secret in (link, "", "forged", *others):
        with pytest.raises(SignInRefused, match="no longer works"):
            people.tokens.admit(secret, HOME)


def test_names_of_tokens_that_work_are_unique(people: People) -> None:
    people.tokens.create("one", Role.VIEWER, ROOT, days=1)
    with pytest.raises(AccessError, match="revoke it first"):
        people.tokens.create("one", Role.VIEWER, ROOT, days=1)
    people.tokens.revoke("one", ROOT)
    people.tokens.create("one", Role.VIEWER, ROOT, days=1)
    for name in ("", "x" * 65, "a\nb", "a\x00", "\ud800"):
        with pytest.raises(AccessError, match="token's name"):
            people.tokens.create(name, Role.VIEWER, ROOT, days=1)


def test_when_a_token_was_used_last_is_written_once_a_minute(people: People) -> None:
    token = people.tokens.create("one", Role.VIEWER, ROOT, days=1)
    used = []
    for _ in range(4):
        people.tokens.person_of(token)
        [row] = people.tokens.all_tokens()
        used.append(row.used_at)
        people.now += 30
    begun = used[0]
    assert begun is not None
    assert used == [begun, begun, begun + 60, begun + 60]
