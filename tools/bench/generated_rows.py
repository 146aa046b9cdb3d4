"""Rows that the database makes itself from their numbers: millions in seconds, on SQLite and on Postgres."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy import Connection

from sightline.store.dialects import parse_url

#: By dialect: what makes a time of epoch seconds, and a new UUID.
_FUNCTIONS = {
    "sqlite": ("strftime('%Y-%m-%d %H:%M:%S.000000', {}, 'unixepoch')", "lower(hex(randomblob(16)))"),
    "postgresql": ("to_timestamp({})", "gen_random_uuid()"),
}


@contextmanager
def filling(url: str) -> Iterator[Connection]:
    """A connection that fills a database as fast as can be; a crash meanwhile leaves it damaged."""
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-500000"):
                connection.exec_driver_sql(f"PRAGMA {pragma}")
        yield connection
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE")  # as it does by itself; nobody does it for SQLite
    engine.dispose()
    os.sync()  # what was generated must not be on its way to the disk while something is measured


def time_of(connection: Connection, seconds: str) -> str:
    """SQL of the time that is so many epoch seconds, an expression itself."""
    return _FUNCTIONS[connection.dialect.name][0].format(seconds)


def insert_numbered(connection: Connection, table: str, rows: int, columns: Mapping[str, str]) -> None:
    """Insert so many rows; each column by an SQL expression of the row's number ``n``, from 0 on.

    In an expression ``{uuid}`` is a new UUID.
    """
    numbers = f"SELECT CAST(0 AS BIGINT) UNION ALL SELECT n + 1 FROM number WHERE n < {rows - 1}"
    values = ", ".join(columns.values()).replace("{uuid}", _FUNCTIONS[connection.dialect.name][1])
    query = f"WITH RECURSIVE number(n) AS ({numbers}) SELECT {values} FROM number"
    percent = "%" if connection.dialect.name == "sqlite" else "%%"  # as the driver wants it
    connection.exec_driver_sql(f"INSERT INTO {table} ({', '.join(columns)}) {query}".replace("%", percent))
