"""What a counter knows of windows and tracks, as JSON (also of earlier releases), and from stored rows."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from statistics import median
from typing import Any

from sightline.analysis.observer import JSON
from sightline.analysis.saved import from_json
from sightline.config.groups import DAY_S
from sightline.entities import CountWindow, SourceWindow, Tracks

STATE_VERSION = 3
MAX_SPANS = 16  # remembered as closed, and as credited
SLACK_S = 0.01  # of a sum of many watched spans
Span = tuple[float, float]  # [start, end) in epoch seconds
#: By class: how many tracks a window saw, and how many of them arrived in it.
Numbers = dict[str, list[int]]


@dataclass(slots=True)
class CountedTrack:
    """What a count needs to know of a track that an open window has seen."""

    item_class: str
    confirmed: bool
    seen_s: float  # watched time at the last sighting
    arrived: bool = False  # it was counted in a window that is closed
    fixed: bool = False  # it was counted in a class that was taken away since, and stays in it


@dataclass(slots=True)
class OpenWindow:
    """One open window."""

    start: int
    end: int
    watched_s: float = 0.0
    frames: int = 0
    dropped: int = 0
    clock_source: str = ""  # the worst seen; empty while no frame came
    model_version: str = ""
    ids: set[int] = field(default_factory=set)  # tracks seen here that may still change
    settled: Numbers = field(default_factory=dict)  # ended, confirmed tracks
    written: Numbers = field(default_factory=dict)  # as last handed out, zeros included
    blind_s: dict[str, float] = field(default_factory=dict)  # of watched_s, by class that the network lacked
    arrivals_known: bool = True  # not so where an earlier release began it
    seen: dict[str, float] = field(default_factory=dict)  # coverage of those classes, as last handed out
    source_row: SourceWindow | None = None  # source row last handed out

    @property
    def span(self) -> Span:
        """From when until when."""
        return self.start, self.end


#: What of a window goes into a state; its ids besides.
_SAVED = [column.name for column in fields(OpenWindow) if column.name not in {"ids", "seen", "source_row"}]


@dataclass(slots=True)
class CountMemory:
    """What a counter remembers from frame to frame.

    Attributes:
        classes: that are counted; None: all.
        last: newest capture time, and the usual step then.
        clock: the time that closes windows.
        closed: windows that had frames, neighbours joined.
        credited: no instant is credited twice, whatever the clock does.
        stored: windows that only their rows tell of; one is opened when a time in it comes.
    """

    classes: tuple[str, ...] | None = None
    last: tuple[float, float] | None = None
    clock: float = -math.inf
    closed: list[Span] = field(default_factory=list)
    credited: list[Span] = field(default_factory=list)
    tracks: dict[int, CountedTrack] = field(default_factory=dict)
    windows: dict[Span, OpenWindow] = field(default_factory=dict)
    stored: dict[Span, OpenWindow] = field(default_factory=dict)

    def counts(self, window: OpenWindow) -> Numbers:
        """What the window has seen."""
        earlier: set[int] = set().union(
            *(other.ids for other in self.windows.values() if other.start < window.start)
        )
        counts = deepcopy(window.settled)
        for track_id in window.ids:
            track = self.tracks[track_id]
            if track.confirmed:
                add(counts, track.item_class, arrives=not track.arrived and track_id not in earlier)
        return counts

    def forget(self, window: OpenWindow) -> None:
        """The window is closed; if frames came, it is never opened again."""
        for windows in (self.windows, self.stored):
            windows.pop(window.span, None)
        if window.frames:
            self.closed = joined([*self.closed, window.span])

    def dump(self, watched_s: float) -> JSON:
        """JSON-able; watched time is that of the newest frame."""
        return {
            "version": STATE_VERSION,
            "classes": None if self.classes is None else list(self.classes),
            "last": self.last,
            "credited": self.credited,
            "clock": self.clock if math.isfinite(self.clock) else None,
            "closed": self.closed,
            "tracks": {
                str(track_id): {**asdict(track), "seen_s": track.seen_s - watched_s}
                for track_id, track in self.tracks.items()
            },
            "windows": [
                {name: deepcopy(getattr(window, name)) for name in _SAVED} | {"ids": sorted(window.ids)}
                for window in (*self.windows.values(), *self.stored.values())
            ],
        }

    @staticmethod
    def load(state: Mapping[str, Any]) -> "CountMemory":
        """What :meth:`dump` wrote, also in an earlier release.

        Raises:
            ValueError: it is not such a state.
        """
        try:
            state = _upgraded(state)
            if state["version"] != STATE_VERSION:
                raise ValueError(f"version {STATE_VERSION} is needed, not {state['version']!r}")
            windows = from_json(list[OpenWindow], state["windows"])
            classes = from_json(list[str] | None, state["classes"])
            clock = from_json(float | None, state["clock"])
            memory = CountMemory(
                None if classes is None else tuple(classes),
                from_json(tuple[float, float] | None, state["last"]),
                -math.inf if clock is None else clock,
                joined(from_json(list[Span], state["closed"])),
                joined(from_json(list[Span], state["credited"])),
                from_json(dict[int, CountedTrack], state["tracks"]),
                {window.span: window for window in windows},
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not a state of counts: {error!r}") from error
        for window in windows:
            length_s = window.end - window.start
            numbers = [*window.settled.values(), *window.written.values()]
            is_one = 0 < length_s <= DAY_S and -SLACK_S < window.watched_s < length_s + SLACK_S
            is_one &= all(len(pair) == 2 and min(pair) >= 0 for pair in numbers)
            is_one &= all(0 <= blind_s < length_s + SLACK_S for blind_s in window.blind_s.values())
            if not is_one or not window.ids <= memory.tracks.keys():
                raise ValueError(f"not a state of counts: no window of {window.span} is like that")
        return memory

    def go_on_from_rows(
        self, rows: Iterable[CountWindow | SourceWindow], tracks: Tracks, name_of: Callable[[int], str]
    ) -> list[OpenWindow]:
        """Go on from rows where they tell of more than this does: no stored count is ever lowered.

        Args:
            rows: of windows that may still be open, as they are stored.
            tracks: those that live; they are among what the rows count.
            name_of: the name of a class id.

        Returns:
            The windows that had been counted in, and are now as their rows tell.
        """
        lost = []
        for span, window in sorted(_windows_of(rows).items()):
            mine = [other for other in self.windows if other[0] < span[1] and span[0] < other[1]]
            if mine == [span] and self._knows_as_much(self.windows[span], window):
                continue
            if not mine and any(low < span[1] and span[0] < high for low, high in self.closed):
                continue
            for other in mine:
                del self.windows[other]
            self.stored[span] = window
            lost += [window] if any(count for count, _ in window.written.values()) else []
        columns = (tracks.ids, tracks.class_ids, tracks.confirmed, tracks.first_times)
        for track_id, class_id, confirmed, first_time in zip(*(x.tolist() for x in columns), strict=True):
            item_class = name_of(class_id)
            for window in lost:
                if confirmed and first_time < window.end and window.settled.get(item_class, (0, 0))[0]:
                    window.settled[item_class][0] -= 1
                    window.ids.add(track_id)
                    track = self.tracks.setdefault(track_id, CountedTrack(item_class, True, 0.0))
                    # Whatever the state said: it is counted where the row's count has just lost it.
                    track.item_class, track.confirmed, track.arrived = item_class, True, True
        return lost

    def _knows_as_much(self, window: OpenWindow, stored: OpenWindow) -> bool:
        counts, slack_s = self.counts(window), 1e-6 * (window.end - window.start)  # rows are rounded
        return window.watched_s >= stored.watched_s - slack_s and all(
            known >= told
            for item_class, numbers in stored.written.items()
            for known, told in zip(counts.get(item_class, (0, 0)), numbers, strict=True)
        )


def _windows_of(rows: Iterable[CountWindow | SourceWindow]) -> dict[Span, OpenWindow]:
    """Windows as their rows tell of them."""
    windows: dict[Span, OpenWindow] = {}
    for row in rows:
        start, end = int(row.window_start), int(row.window_end)
        window = windows.setdefault((start, end), OpenWindow(start, end))
        if isinstance(row, CountWindow):
            for numbers in (window.settled, window.written):
                numbers[row.item_class] = [row.count, row.arrivals or 0]
            window.arrivals_known &= row.arrivals is not None
            if row.coverage is not None:
                window.seen[row.item_class] = row.coverage
        else:
            window.watched_s = row.coverage * (end - start)
            window.frames = round(row.effective_fps * window.watched_s)
            window.dropped, window.clock_source = row.dropped_frames, row.clock_source
            window.model_version = row.model_version
    for window in windows.values():
        for item_class, coverage in window.seen.items():
            seen_s = coverage * (window.end - window.start)
            window.blind_s[item_class] = max(0.0, window.watched_s - seen_s)
    return windows


def add(counts: Numbers, item_class: str, *, arrives: bool) -> None:
    """Count one track more."""
    numbers = counts.setdefault(item_class, [0, 0])
    numbers[0] += 1
    numbers[1] += arrives


def joined(spans: Iterable[Span]) -> list[Span]:
    """Spans in order, neighbours joined, and so are the oldest when there are too many."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span[0] <= found[-1][1]:
            last = found.pop()
            found.append((last[0], max(span[1], last[1])))
        else:
            found.append(span)
    over = len(found) - MAX_SPANS
    return [(found[0][0], found[over][1]), *found[over + 1 :]] if over > 0 else found


def gaps(low: float, until: float, spans: Iterable[Span]) -> Iterator[Span]:
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
        "closed": joined((start, end) for _, start, end in state["closed"]),
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
