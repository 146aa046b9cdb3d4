"""Accounts: who signs in, for how long, and what ends it.

Every question is answered from the database, so what another program changes holds at once: a sign-in is
one of a state of its account, and ends with the next change of role, cameras, password or standing.
"""

import hashlib
import secrets
import time
import unicodedata
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from sightline.access.attempts import AttemptLimit, FailureLocks, network_of
from sightline.access.audit import Action, record
from sightline.access.last_known import LastKnown
from sightline.access.passwords import Passwords, require_good
from sightline.access.rights import Caller, How, Person
from sightline.config.access_options import AccessOptions
from sightline.entities import PERSON_ROLES, Role
from sightline.errors import AccessError, SignInRefused, StoreUnavailable, TooManyAttempts
from sightline.store.access_store import AccessRows, AccessStore, Account, SignIn

SEEN_EVERY_S = 60.0  # so often it is written that a sign-in is in use
SET_UP_LINK_S = 3600.0
DEMO_LINK_S = 12 * 3600.0
INVITATION_S = 3 * 86_400.0
DEMO = "demo"
_INVITATION = "invitation"
_SET_UP = "set-up"
MAX_NAME = 64  # characters
_REFUSED = "name or password are wrong, or the account is closed or locked for a while"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A sign-in as the one who signs in gets it."""

    person: Person
    session: str  # the secret that stands for it; kept nowhere here
    expires_at: float  # UTC epoch seconds


@dataclass(frozen=True, slots=True)
class OidcIdentity:
    """Somebody whom the identity provider knows, with what the groups give."""

    subject: str  # unique and fixed: the issuer and its name for the person
    name: str
    role: Role
    cameras: frozenset[str] | None


class Accounts:
    """People, and their sign-ins; any thread may ask.

    Args:
        store: the rows.
        options: how long, how often.
        passwords: makes and compares hashes.
        clock: UTC epoch seconds.
        monotonic: seconds by which attempts are counted.

    Raises:
        StoreUnavailable: by every method: the database is locked or away.
    """

    def __init__(
        self,
        store: AccessStore,
        options: AccessOptions,
        passwords: Passwords,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._passwords = store, passwords
        self._clock, self._monotonic = clock, monotonic
        self._last_known = LastKnown(clock)
        self._of_networks = FailureLocks()
        self.update(options)

    def update(self, options: AccessOptions) -> None:
        """Go by other options from now on; attempts are counted anew."""
        self._options = options
        self._by_address = AttemptLimit(options.attempts_per_address, self._monotonic)
        self._by_name = AttemptLimit(options.attempts_per_name, self._monotonic)

    # -- signing in and out ---------------------------------------------------------------------------

    def sign_in(self, name: str, password: str, address: str) -> SignedIn:
        """Sign somebody in by name and password.

        Raises:
            SignInRefused: not so; which of name and password is wrong is not told.
            TooManyAttempts: of this address, or with this name.
        """
        account = self._verified(name, password, Caller(None, address), Action.SIGN_IN)
        with self._store.writing() as rows:
            return self._begin(rows, account, How.PASSWORD, address)

    def sign_out(self, session: str, address: str = "") -> None:
        """End a sign-in; one that has ended already stays so."""
        person = self.person_of(session)
        self._last_known.forget(hashed(session))
        with self._store.writing() as rows:
            rows.end_sign_ins(self._clock(), session_hash=hashed(session))
            if person:
                record(rows, Action.SIGN_OUT, person.name, Caller(person, address), self._clock())

    def person_of(self, session: str) -> Person | None:
        """Who is signed in there; None: nobody any more.

        What stays open for long, as a WebSocket, asks again every few seconds.
        """
        return self._last_known.ask(hashed(session), lambda: self._find(session))

    def _find(self, session: str) -> Person | None:
        now = self._clock()
        with self._store.reading() as rows:
            sign_in = rows.sign_in(hashed(session))
            account = rows.account(sign_in.account) if sign_in else None
        if sign_in is None or account is None or not self._holds(sign_in, account, now):
            return None
        if now - sign_in.seen_at >= SEEN_EVERY_S:
            with suppress(StoreUnavailable), self._store.writing() as rows:  # the next request does it
                rows.see(sign_in.session_hash, now)
        return _person(account, How(sign_in.how))

    def change_password(self, session: str, password: str, new: str, address: str) -> SignedIn:
        """Give oneself another password; every sign-in of the account ends, and a new one begins.

        Raises:
            SignInRefused: the old password is wrong, or the sign-in has ended.
            AccessError: the new one will not do.
        """
        person = self.person_of(session)
        if person is None:
            raise SignInRefused("sign in first")
        require_good(new, person.name)
        caller = Caller(person, address)
        key = self._verified(person.name, password, caller, Action.CHANGE_PASSWORD).account
        if new == password:
            raise AccessError("the new password is the old one; choose another")
        new_hash = self._passwords.hash(new)
        with self._store.writing() as rows:
            account = self._change(rows, key, password_hash=new_hash, must_change=False)
            record(rows, Action.CHANGE_PASSWORD, account.name, caller, self._clock())
            return self._begin(rows, account, How.PASSWORD, address)

    def admit(self, identity: OidcIdentity, address: str) -> SignedIn:
        """Sign somebody in whom the identity provider knows.

        The account follows the provider; it is made at the first time, and can be disabled here.

        Raises:
            SignInRefused: the account is disabled.
        """
        with self._store.writing() as rows:
            account = rows.account_of(identity.subject) or self._first_time(rows, identity)
            if (account.role, account.cameras) != (identity.role, identity.cameras):
                key, cameras = account.account, identity.cameras
                account = self._change(rows, key, role=identity.role, cameras=cameras)
            if self._usable(account, self._clock()):
                return self._begin(rows, account, How.OIDC, address)
            caller = Caller(None, address)
            record(rows, Action.SIGN_IN, account.name, caller, self._clock(), refused=True)
        raise SignInRefused("this account is closed; ask an administrator")

    # -- links ----------------------------------------------------------------------------------------

    def make_set_up_link(self) -> str | None:
        """The secret of a link that makes the first account; None: there is one already."""
        now, link = self._clock(), secrets.token_urlsafe(32)
        with self._store.writing() as rows:
            if rows.accounts():
                return None
            rows.add_link(hashed(link), _SET_UP, now, now + SET_UP_LINK_S, "")
        return link

    def set_up(self, link: str, name: str, password: str, address: str) -> SignedIn:
        """Make the first account, an admin's, and sign it in.

        Raises:
            SignInRefused: the link has been used, has expired or is none.
            AccessError: name or password will not do; the link still works.
        """
        self._take_attempt(self._by_address, network_of(address))
        require_good(password, name)
        account = self._new(name, Role.ADMIN, password=password)
        with self._store.writing() as rows:
            if rows.take_link(hashed(link), _SET_UP, self._clock()) is None or rows.accounts():
                raise SignInRefused("this link no longer works; start Sightline anew for another one")
            rows.add_account(account)
            caller = Caller(_person(account, How.LINK), address)
            record(rows, Action.SET_UP, account.name, caller, self._clock())
            return self._begin(rows, account, How.LINK, address)

    def make_demo_link(self, role: Role) -> str:
        """The secret of a link that signs in, once, as an account ``demo`` that has no password."""
        now, link = self._clock(), secrets.token_urlsafe(32)
        with self._store.writing() as rows:
            rows.add_account(self._new(DEMO, role))
            rows.add_link(hashed(link), DEMO, now, now + DEMO_LINK_S, DEMO)
        return link

    def sign_in_by_link(self, link: str, address: str) -> SignedIn:
        """Sign in by the demo's link.

        Raises:
            SignInRefused: it has been used, has expired or is none.
            TooManyAttempts: of this address.
        """
        self._take_attempt(self._by_address, network_of(address))
        with self._store.writing() as rows:
            name = rows.take_link(hashed(link), DEMO, self._clock())
            account = rows.account(name) if name else None
            if account is None or not self._usable(account, self._clock()):
                raise SignInRefused("this link no longer works; start the demo anew for another one")
            return self._begin(rows, account, How.LINK, address)

    def invite(self, name: str, by: Caller) -> str:
        """The secret of a link by which somebody gives their account a password, once, within three days.

        Until then the account stays as it is; an earlier link of it no longer works.

        Raises:
            AccessError: there is no such account, it is closed, or the identity provider's.
        """
        now, link = self._clock(), secrets.token_urlsafe(32)
        with self._store.writing() as rows:
            account = _local(rows, name)
            if not self._usable(account, now):
                raise AccessError(f"{account.name!r} is closed; open it first")
            rows.add_link(hashed(link), _INVITATION, now, now + INVITATION_S, account.account)
            record(rows, Action.INVITE, account.name, by, now)
        return link

    def accept(self, link: str, password: str, address: str) -> SignedIn:
        """Give the account of an invitation a password, and sign in there.

        Raises:
            SignInRefused: the link has been used, has expired or is none.
            AccessError: the password will not do; the link still works.
            TooManyAttempts: of this address.
        """
        self._take_attempt(self._by_address, network_of(address))
        with self._store.reading() as rows:
            key = rows.link_account(hashed(link), _INVITATION, self._clock())
            account = rows.account(key) if key else None
        if account is not None:
            require_good(password, account.name)
            new_hash = self._passwords.hash(password)  # takes long, so it is made outside of the transaction
            with self._store.writing() as rows:
                taken = rows.take_link(hashed(link), _INVITATION, self._clock())
                if taken == account.account and self._usable(account, self._clock()):
                    values = {"password_hash": new_hash, "must_change": False}
                    account = self._change(rows, taken, **values, failures=0, locked_until=None)
                    caller = Caller(_person(account, How.LINK), address)
                    record(rows, Action.CHANGE_PASSWORD, account.name, caller, self._clock())
                    return self._begin(rows, account, How.LINK, address)
        raise SignInRefused("this link no longer works; ask an admin for another one")

    # -- managing people ------------------------------------------------------------------------------

    def everybody(self) -> list[Account]:
        """All accounts, by name."""
        with self._store.reading() as rows:
            return rows.accounts()

    def find(self, name: str) -> Account:
        """One by its name.

        Raises:
            AccessError: there is none.
        """
        with self._store.reading() as rows:
            account = rows.account(folded(name))
        if account is None:
            raise AccessError(f"there is no account {name!r}")
        return account

    def add(
        self,
        name: str,
        role: Role,
        password: str | None,
        by: Caller,
        *,
        cameras: Collection[str] | None = None,
        expires_at: float | None = None,
        must_change: bool = False,
    ) -> Account:
        """Make an account; without a password it waits for an invitation.

        Raises:
            AccessError: name or password will not do, or there is such an account.
        """
        if password is not None:
            require_good(password, name)
        account = replace(
            self._new(name, role, cameras, password or ""),
            expires_at=expires_at,
            must_change=must_change and password is not None,
        )
        with self._store.writing() as rows:
            if not rows.add_account(account):
                raise AccessError(f"there is an account {account.name!r} already")
            detail = _detail({"role": role, "cameras": account.cameras, "expires_at": expires_at})
            record(rows, Action.ADD_ACCOUNT, account.name, by, self._clock(), detail=detail)
        return account

    def set_password(self, name: str, password: str, by: Caller, *, must_change: bool) -> None:
        """Give an account another password, and unlock it.

        Raises:
            AccessError: it will not do, there is no such account, or it is the identity provider's.
        """
        require_good(password, name)
        values = {"password_hash": self._passwords.hash(password), "must_change": must_change}
        self._manage(name, by, {**values, "failures": 0, "locked_until": None}, local=True)

    def disable(self, name: str, by: Caller) -> None:
        """Close an account."""
        self._manage(name, by, {"enabled": False})

    def enable(self, name: str, by: Caller, *, expires_at: float | None = None) -> None:
        """Open an account, unlocked, until some time; None: for good."""
        unlocked = {"failures": 0, "locked_until": None}
        self._manage(name, by, {"enabled": True, "expires_at": expires_at, **unlocked})

    def set_role(self, name: str, role: Role, by: Caller) -> None:
        """Give an account another role."""
        _require_person_role(role)
        self._manage(name, by, {"role": role}, local=True)

    def set_cameras(self, name: str, cameras: Collection[str] | None, by: Caller) -> None:
        """Let an account see these cameras; None: all."""
        self._manage(name, by, {"cameras": None if cameras is None else frozenset(cameras)}, local=True)

    def end_sign_ins(self, name: str, by: Caller) -> None:
        """Sign somebody out everywhere."""
        with self._store.writing() as rows:
            account = _existing(rows, name)
            rows.end_sign_ins(self._clock(), account=account.account)
            record(rows, Action.SIGN_OUT, account.name, by, self._clock(), detail="everywhere")

    def last_seen(self) -> dict[str, float]:
        """When each account was used last, by what identifies it: as far as is kept, UTC epoch seconds."""
        with self._store.reading() as rows:
            seen = {folded(name): time for name, time in rows.last_entries(Action.SIGN_IN).items()}
            return seen | rows.last_seen()

    def _manage(self, name: str, by: Caller, values: dict[str, Any], *, local: bool = False) -> None:
        """Change an account, unless that would leave nobody to manage accounts."""
        now = self._clock()
        with self._store.writing() as rows:
            account = _local(rows, name) if local else _existing(rows, name)
            changed = self._change(rows, account.account, **values)
            ends = self._is_admin(account, now) and not self._is_admin(changed, now)
            if ends and not any(self._is_admin(item, now) and _has_a_way(item) for item in rows.accounts()):
                raise AccessError(f"{account.name!r} is the last admin; make another one first")
            detail = _detail({key: value for key, value in values.items() if getattr(account, key) != value})
            record(rows, Action.CHANGE_ACCOUNT, account.name, by, now, detail=detail)

    # -- what they share ------------------------------------------------------------------------------

    def _verified(self, name: str, password: str, caller: Caller, action: Action) -> Account:
        """The account whose password it is.

        An attempt counts as failed before it is decided, so that many at once are not more than in turn. A
        network from which the account has been used lately has a count of its own: nobody elsewhere can lock
        its people out.
        """
        key = folded(name) if len(name) <= 4 * MAX_NAME else ""  # four: before it is normal
        network = network_of(caller.address)
        self._take_attempt(self._by_address, network)
        now = self._clock()
        with self._store.writing() as rows:
            account = rows.account(key, lock=True) if _is_name(key) else None
            is_own = account is not None and network in map(network_of, rows.addresses(key))
            own = f"{key} {account.revision if account else 0} {network}"  # which ends when it is unlocked
            self._take_attempt(self._by_name, own if is_own else key)
            if is_own:
                open_now = self._of_networks.take(own, now, self._lock_until)
            else:
                open_now = account is not None and not _is_locked(account, now)
            if account and open_now and not is_own:
                failures = account.failures + 1
                rows.change_account(key, failures=failures, locked_until=self._lock_until(failures, now))
        usable = account is not None and open_now and self._usable(account, now)
        right = self._passwords.verify(account.password_hash if account and usable else "", password)
        with self._store.writing() as rows:
            if not right or account is None:
                target = account.name if account else ""  # what else was typed may be a password
                record(rows, action, target, caller, now, refused=True)
            else:
                values: dict[str, Any] = {"failures": 0, "locked_until": None}
                rows.change_account(key, **values)
                self._of_networks.forget(own)
        if not right or account is None:
            raise SignInRefused(_REFUSED)
        return self._with_new_hash(account, password)

    def _with_new_hash(self, account: Account, password: str) -> Account:
        """The account, its hash made anew where that was made with parameters of before."""
        if not self._passwords.is_outdated(account.password_hash):
            return account
        password_hash = self._passwords.hash(password)
        with self._store.writing() as rows:
            found = rows.account(account.account, lock=True)
            if found is None or found.password_hash != account.password_hash:
                return account  # another password was set meanwhile
            rows.change_account(account.account, password_hash=password_hash)
        return replace(account, password_hash=password_hash)

    def _take_attempt(self, limit: AttemptLimit, key: str) -> None:
        if wait_s := limit.wait_s(key):
            raise TooManyAttempts(wait_s)

    def _lock_until(self, failures: int, now: float) -> float | None:
        options = self._options
        over = failures - options.lock_after
        if over < 0:
            return None
        return now + min(options.max_lock_s, options.lock_s * 2.0 ** min(over, 60))

    def _usable(self, account: Account, now: float) -> bool:
        return account.enabled and (account.expires_at is None or now < account.expires_at)

    def _is_admin(self, account: Account, now: float) -> bool:
        return account.role is Role.ADMIN and self._usable(account, now)

    def _holds(self, sign_in: SignIn, account: Account, now: float) -> bool:
        """Whether a sign-in goes on."""
        return (
            sign_in.ended_at is None
            and now < sign_in.expires_at
            and now - sign_in.seen_at < self._options.idle_s
            and sign_in.revision == account.revision
            and self._usable(account, now)
        )

    def _begin(self, rows: AccessRows, account: Account, how: How, address: str) -> SignedIn:
        """Begin a sign-in."""
        now, session = self._clock(), secrets.token_urlsafe(32)
        expires_at = min(now + self._options.max_s, account.expires_at or float("inf"))
        rows.add_sign_in(
            SignIn(
                session_hash=hashed(session),
                account=account.account,
                revision=account.revision,
                how=how,
                address=address[:64],
                created_at=now,
                seen_at=now,
                expires_at=expires_at,
            )
        )
        person = _person(account, how)
        record(rows, Action.SIGN_IN, account.name, Caller(person, address), now)
        return SignedIn(person, session, expires_at)

    def _change(self, rows: AccessRows, key: str, **values: Any) -> Account:
        """Change an account, which is there; all its sign-ins end."""
        account = rows.account(key, lock=True)
        if account is None:
            raise AccessError(f"there is no account {key!r} any more")
        changed = replace(account, **values, revision=account.revision + 1)
        rows.change_account(key, **values, revision=changed.revision)
        if "password_hash" in values or not changed.enabled:
            rows.drop_links(_INVITATION, key)
        rows.end_sign_ins(self._clock(), account=key)
        return changed

    def _new(
        self, name: str, role: Role, cameras: Collection[str] | None = None, password: str = ""
    ) -> Account:
        name = unicodedata.normalize("NFKC", name)
        if not _is_name(name) or len(name) > MAX_NAME:
            rule = "letters, digits or . _ @ + -, and begins with a letter or digit"
            raise AccessError(f"a name is 1 to {MAX_NAME} {rule}")
        _require_person_role(role)
        return Account(
            account=folded(name),
            name=name,
            role=role,
            cameras=None if cameras is None else frozenset(cameras),
            password_hash=self._passwords.hash(password) if password else "",
            created_at=self._clock(),
        )

    def _first_time(self, rows: AccessRows, identity: OidcIdentity) -> Account:
        """Make the account of somebody of the identity provider, under a name that is free."""
        digest = hashlib.sha256(identity.subject.encode()).hexdigest()[:8]
        for name in (identity.name, f"{identity.name} {digest}"):
            account = Account(
                account=folded(name),
                name=name,
                role=identity.role,
                cameras=identity.cameras,
                subject=identity.subject,
                created_at=self._clock(),
            )
            if rows.add_account(account):
                return account
        raise SignInRefused(f"there is another account {identity.name!r}; ask an administrator")


def _existing(rows: AccessRows, name: str) -> Account:
    """An account, which nobody else changes until the transaction ends."""
    account = rows.account(folded(name), lock=True)
    if account is None:
        raise AccessError(f"there is no account {name!r}")
    return account


def _local(rows: AccessRows, name: str) -> Account:
    """As :func:`_existing`, of one that is not the identity provider's."""
    account = _existing(rows, name)
    if account.subject is not None:
        raise AccessError(f"{account.name!r} follows the identity provider: change its groups there")
    return account


