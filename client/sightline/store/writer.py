"""The one way to the database: a thread that merges rows, writes them, and spools and replays them."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from sightline.base.redact import redact
from sightline.config.groups import DatabaseOptions
from sightline.entities import CameraStatus, Checkpoint, Result, SourceWindow
from sightline.errors import NotOwner, StoreError, StoreUnavailable
from sightline.store.database import Store
from sightline.store.dialects import parse_url
from sightline.store.kinds import UNWATCHED, PendingRow, Wants, is_own, merge, pending_row, rows_of
from sightline.store.lease import Lease
from sightline.store.outbox import Outbox
from sightline.store.read.open_events import OpenEvents
from sightline.store.retention import Retention
from sightline.store.spool import Spool
from sightline.store.spooled_store import SpooledStore, WriterHealth

log = logging.getLogger(__name__)

FLUSH_EVERY_S = 0.5
#: Between two batches, on average. After a quiet moment five may go at once: an event, its alert, and so on.
MIN_FLUSH_S, FLUSH_BURST_S = 0.02, 0.08
TRIM_EVERY_S = 60.0
ROLL_UP_EVERY_S = 5.0
OPEN_EVENTS_EVERY_S = 2.0
_CURE = (
    "end that program first, give this one another database.url, or let it wait with --standby "
    "(database.standby: true), to take over when that one ends"
)
MAX_PENDING = 100_000  # rows in memory when neither database nor spool takes them
#: An owner is back well before LEASE_S, after which another program takes over. The first wait leaves time to
#: tell that the database is away: each try may wait for a server that does not answer.
RETRY_S = (1.0, 4.0)
STANDBY_POLL_S = 0.5
ANNOUNCE_EVERY_S = 5.0  # a stand-by, in the database


class Writer:
    """Takes results from the supervisor and brings them into the database, whatever happens to it.

    It owns the database: no other program writes there while it lives. See :mod:`sightline.store.lease`.

    ``put``, ``put_status``, ``mark_unwatched`` and ``health`` may be called from any thread and never wait
    for a disk or a server. The writer's own thread does the rest, and owns database and spool.

    Making it opens spool and database (which may be away) and starts the thread; :meth:`close` ends it.
    A stand-by opens them in the thread, as soon as no other program owns the database; see :meth:`is_open`.

    Args:
        options: database and spool, and whether another program's end is waited for.
        flush_every_s: results of this long are written together.
        retry_s: first and longest wait before the database is tried again, seconds.
        max_pending: bound of the memory used when the spool cannot be written either, rows.
        sinks: by the durable sinks' names, which rows each of them wants from the outbox.
        address: of the program's HTTP port, for others that find the database taken.

    Raises:
        SchemaError: the database is not one this program can use.
        NotOwner: another program owns it, and it is not to be waited for.
        StoreError: the URL is of no known kind.
    """

    def __init__(
        self,
        options: DatabaseOptions,
        *,
        flush_every_s: float = FLUSH_EVERY_S,
        retry_s: tuple[float, float] = RETRY_S,
        max_pending: int = MAX_PENDING,
        sinks: Mapping[str, Wants] | None = None,
        address: str = "",
    ) -> None:
        url = options.url.get_secret_value()
        name = parse_url(url).set(username=None, password=None, query={}).render_as_string()
        self.standby = options.standby
        self._spool = Spool(options.spool_path, options.spool_max_bytes)
        self.lease = Lease(self._spool, address)
        self._store = Store(url, self.lease)
        self._spooled_store = store = SpooledStore(self._store, self._spool, retry_s, name, self.lease)
        self._wake = threading.Event()  # something must be written at once, or it is time to stop
        #: Called when events or alerts have been committed; it must not block.
        self.on_change: Callable[[], object] = lambda: None
        self._store.on_change = lambda: self.on_change()  # noqa: PLW0108  it is set later
        away, wake = (lambda: store.is_away and not store.lost), self._wake.set
        self.outbox = Outbox(url, self._spool, sinks or {}, self.lease, is_away=away, wake_writer=wake)
        self.retention = Retention()
        self._told = False  # sinks know that they may read
        self.failure: StoreError | None = None  # why the program cannot go on: another one has taken over
        self._on_failure: Callable[[], object] = lambda: None
        self._next_trim_s = self._next_roll_up_s = self._next_open_events_s = 0.0  # monotonic
        self._flush_every_s = flush_every_s
        self._max_pending = max_pending
        self._stop = threading.Event()
        self._lock = threading.Lock()  # guards the seven below
        self._pending: dict[str, PendingRow] = {}
        self._pending_since: float | None = None  # UTC epoch seconds
        self._in_hand: dict[str, PendingRow] = {}  # taken by the thread, in neither database nor spool yet
        self._in_hand_since: float | None = None
        self._dropped = 0
        self._crash = ""  # what the thread last failed with
        self._closed = False
        self._resume: dict[str, dict[str, Any]] = {}
        self._sequence = 0
        self._open = threading.Event()
        self._rival = ""  # the program that owns the database while this one stands by
        if not self.standby:
            self._wait_until_owner()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    # -- the supervisor's side ------------------------------------------------------------------------

    def is_open(self) -> bool:
        """The database is ours, or away; False while another program owns it and we stand by."""
        return self._open.is_set()

    def when_failed(self, stop: Callable[[], object]) -> None:
        """From now on, have ``stop`` called once there is a :attr:`failure`; it must not block."""
        self._on_failure = stop
        if self.failure is not None:
            stop()

    def resume_states(self) -> dict[str, dict[str, Any]]:
        """By source, what its worker resumes from: the newest that spool and database knew at the start.

        With it are, as "stored", rows of windows that may still be open: they hold where a state knows less.
        """
        return dict(self._resume)

    def open_events(self) -> OpenEvents | None:
        """The events that go on, as the database last told.

        While it has not been reached yet: the spooled troubles that do, or None where there is no spool.
        """
        return self._spooled_store.open_events

    def put(self, checkpoint: Checkpoint) -> None:
        """Take a worker's rows and resume state."""
        self._take(lambda sequence: rows_of(checkpoint, sequence))

    def put_results(self, results: Iterable[Result]) -> None:
        """Take rows that are of no checkpoint: what the supervisor itself has to say."""
        self._take(lambda sequence: [pending_row(result, sequence) for result in results])

    def put_status(self, status: CameraStatus) -> None:
        """Take a camera's live status."""
        self._take(lambda sequence: [pending_row(status, sequence)])

    def mark_unwatched(self, windows: Sequence[SourceWindow]) -> None:
        """Take windows during which no worker ran; they never replace a row."""
        self._take(lambda sequence: (UNWATCHED.pending(window, sequence) for window in windows))

    def health(self) -> WriterHealth:
        """How writing goes."""
        store = self._spooled_store
        with self._lock:
            pending = len(self._pending) + len(self._in_hand)
            dropped = self._dropped + self._spool.dropped_rows
            times = (self._pending_since, self._in_hand_since, store.waiting_since)
            since = [time_ for time_ in times if time_ is not None]
        if self._closed or not self._thread.is_alive():
            state = "stopped"
        elif not self._open.is_set():
            state = "standby"
        elif store.lost:
            state = "lost"
        elif store.refused:
            state = "refused"
        elif store.store_error and store.spool_error:
            state = "memory"
        else:
            state = "spooling" if store.store_error or store.waiting else "ok"
        return replace(
            store.health,
            state=state,
            alarm=bool(store.spool_error) or store.refused or store.lost,
            owns_database=self.lease.held,
            owner=self.lease.owner,
            pending_records=pending,
            spooled_records=store.waiting,
            database_away=store.is_away,
            spool_used=store.spool_used,
            oldest_age_s=max(0.0, time.time() - min(since)) if since else 0.0,
            dropped_records=dropped,
            rejected_rows=self._store.rejected_rows,
            dropped_outbox_rows=self._store.dropped_outbox_rows,
            expired_rows=self.retention.deleted_rows,
            last_error=self._rival or store.store_error or store.spool_error or self._crash,
        )

    def close(self, timeout_s: float = 5.0) -> None:
        """Flush within the time given; what is left then stays in the spool for the next start."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout_s)
        with self._lock:
            if self._closed:
                return
            self._closed = True
            left = self._in_hand
            merge(left, self._pending.values())
            self._pending, self._in_hand = {}, {}
        if self._thread.is_alive():
            # It waits for the database and finds itself closed when that returns, so the spool is ours.
            log.warning("database: no answer after %.1f s at the end; the rest is spooled", timeout_s)
        else:
            with suppress(StoreError):  # away: the next program finds that this one has ended
                self._store.release()
            self._store.close()
        if left and not self._spooled_store.to_spool(list(left.values())):
            log.error("database: %d results are lost: %s", len(left), self._spooled_store.spool_error)
        self._spool.close()
        self.outbox.close()

    def _take(self, make: Callable[[int], Iterable[PendingRow]]) -> None:
        with self._lock:
            self._sequence = max(self._sequence + 1, time.time_ns() // 1000)
            rows = list(map(self.outbox.addressed, make(self._sequence)))
            merge(self._pending, rows)
            self._pending_since = self._pending_since or time.time()
            self._bound_pending()
        if any(row.kind.urgent for row in rows):
            self._wake.set()

    def _bound_pending(self) -> None:
        """Drop the oldest windows; call with the lock held."""
        over = len(self._pending) - self._max_pending
        if over <= 0:
            return
        # A tenth at once, so that this is not done for every row that comes.
        oldest = sorted(self._pending.values(), key=lambda row: row.time)[: over + self._max_pending // 10]
        for row in oldest:
            if row.time != math.inf:
                del self._pending[row.key]
                self._dropped += 1

    # -- the thread -----------------------------------------------------------------------------------

    def _wait_until_owner(self) -> None:
        """Open spool and database once no other program owns it; returns when told to stop, too.

        A stand-by does not count while the database is away: another program may own it. One that is told to
        stop does not complain of the owner.
        """
        standby, next_announcement_s = self.standby, 0.0
        try:
            while not self._stop.is_set():
                try:
                    newest = self._spooled_store.open(away=not standby)
                except (NotOwner, StoreUnavailable) as error:
                    if isinstance(error, NotOwner) and not standby:
                        raise NotOwner(f"{error}; {_CURE}") from error
                    if not self._rival:
                        log.warning("database: waiting: %s", error)
                    self._rival = str(error)
                    if isinstance(error, NotOwner) and time.monotonic() >= next_announcement_s:
                        next_announcement_s = time.monotonic() + ANNOUNCE_EVERY_S
                        with suppress(StoreUnavailable):  # it is asked again in a moment
                            self._store.announce()
                    self._stop.wait(STANDBY_POLL_S)
                    continue
                self._resume = {source: resume for source, (_, resume) in newest.items() if resume}
                self._sequence = max((sequence for sequence, _ in newest.values()), default=0)
                self._spooled_store.read_open_events(time.monotonic())
                self._rival = ""
                self._open.set()
                return
        except BaseException:
            self._spool.close()
            raise

    def _run(self) -> None:
        try:
            if not self._open.is_set():
                self._wait_until_owner()
        except StoreError as error:
            self._fail(error)
        stopping, next_step_s = not self._open.is_set(), 0.0
        while not stopping:
            self._rest()
            self._stop.wait(max(0.0, next_step_s - time.monotonic()))
            next_step_s = max(next_step_s, time.monotonic() - FLUSH_BURST_S) + MIN_FLUSH_S
            self._wake.clear()
            stopping = self._stop.is_set()
            if stopping:
                self._spooled_store.try_now()
            self._step()
            while self._spooled_store.is_replaying and not self._stop.is_set():
                self._step()

    def _rest(self) -> None:
        """Wait for something to write, for a flush at most; what has expired is deleted meanwhile."""
        until_s = time.monotonic() + self._flush_every_s
        while (left_s := until_s - time.monotonic()) > 0:
            due_s = self.retention.wait_s if self._spooled_store.is_up_to_date else math.inf
            if self._wake.wait(min(left_s, due_s)):
                return
            if due_s < left_s:
                with self._errors_noted("what has expired could not be deleted"):
                    self._spooled_store.delete_expired(self.retention)

    @contextmanager
    def _errors_noted(self, problem: str) -> Iterator[None]:
        """Go on after an error that is none of the database's: it is logged and shown."""
        try:
            yield
        except Exception as error:
            log.exception("writer: %s", problem)
            self._crash = redact(error)

    def _fail(self, error: StoreError) -> None:
        self.failure = error
        self._on_failure()

    def _wake_sinks(self, rows: Sequence[PendingRow]) -> None:
        """Some rows can be read now, or all of them again."""
        held, is_open = self.lease.held, self.outbox.is_open()
        back, self._told = is_open and not self._told, is_open
        wanted = {name for row in rows if held or is_own(row) for name in row.sinks}
        for name, on_rows in list(self.outbox.listeners.items()):
            if back or name in wanted:
                on_rows()

    def _step(self) -> None:
        # Asked first: a sink that has made rows of what it was given put them before it acknowledged.
        delivered, put_s = self.outbox.delivered(), time.monotonic()
        with self._lock:
            self._in_hand, self._pending = self._pending, {}
            self._in_hand_since, self._pending_since = self._pending_since, None
            batch = list(self._in_hand.values())
        taken = False
        with self._errors_noted("a batch failed; it is tried again"):
            taken = self._spooled_store.deliver(batch)
            self._wake_sinks(batch if taken else ())
            self._spooled_store.replay()
            self._wake_sinks(())
            if self._spooled_store.lost and self.failure is None:
                self._fail(NotOwner(self._spooled_store.store_error))
            if taken and delivered:
                self.outbox.forget(self._spooled_store.forget_delivered(delivered))
            if self.outbox.sinks and time.monotonic() >= self._next_trim_s:
                self._next_trim_s = time.monotonic() + TRIM_EVERY_S
                self._spooled_store.trim_outbox(list(self.outbox.sinks))
            if time.monotonic() >= self._next_roll_up_s:
                self._next_roll_up_s = time.monotonic() + ROLL_UP_EVERY_S
                self._spooled_store.roll_up()
            if taken and time.monotonic() >= self._next_open_events_s:
                self._next_open_events_s = time.monotonic() + OPEN_EVENTS_EVERY_S
                self._spooled_store.read_open_events(put_s)
        with self._lock:
            if not taken:
                merge(self._in_hand, self._pending.values())
                self._pending = self._in_hand
                self._pending_since = self._in_hand_since or self._pending_since
                self._bound_pending()
            self._in_hand, self._in_hand_since = {}, None
