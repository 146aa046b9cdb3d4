"""Events searched for: the newest ones first, a page at a time.

In which days of which cameras there are such events, and how many, is told by the roll-ups; so a rare event
of long ago is found without reading all the others.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, func, select

from sightline.store import tables
from sightline.store.read.seen import Cameras, is_seen, seen
from sightline.store.read.sums import moments, within
from sightline.store.rollups import DAY_S

_EVENTS = tables.table_of(tables.EventRow).c
_ROLLUPS = tables.table_of(tables.EventRollupRow).c
Key = tuple[float, uuid.UUID]  # of a row: its time, and its id


@dataclass(frozen=True, slots=True)
class EventSearch:
    """Which events; an empty filter lets all of them through.

    ``text`` is a part of the name of a camera, kind, place or class, in any case.
    """

    between: tuple[float, float]  # [start, end), epoch seconds
    sources: tuple[str, ...]  # empty name: the program itself
    kinds: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    directions: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some of them, newest first; columns are as in the database."""

    rows: list[dict[str, Any]]
    after: Key | None  # what the next page comes after; None: this is the last one


@dataclass(frozen=True, slots=True)
class EventNames:
    """What events of some days are called."""

    kinds: tuple[str, ...]
    places: tuple[str, ...]
    classes: tuple[str, ...]


def read_event_names(
    connection: Connection, cameras: Cameras, between: tuple[float, float], sources: Sequence[str]
) -> EventNames:
    """Of the days of UTC that the range touches, for filters to choose from."""
    names = (_ROLLUPS.kind, _ROLLUPS.place, _ROLLUPS.item_class)
    query = select(*names).where(*_days(between, seen(cameras, sources))).distinct()
    rows = connection.execute(query).all()
    kinds, places, classes = (tuple(sorted({row[at] for row in rows} - {""})) for at in range(3))
    return EventNames(kinds, places, classes)


def read_event_page(
    connection: Connection,
    cameras: Cameras,
    search: EventSearch,
    *,
    limit: int = 100,
    after: Key | None = None,
) -> EventPage:
    """The newest of them, or those that come ``after`` a row."""
    sources = seen(cameras, search.sources)
    start, end = search.between
    filters = partial(_filters, search, _matching(connection, search, sources))
    until = end if after is None else min(end, after[0])
    days = select(_ROLLUPS.source, _ROLLUPS.period_start, func.sum(_ROLLUPS.count))
    days = days.where(*_days((start, max(start, until) + 1e-6), sources), *filters(_ROLLUPS))
    days = days.group_by(_ROLLUPS.source, _ROLLUPS.period_start).order_by(_ROLLUPS.period_start.desc())
    places, enough, last = [], 0, None
    for source, day, count in connection.execute(days):
        low = day.timestamp()
        if enough > limit and day != last:
            break
        last = day
        enough += int(count) if start <= low and low + DAY_S <= until else 0  # what is cut may hold none
        places.append((source, *moments(max(start, low), min(end, low + DAY_S))))
    if not places:
        return EventPage([], None)
    time = partial(sa.column, type_=tables.UtcDateTime)
    columns = sa.column("source", sa.String), time("low"), time("high")
    place = sa.values(*columns).data(places).cte("places").c
    event = _EVENTS
    here = (event.source == place.source, event.event_time >= place.low, event.event_time < place.high)
    around = event.event_time >= min(low for _, low, _ in places), event.event_time < moments(end)[0]
    query = select(*event).where(*here, *around, *filters(event))
    if after is not None:
        moment = datetime.fromtimestamp(after[0], UTC)
        is_later = (event.event_time == moment) & (event.id > after[1])
        query = query.where((event.event_time < moment) | is_later)
    # By itself, so that Postgres finds them by camera and time; it would read all events from the newest on.
    found = query.cte("found").prefix_with("MATERIALIZED", dialect="postgresql")
    newest = select(*found.c).order_by(found.c.event_time.desc(), found.c.id).limit(limit + 1)
    rows = [dict(row) for row in connection.execute(newest).mappings()]
    more, rows = len(rows) > limit, rows[:limit]
    return EventPage(rows, (rows[-1]["event_time"].timestamp(), rows[-1]["id"]) if more else None)


def read_event(connection: Connection, cameras: Cameras, event_id: uuid.UUID) -> dict[str, Any] | None:
    """One of them, whenever it was; None: it is kept no longer, or may not be seen."""
    query = select(*_EVENTS).where(_EVENTS.id == event_id, is_seen(_EVENTS.source, cameras))
    row = connection.execute(query).mappings().first()
    return None if row is None else dict(row)


def _days(between: tuple[float, float], sources: Sequence[str]) -> list[ColumnElement[bool]]:
    start, end = between
    days = within(_ROLLUPS.period_start, start // DAY_S * DAY_S, end)
    return [_ROLLUPS.period_s == DAY_S, _ROLLUPS.source.in_(sources), *days]


def _matching(connection: Connection, search: EventSearch, sources: Sequence[str]) -> dict[str, list[str]]:
    """By column, the names that the text is a part of."""
    text = search.text.strip().casefold()
    if not text:
        return {}
    names = read_event_names(connection, None, search.between, sources)
    columns = {"source": sources, "kind": names.kinds, "place": names.places, "item_class": names.classes}
    return {
        column: [name for name in values if text in name.casefold()] for column, values in columns.items()
    }


def _filters(search: EventSearch, matching: dict[str, list[str]], column: Any) -> list[ColumnElement[bool]]:
    chosen = {
        "kind": search.kinds,
        "place": search.places,
        "item_class": search.classes,
        "direction": search.directions,
    }
    found: list[ColumnElement[bool]] = [column[name].in_(some) for name, some in chosen.items() if some]
    if matching:
        found.append(sa.or_(*(column[name].in_(some) for name, some in matching.items())))
    return found
