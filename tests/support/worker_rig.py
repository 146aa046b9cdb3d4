"""A worker in a thread of the test, with fake cameras and a fake server."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from multiprocessing import Pipe
from typing import Any
from unittest import mock

from sightline.base.stats import StageTimes
from sightline.camera import worker
from sightline.camera.messages import (
    AddCamera,
    CameraSpec,
    LiveMessage,
    Message,
    Report,
    Stop,
    WorkerReport,
    WorkerSpec,
)
from sightline.camera.worker import Worker
from sightline.config import Camera, TritonOptions, parse_config
from sightline.entities import Detections, Frame, ModelInfo
from sightline.errors import DetectorUnavailable
from sightline.video.source import Source
from support.fake_source import FakeSource
from support.fakes import boxes, frame
from support.waiting import until

PERSON = (0.4, 0.2, 0.5, 0.8)
MODEL = ModelInfo("detector", "m-1", ("person", "car"), 192, 320, "fp32", 0.1)


class FakeServed:
    """A served model: what :class:`sightline.inference.client.ServedDetector` is to a worker."""

    transport, transport_message, batch_size = "fake", "", None
    info: ModelInfo | None = None

    def __init__(self, name: str, answer: Callable[[Frame], Any]) -> None:
        self.name = name
        self.answer = answer
        self.batches: list[list[Frame]] = []
        self.slots = 0
        self.away = False
        self.hold = False
        self.held: list[tuple[Frame, Future[Detections]]] = []
        self.closed = False

    def connect(self) -> ModelInfo:
        if self.away:
            raise DetectorUnavailable("the server is away")
        self.info = MODEL
        return MODEL

    def submit(self, frames: Sequence[Frame], stages: Sequence[StageTimes] = ()) -> list[Future[Detections]]:
        self.batches.append(list(frames))
        futures: list[Future[Detections]] = [Future() for _ in frames]
        self.held += zip(frames, futures, strict=True)
        if not self.hold:
            self.release()
        return futures

    def release(self) -> None:
        """Answer everything that waits."""
        held, self.held = self.held, []
        for item, future in held:
            if future.set_running_or_notify_cancel():
                found = DetectorUnavailable("gone") if self.away else self.answer(item)
                if isinstance(found, BaseException):
                    future.set_exception(found)
                else:
                    future.set_result(found)

    def resize(self, slots: int) -> None:
        self.slots = slots

    def server_times_ms(self) -> dict[str, dict[str, float]]:
        return {}

    def close(self) -> None:
        self.closed = True


class FakeConnection:
    """A server with as many models as are asked for."""

    def __init__(self, answer: Callable[[Frame], Any]) -> None:
        self._answer = answer
        self.models: dict[str, FakeServed] = {}

    def model(self, name: str, *, slots: int | None = None, priority: int | None = None) -> FakeServed:
        return self.models.setdefault(name, FakeServed(name, self._answer))

    def close(self) -> None:
        pass


def camera(name: str, **groups: Any) -> Camera:
    """A camera's options; its host needs no name server."""
    raw = {"allow": {"files": True}, "cameras": {name: {"url": f"rtsp://127.0.0.1/{name}", **groups}}}
    return parse_config(raw).cameras[name]


def live(fps: float = 50.0, seconds: float = 120.0) -> Iterator[Frame]:
    """Frames as they come."""
    started, index = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        yield frame(index, time.time())
        index += 1
        time.sleep(max(0.0, started + index / fps - time.monotonic()))


class Rig:
    """A context manager; :meth:`add` brings cameras in, :meth:`latest` tells what was reported of them."""

    def __init__(
        self,
        answer: Callable[[Frame], Any] = lambda _: boxes(PERSON),
        report_every_s: float = 0.2,
        **triton: Any,
    ) -> None:
        """Reports come more often than from a real worker, so that tests wait less for them."""
        self._pace = mock.patch.object(worker, "REPORT_EVERY_S", report_every_s)
        self.triton = FakeConnection(answer)
        self.plays: dict[str, Any] = {}
        self.sources: dict[str, FakeSource] = {}
        self.exit_code: int | None = None
        self.messages: list[WorkerReport] = []
        self.shown: list[LiveMessage] = []
        self.ends, self._theirs = Pipe()
        spec = WorkerSpec("worker-1", TritonOptions(**triton))
        self.worker = Worker(
            spec,
            self._theirs,
            self._show,
            connect=lambda *_: self.triton,
            make_source=self._make_source,
            end_process=self._end_process,
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "Rig":
        self._pace.start()
        self._thread.start()
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def add(
        self, name: str, play: Any = live, *, resume: Any = None, until_end: bool = False, **groups: Any
    ) -> None:
        self.plays[name] = play
        self.send(AddCamera(CameraSpec(camera(name, **groups), resume or {}, "a run" if until_end else "")))

    def send(self, message: Message) -> None:
        self.ends.send(message)

    def stop(self) -> None:
        if self._thread.is_alive():
            with contextlib.suppress(OSError):  # the test has closed the pipe
                self.send(Stop())
        self._thread.join(15)
        self._pace.stop()
        assert not self._thread.is_alive()
        for place in self.worker._places.values():  # a process that ends for one that hangs stops none
            if place.running is not None:
                place.running.feed.ask_to_stop()
        with socket.socket(fileno=os.dup(self._theirs.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)  # ends what waits at either end; closing alone would not
        self._theirs.close()
        self._reader.join(5)

    def reports(self, name: str) -> list[Report]:
        """Every report of a camera, oldest first."""
        return [r for message in list(self.messages) for r in message.reports if r.status.source == name]

    def latest(self, name: str) -> Report:
        return self.reports(name)[-1]

    def frames(self, name: str) -> int:
        reports = self.reports(name)
        return reports[-1].status.frames_total if reports else 0

    def until_frames(self, name: str, more: int) -> None:
        before = self.frames(name)
        until(lambda: self.frames(name) >= before + more, 20)

    def served(self, name: str = "detector") -> FakeServed:
        until(lambda: name in self.triton.models, 5)
        return self.triton.models[name]

    def rows(self, name: str, kind: type) -> list[Any]:
        """Every row of a kind that was reported of a camera."""
        return [
            row
            for report in self.reports(name)
            if report.checkpoint
            for row in report.checkpoint.rows
            if isinstance(row, kind)
        ]

    def _show(self, message: LiveMessage) -> bool:
        self.shown.append(message)
        return False

    def _make_source(self, camera: Camera, **_: Any) -> FakeSource:
        source = self.sources[camera.name] = FakeSource(self.plays[camera.name])
        return source

    def _end_process(self, code: int) -> None:
        self.exit_code = code
        raise SystemExit(code)

    def _run(self) -> None:
        try:
            self.worker.run()
        except SystemExit:
            return

    def _read(self) -> None:
        try:
            while True:
                self.messages.append(self.ends.recv())
        except (EOFError, OSError, TypeError):  # TypeError: closed here while it waits
            return


class WithVideo(Rig):
    """Its cameras play files."""

    def _make_source(self, camera: Camera, **options: Any) -> Any:
        return Source(camera, **options)
