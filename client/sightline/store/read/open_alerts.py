"""Alerts and mutes, read back as what they were written from."""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from sightline.entities import Alert, AlertState, Mute
from sightline.store import tables
from sightline.store.read.seen import Cameras, is_seen

_ALERTS = tables.table_of(tables.AlertRow).c
_FIELDS = [field.name for field in fields(Alert)]
_MUTES = tables.table_of(tables.MuteRow).c


@dataclass(frozen=True, slots=True)
class OpenAlerts:
    """What an alert engine goes on from."""

    alerts: tuple[Alert, ...] = ()
    mutes: tuple[Mute, ...] = ()


def read_open_alerts(
    connection: Connection, cameras: Cameras, since: float, alert_id: str | None = None
) -> OpenAlerts:
    """The alerts of which something goes on or that changed since then (UTC epoch seconds), and all mutes.

    Oldest first; only the one with ``alert_id``, when that is given, whenever it was.
    """
    query = sa.select(*_ALERTS).where(is_seen(_ALERTS.source, cameras)).order_by(_ALERTS.opened_time)
    if alert_id is None:
        moment = datetime.fromtimestamp(since, UTC)
        query = query.where(sa.or_(_ALERTS.end_time.is_(None), _ALERTS.changed_time >= moment))
    else:
        query = query.where(_ALERTS.alert_id == alert_id)
    alerts = tuple(alert_of(row) for row in connection.execute(query))
    return OpenAlerts(alerts, read_mutes(connection, cameras))


def read_mutes(connection: Connection, cameras: Cameras) -> tuple[Mute, ...]:
    """All of them, also those that are over."""
    query = sa.select(*_MUTES).where(is_seen(_MUTES.source, cameras))
    return tuple(Mute(**tables.with_epochs(row._asdict())) for row in connection.execute(query))


def alert_of(row: Row[Any]) -> Alert:
    """An alert as it was written, of a row of its table."""
    columns = row._mapping
    values = tables.with_epochs({name: columns[name] for name in _FIELDS})
    lists = {name: tuple(values[name]) for name in ("events", "open_events", "failed_routes")}
    return Alert(**{**values, **lists, "state": AlertState(values["state"])})
