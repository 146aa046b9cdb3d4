"""Alerts and mutes, read back as what they were written from."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from sightline.entities import Alert, AlertState, Mute
from sightline.store import tables

_ALERTS = tables.table_of(tables.AlertRow).c
_MUTES = tables.table_of(tables.MuteRow).c
OPEN = (AlertState.WAITING, AlertState.NEW, AlertState.ACKNOWLEDGED)


@dataclass(frozen=True, slots=True)
class OpenAlerts:
    """What an alert engine goes on from."""

    alerts: tuple[Alert, ...] = ()
    mutes: tuple[Mute, ...] = ()


def read_open_alerts(connection: Connection, since: float) -> OpenAlerts:
    """The alerts that are open or were opened since then (UTC epoch seconds), oldest first, and all mutes."""
    moment = datetime.fromtimestamp(since, UTC)
    is_open = _ALERTS.state.in_([state.value for state in OPEN])
    query = sa.select(*_ALERTS).where(sa.or_(is_open, _ALERTS.opened_time >= moment))
    alerts = [_alert(row) for row in connection.execute(query.order_by(_ALERTS.opened_time))]
    mutes = [Mute(**_values(row)) for row in connection.execute(sa.select(*_MUTES))]
    return OpenAlerts(tuple(alerts), tuple(mutes))


def _alert(row: Row[Any]) -> Alert:
    values = _values(row)
    lists = {name: tuple(values[name]) for name in ("events", "open_events")}
    return Alert(**{**values, **lists, "state": AlertState(values["state"])})


def _values(row: Row[Any]) -> dict[str, Any]:
    """The columns, times in epoch seconds."""
    items = row._asdict().items()
    return {name: value.timestamp() if isinstance(value, datetime) else value for name, value in items}
