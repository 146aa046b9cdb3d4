"""What has changed of events and alerts, in the order in which it was committed.

A row carries the number of its newest change, given in the transaction that made it, under a lock: once a
number can be read, so can every change with a smaller one. Whoever has read up to a number has missed
nothing, and reads on after it. Of a row that has changed several times since, the newest state is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from sightline.entities import Alert
from sightline.store import tables
from sightline.store.read.open_alerts import alert_of

_EVENTS = tables.table_of(tables.EventRow).c
_ALERTS = tables.table_of(tables.AlertRow).c
_IDENTITY = tables.table_of(tables.IdentityRow).c


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row that was written, or written over."""

    number: int
    source: str  # the camera; empty: the program itself
    event: Mapping[str, Any] | None = None  # columns, times as UTC epoch seconds
    alert: Alert | None = None


def read_last_change(connection: Connection) -> int:
    """The number of the newest change; microseconds since 1970, as a rule."""
    number: int = connection.execute(sa.select(_IDENTITY.last_change)).scalar_one()
    return number


def is_within(connection: Connection, after: int, limit: int) -> bool:
    """Whether no more than so many events, and so many alerts, have changed after a number."""
    return not any(
        connection.execute(
            sa.select(number).where(number > after).order_by(number).offset(limit).limit(1)
        ).all()
        for number in (_EVENTS.change_number, _ALERTS.change_number)
    )


def read_changes(connection: Connection, after: int, limit: int) -> tuple[list[RowChange], int]:
    """The oldest changes after a number, and up to which number there are no others.

    Args:
        connection: of a reader.
        after: the number.
        limit: so many, at most.
    """
    last = read_last_change(connection)  # first: what is not committed yet has a greater number
    events, alerts = (
        connection.execute(
            sa.select(*columns)
            .where(columns.change_number > after, columns.change_number <= last)
            .order_by(columns.change_number)
            .limit(limit)
        ).all()
        for columns in (_EVENTS, _ALERTS)
    )
    changes = [
        RowChange(row.change_number, row.source, event=tables.with_epochs(row._mapping)) for row in events
    ]
    changes += [RowChange(row.change_number, row.source, alert=alert_of(row)) for row in alerts]
    changes = sorted(changes, key=attrgetter("number"))[:limit]
    return changes, changes[-1].number if len(changes) == limit else last
