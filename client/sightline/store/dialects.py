"""What differs between SQLite and Postgres: connecting, waiting, and giving up."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError

from sightline.base.redact import redact
from sightline.errors import StoreError

BUSY_TIMEOUT_S = 1.0  # waiting for another writer's lock; after that the batch is spooled
#: Of every Postgres connection, whatever role, database or server say. A program that is paused within a
#: transaction must not hold its locks against the one that takes over.
_SETTINGS = " ".join(
    f"-c {setting}"
    for setting in (
        "datestyle=ISO",
        "timezone=UTC",
        "intervalstyle=postgres",
        "bytea_output=hex",
        "extra_float_digits=3",
        "standard_conforming_strings=on",
        r"default_transaction_isolation=read\ committed",
        "idle_in_transaction_session_timeout=4s",
    )
)
#: What not every server knows, and a schema where the search path names none that is there.
_ON_CONNECT = """
SELECT set_config(name, '0', false) FROM pg_settings
WHERE name IN ('transaction_timeout', 'idle_session_timeout')
UNION ALL SELECT set_config('search_path', 'public', false) WHERE current_schema() IS NULL
"""


def parse_url(url: str) -> URL:
    """The URL as SQLAlchemy wants it: with the driver named.

    Raises:
        StoreError: it is of neither kind.
    """
    problem = "the database's URL must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        raise StoreError(problem) from None  # the library's text may hold the password
    if parsed.drivername in {"sqlite", "sqlite+pysqlite"} and parsed.database not in {None, "", ":memory:"}:
        return parsed
    if parsed.drivername in {"postgresql", "postgres", "postgresql+psycopg"}:
        return parsed.set(drivername="postgresql+psycopg")
    raise StoreError(problem)


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite database; None: it is none, or no URL of a database."""
    with suppress(StoreError):
        parsed = parse_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            return Path(parsed.database)
    return None


def make_engine(url: URL, statement_timeout_s: float, *, read_wait_s: float | None = None) -> Engine:
    """An engine for a parsed URL; nothing is connected yet.

    Args:
        url: as :func:`parse_url` gives it.
        statement_timeout_s: a Postgres statement that takes longer is given up.
        read_wait_s: for an engine that only reads, how long a lock or a connection is waited for; None: it
            may write, by one connection at most.

    Raises:
        StoreError: the Postgres driver is not installed.
    """
    pool: dict[str, Any] = {"pool_size": 1, "max_overflow": 0}
    if url.get_backend_name() == "sqlite":
        wait_s, pragmas = BUSY_TIMEOUT_S, ["journal_mode=WAL", "foreign_keys=ON", "synchronous=NORMAL"]
        if read_wait_s is not None:
            file = f"file:{quote(str(Path(str(url.database)).absolute()))}"
            url = URL.create("sqlite", database=file, query={"mode": "ro", "uri": "true"})
            # Opened anew for each reading, so a file that is replaced is noticed.
            wait_s, pragmas, pool = read_wait_s, ["query_only=ON"], {"poolclass": sa.NullPool}
        engine = sa.create_engine(url, hide_parameters=True, connect_args={"timeout": wait_s}, **pool)

        @event.listens_for(engine, "connect")
        def set_up(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # only we say BEGIN: so that DDL is in the transaction too
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}")

        if read_wait_s is None:
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        return engine
    milliseconds = int(statement_timeout_s * 1000)
    timeouts = f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds * 5 // 6}"
    options = f"{url.query.get('options', '')} {_SETTINGS} {timeouts}"
    if read_wait_s is None:
        connect = {"connect_timeout": 3, "application_name": "sightline", "tcp_user_timeout": milliseconds}
        connect |= {"options": f"{options} -c default_transaction_read_only=off", "keepalives_idle": 10}
    else:  # libpq takes less than 2 seconds as 2
        connect = {"connect_timeout": max(2, round(read_wait_s)), "application_name": "sightline-console"}
        connect |= {"options": f"{options} -c default_transaction_read_only=on"}
        pool = {"pool_size": 2, "max_overflow": 4, "pool_pre_ping": True, "pool_recycle": 300}
    connect["client_encoding"] = (
        "utf8"  # also for a database in SQL_ASCII, whose texts come as bytes otherwise
    )
    try:
        engine = sa.create_engine(url, connect_args=connect, hide_parameters=True, **pool)
    except ImportError as error:
        raise StoreError("Postgres needs its driver: pip install 'sightline[postgres]'") from error

    @event.listens_for(engine, "connect", insert=True)  # before SQLAlchemy asks for the schema
    def set_the_rest(connection: Any, _record: Any) -> None:
        connection.execute(_ON_CONNECT)
        connection.commit()

    _bound_opening(engine, statement_timeout_s if read_wait_s is None else read_wait_s)
    return engine


def _bound_opening(engine: Engine, timeout_s: float) -> None:
    """Give up a Postgres server that falls silent while a connection is made, or taken into use again."""
    do_ping = engine.dialect.do_ping

    @event.listens_for(engine, "do_connect")
    def begin(dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
        driver = dialect.connect(*arguments, **options)
        record.info["opening"] = _alarm(driver, timeout_s)
        return driver

    @event.listens_for(engine, "connect")  # the last one
    def end(_driver: Any, record: Any) -> None:
        record.info.pop("opening").cancel()

    def ping(driver: Any) -> bool:
        alarm = _alarm(driver, timeout_s)
        try:
            return do_ping(driver)
        finally:
            alarm.cancel()

    engine.dialect.do_ping = ping  # type: ignore[assignment, method-assign]


@contextmanager
def giving_up(connection: Connection, timeout_s: float) -> Iterator[threading.Timer]:
    """After so long, calls to a Postgres server that does not answer fail; until the timer is cancelled."""
    alarm = _alarm(connection.connection.driver_connection, timeout_s)
    try:
        yield alarm
    finally:
        alarm.cancel()


def _alarm(driver: Any, timeout_s: float) -> threading.Timer:
    """Wakes a thread that waits for an answer, by shutting the socket; its call then fails."""

    def shut() -> None:
        if not driver.closed:
            with socket.socket(fileno=socket.dup(driver.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(timeout_s, shut)
    timer.daemon = True
    timer.start()
    return timer


def text_of(error: BaseException) -> str:
    """One line that says what went wrong, without statement, values or credentials."""
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines() or [""]
    return redact(f"{type(cause).__name__}: {lines[0]}")


def upsert(
    connection: Connection,
    table: sa.Table,
    unique: Sequence[str],
    replaced: Sequence[str],
    *,
    rises: str = "",
    adds: bool = False,
    number: str = "",
) -> sqlite.Insert | postgresql.Insert:
    """A statement that, where there is a row of these ``unique`` columns, takes on the ``replaced`` ones.

    With a column that ``rises`` the old row stays where that would fall; with ``adds`` the new values are
    added to the old ones. With one that is the ``number`` of a change the old row stays where no other column
    would change.
    """
    insert = sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
    if not replaced:
        return insert.on_conflict_do_nothing(index_elements=unique)
    excluded = insert.excluded
    newer = {name: table.c[name] + excluded[name] if adds else excluded[name] for name in replaced}
    where = excluded[rises] >= table.c[rises] if rises else None
    if number:
        names = [name for name in replaced if name != number]
        where = sa.or_(*(_text_of_json(newer[n]).is_distinct_from(_text_of_json(table.c[n])) for n in names))
    return insert.on_conflict_do_update(index_elements=unique, set_=newer, where=where)


def _text_of_json(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """What can be compared: Postgres cannot compare JSON."""
    return sa.cast(column, sa.Text) if isinstance(column.type, sa.JSON) else column
