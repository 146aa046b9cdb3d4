"""What a sink is, and the thread that each has, so that none holds up the writer or another sink."""

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from sightline.base.backoff import Backoff
from sightline.base.redact import outside_text
from sightline.camera.messages import Report
from sightline.config import Camera, Config
from sightline.entities import EventKind, Result
from sightline.store.kinds import PendingRow, is_event
from sightline.store.outbox import Outbox

log = logging.getLogger(__name__)

BATCH = 100  # messages that a sink is given at once
POLL_S = 10.0  # in case rows came without notice: those of an earlier start, or of a database that is back
RETRY_S = (1.0, 60.0)
MAX_PROBLEM = 500  # characters of an error that are shown
SLOW_S = 30.0  # a call that takes longer is shown as a failure


class PartlyDelivered(OSError):
    """Only the rows with the keys ``taken`` are safe; the others of those that were given come again."""

    def __init__(self, problem: str, taken: Collection[str]) -> None:
        super().__init__(problem)
        self.taken = taken


class DurableSink(ABC):
    """Takes every result that it wants from the outbox at least once, oldest first of what can be reached.

    It has a thread of its own, in which all but :meth:`wants` and the updates are called.
    """

    name: str  # stands in the outbox: renaming a sink leaves what waits for it behind
    trouble = EventKind.DELIVERY_FAILED  # when every attempt of a minute fails, or something is given up
    tick_s = POLL_S  # between two ticks, at most
    given_up = 0  # messages that it will never deliver; each was said in the log
    gave_up_s: float | None = None  # monotonic; when it did so last, and people are to be told
    batch = BATCH  # messages that it is given at once, at most
    slow_s = SLOW_S  # a call that takes longer is shown as a failure
    ticks_alone = False  # it has something to do in time though another program may own the database
    _put: Callable[[Iterable[Result]], object] = list  # writes rows, once it is attached
    database_is_away = False  # set before each call; after a while only the program's own troubles come

    def wants(self, row: PendingRow) -> bool:
        """Whether it is to be given such a row; events and their ends by default. Called by any thread."""
        return is_event(row)

    def give_up(self) -> None:
        """Count a message that will never be delivered; people are told that there is one."""
        self.given_up += 1
        self.gave_up_s = time.monotonic()

    def attach(self, put: Callable[[Iterable[Result]], object]) -> None:
        """Learn how to write rows, before anything is delivered; for sinks that make some of what they get.

        Rows that are put before :meth:`deliver` returns are committed before what was delivered is forgotten.
        """
        self._put = put

    def update(self, config: Config) -> None:
        """Other hot options hold from now on. Called by any thread."""
        return

    def update_cameras(self, cameras: Mapping[str, Camera]) -> None:
        """These cameras are watched from now on, with these options. Called by any thread."""
        return

    @abstractmethod
    def deliver(self, rows: Sequence[PendingRow]) -> None:
        """Hand the rows on; return once they are safe there.

        Whatever it raises, all of them come again after a back-off, but for what :class:`PartlyDelivered`
        names. After a crash some may come a second time, with the same ``key``.
        """

    def tick(self) -> None:
        """Time has passed; called after each delivery as well, while this program owns the database.

        With :attr:`ticks_alone` also while it may have lost the database, which is away.

        An error is a failed attempt.
        """
        return

    def close(self) -> None:
        """Close connections and files."""
        return


class TickingSink(DurableSink):
    """Takes no rows: it is there for the thread that each sink has, and works in :meth:`tick`."""

    def wants(self, row: PendingRow) -> bool:
        """None."""
        del row
        return False

    def deliver(self, rows: Sequence[PendingRow]) -> None:
        """Nothing is ever delivered."""


class LossySink(Protocol):
    """Takes the newest report of each camera, in a thread of its own."""

    name: str

    def show(self, report: Report) -> None:
        """Show a camera's report. An error is logged and counted; the next report comes all the same."""

    def close(self) -> None:
        """Close connections and files."""


Sink = DurableSink | LossySink
AnySink = TypeVar("AnySink", DurableSink, LossySink)


@dataclass(frozen=True, slots=True)
class SinkHealth:
    """How a sink does, for /healthz, /status and the metrics."""

    name: str
    ok: bool  # the last attempt succeeded, and none takes too long
    delivered: int  # messages; reports of a lossy sink
    failures: int  # attempts that failed
    dropped: int  # reports that a newer one replaced; always 0 for a durable sink
    last_error: str  # without credentials; empty when all is well
    given_up: int = 0  # messages that the other side will never take; always 0 for a lossy sink
    trouble: EventKind | None = None  # the event that it is when every attempt of a minute fails
    gave_up_ago_s: float | None = None  # since it gave up something that people are to know of


