"""Clock-aligned counts: what one source saw in each window, and how much of the window it watched.

Rules, in short (``docs/database.md`` has the long form):

- A window is [k·window_s, (k+1)·window_s) in UTC epoch seconds. It stays open for a while after its
  end, for late frames and for tracks that are confirmed late; after that its rows never change.
- Windows never overlap: when ``window_s`` changes, the window that is open goes on to its end, and the first
  one of the new length begins there, shorter if need be.
- A track *arrives* in the first window that counts it, so a range holds as many tracks as its first window
  counts, and what arrives in the later ones.
- Every sighting is remembered, confirmed or not, so a track that is confirmed later counts in each open
  window that saw it. A track's class is looked up when rows are made: when the vote changes, counts move.
- A track unseen for ``SETTLE_S`` watched seconds has ended (the tracker forgets sooner): it becomes a plain
  number in its windows. So memory and :meth:`WindowCounter.snapshot` are bounded by the traffic of two
  minutes, not by the window's length.
- What is seen while the view is in doubt is counted, but its time is not watched unless the doubt passes.
- A window that was never opened has no row, and no row means not watched: a clock that jumps ahead by days
  leaves a hole, not a million rows.
"""

import logging
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sightline.analysis.classes import ClassTable
from sightline.analysis.counts.window_states import (
    CountedTrack,
    CountMemory,
    OpenWindow,
    Span,
    add,
    gaps,
    joined,
)
from sightline.analysis.observer import JSON, Doubt, Observation, Observer
from sightline.analysis.options import AnalysisOptions
from sightline.analysis.timebase import GAP_STEPS, MIN_HOLE_S
from sightline.entities import ClockSource, CountWindow, Figure, ModelInfo, SourceWindow, Tracks

log = logging.getLogger(__name__)

SETTLE_S = 120.0  # twice the largest lost_s that a configuration may ask for
MIN_GRACE_S, MAX_GRACE_S = 15.0, 600.0
GRACE_SLACK_S = 4.5  # for a confirmation that takes longer, and for frames under way
FILL_S = 10.0  # two frames or ticks nearer than this leave no window without a row between them
MAX_OPEN = 64  # windows open at once, besides those that the grace asks for
_CLOCKS = {clock.value: rank for rank, clock in enumerate(ClockSource)}  # higher is worse


