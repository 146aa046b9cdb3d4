"""A bounded file that keeps rows while the database is away, and the newest resume state of each camera.

A newer row replaces the older one of its key, so the file holds each window once however long the
database is away, and replaying it any number of times gives the same rows. When it is full the oldest
windows are dropped and counted; resume states and statuses never are (one a camera each).
"""

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sightline.base.file_modes import keep_from_others
from sightline.entities import RULE_KINDS, Event, EventKind, lasts
from sightline.errors import StoreUnavailable
from sightline.store.kinds import (
    KINDS,
    MAX_WINDOW_S,
    OPEN_S,
    Delivered,
    PendingRow,
    ResumeStates,
    parse_resume,
)
from sightline.store.read.open_events import OpenEvent

log = logging.getLogger(__name__)

_FORMAT = 3  # 1 had no outbox, 2 no facts; they are upgraded by adding the tables
_DROP_AT_ONCE = 500
_MEBIBYTE = 1 << 20
_MAX_SEQUENCE = 2**63 - 1
MIN_SEQUENCE = -(2**63)
_SUPERSEDED = 2**62  # taken from the sequence of a row that only fills holes: below every real one
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, source TEXT NOT NULL, sequence INTEGER NOT NULL,
    window_start REAL NOT NULL, spooled_at REAL NOT NULL, body TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ix_records_sequence ON records (sequence);
