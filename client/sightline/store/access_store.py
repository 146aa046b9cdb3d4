"""Rows of people, not of results: accounts, sign-ins, tokens, links, who did what, and the configuration.

Each change is one transaction of its own, by whichever program makes it; no lease guards these rows. What
they mean is decided in :mod:`sightline.access`. Times are UTC epoch seconds.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from sightline.entities import Role
from sightline.errors import StoreError, StoreUnavailable
from sightline.store import tables
from sightline.store.database import Store
from sightline.store.dialects import giving_up, make_engine, parse_url, text_of, upsert
from sightline.store.read.readonly import Database, DatabaseState
from sightline.store.tables import UtcDateTime, table_of, with_epochs

_ACCOUNTS, _SIGN_INS, _TOKENS, _LINKS, _AUDIT, _CHANGES = (
    table_of(model)
    for model in (
        tables.AccountRow,
        tables.SignInRow,
        tables.TokenRow,
        tables.OneTimeLinkRow,
        tables.AuditRow,
        tables.ConfigChangeRow,
    )
)
_Entity = TypeVar("_Entity")
MAX_CHANGES = 500  # of the configuration that are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A person."""

    account: str  # the name without its capitals: what identifies the row
    name: str
    role: Role
    cameras: frozenset[str] | None = None  # None: all
    subject: str | None = None  # who it is at the identity provider; None: the account is only here
    password_hash: str = ""  # "": no password opens it
    enabled: bool = True
    must_change: bool = False  # the password, before anything else
    expires_at: float | None = None
    failures: int = 0  # attempts since the last that succeeded
    locked_until: float | None = None
    created_at: float
    revision: int = 1  # rises with each change of what the person may do, or signs in with


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """One sign-in of a person; it ends when the account is another than at that time."""

    session_hash: str
    account: str
    revision: int  # the account's, at that time
    how: str
    address: str
    created_at: float
    seen_at: float
    expires_at: float
    ended_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """A program's key to the API."""

    token_id: str
    name: str
    token_hash: str
    role: Role
    cameras: frozenset[str] | None = None
    created_by: str
    created_at: float
    expires_at: float
    used_at: float | None = None
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what, from where, and what came of it."""

    entry_id: int | None = None  # rises; None: not yet kept
    time: float
    who: str
    how: str
    address: str
    action: str
    target: str
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries of the audit are wanted; by default all."""

    who: str = ""  # stands in the name, in any capitals
    action: str = ""
    about: str = ""  # stands in the target or the detail, in any capitals
    start: float = 0.0
    end: float | None = None  # the first moment after them

    def terms(self) -> Iterator[sa.ColumnElement[bool]]:
        """As conditions of a query."""
        c = _AUDIT.c
        if self.who:
            yield c.who.icontains(self.who, autoescape=True)
        if self.action:
            yield c.action == self.action
        if self.about:
            yield sa.or_(*(column.icontains(self.about, autoescape=True) for column in (c.target, c.detail)))
        if self.start:
            yield c.time >= _moment(self.start)
        if self.end is not None:
            yield c.time < _moment(self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChange:
    """The configuration's file before and after somebody changed it, its secrets masked."""

    change_id: int | None = None  # rises; None: not yet kept
    time: float
    who: str
    changes: str  # in sentences, one a line
    before: str
    after: str


class AccessRows:
    """The rows within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # -- accounts -------------------------------------------------------------------------------------

    def accounts(self) -> list[Account]:
        """All there are, by name."""
        return self._select(Account, sa.select(_ACCOUNTS).order_by(_ACCOUNTS.c.account))

    def account(self, account: str, *, lock: bool = False) -> Account | None:
        """One by what identifies it; ``lock`` keeps others from it until the transaction ends."""
        query = sa.select(_ACCOUNTS).where(_ACCOUNTS.c.account == account)
        return _first(self._select(Account, query.with_for_update() if lock else query))

    def account_of(self, subject: str) -> Account | None:
        """The one of somebody whom the identity provider knows."""
        return _first(self._select(Account, sa.select(_ACCOUNTS).where(_ACCOUNTS.c.subject == subject)))

    def add_account(self, account: Account) -> bool:
        """False: there is one of that name."""
        insert = upsert(self._connection, _ACCOUNTS, ("account",), ()).returning(_ACCOUNTS.c.account)
        row = insert.values(_columns(_ACCOUNTS, asdict(account)))
        return self._connection.execute(row).first() is not None

    def change_account(self, account: str, **values: Any) -> None:
        """Set some of its values, without any further consequence."""
        update = sa.update(_ACCOUNTS).where(_ACCOUNTS.c.account == account)
        self._connection.execute(update.values(_columns(_ACCOUNTS, values)))

    # -- sign-ins -------------------------------------------------------------------------------------

    def add_sign_in(self, sign_in: SignIn) -> None:
        """Keep a sign-in; those that have expired by then are forgotten."""
        self._connection.execute(
            sa.delete(_SIGN_INS).where(_SIGN_INS.c.expires_at < _moment(sign_in.created_at))
        )
        self._insert(_SIGN_INS, asdict(sign_in))

    def sign_in(self, session_hash: str) -> SignIn | None:
        """One by what identifies it."""
        return _first(
            self._select(SignIn, sa.select(_SIGN_INS).where(_SIGN_INS.c.session_hash == session_hash))
        )

    def addresses(self, account: str) -> list[str]:
        """Those that an account was signed in from, as long as its sign-ins are kept."""
        query = sa.select(_SIGN_INS.c.address).where(_SIGN_INS.c.account == account).distinct()
        return list(self._connection.execute(query).scalars())

    def last_seen(self) -> dict[str, float]:
        """When each account was used last, of those whose sign-ins are kept."""
        c = _SIGN_INS.c
        return self._times(sa.select(c.account, sa.func.max(c.seen_at)).group_by(c.account))

    def see(self, session_hash: str, now: float) -> None:
        """The sign-in is in use."""
        update = sa.update(_SIGN_INS).where(_SIGN_INS.c.session_hash == session_hash)
        self._connection.execute(update.values(seen_at=_moment(now)))

    def end_sign_ins(self, now: float, *, account: str = "", session_hash: str = "") -> None:
        """End all of an account's, or one."""
        c = _SIGN_INS.c
        these = c.session_hash == session_hash if session_hash else c.account == account
        update = sa.update(_SIGN_INS).where(these, c.ended_at.is_(None))
        self._connection.execute(update.values(ended_at=_moment(now)))

    # -- tokens ---------------------------------------------------------------------------------------

    def tokens(self) -> list[ApiToken]:
        """All there are, the oldest first."""
        return self._select(ApiToken, sa.select(_TOKENS).order_by(_TOKENS.c.created_at))

    def token(self, token_hash: str) -> ApiToken | None:
        """One by its hash."""
        return _first(self._select(ApiToken, sa.select(_TOKENS).where(_TOKENS.c.token_hash == token_hash)))

    def add_token(self, token: ApiToken) -> None:
        """Keep a new one."""
        self._insert(_TOKENS, asdict(token))

    def change_token(self, token_id: str, **values: Any) -> None:
        """Set some of its values."""
        update = sa.update(_TOKENS).where(_TOKENS.c.token_id == token_id)
        self._connection.execute(update.values(_columns(_TOKENS, values)))

    # -- links ----------------------------------------------------------------------------------------

    def add_link(self, link_hash: str, purpose: str, now: float, expires_at: float, account: str) -> None:
        """Keep a link; an earlier one of the same purpose and account no longer works."""
        self.drop_links(purpose, account)
        values = {"link_hash": link_hash, "purpose": purpose, "account": account, "created_at": now}
        self._insert(_LINKS, {**values, "expires_at": expires_at})

    def drop_links(self, purpose: str, account: str) -> None:
        """Forget the links of an account."""
        c = _LINKS.c
        self._connection.execute(sa.delete(_LINKS).where(c.purpose == purpose, c.account == account))

    def link_account(self, link_hash: str, purpose: str, now: float) -> str | None:
        """The account of a link that still works."""
        query = sa.select(_LINKS.c.account).where(*_unused(link_hash, purpose, now))
        account: str | None = self._connection.execute(query).scalar()
        return account

    def take_link(self, link_hash: str, purpose: str, now: float) -> str | None:
        """Use a link up; its account. None: there is none that still works."""
        update = sa.update(_LINKS).where(*_unused(link_hash, purpose, now)).values(used_at=_moment(now))
        account: str | None = self._connection.execute(update.returning(_LINKS.c.account)).scalar()
        return account

    # -- audit ----------------------------------------------------------------------------------------

    def add_entry(self, entry: AuditEntry) -> None:
        """Keep who did what."""
        values = asdict(entry)
        del values["entry_id"]
        self._insert(_AUDIT, values)

    def entries(
        self, limit: int = 100, *, before: int | None = None, wanted: AuditFilter | None = None
    ) -> list[AuditEntry]:
        """The newest that are wanted (None: all), or the newest of them before one by its id."""
        return self._newest(AuditEntry, _AUDIT.c.entry_id, limit, before, *(wanted.terms() if wanted else ()))

    def last_entries(self, action: str) -> dict[str, float]:
        """When something was done last, by what it was done to."""
        c = _AUDIT.c
        query = sa.select(c.target, sa.func.max(c.time)).where(c.action == action, c.outcome == "done")
        return self._times(query.group_by(c.target))

    # -- the configuration ----------------------------------------------------------------------------

    def add_change(self, change: ConfigChange) -> None:
        """Keep a change; the oldest are forgotten."""
        values = asdict(change)
        del values["change_id"]
        self._insert(_CHANGES, values)
        newest = sa.select(_CHANGES.c.change_id).order_by(_CHANGES.c.change_id.desc()).limit(MAX_CHANGES)
        self._connection.execute(sa.delete(_CHANGES).where(_CHANGES.c.change_id.not_in(newest)))

    def changes(self, limit: int, *, before: int | None = None) -> list[ConfigChange]:
        """The newest, or the newest before one by its id."""
        return self._newest(ConfigChange, _CHANGES.c.change_id, limit, before)

    def _times(self, query: sa.Select[Any]) -> dict[str, float]:
        return {name: time.timestamp() for name, time in self._connection.execute(query)}

    def _newest(
        self,
        entity: type[_Entity],
        number: sa.Column[int],
        limit: int,
        before: int | None,
        *terms: sa.ColumnElement[bool],
    ) -> list[_Entity]:
        query = sa.select(number.table).where(*terms).order_by(number.desc()).limit(limit)
        return self._select(entity, query if before is None else query.where(number < before))

    def _select(self, entity: type[_Entity], query: sa.Select[Any]) -> list[_Entity]:
        rows = (with_epochs(row._mapping) for row in self._connection.execute(query))
        return [entity(**(row | ({"role": Role(row["role"])} if "role" in row else {}))) for row in rows]

    def _insert(self, table: sa.Table, values: Mapping[str, Any]) -> None:
        self._connection.execute(sa.insert(table).values(_columns(table, values)))


class AccessStore:
    """The database of people; any thread may use it.

    Args:
        url: as :class:`sightline.store.database.Store` takes it; its tables must be there.
        timeout_s: a Postgres statement that takes longer is given up.

    Raises:
        StoreError: the URL is of neither kind, or the Postgres driver is not installed.
    """

    def __init__(self, url: str, *, timeout_s: float = 5.0) -> None:
        parsed = parse_url(url)
        self._timeout_s = timeout_s
        self._turn = threading.Lock()
        self._writer = make_engine(parsed, timeout_s)
        self._reader = make_engine(parsed, timeout_s, read_wait_s=timeout_s)
        self._is_file = self._writer.dialect.name == "sqlite"

    def close(self) -> None:
        """Close every connection that is kept."""
        self._writer.dispose()
        self._reader.dispose()

    @contextmanager
    def reading(self) -> Iterator[AccessRows]:
        """The rows as they are now.

        Raises:
            StoreUnavailable: the database is locked, away, or silent for longer than the time-out.
        """
        with self._connected(self._reader) as connection:
            yield AccessRows(connection)

    @contextmanager
    def writing(self) -> Iterator[AccessRows]:
        """The rows, and changes of them that are made all together or, after an error, not at all.

        Raises:
            StoreUnavailable: the database is locked, away, or silent for longer than the time-out.
        """
        if not self._turn.acquire(timeout=self._timeout_s):
            raise StoreUnavailable("the database does not answer those who asked before")
        try:
            with self._connected(self._writer) as connection, connection.begin():
                yield AccessRows(connection)
        finally:
            if self._is_file:
                self._writer.dispose()  # opened anew for each change, so a file that is replaced is noticed
            self._turn.release()

    @contextmanager
    def _connected(self, engine: Engine) -> Iterator[Connection]:
        """A connection on which nothing is waited for for ever; the library's errors become ours."""
        try:
            with engine.connect() as connection, ExitStack() as stack:
                if not self._is_file:
                    stack.enter_context(giving_up(connection, self._timeout_s))
                yield connection
        except SQLAlchemyError as error:
            raise StoreUnavailable(text_of(error)) from error


def open_access_store(url: str) -> AccessStore:
    """The store of a database whose tables are there; those of a new one are made.

    Raises:
        StoreError: the database cannot be used as it is; the text says what to do.
    """
    with closing(Database(url)) as database:
        condition = database.condition()
    if condition.state in {DatabaseState.MISSING, DatabaseState.EMPTY}:
        with closing(Store(url)) as store:
            store.open()
    elif condition.state is not DatabaseState.READY:
        raise StoreError(f"{condition.problem} {condition.remedy}")
    return AccessStore(url)


def _columns(table: sa.Table, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as the table's columns take them."""
    return {
        name: _moment(value) if value is not None and isinstance(table.c[name].type, UtcDateTime) else value
        for name, value in values.items()
    }


def _unused(link_hash: str, purpose: str, now: float) -> tuple[sa.ColumnElement[bool], ...]:
    """Of a link that still works."""
    c = _LINKS.c
    these = (c.link_hash == link_hash, c.purpose == purpose)
    return (*these, c.used_at.is_(None), c.expires_at > _moment(now))


def _moment(time: float) -> datetime:
    return datetime.fromtimestamp(time, UTC)


def _first(rows: Sequence[_Entity]) -> _Entity | None:
    return rows[0] if rows else None
