"""Clock-aligned counts: what one source saw in each window, and how much of the window it watched.

Rules, in short (``docs/database.md`` has the long form):

- A window is [k·window_s, (k+1)·window_s) in UTC epoch seconds. It stays open for a while after its
  end, for late frames and for tracks that are confirmed late; after that its rows never change.
- Every sighting is remembered, confirmed or not, so a track that is confirmed later counts in each open
  window that saw it. A track's class is looked up when rows are made: when the vote changes, counts move.
- A track unseen for ``SETTLE_S`` watched seconds has ended (the tracker forgets sooner): it becomes a plain
  number in its windows. So memory and :meth:`WindowCounter.snapshot` are bounded by the traffic of two
  minutes, not by the window's length.
- A window that was never opened has no row, and no row means not watched: a clock that jumps ahead by days
  leaves a hole, not a million rows.
- When ``window_s`` changes, windows of the old length see no more frames and are closed when they are due;
  rows are told apart by start and end, so none replaces another's.
"""

import math
from collections import Counter
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, fields
from statistics import median
from typing import Any

from sightline.analysis.classes import ClassTable
from sightline.analysis.observer import JSON, Observation, Observer
from sightline.analysis.options import AnalysisOptions
from sightline.analysis.timebase import GAP_STEPS, MIN_HOLE_S
from sightline.entities import ClockSource, CountWindow, Figure, SourceWindow, Tracks

SETTLE_S = 120.0  # twice the largest lost_s that a configuration may ask for
MIN_GRACE_S, MAX_GRACE_S = 15.0, 600.0
GRACE_SLACK_S = 4.5  # for a confirmation that takes longer, and for frames under way
FILL_S = 10.0  # two frames or ticks nearer than this leave no window without a row between them
MAX_CLOSED_RANGES = 16  # of each length of window
MAX_OPEN = 64  # windows open at once, besides those that the grace asks for
STATE_VERSION = 2
_CLOCKS = {clock.value: rank for rank, clock in enumerate(ClockSource)}  # higher is worse


@dataclass(slots=True)
class _Track:
    """What a count needs to know of a track that an open window has seen."""

    item_class: str
    confirmed: bool
    seen_s: float  # watched time at the last sighting


@dataclass(slots=True)
class _Window:
    """One open window."""

    start: int
    end: int
    watched_s: float = 0.0
    frames: int = 0
    dropped: int = 0
    clock_source: str = ""  # the worst seen; empty while no frame came
    model_version: str = ""
    ids: set[int] = field(default_factory=set)  # tracks seen here that may still change
    settled: dict[str, int] = field(default_factory=dict)  # ended, confirmed tracks by class
    written: dict[str, int] = field(default_factory=dict)  # counts last handed out, zeros included
    source_row: SourceWindow | None = None  # source row last handed out


#: What of a window goes into a state; its ids besides.
_SAVED = [column.name for column in fields(_Window) if column.name not in {"ids", "source_row"}]


