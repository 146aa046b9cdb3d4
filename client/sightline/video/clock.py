"""Time: our own UTC, a frame's capture time, and the gate that thins frames out by media time.

Nothing here sleeps. The clocks are made once for a camera and survive its reopening, so that capture time
never goes back.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sightline.entities import ClockSource

log = logging.getLogger(__name__)

SLEW = 0.1  # a correction is spread out so that 1 s of it takes 10 s of media time
WALL_SLEW = 0.01  # how fast UTC, once ahead of the wall clock, lets the wall clock catch up
STEP_S = 0.5  # a clock that moves by more than this against a steady one was set
MIN_STEP_S = 0.001  # two frames are never closer than this in capture time
MAX_LATE_S, MAX_EARLY_S = 4.0, 0.5  # capture time is not further before, or after, arrival than this
DELAY_WINDOW_S = 30.0  # the least delay is looked for over one to two of these
SETTLE_S = 10.0  # a sender's clock is counted on once it has not stepped for two usual report intervals
READ_EVERY_S, MAX_READINGS = 5.0, 256
SAME_REPORT_S = 2e-6  # what rounding makes of one sender report
#: From one opening to the next the delay may change, and a clock drift while nobody looks.
REOPENED_STEP_S, MAX_CLOCK_DRIFT = 2.0, 1e-3
TRUST_AGAIN = 0.9  # a clock that was too far off is believed again below this share of the limit


class UtcClock:
    """UTC that never goes back: the wall clock anchored to the monotonic one.

    A wall clock that is set forward is followed at once. One that is set back is not: time runs on from
    where it was, one per cent slower until the wall clock has caught up, and that is said once.
    Any thread may call it.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._checked_s = monotonic()
        self._offset = wall() - self._checked_s
        self._ahead = False
        self._lock = threading.Lock()

    def now(self) -> float:
        """UTC now, epoch seconds."""
        return self._monotonic() + self.offset()

    def offset(self) -> float:
        """What to add to ``time.monotonic()`` to get UTC, seconds."""
        with self._lock:
            before_s = self._monotonic()
            wall = self._wall()
            after_s = self._monotonic()
            # The thread may have been held between the readings; only what is certain counts.
            least, most = wall - after_s, wall - before_s
            early_s = self._offset - most
            if least > self._offset:
                self._offset = least
            elif early_s > 0:
                if not self._ahead and early_s > STEP_S:
                    self._ahead = True
                    log.warning(
                        "the wall clock was set back by %.1f s; times run on and wait for it", early_s
                    )
                self._offset = max(most, self._offset - WALL_SLEW * (after_s - self._checked_s))
            self._ahead = self._ahead and most < self._offset
            self._checked_s = after_s
            return self._offset


class LeastDelay:
    """The least delay seen over the last one to two windows: jitter only ever adds to one."""

    def __init__(self) -> None:
        self._window_end_s = float("-inf")
        self._least = self._least_before = float("inf")

    def add(self, at_s: float, delay_s: float) -> float:
        """Take a delay seen at ``at_s`` (monotonic seconds); the least one now."""
        if at_s >= self._window_end_s:
            self._least_before, self._least = self._least, float("inf")
            self._window_end_s = at_s + DELAY_WINDOW_S
        self._least = min(self._least, delay_s)
        return min(self._least, self._least_before)

    def shift(self, seconds: float) -> None:
        """What the delays are measured by was set: they are all longer by so much."""
        self._least += seconds
        self._least_before += seconds


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What some seconds of sender reports have told of the sender's clock."""

    reading_time: float  # our UTC, epoch seconds
    offset_s: float  # the sender's clock less our UTC, as it looks from here: less the least delay
    received_s: float  # time.monotonic()
    lead_s: float  # the sender's clock less the monotonic one, the least delay since the reading before
    series: int  # readings of one series can be compared: no step and no opening lies between them
    reports: int  # new ones since the reading before
    clock_source: ClockSource  # that capture time came from
    step_s: float = 0.0  # that the clock has been set by; 0: it has not
    step_time: float = 0.0  # our UTC when that was seen first


