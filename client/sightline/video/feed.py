"""Keeps one camera's source open: frames into the mailbox, errors into a status, retries with back-off."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sightline.base.backoff import Backoff
from sightline.base.stats import StageTimes
from sightline.entities import CameraState
from sightline.errors import (
    SourceEnded,
    SourceError,
    SourceNotFound,
    SourceUnauthorized,
    SourceUnusable,
)
from sightline.video.mailbox import Mailbox
from sightline.video.source import Source

log = logging.getLogger(__name__)

#: Cameras lock accounts after a few wrong passwords; a missing stream does not come back within seconds.
SLOW_RETRY_S = 60.0
_STATES: dict[type[SourceError], CameraState] = {
    SourceUnauthorized: CameraState.UNAUTHORIZED,
    SourceNotFound: CameraState.NOT_FOUND,
    SourceUnusable: CameraState.UNUSABLE,
}


class Feed:
    """The decode thread of a camera.

    The decode thread runs :meth:`_run` and owns the source. The main thread starts and stops it and reads
    ``state``, ``message`` and the counters, which are single values written by the decode thread alone.
    """

    def __init__(
        self,
        name: str,
        make_source: Callable[[], Source],
        mailbox: Mailbox,
        stages: StageTimes,
        *,
        until_end: bool = False,
        gate: OpenGate | None = None,
    ) -> None:
        self._name = name
        self._make_source = make_source
        self._mailbox = mailbox
        self._stages = stages
        self._until_end = until_end
        self._gate = gate or OpenGate(None, 1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"decode-{name}", daemon=True)
        self._source: Source | None = None
        self._backoff = Backoff(1.0, 60.0)
        self._closed_counters = (0, 0, 0)
        self._beat = 0
        self._said = ""
        self.state = CameraState.STARTING
        self.message = ""
        self.reconnects = 0
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Start decoding."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Ask the thread to end and wait; False when it hangs, then only the process's end helps."""
        self._stop.set()
        self._mailbox.shut()  # the decode thread may wait for room in it
        if source := self._source:
            source.abort()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def progress(self) -> tuple[int, int]:
        """Changes as long as the decode thread gets anywhere; a watchdog compares two readings."""
        source = self._source
        return self._beat, source.packets if source else 0

    @property
    def counters(self) -> tuple[int, int, int]:
        """Packets, decode errors and frames skipped by the FPS gate, over all reconnects."""
        source = self._source
        live = (source.packets, source.decode_errors, source.gate_skipped) if source else (0, 0, 0)
        closed = self._closed_counters
        return closed[0] + live[0], closed[1] + live[1], closed[2] + live[2]

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                error = self._run_source()
                if isinstance(error, SourceEnded) and self._until_end:
                    self._set(CameraState.ENDED, "")
                    self._mailbox.close()
                    return
                if error is not None:
                    self._wait_to_retry(error)
        except BaseException as error:  # noqa: BLE001  raised again there
            self.failure = error  # a fault of our own: the main thread raises it, the process starts again

    def _run_source(self) -> SourceError | None:
        """Open the source and hand on its frames until it fails; gives the failure."""
        self._beat += 1
        try:
            self._set(CameraState.CONNECTING, self.message)
            source = self._source = self._make_source()
            with contextlib.closing(source):
                with self._gate.wait(self._stop):
                    source.open()
                self._hand_on(source)
        except SourceError as error:
            return error
        finally:
            self._closed_counters, self._source = self.counters, None
        return None

    def _hand_on(self, source: Source) -> None:
        for frame in source.frames():
            if self._stop.is_set():
                return
            if self._said:
                log.info("camera %s: online again", self._name)
                self._said = ""
            self._set(CameraState.ONLINE, "")
            self._backoff.good()
            self._stages.observe("receive", source.receive_s)
            self._stages.observe("decode", frame.decode_s)
            self._mailbox.put(frame)

    def _wait_to_retry(self, error: SourceError) -> None:
        self.reconnects += 1
        state = _STATES.get(type(error), CameraState.OFFLINE)
        delay_s = self._backoff.next_delay_s(least_s=SLOW_RETRY_S if type(error) in _STATES else 0.0)
        if str(error) != self._said:  # once, not at every try: a camera may be away for weeks
            self._said = str(error)
            log.warning("camera %s: %s; next try in %.0f s", self._name, error, delay_s)
        self._set(state, str(error))
        deadline = time.monotonic() + delay_s
        while not self._stop.wait(min(1.0, max(0.0, deadline - time.monotonic()))):
            self._beat += 1
            if time.monotonic() >= deadline:
                return

    def _set(self, state: CameraState, message: str) -> None:
        self.state, self.message = state, message


class OpenGate:
    """At most ``limit`` cameras of a machine open their streams at once, across processes.

    Each place is a locked file, so that a killed process gives its place back.
    """

    def __init__(self, folder: Path | None, limit: int) -> None:
        self._paths = [folder / f"open-{i}.lock" for i in range(limit)] if folder else []

    @contextlib.contextmanager
    def wait(self, stop: threading.Event) -> Iterator[None]:
        """Hold a place for as long as the block runs; does not wait once ``stop`` is set."""
        file = self._acquire(stop) if self._paths else None
        try:
            yield
        finally:
            if file is not None:
                os.close(file)

    def _acquire(self, stop: threading.Event) -> int | None:
        while not stop.is_set():
            for path in random.sample(self._paths, len(self._paths)):
                file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(file)
                else:
                    return file
            stop.wait(random.uniform(0.05, 0.15))  # noqa: S311  jitter, not a secret
        return None
