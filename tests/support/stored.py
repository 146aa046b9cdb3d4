"""Writing to a store without a writer."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from sightline.config.groups import DatabaseOptions
from sightline.entities import CameraStatus, Checkpoint
from sightline.store.database import Store
from sightline.store.dialects import parse_url
from sightline.store.kinds import pending_row, rows_of


def database_options(
    url: str, spool: Path, spool_max_bytes: int = 1_000_000, **more: object
) -> DatabaseOptions:
    """The options of a database and its spool."""
    values = {"url": url, "spool_path": spool, "spool_max_bytes": spool_max_bytes, **more}
    return DatabaseOptions.model_validate(values)


def write(store: Store, checkpoints: Sequence[Checkpoint], statuses: Sequence[CameraStatus] = ()) -> None:
    """Upsert rows, resume states and statuses in one transaction; later ones win."""
    sequence = time.time_ns() // 1000
    store.write_rows(
        [row for checkpoint in checkpoints for row in rows_of(checkpoint, sequence)]
        + [pending_row(status, sequence) for status in statuses]
    )


def read_rows(url: str, table: str) -> list[dict[str, Any]]:
    """All rows of a table, read by another connection."""
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.text(f"SELECT * FROM {table}")).mappings()]
