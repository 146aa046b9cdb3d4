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
- A window that was never opened has no row, and no row means not watched: a clock that jumps ahead by days
  leaves a hole, not a million rows.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from statistics import median
from typing import Any

from sightline.analysis.classes import ClassTable
from sightline.analysis.observer import JSON, Observation, Observer
from sightline.analysis.options import AnalysisOptions
from sightline.analysis.timebase import GAP_STEPS, MIN_HOLE_S
from sightline.entities import ClockSource, CountWindow, Figure, ModelInfo, SourceWindow, Tracks

SETTLE_S = 120.0  # twice the largest lost_s that a configuration may ask for
MIN_GRACE_S, MAX_GRACE_S = 15.0, 600.0
GRACE_SLACK_S = 4.5  # for a confirmation that takes longer, and for frames under way
FILL_S = 10.0  # two frames or ticks nearer than this leave no window without a row between them
MAX_SPANS = 16  # remembered as closed, and as credited
MAX_OPEN = 64  # windows open at once, besides those that the grace asks for
STATE_VERSION = 3
Span = tuple[float, float]  # [start, end) in epoch seconds
_CLOCKS = {clock.value: rank for rank, clock in enumerate(ClockSource)}  # higher is worse


@dataclass(slots=True)
class _Track:
    """What a count needs to know of a track that an open window has seen."""

    item_class: str
    confirmed: bool
    seen_s: float  # watched time at the last sighting
    arrived: bool = False  # it was counted in a window that is closed
    fixed: bool = False  # it was counted in a class that was taken away since, and stays in it


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
    # By class: how many tracks it saw, and how many of them arrived in it.
    settled: dict[str, list[int]] = field(default_factory=dict)  # ended, confirmed tracks
    written: dict[str, list[int]] = field(default_factory=dict)  # as last handed out, zeros included
    arrivals_known: bool = True  # not so where an earlier release began it
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
        self._class_names: frozenset[str] = frozenset()  # of that network; empty: not known
        self._classes = classes
        self._late_frames = 0  # whose window was already closed: not counted
        self._dropped_total = 0
        self._finals: list[CountWindow | SourceWindow] = []  # of windows closed since the last rows()
        self._windows: dict[Span, _Window] = {}
        self._tracks: dict[int, _Track] = {}
        self._closed: list[Span] = []  # windows that had frames, neighbours joined
        self._clock = -math.inf  # the time that closes windows
        self._watched_s = 0.0  # at the newest frame
        self._credited: list[Span] = []  # no instant is credited twice, whatever the clock does
        self._last: tuple[float, float] | None = None  # newest capture time, and the usual step then
        self._classes_wanted = options.classes
        if state:
            self._restore(state)
        self.update(options)

    def update(self, options: AnalysisOptions) -> None:
        """Other options hold from the next frame on, another ``window_s`` when the open window has ended.

        A class that is taken away keeps the counts it has, and a track that was counted in it stays in it.
        """
        self._options = options
        before, self._classes_wanted = self._classes_wanted, options.classes
        self._look()
        for track in self._tracks.values():
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

    def _look(self) -> None:
        """A camera none of whose classes the network has watches nothing: no zero is claimed."""
        wanted = self._classes_wanted
        self._is_blind = bool(self._class_names and wanted) and self._class_names.isdisjoint(wanted or ())

    # -- what happens ---------------------------------------------------------------------------------

    def observe(self, seen: Observation) -> tuple[()]:
        """Take in one frame, also one from before the newest while its window is open."""
        moment, frame = seen.moment, seen.frame
        self._watched_s, self.model_version = moment.watched_s, seen.model_version
        self._credit(*moment.covered)
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
            for _, window in sorted(self._windows.items()):
                if track_id in window.ids:
                    window.ids.remove(track_id)
                    if track.confirmed:
                        _add(window.settled, track.item_class, arrives=not track.arrived)
                        track.arrived = True
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
        window = self._open_window(self._clock)
        if window is None:
            return 0.0
        passed_s = self._clock - window.start
        if passed_s <= 0:
            return 1.0 if window.frames and not self._is_blind else 0.0
        return min(1.0, window.watched_s / passed_s)

    def snapshot(self) -> JSON:
        """JSON-able state for a successor; take it after :meth:`rows` and commit both together."""
        return {
            "version": STATE_VERSION,
            "classes": None if self._classes_wanted is None else list(self._classes_wanted),
            "last": self._last,
            "credited": self._credited,
            "clock": self._clock if math.isfinite(self._clock) else None,
            "closed": self._closed,
            "tracks": {
                str(track_id): {**asdict(track), "seen_s": track.seen_s - self._watched_s}
                for track_id, track in self._tracks.items()
            },
            "windows": [
                {name: deepcopy(getattr(window, name)) for name in _SAVED} | {"ids": sorted(window.ids)}
                for window in self._windows.values()
            ],
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        try:
            state = _upgraded(state)
            if state["version"] != STATE_VERSION:
                raise ValueError(f"counts of version {STATE_VERSION} are needed, not {state['version']!r}")
            for values in state["windows"]:
                window = _Window(**{name: deepcopy(values[name]) for name in _SAVED}, ids=set(values["ids"]))
                self._windows[window.start, window.end] = window
            self._tracks = {int(track_id): _Track(**track) for track_id, track in state["tracks"].items()}
            self._closed, self._credited = (
                [(low, high) for low, high in state[key]] for key in ("closed", "credited")
            )
            last, clock = state["last"], state["clock"]
            self._classes_wanted = None if state["classes"] is None else tuple(state["classes"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a state of counts: {error!r}") from error
        self._last = None if last is None else (last[0], last[1])
        self._clock = -math.inf if clock is None else clock

    # -- windows --------------------------------------------------------------------------------------

    def _open_window(self, time: float) -> _Window | None:
        return next((window for (low, high), window in self._windows.items() if low <= time < high), None)

    def _window_at(self, time: float) -> _Window | None:
        """The window that ``time`` lies in, opened if need be; None when it has been closed."""
        if (window := self._open_window(time)) is not None:
            return window
        start = math.floor(time / self._window_s) * self._window_s
        end = start + self._window_s
        for low, high in (*self._closed, *self._windows):
            if low <= time < high:
                return None
            start, end = (max(start, int(high)), end) if high <= time else (start, min(end, int(low)))
        window = self._windows[start, end] = _Window(start, end, model_version=self.model_version)
        return window

    def _window_end(self, time: float) -> float:
        """End of the window, open or closed, that ``time`` lies in; opens it if need be."""
        if (window := self._window_at(time)) is not None:
            return window.end
        return next(high for low, high in self._closed if low <= time < high)

    def _move_clock(self, now: float) -> None:
        """Open the windows that lie between two moments near each other, and close what is due."""
        if now - self._clock <= FILL_S:
            while self._clock < now:
                self._clock = self._window_end(self._clock)
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
        del self._windows[window.start, window.end]
        for track in map(self._tracks.__getitem__, window.ids):
            track.arrived |= track.confirmed and self._is_wanted(track.item_class)
        if window.frames:
            self._closed = _joined([*self._closed, (window.start, window.end)])

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
                first = self._open_window(first_time)
                if first is not None:
                    first.ids.add(track_id)
            if not track.fixed:
                track.item_class = name_of[class_id]
            track.confirmed |= confirmed
            track.seen_s = self._watched_s
        window.ids.update(ids)

    def _is_wanted(self, item_class: str) -> bool:
        return _is_in(item_class, self._classes_wanted)

    def _credit(self, low: float, until: float) -> None:
        """Add a watched span, but for what was credited before, to its windows; those closed stay."""
        if self._is_blind:
            return
        for start, end in list(_gaps(low, until, self._credited)):
            time = start
            while time < end:
                window, next_time = self._window_at(time), min(end, self._window_end(time))
                if window is not None:
                    window.watched_s += next_time - time
                time = next_time
        if low < until:
            self._credited = _joined([*self._credited, (low, until)])

    def _credit_last_frame(self) -> None:
        """No frame follows the last one: it stands for one usual step, within its own window only."""
        if self._last is not None:
            time, usual_s = self._last
            self._credit(time, min(time + usual_s, self._window_end(time)))

    # -- rows -----------------------------------------------------------------------------------------

    def _rows_of(self, window: _Window, *, every: bool) -> list[CountWindow | SourceWindow]:
        """The window's rows: all of them, or those that differ from what was handed out last."""
        earlier: set[int] = set().union(
            *(other.ids for other in self._windows.values() if other.start < window.start)
        )
        counts = deepcopy(window.settled)
        for track_id in window.ids:
            track = self._tracks[track_id]
            if track.confirmed:
                _add(counts, track.item_class, arrives=not track.arrived and track_id not in earlier)
        start, end = float(window.start), float(window.end)
        rows: list[CountWindow | SourceWindow] = []
        for item_class in sorted(filter(self._is_wanted, counts.keys() | window.written.keys())):
            count, arrivals = numbers = counts.get(item_class, [0, 0])
            if every or window.written.get(item_class) != numbers:
                known = arrivals if window.arrivals_known else None
                rows.append(CountWindow(self._options.camera, item_class, count, start, end, known))
                window.written[item_class] = numbers
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


def _is_in(item_class: str, classes: tuple[str, ...] | None) -> bool:
    return classes is None or item_class in classes


def _add(counts: dict[str, list[int]], item_class: str, *, arrives: bool) -> None:
    numbers = counts.setdefault(item_class, [0, 0])
    numbers[0] += 1
    numbers[1] += arrives


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Spans in order, neighbours joined, and so are the oldest when there are too many."""
    joined: list[Span] = []
    for span in sorted(spans):
        if joined and span[0] <= joined[-1][1]:
            last = joined.pop()
            joined.append((last[0], max(span[1], last[1])))
        else:
            joined.append(span)
    over = len(joined) - MAX_SPANS
    return [(joined[0][0], joined[over][1]), *joined[over + 1 :]] if over > 0 else joined


def _gaps(low: float, until: float, spans: Iterable[Span]) -> Iterator[Span]:
    """What of [low, until) lies in none of the spans, which are in order."""
    for start, end in spans:
        if low < start:
            yield low, min(start, until)
        low = max(low, end)
        if low >= until:
            return
    yield low, until


def _upgraded(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """A state of an earlier release; what it does not tell of arrivals stays unknown."""
    if state["version"] == 1:  # all windows had one length, and watched time was the counter's own
        length, watched = state["window_s"], state["watched"]
        last = watched["last_time"]
        state = {
            **state,
            "version": 2,
            "last": None if last is None else [last, median(watched["intervals"] or [0.0])],
            "covered_until": watched["until"],
            "closed": [[length, start, end] for start, end in state["closed"]],
            "tracks": {
                track_id: [item_class, confirmed, state["watched_s"] - seen_s]
                for track_id, (item_class, confirmed, seen_s) in state["tracks"].items()
            },
            "windows": [{**values, "end": values["start"] + length} for values in state["windows"]],
        }
    if state["version"] != 2:
        return state
    windows, until = state["windows"], state["covered_until"]
    begun = min((values["start"] for values in windows), default=until)

    def with_arrivals(values: Mapping[str, Any], key: str) -> dict[str, list[int]]:
        return {item_class: [count, 0] for item_class, count in values[key].items()}

    return {
        **state,
        "version": STATE_VERSION,
        "classes": None,
        "credited": [] if until is None else [[min(begun, until), until]],
        "closed": _joined((start, end) for _, start, end in state["closed"]),
        "tracks": {
            track_id: {"item_class": item_class, "confirmed": confirmed, "seen_s": -unseen_s}
            for track_id, (item_class, confirmed, unseen_s) in state["tracks"].items()
        },
        "windows": [
            {**values, "arrivals_known": False}
            | {key: with_arrivals(values, key) for key in ("settled", "written")}
            for values in windows
        ],
    }
