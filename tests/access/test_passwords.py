"""Passwords: the rule, the hashes, and how much work they make."""

from __future__ import annotations

import threading

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.access.passwords import MAX_LENGTH, MIN_LENGTH, Passwords, require_good
from sightline.errors import AccessError, TooManyAttempts
from support.people import CHEAP

PASSWORDS = Passwords(CHEAP)


def test_hashes_are_argon2id_with_the_stated_parameters() -> None:
    parameters = extract_parameters(Passwords().hash("four words in a row"))
    assert parameters.type is Type.ID
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (65_536, 2, 1)


@settings(max_examples=30)
@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_only_the_same_password_opens(password: str, other: str) -> None:
    hashed = PASSWORDS.hash(password)
    assert PASSWORDS.verify(hashed, password)
    assert hashed != PASSWORDS.hash(password)
    if password.isascii() and other.isascii():
        assert PASSWORDS.verify(hashed, other) == (password == other)


def test_keyboards_that_compose_letters_differently_type_the_same() -> None:
    assert PASSWORDS.verify(PASSWORDS.hash("ein Schlüssel mit ü"), "ein Schlu\u0308ssel mit u\u0308")


def test_no_hash_is_never_opened() -> None:
    assert not PASSWORDS.verify("", "of no account")
    assert not PASSWORDS.verify("", "")


def test_what_is_too_long_is_not_cut_to_what_fits() -> None:
    longest = "a" * MAX_LENGTH
    hashed = PASSWORDS.hash(longest)
    assert PASSWORDS.verify(hashed, longest)
    assert not PASSWORDS.verify(hashed, longest + "b")


def test_hashes_of_other_parameters_are_outdated() -> None:
    assert not PASSWORDS.is_outdated(PASSWORDS.hash("four words in a row"))
    assert PASSWORDS.is_outdated(PasswordHasher(time_cost=2, memory_cost=64, parallelism=1).hash("x"))


def test_a_length_is_the_only_rule_but_for_the_name() -> None:
    for good in ("a" * MIN_LENGTH, "            ", "四つの単語を並べたものです。"):
        require_good(good, "anna")
    for bad in ("", "a" * (MIN_LENGTH - 1), "a" * (MAX_LENGTH + 1), "Anna@Example.Org"):
        with pytest.raises(AccessError):
            require_good(bad, "anna@example.org")


class WaitingHasher(PasswordHasher):
    """Hashes only once it may."""

    def __init__(self) -> None:
        super().__init__(1, 64, 1)
        self.may, self.busy = threading.Event(), threading.Semaphore(0)

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:
        self.busy.release()
        assert self.may.wait(30)
        return True


def test_no_more_than_two_hashes_are_computed_at_once() -> None:
    hasher = WaitingHasher()
    passwords = Passwords(hasher, wait_s=0.01)
    threads = [threading.Thread(target=passwords.verify, args=("hash", "password")) for _ in range(2)]
    for thread in threads:
        thread.start()
        assert hasher.busy.acquire(timeout=30)
    with pytest.raises(TooManyAttempts):
        passwords.verify("hash", "password")
    hasher.may.set()
    for thread in threads:
        thread.join()
    assert passwords.verify("hash", "password")
