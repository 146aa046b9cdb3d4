"""What durable sinks have still to be given, wherever it waits: in the database, or in the spool.

A row of the outbox stands for one result and one sink. It is written in the transaction that writes the
result itself, and deleted once the sink has taken it. Each sink has rows of its own rather than a position in
a common log: the log's part in the database may be out of reach while the part in the spool is not, so what a
sink was given from the spool does not mean that it has everything older.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

from sqlalchemy import select

from sightline.errors import StoreUnavailable
from sightline.store.kinds import KINDS, Delivered, PendingRow, Wants
from sightline.store.lease import Lease
from sightline.store.read.readonly import Database
from sightline.store.spool import MIN_SEQUENCE, Spool
from sightline.store.tables import OutboxRow, table_of

READ_WAIT_S = 0.5  # for a lock; a Postgres that says nothing for ten times as long is taken for gone


class Outbox:
    """Reads what waits for each sink, and remembers what has been delivered until that is committed.

    Any thread may read and acknowledge. The writer's thread commits acknowledgements, together with what it
    moves between spool and database, so that nothing it moves can come back.

    Args:
        url: the database.
        spool: what keeps rows while the database is away.
        sinks: by the durable sinks' names, which rows each of them wants.
        lease: held while no other program can have taken over, and tell the same.
        is_away: whether the database is known not to answer, so that it is not waited for; not where another
            program owns it.
        wake_writer: called when something is to be committed.
    """

    def __init__(
        self,
        url: str,
        spool: Spool,
        sinks: Mapping[str, Wants],
        lease: Lease,
        *,
        is_away: Callable[[], bool],
        wake_writer: Callable[[], None],
    ) -> None:
        self.sinks = dict(sinks)
        self._lease = lease
        self._database = Database(url, timeout_s=READ_WAIT_S)
        self._spool = spool
        self.is_away = is_away
        self._wake_writer = wake_writer
        #: By sink, called by the writer's thread whenever rows for it were committed; they must not block.
        self.listeners: dict[str, Callable[[], object]] = {}
        self._lock = threading.Lock()  # guards the one below
        self._delivered: dict[tuple[str, str], int] = {}  # by sink and key, not committed yet: the sequence
        self._settled = False  # nothing is left of what an earlier program had spooled

    def is_open(self) -> bool:
        """Whether sinks may work.

        No other program can own the database, and what an earlier one had spooled has been written: a sink
        that reads what it has made before finds all of it.
        """
        if self._lease.held and not self._settled:
            with suppress(StoreUnavailable):  # a spool that cannot be read holds nothing up
                if self._spool.waiting(MIN_SEQUENCE)[0]:
                    return False
            self._settled = True
        return self._lease.held

    def is_alone(self) -> bool:
        """Whether sinks may be told of this program's own troubles, and of nothing else.

        The database has been away for so long that another program may count in our place.
        """
        return not self._lease.held and self.is_away()

    def read(self, sink: str, limit: int) -> list[PendingRow]:
        """At most ``limit`` of what waits for a sink, oldest first; without what it acknowledged.

        Nothing while another program may own the database, but for what only this one can tell of a database
        that is away; see :func:`sightline.store.kinds.is_own`.

        Spool and database are each read when they can be; a row on its way from one to the other is in both
        or comes at the next call.

        Raises:
            StoreUnavailable: one of them cannot be read, though it should, and the other holds nothing.
        """
        alone = self.is_alone()
        if not (alone or self._lease.held):
            return []
        reads: list[Callable[[str, int], list[PendingRow]]] = [partial(self._spool.outbox, own=alone)]
        reads += [] if alone else [self._read_database]
        with self._lock:
            done = {key: sequence for (name, key), sequence in self._delivered.items() if name == sink}
        rows: dict[str, PendingRow] = {}
        problem: StoreUnavailable | None = None
        for read in reads:  # in this order: rows move the same way
            try:
                for row in read(sink, limit + len(done)):
                    if row.key not in rows or row.sequence > rows[row.key].sequence:
                        rows[row.key] = row
            except StoreUnavailable as error:
                problem = error
        waiting = [row for key, row in rows.items() if row.sequence > done.get(key, MIN_SEQUENCE)]
        if problem is not None and not waiting:
            raise problem
        return sorted(waiting, key=lambda row: (row.sequence, row.key))[:limit]

    def addressed(self, row: PendingRow) -> PendingRow:
        """The row with the names of the sinks that want it."""
        sinks = tuple(name for name, wants in self.sinks.items() if wants(row))
        return replace(row, sinks=sinks) if sinks else row

    def acknowledge(self, sink: str, rows: Iterable[PendingRow]) -> None:
        """Remember that a sink has these; they never come again, unless the program is killed at once."""
        with self._lock:
            self._delivered |= {(sink, row.key): row.sequence for row in rows}
        self._wake_writer()

    def close(self) -> None:
        """Disconnect."""
        self._database.close()

    # -- the writer's thread ----------------------------------------------------------------------------

    def delivered(self) -> list[Delivered]:
        """What is to be deleted, until :meth:`forget`."""
        with self._lock:
            return [Delivered(*names, sequence) for names, sequence in self._delivered.items()]

    def forget(self, delivered: Iterable[Delivered]) -> None:
        """These have been deleted from the outbox."""
        with self._lock:
            for sink, key, sequence in delivered:
                if self._delivered[sink, key] == sequence:
                    del self._delivered[sink, key]

    def _read_database(self, sink: str, limit: int) -> list[PendingRow]:
        if self.is_away():
            return []
        row = table_of(OutboxRow).c
        query = select(row.kind, row.source, row.key, row.sequence, row.body).where(row.sink == sink)
        query = query.order_by(row.sequence, row.key).limit(limit)
        with self._database.reading() as connection:
            return [PendingRow(KINDS[kind], *values) for kind, *values in connection.execute(query)]