class WindowCounter(Observer):
    """Counts one camera's tracks by window and class, and measures what was watched. Belongs to one thread.

    Its rows come out of :meth:`rows`, when they are asked for: they change with every frame.

    Args:
        state: what :meth:`snapshot` gave, to go on after a restart.
        stored: rows of windows that may still be open; they hold where the state knows less.
        tracks: those that live; they are among what the rows count.

    Attributes:
        model_version: of the network that sees the frames from now on.

    Raises:
        ValueError: ``state`` is not a snapshot that this version understands.
    """

    name = "windows"

    def __init__(
        self,
        options: AnalysisOptions,
        classes: ClassTable,
        *,
        state: Mapping[str, Any] | None = None,
        stored: Iterable[CountWindow | SourceWindow] = (),
        tracks: Tracks | None = None,
    ) -> None:
        self.model_version = ""
        self._class_names: frozenset[str] = frozenset()  # of that network; empty: not known
        self._classes = classes
        self._late_frames = 0  # whose window was already closed: not counted
        self._dropped_total = 0
        self._finals: list[CountWindow | SourceWindow] = []  # of windows closed since the last rows()
        self._watched_s = 0.0  # at the newest frame
        self._doubt: Doubt | None = None
        self._withheld: list[Span] = []  # what is credited if it passes
        self._memory = CountMemory.load(state) if state else CountMemory(options.classes)
        lost = self._memory.go_on_from_rows(stored, tracks or Tracks.empty(), classes.name)
        for window in lost:
            text = "camera %s: the window that began at %s goes on from its rows: the saved state knows less"
            log.warning(text, options.camera, datetime.fromtimestamp(window.start, UTC))
        self.update(options)

    def update(self, options: AnalysisOptions) -> None:
        """Other options hold from the next frame on, another ``window_s`` when the open window has ended.

        A class that is taken away keeps the counts it has, and a track that was counted in it stays in it.
        """
        self._options = options
        before, self._memory.classes = self._memory.classes, options.classes
        self._look()
        for track in self._memory.tracks.values():
            counted = track.confirmed and _is_in(track.item_class, before)
            track.fixed = (track.fixed or counted) and not self._is_wanted(track.item_class)
        self._window_s = options.window_s
        # How long a window stays open after its end: until what it saw can be confirmed by any clock.
        asked_s = options.tracker.confirm_s + options.max_clock_skew_s + GRACE_SLACK_S
        self._grace_s = min(max(asked_s, MIN_GRACE_S), MAX_GRACE_S)

    def use_model(self, model: ModelInfo) -> None:
        """The network that sees the frames from now on."""
        self.model_version, self._class_names = model.version, frozenset(model.class_names)
        self._look()

    def take_doubt(self, doubt: Doubt | None) -> None:
        """What is doubted of the frames that come: see :class:`Doubt`. Windows that are closed stay."""
        before, self._doubt = self._doubt, doubt
        if doubt is None:
            for span in self._withheld:
                self._credit(*span)
        elif doubt.certain and (before is None or not before.certain):
            for window in self._memory.windows.values():
                low, spans = max(doubt.since, window.start), self._memory.credited
                if low < window.end:  # what of it is in no gap was credited
                    gone_s = (
                        window.end - low - sum(end - start for start, end in gaps(low, window.end, spans))
                    )
                    window.watched_s = max(0.0, window.watched_s - gone_s)
        if doubt is None or doubt.certain:
            self._withheld = []

    def _look(self) -> None:
        """A class that the network lacks is not watched, and no zero of it is claimed."""
        wanted = frozenset(self._memory.classes or ())
        self._lacking = wanted - self._class_names if self._class_names else frozenset()
        self._is_blind = bool(wanted) and self._lacking == wanted

    # -- what happens ---------------------------------------------------------------------------------

    def observe(self, seen: Observation) -> tuple[()]:
        """Take in one frame, also one from before the newest while its window is open."""
        moment, frame = seen.moment, seen.frame
        self._watched_s, self.model_version = moment.watched_s, seen.model_version
        self._credit(*moment.covered)
        self._memory.last = moment.capture_time, moment.usual_s if moment.elapsed_s else 0.0
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
        last = self._memory.last
        if last is not None and now - last[0] > max(MIN_HOLE_S, GAP_STEPS * last[1]):
            self._credit_last_frame()
        self._move_clock(now)
        self._window_at(now)
        return ()

    def end(self, time: float) -> tuple[()]:
        """The stream has ended for good (a recorded file): close every window."""
        self._credit_last_frame()
        for _, window in sorted(self._memory.windows.items()):
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
        if dropped_total > self._dropped_total and math.isfinite(self._memory.clock):
            if window := self._window_at(self._memory.clock):
                window.dropped += dropped_total - self._dropped_total
            self._dropped_total = dropped_total
        # Ended tracks become numbers.
        limit, memory = self._watched_s - SETTLE_S, self._memory
        for track_id in [track_id for track_id, track in memory.tracks.items() if track.seen_s < limit]:
            track = memory.tracks.pop(track_id)
            for _, window in sorted((memory.windows | memory.stored).items()):
                if track_id in window.ids:
                    window.ids.remove(track_id)
                    if track.confirmed:
                        add(window.settled, track.item_class, arrives=not track.arrived)
                        track.arrived = True
        rows, self._finals = self._finals, []
        for _, window in sorted(self._memory.windows.items()):
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
        window = self._open_window(self._memory.clock)
        if window is None:
            return 0.0
        passed_s = self._memory.clock - window.start
        if passed_s <= 0:
            return 1.0 if window.frames and not self._is_blind else 0.0
        return min(1.0, window.watched_s / passed_s)

    def snapshot(self) -> JSON:
        """JSON-able state for a successor; take it after :meth:`rows` and commit both together."""
        return self._memory.dump(self._watched_s)

    # -- windows --------------------------------------------------------------------------------------

    def _open_window(self, time: float) -> OpenWindow | None:
        windows = self._memory.windows.items()
        return next((window for (low, high), window in windows if low <= time < high), None)

    def _window_at(self, time: float) -> OpenWindow | None:
        """The window that ``time`` lies in, opened if need be; None when it has been closed."""
        if (window := self._open_window(time)) is not None:
            return window
        memory = self._memory
        start = math.floor(time / self._window_s) * self._window_s
        end = start + self._window_s
        for low, high in (*memory.closed, *memory.windows, *memory.stored):
            if low <= time < high:
                if (stored := memory.stored.pop((low, high), None)) is not None:
                    memory.windows[low, high] = stored
                return stored
            start, end = (max(start, int(high)), end) if high <= time else (start, min(end, int(low)))
        window = memory.windows[start, end] = OpenWindow(start, end, model_version=self.model_version)
        return window

    def _window_end(self, time: float) -> float:
        """End of the window, open or closed, that ``time`` lies in; opens it if need be."""
        if (window := self._window_at(time)) is not None:
            return window.end
        return next(high for low, high in self._memory.closed if low <= time < high)

    def _move_clock(self, now: float) -> None:
        """Open the windows that lie between two moments near each other, and close what is due."""
        memory = self._memory
        if now - memory.clock <= FILL_S:
            while memory.clock < now:
                memory.clock = self._window_end(memory.clock)
        memory.clock = now
        limit = MAX_OPEN + math.ceil(self._grace_s / self._window_s)
        for _, window in sorted(memory.windows.items()):
            over = window.end + self._grace_s <= now
            # Opened by a clock that had jumped ahead and came back; nothing was seen in it.
            astray = not window.frames and window.start > now + self._window_s + self._grace_s
            if over or astray or len(memory.windows) > limit:
                self._close(window)
        for window in [window for window in memory.stored.values() if window.end + self._grace_s <= now]:
            memory.forget(window)

    def _close(self, window: OpenWindow) -> None:
        memory = self._memory
        self._finals += self._rows_of(window, every=True)
        memory.forget(window)
        for track in map(memory.tracks.__getitem__, window.ids):
            track.arrived |= track.confirmed and self._is_wanted(track.item_class)

    # -- tracks ---------------------------------------------------------------------------------------

    def _see(self, tracks: Tracks, window: OpenWindow) -> None:
        columns = (tracks.ids, tracks.class_ids, tracks.confirmed, tracks.first_times)
        ids, class_ids, *others = (column.tolist() for column in columns)
        name_of = {class_id: self._classes.name(class_id) for class_id in set(class_ids)}
        for track_id, class_id, confirmed, first_time in zip(ids, class_ids, *others, strict=True):
            track = self._memory.tracks.get(track_id)
            if track is None:
                track = self._memory.tracks[track_id] = CountedTrack("", False, 0.0)
                # A tracker that reports only from the second box on: its first box was a sighting too.
                first = self._open_window(first_time)
                if first is not None:
                    first.ids.add(track_id)
            if not track.fixed:
                track.item_class = name_of[class_id]
            track.confirmed |= confirmed
            track.seen_s = self._watched_s
        window.ids.update(ids)

    def _is_wanted(self, item_class: str) -> bool:
        return _is_in(item_class, self._memory.classes)

    def _credit(self, low: float, until: float) -> None:
        """Add a watched span, but for what was credited before, to its windows; those closed stay."""
        if self._is_blind:
            return
        if self._doubt is not None:
            if low < until and not self._doubt.certain:
                self._withheld = joined([*self._withheld, (low, until)])
            return
        for start, end in list(gaps(low, until, self._memory.credited)):
            time = start
            while time < end:
                window, next_time = self._window_at(time), min(end, self._window_end(time))
                if window is not None:
                    window.watched_s += next_time - time
                    for name in self._lacking:
                        window.blind_s[name] = window.blind_s.get(name, 0.0) + next_time - time
                time = next_time
        if low < until:
            self._memory.credited = joined([*self._memory.credited, (low, until)])

    def _credit_last_frame(self) -> None:
        """No frame follows the last one: it stands for one usual step, within its own window only."""
        if self._memory.last is not None:
            time, usual_s = self._memory.last
            self._credit(time, min(time + usual_s, self._window_end(time)))

    # -- rows -----------------------------------------------------------------------------------------

    def _rows_of(self, window: OpenWindow, *, every: bool) -> list[CountWindow | SourceWindow]:
        """The window's rows: all of them, or those that differ from what was handed out last."""
        counts = self._memory.counts(window)
        start, end, length = float(window.start), float(window.end), window.end - window.start
        watched_s = min(window.watched_s, float(length))
        seen = {
            name: round(max(0.0, watched_s - blind_s) / length, 6) for name, blind_s in window.blind_s.items()
        }
        rows: list[CountWindow | SourceWindow] = []
        for item_class in sorted(filter(self._is_wanted, {*counts, *window.written, *seen})):
            count, arrivals = numbers = counts.get(item_class, [0, 0])
            before, coverage = window.written.get(item_class), seen.get(item_class)
            if every or (before, window.seen.get(item_class)) != (numbers, coverage):
                known = arrivals if window.arrivals_known or not count else None
                rows.append(CountWindow(self._options.camera, item_class, count, start, end, known, coverage))
                window.written[item_class] = numbers
        window.seen = seen
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


def _is_in(item_class: str, classes: tuple[str, ...] | None) -> bool:
    return classes is None or item_class in classes
