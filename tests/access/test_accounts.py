"""Signing in and what ends it, on SQLite and on a real Postgres."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import psutil
import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from conftest import Postgres
from sightline.access.accounts import INVITATION_S, OidcIdentity, folded, hashed
from sightline.access.rights import Caller, How, Person, Right, allowed
from sightline.config.access_options import OidcGroup
from sightline.entities import Role
from sightline.errors import AccessError, SignInRefused, StoreError, StoreUnavailable, TooManyAttempts
from sightline.store.access_store import AccessRows, AccessStore, AuditFilter, open_access_store
from support.people import HOME, PASSWORD, ROOT, People, people_of
from support.stored import read_rows
from support.waiting import until

DAY_S = 86_400.0
OTHER = "another four words in a row"


@pytest.fixture
def people(database_url: str) -> Iterator[People]:
    with people_of(database_url, attempts_per_address=1000, attempts_per_name=1000) as made:
        yield made


def refused(people: People, name: str = "anna", password: str = PASSWORD) -> str:
    with pytest.raises(SignInRefused) as error:
        people.accounts.sign_in(name, password, HOME)
    return str(error.value)


def test_who_signs_in_is_known_until_signing_out(people: People) -> None:
    people.add(role=Role.OPERATOR, cameras=["gate"])
    signed_in = people.accounts.sign_in("ANNA", PASSWORD, HOME)
    wanted = Person("Anna", Role.OPERATOR, frozenset({"gate"}), How.PASSWORD)
    assert signed_in.person == people.accounts.person_of(signed_in.session) == wanted
    other = people.accounts.sign_in("anna", PASSWORD, HOME).session
    people.accounts.sign_out(signed_in.session, HOME)
    assert people.accounts.person_of(signed_in.session) is None
    assert people.accounts.person_of(other) == wanted
    assert [(entry.action, entry.who, entry.how, entry.address) for entry in people.audit()] == [
        ("add_account", "root", "command line", ""),
        ("sign_in", "Anna", "password", HOME),
        ("sign_in", "Anna", "password", HOME),
        ("sign_out", "Anna", "password", HOME),
    ]


def test_a_forged_session_is_nobodys(people: People) -> None:
    people.add()
    session = people.session()
    [row] = read_rows(people.url, "sign_ins")
    for forged in ("", "x", session[:-1], session + "x", row["session_hash"], "\ud800", "\x00"):
        assert people.accounts.person_of(forged) is None
    assert session not in str(row)


def test_unknown_names_wrong_passwords_and_closed_accounts_are_refused_in_the_same_words(
    people: People,
) -> None:
    people.add()
    people.add("Closed")
    people.accounts.disable("closed", ROOT)
    texts = {
        refused(people, "anna", "wrong"), refused(people, "nobody"), refused(people, "closed"),
        refused(people, "a\x00b"), refused(people, "\ud800"), refused(people, "x" * 10_000),
        refused(people, "' OR 1=1 --"), refused(people, ""),
    }  # fmt: skip
    assert len(texts) == 1
    told = [entry.target for entry in people.audit() if entry.outcome == "refused"]
    assert told == ["Anna", "", "Closed", "", "", "", "", ""]  # what was typed may be a password


def test_a_hash_is_computed_whether_there_is_such_an_account_or_not(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.add()
    people.add("Closed")
    people.accounts.disable("closed", ROOT)
    computed = []
    verify = people.passwords._hasher.verify
    monkeypatch.setattr(
        people.passwords, "_hasher", type("Counted", (PasswordHasher,), {
            "verify": lambda _, hashed, password: computed.append(hashed) or verify(hashed, password)
        })(1, 64, 1),
    )  # fmt: skip
    for number, name in enumerate(("anna", "nobody", "closed", "not a name"), 1):
        refused(people, name, "wrong")
        assert len(computed) == number


def test_an_account_is_locked_for_longer_and_longer(people: People) -> None:
    people.add()
    begin = people.now
    for _ in range(5):
        refused(people, password="wrong")
    assert refused(people) == refused(people, password="wrong")  # also with the right password
    locks = []
    for _ in range(7):
        [account] = people.accounts.everybody()
        assert account.locked_until is not None
        locks.append(account.locked_until - people.now)
        people.now = account.locked_until
        refused(people, password="wrong")
    assert locks == [30, 60, 120, 240, 480, 900, 900]
    [account] = people.accounts.everybody()
    people.now = account.locked_until or begin
    people.accounts.sign_in("anna", PASSWORD, HOME)
    [account] = people.accounts.everybody()
    assert (account.failures, account.locked_until) == (0, None)


def test_attempts_while_it_is_locked_make_it_no_longer(people: People) -> None:
    people.add()
    for _ in range(5):
        refused(people, password="wrong")
    for _ in range(20):
        refused(people, password="wrong")
    people.now += 30
    people.accounts.sign_in("anna", PASSWORD, HOME)


def test_a_locked_account_is_opened_by_the_command_line(people: People) -> None:
    people.add()
    for open_it in (
        lambda: people.accounts.enable("anna", ROOT),
        lambda: people.accounts.set_password("anna", PASSWORD, ROOT, must_change=False),
    ):
        for _ in range(6):
            refused(people, password="wrong")
        open_it()
        people.accounts.sign_in("anna", PASSWORD, HOME)


def test_strangers_who_guess_lock_nobody_out_where_they_work(database_url: str) -> None:
    with people_of(database_url) as people:
        people.add()
        people.accounts.sign_in("anna", PASSWORD, HOME)
        for number in range(15):  # more than the lock takes, and more than may be tried with one name
            with pytest.raises((SignInRefused, TooManyAttempts)):
                people.accounts.sign_in("anna", "wrong", f"203.0.113.{number}")
        with pytest.raises(TooManyAttempts):
            people.accounts.sign_in("anna", PASSWORD, "198.51.100.7")
        people.now += 29
        with pytest.raises(SignInRefused):
            people.accounts.sign_in("anna", PASSWORD, "198.51.100.7")
        people.accounts.sign_in("anna", PASSWORD, HOME)
        for _ in range(5):
            refused(people, password="wrong")
        refused(people)  # whoever guesses from there is locked out as well
        people.now += 30
        people.accounts.sign_in("anna", PASSWORD, HOME)


def test_guesses_at_once_are_not_more_than_guesses_in_turn(people: People) -> None:
    people.add()
    right = []

    class Counted(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:
            right.append(hash)
            return super().verify(hash, password)

    people.passwords._hasher = Counted(1, 64, 1)
    [account] = people.accounts.everybody()
    start = threading.Barrier(12)

    def guess(_: int) -> None:
        start.wait(30)
        refused(people, password="wrong")

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(guess, range(12)))
    assert right.count(account.password_hash) == 5


def test_attempts_are_limited_by_address_and_by_name(database_url: str) -> None:
    with people_of(database_url, attempts_per_address=4, attempts_per_name=2) as people:
        people.add()
        for name in ("anna", "anna", "nobody", "nobody"):  # whether there is such an account or not
            refused(people, name, "wrong")
        for name, address in (("ANNA", "192.0.2.9"), ("nobody", "192.0.2.9"), ("other", HOME)):
            with pytest.raises(TooManyAttempts) as error:
                people.accounts.sign_in(name, PASSWORD, address)
        assert 0 < error.value.wait_s <= 15
        people.now += 30
        people.accounts.sign_in("anna", PASSWORD, HOME)


def test_a_sign_in_ends_when_it_is_not_used_and_at_last_in_any_case(people: People) -> None:
    people.add()
    session = people.session()
    begun = people.now
    for _ in range(21):
        people.now += people.options.idle_s - 1
        assert people.accounts.person_of(session)
    people.now = begun + people.options.max_s - 1
    assert people.accounts.person_of(session)
    people.now += 1
    assert people.accounts.person_of(session) is None
    unused = people.session()
    people.now += people.options.idle_s
    assert people.accounts.person_of(unused) is None


def test_that_a_sign_in_is_used_is_written_once_a_minute(people: People) -> None:
    people.add()
    session = people.session()
    begun = people.now

    def seen() -> float:
        with people.store.reading() as rows:
            sign_in = rows.sign_in(hashed(session))
        assert sign_in is not None
        return sign_in.seen_at

    people.now += 59
    assert people.accounts.person_of(session)
    assert seen() == begun
    people.now += 1
    assert people.accounts.person_of(session)
    assert seen() == people.now


def test_sign_ins_that_have_expired_are_forgotten(people: People) -> None:
    people.add()
    for _ in range(5):
        people.session()
    people.now += people.options.max_s + 1
    people.session()
    assert len(read_rows(people.url, "sign_ins")) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda accounts: accounts.set_role("anna", Role.OPERATOR, ROOT),
        lambda accounts: accounts.set_cameras("ANNA", ["gate"], ROOT),
        lambda accounts: accounts.set_password("anna", OTHER, ROOT, must_change=True),
        lambda accounts: accounts.disable("anna", ROOT),
    ],
    ids=["role", "cameras", "password", "closed"],
)
def test_a_change_of_the_account_ends_its_sign_ins(people: People, change: Callable[..., None]) -> None:
    people.add()
    people.add("Berta")
    session, bertas = people.session(), people.session("berta")
    with people_of(people.url) as elsewhere:
        change(elsewhere.accounts)  # by another program
    assert people.accounts.person_of(session) is None
    assert people.accounts.person_of(bertas)
    assert people.audit()[-1].action == "change_account"
    assert not any(secret in str(people.audit()) for secret in (OTHER, "argon2"))
    ended = {row["account"]: row["ended_at"] is not None for row in read_rows(people.url, "sign_ins")}
    assert ended == {"anna": True, "berta": False}
    people.accounts.enable("anna", ROOT)
    assert people.accounts.person_of(session) is None  # what has ended stays so


def test_a_change_while_somebody_signs_in_holds_for_that_sign_in(people: People) -> None:
    people.add(role=Role.OPERATOR)

    class Slow(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:
            people.accounts.set_role("anna", Role.VIEWER, ROOT)
            return super().verify(hash, password)

    people.passwords._hasher = Slow(1, 64, 1)
    session = people.accounts.sign_in("anna", PASSWORD, HOME).session
    assert people.accounts.person_of(session) is None


def test_an_account_that_is_closed_in_whatever_way_is_nobodys(people: People) -> None:
    people.add()
    session = people.session()
    with people.store.writing() as rows:
        rows.change_account("anna", enabled=False)
    assert people.accounts.person_of(session) is None


def test_who_has_signed_out_is_not_known_while_the_database_is_away(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.add()
    stays, leaves = people.session(), people.session()
    token = people.tokens.create("one", Role.VIEWER, ROOT, days=1)
    for session in (stays, leaves):
        assert people.accounts.person_of(session)
    assert people.tokens.person_of(token)

    def away() -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(people.store, "reading", away)
    assert people.accounts.person_of(stays)
    assert people.tokens.person_of(token)
    monkeypatch.setattr(people.store, "writing", away)
    with pytest.raises(StoreUnavailable):
        people.accounts.sign_out(leaves)
    with pytest.raises(StoreUnavailable):
        people.accounts.person_of(leaves)
    assert people.accounts.person_of(stays)


def test_an_account_that_expires_ends_with_its_sign_ins(people: People) -> None:
    people.add(expires_at=people.now + DAY_S)
    signed_in = people.accounts.sign_in("anna", PASSWORD, HOME)
    assert signed_in.expires_at == people.now + DAY_S
    people.now += DAY_S
    assert people.accounts.person_of(signed_in.session) is None
    refused(people)
    people.accounts.enable("anna", ROOT, expires_at=people.now + DAY_S)
    people.accounts.sign_in("anna", PASSWORD, HOME)


def test_a_password_that_must_be_changed_is_and_every_sign_in_ends(people: People) -> None:
    people.add(must_change=True)
    session, other = people.session(), people.session()
    person = people.accounts.person_of(session)
    assert allowed(person, Right.CHANGE_PASSWORD)
    assert not allowed(person, Right.SEE_LIVE, "gate")
    for new, error in ((PASSWORD, AccessError), ("short", AccessError), ("ANNA", AccessError)):
        with pytest.raises(error):
            people.accounts.change_password(session, PASSWORD, new, HOME)
    with pytest.raises(SignInRefused):
        people.accounts.change_password(session, "wrong", OTHER, HOME)
    signed_in = people.accounts.change_password(session, PASSWORD, OTHER, HOME)
    assert allowed(people.accounts.person_of(signed_in.session), Right.SEE_LIVE, "gate")
    assert [people.accounts.person_of(old) for old in (session, other)] == [None, None]
    refused(people, password=PASSWORD)
    with pytest.raises(SignInRefused):
        people.accounts.change_password(session, OTHER, PASSWORD, HOME)


def test_who_guesses_the_password_of_an_open_session_is_locked_out_too(people: People) -> None:
    people.add()
    session = people.session()
    for _ in range(6):
        with pytest.raises(SignInRefused):
            people.accounts.change_password(session, "wrong", OTHER, HOME)
    refused(people)


def test_a_hash_of_other_parameters_is_made_anew(people: People) -> None:
    people.add()
    [before] = people.accounts.everybody()
    session = people.session()
    people.passwords._hasher = PasswordHasher(time_cost=2, memory_cost=64, parallelism=1)
    people.session()
    [after] = people.accounts.everybody()
    assert "t=1" in before.password_hash
    assert "t=2" in after.password_hash
    assert people.accounts.person_of(session)  # the password is the same
    people.session()
    assert people.accounts.everybody() == [after]


def test_a_password_that_is_changed_while_its_hash_is_made_anew_stays(people: People) -> None:
    people.add()

    class Slow(PasswordHasher):
        def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
            people.passwords._hasher = PasswordHasher(2, 64, 1)
            people.accounts.set_password("anna", OTHER, ROOT, must_change=False)
            return super().hash(password, salt=salt)

    people.passwords._hasher = Slow(2, 64, 1)
    people.session()
    refused(people)
    people.accounts.sign_in("anna", OTHER, HOME)


def test_names_are_one_in_any_capitals_and_only_names(people: People) -> None:
    people.add("Jürgen")
    for name in ("jürgen", "JÜRGEN", "Ju\u0308rgen"):
        with pytest.raises(AccessError, match="already"):
            people.add(name)
        people.accounts.sign_in(name, PASSWORD, HOME)
    for name in ("", " ", "a b", "-a", "a\nb", "a\x00", "x" * 65, "a/b", "<b>", "\ud800"):
        with pytest.raises(AccessError, match="a name is"):
            people.add(name)
    people.add("अनिता")
    people.accounts.sign_in("अनिता", PASSWORD, HOME)
    people.add("İ")  # its small letter is two characters
    people.accounts.sign_in("İ", PASSWORD, HOME)
    people.add("ﬃ" * 21)  # NFKC makes three letters of each
    people.add("\u0390" * 64)  # and small letters of one like this are three


@given(st.text(max_size=20))
def test_folding_twice_is_folding_once(name: str) -> None:
    assert folded(folded(name)) == folded(name)
    assert folded(name.upper()) == folded(name.upper().casefold())


def test_the_last_admin_stays(people: People) -> None:
    people.add("Root", Role.ADMIN)
    people.add("Expired", Role.ADMIN, expires_at=people.now)
    for change in (
        lambda: people.accounts.set_role("root", Role.ENGINEER, ROOT),
        lambda: people.accounts.disable("root", ROOT),
        lambda: people.accounts.enable("root", ROOT, expires_at=people.now),
    ):
        with pytest.raises(AccessError, match="last admin"):
            change()
    people.accounts.set_password("root", OTHER, ROOT, must_change=False)
    people.add("Second", Role.ADMIN)
    people.accounts.disable("root", ROOT)


def test_of_an_account_that_is_not_there(people: People) -> None:
    for change in (
        lambda: people.accounts.disable("nobody", ROOT),
        lambda: people.accounts.set_role("nobody", Role.ADMIN, ROOT),
        lambda: people.accounts.set_password("nobody", PASSWORD, ROOT, must_change=False),
    ):
        with pytest.raises(AccessError, match="no account 'nobody'"):
            change()


# -- links --------------------------------------------------------------------------------------------


def test_the_set_up_link_makes_the_first_admin_once(people: People) -> None:
    link = people.accounts.make_set_up_link()
    assert link is not None
    for wrong in ("", link[:-1], hashed(link)):
        with pytest.raises(SignInRefused):
            people.accounts.set_up(wrong, "Root", PASSWORD, HOME)
    with pytest.raises(AccessError, match="12 to"):
        people.accounts.set_up(link, "Root", "short", HOME)
    signed_in = people.accounts.set_up(link, "Root", PASSWORD, HOME)
    assert allowed(people.accounts.person_of(signed_in.session), Right.MANAGE_PEOPLE)
    with pytest.raises(SignInRefused):
        people.accounts.set_up(link, "Second", PASSWORD, HOME)
    assert people.accounts.make_set_up_link() is None
    assert [(entry.action, entry.how) for entry in people.audit()] == [
        ("set_up", "link"),
        ("sign_in", "link"),
    ]
    assert link not in str(read_rows(people.url, "one_time_links"))


def test_a_set_up_link_ends_with_the_next_one_with_time_and_with_an_account(people: People) -> None:
    first, second = people.accounts.make_set_up_link(), people.accounts.make_set_up_link()
    assert first
    assert second
    with pytest.raises(SignInRefused):
        people.accounts.set_up(first, "Root", PASSWORD, HOME)
    people.now += 3600
    with pytest.raises(SignInRefused):
        people.accounts.set_up(second, "Root", PASSWORD, HOME)
    third = people.accounts.make_set_up_link()
    assert third
    people.add()
    with pytest.raises(SignInRefused):
        people.accounts.set_up(third, "Root", PASSWORD, HOME)
    assert [account.name for account in people.accounts.everybody()] == ["Anna"]


def test_of_two_who_set_up_at_once_one_does(people: People) -> None:
    link = people.accounts.make_set_up_link() or ""
    start = threading.Barrier(2)

    def set_up(name: str) -> bool:
        start.wait(30)
        try:
            people.accounts.set_up(link, name, PASSWORD, HOME)
        except SignInRefused:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(set_up, ("one", "two"))) == [False, True]
    assert len(people.accounts.everybody()) == 1


def test_the_demos_link_signs_in_once_and_no_password_does(people: People) -> None:
    link = people.accounts.make_demo_link(Role.ENGINEER)
    signed_in = people.accounts.sign_in_by_link(link, HOME)
    assert signed_in.person == Person("demo", Role.ENGINEER, None, How.LINK)
    assert people.accounts.person_of(signed_in.session) == signed_in.person
    with pytest.raises(SignInRefused):
        people.accounts.sign_in_by_link(link, HOME)
    for password in ("", "demo", "of no account"):
        refused(people, "demo", password)
    again = people.accounts.make_demo_link(Role.ENGINEER)
    people.accounts.sign_in_by_link(again, HOME)
    assert people.accounts.person_of(signed_in.session)


# -- invitations --------------------------------------------------------------------------------------


def test_an_invitation_gives_an_account_its_password_once(people: People) -> None:
    people.accounts.add("Anna", Role.OPERATOR, None, ROOT, cameras=["gate"], must_change=True)
    refused(people, "anna", "")
    link = people.accounts.invite("anna", ROOT)
    for bad in ("short", "ANNA" * 80):
        with pytest.raises(AccessError, match="a password has"):
            people.accounts.accept(link, bad, HOME)  # the link still works
    signed_in = people.accounts.accept(link, PASSWORD, HOME)
    wanted = Person("Anna", Role.OPERATOR, frozenset({"gate"}), How.LINK)
    assert people.accounts.person_of(signed_in.session) == signed_in.person == wanted
    assert people.accounts.sign_in("anna", PASSWORD, HOME).person.name == "Anna"
    for again in (link, "", "forged", people.accounts.make_demo_link(Role.VIEWER)):
        with pytest.raises(SignInRefused, match="no longer works"):
            people.accounts.accept(again, OTHER, HOME)
    assert link not in str(people.audit())
    done = [entry for entry in people.audit() if entry.outcome == "done"]
    assert [(entry.action, entry.target, entry.who) for entry in done][:4] == [
        ("add_account", "Anna", "root"), ("invite", "Anna", "root"),
        ("change_password", "Anna", "Anna"), ("sign_in", "Anna", "Anna"),
    ]  # fmt: skip


def test_a_link_for_a_new_password_leaves_the_old_one_until_it_is_used(people: People) -> None:
    people.add()
    link = people.accounts.invite("anna", ROOT)
    session = people.session()
    people.accounts.accept(link, OTHER, HOME)
    assert people.accounts.person_of(session) is None
    refused(people, "anna", PASSWORD)
    people.accounts.sign_in("anna", OTHER, HOME)


@pytest.mark.parametrize("end", ["time", "another link", "a password", "closing"])
def test_an_invitation_ends(people: People, end: str) -> None:
    people.add()
    people.add("Ben")
    link, of_ben = people.accounts.invite("anna", ROOT), people.accounts.invite("ben", ROOT)
    if end == "time":
        people.now += INVITATION_S
        of_ben = people.accounts.invite("ben", ROOT)
    elif end == "another link":
        people.accounts.invite("anna", ROOT)
    elif end == "a password":
        people.accounts.set_password("anna", OTHER, ROOT, must_change=False)
    else:
        people.accounts.disable("anna", ROOT)
        with pytest.raises(AccessError, match="is closed"):
            people.accounts.invite("anna", ROOT)
        people.accounts.enable("anna", ROOT)
    with pytest.raises(SignInRefused):
        people.accounts.accept(link, OTHER, HOME)
    assert people.accounts.accept(of_ben, OTHER, HOME).person.name == "Ben"


def test_nobody_of_the_identity_provider_is_invited(people: People) -> None:
    people.accounts.admit(identity(), HOME)
    with pytest.raises(AccessError, match="identity provider"):
        people.accounts.invite("anna", ROOT)
    with pytest.raises(AccessError, match="no account"):
        people.accounts.invite("ben", ROOT)


def test_who_can_not_sign_in_yet_is_no_other_admin(people: People) -> None:
    people.add("Root", Role.ADMIN)
    people.accounts.add("Anna", Role.ADMIN, None, ROOT)
    for change in (
        lambda: people.accounts.disable("root", ROOT),
        lambda: people.accounts.set_role("root", Role.VIEWER, ROOT),
    ):
        with pytest.raises(AccessError, match="last admin"):
            change()
    people.accounts.set_cameras("root", ["gate"], ROOT)
    people.accounts.accept(people.accounts.invite("anna", ROOT), PASSWORD, HOME)
    people.accounts.disable("root", ROOT)


# -- signing out everywhere, and who was seen ---------------------------------------------------------


def test_somebody_is_signed_out_everywhere_and_nobody_else(people: People) -> None:
    people.add()
    people.add("Ben")
    mine, other, of_ben = people.session(), people.session(), people.session("Ben")
    people.accounts.end_sign_ins("ANNA", ROOT)
    assert [people.accounts.person_of(session) for session in (mine, other)] == [None, None]
    assert people.accounts.person_of(of_ben)
    assert people.accounts.person_of(people.session())
    last = [entry for entry in people.audit() if entry.action == "sign_out"][-1]
    assert (last.who, last.target, last.detail) == ("root", "Anna", "everywhere")


def test_when_somebody_was_seen_is_known_for_longer_than_the_sign_in_is_kept(people: People) -> None:
    people.add("Änna")
    people.add("Ben")
    assert people.accounts.last_seen() == {}
    session = people.session("Änna")
    began = people.now
    people.now += 120.0
    people.accounts.person_of(session)
    assert people.accounts.last_seen() == {folded("Änna"): began + 120.0}
    people.now += 30 * DAY_S
    people.session("Ben")  # which forgets what has expired
    assert people.accounts.last_seen() == {folded("Änna"): began, "ben": people.now}


def test_an_account_is_no_display(people: People) -> None:
    people.add()
    for change in (
        lambda: people.accounts.add("Ben", Role.DISPLAY, PASSWORD, ROOT),
        lambda: people.accounts.set_role("anna", Role.DISPLAY, ROOT),
    ):
        with pytest.raises(AccessError, match="make a token for a wall display"):
            change()
    with pytest.raises(ValidationError, match="must be one of viewer, operator, engineer, admin"):
        OidcGroup.model_validate({"role": "display"})


# -- the audit ----------------------------------------------------------------------------------------


def test_the_audit_is_searched(people: People) -> None:
    people.add("Anna")
    people.accounts.set_cameras("anna", ["gate_1"], ROOT)
    people.now += DAY_S
    people.session("anna")
    people.accounts.add("Gate", Role.VIEWER, PASSWORD, ROOT)

    def found(**wanted: Any) -> list[tuple[str, str]]:
        with people.store.reading() as rows:
            entries = rows.entries(wanted=AuditFilter(**wanted))
        return [(entry.action, entry.target) for entry in entries]

    everything = [
        ("add_account", "Gate"), ("sign_in", "Anna"), ("change_account", "Anna"), ("add_account", "Anna"),
    ]  # fmt: skip
    assert found() == everything
    assert found(who="ANN") == [("sign_in", "Anna")]
    assert found(action="add_account") == [everything[0], everything[3]]
    assert found(about="GATE") == [everything[0], everything[2]]
    assert found(about="gate_") == [everything[2]], "what is looked for is no pattern"
    assert found(start=people.now - 3600) == everything[:2]
    assert found(end=people.now - 3600) == everything[2:]
    assert found(who="root", about="anna", action="change_account") == [everything[2]]
    assert found(who="%") == []


# -- people of an identity provider -------------------------------------------------------------------


def identity(role: Role = Role.OPERATOR, name: str = "Anna", subject: str = "https://idp 1") -> OidcIdentity:
    return OidcIdentity(subject, name, role, frozenset({"gate"}))


def test_an_account_follows_the_identity_provider(people: People) -> None:
    first = people.accounts.admit(identity(), HOME)
    wanted = Person("Anna", Role.OPERATOR, frozenset({"gate"}), How.OIDC)
    assert people.accounts.person_of(first.session) == wanted
    second = people.accounts.admit(identity(name="Anna Maria"), HOME)  # the subject says who it is
    assert second.person == people.accounts.person_of(first.session) == wanted
    third = people.accounts.admit(identity(Role.VIEWER), HOME)
    assert third.person.role is Role.VIEWER
    assert people.accounts.person_of(first.session) is None  # it was an operator's
    refused(people, "anna", "")
    with pytest.raises(AccessError, match="identity provider"):
        people.accounts.set_role("anna", Role.ADMIN, ROOT)
    with pytest.raises(AccessError, match="identity provider"):
        people.accounts.set_password("anna", PASSWORD, ROOT, must_change=False)


def test_somebody_of_the_identity_provider_is_never_a_local_account(people: People) -> None:
    people.add(role=Role.ADMIN)
    one = people.accounts.admit(identity(), HOME)
    two = people.accounts.admit(identity(subject="https://idp 2"), HOME)
    names = {one.person.name, two.person.name}
    assert len(names) == 2
    assert all(name.startswith("Anna ") for name in names)
    assert one.person.role is Role.OPERATOR
    assert people.accounts.sign_in("anna", PASSWORD, HOME).person.role is Role.ADMIN


def test_somebody_of_the_identity_provider_can_be_kept_out(people: People) -> None:
    signed_in = people.accounts.admit(identity(), HOME)
    people.accounts.disable("anna", ROOT)
    assert people.accounts.person_of(signed_in.session) is None
    with pytest.raises(SignInRefused, match="closed"):
        people.accounts.admit(identity(Role.ADMIN), HOME)
    assert people.audit()[-1].outcome == "refused"
    people.accounts.enable("anna", ROOT)
    people.accounts.admit(identity(), HOME)


# -- the database -------------------------------------------------------------------------------------


def test_no_password_and_no_secret_is_in_the_database(people: People) -> None:
    people.add()
    sessions = [people.session(), people.accounts.make_demo_link(Role.VIEWER)]
    tables = ("accounts", "sign_ins", "tokens", "one_time_links", "audit")
    text = str([read_rows(people.url, table) for table in tables])
    assert not any(secret in text for secret in (PASSWORD, *sessions))


def test_what_is_refused_changes_nothing(people: People) -> None:
    people.add()
    with pytest.raises(RuntimeError), people.store.writing() as rows:
        rows.change_account("anna", enabled=False)
        raise RuntimeError
    [account] = people.accounts.everybody()
    assert account.enabled


def test_while_the_database_is_away_nobody_is_anybody() -> None:
    store = AccessStore("postgresql://nobody@127.0.0.1:1/none", timeout_s=1.0)
    with pytest.raises(StoreUnavailable), store.reading():
        pass
    with pytest.raises(StoreUnavailable), store.writing():
        pass


@pytest.mark.fault(20)
def test_a_postgres_that_hangs_holds_nobody_for_long(postgres: Postgres) -> None:
    url = postgres.new_database()
    open_access_store(url).close()
    store = AccessStore(url, timeout_s=1.0)

    def ask(within: Callable[[], AbstractContextManager[AccessRows]]) -> bool:
        try:
            with within() as rows:
                rows.accounts()
        except StoreUnavailable:
            return False
        return True

    both = [store.reading, store.writing]
    assert all(map(ask, both))
    server = psutil.Process(postgres.pid)
    family = [*server.children(recursive=True), server]
    for process in family:
        process.send_signal(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert not any(pool.map(ask, both * 2))
    finally:
        for process in family:
            process.send_signal(signal.SIGCONT)
    until(lambda: all(map(ask, both)))
    store.close()


def test_a_database_of_another_kind_is_refused_with_what_to_do(tmp_path: object) -> None:
    with pytest.raises(StoreError, match="sqlite:///FILE or postgresql"):
        open_access_store("mysql://nobody@127.0.0.1/none")


def test_a_caller_from_nowhere_is_kept_as_such(people: People) -> None:
    people.accounts.add("Berta", Role.VIEWER, PASSWORD, Caller(None, "x" * 1000))
    [entry] = people.audit()
    assert (entry.who, entry.how, entry.address) == ("", "", "x" * 64)