class SenderClock:
    """The clock that sender reports tell, against ours: the camera's, or that of what passes its stream on.

    Used by the decode thread alone; any one thread may take :attr:`readings` from the left.
    """

    def __init__(self) -> None:
        self.readings: deque[ClockReading] = deque(maxlen=MAX_READINGS)
        self._series = self._reports = 0
        self._due_s = float("-inf")
        self._before: tuple[float, float] | None = None  # of the last reading: when, and minus its delay
        self.restart()

    def restart(self) -> None:
        """The stream was opened anew, or its media time jumped."""
        self._base_s: float | None = None  # the sender's clock less media time, by the last report
        self._delay = LeastDelay()
        self.delay_s = float("inf")  # arrival less the sender's clock: the least of late
        self._recent_s = float("inf")  # the least since the last reading
        self._unsettled_s: float | None = None  # since when; monotonic seconds
        self._settled_s = float("inf")
        self._step_s = 0.0  # since the last reading
        self._reopened = True
        self.settled = False  # for a while there was no step

    def observe(self, camera_time: float, media_s: float, received_s: float) -> float:
        """Take a frame's time on the sender's clock; the same on the monotonic one, the least delay later."""
        base_s = camera_time - media_s
        step_s = 0.0 if self._base_s is None else base_s - self._base_s
        if self._base_s is None or abs(step_s) > STEP_S:
            self._delay.shift(-step_s)
            self._step_s += step_s
            self._series += 1
            self._recent_s = float("inf")
            self._settled_s = received_s + SETTLE_S
            self._unsettled_s = received_s if self._unsettled_s is None else self._unsettled_s
        if self._base_s is None or abs(step_s) > SAME_REPORT_S:
            self._base_s = base_s
            self._reports += 1
        delay_s = received_s - camera_time
        self.delay_s = self._delay.add(received_s, delay_s)
        self._recent_s = min(self._recent_s, delay_s)
        self.settled = received_s >= self._settled_s
        return camera_time + self.delay_s

    def read(self, received_s: float, to_utc: float, source: ClockSource) -> None:
        """Keep a reading, if one is due; ``to_utc``: what to add to the monotonic clock to get UTC."""
        if not self.settled or received_s < self._due_s:
            return
        step_s, least_s = self._step_s, STEP_S
        if self._before is None:
            step_s = 0.0
        elif self._reopened:
            step_s = -self.delay_s - self._before[1]
            least_s = REOPENED_STEP_S + MAX_CLOCK_DRIFT * (received_s - self._before[0])
        reading = ClockReading(
            reading_time=received_s + to_utc,
            offset_s=-self.delay_s - to_utc,
            received_s=received_s,
            lead_s=-self._recent_s,
            series=self._series,
            reports=self._reports,
            clock_source=source,
            step_s=step_s if abs(step_s) > least_s else 0.0,
            step_time=(received_s if self._unsettled_s is None else self._unsettled_s) + to_utc,
        )
        self.readings.append(reading)
        self._before = (received_s, -self.delay_s)
        self._due_s = received_s + READ_EVERY_S
        self._reports, self._step_s, self._reopened, self._unsettled_s = 0, 0.0, False, None
        self._recent_s = float("inf")


