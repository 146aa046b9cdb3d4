"""Workers and a clock for tests of the supervisor, all in one thread."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sightline.camera.messages import AddCamera, Message, RemoveCamera, Report, Stop, WorkerReport, WorkerSpec
from sightline.entities import CameraState, CameraStatus, Checkpoint


class FakeClock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeHandle:
    """A worker that does what a test makes it do."""

    def __init__(self, spec: WorkerSpec, on_report: Callable[[WorkerReport], None], clock: FakeClock) -> None:
        self.spec = spec
        self.sent: list[Message] = []
        self.pid = 4711
        self.problem = ""
        self.exit_code: int | None = None
        self.heard_s: float | None = None
        self.killed = False
        self.obeys = True
        self._on_report = on_report
        self._clock = clock

    def send(self, message: Message) -> None:
        self.sent.append(message)
        if isinstance(message, Stop) and self.obeys:
            self.exit_code = 0
        if isinstance(message, RemoveCamera) and self.obeys:
            self.report(message.name, last=True)

    def kill(self) -> None:
        self.killed, self.exit_code = True, -9

    def finish(self, timeout_s: float) -> None:
        if self.exit_code is None:
            self.kill()

    def report(self, *cameras: str, hanging: tuple[str, ...] = (), resume: Any = None, **parts: Any) -> None:
        """Report these cameras, or nothing but being there."""
        self.heard_s = self._clock()
        state = parts.pop("state", CameraState.ONLINE)
        figures = {name: parts.pop(name) for name in ("fps", "due_fps", "detector_message") if name in parts}
        reports = tuple(
            Report(
                CameraStatus(name, state, "", 0.0, **figures),
                Checkpoint(name, (), resume if resume is not None else {}),
                {},
                **parts,
            )
            for name in cameras
        )
        self._on_report(WorkerReport(reports, hanging))

    @property
    def cameras(self) -> list[str]:
        """Cameras that it was told to run."""
        return [message.spec.camera.name for message in self.sent if isinstance(message, AddCamera)]

    def spec_of(self, camera: str) -> Any:
        """What it was told about a camera last."""
        return [m.spec for m in self.sent if isinstance(m, AddCamera) and m.spec.camera.name == camera][-1]


@dataclass
class FakeWorkers:
    """Starts fake workers; with ``refuse`` no worker can be started."""

    clock: FakeClock
    handles: list[FakeHandle] = field(default_factory=list)
    refuse: bool = False
    hear_at_once: bool = True
    obeys: bool = True

    def start(self, spec: WorkerSpec, on_report: Callable[[WorkerReport], None]) -> FakeHandle:
        if self.refuse:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        handle = FakeHandle(spec, on_report, self.clock)
        handle.obeys = self.obeys
        self.handles.append(handle)
        if self.hear_at_once:
            handle.report()
        return handle

    @property
    def alive(self) -> list[FakeHandle]:
        """Those that run."""
        return [handle for handle in self.handles if handle.exit_code is None]
