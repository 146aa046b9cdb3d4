"""Clips whose files are still here, for what deletes them."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from sightline.entities import Clip, ClipState
from sightline.store import tables

_CLIPS = tables.table_of(tables.ClipRow).c
_OUTBOX = tables.table_of(tables.OutboxRow).c


@dataclass(frozen=True, slots=True)
class KeptClips:
    """What there is, and what of it may go."""

    bytes: int  # of all videos that are here
    oldest: tuple[Clip, ...]  # that are finished, and that no sink waits for; oldest first


def read_kept_clips(connection: Connection, sink: str, limit: int) -> KeptClips:
    """At most ``limit`` clips that may go; not those that are still to be given to ``sink``."""
    is_here = _CLIPS.path != ""
    total = connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(_CLIPS.bytes), 0)).where(is_here))
    waiting = {
        body["path"] for body in connection.scalars(sa.select(_OUTBOX.body).where(_OUTBOX.sink == sink))
    }
    query = sa.select(*_CLIPS).where(is_here, _CLIPS.state != ClipState.RECORDING.value)
    clips = []
    for row in connection.execute(query.order_by(_CLIPS.start_time).limit(limit + len(waiting))).mappings():
        if row["path"] not in waiting:
            fixed = {"state": ClipState(row["state"]), "events": tuple(row["events"])}
            clips.append(Clip(**{**tables.with_epochs(row), **fixed}))
    return KeptClips(int(total or 0), tuple(clips[:limit]))
