"""Who may what: one place decides, and the table in the docs is made from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.access.rights import RIGHTS, How, Person, Right, allowed, allowed_for_some
from sightline.entities import Role
from support.rights_table import BEGIN, END, rights_table

DOCS = Path(__file__).resolve().parents[2] / "docs" / "access.md"
CAMERAS = ("gate", "yard")
PUBLIC = (Right.SEE_HEALTH, Right.SIGN_IN, Right.ASK_FOR_MEDIA)
seen = st.none() | st.frozensets(st.sampled_from(CAMERAS))
people = st.builds(Person, st.just("anna"), st.sampled_from(Role), seen, st.sampled_from(How), st.booleans())
rights = st.sampled_from(Right)
asked = st.none() | st.sampled_from([*CAMERAS, "other"])


def person(role: Role, cameras: frozenset[str] | None = None, *, must_change: bool = False) -> Person:
    return Person("anna", role, cameras, How.PASSWORD, must_change)


def test_every_right_has_a_rule() -> None:
    assert set(RIGHTS) == set(Right)


@given(rights, asked)
def test_nobody_has_only_what_is_public(right: Right, camera: str | None) -> None:
    assert allowed(None, right, camera) == (right in PUBLIC)


@given(people, rights, asked)
def test_a_greater_role_never_may_less(who: Person, right: Right, camera: str | None) -> None:
    greater = [replace(who, role=role) for role in Role if role.rank >= who.role.rank]
    may = [allowed(person, right, camera) for person in greater]
    assert may == sorted(may)


@given(people, rights, asked)
def test_who_sees_more_cameras_never_may_less(who: Person, right: Right, camera: str | None) -> None:
    assert allowed(replace(who, cameras=None), right, camera) >= allowed(who, right, camera)


@given(people, rights, asked)
def test_who_may_nothing_of_any_camera_may_nothing(who: Person, right: Right, camera: str | None) -> None:
    assert allowed_for_some(who, right) >= allowed(who, right, camera)
    assert allowed_for_some(None, right) == (right in PUBLIC)


@given(people, rights)
def test_all_cameras_at_once_are_for_those_who_see_all(who: Person, right: Right) -> None:
    if allowed(who, right) and RIGHTS[right].of_camera:
        assert who.cameras is None
        assert allowed(who, right, "any camera")


@pytest.mark.parametrize("right", [right for right, rule in RIGHTS.items() if rule.of_camera])
def test_a_camera_that_is_not_theirs_is_nobodys(right: Right) -> None:
    admin = person(Role.ADMIN, frozenset({"gate"}))
    assert allowed(admin, right, "gate")
    assert not allowed(admin, right, "yard")
    assert not allowed(admin, right)
    assert not allowed(person(Role.ADMIN, frozenset()), right, "gate")


@given(rights, asked)
def test_a_password_that_must_be_changed_comes_first(right: Right, camera: str | None) -> None:
    admin = person(Role.ADMIN, must_change=True)
    assert allowed(admin, right, camera) == (right in {Right.CHANGE_PASSWORD, *PUBLIC})


def test_the_table_of_the_docs_is_that_of_the_code() -> None:
    text = DOCS.read_text()
    assert text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip() == rights_table(), (
        "python tests/support/rights_table.py --write"
    )
