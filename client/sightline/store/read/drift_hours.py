"""The hours of the drift watch, as the database has them."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlmodel import col

from sightline.entities import DriftWindow
from sightline.errors import StoreUnavailable
from sightline.store.read.readonly import Database, DatabaseState
from sightline.store.tables import DriftWindowRow


def read_hours(url: str, since: float = 0.0) -> list[DriftWindow]:
    """Hours that began at ``since`` (epoch seconds) or later, by camera, oldest first.

    Raises:
        StoreUnavailable: the database cannot be read; the text says why.
    """
    row = DriftWindowRow
    query = sa.select(*(col(getattr(row, field.name)) for field in fields(DriftWindow)))
    query = query.where(col(row.window_start) >= datetime.fromtimestamp(since, UTC))
    query = query.order_by(col(row.source), col(row.window_start), col(row.model_version))
    database = Database(url)
    condition = database.condition()
    if condition.state is not DatabaseState.READY:
        raise StoreUnavailable(f"{condition.problem} {condition.detail}".strip())
    try:
        with database.reading() as connection:
            rows = [item._asdict() for item in connection.execute(query)]
    finally:
        database.close()
    times = ("window_start", "window_end")
    return [DriftWindow(**{**item, **{name: item[name].timestamp() for name in times}}) for item in rows]
