"""Rows that have been kept for long enough are deleted, a few at a time, while there is nothing to write.

What a reader could misunderstand never goes: windows only once their hours are summed, by whole hours and
each together with its counts; events only when they have ended, alerts only when all of theirs have. Hours
and days stay. An hour whose windows have been deleted is never summed again: ``expiries`` says until when.
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, func, select

from sightline.config.groups import RetentionOptions
from sightline.store import tables
from sightline.store.dialects import upsert
from sightline.store.rollups import HOUR_S, WINDOWS

LOOK_EVERY_S = 60.0  # once nothing is left to delete
RETRY_S = 5.0  # after an error
TARGET_S = 0.015  # of one transaction: so long, at most, what comes meanwhile waits for it
REST = 1.0  # between two transactions, shares of the time that the last one took
#: Of one transaction; windows count with their classes as one. Fewer would not be faster where the commit
#: itself takes :data:`TARGET_S` (a slow disk, a busy machine), and more would come in than go.
MIN_ROWS, FIRST_ROWS, MAX_ROWS = 50, 100, 5000

_COUNTS, _WINDOWS, _STALE, _EVENTS, _CLIPS, _ALERTS, _NOTIFICATIONS, _DRIFT, _CLOCKS, _AUDIT, _EXPIRIES = (
    tables.table_of(model)
    for model in (
        tables.CountWindowRow,
        tables.SourceWindowRow,
        tables.StaleRollupRow,
        tables.EventRow,
        tables.ClipRow,
        tables.AlertRow,
        tables.NotificationRow,
        tables.DriftWindowRow,
        tables.ClockWindowRow,
        tables.AuditRow,
        tables.ExpiryRow,
    )
)
_PATHS, _CAMERAS = tables.table_of(tables.TrackPathRow), tables.table_of(tables.CameraRow)


class Retention:
    """What is kept for how long, and how fast the rest goes.

    The writer's thread deletes; any thread may call :meth:`update` and read the numbers.

    Args:
        options: for how many days each kind of row is kept.
        clock: UTC epoch seconds.
    """

    def __init__(
        self, options: RetentionOptions | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.deleted_rows = 0
        self._options = options or RetentionOptions()
        self._clock = clock
        self._limit = FIRST_ROWS
        self._turn = 0  # of the cameras, each of which is looked at in turn
        self._next_s = 0.0  # monotonic

    def update(self, options: RetentionOptions) -> None:
        """Keep rows for other times from now on."""
        self._options, self._next_s = options, 0.0

    @property
    def wait_s(self) -> float:
        """Seconds until the next transaction is due; infinite while everything is kept."""
        if all(getattr(self._options, option) is None for option in (*_DELETE, "paths_rows")):
            return math.inf
        return max(0.0, self._next_s - time.monotonic())

    def delete_some(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        """Delete some rows in one transaction; how many follows from how long the last ones took."""
        started_s = time.monotonic()
        self._next_s = started_s + RETRY_S
        options, deleted, now = self._options, 0, datetime.fromtimestamp(self._clock(), UTC)
        with transaction() as connection:
            for option, delete in _DELETE.items():
                if (days := getattr(options, option)) is not None and not deleted:
                    deleted = delete(connection, now - timedelta(days=days), self._limit)
            if options.paths_rows is not None and not deleted:
                deleted = self._delete_surplus(connection, options.paths_rows)
        took_s = time.monotonic() - started_s
        self.deleted_rows += deleted
        if self._options is not options:
            return  # they have changed meanwhile, and hold at once
        self._next_s = started_s + LOOK_EVERY_S
        if deleted:
            faster = min(2.0, TARGET_S / took_s)
            self._limit = min(MAX_ROWS, max(MIN_ROWS, math.floor(self._limit * faster)))
            self._next_s = started_s + took_s * (1 + REST)

    def _delete_surplus(self, connection: Connection, most: int) -> int:
        """Ways of one camera that has too many; the next one is looked at once it has no more than that."""
        cameras = connection.scalars(select(_CAMERAS.c.source).order_by(_CAMERAS.c.source)).all()
        if not cameras:
            return 0
        path, source = _PATHS.c, cameras[self._turn % len(cameras)]
        times = select(path.start_time).where(path.source == source).order_by(path.start_time.desc())
        oldest = connection.scalar(times.offset(most - 1).limit(1))
        deleted = 0
        if oldest is not None:
            is_its = path.source == source
            deleted = _delete_oldest(path.start_time, connection, oldest, self._limit, is_its)
        self._turn += not deleted
        return deleted


def _delete_windows(connection: Connection, before: datetime, limit: int) -> int:
    """Whole hours, of which none is still to be summed; a window and its counts go together."""
    stale = connection.scalar(select(func.min(_STALE.c.period_start)).where(_STALE.c.period_s == HOUR_S))
    before = before.replace(minute=0, second=0, microsecond=0)
    before = before if stale is None else min(before, stale)
    window, count = _WINDOWS.c, _COUNTS.c
    deleted = _delete_oldest(window.window_start, connection, before, limit)
    oldest = connection.scalar(select(func.min(window.window_start))) or before
    same = (window[name] == count[name] for name in ("source", "window_start", "window_end"))
    # One bound: of two, SQLite would look for the first alone and read all the rest.
    expired = count.window_start <= oldest if oldest < before else count.window_start < before
    orphans = (expired, ~sa.exists().where(*same))
    deleted += connection.execute(sa.delete(_COUNTS).where(*orphans)).rowcount
    if deleted:
        note = upsert(connection, _EXPIRIES, ("kind",), ("until",), rises="until")
        connection.execute(note.values(kind=WINDOWS, until=before))
    return deleted


def _delete_events(connection: Connection, before: datetime, limit: int) -> int:
    """Events that have ended, and then rows of clips whose files are no longer here."""
    event, clip = _EVENTS.c, _CLIPS.c
    deleted = _delete_oldest(event.event_time, connection, before, limit, event.end_time.is_not(None))
    if deleted < limit:
        deleted += _delete_oldest(clip.start_time, connection, before, limit, clip.path == "")
    return deleted


def _delete_alerts(connection: Connection, before: datetime, limit: int) -> int:
    """Alerts of which nothing goes on and that have not changed for so long; notifications without one."""
    alert, told = _ALERTS.c, _NOTIFICATIONS.c
    closed = (alert.changed_time < before, alert.end_time.is_not(None))
    deleted = _delete_oldest(alert.opened_time, connection, before, limit, *closed)
    if deleted < limit:  # before that, nearly all notifications belong to alerts that are there
        orphan = ~sa.exists().where(alert.alert_id == told.alert_id)
        deleted += _delete_oldest(told.notification_time, connection, before, limit, orphan)
    return deleted


def _delete_oldest(
    time: sa.Column[datetime],
    connection: Connection,
    before: datetime,
    limit: int,
    *conditions: ColumnElement[bool],
) -> int:
    """Delete the oldest ``limit`` rows of which ``time`` is before then; how many there were."""
    table = time.table
    oldest = select(*table.primary_key).where(time < before, *conditions).order_by(time).limit(limit)
    return connection.execute(sa.delete(table).where(sa.tuple_(*table.primary_key).in_(oldest))).rowcount


#: By option of :class:`RetentionOptions`, what deletes the rows that are older than that.
_DELETE: Mapping[str, Callable[[Connection, datetime, int], int]] = {
    "windows_days": _delete_windows,
    "events_days": _delete_events,
    "alerts_days": _delete_alerts,
    "drift_days": partial(_delete_oldest, _DRIFT.c.window_start),
    "clocks_days": partial(_delete_oldest, _CLOCKS.c.window_start),
    "audit_days": partial(_delete_oldest, _AUDIT.c.time),
    "paths_days": partial(_delete_oldest, _PATHS.c.start_time),
}
