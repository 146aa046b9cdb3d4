"""Alerts as people look through them: which ones there are, how many are new, and how many were false."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from sightline.entities import Alert, AlertState
from sightline.store import tables
from sightline.store.read.open_alerts import alert_of
from sightline.store.read.seen import Cameras, is_seen

_ALERTS = tables.table_of(tables.AlertRow).c
#: What nobody is told of is not looked through either.
TOLD = (AlertState.NEW, AlertState.ACKNOWLEDGED, AlertState.RESOLVED, AlertState.FALSE_ALARM)
OPEN = (AlertState.NEW, AlertState.ACKNOWLEDGED)


@dataclass(frozen=True, slots=True)
class RuleRecord:
    """What became of a rule's alerts."""

    rule: str
    alerts: int
    false_alarms: int
    open: int


def read_alerts(
    connection: Connection, cameras: Cameras, since: float, states: Collection[AlertState], limit: int
) -> list[Alert]:
    """The newest ``limit`` alerts in these states that are open or were opened since then, epoch seconds."""
    opened = _ALERTS.opened_time >= datetime.fromtimestamp(since, UTC)
    query = sa.select(*_ALERTS).where(
        _ALERTS.state.in_(states), sa.or_(opened, _ALERTS.state.in_(OPEN)), is_seen(_ALERTS.source, cameras)
    )
    query = query.order_by(_ALERTS.opened_time.desc(), _ALERTS.alert_id).limit(limit)
    return [alert_of(row) for row in connection.execute(query)]


def read_new_alerts(connection: Connection, cameras: Cameras) -> tuple[int, Alert | None]:
    """How many alerts nobody has looked at, and the newest of them."""
    is_new = _ALERTS.state == AlertState.NEW.value, is_seen(_ALERTS.source, cameras)
    count = connection.scalar(sa.select(sa.func.count()).where(*is_new)) or 0
    query = sa.select(*_ALERTS).where(*is_new).order_by(_ALERTS.opened_time.desc()).limit(1)
    newest = connection.execute(query).first() if count else None
    return int(count), None if newest is None else alert_of(newest)


def read_rule_records(connection: Connection, cameras: Cameras, since: float) -> list[RuleRecord]:
    """Of every rule the alerts that were opened since then (UTC epoch seconds), by its name."""
    counted = [
        sa.func.count().filter(_ALERTS.state.in_(states)) for states in ((AlertState.FALSE_ALARM,), OPEN)
    ]
    query = sa.select(_ALERTS.rule, sa.func.count(), *counted).where(
        _ALERTS.state.in_(TOLD),
        _ALERTS.opened_time >= datetime.fromtimestamp(since, UTC),
        is_seen(_ALERTS.source, cameras),
    )
    query = query.group_by(_ALERTS.rule).order_by(_ALERTS.rule)
    return [RuleRecord(*row) for row in connection.execute(query)]
