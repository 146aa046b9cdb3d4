"""What all cameras have seen lately, in a few queries and one step down an index for each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo

import sqlalchemy as sa
from sqlalchemy import Connection, func

from sightline.entities import AlertState
from sightline.store import tables
from sightline.store.read.queries import add_known, read_counts
from sightline.store.read.seen import Cameras, listed, seen
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


@dataclass(frozen=True, slots=True)
class Lately:
    """All of them, and what they have counted together."""

    cameras: tuple[CameraNow, ...]
    by_class: Mapping[str, int | None]  # distinct objects of each camera, today; None: not known


def read_now(
    connection: Connection, cameras: Cameras, sources: Sequence[str], now: float, zone: tzinfo
) -> Lately:
    """Of the sources, in their order; the day is that of the zone."""
    names, today = seen(cameras, sources), Span.over(now, now + 1e-3, DAY_S, zone)
    counts, by_class = dict[str, int | None](), dict[str, int | None]()
    for row in (row for row in read_counts(connection, None, today, names) if row.count != 0):
        add_known(counts, row.source, row.count)
        add_known(by_class, row.item_class, row.count)
    camera = listed(names)
    newest = sa.select(func.max(_EVENTS.event_time)).where(_EVENTS.source == camera.c.source)
    query = sa.select(camera.c.source, newest.correlate(camera).scalar_subquery())
    last = {name: time for name, time in connection.execute(query)}  # noqa: C416  rows are no pairs
    is_new = _ALERTS.state == AlertState.NEW.value, _ALERTS.source.in_(names)
    of_alerts = sa.select(_ALERTS.source, func.count()).where(*is_new).group_by(_ALERTS.source)
    alerts = {source: count for source, count in connection.execute(of_alerts)}  # noqa: C416  rows are no pairs
    lately = (
        CameraNow(
            source=name,
            today=counts.get(name, 0),
            last_event_time=time.timestamp() if (time := last[name]) is not None else None,
            new_alerts=alerts.get(name, 0),
        )
        for name in names
    )
    return Lately(tuple(lately), by_class)
