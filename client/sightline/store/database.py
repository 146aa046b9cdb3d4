"""The database: SQLite by default, Postgres by URL. One connection, one writer, idempotent upserts."""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from sightline.base.file_modes import keep_from_others
from sightline.errors import NotOwner, OwnerSilent, SchemaError, StoreError, StoreUnavailable
from sightline.store import migrations, rollups
from sightline.store.dialects import giving_up, make_engine, parse_url, text_of, upsert
from sightline.store.kinds import (
    COUNT,
    KINDS,
    MAX_WINDOW_S,
    OPEN_S,
    RESUME,
    WINDOW,
    Delivered,
    PendingRow,
    ResumeStates,
    RowKind,
    is_event,
    merge,
    parse_resume,
)
from sightline.store.lease import Lease
from sightline.store.read.open_events import OpenEvent, read_open_events
from sightline.store.retention import Retention
from sightline.store.tables import IdentityRow, LeaseRow, OutboxRow, table_of, with_epochs

log = logging.getLogger(__name__)

WRITE_TIMEOUT_S = 6.0  # a Postgres that says nothing for this long is taken for gone
MAX_OUTBOX_AGE_S = 7 * 86_400.0
ROLL_UP_AT_ONCE = 8  # hours, and as many days, of all cameras: some 0.1 s
MAX_OUTBOX_ROWS = 100_000  # for each sink
_OUTBOX, _LEASES, _IDENTITY = table_of(OutboxRow), table_of(LeaseRow), table_of(IdentityRow)
#: What is old stands first in every index, whatever Postgres' statistics of a while ago say: by them it reads
#: whole tables for a few rows. What is not on the disk yet when its server dies is deleted once more.
_DELETING = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "synchronous_commit")
_REFUSALS = (DataError, IntegrityError, StatementError, ValueError, TypeError, OverflowError)