class WindowCounter(Observer):
    """Counts one camera's tracks by window and class, and measures what was watched. Belongs to one thread.

    Its rows come out of :meth:`rows`, when they are asked for: they change with every frame.

    Args:
        state: what :meth:`snapshot` gave, to go on after a restart.

    Attributes:
        model_version: of the network that sees the frames from now on.

    Raises:
        ValueError: ``state`` is not a snapshot that this version understands.
    """

    name = "windows"

    def __init__(
        self, options: AnalysisOptions, classes: ClassTable, *, state: Mapping[str, Any] | None = None
    ) -> None:
        self.model_version = ""
        self._classes = classes
        self._late_frames = 0  # whose window was already closed: not counted
        self._dropped_total = 0
        self._finals: list[CountWindow | SourceWindow] = []  # of windows closed since the last rows()
        self._windows: dict[tuple[int, int], _Window] = {}  # by start and length
        self._tracks: dict[int, _Track] = {}
        self._closed: dict[int, list[list[int]]] = {}  # by length: [start, end) of those that had frames
        self._clock = -math.inf  # the time that closes windows
        self._watched_s = 0.0  # at the newest frame
        self._covered_until = -math.inf  # no instant is credited twice
        self._last: tuple[float, float] | None = None  # newest capture time, and the usual step then
        self.update(options)
        if state:
            self._restore(state)

    def update(self, options: AnalysisOptions) -> None:
        """Other options hold from the next frame on. A class that is given up keeps the counts it has."""
        self._options = options
        self._window_s = options.window_s
        # How long a window stays open after its end: until what it saw can be confirmed by any clock.
        asked_s = options.tracker.confirm_s + options.max_clock_skew_s + GRACE_SLACK_S
        self._grace_s = min(max(asked_s, MIN_GRACE_S), MAX_GRACE_S)

    # -- what happens ---------------------------------------------------------------------------------

    def observe(self, seen: Observation) -> tuple[()]:
        """Take in one frame, also one from before the newest while its window is open."""
        moment, frame = seen.moment, seen.frame
        self._watched_s, self.model_version = moment.watched_s, seen.model_version
        self._credit(*moment.covered)
        if self._last is None or moment.capture_time >= self._last[0]:
            self._last = moment.capture_time, moment.usual_s if moment.elapsed_s else 0.0
        self._move_clock(moment.capture_time)
        window = self._window_at(moment.capture_time)
        if window is None:
            self._late_frames += 1
            return ()
        window.frames += 1
        window.model_version = self.model_version
        if _CLOCKS[frame.clock_source] >= _CLOCKS.get(window.clock_source, -1):
            window.clock_source = str(frame.clock_source)
        self._see(seen.tracks, window)
        return ()

    def tick(self, now: float, silent: bool) -> tuple[()]:
        """A silent stream's windows close with what they have; while frames come, they drive the clock."""
        if not silent:
            return ()
        if self._last is not None and now - self._last[0] > max(MIN_HOLE_S, GAP_STEPS * self._last[1]):
            self._credit_last_frame()
        self._move_clock(now)
        self._window_at(now)
        return ()

    def end(self, time: float) -> tuple[()]:
        """The stream has ended for good (a recorded file): close every window."""
        self._credit_last_frame()
        for _, window in sorted(self._windows.items()):
            self._close(window)
        return ()

    # -- what comes out -------------------------------------------------------------------------------

    def rows(self, dropped_total: int = 0) -> tuple[tuple[CountWindow, ...], tuple[SourceWindow, ...]]:
        """Rows that changed since the last call, and the last rows of windows closed since then.

        Each row replaces the earlier one with its key. A class whose count fell back to 0 is written as 0.

        Args:
            dropped_total: frames dropped since this object was made; what is new in it is charged to the
                window that is open now.
        """
        if dropped_total > self._dropped_total and math.isfinite(self._clock):
            if window := self._window_at(self._clock):
                window.dropped += dropped_total - self._dropped_total
            self._dropped_total = dropped_total
        # Ended tracks become numbers.
        limit = self._watched_s - SETTLE_S
        for track_id in [track_id for track_id, track in self._tracks.items() if track.seen_s < limit]:
            track = self._tracks.pop(track_id)
            for window in self._windows.values():
                if track_id in window.ids:
                    window.ids.remove(track_id)
                    if track.confirmed:
                        window.settled[track.item_class] = window.settled.get(track.item_class, 0) + 1
        rows, self._finals = self._finals, []
        for _, window in sorted(self._windows.items()):
            rows += self._rows_of(window, every=False)
        counts = tuple(row for row in rows if isinstance(row, CountWindow))
        return counts, tuple(row for row in rows if isinstance(row, SourceWindow))

    def figures(self) -> tuple[Figure, ...]:
        """Frames that came too late to be counted."""
        text = "Frames that came after their window was closed, and were not counted."
        return (Figure("windows_late_frames_total", self._late_frames, help=text),)

    @property
    def coverage(self) -> float:
        """Watched share of what has passed of the window that is open now, 0..1."""
        window = self._windows.get(self._key(self._clock)) if math.isfinite(self._clock) else None
        if window is None:
            return 0.0
        passed_s = self._clock - window.start
        if passed_s <= 0:
            return 1.0 if window.frames else 0.0
        return min(1.0, window.watched_s / passed_s)

    def snapshot(self) -> JSON:
        """JSON-able state for a successor; take it after :meth:`rows` and commit both together."""
        return {
            "version": STATE_VERSION,
            "last": self._last,
            "covered_until": self._covered_until if math.isfinite(self._covered_until) else None,
            "clock": self._clock if math.isfinite(self._clock) else None,
            "closed": [[length, *pair] for length, ranges in self._closed.items() for pair in ranges],
            "tracks": {
                str(track_id): [track.item_class, track.confirmed, self._watched_s - track.seen_s]
                for track_id, track in self._tracks.items()
            },
            "windows": [
                {name: copy(getattr(window, name)) for name in _SAVED} | {"ids": sorted(window.ids)}
                for window in self._windows.values()
            ],
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        try:
            state = _upgraded(state) if state["version"] == 1 else state
            if state["version"] != STATE_VERSION:
                raise ValueError(f"counts of version {STATE_VERSION} are needed, not {state['version']!r}")
            for values in state["windows"]:
                window = _Window(**{name: copy(values[name]) for name in _SAVED}, ids=set(values["ids"]))
                self._windows[window.start, window.end - window.start] = window
            for track_id, (item_class, confirmed, unseen_s) in state["tracks"].items():
                self._tracks[int(track_id)] = _Track(item_class, confirmed, -unseen_s)
            for length, start, end in state["closed"]:
                self._closed.setdefault(length, []).append([start, end])
            last, until, clock = state["last"], state["covered_until"], state["clock"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a state of counts: {error!r}") from error
        self._last = None if last is None else (last[0], last[1])
        self._covered_until = -math.inf if until is None else until
        self._clock = -math.inf if clock is None else clock

    # -- windows --------------------------------------------------------------------------------------

    def _key(self, time: float) -> tuple[int, int]:
        return math.floor(time / self._window_s) * self._window_s, self._window_s

    def _window_at(self, time: float) -> _Window | None:
        """The window that ``time`` lies in, opened if need be; None when it has been closed."""
        key = start, length = self._key(time)
        window = self._windows.get(key)
        if window is None and not any(low <= start < high for low, high in self._closed.get(length, ())):
            window = _Window(start, start + length, model_version=self.model_version)
            self._windows[key] = window
        return window

    def _move_clock(self, now: float) -> None:
        """Open the windows that lie between two moments near each other, and close what is due."""
        if now - self._clock <= FILL_S:
            for start in range(self._key(self._clock)[0], self._key(now)[0], self._window_s):
                self._window_at(start)
        self._clock = now
        limit = MAX_OPEN + math.ceil(self._grace_s / self._window_s)
        for _, window in sorted(self._windows.items()):
            over = window.end + self._grace_s <= now
            # Opened by a clock that had jumped ahead and came back; nothing was seen in it.
            astray = not window.frames and window.start > now + self._window_s + self._grace_s
            if over or astray or len(self._windows) > limit:
                self._close(window)

    def _close(self, window: _Window) -> None:
        self._finals += self._rows_of(window, every=True)
        del self._windows[window.start, window.end - window.start]
        alive: set[int] = set().union(*(other.ids for other in self._windows.values()))
        for track_id in window.ids - alive:
            del self._tracks[track_id]
        if not window.frames:
            return
        # Remember the range; neighbours are joined, and so are the two oldest when there are too many.
        length = window.end - window.start
        first, *others = sorted([*self._closed.get(length, ()), [window.start, window.end]])
        joined = [first]
        for low, high in others:
            if low <= joined[-1][1]:
                joined[-1][1] = max(joined[-1][1], high)
            else:
                joined.append([low, high])
        if len(joined) > MAX_CLOSED_RANGES:
            joined[:2] = [[joined[0][0], joined[1][1]]]
        self._closed[length] = joined

    # -- tracks ---------------------------------------------------------------------------------------

    def _see(self, tracks: Tracks, window: _Window) -> None:
        columns = (tracks.ids, tracks.class_ids, tracks.confirmed, tracks.first_times)
        ids, class_ids, *others = (column.tolist() for column in columns)
        name_of = {class_id: self._classes.name(class_id) for class_id in set(class_ids)}
        for track_id, class_id, confirmed, first_time in zip(ids, class_ids, *others, strict=True):
            track = self._tracks.get(track_id)
            if track is None:
                track = self._tracks[track_id] = _Track("", False, 0.0)
                # A tracker that reports only from the second box on: its first box was a sighting too.
                first = self._windows.get(self._key(first_time))
                if first is not None:
                    first.ids.add(track_id)
            track.item_class = name_of[class_id]
            track.confirmed |= confirmed
            track.seen_s = self._watched_s
        window.ids.update(ids)

    def _credit(self, low: float, until: float) -> None:
        """Add a watched span to the windows that it lies in; those already closed stay."""
        low, self._covered_until = max(low, self._covered_until), max(until, self._covered_until)
        while low < until:
            start, length = self._key(low)
            high = min(until, float(start + length))
            window = self._window_at(low)
            if window is not None:
                window.watched_s += high - low
            low = high

    def _credit_last_frame(self) -> None:
        """No frame follows the last one: it stands for one usual step, within its own window only."""
        if self._last is not None:
            time, usual_s = self._last
            start, length = self._key(time)
            self._credit(time, min(time + usual_s, float(start + length)))

    # -- rows -----------------------------------------------------------------------------------------

    def _rows_of(self, window: _Window, *, every: bool) -> list[CountWindow | SourceWindow]:
        """The window's rows: all of them, or those that differ from what was handed out last."""
        counts = Counter(window.settled)
        seen = (self._tracks[track_id] for track_id in window.ids)
        counts.update(track.item_class for track in seen if track.confirmed)
        start, end = float(window.start), float(window.end)
        rows: list[CountWindow | SourceWindow] = []
        for item_class in sorted(counts.keys() | window.written.keys()):
            if self._options.classes is not None and item_class not in self._options.classes:
                continue  # what was written stands
            count = counts[item_class]
            if every or window.written.get(item_class) != count:
                rows.append(CountWindow(self._options.camera, item_class, count, start, end))
                window.written[item_class] = count
        length = window.end - window.start
        watched_s = min(window.watched_s, float(length))
        source_row = SourceWindow(
            source=self._options.camera,
            window_start=start,
            window_end=end,
            coverage=round(watched_s / length, 6),  # sums of floats end a hair beside 1
            effective_fps=round(window.frames / watched_s, 3) if watched_s > 0 else 0.0,
            dropped_frames=window.dropped,
            clock_source=window.clock_source,
            model_version=window.model_version,
            config_hash=self._options.config_hash,
        )
        if every or source_row != window.source_row:
            rows.append(source_row)
            window.source_row = source_row
        return rows


def _upgraded(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """A state of version 1: all windows had one length, and watched time was the counter's own."""
    length, watched = state["window_s"], state["watched"]
    last = watched["last_time"]
    return {
        "version": STATE_VERSION,
        "last": None if last is None else [last, median(watched["intervals"] or [0.0])],
        "covered_until": watched["until"],
        "clock": state["clock"],
        "closed": [[length, start, end] for start, end in state["closed"]],
        "tracks": {
            track_id: [item_class, confirmed, state["watched_s"] - seen_s]
            for track_id, (item_class, confirmed, seen_s) in state["tracks"].items()
        },
        "windows": [{**values, "end": values["start"] + length} for values in state["windows"]],
    }
