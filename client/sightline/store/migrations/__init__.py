"""Recorded migrations of the database, applied by the program itself."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from sightline.base.redact import redact
from sightline.errors import SchemaError

VERSION_TABLE = "sightline_schema"
_LOCK = 0x5167_4C6E  # any fixed number: one migration at a time in a Postgres database


def migrate(connection: Connection, before_change: Callable[[str], None]) -> None:
    """Bring the database to this program's schema; does nothing when it is there already.

    Args:
        connection: in a transaction of its own, which the caller commits.
        before_change: called with the old revision before tables with data are changed (for a backup).

    Raises:
        SchemaError: the schema is newer than this program or cannot be migrated, or the tables are not
            Sightline's.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    old = revision(connection)
    if old == head():
        return
    if old is not None:
        if old not in known():
            raise SchemaError(
                f"the database has schema revision {old}, this program knows up to {head()}: "
                "it was written by a newer Sightline; upgrade this program or give another database"
            )
        before_change(old)
    elif tables := sorted(sa.inspect(connection).get_table_names()):
        raise SchemaError(
            f"the database holds tables that Sightline did not make ({', '.join(tables[:5])}) and no "
            "recorded revision; give Sightline an empty database of its own"
        )
    try:
        command.upgrade(_config(connection), "head")
    except DBAPIError as error:
        if error.connection_invalidated or "disk" in str(error.orig):
            raise  # away or full: that passes
        problem = redact(str(error.orig).strip().splitlines()[0])
        raise SchemaError(f"the database cannot be migrated from {old} to {head()}: {problem}") from error


def revision(connection: Connection) -> str | None:
    """The revision that is recorded in the database, None when there is none."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


@cache
def known() -> tuple[str, ...]:
    """All revisions, newest first."""
    scripts = ScriptDirectory.from_config(_config(None))
    return tuple(script.revision for script in scripts.walk_revisions())


def head() -> str:
    """The revision that this program writes."""
    return known()[0]


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