CREATE INDEX IF NOT EXISTS ix_records_window_start ON records (window_start);
CREATE TABLE IF NOT EXISTS states (
    source TEXT PRIMARY KEY, sequence INTEGER NOT NULL, body TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    sink TEXT NOT NULL, key TEXT NOT NULL REFERENCES records (key) ON DELETE CASCADE, PRIMARY KEY (sink, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ix_outbox_key ON outbox (key);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO facts VALUES ('name', lower(hex(randomblob(16))));
"""
_PUT_NEW = """
INSERT INTO records (key, kind, source, sequence, window_start, spooled_at, body) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO """
_OLDEST = """
SELECT kind, source, key, sequence, body,
    (SELECT json_group_array(sink) FROM outbox WHERE outbox.key = records.key)
FROM records WHERE sequence > ?1 AND sequence <= coalesce(
    (SELECT sequence FROM records WHERE sequence > ?1 ORDER BY sequence LIMIT 1 OFFSET ?2), ?3
) ORDER BY sequence
"""
_OUTBOX = """
SELECT kind, source, key, sequence, body, json_array(sink) FROM outbox JOIN records USING (key)
WHERE sink = ? ORDER BY sequence, key LIMIT ?
"""
#: As :func:`sightline.store.kinds.is_own` says.
_OWN = """kind IN ('event', 'event_end', 'notification') AND coalesce(
    json_extract(body, '$.alert.kind'), json_extract(body, '$.kind'), ''
) NOT IN ({})""".format(", ".join(f"'{kind}'" for kind in sorted(RULE_KINDS)))
_OWN_OUTBOX = _OUTBOX.replace("WHERE", f"WHERE {_OWN} AND")
_TROUBLES = f"SELECT body FROM records WHERE {_OWN} AND kind = 'event' ORDER BY sequence"  # noqa: S608
_HEARTBEAT = "SELECT max(json_extract(body, '$.status_time')) FROM records WHERE kind = 'status'"
_PUT_ABSENT = _PUT_NEW + "NOTHING"
_PUT = _PUT_NEW + "UPDATE SET kind = excluded.kind, sequence = excluded.sequence, body = excluded.body"
_INTO_STATES = "INSERT INTO states (source, sequence, body) "
_IF_NEWER = """
ON CONFLICT (source) DO UPDATE SET sequence = excluded.sequence, body = excluded.body
WHERE excluded.sequence >= states.sequence
"""
_KEPT_STATES = "SELECT source, sequence, body FROM states"
_SPOOLED_STATES = """
SELECT source, sequence, iif(json_valid(body), coalesce(json_extract(body, '$.resume'), '{}'), 'damaged')
FROM records WHERE kind = 'resume' AND sequence <= ?
"""
_OPEN_WINDOWS = """
SELECT kind, source, key, sequence, body, '[]' FROM records
WHERE window_start > ? AND kind IN ('count', 'window', 'unwatched')
    AND iif(json_valid(body), json_extract(body, '$.window_end'), 0) > ?
"""
_ALL_STATES = _KEPT_STATES + " UNION ALL " + _SPOOLED_STATES + "ORDER BY sequence"


_FACT = "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


class Spool:
    """The file. Any thread may use it; one at a time gets in.

    One process owns it: a second one is refused while the first lives.

    Args:
        path: of the file; created when it is missing, moved aside when it is damaged.
        max_bytes: bound of the file. Its write-ahead log adds up to 4 MiB.

    Raises:
        StoreUnavailable: by every method: the file cannot be read or written, and is as it was before.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.dropped_rows = 0
        self._max_bytes = max_bytes
        self._lock = threading.Lock()  # guards the two below
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    @property
    def name(self) -> str:
        """Under which a program owns the database whose rows wait here: one that goes on with it, too."""
        with self._transaction() as connection:
            return str(self._facts(connection)["name"])

    def bind(self, url: str, identity: str = "", *, same: bool = False) -> None:
        """Use the spool for this database from now on; what waits in it for another one is set aside.

        Args:
            url: the database's, without credentials.
            identity: the database's own; "" while it is away: then the URL alone tells.
            same: it is the same one, made anew.
        """
        facts = {"url": url, "identity": identity} if identity else {"url": url}
        with self._transaction() as connection:
            before = self._facts(connection)
            key = "identity" if identity and "identity" in before else "url"
            waits = connection.execute("SELECT count(*) FROM records").fetchone()[0]
            foreign = not same and before.get(key, facts[key]) != facts[key]
            if foreign and not waits:
                connection.execute("DELETE FROM states")
            if not (foreign and waits):
                connection.executemany(_FACT, facts.items())
                return
        other = f"{before['url']} ({before.get('identity', 'not reached yet')})"
        aside = self._set_aside("of-another-database")
        log.error("spool: %d rows wait for the database %s; they are kept in %s", waits, other, aside)
        with self._transaction() as connection:
            connection.executemany(_FACT, {**facts, "name": before["name"]}.items())

    def supersede(self, ended: float) -> None:
        """Let what waits fill holes only, and forget resume states: another program owned the database.

        Events of the time in which it may have seen them itself, until ``ended`` (UTC epoch), are dropped.
        """
        with self._transaction(durable=True) as connection:
            seen = (self._facts(connection).get("owned_until", 0.0), ended)
            gone = connection.execute(
                "DELETE FROM records WHERE kind LIKE 'event%' AND window_start >= ? AND window_start < ?",
                seen,
            ).rowcount
            connection.execute("DELETE FROM records WHERE kind IN ('resume', 'status')")
            connection.execute("DELETE FROM states")
            older = "UPDATE records SET sequence = sequence - ? WHERE sequence >= 0"
            waits = connection.execute(older, (_SUPERSEDED,)).rowcount
        self.dropped_rows += gone
        if waits or gone:
            text = "another program has owned the database: %d rows fill holes only, %d events are dropped"
            log.warning(f"spool: {text}", waits, gone)

    def put(self, rows: Iterable[PendingRow]) -> None:
        """Keep rows, and be sure that they are on the disk."""
        now = time.time()
        with self._transaction(durable=True) as connection:
            for row in rows:
                put = _PUT_ABSENT if row.kind.first_wins else _PUT
                head = (row.key, row.kind.name, row.source, row.sequence, row.time, now)
                if connection.execute(put, (*head, json.dumps(dict(row.values)))).rowcount:
                    sinks = ((sink, row.key) for sink in row.sinks)
                    connection.executemany("INSERT OR IGNORE INTO outbox (sink, key) VALUES (?, ?)", sinks)
            self._make_room(connection)

    def remember_resume(self, rows: Iterable[PendingRow], owned_until: float) -> None:
        """Remember resume states that the database already has, for a start while it is away.

        ``owned_until`` is the UTC epoch second before which no other program can have owned it.
        """
        with self._transaction() as connection:
            connection.execute(_FACT, ("owned_until", owned_until))
            states = ((row.source, row.sequence, json.dumps(row.values["resume"])) for row in rows)
            connection.executemany(_INTO_STATES + "VALUES (?, ?, ?)" + _IF_NEWER, states)

    def oldest(self, limit: int, after: int) -> list[PendingRow]:
        """About ``limit`` rows above sequence ``after``, in the order in which they must be replayed.

        Checkpoints are not torn: a source's resume state never comes before a row that is older.
        """
        with self._transaction() as connection:
            return self._rows(connection, _OLDEST, (after, limit, _MAX_SEQUENCE))

    def outbox(self, sink: str, limit: int, *, own: bool = False) -> list[PendingRow]:
        """The oldest ``limit`` rows that a sink has still to be given; only this program's ``own``, if so."""
        with self._transaction() as connection:
            return self._rows(connection, _OWN_OUTBOX if own else _OUTBOX, (sink, limit))

    def open_troubles(self) -> tuple[OpenEvent, ...]:
        """The troubles of the system itself whose ends have not been spooled."""
        with self._transaction() as connection:
            seen = connection.execute(_HEARTBEAT).fetchone()[0] or 0.0
            rows = [json.loads(body) for (body,) in connection.execute(_TROUBLES)]
        events = [Event(**{**row, "kind": EventKind(row["kind"])}) for row in rows]
        going_on = [event for event in events if lasts(event.kind, event.direction)]
        return tuple(OpenEvent(event, max(event.confirmed_time, seen)) for event in going_on)

    def forget_delivered(self, delivered: Iterable[Delivered]) -> set[Delivered]:
        """Take rows out of the outbox; returns those that were in it here."""
        query = (
            "DELETE FROM outbox WHERE sink = ? AND key = ? "
            "AND (SELECT sequence FROM records WHERE records.key = outbox.key) <= ?"
        )
        with self._transaction() as connection:
            return {item for item in delivered if connection.execute(query, item).rowcount}

    def remove_up_to(self, sequence: int) -> None:
        """Forget rows that the database has now, but remember their resume states."""
        with self._transaction() as connection:
            connection.execute(_INTO_STATES + _SPOOLED_STATES + _IF_NEWER, (sequence,))
            connection.execute("DELETE FROM records WHERE sequence <= ?", (sequence,))
        self._shrink()

    def waiting(self, after: int) -> tuple[int, float | None, float]:
        """How many rows above sequence ``after`` there are, when the oldest was spooled (UTC epoch seconds).

        And how much of the space is used, 0..1.
        """
        query = "SELECT count(*), min(spooled_at) FROM records WHERE sequence > ?"
        with self._transaction() as connection:
            count, since = connection.execute(query, (after,)).fetchone()
            return int(count), since, _used_bytes(connection) / self._max_bytes

    def states(self) -> ResumeStates:
        """By source: sequence and resume state of its newest checkpoint, spooled or already stored."""
        with self._transaction() as connection:
            states = connection.execute(_ALL_STATES, (_MAX_SEQUENCE,))
            return {source: (sequence, parse_resume(source, body)) for source, sequence, body in states}

    def open_windows(self) -> list[PendingRow]:
        """The spooled rows of windows that may still be open."""
        since = time.time() - OPEN_S
        with self._transaction() as connection:
            return self._rows(connection, _OPEN_WINDOWS, (since - MAX_WINDOW_S, since))

    def close(self) -> None:
        """Close the file for good; later uses raise :class:`StoreUnavailable`."""
        with self._lock:
            self._closed = True
            self._disconnect()

    # -- the file -------------------------------------------------------------------------------------

    def _rows(
        self, connection: sqlite3.Connection, query: str, values: tuple[str | float, ...]
    ) -> list[PendingRow]:
        """What the query finds; damaged rows are dropped and counted: they would hold up all others."""
        try:
            return [_pending(row) for row in connection.execute(query, values)]
        except ValueError:
            gone = connection.execute("DELETE FROM records WHERE NOT json_valid(body)").rowcount
            if not gone:
                raise
            log.error("spool: %d rows are damaged, and dropped", gone)
            self.dropped_rows += gone
            return [_pending(row) for row in connection.execute(query, values)]

    def _facts(self, connection: sqlite3.Connection) -> dict[str, Any]:
        return dict(connection.execute("SELECT name, value FROM facts"))

    @contextmanager
    def _transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                connection = self._open()
                # NORMAL survives a kill, FULL a power cut too.
                connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException as error:
                self._disconnect()  # rolls back
                if isinstance(error, sqlite3.Error | OSError):
                    raise StoreUnavailable(f"spool {self.path}: {error}") from error
                raise

    def _set_aside(self, why: str) -> Path:
        """Rename the file; the next use makes another one."""
        aside = self.path.with_name(f"{self.path.name}.{why}-{time.time_ns()}")
        self._disconnect()
        self.path.rename(aside)
        return aside

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            raise sqlite3.OperationalError("it has been closed")
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            keep_from_others(self.path)
            try:
                self._connection = self._connect()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise  # full, locked, read-only: not damaged
                aside = self._set_aside("damaged")
                log.error("spool: %s is damaged (%s); it is now %s", self.path, error, aside)
                self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            # Exclusive: two programs on one spool would each replay the other's rows.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA foreign_keys = ON")
            written = connection.execute("PRAGMA user_version").fetchone()[0]
            if written > _FORMAT:
                raise sqlite3.OperationalError(f"its format is {written}, this program knows {_FORMAT}")
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {_FORMAT}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_room(self, connection: sqlite3.Connection) -> None:
        """Drop the oldest windows until the file's used pages fit; call inside a transaction."""
        while _used_bytes(connection) > self._max_bytes:
            gone = connection.execute(
                "DELETE FROM records WHERE key IN (SELECT key FROM records "
                "WHERE window_start < 9e999 ORDER BY window_start LIMIT ?)",
                (_DROP_AT_ONCE,),
            ).rowcount
            if not gone:
                return
            if not self.dropped_rows:
                log.error("spool: %s is full; the oldest windows are dropped", self.path)
            self.dropped_rows += gone

    def _shrink(self) -> None:
        """Give the disk back what an outage took."""
        with self._lock:
            try:
                connection = self._open()
                if _bytes_of(connection, "freelist_count") > _MEBIBYTE:
                    # As a script: execute() steps once and so frees a single page.
                    connection.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                log.warning("spool: %s keeps its size: %s", self.path, error)


def _bytes_of(connection: sqlite3.Connection, pages: str) -> int:
    count, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in (pages, "page_size"))
    return int(count * size)


def _used_bytes(connection: sqlite3.Connection) -> int:
    return _bytes_of(connection, "page_count") - _bytes_of(connection, "freelist_count")


def _pending(row: tuple[Any, ...]) -> PendingRow:
    name, source, key, sequence, body, sinks = row
    return PendingRow(KINDS[name], source, key, sequence, json.loads(body), tuple(json.loads(sinks)))