def folded(name: str) -> str:
    """What names that differ in capitals only have in common."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _has_a_way(account: Account) -> bool:
    """Whether somebody can sign in there without a link."""
    return account.password_hash != "" or account.subject is not None


def _require_person_role(role: Role) -> None:
    if role not in PERSON_ROLES:
        raise AccessError(f"{role} is no role of an account; make a token for a wall display")


def _is_name(text: str) -> bool:
    """Whether it may be a local account's: letters, with what belongs to them, digits, and few others."""
    plain = (letter for letter in text if letter not in "._@+-" and unicodedata.category(letter)[0] != "M")
    return text[:1].isalnum() and all(map(str.isalnum, plain))


def hashed(secret: str) -> str:
    """As which a secret of 32 random bytes is stored: nobody guesses those, so nothing slow is needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _is_locked(account: Account, now: float) -> bool:
    return account.locked_until is not None and now < account.locked_until


def _person(account: Account, how: How) -> Person:
    return Person(account.name, account.role, account.cameras, how, account.must_change)


def _detail(values: dict[str, Any]) -> str:
    """What was set, without what must not be read."""
    texts = []
    for key, value in values.items():
        if isinstance(value, frozenset):
            value = ", ".join(sorted(value)) or "none"  # noqa: PLW2901
        texts.append(key if key == "password_hash" else f"{key} {'all' if value is None else value}")
    return "; ".join(texts)
