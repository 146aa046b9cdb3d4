"""Writing to a store without a writer."""

import time
from collections.abc import Sequence
from pathlib import Path

from sightline.config.groups import DatabaseOptions
from sightline.entities import CameraStatus, Checkpoint
from sightline.store.database import Store
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
