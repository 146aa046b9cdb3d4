"""One camera's analysis: time, tracker, rules and windows, put together in one place.

Live cameras, shadow arms, rehearsals and evaluations all run this chain, so what they say of the same boxes
is the same. It does no I/O and reads no clock.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from sightline.analysis.classes import ClassTable, renumber
from sightline.analysis.counts.windows import WindowCounter
from sightline.analysis.observer import JSON, Doubt, Observation
from sightline.analysis.options import AnalysisOptions
from sightline.analysis.rules import Rules
from sightline.analysis.saved import from_json
from sightline.analysis.timebase import Timebase
from sightline.analysis.tracking.tracker import Tracker
from sightline.entities import (
    U8,
    Box,
    ClockSource,
    CountWindow,
    Detections,
    Event,
    EventEnd,
    Figure,
    Frame,
    ModelInfo,
    Result,
    SourceWindow,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

#: More tracks than can begin between two checkpoints: ids are never given twice, however a worker ends.
SKIPPED_IDS = 1000
_WITH_IDS, _MAX_ID = ("tracker", "windows"), 2**62
SILENT_AFTER_S = 1.0
MAX_TICK_S = 0.5  # a clock that jumps between two ticks makes no silence


class CameraAnalysis:
    """Detections in, results out. Belongs to one thread.

    Attributes:
        options: what holds now.
        classes: what class ids mean in everything that comes out.
        model: the version that makes the boxes; None until it is known.
    """

    def __init__(self, options: AnalysisOptions, *, state: Mapping[str, Any] | None = None) -> None:
        """Begin, or go on from a :meth:`snapshot`, also of an earlier release.

        A part of it that cannot be used is logged, and begins anew; but counts go on from the rows that the
        state has beside it ("stored", see :meth:`sightline.store.writer.Writer.resume_states`).
        """
        self.options = options
        self.model: ModelInfo | None = None
        state = _upgraded(state or {})

        def restore(what: str, key: str, make: Callable[..., T]) -> T:
            try:
                return make(state=state.get(key))
            except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
                log.warning("camera %s: %s begin anew: %s", options.camera, what, error)
                return make()

        self.classes = restore("names of classes", "classes", ClassTable)
        self._lookup = self.classes.lookup(())
        tracker = partial(Tracker, options.tracker, alike=self.classes.alike, first_id=_next_id(state))
        self._timebase = restore("watched time", "timebase", partial(Timebase, options.max_gap_s))
        self._tracker = restore("tracks", "tracker", tracker)
        self._rules = restore("visits and crossings", "rules", partial(Rules, options, self.classes))
        stored = [
            from_json(kind, row)
            for name, kind in (("count", CountWindow), ("window", SourceWindow))
            for row in state.get("stored", {}).get(name, ())
        ]
        counter = partial(
            WindowCounter, options, self.classes, stored=stored, tracks=self._tracker.all_tracks()
        )
        self._windows = restore("counts", "windows", counter)
        self._results: list[Result] = []  # since they were taken
        self._size: tuple[int, int] | None = None
        self._last_tick: float | None = None
        self._silent_s = 0.0

    def use_model(self, model: ModelInfo) -> None:
        """The version that makes the boxes from now on; tracks go on, their classes keep their names."""
        self.model = model
        self._lookup = self.classes.lookup(model.class_names)
        self._windows.use_model(model)

    def update(self, options: AnalysisOptions) -> None:
        """Other options hold from the next frame on; tracks, visits, ids and counts go on."""
        self.options = options
        self._timebase.max_gap_s = options.max_gap_s
        self._tracker.options = options.tracker
        self._rules.update(options)
        self._windows.update(options)

    def take_doubt(self, doubt: Doubt | None) -> None:
        """What is doubted of the frames from the next one on, until this is called again."""
        self._windows.take_doubt(doubt)

    def observe(
        self, frame: Frame, detections: Detections, lap: Callable[[str], None] = lambda _: None
    ) -> Observation:
        """Analyse the camera's next frame; what the observers with I/O get to see.

        Args:
            frame: the picture and its times.
            detections: every box of the detector; class ids are those of ``detections.model``, or of
                :attr:`model` where that is None.
            lap: called with "track", "rules" and "windows" when that part is done.
        """
        self._silent_s = 0.0
        size = (frame.picture.width, frame.picture.height)
        if self._size not in {None, size}:  # its boxes are not comparable
            self._tracker.end_all()
            self._results += self._rules.end(frame.capture_time)
        self._size = size
        if detections.model is not None and detections.model is not self.model:
            self.use_model(detections.model)
        if self.model is not None:
            class_ids = renumber(detections.class_ids, self._lookup)
            detections = Detections(detections.xyxy, detections.scores, class_ids)
        moment = self._timebase.advance(frame.capture_time)
        tracks = self._tracker.update(detections, moment)
        lap("track")
        events: list[Event | EventEnd] = []
        seen = Observation(frame, detections, tracks, self.classes, moment, events, self.model)
        events += self._rules.observe(seen)
        lap("rules")
        self._windows.observe(seen)
        lap("windows")
        self._results += events
        return seen

    def tick(self, now: float) -> bool:
        """Tell the wall clock at least once a second (live streams): what a silent stream left open ends.

        Takes UTC epoch seconds and says whether the stream is silent.
        """
        passed_s = 0.0 if self._last_tick is None else now - self._last_tick
        self._last_tick = now
        self._silent_s += min(max(passed_s, 0.0), MAX_TICK_S)
        silent = self._silent_s >= SILENT_AFTER_S
        self._results += self._rules.tick(now, silent)
        self._windows.tick(now, silent)
        return silent

    def end(self, time: float) -> None:
        """The stream has ended for good with a frame of that capture time: end visits, close windows."""
        self._results += self._rules.end(time)
        self._windows.end(time)

    def take_results(self) -> list[Result]:
        """What has become certain since the last call."""
        results, self._results = [*self._results, *self._rules.take()], []
        return results

    def rows(self, dropped_total: int = 0) -> tuple[tuple[CountWindow, ...], tuple[SourceWindow, ...]]:
        """Rows of windows that changed since the last call: see :meth:`WindowCounter.rows`."""
        return self._windows.rows(dropped_total)

    @property
    def occupancy(self) -> dict[str, int]:
        """By zone, how many confirmed tracks are in it."""
        return self._rules.occupancy

    @property
    def coverage(self) -> float:
        """Watched share of what has passed of the window that is open now, 0..1."""
        return self._windows.coverage

    def snapshot(self) -> JSON:
        """What a successor goes on from; take it after the results and rows, and commit all together."""
        tracker = self._tracker.snapshot()
        return {
            "timebase": self._timebase.snapshot(),
            "tracker": tracker,
            "rules": self._rules.snapshot(),
            "windows": self._windows.snapshot(),
            "classes": self.classes.named(tracker["class_ids"]),
        }

    def figures(self) -> list[Figure]:
        """Numbers about the analysis."""
        return [*self._rules.figures(), *self._windows.figures()]


def frame_at(capture_time: float, clock_source: ClockSource = ClockSource.PTS) -> Frame:
    """A frame without a picture, for boxes that were found and kept earlier."""
    return Frame(NoPicture(), 0, capture_time, capture_time, clock_source, 0.0)


class NoPicture:
    """Stands for a picture that was not kept."""

    width = height = 0
    scale_s = 0.0

    def write_i420(self, out: U8, box: Box | None = None) -> None:
        """Cannot be done."""
        raise ValueError("the picture was not kept")


def _next_id(state: Mapping[str, Any]) -> int:
    """An id that no track has had: the last ones may have been given after the snapshot.

    The counts are asked as well: a tracker whose state cannot be used begins anew, its ids do not. So are the
    tracks that go on, since what is said of the next id may be damaged.
    """
    if not state:
        return 1
    tracker, windows = (part if isinstance(part, Mapping) else {} for part in map(state.get, _WITH_IDS))
    tracks, next_id = windows.get("tracks"), tracker.get("next_id")
    known = [int(i) + 1 for i in tracks if str(i).isdecimal()] if isinstance(tracks, Mapping) else []
    known += [next_id] if isinstance(next_id, int) else []
    going_on = tracker.get("tracks")
    for track in going_on if isinstance(going_on, list) else ():
        number = track.get("id") if isinstance(track, Mapping) else None
        known += [number + 1] if isinstance(number, int) else []
    return max([1, *(number for number in known if number < _MAX_ID)]) + SKIPPED_IDS


def _upgraded(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """A state of a release in which tracker, rules and windows each kept a time of their own."""
    tracker = state.get("tracker")
    if "timebase" in state or not isinstance(tracker, Mapping) or "time" not in tracker:
        return state
    step_s = tracker.get("step_s")
    timebase = {"time": tracker["time"], "steps": [] if step_s is None else [step_s]}
    return {**state, "timebase": timebase}
