"""Where a batch of rows goes: the database, else the spool, else back to the caller.

Order is what keeps newer rows newer: while the spool holds anything, everything new goes through it; only
when it is empty does a batch go straight to the database.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from sightline.errors import NotOwner, OwnerSilent, SchemaError, StoreError, StoreUnavailable
from sightline.store.database import Store
from sightline.store.kinds import RESUME, Delivered, PendingRow, ResumeStates, with_stored
from sightline.store.lease import LEASE_S, Lease
from sightline.store.read.open_events import OpenEvents
from sightline.store.retention import Retention
from sightline.store.spool import MIN_SEQUENCE, Spool

log = logging.getLogger(__name__)

REPLAY_ROWS = 2000  # rows a transaction while the spool is replayed
RENEW_S = 2.0  # the lease is renewed after this long without a transaction
#: An answer is so long in coming that the database must be away; told at the same moment as it is given up.
SLOW_S = 2.5


@dataclass(slots=True)
class WriterHealth:
    """How writing goes, for /healthz and the metrics."""

    #: spooling (database away), memory (spool away too), refused (schema), stopped; standby (another program
    #: owns the database), lost (it has taken over)
    state: str = "ok"
    alarm: bool = False  # an operator must act: the spool cannot be written, or the schema is refused
    owns_database: bool = False  # no other program can have taken over; durable sinks wait otherwise
    owner: str = ""  # the program that owns it, as far as is known
    pending_records: int = 0  # in memory
    spooled_records: int = 0  # on disk, waiting for the database
    oldest_age_s: float = 0.0  # of what waits; 0 when nothing does
    database_away: bool = False  # it is locked, full, down or not ours: results are spooled
    spool_used: float = 0.0  # 0..1 of database.spool_max_bytes
    dropped_records: int = 0  # results lost because spool or memory was full
    rejected_rows: int = 0  # rows that the database will never take
    dropped_outbox_rows: int = 0  # that no sink has taken in time
    expired_rows: int = 0  # deleted, since they had been kept for long enough
    written_records: int = 0
    failures: int = 0  # attempts on the database that failed
    last_success_time: float | None = None  # UTC epoch seconds
    write_s: float = 0.0  # seconds that the last batch took in the database
    last_error: str = ""  # without credentials; empty when all is well


@dataclass(eq=False)
class SpooledStore:
    """Database and spool together. Not thread-safe; the plain attributes may be read from anywhere."""

    store: Store
    spool: Spool  # keeps rows while the database is away
    retry_s: tuple[float, float]  # first and longest wait before the database is tried again; jittered
    url: str = ""  # the database's, without credentials
    lease: Lease | None = None  # the store's; None where no other program can write
    waiting: int = 0  # rows in the spool
    waiting_since: float | None = None  # UTC epoch seconds
    spool_used: float = 0.0  # 0..1 of its limit
    open_events: OpenEvents | None = None  # as of when they were last read; None: never yet
    store_error: str = ""  # without credentials; empty when all is well
    spool_error: str = ""
    refused: bool = False  # the database's schema is not ours
    lost: bool = False  # another program owns the database, for good
    health: WriterHealth = field(default_factory=WriterHealth)  # what writing to the database alone tells
    _delay_s: float = 0.0
    _next_try_s: float = 0.0  # monotonic
    _replayed: int = MIN_SEQUENCE  # spooled rows up to this sequence are in the database
    _identity: str = ""  # the database's when it was last used
    _used_s: float = 0.0  # monotonic; when it last was
    _asked_s: float | None = None  # monotonic; since when it has not answered

    @property
    def is_away(self) -> bool:
        """The database does not take rows, or has not answered for a while."""
        asked_s = self._asked_s
        return bool(self.store_error) or (asked_s is not None and time.monotonic() - asked_s > SLOW_S)

    @property
    def is_replaying(self) -> bool:
        """Rows wait in the spool and the database takes them."""
        return self.waiting > 0 and not self.store_error

    @property
    def is_up_to_date(self) -> bool:
        """The database takes rows, and none waits in the spool."""
        return not self.waiting and not self.store_error

    def open(self, *, away: bool = True) -> ResumeStates:
        """By source, sequence and resume state of the newest checkpoint that spool or database know.

        Beside the states are the rows of windows that may still be open; see :func:`with_stored`.

        Raises:
            SchemaError: the database is not one this program can use.
            NotOwner: another program owns it.
            OwnerSilent: its owner may have died; ask again within a second or so.
            StoreUnavailable: it is away, unless ``away`` says that the spool will do.
        """
        newest: ResumeStates = {}
        windows: dict[str, PendingRow] = {}
        try:
            newest = self.store.resume_states()
            windows = {row.key: row for row in self.store.open_windows()}
        except StoreUnavailable as error:
            if isinstance(error, OwnerSilent) or not away:
                raise
            self._store_failed(error)
            self.store.was_away = True
            with self._spool_errors_noted():
                self.spool.bind(self.url)
                self.open_events = OpenEvents(time.monotonic(), self.spool.open_troubles(), whole=False)
        else:
            self._settle()
        with self._spool_errors_noted():
            for source, state in self.spool.states().items():
                if state[0] >= newest.get(source, (0, {}))[0]:
                    newest[source] = state
            for row in self.spool.open_windows():
                if row.key not in windows or row.sequence >= windows[row.key].sequence:
                    windows[row.key] = row
            self._count_waiting()
        return with_stored(newest, windows.values())

    def _settle(self) -> None:
        """Make the spool that of the database which has just been opened."""
        if self._identity == self.store.identity:
            return
        with self._spool_errors_noted():
            self.spool.bind(self.url, self.store.identity, same=bool(self._identity))
            if self.lease is not None and self.lease.previous not in {"", self.spool.name}:
                self.spool.supersede(self.lease.previous_until)
            self._count_waiting()
            self._identity = self.store.identity

    def deliver(self, batch: Sequence[PendingRow]) -> bool:
        """Bring a batch to the database, or into the spool where that holds rows or the database is away.

        Returns:
            False when neither took the batch: it is still the caller's.
        """
        idle = not batch and not self.waiting and time.monotonic() - self._used_s > RENEW_S
        if self._is_due() and (idle or not self._identity):
            self._try(self.store.renew)
        if self.waiting:
            return not batch or self.to_spool(batch)
        if not batch:
            return True
        if self._is_due() and self._to_store(batch):
            with self._spool_errors_noted(works=True):
                resume = [row for row in batch if row.kind is RESUME]
                self.spool.remember_resume(resume, time.time() + LEASE_S - self.health.write_s)
            return True
        return self.to_spool(batch)

    def to_spool(self, batch: Sequence[PendingRow]) -> bool:
        """Put a batch into the spool; False when it cannot be written."""
        with self._spool_errors_noted(works=True):
            self.spool.put(batch)
            self._count_waiting()
            return True
        return False

    def forget_delivered(self, delivered: Sequence[Delivered]) -> Sequence[Delivered]:
        """Take rows out of the outbox, wherever they are.

        Returns:
            Those that are dealt with; the others are in the database, which is away.
        """
        spooled: set[Delivered] = set()
        with self._spool_errors_noted():
            spooled = self.spool.forget_delivered(delivered)
        stored = [item for item in delivered if item not in spooled]
        if not stored or (not self.store_error and self._try(lambda: self.store.forget_delivered(stored))):
            return delivered
        return list(spooled)

    def trim_outbox(self, sinks: Sequence[str]) -> None:
        """Drop what no sink has taken, as :meth:`Store.trim_outbox` says; later when the database is away."""
        if not self.store_error:
            self._try(lambda: self.store.trim_outbox(sinks))

    def roll_up(self) -> None:
        """Bring hours and days up to date, as :meth:`Store.roll_up` says; later when the database is away."""
        if self.is_up_to_date:
            self._try(self.store.roll_up)

    def delete_expired(self, retention: Retention) -> None:
        """Delete some of what has been kept for long enough."""
        self._try(lambda: self.store.delete_expired(retention))

    def read_open_events(self, put_s: float) -> None:
        """Read which events go on; what was put before ``put_s`` (monotonic) has been delivered.

        Not while the spool holds rows, or the database is away: ends may be among them.
        """

        def read() -> None:
            self.open_events = OpenEvents(put_s, self.store.open_events())

        if self.is_up_to_date:
            self._try(read)

    def try_now(self) -> None:
        """Forget the back-off for the next attempt."""
        self._next_try_s = 0.0

    def replay(self) -> None:
        """Bring a part of what waits in the spool to the database, when that is due."""
        if not self.waiting or not self._is_due():
            return
        with self._spool_errors_noted():
            if rows := self.spool.oldest(REPLAY_ROWS, self._replayed):
                if not self._to_store(rows):
                    return
                self._replayed = rows[-1].sequence
                self.waiting = max(0, self.waiting - len(rows))
            # When this fails (disk full) the rows are skipped all the same, here by their sequence and
            # after a restart by the store, which lets older rows fill holes only.
            self.spool.remove_up_to(self._replayed)
            self._count_waiting()
        if not self.waiting:
            log.info("database: everything spooled has been written")

    def _count_waiting(self) -> None:
        self.waiting, self.waiting_since, self.spool_used = self.spool.waiting(self._replayed)

    def _is_due(self) -> bool:
        return not self.lost and time.monotonic() >= self._next_try_s

    def _to_store(self, batch: Sequence[PendingRow]) -> bool:
        started_s = time.monotonic()
        if not self._try(lambda: self.store.write_rows(batch)):
            return False
        self.health.written_records += len(batch)
        self.health.last_success_time, self.health.write_s = time.time(), time.monotonic() - started_s
        return True

    def _try(self, work: Callable[[], None]) -> bool:
        """Do something in the database; whether it was done."""
        self._asked_s = time.monotonic()
        try:
            work()
        except StoreError as error:
            self._store_failed(error)
            return False
        finally:
            self._asked_s = None
        if self.store_error:
            log.info("database: back after %d failed attempts", self.health.failures)
        self.store_error, self.refused, self._delay_s = "", False, 0.0
        self._used_s = time.monotonic()
        self._settle()
        return True

    def _store_failed(self, error: StoreError) -> None:
        first, longest = self.retry_s
        self.refused, self.lost = isinstance(error, SchemaError), isinstance(error, NotOwner)
        self._delay_s = longest if self.refused else min(longest, self._delay_s * 2 or first)
        self._next_try_s = time.monotonic() + self._delay_s * random.uniform(0.5, 1.0)  # noqa: S311
        self.health.failures += 1
        if not self.store_error:
            log.warning("database: results are spooled: %s", error)
        self.store_error = str(error)

    @contextmanager
    def _spool_errors_noted(self, *, works: bool = False) -> Iterator[None]:
        """Work on the spool; what fails is noted, and the rest of the block is left out.

        After a block that ``works`` the spool is believed to be well again.
        """
        try:
            yield
        except StoreUnavailable as error:
            if not self.spool_error:
                log.error("spool: cannot be used, results are kept in memory: %s", error)
            self.spool_error = str(error)
            return
        if works and self.spool_error:
            log.info("spool: works again")
            self.spool_error = ""
