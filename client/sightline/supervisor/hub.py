"""Where the workers' reports go: rows to the writer, the newest to status, metrics and lossy sinks.

What is seen live goes beside it, by a way of its own.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sightline.camera.messages import Report
from sightline.config import Camera, Config
from sightline.entities import CameraState, CameraStatus
from sightline.store.writer import Writer
from sightline.supervisor.live_pictures import LivePictures
from sightline.supervisor.sinks import wanted_by, with_routes
from sightline.supervisor.sinks.sink import (
    DurableRunner,
    DurableSink,
    LossyRunner,
    Sink,
    SinkHealth,
    make_runner,
)
from sightline.supervisor.tally import Tally


class Hub:
    """Takes what the workers report and hands it on. Any thread may call every method; none of them waits.

    Args:
        writer: brings rows and statuses into the database, and those for ``sinks`` into its outbox; closed by
            the caller, after the hub.
        sinks: run from now on, as by :meth:`run`; closed by :meth:`close`.
        adds_up: keep what is counted for :meth:`summary`; grows with the rows.
    """

    def __init__(self, writer: Writer, sinks: Sequence[Sink] = (), *, adds_up: bool = False) -> None:
        self._writer = writer
        self._lock = threading.Lock()  # guards the two below
        self._reports: dict[str, Report] = {}
        self._resume: dict[str, Mapping[str, Any]] = {}
        self.mark_unwatched = writer.mark_unwatched  # windows without a worker go straight on
        self.put_results, self.writer_health = writer.put_results, writer.health
        self.open_events = writer.open_events
        #: What the supervisor adds to a worker's word on a camera, from what it knows of the others.
        self.annotate: Callable[[CameraStatus], CameraStatus] = lambda status: status
        self.live = LivePictures()
        self._tally = Tally() if adds_up else None
        self._durable: list[DurableSink] = []
        self._runners: list[DurableRunner | LossyRunner] = []
        self._ending: list[DurableRunner | LossyRunner] = []
        self.run(sinks)

    def run(self, sinks: Sequence[Sink]) -> None:
        """Run these sinks from now on: those that run already go on, others begin, and the rest ends.

        One in the place of another of its name begins once that one has ended. The caller lets no other call
        come meanwhile.
        """
        if not (sinks or self._runners):
            return
        outbox, before = self._writer.outbox, {runner.sink: runner for runner in self._runners}
        new = [make_runner(sink, outbox) for sink in sinks if sink not in before]
        ended = {runner.name: runner for sink, runner in before.items() if sink not in sinks}
        durable = [sink for sink in sinks if isinstance(sink, DurableSink)]
        for sink in durable:
            sink.attach(self._writer.put_results)
        outbox.sinks = wanted_by(sinks)
        for runner in ended.values():
            del outbox.listeners[runner.name]
            runner.ask_to_stop()
        self._durable, self._runners = durable, [*(before[sink] for sink in sinks if sink in before), *new]
        self._ending = [runner for runner in (*self._ending, *ended.values()) if runner.is_alive]
        for runner in new:
            outbox.listeners[runner.name] = runner.wake
            runner.start(after=ended.get(runner.name))

    def running(self) -> list[Sink]:
        """The sinks."""
        return [runner.sink for runner in self._runners]

    def take(self, report: Report) -> None:
        """Take one camera's report: rows and resume state are written together, the status beside them."""
        status, checkpoint = self.annotate(report.status), report.checkpoint
        report = replace(report, status=status)
        with self._lock:
            # Kept for its status and figures; its rows would only hold memory.
            self._reports[status.source] = replace(report, checkpoint=None)
            if checkpoint is not None:
                self._resume[checkpoint.source] = checkpoint.resume
        if checkpoint is not None:
            self._writer.put(checkpoint)
            if self._tally is not None:
                self._tally.take(checkpoint)
        self._writer.put_status(status)
        for runner in self._runners:
            if isinstance(runner, LossyRunner):
                runner.offer(report)

    def set_status(self, status: CameraStatus) -> None:
        """Take the supervisor's own word on a camera: down, stopped, misconfigured."""
        with self._lock:
            if (report := self._reports.get(status.source)) is not None:
                self._reports[status.source] = replace(report, status=status)
        self._writer.put_status(status)

    def set_state(self, camera: str, state: CameraState, message: str = "") -> None:
        """Show that a camera runs no more, beside what else it has reported last; nothing if it never has."""
        if (report := self.reports().get(camera)) is not None:
            plain = replace(report.status, state=state, message=message, warnings=(), notices=())
            self.set_status(replace(plain, fps=0.0, due_fps=0.0))

    def forget(self, camera: str) -> None:
        """Show a camera that has left the configuration no longer; its resume state stays known."""
        with self._lock:
            self._reports.pop(camera, None)

    def resume_of(self, camera: str) -> Mapping[str, Any]:
        """What a worker of this camera goes on from: empty for a new camera."""
        with self._lock:
            return self._resume.get(camera) or self._writer.resume_states().get(camera, {})

    def newest_resume(self, camera: str) -> Mapping[str, Any] | None:
        """What a worker of this program has sent last of a camera; None if none has yet."""
        with self._lock:
            return self._resume.get(camera)

    def reports(self) -> dict[str, Report]:
        """The newest report of every camera that has sent one, without its rows; a copy."""
        with self._lock:
            return dict(self._reports)

    def summary(self, cameras: Iterable[str]) -> Iterator[str]:
        """Lines about what each camera has counted, if this adds up."""
        if self._tally is not None:
            yield from self._tally.lines(cameras)

    def sinks(self) -> list[SinkHealth]:
        """How each sink does."""
        return [runner.health() for runner in self._runners]

    def update(self, config: Config) -> None:
        """Let writer and sinks use other hot options, and run the routes of alerts that there are now.

        Raises:
            SightlineError: a route cannot be; nothing was changed then.
        """
        self.run(with_routes(self.running(), config))
        self._writer.retention.update(config.retention)
        for sink in self._durable:
            sink.update(config)

    def update_cameras(self, cameras: Mapping[str, Camera]) -> None:
        """Let sinks know the cameras and their options."""
        for sink in self._durable:
            sink.update_cameras(cameras)

    def close(self, timeout_s: float = 1.0) -> None:
        """Let the sinks take what is in the outbox, and stop them; the rest waits for the next start."""
        deadline_s = time.monotonic() + timeout_s
        runners = [*self._ending, *self._runners]
        for runner in runners:  # all of them have the whole time
            runner.ask_to_stop()
        for runner in runners:
            runner.stop(max(0.0, deadline_s - time.monotonic()))
