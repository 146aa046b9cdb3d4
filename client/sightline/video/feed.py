"""Keeps one camera's source open: frames into the mailbox, errors into a status, retries with back-off."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from sightline.base.backoff import Backoff
from sightline.base.stats import StageTimes
from sightline.entities import CameraState
from sightline.errors import SourceEnded, SourceError, SourceNotFound, SourceUnauthorized, SourceUnusable
from sightline.video.mailbox import Mailbox
from sightline.video.open_gate import OpenGate
from sightline.video.source import Source

log = logging.getLogger(__name__)

#: Cameras lock accounts after a few wrong passwords; a missing stream does not come back within seconds.
SLOW_RETRY_S = 60.0
#: Beyond FFmpeg's own time-outs: then it hangs in C, and only the end of the process helps.
HANG_GRACE_S = 5.0
_STATES: dict[type[SourceError], CameraState] = {
    SourceUnauthorized: CameraState.UNAUTHORIZED,
    SourceNotFound: CameraState.NOT_FOUND,
    SourceUnusable: CameraState.UNUSABLE,
}


class FeedCounters(NamedTuple):
    """Over all openings of a camera."""

    packets: int = 0
    decode_errors: int = 0
    gate_skipped: int = 0  # frames left out by the FPS gate
    stray_frames: int = 0  # frames dropped for a missing or backward PTS


class Feed:
    """The decode thread of a camera.

    The decode thread runs :meth:`_run` and owns the source. The main thread starts and stops it and reads
    ``state``, ``message``, ``retry_at_s`` and the counters, which are single values written by the decode
    thread alone.
    """

    def __init__(
        self,
        name: str,
        make_source: Callable[[], Source],
        mailbox: Mailbox,
        stages: StageTimes,
        *,
        prepare: Callable[[], None] = lambda: None,
        until_end: bool = False,
        gate: OpenGate | None = None,
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            name: of the camera.
            make_source: what opens it, made anew for each try.
            mailbox: where its frames go.
            stages: takes the times of receiving and decoding.
            prepare: called before each try, without a place at the gate; a SourceError ends the try.
            until_end: a recorded file: its end is the end of the feed.
            gate: bounds how many cameras open at once.
        """
        self._name = name
        self._make_source = make_source
        self._mailbox = mailbox
        self._stages = stages
        self._prepare = prepare
        self._until_end = until_end
        self._gate = gate or OpenGate(None, 1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"decode-{name}", daemon=True)
        self._source: Source | None = None
        self._backoff = Backoff(1.0, 60.0)
        self._closed_counters = FeedCounters()
        self._logged = ""
        self.state = CameraState.STARTING
        self.message = ""
        self.reconnects = 0
        self.retry_at_s = 0.0  # time.monotonic() of the next try
        self.failure: BaseException | None = None

    @property
    def failures(self) -> int:
        """Tries that have failed since things last went well for a while."""
        return self._backoff.failures

    @property
    def wait_s(self) -> float:
        """Seconds until the next try; 0 while there is one."""
        return max(0.0, self.retry_at_s - time.monotonic())

    def start(self, *, failures: int = 0, wait_s: float = 0.0) -> None:
        """Start decoding; where the back-off of a predecessor stands, it goes on."""
        self._backoff.failures = failures
        self.retry_at_s = time.monotonic() + wait_s
        self._thread.start()

    def update(self, make_source: Callable[[], Source], fps: float | None) -> None:
        """Open other sources from the next try on, and let another rate pass at once."""
        self._make_source = make_source
        if source := self._source:
            source.change_fps(fps)

    def ask_to_stop(self) -> None:
        """Make the thread end soon; see :attr:`stopped`."""
        self._stop.set()
        self._mailbox.shutdown(immediate=True)  # the decode thread may wait for room in it
        if source := self._source:
            source.abort()

    @property
    def stopped(self) -> bool:
        """Whether the decode thread has ended."""
        return not self._thread.is_alive()

    def stop(self, timeout_s: float) -> bool:
        """Ask the thread to end and wait; False when it hangs, then only the process's end helps."""
        self.ask_to_stop()
        self._thread.join(timeout_s)
        return self.stopped

    @property
    def hanging(self) -> str:
        """Why the decode thread is past help; empty while FFmpeg keeps to its own time-outs.

        Waiting (for a name, for the gate, for the next try, for room in the mailbox) is not hanging.
        """
        source = self._source
        overdue = source.overdue if source else None
        if overdue is None or overdue[1] <= HANG_GRACE_S:
            return ""
        return f"FFmpeg hangs while {overdue[0]}, {overdue[1]:.0f} s beyond its time-out"

    @property
    def counters(self) -> FeedCounters:
        """Over all reconnects."""
        source, closed = self._source, self._closed_counters
        if source is None:
            return closed
        live = (source.packets, source.decode_errors, source.gate_skipped, source.stray_frames)
        return FeedCounters(*(a + b for a, b in zip(closed, live, strict=True)))

    def _run(self) -> None:
        try:
            if self.retry_at_s > time.monotonic():
                self._set(CameraState.OFFLINE, "waits for its next try")
                self._stop.wait(self.wait_s)
            while not self._stop.is_set():
                error = self._run_source()
                if isinstance(error, SourceEnded) and self._until_end:
                    self._set(CameraState.ENDED, "")
                    self._mailbox.shutdown()
                    return
                if error is not None:
                    self._wait_to_retry(error)
        except BaseException as error:  # noqa: BLE001  a fault of our own: the main thread starts the camera again
            self.failure = error

    def _run_source(self) -> SourceError | None:
        """Open the source and hand on its frames until it fails; gives the failure."""
        try:
            self._set(CameraState.CONNECTING, self.message)
            self._prepare()
            source = self._source = self._make_source()
            with contextlib.closing(source):
                with self._gate.wait(self._stop, self._backoff.failures):
                    if self._stop.is_set():
                        return None
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
            if self.state is not CameraState.ONLINE:
                if self._logged:
                    log.info("camera %s: online again", self._name)
                    self._logged = ""
                self._set(CameraState.ONLINE, "")
                self._backoff.good()
            self._stages.observe("receive", source.receive_s)
            self._stages.observe("decode", frame.decode_s)
            self._mailbox.put(frame)

    def _wait_to_retry(self, error: SourceError) -> None:
        self.reconnects += 1
        state = _STATES.get(type(error), CameraState.OFFLINE)
        delay_s = self._backoff.next_delay_s(least_s=SLOW_RETRY_S if type(error) in _STATES else 0.0)
        self.retry_at_s = time.monotonic() + delay_s
        if str(error) != self._logged:  # once, not at every try: a camera may be away for weeks
            self._logged = str(error)
            log.warning("camera %s: %s; next try in %.0f s", self._name, error, delay_s)
        self._set(state, str(error))
        self._stop.wait(self.wait_s)

    def _set(self, state: CameraState, message: str) -> None:
        self.state, self.message = state, message
