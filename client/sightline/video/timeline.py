"""Media time: a camera's, which may not be believed, and a recording's, which may be broken or missing.

Nothing here sleeps or knows what time it is; the decode thread alone uses it.
"""

from collections import deque
from enum import Enum, auto

BACK_TOLERANCE_S = 1.0  # a frame earlier than the last by less than this is merely dropped
JUMP_S = 10.0  # a camera's time that runs ahead of arrival by more than this has jumped
STRAYS_BEFORE_RESTART = 10  # more frames in a row without a usable time are no accident
ODD_FRAMES, MAX_ODD_SHARE = 50, 0.3  # over about so many frames, the share whose time does not follow on
PACE_SECONDS, PACE_ENDS = 30, 3  # seconds looked at; the least delay of the first and last few is compared
MAX_DRIFT, DRIFT_SLACK_S = 0.03, 0.2
DOUBTS_BEFORE_DISTRUST = 5  # seconds in a row: a line that is slow for a moment catches up
DISTRUST_S = 60.0  # how long a time line has to agree again before it is believed
DAY_S = 86_400.0  # a recording with a longer pause has lost its clock
MAX_REORDERED = 17  # frames; codecs put no more into another order
MIN_STEP_S = 0.001
#: Three hundred years: float64 still tells microseconds apart, and a time beyond means nothing.
MAX_MEDIA_S = 1e10


def _believable(time_s: float | None) -> float | None:
    """A time stamp, or None where it is none; NaN is none."""
    return time_s if time_s is not None and abs(time_s) < MAX_MEDIA_S else None


class PtsStep(Enum):
    """How a live frame's media time follows the one before it."""

    ON = auto()
    STRAY = auto()  # no time, or slightly backward: drop this frame
    JUMP = auto()  # the time line broke here: start a new one
    UNTIMED = auto()  # the stream's times mean nothing: arrival is the time


class Timeline:
    """Tells a live stream's steady time from strays, from jumps (resets, wraps, cuts) and from lies.

    A camera may stamp for a rate that it does not deliver, stand still, or leave its pauses out.
    ``timed=False``: the format has no times of its own, and those that FFmpeg makes up are not looked at.
    """

    def __init__(self, *, timed: bool = True) -> None:
        self._timed = timed
        self.problem = "the stream's format has no times of its own"  # why arrival is taken, where it is
        self._media_s: float | None = None
        self._received_s = 0.0
        self._strays = 0
        self._odd_share = 0.0
        self._delays: deque[tuple[float, float]] = deque(maxlen=PACE_SECONDS)  # seconds, their least delay
        self._doubts = 0
        self._distrusted_until_s = float("-inf")

    def step(self, media_s: float | None, received_s: float) -> PtsStep:
        """Take the next frame's media time (None when it has none) and its arrival, monotonic seconds."""
        if not self._timed:
            return PtsStep.UNTIMED
        media_s = _believable(media_s)
        step = self._follow(media_s, received_s)
        self._received_s = received_s
        if media_s is not None:
            self._compare(media_s, received_s)
        self._odd_share += ((step is not PtsStep.ON) - self._odd_share) / ODD_FRAMES
        timeless = media_s is None and self._strays > STRAYS_BEFORE_RESTART
        if timeless or self._odd_share > MAX_ODD_SHARE:
            self.problem = "the stream's time stamps are missing, or stand still, or jump"
            self._distrusted_until_s = received_s + DISTRUST_S
        elif self._doubts >= DOUBTS_BEFORE_DISTRUST:
            self.problem = "the stream's time stamps do not run as time does"
            self._distrusted_until_s = received_s + DISTRUST_S
        return PtsStep.UNTIMED if received_s < self._distrusted_until_s else step

    def _follow(self, media_s: float | None, received_s: float) -> PtsStep:
        step = self._judge(media_s, received_s)
        if step is PtsStep.STRAY:
            self._strays += 1
            if self._strays <= STRAYS_BEFORE_RESTART or media_s is None:
                return PtsStep.STRAY
            step = PtsStep.JUMP
        if step is PtsStep.JUMP:
            self._delays.clear()
        self._strays = 0
        self._media_s = media_s
        return step

    def _judge(self, media_s: float | None, received_s: float) -> PtsStep:
        if media_s is None:
            return PtsStep.STRAY
        if self._media_s is None:
            return PtsStep.ON
        early_s = media_s - self._media_s
        if early_s <= -BACK_TOLERANCE_S:
            return PtsStep.JUMP
        if early_s <= 0:
            return PtsStep.STRAY
        return PtsStep.JUMP if early_s - (received_s - self._received_s) > JUMP_S else PtsStep.ON

    def _compare(self, media_s: float, received_s: float) -> None:
        """Keep each second's least delay: jitter only adds to it, so of a true clock it hardly changes."""
        delays, delay_s = self._delays, received_s - media_s
        if delays and received_s - delays[-1][0] < 1.0:
            if delay_s < delays[-1][1]:
                delays[-1] = (delays[-1][0], delay_s)
            return
        if len(delays) > PACE_ENDS:
            ends = [min(delays[i][1] for i in part) for part in (range(PACE_ENDS), range(-PACE_ENDS, 0))]
            allowed_s = MAX_DRIFT * (delays[-1][0] - delays[0][0]) + DRIFT_SLACK_S
            self._doubts = self._doubts + 1 if abs(ends[1] - ends[0]) > allowed_s else 0
        delays.append((received_s, delay_s))


class RecordedTimes:
    """Media time of a recording's frames, in the order of display; it always rises, and no frame is lost.

    It is PTS where they rise, else DTS, else the frame's number times ``period_s``. A step forward is time
    that nobody recorded; a step back, as where two recordings were joined, goes on from where it was.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._back_s = max(BACK_TOLERANCE_S, MAX_REORDERED * period_s)
        self._media_s: float | None = None
        self._shift_s = 0.0  # what is added to PTS since the last step back
        self._ahead_s = 0.0  # media time - DTS, where PTS rose last
        self._doubt = 0  # frames whose PTS did not rise, less those whose did

    def next(self, pts_s: float | None, dts_s: float | None) -> float:
        """Media time of the next frame in seconds."""
        pts_s, dts_s, last_s = _believable(pts_s), _believable(dts_s), self._media_s
        if last_s is None:
            media_s = next((time_s for time_s in (pts_s, dts_s) if time_s is not None), 0.0)
            rises = True
        else:
            if pts_s is not None:
                if not -self._back_s < pts_s + self._shift_s - last_s < DAY_S:
                    self._shift_s = last_s + self._period_s - pts_s
                pts_s += self._shift_s
            rises = pts_s is not None and pts_s > last_s
            media_s = pts_s if pts_s is not None and rises else self._without_pts(last_s, pts_s, dts_s)
        self._doubt = min(max(self._doubt + (-1 if rises else 1), 0), MAX_REORDERED)
        if rises and dts_s is not None:
            self._ahead_s = media_s - dts_s
        self._media_s = media_s
        return media_s

    def _without_pts(self, last_s: float, pts_s: float | None, dts_s: float | None) -> float:
        if dts_s is not None and 0 < dts_s + self._ahead_s - last_s < JUMP_S:
            return dts_s + self._ahead_s
        # Two frames of one time are not far apart; many are a clock that stands.
        return last_s + (self._period_s if pts_s is None or self._doubt > 3 else MIN_STEP_S)