class Store:
    """Writes results and reads what workers resume from.

    Not thread-safe: one thread uses it. Nothing is opened before :meth:`open`.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql://USER:PASSWORD@HOST/NAME``.
        lease: renewed or taken first in every transaction; None where no other program can write.
        write_timeout_s: a Postgres statement that takes longer is given up.

    Raises:
        StoreError: the URL is of neither kind, or the Postgres driver is not installed.
        StoreUnavailable: by every method: it is locked, full or away; nothing was changed; try again later.
        SchemaError: by every method: its schema is newer than this program, or its tables are not ours.
        NotOwner: by every method: another program owns it; nothing was changed.
    """

    def __init__(
        self, url: str, lease: Lease | None = None, *, write_timeout_s: float = WRITE_TIMEOUT_S
    ) -> None:
        self.rejected_rows = 0  # rows that the database will never take
        self.dropped_outbox_rows = 0  # too old, or too many for a sink that takes none
        self.was_away = False  # when the program began: it counts without knowing what is stored
        self._rises_before = 0.0  # windows that began before this were counted by others, too
        self.identity = ""  # what tells this database from others; known once it has been opened
        #: Called when events or alerts have been committed; it must not block.
        self.on_change: Callable[[], object] = lambda: None
        self._lease = lease
        self._write_timeout_s = write_timeout_s
        self._engine = make_engine(parse_url(url), write_timeout_s)
        is_sqlite = self._engine.dialect.name == "sqlite"
        self._file = Path(self._engine.url.database or "") if is_sqlite else None
        self._file_id: tuple[int, int] | None = None
        self._known_sequences: dict[str, int] | None = None  # as found when opened; None: not open

    def open(self) -> None:
        """Connect, and bring the schema up to date; a SQLite file is copied beside itself before that."""
        with self._opened():
            pass

    def renew(self) -> None:
        """Renew the lease, and nothing else."""
        with self._opened(), self._writing():
            pass

    def announce(self) -> None:
        """Show that this program waits for the lease that another one holds."""
        try:
            if self._lease is not None:
                with self._transaction() as connection:
                    self._lease.announce(connection)
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise StoreUnavailable(text_of(error)) from error

    def release(self) -> None:
        """Give the lease back, if it is ours; other methods take it again."""
        if self._lease is not None and self._lease.fence:
            with self._opened(), self._transaction() as connection:
                self._lease.release(connection)

    def close(self) -> None:
        """Disconnect; :meth:`open` may be called again."""
        self._known_sequences = None
        self._engine.dispose()

    def _file_identity(self) -> tuple[int, int] | None:
        """Of the SQLite file: once it is deleted or replaced, what is written goes nowhere."""
        if self._file is not None:
            with suppress(OSError):
                stat = self._file.stat()
                return (stat.st_dev, stat.st_ino)
        return None

    def _before_migration(self, connection: Connection, revision: str) -> None:
        """Copy a SQLite file. Postgres migrates in one transaction, all or nothing, however long it takes."""
        if self._file is None:
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            connection.info["alarm"].cancel()
            return
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        copy = self._file.with_name(f"{self._file.name}.backup-{revision}-{stamp}")
        with closing(sqlite3.connect(self._file)) as old, closing(sqlite3.connect(copy)) as new:
            old.backup(new)
        log.info("database: revision %s is migrated; its copy is %s", revision, copy)

    # -- writing --------------------------------------------------------------------------------------

    def write_rows(self, rows: Iterable[PendingRow]) -> None:
        """Write rows in one transaction.

        A row older than what its camera had in the database when it was opened (from a spool that was
        mislaid) only fills holes. If it :attr:`was_away` when the program began, no count and no coverage is
        lowered of a window that began before it was reached. A row that the database will never take is left
        out, logged and counted in ``rejected_rows``; the others are written.
        """
        newest: dict[str, PendingRow] = {}
        merge(newest, rows)
        with self._opened() as known:
            self._write_or_split(list(newest.values()), known)

    def _write_or_split(self, rows: Sequence[PendingRow], known: Mapping[str, int]) -> None:
        """Write all; when the database refuses a value, halve until the bad row is alone."""

        def statement_of(row: PendingRow) -> tuple[str, bool, bool]:
            """Kind, whether the row is older than the database's, and whether it must not be less."""
            rises = bool(row.kind.rises) and row.time < self._rises_before
            return row.kind.name, row.sequence < known.get(row.source, 0), rises

        try:
            with self._writing() as connection:
                numbers = _number_changes(connection, rows)
                rollups.count_events(connection, filter(is_event, rows))
                for key, group in groupby(sorted(rows, key=statement_of), key=statement_of):
                    name, stale, rises = key
                    written = _upsert(connection, KINDS[name], list(group), numbers, stale=stale, rises=rises)
                    _put_into_outbox(connection, written)
                rollups.note_stale(connection, rows)
            if numbers:
                self.on_change()
        except _REFUSALS as error:
            if isinstance(error, DBAPIError) and not isinstance(error, DataError | IntegrityError):
                raise  # the database is away, not the value wrong
            if len(rows) > 1:
                middle = len(rows) // 2
                self._write_or_split(rows[:middle], known)
                self._write_or_split(rows[middle:], known)
                return
            self.rejected_rows += 1
            kind, source = rows[0].kind.name, rows[0].source
            log.warning("database: a %s row of %s is refused: %s", kind, source, text_of(error))

    def forget_delivered(self, delivered: Sequence[Delivered]) -> None:
        """Delete rows of the outbox."""
        outbox = _OUTBOX.c
        query = sa.delete(_OUTBOX).where(
            outbox.sink == sa.bindparam("of_sink"),
            outbox.key == sa.bindparam("of_key"),
            outbox.sequence <= sa.bindparam("up_to"),
        )
        values = [dict(zip(("of_sink", "of_key", "up_to"), item, strict=True)) for item in delivered]
        with self._opened(), self._writing() as connection:
            connection.execute(query, values)

    def trim_outbox(self, sinks: Sequence[str]) -> None:
        """Drop and count rows older than a week, and the oldest ones of a sink that has too many."""
        outbox = _OUTBOX.c
        oldest = datetime.now(UTC) - timedelta(seconds=MAX_OUTBOX_AGE_S)
        queries = [sa.delete(_OUTBOX).where(outbox.created_at < oldest)]
        for sink in sinks:
            newest = sa.select(outbox.sequence).where(outbox.sink == sink).order_by(outbox.sequence.desc())
            first = newest.offset(MAX_OUTBOX_ROWS - 1).limit(1).scalar_subquery()
            queries.append(sa.delete(_OUTBOX).where(outbox.sink == sink, outbox.sequence < first))
        with self._opened(), self._writing() as connection:
            dropped = sum(connection.execute(query).rowcount for query in queries)
        if dropped:
            log.error("outbox: %d rows that no sink has taken are dropped", dropped)
            self.dropped_outbox_rows += dropped

    def roll_up(self) -> None:
        """Sum some of the hours and days of which windows were written since."""
        with self._opened(), self._writing() as connection:
            rollups.roll_up(connection, ROLL_UP_AT_ONCE)

    def delete_expired(self, retention: Retention) -> None:
        """Delete some of what has been kept for long enough."""
        with self._opened():
            retention.delete_some(self._deleting)

    # -- reading --------------------------------------------------------------------------------------

    def resume_states(self) -> ResumeStates:
        """By source: the newest checkpoint's sequence and its resume state."""
        camera = RESUME.table.c
        query = sa.select(camera.source, camera.sequence, sa.cast(camera.resume, sa.Text))
        with self._opened(), self._transaction() as connection:
            return {
                source: (sequence, parse_resume(source, text))
                for source, sequence, text in connection.execute(query)
            }

    def open_windows(self) -> list[PendingRow]:
        """The rows of windows that may still be open."""
        since, rows = datetime.now(UTC) - timedelta(seconds=OPEN_S), list[PendingRow]()
        with self._opened() as known, self._transaction() as connection:
            for kind in (COUNT, WINDOW):
                table, names = kind.table.c, [column.name for column in fields(kind.entity)]
                query = sa.select(*(table[name] for name in names)).where(
                    table.window_end > since, table.window_start > since - timedelta(seconds=MAX_WINDOW_S)
                )
                for row in connection.execute(query):
                    entity = kind.entity(**with_epochs(row._asdict()))
                    rows.append(kind.pending(entity, known.get(entity.source, 0)))
        return rows

    def open_events(self) -> tuple[OpenEvent, ...]:
        """The events that go on. This renews the lease: they are ours."""
        with self._opened(), self._writing() as connection:
            return read_open_events(connection)

    # -- connecting -----------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """One transaction that cannot hang: a silent server is given up after the time-out."""
        with self._engine.connect() as connection:
            if self._file is not None:
                with connection.begin():
                    yield connection
                return
            with giving_up(connection, self._write_timeout_s) as connection.info["alarm"], connection.begin():
                yield connection

    @contextmanager
    def _writing(self, *, new: bool = False) -> Iterator[Connection]:
        """One transaction of the database's owner; a ``new`` connection finds the schema brought up to date.

        The owner is asked before the schema is touched: it may be an older program.
        """
        with self._transaction() as connection:
            hold = self._lease.hold if self._lease is not None else lambda _: None
            has_lease = not new or (
                sa.inspect(connection).has_table(_LEASES.name) and migrations.revision(connection) is not None
            )
            if has_lease:
                hold(connection)
            if new:
                migrations.migrate(connection, partial(self._before_migration, connection))
            if not has_lease:
                hold(connection)
            yield connection
        if self._lease is not None:
            self._lease.committed()

    @contextmanager
    def _deleting(self) -> Iterator[Connection]:
        """As :meth:`_writing`, of old rows."""
        with self._writing() as connection:
            if self._file is None:
                for setting in _DELETING:
                    connection.execute(sa.text(f"SET LOCAL {setting} = off"))
            yield connection

    @contextmanager
    def _opened(self) -> Iterator[Mapping[str, int]]:
        """The newest sequence of each camera when the database was opened.

        The library's errors become ours; after one, the next use connects anew.
        """
        try:
            if self._known_sequences is None or self._file_identity() != self._file_id:
                if self._file is not None:
                    self.close()
                    self._file.parent.mkdir(parents=True, exist_ok=True)
                    keep_from_others(self._file)
                with self._writing(new=True) as connection:
                    self.identity = str(connection.execute(sa.select(_IDENTITY.c.id)).scalar() or "")
                    cameras = sa.select(RESUME.table.c.source, RESUME.table.c.sequence)
                    self._known_sequences = {row.source: row.sequence for row in connection.execute(cameras)}
                self._file_id = self._file_identity()
                if self.was_away:
                    self.was_away, self._rises_before = False, time.time()
            yield self._known_sequences
        except (NotOwner, OwnerSilent):
            raise
        except StoreError:
            self.close()
            raise
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            self.close()
            if self._lease is not None:
                self._lease.out_of_sight()
            if "file is not a database" in str(error):
                raise SchemaError(f"{self._file} is not a SQLite database") from error
            raise StoreUnavailable(text_of(error)) from error


