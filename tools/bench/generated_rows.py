"""Millions of rows in seconds, on SQLite and on Postgres, past the program that would write them.

Either the database makes them itself from their numbers, or they come column by column.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from sightline.store.dialects import parse_url

#: By dialect: what makes a time of epoch seconds, and a new UUID.
_FUNCTIONS = {
    "sqlite": ("strftime('%Y-%m-%d %H:%M:%S.000000', {}, 'unixepoch')", "lower(hex(randomblob(16)))"),
    "postgresql": ("to_timestamp({})", "gen_random_uuid()"),
}
#: Each column's values by its name; times are texts in UTC, None stands for NULL.
Columns = Mapping[str, Sequence[Any]]


@contextmanager
def filling(url: str) -> Iterator[Connection]:
    """A connection that fills a database as fast as can be; a crash meanwhile leaves it damaged."""
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-500000"):
                connection.exec_driver_sql(f"PRAGMA {pragma}")
        else:
            for setting in ("synchronous_commit=off", "maintenance_work_mem='512MB'", "timezone='UTC'"):
                connection.exec_driver_sql(f"SET {setting}")
        yield connection
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("VACUUM ANALYZE")  # as it does by itself; nobody does it for SQLite
    engine.dispose()
    os.sync()  # what was generated must not be on its way to the disk while something is measured


@contextmanager
def without_indexes(connection: Connection, tables: Sequence[str]) -> Iterator[None]:
    """Empty tables have no indexes meanwhile, and get them back at the end, each made in one go.

    SQLite keeps those of its primary keys and unique constraints.
    """
    remade = []
    for table in tables:
        for drop, make in indexes_of(connection, table):
            connection.exec_driver_sql(drop)
            remade.append(make)
    yield
    for statement in remade:
        connection.exec_driver_sql(statement)


def indexes_of(connection: Connection, table: str) -> list[tuple[str, str]]:
    """Of each index that can be dropped, a statement that does it and one that makes it again."""
    if connection.dialect.name == "sqlite":
        query = (
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = ?"
        )
        return [(f"DROP INDEX {name}", sql) for name, sql in connection.exec_driver_sql(query, (table,))]
    query = (
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE contype IN ('p', 'u') AND conrelid = %s::regclass"
    )
    named = [
        (f"ALTER TABLE {table} DROP CONSTRAINT {name}", f"ALTER TABLE {table} ADD CONSTRAINT {name} {text}")
        for name, text in connection.exec_driver_sql(query, (table,))
    ]
    query = (
        "SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = %s::regclass"
        " AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)"
    )
    others = [(f"DROP INDEX {name}", sql) for name, sql in connection.exec_driver_sql(query, (table,))]
    return [*others, *named]


def insert_columns(connection: Connection, table: str, columns: Columns) -> None:
    """Insert rows in the order of the columns' values, in one transaction."""
    names, rows = ", ".join(columns), zip(*columns.values(), strict=True)
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        driver.execute("BEGIN")
        driver.executemany(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})", rows)
        driver.execute("COMMIT")
        return
    texts = [
        ["\\N" if value is None else str(value).replace("\\", "\\\\") for value in column]
        for column in columns.values()
    ]
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        copy.write("\n".join(map("\t".join, zip(*texts, strict=True))) + "\n")


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
