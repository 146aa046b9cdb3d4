"""Clock-aligned counts: what one source saw in each window, and how much of the window it watched.

Rules, in short (``docs/database.md`` has the long form):

- A window is [k·window_s, (k+1)·window_s) in UTC epoch seconds. It stays open for ``grace_s`` after its end,
  for late frames and for tracks that are confirmed late; after that its rows never change.
- Every sighting is remembered, confirmed or not, so a track that is confirmed later counts in each open
  window that saw it. A track's class is looked up when rows are made: when the vote changes, counts move.
- A track unseen for ``SETTLE_S`` watched seconds has ended (the tracker forgets sooner): it becomes a plain
  number in its windows. So memory and :meth:`WindowCounter.snapshot` are bounded by the traffic of two
  minutes, not by the window's length.
- A window that nobody opened has no row, and no row means not watched: a clock that jumps ahead by days
  leaves a hole, not a million rows.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sightline.analysis.counts.coverage import WatchedTime
from sightline.entities import ClockSource, CountWindow, SourceWindow, Tracks

log = logging.getLogger(__name__)

SETTLE_S = 120.0  # twice the largest lost_s that a configuration may ask for
GRACE_S = 15.0  # confirm_s, plus the largest default skew of a camera's clock, plus some seconds
FILL_S = 10.0  # two frames or ticks nearer than this leave no window without a row between them
_CLOSED_RANGES = 16
_MAX_OPEN = 64  # windows open at once, besides those that grace_s asks for
_STATE_VERSION = 1
_CLOCKS = {clock.value: rank for rank, clock in enumerate(ClockSource)}  # higher is worse


@dataclass(slots=True)
class _Track:
    """What a count needs to know of a track that an open window has seen."""

    item_class: str
    confirmed: bool
    seen_s: float  # the counter's watched seconds at the last sighting


@dataclass(slots=True)
class _Window:
    """One open window."""

    start: int
    watched_s: float = 0.0
    frames: int = 0
    dropped: int = 0
    clock_source: str = ""  # the worst seen; empty while no frame came
    model_version: str = ""
    ids: set[int] = field(default_factory=set)  # tracks seen here that may still change
    settled: dict[str, int] = field(default_factory=dict)  # ended, confirmed tracks by class
    written: dict[str, int] = field(default_factory=dict)  # counts last handed out, zeros included
    source_row: SourceWindow | None = None  # source row last handed out


class WindowCounter:
    """Counts one source's tracks by window and class, and measures what was watched.

    Not thread-safe: the worker's main thread owns it.

    Args:
        source: the camera's name.
        window_s: length of a window in seconds, a divisor of a day.
        classes: names to count; None counts all.
        config_hash: written into every source row.
        grace_s: how long a window stays open after its end, in seconds.
        state: what :meth:`snapshot` gave, to go on after a restart.
    """

    def __init__(
        self,
        source: str,
        window_s: int,
        *,
        classes: Collection[str] | None = None,
        config_hash: str = "",
        grace_s: float = GRACE_S,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self.source = source
        self.late_frames = 0  # frames whose window was already closed: not counted
        self._window_s = window_s
        self._classes = None if classes is None else frozenset(classes)
        self._config_hash = config_hash
        self._grace_s = grace_s
        self._dropped_total = 0
        self._frame_since_tick = False
        self._class_names: tuple[str, ...] = ()
        self._model_version = ""
        self._finals: list[CountWindow | SourceWindow] = []  # of windows closed since the last rows()
        self._forget()
        if state:
            self._restore(state)

    def _forget(self) -> None:
        self._windows: dict[int, _Window] = {}
        self._tracks: dict[int, _Track] = {}
        self._closed: list[list[int]] = []  # [start, end) ranges of closed windows that had frames, sorted
        self._watched = WatchedTime()
        self._watched_s = 0.0  # in all, over all windows
        self._clock = -math.inf  # the time that closes windows

    # -- what happens ---------------------------------------------------------------------------------

    def use_model(self, class_names: Sequence[str], version: str) -> None:
        """The network that sees the frames from now on."""
        self._class_names = tuple(class_names)
        self._model_version = version

    def observe(self, tracks: Tracks, capture_time: float, clock_source: str) -> None:
        """Take in one processed frame, also when it shows no track.

        Args:
            tracks: the tracks seen in it, confirmed or not.
            capture_time: UTC epoch seconds. A time before the newest one is taken too, while its window
                is open.
            clock_source: where the time came from.
        """
        self._frame_since_tick = True
        self._credit(self._watched.frame(capture_time))
        self._move_clock(capture_time)
        window = self._window_at(capture_time)
        if window is None:
            self.late_frames += 1
            return
        window.frames += 1
        window.model_version = self._model_version
        if _CLOCKS.get(clock_source, 0) >= _CLOCKS.get(window.clock_source, -1):
            window.clock_source = str(clock_source)
        self._see(tracks, window)

    def tick(self, now: float) -> None:
        """Tell the time about once a second (live streams), so that a silent stream's windows close at 0.

        While frames come, they drive the clock: a wall clock that steps cannot close their windows.

        Args:
            now: UTC epoch seconds.
        """
        silent, self._frame_since_tick = not self._frame_since_tick, False
        if not silent:
            return
        last = self._watched.last_time
        if last is not None and self._watched.is_gap(now - last):
            self._credit_last_frame()
        self._move_clock(now)
        self._window_at(now)

    def finish(self) -> None:
        """The stream has ended for good (a recorded file): close every window."""
        self._credit_last_frame()
        for start in sorted(self._windows):
            self._close(self._windows[start])

    # -- what comes out -------------------------------------------------------------------------------

    def rows(self, dropped_total: int = 0) -> tuple[tuple[CountWindow, ...], tuple[SourceWindow, ...]]:
        """Rows that changed since the last call, and the last rows of windows closed since then.

        Each row replaces the earlier one with its key. A class whose count fell back to 0 is written as 0.

        Args:
            dropped_total: frames dropped since this object was made; what is new in it is charged to the
                window that is open now.
        """
        self._count_drops(dropped_total)
        self._settle()
        found: list[CountWindow | SourceWindow] = self._finals
        self._finals = []
        for start in sorted(self._windows):
            found += self._rows_of(self._windows[start], every=False)
        counts = tuple(row for row in found if isinstance(row, CountWindow))
        return counts, tuple(row for row in found if isinstance(row, SourceWindow))

    @property
    def coverage(self) -> float:
        """Watched share of what has passed of the window that is open now, 0..1."""
        window = self._windows.get(self._start_of(self._clock)) if math.isfinite(self._clock) else None
        if window is None:
            return 0.0
        passed_s = self._clock - window.start
        if passed_s <= 0:
            return 1.0 if window.frames else 0.0
        return min(1.0, window.watched_s / passed_s)

    def snapshot(self) -> dict[str, Any]:
        """JSON-able state for a successor; take it after :meth:`rows` and commit both together."""
        return {
            "version": _STATE_VERSION,
            "window_s": self._window_s,
            "watched": self._watched.snapshot(),
            "watched_s": self._watched_s,
            "clock": self._clock if math.isfinite(self._clock) else None,
            "closed": [list(pair) for pair in self._closed],
            "tracks": {str(i): [t.item_class, t.confirmed, t.seen_s] for i, t in self._tracks.items()},
            "windows": [
                {
                    "start": w.start,
                    "watched_s": w.watched_s,
                    "frames": w.frames,
                    "dropped": w.dropped,
                    "clock_source": w.clock_source,
                    "model_version": w.model_version,
                    "ids": sorted(w.ids),
                    "settled": dict(w.settled),
                    "written": dict(w.written),
                }
                for w in self._windows.values()
            ],
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        try:
            if state["version"] != _STATE_VERSION:
                raise ValueError(f"version {state['version']}")
            if state["window_s"] != self._window_s:
                return  # other windows, other keys: nothing of the old ones can be lost or doubled
            self._watched.restore(state["watched"])
            self._watched_s = state["watched_s"]
            self._clock = -math.inf if state["clock"] is None else state["clock"]
            self._closed = [list(pair) for pair in state["closed"]]
            self._tracks = {int(i): _Track(*values) for i, values in state["tracks"].items()}
            for values in state["windows"]:
                window = _Window(**{**values, "ids": set(values["ids"])})
                self._windows[window.start] = window
        except (KeyError, TypeError, ValueError) as error:
            log.warning("source %s: the saved counts cannot be used and start anew: %s", self.source, error)
            self._forget()

    # -- windows --------------------------------------------------------------------------------------

    def _start_of(self, time: float) -> int:
        return math.floor(time / self._window_s) * self._window_s

    def _window_at(self, time: float) -> _Window | None:
        """The window that ``time`` lies in, opened if need be; None when it has been closed."""
        start = self._start_of(time)
        window = self._windows.get(start)
        if window is None and not any(low <= start < high for low, high in self._closed):
            window = self._windows[start] = _Window(start, model_version=self._model_version)
        return window

    def _move_clock(self, now: float) -> None:
        """Open the windows that lie between two moments near each other, and close what is due."""
        if now - self._clock <= FILL_S:
            for start in range(self._start_of(self._clock), self._start_of(now), self._window_s):
                self._window_at(start)
        self._clock = now
        self._close_due()

    def _close_due(self) -> None:
        most = _MAX_OPEN + math.ceil(self._grace_s / self._window_s)
        for start in sorted(self._windows):
            window = self._windows[start]
            over = start + self._window_s + self._grace_s <= self._clock
            # Opened by a clock that had jumped ahead and came back; nothing was seen in it.
            astray = not window.frames and start > self._clock + self._window_s + self._grace_s
            if over or astray or len(self._windows) > most:
                self._close(window)

    def _close(self, window: _Window) -> None:
        self._finals += self._rows_of(window, every=True)
        del self._windows[window.start]
        if window.frames:
            self._remember_closed(window.start, window.start + self._window_s)
        alive: set[int] = set().union(*(other.ids for other in self._windows.values()))
        for track_id in window.ids - alive:
            del self._tracks[track_id]

    def _remember_closed(self, start: int, end: int) -> None:
        """Add a range; neighbours are joined, and so are the two oldest when there are too many."""
        ranges = sorted([*self._closed, [start, end]])
        joined = [ranges[0]]
        for low, high in ranges[1:]:
            if low <= joined[-1][1]:
                joined[-1][1] = max(joined[-1][1], high)
            else:
                joined.append([low, high])
        if len(joined) > _CLOSED_RANGES:
            joined[:2] = [[joined[0][0], joined[1][1]]]
        self._closed = joined

    def _count_drops(self, total: int) -> None:
        if total <= self._dropped_total or not math.isfinite(self._clock):
            return
        window = self._window_at(self._clock)
        if window is not None:
            window.dropped += total - self._dropped_total
        self._dropped_total = total

    # -- tracks ---------------------------------------------------------------------------------------

    def _see(self, tracks: Tracks, window: _Window) -> None:
        columns = (tracks.ids, tracks.class_ids, tracks.confirmed, tracks.first_times)
        for track_id, class_id, confirmed, first_time in zip(*(c.tolist() for c in columns), strict=True):
            item_class = self._name_of(class_id)
            track = self._tracks.get(track_id)
            if track is None:
                track = self._tracks[track_id] = _Track(item_class, confirmed, self._watched_s)
                # A tracker that reports only from the second box on: its first box was a sighting too.
                first = self._windows.get(self._start_of(first_time))
                if first is not None:
                    first.ids.add(track_id)
            track.item_class = item_class
            track.confirmed = track.confirmed or confirmed
            track.seen_s = self._watched_s
            window.ids.add(track_id)

    def _name_of(self, class_id: int) -> str:
        known = 0 <= class_id < len(self._class_names)
        return self._class_names[class_id] if known else f"class_{class_id}"

    def _settle(self) -> None:
        """Turn ended tracks into numbers."""
        limit = self._watched_s - SETTLE_S
        ended = [track_id for track_id, track in self._tracks.items() if track.seen_s < limit]
        for track_id in ended:
            track = self._tracks.pop(track_id)
            for window in self._windows.values():
                if track_id in window.ids:
                    window.ids.remove(track_id)
                    if track.confirmed:
                        window.settled[track.item_class] = window.settled.get(track.item_class, 0) + 1

    def _credit(self, span: tuple[float, float]) -> None:
        """Add a watched span to the windows that it lies in; those already closed stay."""
        low, until = span
        while low < until:
            high = min(until, float(self._start_of(low) + self._window_s))
            window = self._window_at(low)
            if window is not None:
                window.watched_s += high - low
            self._watched_s += high - low
            low = high

    def _credit_last_frame(self) -> None:
        """Nothing follows the last frame; it is credited within its own window only."""
        last = self._watched.last_time
        if last is not None:
            self._credit(self._watched.silence(float(self._start_of(last) + self._window_s)))

    # -- rows -----------------------------------------------------------------------------------------

    def _rows_of(self, window: _Window, *, every: bool) -> list[CountWindow | SourceWindow]:
        """The window's rows: all of them, or those that differ from what was handed out last."""
        counts = Counter(window.settled)
        seen = (self._tracks[track_id] for track_id in window.ids)
        counts.update(track.item_class for track in seen if track.confirmed)
        start, end = float(window.start), float(window.start + self._window_s)
        rows: list[CountWindow | SourceWindow] = []
        for name in sorted(counts.keys() | window.written.keys()):
            wanted = self._classes is None or name in self._classes
            count = counts[name] if wanted else 0
            if not wanted and name not in window.written:
                continue
            if every or window.written.get(name) != count:
                rows.append(CountWindow(self.source, name, count, start, end))
                window.written[name] = count
        source_row = self._source_row(window)
        if every or source_row != window.source_row:
            rows.append(source_row)
            window.source_row = source_row
        return rows

    def _source_row(self, window: _Window) -> SourceWindow:
        watched_s = min(window.watched_s, float(self._window_s))
        return SourceWindow(
            source=self.source,
            window_start=float(window.start),
            window_end=float(window.start + self._window_s),
            coverage=round(watched_s / self._window_s, 6),  # sums of floats end a hair beside 1
            effective_fps=round(window.frames / watched_s, 3) if watched_s > 0 else 0.0,
            dropped_frames=window.dropped,
            clock_source=window.clock_source,
            model_version=window.model_version,
            config_hash=self._config_hash,
        )
