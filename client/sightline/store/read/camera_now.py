"""What all cameras have seen lately, in a few queries and one step down an index for each of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo

import sqlalchemy as sa
from sqlalchemy import Connection, func

from sightline.entities import AlertState
from sightline.store import tables
from sightline.store.read.queries import read_total_counts
from sightline.store.read.seen import Cameras, seen
from sightline.store.read.spans import Span
from sightline.store.rollups import DAY_S

_EVENTS = tables.table_of(tables.EventRow).c
_ALERTS = tables.table_of(tables.AlertRow).c


@dataclass(frozen=True, slots=True)
class CameraNow:
    """One of them."""

    source: str
    today: int | None  # distinct objects; None: not known
    last_event_time: float | None  # epoch seconds
    new_alerts: int


def read_now(
    connection: Connection, cameras: Cameras, sources: Sequence[str], now: float, zone: tzinfo
) -> list[CameraNow]:
    """Each of the sources, in their order; the day is that of the zone."""
    names, today = seen(cameras, sources), Span.over(now, now + 1e-3, DAY_S, zone)
    counts = {row.name: row.count for row in read_total_counts(connection, None, today, names, "source")}
    newest = sa.select(func.max(_EVENTS.event_time))
    last = {name: connection.scalar(newest.where(_EVENTS.source == name)) for name in names}
    is_new = _ALERTS.state == AlertState.NEW.value, _ALERTS.source.in_(names)
    of_alerts = sa.select(_ALERTS.source, func.count()).where(*is_new).group_by(_ALERTS.source)
    alerts = {source: count for source, count in connection.execute(of_alerts)}  # noqa: C416  rows are no pairs
    return [
        CameraNow(
            source=name,
            today=counts.get(name, 0),
            last_event_time=time.timestamp() if (time := last[name]) is not None else None,
            new_alerts=alerts.get(name, 0),
        )
        for name in names
    ]