class CaptureClock:
    """Capture time of one camera's frames, on the best clock there is; never goes back.

    A live frame's time is its media time plus an offset. The offset that is wanted comes from the
    camera's own clock where sender reports tell it: as it is where it is near ours, else shifted to our UTC.
    Where they do not, or that clock has just been set, it comes from the least delay seen
    between media time and arrival. The offset in use follows the wanted one slowly, so that neither
    jitter nor a change of clock makes two frames seem nearer or further apart than they are. Whatever it
    is, capture time stays near arrival.

    Used by the decode thread alone.
    """

    def __init__(self, utc: UtcClock, *, max_skew_s: float = 10.0, camera: str = "") -> None:
        self._utc = utc
        self._camera = camera
        self._max_skew_s = max_skew_s
        self._skew_said = False
        self.skew_s: float | None = None  # of the camera's clock against ours, latency included, as last told
        self.sender = SenderClock()
        self._last_given = float("-inf")
        self.restart()

    def restart(self) -> None:
        """Forget the stream's time line, but not the last time given out: it was reopened or it jumped."""
        self._offset: float | None = None  # capture time on the monotonic clock - media time
        self._media_s = 0.0
        self._delay = LeastDelay()
        self.sender.restart()
        self._corrects = False  # the camera's clock is too far from ours
        self._late_s, self._early_s = MAX_LATE_S, MAX_EARLY_S

    def stamp_live(
        self, media_s: float, received_s: float, camera_time: float | None
    ) -> tuple[float, ClockSource]:
        """Capture time of a live frame.

        Args:
            media_s: PTS in seconds.
            received_s: ``time.monotonic()`` when its packet had arrived.
            camera_time: UTC epoch seconds on the camera's clock, when sender reports gave it.

        Returns:
            UTC epoch seconds, and the clock they come from.
        """
        to_utc = self._utc.offset()
        wanted, source = self._delay.add(received_s, received_s - media_s), ClockSource.PTS
        trusted_s = 0.0  # the skew of a camera's clock that is used
        if camera_time is not None:
            skew_s = self.skew_s = camera_time - to_utc - received_s
            corrected = self.sender.observe(camera_time, media_s, received_s) - media_s
            limit_s = self._max_skew_s * (TRUST_AGAIN if self._corrects else 1.0)
            self._corrects = self.sender.settled and abs(self.sender.delay_s + to_utc) > limit_s
            if abs(skew_s) <= self._max_skew_s and not self._corrects:
                wanted, source = camera_time - to_utc - media_s, ClockSource.RTCP
                trusted_s = skew_s
            else:
                self._warn_of_skew(skew_s)
                if self._corrects and abs(corrected - wanted) <= STEP_S:  # else it does not run as time does
                    wanted, source = corrected, ClockSource.RTCP_CORRECTED
            self.sender.read(received_s, to_utc, source)
        if self._offset is None:
            self._offset = wanted
        room = SLEW * max(media_s - self._media_s, 0.0)
        self._offset += min(max(wanted - self._offset, -room), room)
        self._media_s = media_s
        self._late_s = max(MAX_LATE_S - min(trusted_s, 0.0), self._late_s - room)
        self._early_s = max(MAX_EARLY_S + max(trusted_s, 0.0), self._early_s - room)
        earliest, latest = received_s - self._late_s, received_s + self._early_s
        return self._forward(min(max(media_s + self._offset, earliest), latest) + to_utc), source

    def stamp_arrival(self, received_s: float) -> tuple[float, ClockSource]:
        """Capture time of a frame that has no media time: when it arrived (monotonic seconds)."""
        return self._forward(received_s + self._utc.offset()), ClockSource.ARRIVAL

    def go_on(self, media_s: float, capture_time: float) -> None:
        """Stamp a file's frames on the time line on which the frame of ``media_s`` had that capture time."""
        self._offset = capture_time - media_s

    def stamp_recorded(self, media_s: float) -> tuple[float, ClockSource]:
        """Capture time of a file's frame: when playing started, plus media time since then."""
        if self._offset is None:
            # Here on UTC: a file's time line is fixed once it plays.
            self._offset = self._forward(self._utc.now()) - media_s
            return media_s + self._offset, ClockSource.PTS
        return self._forward(media_s + self._offset), ClockSource.PTS

    def _warn_of_skew(self, skew_s: float) -> None:
        if not self._skew_said:
            self._skew_said = True
            text = "camera %s: its clock is %.1f s %s ours, and corrected by that; set its time server"
            log.warning(text, self._camera, abs(skew_s), "behind" if skew_s < 0 else "ahead of")

    def _forward(self, capture_time: float) -> float:
        """``capture_time``, or just after the last one given out when that is later."""
        self._last_given = max(capture_time, self._last_given + MIN_STEP_S)
        return self._last_given


class FpsGate:
    """Chooses frames by media time so that the rate asked for comes out, whatever rate comes in.

    The due times form a fixed grid, so no beat arises: of 10 frames/s every second one passes for 5, of
    12.5 two of five on average. The frame nearest to a due time passes, so jitter does no harm.
    """

    def __init__(self, fps: float | None) -> None:
        self.change(fps)
        self.restart()

    def change(self, fps: float | None) -> None:
        """Let another rate pass from now on. Any thread may call it."""
        self._period_s = 1.0 / fps if fps else 0.0

    def restart(self) -> None:
        """Let the next frame pass: the time line jumped."""
        self._due_s = float("-inf")
        self._media_s: float | None = None
        self._interval_s = 0.0  # between the frames that come, smoothed

    def passes(self, media_s: float) -> bool:
        """Whether the frame at ``media_s`` is due."""
        if self._media_s is not None:
            interval_s = media_s - self._media_s
            if self._interval_s:
                interval_s = 0.9 * self._interval_s + 0.1 * min(interval_s, 4 * self._interval_s)
            self._interval_s = interval_s
        self._media_s = media_s
        early_s = min(0.45 * self._interval_s, 0.5 * self._period_s)
        if media_s < self._due_s - early_s:
            return False
        grid_s = self._due_s + self._period_s
        # The first frame, or fewer come than are asked for: the grid starts anew here.
        self._due_s = grid_s if grid_s > media_s else media_s + self._period_s
        return True
