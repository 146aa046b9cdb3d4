"""The database, opened so that nothing can be written: for the console and ``sightline status``.

What is wrong with a database is told as a :class:`Condition`, in a sentence that says what to do; asking
again later gives the new condition, so a reader recovers by itself.
"""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from sightline.errors import StoreError, StoreUnavailable
from sightline.store import migrations
from sightline.store.dialects import giving_up, make_engine, parse_url, text_of
from sightline.store.lease import SCOPE, Program
from sightline.store.tables import LeaseRow, table_of

_LEASES = table_of(LeaseRow)


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
    WRONG_FILE = "wrong_file"


#: The problem, in one short line, and what to do about it, in one sentence.
_TEXTS = {
    DatabaseState.READY: ("", ""),
    DatabaseState.MISSING: (
        "The database {name} is not there yet.",
        "Start Sightline with “sightline run”; this page fills as soon as the first camera reports.",
    ),
    DatabaseState.EMPTY: (
        "The database has no tables yet.",
        "Start Sightline with “sightline run”; it makes them.",
    ),
    DatabaseState.OLDER: (
        "The database is from an older Sightline.",
        "Start this version's “sightline run”: it migrates the database, after a copy of a SQLite file.",
    ),
    DatabaseState.NEWER: (
        "The database was written by a newer Sightline.",
        "Upgrade this program to the version that writes this database.",
    ),
    DatabaseState.FOREIGN: (
        "The database holds tables of another program.",
        "Give Sightline an empty database of its own.",
    ),
    DatabaseState.LOCKED: (
        "The database is locked by another program.",
        "Nothing is lost, Sightline keeps results on disk meanwhile; end the program that holds the lock if "
        "this lasts longer than a minute.",
    ),
    DatabaseState.UNREACHABLE: (
        "The database cannot be read.",
        "Check that its server runs, that this role may read it, and its address and password.",
    ),
    DatabaseState.WRONG_URL: (
        "The database URL cannot be used.",
        "Write database.url (for the console: SIGHTLINE_DATABASE_URL) as sqlite:///FILE or "
        "postgresql://USER:PASSWORD@HOST/NAME.",
    ),
    DatabaseState.WRONG_FILE: (
        "The file is not a SQLite database.",
        "Name the file that “sightline run” writes.",
    ),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """What is found, and what the library said; free of credentials."""

    state: DatabaseState
    detail: str = ""
    name: str = ""  # of the file

    @property
    def problem(self) -> str:
        """One short line; empty when ready."""
        return _TEXTS[self.state][0].format(name=self.name)

    @property
    def remedy(self) -> str:
        """What to do about it, in one sentence."""
        return _TEXTS[self.state][1]


class Database:
    """A database by its URL, for reading only, whatever a query tries.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql://USER:…@HOST/NAME``.
        timeout_s: how long a lock or a connection is waited for; Postgres statements get ten times that.
    """

    def __init__(self, url: str, *, timeout_s: float = 2.0) -> None:
        self.label = "database"
        self._wrong = ""
        self._engine: Engine | None = None
        self._give_up_s = 10 * timeout_s
        self._path: Path | None = None
        try:
            parsed = parse_url(url.strip())
            self._engine = make_engine(parsed, self._give_up_s, read_wait_s=timeout_s)
            self.label = f"Postgres · {parsed.database or ''}@{parsed.host or 'localhost'}"
            if parsed.get_backend_name() == "sqlite":
                self._path = Path(str(parsed.database)).absolute()
                self.label = f"SQLite · {self._path.name}"
        except StoreError as error:
            self._wrong = str(error)

    def close(self) -> None:
        """Close every connection that is kept."""
        if self._engine is not None:
            self._engine.dispose()

    def condition(self) -> Condition:
        """What is found now. Cheap: looks at the file and the schema, reads no rows."""
        if self._wrong:
            return Condition(DatabaseState.WRONG_URL, self._wrong)
        if self._path is not None and not self._path.is_file():
            return Condition(DatabaseState.MISSING, str(self._path), self._path.name)
        try:
            with self.reading() as connection:
                revision = migrations.revision(connection)
                names = [] if revision else sorted(sa.inspect(connection).get_table_names())
        except StoreUnavailable as error:
            return self.condition_of(error)
        if revision is None:
            state = DatabaseState.FOREIGN if names else DatabaseState.EMPTY
            return Condition(state, f"tables: {', '.join(names[:5])}" if names else "")
        if revision == migrations.head():
            return Condition(DatabaseState.READY)
        state = DatabaseState.OLDER if revision in migrations.known() else DatabaseState.NEWER
        return Condition(state, f"schema revision {revision}; this program reads {migrations.head()}")

    def condition_of(self, error: StoreUnavailable) -> Condition:
        """What an error of :meth:`reading` means."""
        detail = str(error)
        if "locked" in detail or "busy" in detail:
            return Condition(DatabaseState.LOCKED, detail)
        wrong = "not a database" in detail
        return Condition(DatabaseState.WRONG_FILE if wrong else DatabaseState.UNREACHABLE, detail)

    def owner(self) -> str:
        """Which program owns the database, which must be ready, in words."""
        columns = (_LEASES.c.held, _LEASES.c.program, _LEASES.c.expires_at)
        now = sa.type_coerce(sa.func.now(), _LEASES.c.expires_at.type).label("now")
        with self.reading() as connection:
            row = connection.execute(sa.select(*columns, now).where(_LEASES.c.scope == SCOPE)).one_or_none()
        if row is None or not row.held:
            return "owned by no program"
        program = Program(**row.program)
        ended = program.runs(Program.this(), same_machine=self._path is not None) is False
        return f"{'last ' if ended or row.expires_at < row.now else ''}owned by {program}"

    def write_problem(self) -> str:
        """Why a program may not write here, and the cure; "" when nothing is known to be in its way."""
        if self._path is not None:
            folder = next(place for place in self._path.parents if place.exists())
            modes = {folder: os.W_OK | os.X_OK, **({self._path: os.W_OK} if self._path.exists() else {})}
            closed = [str(place) for place, mode in modes.items() if not os.access(place, mode)]
            cure = "give it the right, or name another file"
            return f"this user may not write {closed[0]}; {cure}" if closed else ""
        with self.reading() as connection:
            role, schema = connection.execute(sa.text("SELECT current_user, current_schema()")).one()
            right, test = f"CREATE ON SCHEMA {schema}", "has_schema_privilege(current_schema(), 'CREATE')"
            if sa.inspect(connection).has_table(_LEASES.name):
                right = f"SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema}"
                test = f"has_table_privilege('{_LEASES.name}', 'UPDATE')"
            may = connection.execute(sa.text(f"SELECT {test}")).scalar()
        return "" if may else f"the role {role} may not write there; GRANT {right} TO {role}"

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
                if self._path is not None:
                    yield connection
                    return
                with giving_up(connection, self._give_up_s):
                    yield connection
                    connection.rollback()  # a server may fall silent at any moment
        except SQLAlchemyError as error:
            raise StoreUnavailable(text_of(error)) from error


@contextmanager
def reading_from(url: str) -> Iterator[Connection]:
    """A database as it is now, opened for this one question; it raises what :meth:`Database.reading` does."""
    with closing(Database(url)) as database, database.reading() as connection:
        yield connection
