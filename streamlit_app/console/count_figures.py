"""The figures of the page Counts: what its charts, tables and files are made of. No Streamlit here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from sqlalchemy import Connection

from console.grid import Bucket, by_size, cover_buckets, cover_each, total, uncovered_s, uncovered_share
from sightline.entities import EventKind
from sightline.store.read.coverage import read_known
from sightline.store.read.downloads import FORMS
from sightline.store.read.history import (
    CountLine,
    FlowLine,
    Mark,
    read_count_table,
    read_flow_table,
    read_marks,
    read_windows_since,
)
from sightline.store.read.queries import (
    TotalCount,
    add_known,
    read_event_counts,
    read_lacking,
    read_total_counts,
    read_watched,
    read_whole_counts,
)
from sightline.store.read.seen import Cameras
from sightline.store.read.spans import Span
from sightline.store.rollups import HOUR_S


@dataclass(frozen=True, slots=True)
class Split:
    """What the bars are made of.

    Attributes:
        what: is counted, in words.
        note: what the words mean.
        kind: of the events that are counted; None: distinct objects.
        names: columns that tell the series apart.
    """

    what: str
    note: str
    kind: EventKind | None
    names: tuple[str, ...]

    @property
    def column(self) -> Literal["source", "item_class"]:
        """The one that tells the series of distinct objects apart."""
        return "source" if self.names == ("source",) else "item_class"


_DISTINCT = (
    "Every figure is a number of distinct objects, each camera's for itself: one that is seen in two bars "
    "stands in both, and once in the total. Unknown: counted before Sightline told arrivals apart."
)
_CROSSINGS = "Every crossing counts: an object that comes in, goes out and comes in again is three."
#: By what counts are shown.
SPLITS = {
    "Class": Split("objects", _DISTINCT, None, ("item_class",)),
    "Camera": Split("objects", _DISTINCT, None, ("source",)),
    "Zone": Split(
        "entries into zones",
        "Every entry counts: an object that leaves a zone and comes back is two.",
        EventKind.ENTER,
        ("source", "place"),
    ),
    "Line": Split("crossings of lines", _CROSSINGS, EventKind.CROSSING, ("source", "place")),
    "Direction": Split(
        "crossings by direction",
        f"{_CROSSINGS} Forward is in, backward is out.",
        EventKind.CROSSING,
        ("source", "place", "direction"),
    ),
}
Series = Mapping[float, Mapping[str, int | None]]  # by bucket and name; None: not known


@dataclass(frozen=True, slots=True)
class CountChoice:
    """What somebody wants to see counted."""

    cameras: Cameras  # that they see
    span: Span
    sources: tuple[str, ...]
    classes: tuple[str, ...]  # empty: all
    by: str  # a key of SPLITS

    @property
    def split(self) -> Split:
        """What the bars are made of."""
        return SPLITS[self.by]


@dataclass(frozen=True, slots=True)
class Figures:
    """What one range shows."""

    totals: tuple[tuple[str, int | None], ...]  # of the whole range, the most first
    rows: tuple[TotalCount, ...]  # of the bars, as the database has summed them
    together: Sequence[Bucket]  # of all cameras
    covers: Mapping[str, Sequence[Bucket]]  # of each
    first: Mapping[str, float]  # when each camera's first window began
    longest_window_s: float
    lacking: tuple[str, ...]  # classes that a model lacked for a time
    classes: tuple[str, ...]  # that were counted
    marks: tuple[Mark, ...]
    gone_before: float  # of the time before, only whole hours are kept; 0: all is

    @property
    def series(self) -> Series:
        """The numbers of the bars."""
        return series_of(self.rows)

    @property
    def total(self) -> int | None:
        """All of it."""
        return total(count for _, count in self.totals)

    @property
    def uncovered_s(self) -> float:
        """Camera seconds that were not watched."""
        return uncovered_s(self.together)

    @property
    def coverage(self) -> float | None:
        """0..1 of the cameras' time so far; None: no camera was there yet."""
        gap = uncovered_share(self.together)
        return None if gap is None else 1.0 - gap


@dataclass(frozen=True, slots=True)
class WeekBefore:
    """The buckets that are over, beside those of the same time a week before."""

    now: int | None
    then: int | None
    coverage: float  # of then
    buckets: Mapping[float, int]  # by the beginning of this week's


def read_figures(connection: Connection, choice: CountChoice, at: float) -> Figures:
    """All of them, as they are at a moment."""
    cameras, span, names = choice.cameras, choice.span, choice.sources
    known = read_known(connection, cameras, names, at)  # first: what is written meanwhile is no gap
    watched = read_watched(connection, cameras, span, names)
    covers, together = cover_each(span, watched, names, known, at)
    rows = tuple(read_series(connection, choice, span))
    totals = _totals(connection, choice, rows)
    lacking = read_lacking(connection, cameras, span, names)
    return Figures(
        totals=totals,
        rows=rows,
        together=together,
        covers=covers,
        first={name: each.first for name, each in known.items()},
        longest_window_s=max((row.longest_window_s for row in watched), default=0.0),
        lacking=tuple(f"{name} ({source})" for name, source in lacking),
        classes=tuple(sorted({*_classes(connection, choice, totals), *(name for name, _ in lacking)})),
        marks=tuple(read_marks(connection, cameras, (span.start, span.end), names)),
        gone_before=read_windows_since(connection) if span.step_s < HOUR_S else 0.0,
    )


