"""Where confirmed tracks have been, as the database keeps it."""

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from sightline.entities import PATH_PIECE_S, TrackPath
from sightline.store import tables
from sightline.store.read.seen import Cameras, seen
from sightline.store.read.sums import within

_PATHS = tables.table_of(tables.TrackPathRow).c


def read_track_paths(
    connection: Connection,
    cameras: Cameras,
    between: tuple[float, float],
    sources: Sequence[str],
    limit: int,
    *,
    classes: Collection[str] = (),
) -> list[TrackPath]:
    """The newest ``limit`` pieces that touch [start, end), newest first; no ``classes``: all of them."""
    start, end = between
    begun = within(_PATHS.start_time, start - PATH_PIECE_S, end)
    query = sa.select(*_PATHS).where(_PATHS.source.in_(seen(cameras, sources)), *begun)
    query = query.where(within(_PATHS.end_time, start, end)[0])
    if classes:
        query = query.where(_PATHS.item_class.in_(classes))
    query = query.order_by(_PATHS.start_time.desc(), _PATHS.source, _PATHS.track_id).limit(limit)
    paths = []
    for row in connection.execute(query):
        values = tables.with_epochs(row._asdict())
        lists = {"points": tuple(map(tuple, values["points"])), "places": tuple(values["places"])}
        paths.append(TrackPath(**{**values, **lists}))
    return paths