class SinkRunner(ABC, Generic[AnySink]):
    """The thread, the counters and the end of a sink, the same for both kinds.

    Any thread may call every method; only :meth:`stop` waits.
    """

    def __init__(self, sink: AnySink) -> None:
        self.sink: AnySink = sink
        self.name = sink.name
        times = (sink.tick_s, sink.slow_s) if isinstance(sink, DurableSink) else (POLL_S, SLOW_S)
        self._poll_s, self._slow_s = times
        self._stop = threading.Event()
        self._bell = threading.Event()
        self._delivered = self._failures = self._dropped = 0
        self._last_error = ""
        self._called_s: float | None = None  # monotonic; since when the sink has been at work
        self._after: SinkRunner[Any] | None = None
        self._thread = threading.Thread(target=self._run, name=f"sink-{sink.name}", daemon=True)

    def start(self, after: "SinkRunner[Any] | None" = None) -> None:
        """Start the thread, which begins once another one has ended: the same is not to be told by both."""
        self._after = after
        self._thread.start()

    def wake(self) -> None:
        """There is something new."""
        self._bell.set()

    def health(self) -> SinkHealth:
        """How the sink does."""
        called_s, error = self._called_s, self._last_error
        if called_s is not None and time.monotonic() - called_s > self._slow_s:
            error = f"no answer for {time.monotonic() - called_s:.0f} s"
        durable = self.sink if isinstance(self.sink, DurableSink) else None
        gave_up_s = durable.gave_up_s if durable is not None else None
        ago_s = None if gave_up_s is None else time.monotonic() - gave_up_s
        more = (durable.given_up, durable.trouble, ago_s) if durable is not None else ()
        counts = (self._delivered, self._failures, self._dropped)
        return SinkHealth(self.sink.name, not error, *counts, error, *more)

    def ask_to_stop(self) -> None:
        """Hand over what waits already, close the sink, and end."""
        self._stop.set()
        self.wake()

    def stop(self, timeout_s: float) -> None:
        """Ask it to stop, and give up after ``timeout_s``."""
        self.ask_to_stop()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.error("sink %s: does not end; what it was given last comes again", self.sink.name)

    def wait(self) -> None:
        """Wait until it has ended, however long its last call takes."""
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    @abstractmethod
    def _work(self) -> float:
        """Hand over what waits; gives the seconds in which something new is no reason to try again."""

    def _run(self) -> None:
        after, self._after = self._after, None
        if after is not None:
            after.wait()
        try:
            while True:
                stopping = self._stop.is_set()
                self._bell.clear()
                delay_s = self._work()
                if stopping:
                    return
                if delay_s:
                    self._stop.wait(delay_s)
                else:
                    self._bell.wait(self._poll_s)
        finally:
            self.sink.close()

    def _attempt(self, work: Callable[[], int | None]) -> int:
        """Do what gives the number of things that the sink took (None: one); -1 when it failed somehow."""
        self._called_s = time.monotonic()
        try:
            count = work()
            taken = 1 if count is None else count
        except Exception as error:  # noqa: BLE001 - it is counted and shown
            self._failures += 1
            problem = outside_text(error, limit=MAX_PROBLEM) or type(error).__name__
            if not self._last_error:
                log.warning("sink %s: %s", self.sink.name, problem)
            self._last_error = problem
            return -1
        finally:
            self._called_s = None
        if self._last_error:
            log.info("sink %s: works again", self.sink.name)
        self._delivered += taken
        self._last_error = ""
        return taken


class DurableRunner(SinkRunner[DurableSink]):
    """Brings the outbox to a durable sink, batch by batch.

    Args:
        sink: where to.
        outbox: what waits for it, by its name.
        retry_s: first and longest wait after a failure.
    """

    def __init__(self, sink: DurableSink, outbox: Outbox, *, retry_s: tuple[float, float] = RETRY_S) -> None:
        super().__init__(sink)
        self._outbox = outbox
        self._backoff = Backoff(*retry_s)
        self._has_news = True  # the outbox may hold something: ticks alone are no reason to read it
        self._next_read_s = 0.0  # monotonic

    def wake(self) -> None:
        """There is something new."""
        self._has_news = True
        super().wake()

    def _work(self) -> float:
        while (taken := self._attempt(self._deliver_batch)) == self.sink.batch:
            self._has_news = True
        if taken < 0:
            self._has_news = True
            return self._backoff.next_delay_s()
        self._backoff.good()
        return 0.0

    def _deliver_batch(self) -> int:
        alone = not self._outbox.is_open()
        if alone and not self._outbox.is_alone():
            return 0
        self.sink.database_is_away = self._outbox.is_away()
        rows: list[PendingRow] = []
        if self._has_news or time.monotonic() >= self._next_read_s:
            self._has_news, self._next_read_s = False, time.monotonic() + POLL_S
            rows = self._outbox.read(self.sink.name, self.sink.batch)
        if rows:
            try:
                self.sink.deliver(rows)
            except PartlyDelivered as error:
                self._outbox.acknowledge(self.sink.name, [row for row in rows if row.key in error.taken])
                raise
            self._outbox.acknowledge(self.sink.name, rows)
        if self.sink.ticks_alone or not alone:
            self.sink.tick()
        return len(rows)


class LossyRunner(SinkRunner[LossySink]):
    """Shows the newest report of each camera; one that comes while its camera's waits takes its place."""

    def __init__(self, sink: LossySink) -> None:
        super().__init__(sink)
        self._lock = threading.Lock()  # guards the one below
        self._newest: dict[str, Report] = {}

    def offer(self, report: Report) -> None:
        """Take a report; never waits for the sink."""
        with self._lock:
            self._dropped += report.status.source in self._newest
            self._newest[report.status.source] = report
        self._bell.set()

    def _work(self) -> float:
        with self._lock:
            reports, self._newest = self._newest, {}
        for report in reports.values():
            self._attempt(partial(self.sink.show, report))
        return 0.0


def make_runner(sink: Sink, outbox: Outbox) -> DurableRunner | LossyRunner:
    """The thread that a sink needs."""
    return DurableRunner(sink, outbox) if isinstance(sink, DurableSink) else LossyRunner(sink)