def read_series(connection: Connection, choice: CountChoice, span: Span) -> list[TotalCount]:
    """The numbers of the charts, summed by the database."""
    split, of = choice.split, (choice.cameras, span, choice.sources)
    if split.kind is None:
        return read_total_counts(connection, *of, split.column, choice.classes)
    found = read_happened(connection, choice, span, split.kind, split.names)
    return [TotalCount(" · ".join(names), bucket, count, count) for bucket, names, count in found]


def series_of(rows: Iterable[TotalCount]) -> Series:
    """The same by bucket and name."""
    series: dict[float, dict[str, int | None]] = {}
    for row in rows:
        series.setdefault(row.bucket, {})[row.name] = row.count
    return series


def read_total(
    connection: Connection, choice: CountChoice, span: Span, rows: Iterable[TotalCount]
) -> int | None:
    """Of the whole span; ``rows`` are those of its buckets, with which it need not be summed again."""
    split, of = choice.split, (choice.cameras, span, choice.sources)
    if split.kind is not None:
        return total(row.count for row in rows)
    return total(read_whole_counts(connection, *of, split.column, rows, choice.classes).values())


def read_happened(
    connection: Connection, choice: CountChoice, span: Span, kind: EventKind, names: Sequence[str]
) -> list[tuple[float, tuple[str, ...], int]]:
    """How often a kind of event has been: bucket, what the columns ``names`` say, and number."""
    only = {"kind": [kind.value], **({"item_class": choice.classes} if choice.classes else {})}
    return read_event_counts(connection, choice.cameras, span, choice.sources, names, only)


def _totals(
    connection: Connection, choice: CountChoice, rows: Sequence[TotalCount]
) -> tuple[tuple[str, int | None], ...]:
    """Of the whole range, by series, the most first."""
    split, of = choice.split, (choice.cameras, choice.span, choice.sources)
    totals: dict[str, int | None] = {}
    if split.kind is None:
        totals = read_whole_counts(connection, *of, split.column, rows, choice.classes)
    else:
        for row in rows:
            add_known(totals, row.name, row.count)
    return tuple(by_size(totals).items())


def _classes(
    connection: Connection, choice: CountChoice, totals: Iterable[tuple[str, int | None]]
) -> set[str]:
    """All that were counted, of which some may be chosen."""
    split, of = choice.split, (choice.cameras, choice.span.whole(), choice.sources)
    if split.kind is None and split.column == "item_class" and not choice.classes:
        return {name for name, _ in totals}
    return {row.name for row in read_total_counts(connection, *of, "item_class")}


def read_week_before(
    connection: Connection, choice: CountChoice, over: Span, rows: Iterable[TotalCount]
) -> WeekBefore | None:
    """Of the buckets ``over``, whose ``rows`` have been read; None: no camera had begun then."""
    then = over.week_before()
    known = read_known(connection, choice.cameras, choice.sources, over.end)
    watched = read_watched(connection, choice.cameras, then, choice.sources)
    buckets = cover_buckets(then, watched, choice.sources, known, over.end)
    gap = uncovered_share(buckets)
    if gap is None:
        return None
    rows_then = read_series(connection, choice, then)
    series, sure = series_of(rows_then), {}
    for begun, bucket in zip(over.edges, buckets, strict=False):
        count = total(series.get(bucket.start, {}).values())
        if count is not None and bucket.watched_s > 0:
            sure[begun] = count
    now_ = read_total(connection, choice, over, [row for row in rows if row.bucket < over.end])
    return WeekBefore(now_, read_total(connection, choice, then, rows_then), 1.0 - gap, sure)


def columns_of(choice: CountChoice) -> tuple[str, ...]:
    """Of the table and the files."""
    line = CountLine if choice.split.kind is None else FlowLine
    return tuple(field.name for field in fields(line))


def read_rows(connection: Connection, choice: CountChoice, at: float) -> list[dict[str, Any]]:
    """The lines of the table and the files, oldest first."""
    cameras, span, names, kind = choice.cameras, choice.span, choice.sources, choice.split.kind
    lines: Sequence[CountLine | FlowLine]
    if kind is None:
        lines = read_count_table(connection, cameras, span, names, at, choice.classes)
    else:
        lines = read_flow_table(connection, cameras, span, names, at, kind, choice.classes)
    return [asdict(line) for line in lines]


def file_of(connection: Connection, choice: CountChoice, at: float, form: str) -> bytes:
    """All lines as a file of a form of :data:`FORMS`."""
    return FORMS[form](read_rows(connection, choice, at), columns_of(choice))
