"""Watched time: the one answer to "how long was this camera looked at?" for tracker, rules and windows.

Capture times say when a picture was taken; they go on while the stream or the detector is away. What has not
been watched is no evidence: a person behind a gap has neither left nor stayed. So a gap counts as one usual
step, and everything that waits (for a lost track, for a visit, for a crossing to be certain) waits in
watched seconds.

Two thresholds, on purpose. Identity is strict: a pause of more than :data:`GAP_STEPS` usual steps is a *gap*,
because a track that is missing for a quarter of a second may end. Coverage is lenient: only a pause that
also exceeds :data:`MIN_HOLE_S` is a *hole* in what was watched, because a few dropped frames do not mean
that people passed unseen.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sightline.analysis.saved import from_json

STEPS_KEPT = 9  # the usual step is the median of as many
MIN_STEP_S = 1 / 30
MAX_FIRST_STEP_S = 1.0  # before anything is known of the rate
GAP_STEPS = 3.0
MIN_HOLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame's place in time.

    Attributes:
        capture_time: UTC epoch seconds.
        elapsed_s: capture time since the frame before; 0 for the first frame and for the same time again, one
            usual step where the clock was set back.
        step_s: watched time since the frame before: ``elapsed_s``, but one usual step over a gap.
        watched_s: the sum of all steps since the timebase began or was restored.
        usual_s: the usual step.
        gap: the scene was not watched between the frame before and this one.
        blind: a gap so long that no object in view can be told to be the same.
        covered: the span of capture time that became watched by this frame, (low, high); empty when
            low >= high.
    """

    capture_time: float
    elapsed_s: float
    step_s: float
    watched_s: float
    usual_s: float
    gap: bool
    blind: bool
    covered: tuple[float, float]


class Timebase:
    """Turns one camera's capture times into moments. Belongs to one thread.

    A gap longer than ``max_gap_s`` makes a moment blind. ``state`` is what :meth:`snapshot` gave, to go on
    after a restart; ValueError when it is not.
    """

    def __init__(self, max_gap_s: float, state: Mapping[str, Any] | None = None) -> None:
        self.max_gap_s = max_gap_s
        self._time: float | None = None  # of the newest frame
        self._watched_s = 0.0
        self._steps: deque[float] = deque(maxlen=STEPS_KEPT)
        if state is not None:
            try:
                self._time = from_json(float | None, state["time"])
                self._steps.extend(from_json(list[float], state["steps"]))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"not a state of watched time: {error!r}") from error
        self._usual_s = self._median()  # 0 when nothing is known yet

    def advance(self, capture_time: float) -> Moment:
        """A frame was taken at ``capture_time``, UTC epoch seconds."""
        last, known = self._time, self._usual_s
        elapsed_s = 0.0 if last is None else capture_time - last
        hole = elapsed_s > max(MIN_HOLE_S, GAP_STEPS * known)
        low = capture_time if last is None else min(last, capture_time)
        covered = (low, low + known if hole else capture_time)
        if elapsed_s < 0:  # the clock was set back: one frame has passed, it is not known how long it took
            elapsed_s, covered = max(known, MIN_STEP_S), (capture_time, capture_time)
        if elapsed_s > 0:
            self._steps.append(elapsed_s if self._steps else min(elapsed_s, MAX_FIRST_STEP_S))
            self._usual_s = self._median()
        usual_s = max(self._usual_s, MIN_STEP_S)
        gap = elapsed_s > GAP_STEPS * usual_s
        step_s = usual_s if gap else elapsed_s
        self._time = capture_time
        self._watched_s += step_s
        blind = elapsed_s > self.max_gap_s
        return Moment(capture_time, elapsed_s, step_s, self._watched_s, usual_s, gap, blind, covered)

    def _median(self) -> float:
        return sorted(self._steps)[(len(self._steps) - 1) // 2] if self._steps else 0.0

    def snapshot(self) -> dict[str, Any]:
        """JSON-able. Watched time begins at 0 again in a successor: states keep ages, not instants."""
        return {"time": self._time, "steps": list(self._steps)}
