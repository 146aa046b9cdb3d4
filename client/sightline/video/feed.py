"""Keeps one camera's source open: frames into the mailbox, errors into a status, retries with back-off."""

import contextlib
import logging
import math
import threading
import time

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
FAILED_STATES: dict[type[SourceError], CameraState] = {
    SourceUnauthorized: CameraState.UNAUTHORIZED,
    SourceNotFound: CameraState.NOT_FOUND,
    SourceUnusable: CameraState.UNUSABLE,
}


class Feed:
    """The decode thread of a camera.

    The decode thread runs :meth:`_run` and owns the source. The main thread starts and stops it and reads its
    attributes, which are single values written by the decode thread alone.
    """

    def __init__(
        self,
        name: str,  # of the camera
        source: Source,  # its stream, opened again after each failure
        mailbox: Mailbox,  # where its frames go
        stages: StageTimes,  # takes the times of receiving and decoding
        *,
        until_end: bool = False,  # a recorded file: its end is the end of the feed, and it may take its time
        gate: OpenGate | None = None,  # bounds how many cameras open at once
    ) -> None:
        """Prepare; nothing runs yet."""
        self.name = name
        self.source = source
        self._mailbox = mailbox
        self._stages = stages
        self._until_end = until_end
        self._gate = gate or OpenGate("", 1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"decode-{name}", daemon=True)
        self.backoff = Backoff(1.0, 60.0)
        self._logged = ""
        self.state = CameraState.STARTING
        self.message = ""
        self.reconnects = 0
        self.retry_at_s = 0.0  # time.monotonic() of the next try
        self.failure: BaseException | None = None

    @property
    def wait_s(self) -> float:
        """Seconds until the next try; 0 while there is one."""
        return max(0.0, self.retry_at_s - time.monotonic())

    def start(self, *, failures: int = 0, wait_s: float = 0.0) -> None:
        """Start decoding; where the back-off of a predecessor stands, it goes on."""
        self.backoff.failures = failures
        self.retry_at_s = time.monotonic() + wait_s
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Make the thread end soon; if it hangs, only the process's end helps. See :attr:`stopped`."""
        self._stop.set()
        self._mailbox.shutdown(immediate=True)  # the decode thread may wait for room in it
        self.source.abort()

    @property
    def stopped(self) -> bool:
        """Whether the decode thread has ended."""
        return not self._thread.is_alive()

    @property
    def hanging(self) -> str:
        """Why the decode thread is past help; empty while FFmpeg keeps to its own time-outs.

        Waiting (for a name, for the gate, for the next try, for room in the mailbox) is not hanging.
        """
        call, due_s = self.source.call or ("", math.inf)
        over_s = time.monotonic() - due_s
        if self._until_end or over_s <= HANG_GRACE_S:
            return ""
        return f"FFmpeg hangs while {call}, {over_s:.0f} s beyond its time-out"

    def _run(self) -> None:
        try:
            if self.retry_at_s > time.monotonic():
                self._set(CameraState.OFFLINE, "waits for its next try")
                self._stop.wait(self.wait_s)
            while not self._stop.is_set():
                try:
                    self._run_source()
                except SourceError as error:
                    if self._until_end and (isinstance(error, SourceEnded) or type(error) in FAILED_STATES):
                        self._end(error)
                        return
                    self._wait_to_retry(error)
        except BaseException as error:  # noqa: BLE001  a fault of our own: the main thread starts the camera again
            self.failure = error

    def _run_source(self) -> None:
        """Open the source and hand on its frames, until it fails."""
        self._set(CameraState.CONNECTING, self.message)
        self.source.resolve()  # without a place at the gate
        with contextlib.closing(self.source):
            with self._gate.wait(self._stop, self.backoff.failures):
                if self._stop.is_set():
                    return
                self.source.open()
            for frame in self.source.frames():
                if self._stop.is_set():
                    return
                if self.state is not CameraState.ONLINE:
                    if self._logged:
                        log.info("camera %s: online again", self.name)
                        self._logged = ""
                    self._set(CameraState.ONLINE, "")
                    self.backoff.good()
                self._stages.observe("receive", self.source.receive_s)
                self._stages.observe("decode", frame.decode_s)
                self._mailbox.put(frame)

    def _end(self, error: SourceError) -> None:
        """A file has been played, or never will be."""
        if isinstance(error, SourceEnded):
            if error.__cause__ is not None:  # not at its end
                log.warning("camera %s: %s", self.name, error)
            self._set(CameraState.ENDED, "")
        else:
            log.error("camera %s: %s", self.name, error)
            self._set(FAILED_STATES[type(error)], str(error))
        self._mailbox.shutdown()

    def _wait_to_retry(self, error: SourceError) -> None:
        if not self.source.recorded:
            self.reconnects += 1
        played = self.source.recorded and isinstance(error, SourceEnded) and error.__cause__ is None
        state = FAILED_STATES.get(type(error), CameraState.OFFLINE)
        delay_s = self.backoff.next_delay_s(least_s=SLOW_RETRY_S if type(error) in FAILED_STATES else 0.0)
        self.retry_at_s = time.monotonic() + delay_s
        if str(error) != self._logged:  # once, not at every try: a camera may be away for weeks
            self._logged = str(error)
            level = logging.INFO if played else logging.WARNING
            log.log(level, "camera %s: %s; next try in %.0f s", self.name, error, delay_s)
        self._set(state, str(error))
        self._stop.wait(self.wait_s)

    def _set(self, state: CameraState, message: str) -> None:
        self.state, self.message = state, message
