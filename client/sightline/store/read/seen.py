"""Rights in queries: every one that somebody asks for takes the cameras which they may see."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement

#: The cameras that somebody may see; None: all of them, and what is the program's own (source "").
Cameras = frozenset[str] | None


def seen(cameras: Cameras, sources: Iterable[str]) -> list[str]:
    """Those of ``sources`` that may be seen."""
    return [source for source in sources if cameras is None or source in cameras]


def is_seen(source: ColumnElement[Any], cameras: Cameras) -> ColumnElement[bool]:
    """That a column's camera may be seen."""
    return sa.true() if cameras is None else source.in_(cameras)


def listed(sources: Iterable[str]) -> sa.CTE:
    """Names of cameras as a table with the column ``source``, for one query about each of them."""
    rows = [(source,) for source in sources]
    name = sa.column("source", sa.String)
    if not rows:
        return sa.select(sa.literal("").label("source")).where(sa.false()).cte("listed_cameras")
    return sa.values(name).data(rows).cte("listed_cameras")
