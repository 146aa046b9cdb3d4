"""Accounts in a database of the test's own, with cheap hashes and a clock that the test sets."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from argon2 import PasswordHasher

from sightline.access.accounts import Accounts
from sightline.access.passwords import Passwords
from sightline.access.rights import Caller, How, Person
from sightline.access.tokens import Tokens
from sightline.config.access_options import AccessOptions
from sightline.entities import Role
from sightline.store.access_store import AccessStore, AuditEntry, open_access_store

CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
ROOT = Caller(Person("root", Role.ADMIN, None, How.COMMAND_LINE))
PASSWORD = "four words in a row"
HOME = "192.0.2.1"


@dataclass
class People:
    """What asks for people, and the time it is."""

    url: str
    store: AccessStore
    options: AccessOptions
    now: float = 1_800_000_000.0
    passwords: Passwords = field(default_factory=lambda: Passwords(CHEAP))

    def __post_init__(self) -> None:
        self.accounts = Accounts(
            self.store, self.options, self.passwords, clock=lambda: self.now, monotonic=lambda: self.now
        )
        self.tokens = Tokens(self.store, clock=lambda: self.now)

    def add(self, name: str = "Anna", role: Role = Role.VIEWER, **more: Any) -> None:
        self.accounts.add(name, role, PASSWORD, ROOT, **more)

    def session(self, name: str = "Anna") -> str:
        """Of a new sign-in; attempts are not what the test is about."""
        self.now += 60.0
        return self.accounts.sign_in(name, PASSWORD, HOME).session

    def audit(self) -> list[AuditEntry]:
        """What was done, the first first."""
        with self.store.reading() as rows:
            return rows.entries()[::-1]


@contextmanager
def people_of(url: str, **options: Any) -> Iterator[People]:
    """The people of a new database."""
    store = open_access_store(url)
    try:
        yield People(url, store, AccessOptions.model_validate(options))
    finally:
        store.close()
