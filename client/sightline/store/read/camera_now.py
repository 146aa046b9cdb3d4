"""What all cameras have seen lately: their last hour in buckets, and their day, of which that is a part.

Windows of the last hour are read once, for the hour and for the day; of the hours before, the day has sums.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo

import sqlalchemy as sa
from sqlalchemy import Connection, func

from sightline.entities import AlertState
from sightline.store import tables
from sightline.store.read.queries import CountSum, Watched, add_known, distinct, read_counts, read_watched
from sightline.store.read.seen import Cameras, listed, seen
from sightline.store.read.spans import Span
from sightline.store.rollups import DAY_S, HOUR_S

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
    day: Span  # one bucket
    day_watched: Sequence[Watched]
    hour: Span
    hour_counts: Sequence[CountSum]
    hour_watched: Sequence[Watched]


def read_now(
    connection: Connection,
    cameras: Cameras,
    sources: Sequence[str],
    now: float,
    zone: tzinfo,
    step_s: int = 60,
) -> Lately:
    """Of the sources, in their order; the day is that of the zone, and the hour has buckets of ``step_s``."""
    names = seen(cameras, sources)
    hour, day = Span.over(now - HOUR_S, now, step_s), Span.over(now, now + 1e-3, DAY_S, zone)
    hour_counts = read_counts(connection, None, hour, names, lacking=False)
    hour_watched = read_watched(connection, None, hour, names)
    turn = _turn(hour, day)
    counts = [row for row in hour_counts if row.bucket >= turn]
    watched = [row for row in hour_watched if row.bucket >= turn]
    # What comes after the hour is there where a camera's clock is ahead.
    for start, end in ((day.start, turn), (max(turn, hour.end), day.end)):
        if start < end:
            rest = Span(start, end, DAY_S, zone, (start, end))
            counts += read_counts(connection, None, rest, names, lacking=False)
            watched += read_watched(connection, None, rest, names)
    counts.sort(key=lambda row: row.bucket)
    today, by_class = dict[str, int | None](), dict[str, int | None]()
    for (source, name), count in distinct(counts).items():
        add_known(today, source, count)
        add_known(by_class, name, count)
    lately = _cameras_now(connection, names, today)
    return Lately(lately, by_class, day, _together(day, watched), hour, hour_counts, hour_watched)


def _turn(hour: Span, day: Span) -> float:
    """From when on the day is made of the buckets of the last hour: it begins there, or whole hours end."""
    edges = (edge for edge in hour.edges[:-1] if edge >= day.start)
    return next((edge for edge in edges if edge == day.start or not edge % HOUR_S), day.end)


def _together(day: Span, watched: Sequence[Watched]) -> list[Watched]:
    """What each camera watched of the day."""
    parts: dict[str, list[Watched]] = defaultdict(list)
    for row in watched:
        parts[row.source].append(row)
    return [
        Watched(
            source,
            day.start,
            sum(row.watched_s for row in rows),
            sum(row.dropped_frames for row in rows),
            max(row.longest_window_s for row in rows),
        )
        for source, rows in parts.items()
    ]


def _cameras_now(
    connection: Connection, names: Sequence[str], today: Mapping[str, int | None]
) -> tuple[CameraNow, ...]:
    """In a few queries and one step down an index for each of them."""
    camera = listed(names)
    newest = sa.select(func.max(_EVENTS.event_time)).where(_EVENTS.source == camera.c.source)
    query = sa.select(camera.c.source, newest.correlate(camera).scalar_subquery())
    last = {name: time for name, time in connection.execute(query)}  # noqa: C416  rows are no pairs
    is_new = _ALERTS.state == AlertState.NEW.value, _ALERTS.source.in_(names)
    of_alerts = sa.select(_ALERTS.source, func.count()).where(*is_new).group_by(_ALERTS.source)
    alerts = {source: count for source, count in connection.execute(of_alerts)}  # noqa: C416  rows are no pairs
    return tuple(
        CameraNow(
            source=name,
            today=today.get(name, 0),
            last_event_time=time.timestamp() if (time := last[name]) is not None else None,
            new_alerts=alerts.get(name, 0),
        )
        for name in names
    )
