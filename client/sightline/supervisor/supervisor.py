"""The one process that owns the workers, the database writer and the HTTP port.

Main thread: starts, watches, restarts and stops workers, and reloads the configuration. One reader thread a
worker hands its reports to the writer and keeps the newest for status and metrics. Watching uses the
monotonic clock alone.
"""

from __future__ import annotations

import logging
import multiprocessing
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sightline.base.backoff import Backoff
from sightline.camera.messages import Command, Report, WorkerSpec
from sightline.camera.worker import run_worker
from sightline.config import Camera, LoadedConfig
from sightline.entities import CameraState, CameraStatus, SourceWindow
from sightline.inference.segments import remove_abandoned
from sightline.store.writer import Writer
from sightline.supervisor.control import Plan

log = logging.getLogger(__name__)

TICK_S = 0.2
#: Reports come every second; a worker silent for longer than any single step can take is hung.
SILENT_S = 20.0
STOP_S = 7.0


class WorkerHandle:
    """One camera's process, its pipe and the thread that reads it. The main thread calls every method."""

    def __init__(self, spec: WorkerSpec, on_report: Callable[[Report], None]) -> None:
        context = multiprocessing.get_context("spawn")
        self.spec = spec
        self._on_report = on_report
        self._connection, child = context.Pipe()
        self._process = context.Process(
            target=run_worker, args=(spec, child), name=f"sightline-{spec.camera.name}", daemon=True
        )
        self._process.start()
        child.close()
        self.heard_s = time.monotonic()
        self._reader = threading.Thread(target=self._read, name=f"reports-{spec.camera.name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid or 0

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.exitcode

    def ask_to_stop(self) -> None:
        """Send the word; :meth:`finish` waits for the end."""
        try:
            self._connection.send(Command.STOP)
        except OSError as error:
            log.debug("camera %s: has ended already: %s", self.spec.camera.name, error)

    def finish(self, deadline_s: float) -> None:
        """Wait until ``deadline_s`` (monotonic), then kill; by then every report has been handed on."""
        self._process.join(max(0.0, deadline_s - time.monotonic()))
        if self._process.is_alive():
            log.error("camera %s: worker does not end; killing it", self.spec.camera.name)
            self._process.kill()
            self._process.join()
        self._reader.join()
        self._connection.close()
        self._process.close()

    def _read(self) -> None:
        while True:
            try:
                report = self._connection.recv()
            except (EOFError, OSError):
                return
            self.heard_s = time.monotonic()
            self._on_report(report)


class _Camera:
    """What the supervisor knows of one camera, across its workers. Main thread, but for ``report``."""

    def __init__(self, camera: Camera, resume: Mapping[str, Any]) -> None:
        self.camera = camera
        self.resume = resume
        self.handle: WorkerHandle | None = None
        self.report: Report | None = None  # the newest; set by the reader thread
        self.backoff = Backoff(0.5, 30.0)
        self.start_at_s = 0.0
        self.restarts = 0
        self.ended = False
        self.marked_end = 0.0  # of the newest window marked as unwatched


class Supervisor:
    """Runs every camera of a configuration until told to stop."""

    def __init__(
        self,
        config: LoadedConfig,
        writer: Writer,
        *,
        until_end: bool = False,
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            config: what to run. Cameras with problems are shown as misconfigured and not run.
            writer: where reports go, and where resume states come from; closed by the caller.
            until_end: recorded files are played once, as fast as they can be processed, without drops.
        """
        self._config = config
        self._writer = writer
        self._until_end = until_end
        self._stop = threading.Event()
        self._reload: deque[LoadedConfig] = deque(maxlen=1)  # the newest wins
        self._cameras: dict[str, _Camera] = {}
        self._misconfigured: Mapping[str, str] = {}
        self._resume_states = writer.resume_states()
        self._gate = tempfile.TemporaryDirectory(prefix="sightline-")
        self.beat_s = time.monotonic()

    def run(self) -> None:
        """Start every camera, watch them, and stop them all when told to (or when every file has ended)."""
        for name in remove_abandoned():
            log.info("removed %s, left behind by a process that died", name)
        try:
            self._use(self._config)
            while not self._stop.wait(TICK_S):
                self.beat_s = time.monotonic()
                if self._reload:
                    self._use(self._reload.pop())
                for item in self._cameras.values():
                    self._watch(item)
                if self._until_end and all(item.ended for item in self._cameras.values()):
                    return
        finally:
            self._stop_cameras(list(self._cameras.values()))
            self._gate.cleanup()

    def stop(self) -> None:
        """Ask :meth:`run` to return. Any thread may call it (a signal handler must not: see ``signals``)."""
        self._stop.set()

    def apply(self, plan: Plan) -> None:
        """Ask for a plan to be carried out, after all that were asked for before. Any thread may call it."""
        self._reload.append(plan.config)

    def statuses(self) -> list[CameraStatus]:
        """The newest status of every camera, misconfigured ones included. Any thread may call it."""
        found = []
        for name, item in list(self._cameras.items()):
            report = item.report
            found.append(report.status if report else _plain_status(name, CameraState.STARTING, ""))
        for name, problem in self._misconfigured.items():
            found.append(_plain_status(name, CameraState.MISCONFIGURED, problem))
        return found

    def reports(self) -> dict[str, Report]:
        """The newest report of every camera that has sent one. Any thread may call it."""
        return {name: item.report for name, item in list(self._cameras.items()) if item.report}

    def restarts(self) -> dict[str, int]:
        """How often each camera's worker had to be started again. Any thread may call it."""
        return {name: item.restarts for name, item in list(self._cameras.items())}

    def pids(self) -> dict[str, int]:
        """Process ids of the workers that run. Any thread may call it."""
        return {name: item.handle.pid for name, item in list(self._cameras.items()) if item.handle}

    def _use(self, config: LoadedConfig) -> None:
        wanted = {name: camera for name, camera in config.cameras.items() if camera.enabled}
        same_triton = config.options.triton == self._config.options.triton
        gone = [
            item for name, item in self._cameras.items() if wanted.get(name) != item.camera or not same_triton
        ]
        self._config = config
        self._stop_cameras(gone)
        kept_resume = {item.camera.name: item.resume for item in gone}
        for item in gone:
            del self._cameras[item.camera.name]
        for name, camera in wanted.items():
            if name not in self._cameras:
                resume = kept_resume.get(name) or self._resume_states.get(name, {})
                self._cameras[name] = _Camera(camera, resume)
                self._start(self._cameras[name])
        self._misconfigured = config.misconfigured
        for name, problem in self._misconfigured.items():
            log.error("%s; this camera does not run", problem)
            self._writer.put_status(_plain_status(name, CameraState.MISCONFIGURED, problem))
        for name in {item.camera.name for item in gone} - set(wanted):
            self._writer.put_status(_plain_status(name, CameraState.STOPPED, "not in the configuration"))
        log.info("%d cameras run, %d are misconfigured", len(self._cameras), len(self._misconfigured))

    def _start(self, item: _Camera) -> None:
        options = self._config.options
        spec = WorkerSpec(
            camera=item.camera,
            triton=options.triton,
            resume=item.resume,
            until_end=self._until_end,
            gate_folder=Path(self._gate.name),
            open_limit=options.open_limit,
            log_level=options.log_level,
        )
        item.handle = WorkerHandle(spec, lambda report: self._take_report(item, report))

    def _take_report(self, item: _Camera, report: Report) -> None:
        """Runs in the worker's reader thread."""
        item.report = report
        if report.checkpoint is not None:
            item.resume = report.checkpoint.resume
            self._writer.put(report.checkpoint)
        self._writer.put_status(report.status)

    def _watch(self, item: _Camera) -> None:
        """Start again what has ended or hangs."""
        now = time.monotonic()
        if item.handle is None:
            self._mark_unwatched(item)
            if not item.ended and now >= item.start_at_s:
                item.restarts += 1
                self._start(item)
            return
        code = item.handle.exit_code
        if code is None and now - item.handle.heard_s <= SILENT_S:
            item.backoff.good()
            return
        name = item.camera.name
        item.handle.finish(deadline_s=now)  # reads what was sent; kills what hangs
        item.handle = None
        if code == 0 and self._until_end:
            item.ended = True
            return
        delay_s = item.backoff.next_delay_s()
        item.start_at_s = now + delay_s
        why = f"ended with {code}" if code is not None else f"said nothing for {SILENT_S:.0f} s"
        log.error("camera %s: worker %s; starting it again in %.1f s", name, why, delay_s)
        self._show_down(item, f"worker {why}")

    def _mark_unwatched(self, item: _Camera) -> None:
        """Windows that end while no worker runs were watched by nobody; a row that is there stays."""
        camera = item.camera
        end = time.time() // camera.count.window_s * camera.count.window_s
        if item.marked_end == end or item.ended:
            return
        item.marked_end = end
        window = SourceWindow(
            source=camera.name,
            window_start=end - camera.count.window_s,
            window_end=end,
            coverage=0.0,
            effective_fps=0.0,
            dropped_frames=0,
            clock_source="",
            model_version="",
            config_hash=camera.config_hash,
        )
        self._writer.mark_unwatched([window])

    def _show_down(self, item: _Camera, why: str) -> None:
        if item.report is not None:
            status = replace(item.report.status, state=CameraState.OFFLINE, message=why, fps=0.0)
            item.report = replace(item.report, status=status, checkpoint=None)
            self._writer.put_status(status)

    def _stop_cameras(self, items: list[_Camera]) -> None:
        deadline_s = time.monotonic() + STOP_S
        handles = [item.handle for item in items if item.handle]
        for handle in handles:
            handle.ask_to_stop()
        for handle in handles:
            handle.finish(deadline_s)
        for item in items:
            item.handle = None
            if item.report is not None and not item.ended:
                status = replace(item.report.status, state=CameraState.STOPPED, message="", fps=0.0)
                self._writer.put_status(status)


def _plain_status(name: str, state: CameraState, message: str) -> CameraStatus:
    return CameraStatus(source=name, state=state, message=message, status_time=time.time())
