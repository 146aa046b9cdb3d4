"""The database, opened so that nothing can be written: for the console and ``sightline status``.

What is wrong with a database is told as a :class:`Condition`, in a sentence that says what to do; asking
again later gives the new condition, so a reader recovers by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, create_engine, event, inspect
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from sightline.base.redact import redact
from sightline.errors import StoreError, StoreUnavailable
from sightline.store import migrations
from sightline.store.dialects import parse_url, postgres_engine


class DatabaseState(StrEnum):
    """What a reader finds."""

    READY = "ready"
    MISSING = "missing"  # the file is not there yet
    EMPTY = "empty"  # there are no tables in it yet
    OLDER = "older"  # an older schema, which the next `sightline run` migrates
    NEWER = "newer"  # a schema that this program does not know
    FOREIGN = "foreign"  # tables, but none of Sightline's
    LOCKED = "locked"
    UNREACHABLE = "unreachable"
    WRONG_URL = "wrong_url"


@dataclass(frozen=True, slots=True)
class Condition:
    """What is found, why, and what to do about it; free of credentials."""

    state: DatabaseState
    problem: str = ""  # one short line; empty when ready
    remedy: str = ""  # one sentence
    detail: str = ""  # what the library said


class Database:
    """A database by its URL, for reading only.

    SQLite is opened with ``mode=ro`` and ``query_only``; Postgres with read-only transactions. One engine;
    SQLite connections are opened anew for each reading, so a file that is replaced is noticed.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql://USER:…@HOST/NAME``.
        timeout_s: how long a lock or a connection is waited for; Postgres statements get ten times that.
    """

    def __init__(self, url: str, *, timeout_s: float = 2.0) -> None:
        self.label = "database"
        self._wrong = ""
        self._engine: Engine | None = None
        self._path: Path | None = None
        try:
            parsed = parse_url(url.strip())
            if parsed.get_backend_name() == "sqlite":
                self._path = Path(str(parsed.database)).absolute()
                self._engine = _open_sqlite(self._path, timeout_s)
                self.label = f"SQLite · {self._path.name}"
            else:
                self._engine = _open_postgres(parsed, timeout_s)
                self.label = f"Postgres · {parsed.database or ''}@{parsed.host or 'localhost'}"
        except StoreError as error:
            self._wrong = str(error)

    def close(self) -> None:
        """Close every connection that is kept."""
        if self._engine is not None:
            self._engine.dispose()

    def condition(self) -> Condition:
        """What is found now. Cheap: looks at the file and the schema, reads no rows."""
        if self._wrong:
            return Condition(
                DatabaseState.WRONG_URL,
                "The database URL cannot be used.",
                "Set SIGHTLINE_DATABASE_URL to sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME and "
                "start the console again.",
                self._wrong,
            )
        if self._path is not None and not self._path.is_file():
            return Condition(
                DatabaseState.MISSING,
                f"The database {self._path.name} is not there yet.",
                "Start Sightline with “sightline run”; this page fills as soon as the first camera reports.",
                str(self._path),
            )
        try:
            with self.reading() as connection:
                return _schema_condition(connection)
        except StoreUnavailable as error:
            return self.condition_of(error)

    def condition_of(self, error: StoreUnavailable) -> Condition:
        """What an error of :meth:`reading` means."""
        detail = str(error)
        if "locked" in detail or "busy" in detail:
            return Condition(
                DatabaseState.LOCKED,
                "The database is locked by another program.",
                "Nothing is lost, Sightline keeps results on disk meanwhile; end the program that holds the "
                "lock if this lasts longer than a minute.",
                detail,
            )
        if "not a database" in detail:
            return Condition(
                DatabaseState.WRONG_URL,
                "The file is not a SQLite database.",
                "Point SIGHTLINE_DATABASE_URL at the file that “sightline run” writes.",
                detail,
            )
        return Condition(
            DatabaseState.UNREACHABLE,
            "The database cannot be read.",
            "Check that its server runs, that this console may read it, and its address and password.",
            detail,
        )

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for a few queries that belong together.

        Raises:
            StoreUnavailable: not there, locked, away, or a query failed.
        """
        if self._engine is None:
            raise StoreUnavailable(self._wrong)
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreUnavailable(_first_line(error)) from error


def _open_sqlite(path: Path, timeout_s: float) -> Engine:
    uri = f"file:{quote(str(path))}"
    engine = create_engine(
        URL.create("sqlite", database=uri, query={"mode": "ro", "uri": "true"}),
        connect_args={"timeout": timeout_s},
        poolclass=NullPool,
    )

    @event.listens_for(engine, "connect")
    def _forbid_writes(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA query_only=ON")

    return engine


def _open_postgres(url: URL, timeout_s: float) -> Engine:
    statement_ms = int(timeout_s * 10_000)
    return postgres_engine(
        url,
        {
            "connect_timeout": max(2, round(timeout_s)),  # libpq takes less than 2 as 2
            "options": f"-c default_transaction_read_only=on -c statement_timeout={statement_ms}",
            "application_name": "sightline-console",
        },
        pool_size=2,
        max_overflow=4,
        pool_pre_ping=True,
        pool_recycle=300,
    )


def _schema_condition(connection: Connection) -> Condition:
    revision = migrations.revision(connection)
    head = migrations.head()
    detail = f"schema revision {revision}; this program reads {head}"
    if revision == head:
        return Condition(DatabaseState.READY)
    if revision in migrations.known():
        return Condition(
            DatabaseState.OLDER,
            "The database is from an older Sightline.",
            "Start this version's “sightline run”: it migrates the database, after a copy of a SQLite file.",
            detail,
        )
    if revision is not None:
        return Condition(
            DatabaseState.NEWER,
            "The database was written by a newer Sightline.",
            "Upgrade the console to the version that writes this database.",
            detail,
        )
    if tables := sorted(inspect(connection).get_table_names()):
        return Condition(
            DatabaseState.FOREIGN,
            "The database holds tables of another program.",
            "Give Sightline an empty database of its own, and this console its URL.",
            f"tables: {', '.join(tables[:5])}",
        )
    return Condition(
        DatabaseState.EMPTY,
        "The database has no tables yet.",
        "Start Sightline with “sightline run”; it makes them.",
    )


def _first_line(error: SQLAlchemyError) -> str:
    """The driver's own words, without the statement and without credentials."""
    text = str(getattr(error, "orig", None) or error)
    return redact(text.strip().splitlines()[0] if text.strip() else type(error).__name__)[:300]
