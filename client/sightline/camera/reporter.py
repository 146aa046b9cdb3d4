"""What a worker tells the supervisor: once a second everything, and an event's checkpoint at once."""

from __future__ import annotations

import time
from collections.abc import Iterable
from multiprocessing.connection import Connection

from sightline.camera.messages import Report, WorkerReport
from sightline.camera.running_camera import RunningCamera
from sightline.video.clock import UtcClock

REPORT_EVERY_S = 1.0
EVENT_EVERY_S = 0.2  # of one camera


class Reporter:
    """Sends reports, and remembers the newest of each camera. The main thread calls it.

    Attributes:
        gone: the supervisor has closed the pipe.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._clock = UtcClock()
        self._latest: dict[str, tuple[Report, float]] = {}  # and when, on the monotonic clock
        self.gone = False

    def now(self) -> float:
        """UTC, never going back."""
        return self._clock.now()

    def latest(self, camera: str) -> Report | None:
        """The newest report of a camera."""
        latest = self._latest.get(camera)
        return latest[0] if latest else None

    def forget(self, camera: str) -> None:
        """The camera has left."""
        self._latest.pop(camera, None)

    def note(self, report: Report) -> Report:
        """Remember a report that is about to be sent."""
        self._latest[report.status.source] = (report, time.monotonic())
        return report

    def send(self, reports: Iterable[Report], hanging: tuple[str, ...] = ()) -> None:
        """Send reports together."""
        try:
            self._connection.send(WorkerReport(tuple(reports), hanging))
        except OSError:
            self.gone = True

    def event_due_s(self, camera: str) -> float:
        """When the next checkpoint of an event may go, on the monotonic clock."""
        latest = self._latest.get(camera)
        return latest[1] + EVENT_EVERY_S if latest else 0.0

    def send_event(self, running: RunningCamera) -> None:
        """Send a checkpoint of one camera now: its event and its resume state are committed together."""
        latest = self.latest(running.camera.name)
        if latest is not None and latest.checkpoint is not None:
            report = running.event_report(latest)
        else:  # it has just been started
            report = running.report(self.now())
        self.send([self.note(report)])
