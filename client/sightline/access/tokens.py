"""Tokens: how programs show who they are."""

import secrets
import time
from collections.abc import Callable, Collection
from contextlib import suppress

from sightline.access.accounts import SEEN_EVERY_S, hashed
from sightline.access.audit import Action, record
from sightline.access.last_known import LastKnown
from sightline.access.rights import Caller, How, Person
from sightline.entities import Role
from sightline.errors import AccessError, SignInRefused, StoreUnavailable
from sightline.store.access_store import AccessStore, ApiToken

PREFIX = "slt_"
DAY_S = 86_400.0
MAX_NAME = 64  # characters


class Tokens:
    """Makes, finds and revokes tokens; any thread may ask.

    Args:
        store: the rows.
        clock: UTC epoch seconds.

    Raises:
        StoreUnavailable: by every method: the database is locked or away.
    """

    def __init__(self, store: AccessStore, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._last_known = LastKnown(clock)

    def create(
        self, name: str, role: Role, by: Caller, *, days: float, cameras: Collection[str] | None = None
    ) -> str:
        """A new token, which is kept nowhere.

        Raises:
            AccessError: the name will not do, or a token of it is in use.
        """
        if not name.isprintable() or not 0 < len(name) <= MAX_NAME:
            raise AccessError(f"a token's name is 1 to {MAX_NAME} characters")
        now, secret = self._clock(), PREFIX + secrets.token_urlsafe(32)
        token = ApiToken(
            token_id=secrets.token_hex(4),
            name=name,
            token_hash=hashed(secret),
            role=role,
            cameras=None if cameras is None else frozenset(cameras),
            created_by=by.name,
            created_at=now,
            expires_at=now + days * DAY_S,
        )
        with self._store.writing() as rows:
            if any(_works(other, now) and other.name == name for other in rows.tokens()):
                raise AccessError(f"there is a token {name!r}; revoke it first, or choose another name")
            rows.add_token(token)
            seen = "all cameras" if cameras is None else ", ".join(sorted(cameras)) or "no camera"
            record(rows, Action.CREATE_TOKEN, name, by, now, detail=f"{role}; {seen}; {days:g} days")
        return secret

    def person_of(self, secret: str) -> Person | None:
        """Whose token it is; None: nobody's, or it has expired or been revoked."""
        if not secret.startswith(PREFIX):
            return None
        return self._last_known.ask(hashed(secret), lambda: self._find(secret))

    def admit(self, secret: str, address: str) -> Person:
        """Which wall display a browser is from now on that shows this token.

        Raises:
            SignInRefused: it is no display's, or works no longer.
        """
        person = self.person_of(secret)
        if person is None or person.role is not Role.DISPLAY:
            raise SignInRefused("this link no longer works; ask an admin for another one")
        with self._store.writing() as rows:
            record(rows, Action.SIGN_IN, person.name, Caller(person, address), self._clock())
        return person

    def _find(self, secret: str) -> Person | None:
        now = self._clock()
        with self._store.reading() as rows:
            token = rows.token(hashed(secret))
        if token is None or not _works(token, now):
            return None
        if now - (token.used_at or 0.0) >= SEEN_EVERY_S:
            with suppress(StoreUnavailable), self._store.writing() as rows:  # the next request does it
                rows.change_token(token.token_id, used_at=now)
        return Person(f"token {token.name}", token.role, token.cameras, How.TOKEN)

    def all_tokens(self) -> list[ApiToken]:
        """All there are, the oldest first, without what they are."""
        with self._store.reading() as rows:
            return rows.tokens()

    def revoke(self, name: str, by: Caller) -> None:
        """End a token, by its name or id.

        Raises:
            AccessError: there is none that works.
        """
        now = self._clock()
        with self._store.writing() as rows:
            tokens = [token for token in rows.tokens() if name in {token.name, token.token_id}]
            token = next((token for token in tokens if _works(token, now)), None)
            if token is None:
                raise AccessError(f"there is no token {name!r} that works")
            rows.change_token(token.token_id, revoked_at=now)
            record(rows, Action.REVOKE_TOKEN, token.name, by, now)


def _works(token: ApiToken, now: float) -> bool:
    return token.revoked_at is None and now < token.expires_at