def _number_changes(connection: Connection, rows: Sequence[PendingRow]) -> Mapping[str, int]:
    """By key, numbers for the changes of rows that readers follow, in the order of commits.

    The row that holds the newest number stays locked until the transaction ends, whoever writes. Numbers are
    microseconds since 1970 where the clock allows: so none is given twice, though a power cut or a restored
    copy may have taken the database back.
    """
    keys = [row.key for row in rows if row.kind.is_followed]
    if not keys:
        return {}
    last, now = _IDENTITY.c.last_change, time.time_ns() // 1000
    first = sa.case((last >= now, last + 1), else_=now)
    update = sa.update(_IDENTITY).values(last_change=first + len(keys) - 1).returning(last)
    newest: int = connection.execute(update).scalar_one()
    return dict(zip(keys, range(newest - len(keys) + 1, newest + 1), strict=True))


def _upsert(
    connection: Connection,
    kind: RowKind,
    rows: Sequence[PendingRow],
    numbers: Mapping[str, int],
    *,
    stale: bool,
    rises: bool,
) -> list[PendingRow]:
    """Write rows of one kind, no two of one key, with the ``numbers`` of their changes.

    Existing rows stay when the new ones are ``stale``, and with ``rises`` where they are greater.

    Returns:
        The rows of which the outbox must know: those with sinks that were not there before, or were replaced.
    """
    unique = kind.unique or kind.key
    replaced = () if stale else kind.replaced_columns
    number = "change_number" if kind.is_followed else ""
    insert = upsert(
        connection, kind.table, unique, replaced, rises=kind.rises if rises else "", number=number
    )
    columns = [kind.columns(row, datetime.now(UTC)) for row in rows]
    for row, values in zip(rows, columns, strict=True):
        values.update({number: numbers[row.key]} if number else {})
    if not any(row.sinks for row in rows):
        connection.execute(insert, columns)
        return []
    returned = connection.execute(insert.returning(*(kind.table.c[name] for name in unique)), columns)
    written = {tuple(key) for key in returned}
    keys = (tuple(values[name] for name in unique) for values in columns)
    return [row for row, key in zip(rows, keys, strict=True) if key in written]


def _put_into_outbox(connection: Connection, rows: Sequence[PendingRow]) -> None:
    names = ("sink", "key", "sequence", "kind", "source", "body", "created_at")
    now = datetime.now(UTC)
    entries = [
        (sink, row.key, row.sequence, row.kind.name, row.source, dict(row.values), now)
        for row in rows
        for sink in row.sinks
    ]
    if entries:
        insert = upsert(connection, _OUTBOX, ("sink", "key"), ("sequence", "body"))
        connection.execute(insert, [dict(zip(names, entry, strict=True)) for entry in entries])
