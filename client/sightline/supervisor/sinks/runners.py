"""A thread for each sink, so that none of them holds up the writer, the workers or another sink."""

from __future__ import annotations

import logging
import threading
import time

from sightline.base.backoff import Backoff
from sightline.base.redact import redact
from sightline.camera.messages import Report
from sightline.store.outbox import Outbox
from sightline.supervisor.sinks import DurableSink, LossySink, Sink, SinkHealth

log = logging.getLogger(__name__)

BATCH = 100  # messages that a sink is given at once
POLL_S = 10.0  # in case rows came without notice: those of an earlier start, or of a database that is back
RETRY_S = (1.0, 60.0)
SLOW_S = 30.0  # a call that takes longer is shown as a failure


class SinkRunner:
    """The thread, the counters and the end of a sink, the same for both kinds.

    Any thread may call every method; only :meth:`stop` waits.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._stop = threading.Event()
        self._bell = threading.Event()
        self._delivered = self._failures = self._dropped = 0
        self._last_error = ""
        self._called_s: float | None = None  # monotonic; since when the sink has been at work
        self._thread = threading.Thread(target=self._run, name=f"sink-{sink.name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def offer(self, report: Report) -> None:
        """A camera has reported; nothing for a durable sink."""

    def wake(self) -> None:
        """The outbox has new rows; nothing for a lossy sink."""

    def health(self) -> SinkHealth:
        """How the sink does."""
        called_s, error = self._called_s, self._last_error
        if called_s is not None and time.monotonic() - called_s > SLOW_S:
            error = f"no answer for {time.monotonic() - called_s:.0f} s"
        return SinkHealth(self._sink.name, not error, self._delivered, self._failures, self._dropped, error)

    def stop(self, timeout_s: float) -> None:
        """Hand over what waits already, close the sink, and end; give up after ``timeout_s``."""
        self._stop.set()
        self._bell.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.error("sink %s: does not end; what it was given last comes again", self._sink.name)

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._sink.close()

    def _work(self) -> None:
        raise NotImplementedError

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if not self._last_error:
            log.warning("sink %s: %s", self._sink.name, redact(error))
        self._last_error = redact(error) or type(error).__name__

    def _succeeded(self, count: int) -> None:
        if self._last_error:
            log.info("sink %s: works again", self._sink.name)
        self._delivered += count
        self._last_error = ""


class DurableRunner(SinkRunner):
    """Brings the outbox to a durable sink, batch by batch.

    Args:
        sink: where to.
        outbox: what waits for it, by its name.
        retry_s: first and longest wait after a failure.
    """

    def __init__(self, sink: DurableSink, outbox: Outbox, *, retry_s: tuple[float, float] = RETRY_S) -> None:
        super().__init__(sink)
        self._durable = sink
        self._outbox = outbox
        self._backoff = Backoff(*retry_s)

    def wake(self) -> None:
        """The outbox has new rows."""
        self._bell.set()

    def _work(self) -> None:
        while True:
            stopping = self._stop.is_set()
            self._bell.clear()
            wait_s = POLL_S
            try:
                while self._deliver_batch():
                    pass
                self._backoff.good()
            except Exception as error:  # noqa: BLE001 - a sink may fail in any way; it is counted and shown
                self._failed(error)
                wait_s = self._backoff.next_delay_s()
            if stopping:
                return
            if self._last_error:
                self._stop.wait(wait_s)  # new rows are no reason to try sooner
            else:
                self._bell.wait(wait_s)

    def _deliver_batch(self) -> bool:
        """Deliver one batch; whether there may be more."""
        messages = self._outbox.read(self._sink.name, BATCH)
        if not messages:
            return False
        self._called_s = time.monotonic()
        try:
            self._durable.deliver(messages)
        finally:
            self._called_s = None
        self._outbox.acknowledge(self._sink.name, messages)
        self._succeeded(len(messages))
        return len(messages) == BATCH


class LossyRunner(SinkRunner):
    """Shows the newest report of each camera; one that comes while its camera's waits takes its place."""

    def __init__(self, sink: LossySink) -> None:
        super().__init__(sink)
        self._lossy = sink
        self._lock = threading.Lock()  # guards the one below
        self._newest: dict[str, Report] = {}

    def offer(self, report: Report) -> None:
        """Take a report; never waits for the sink."""
        with self._lock:
            self._dropped += report.status.source in self._newest
            self._newest[report.status.source] = report
        self._bell.set()

    def _work(self) -> None:
        while not self._stop.is_set():
            self._bell.wait()
            self._bell.clear()
            with self._lock:
                reports, self._newest = self._newest, {}
            for report in reports.values():
                self._called_s = time.monotonic()
                try:
                    self._lossy.show(report)
                    self._succeeded(1)
                except Exception as error:  # noqa: BLE001 - as above
                    self._failed(error)
                self._called_s = None


def make_runner(sink: Sink, outbox: Outbox) -> SinkRunner:
    """The thread that a sink needs."""
    return DurableRunner(sink, outbox) if isinstance(sink, DurableSink) else LossyRunner(sink)
