"""What differs between SQLite and Postgres: connecting, waiting, and giving up."""

from __future__ import annotations

import socket
from typing import Any

import sqlalchemy as sa
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import ArgumentError

from sightline.base.redact import redact
from sightline.errors import StoreError

BUSY_TIMEOUT_S = 1.0  # waiting for another writer's lock; after that the batch is spooled


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


def make_engine(url: str, statement_timeout_s: float) -> Engine:
    """An engine for writing with one connection at most; nothing is connected yet.

    Raises:
        StoreError: the URL is of neither kind, or the Postgres driver is not installed.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        pragmas = ("journal_mode=WAL", "foreign_keys=ON", "synchronous=NORMAL")
        engine = sqlite_engine(parsed, BUSY_TIMEOUT_S, *pragmas, pool_size=1, max_overflow=0)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        return engine
    milliseconds = int(statement_timeout_s * 1000)
    connect_args = {
        "connect_timeout": 5,
        "application_name": "sightline",
        "options": f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds // 2}",
        "tcp_user_timeout": milliseconds,
        "keepalives_idle": 10,
    }
    return postgres_engine(parsed, connect_args, pool_size=1, max_overflow=0)


def sqlite_engine(url: URL, timeout_s: float, *pragmas: str, **options: Any) -> Engine:
    """An engine for a parsed URL, in which only we say BEGIN: so that DDL is in the transaction too."""
    engine = sa.create_engine(url, hide_parameters=True, connect_args={"timeout": timeout_s}, **options)

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    return engine


def postgres_engine(url: URL, connect_args: dict[str, Any], **options: Any) -> Engine:
    """An engine for a parsed URL; nothing is connected yet.

    Raises:
        StoreError: the driver is not installed.
    """
    try:
        return sa.create_engine(url, connect_args=connect_args, hide_parameters=True, **options)
    except ImportError as error:
        raise StoreError("Postgres needs its driver: pip install 'sightline[postgres]'") from error


def shut_socket(connection: Connection) -> None:
    """Wake a thread that waits for a Postgres server which does not answer; its call then fails."""
    driver: Any = connection.connection.driver_connection
    with socket.socket(fileno=socket.dup(driver.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)


def text_of(error: BaseException) -> str:
    """One line that says what went wrong, without statement, values or credentials."""
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines() or [""]
    return redact(f"{type(cause).__name__}: {lines[0]}")
