"""Charts in which a gap is never a zero: what is drawn where, and what is told of it. No Streamlit here.

Time is drawn on a plain number axis (epoch seconds) with labels made here, so that the viewer's zone holds
whatever the browser's is. :mod:`console.components.chart_component` shows a chart.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from typing import Any, Literal
from zoneinfo import ZoneInfo

from console.grid import Bucket, Cover, runs
from console.texts import WEEKDAYS, number, percent
from sightline.store.read.history import HeatCell
from sightline.store.read.spans import Span
from sightline.store.rollups import DAY_S

HATCH, PART, ZERO, WATCHED = "#8f9aa6", "#d9952c", "#76828f", "#3f9d78"
BEFORE, MARK, CHOSEN, HEAT = "#7b8794", "#8e5bd0", "#3d85d6", "#3d85d6"
COUNTS_PX = 28  # left of a chart for its numbers
NAMES_PX = 84  # left of charts above each other, so that they share their time axis
MAX_TICKS, MAX_NUMBERS = 12, 6
_TICK_STEPS_MIN = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720)

Box = tuple[float, float, float, float]  # x, x2, low, high
Look = Literal["fill", "hatch", "line", "dashed"]  # of a line, a box is its ends: (x, low) and (x2, high)


@dataclass(frozen=True, slots=True)
class Axis:
    """One of a chart: the values at its ends, and which of those between them have a label."""

    ends: tuple[float, float]  # left and right, or bottom and top
    ticks: Sequence[tuple[float, str]]
    grid: bool = False  # a thin line at each of them


@dataclass(frozen=True, slots=True)
class Drawing:
    """All that is drawn with one look."""

    look: Look
    colour: str
    boxes: Sequence[Box]
    opacity: float = 1.0
    width_px: float = 1.0  # of lines


@dataclass(frozen=True, slots=True)
class Spot:
    """A part of a chart, and what is told of it: to whoever points at it, and by screen readers."""

    box: Box
    told: Mapping[str, str]
    utc: str = ""  # for whoever points at it


@dataclass(frozen=True, slots=True)
class Chart:
    """What :func:`console.components.chart_component.show_chart` shows."""

    height_px: int  # without the labels below
    left_px: int
    x: Axis
    y: Axis
    shapes: Sequence[Drawing]
    spots: Sequence[Spot]

    def data(self) -> dict[str, Any]:
        """For the browser; shapes without boxes are left out."""
        return {
            "height": self.height_px,
            "left": self.left_px,
            "x": {"ends": self.x.ends, "ticks": list(self.x.ticks), "grid": self.x.grid},
            "y": {"ends": self.y.ends, "ticks": list(self.y.ticks), "grid": self.y.grid},
            "shapes": [
                {
                    "look": shape.look,
                    "colour": shape.colour,
                    "opacity": shape.opacity,
                    "width": shape.width_px,
                    "boxes": list(shape.boxes),
                }
                for shape in self.shapes
                if shape.boxes
            ],
            "spots": [
                {"box": spot.box, "told": [*spot.told.items()], "utc": spot.utc} for spot in self.spots
            ],
        }


def time_ticks(span: Span, zone: ZoneInfo) -> dict[float, str]:
    """Labels by epoch seconds: at most about :data:`MAX_TICKS` round local times; midnights show the date."""
    length_min = (span.end - span.start) / 60
    steps_s = [60 * step for step in _TICK_STEPS_MIN if length_min / step <= MAX_TICKS]
    edges = Span.over(span.start, span.end, steps_s[0] if steps_s else DAY_S, zone).edges
    every = 1 if steps_s else max(1, -(-len(edges) // MAX_TICKS))
    times = [datetime.fromtimestamp(edge, zone) for edge in edges[::every] if span.start <= edge <= span.end]
    return {t.timestamp(): f"{t:%-d %b}" if (t.hour, t.minute) == (0, 0) else f"{t:%H:%M}" for t in times}


def number_ticks(limit: float) -> list[tuple[float, str]]:
    """Round whole numbers from 0 to a limit, at most :data:`MAX_NUMBERS`, with their labels."""
    step, factors = 1, (2, 2.5, 2)  # 1, 2, 5, 10, 20, …
    for turn in range(60):
        if limit / step < MAX_NUMBERS:
            break
        step = round(step * factors[turn % 3])
    return [(value, _short(value)) for value in range(0, int(limit) + 1, step)]


def _short(value: int) -> str:
    if value < 10_000:
        return str(value)
    return f"{value / 1e3:g}k" if value < 1_000_000 else f"{value / 1e6:g}M"


@dataclass(frozen=True, slots=True)
class Bars:
    """What a chart of counts shows.

    Attributes:
        span: what it is of.
        zone: of its labels.
        buckets: of the span, and how they were watched.
        counts: bucket -> series -> count; None: not known.
        colours: of each series, in the order of stacking.
        before: bucket -> the whole count a week before.
        marks: what has changed when, in words.
        chosen: the bucket that is looked at.
    """

    span: Span
    zone: ZoneInfo
    buckets: Sequence[Bucket]
    counts: Mapping[float, Mapping[str, int | None]]
    colours: Mapping[str, str]
    before: Mapping[float, int] = field(default_factory=dict)
    marks: Sequence[tuple[float, str]] = ()
    chosen: float | None = None


def count_chart(bars: Bars, *, height_px: int = 230, left_px: int = COUNTS_PX) -> Chart:
    """Stacked bars of counts by bucket, with what was not watched hatched behind them.

    A line at zero stands wherever something was watched: grey if all of it was, amber if a part was. The
    first value of a spot's box is the bucket's beginning.
    """
    span, ends = bars.span, dict(pairwise(bars.span.edges))
    known = [sum(count or 0 for count in series.values()) for series in bars.counts.values()]
    limit = max(1.0, max((*known, *bars.before.values()), default=0) * 1.08)
    joined = runs(bars.buckets)

    def of(cover: Cover, high: float) -> list[Box]:
        return [(start, end, 0, high) for start, end, cover_ in joined if cover_ is cover]

    chosen = [(bars.chosen, ends.get(bars.chosen, bars.chosen), 0, limit)] if bars.chosen is not None else []
    shapes = [
        Drawing("hatch", HATCH, of(Cover.NOT, limit)),
        Drawing("fill", PART, of(Cover.PARTLY, limit), 0.16),
        Drawing("fill", CHOSEN, chosen, 0.22),
        *_stacks(bars),
        Drawing("line", ZERO, of(Cover.WATCHED, 0), width_px=1.5),
        Drawing("line", PART, of(Cover.PARTLY, 0), width_px=3.0),
        Drawing(
            "dashed",
            BEFORE,
            [(start, ends[start], count, count) for start, count in bars.before.items() if start in ends],
            width_px=2.0,
        ),
        Drawing("line", MARK, [(at, at, 0, limit) for at, _ in bars.marks], width_px=2.0),
    ]
    x = Axis((span.start, span.end), [*time_ticks(span, bars.zone).items()])
    return Chart(
        height_px, left_px, x, Axis((0, limit), number_ticks(limit), grid=True), shapes, _told(bars, limit)
    )


def _begun(bars: Bars) -> Iterator[tuple[Bucket, float, float]]:
    """Buckets of which there is something to say, with their whole time."""
    for bucket, (start, end) in zip(bars.buckets, pairwise(bars.span.edges), strict=True):
        if bucket.cover not in {Cover.FUTURE, Cover.BEFORE}:
            yield bucket, start, end


def _stacks(bars: Bars) -> list[Drawing]:
    """The bars of each series; paler where a bucket was not wholly watched."""
    boxes: dict[tuple[str, float], list[Box]] = defaultdict(list)
    for bucket, start, end in _begun(bars):
        series, base, margin = bars.counts.get(start, {}), 0, (end - start) * 0.08
        for name, colour in bars.colours.items():
            if count := series.get(name) or 0:
                opacity = 1.0 if bucket.cover is Cover.WATCHED else 0.72
                boxes[colour, opacity].append((start + margin, end - margin, base, base + count))
                base += count
    return [Drawing("fill", colour, of_one, opacity) for (colour, opacity), of_one in boxes.items()]


def _told(bars: Bars, limit: float) -> list[Spot]:
    """What is told of each bucket."""
    spots = []
    for bucket, start, end in _begun(bars):
        series = bars.counts.get(start, {})
        text = ", ".join(f"{name} {number(count)}" for name, count in series.items() if count != 0)
        told = {
            "time": _between(start, end, bars.zone),
            "counts": text or ("unknown: not watched" if bucket.cover is Cover.NOT else "0"),
            "watched": f"{bucket.cover.value}, {percent(bucket.coverage)}",
        }
        if bars.before:
            told["a week before"] = number(bars.before[start]) if start in bars.before else "not known"
        if changes := "; ".join(what for at, what in bars.marks if start <= at < end):
            told["changed"] = changes
        spots.append(Spot((start, end, 0, limit), told, _between(start, end, UTC)))
    return spots


def heat_chart(cells: Sequence[HeatCell]) -> Chart:
    """Weekdays and hours: the stronger, the more in an hour that one camera watched; hatched: none was."""
    top = max((cell.per_hour or 0.0 for cell in cells), default=0.0) or 1.0
    hatched: list[Box] = []
    filled: dict[float, list[Box]] = defaultdict(list)
    spots = []
    for cell in cells:
        box = cell.hour + 0.03, cell.hour + 0.97, cell.weekday + 0.96, cell.weekday + 0.04
        told = {"time": f"{WEEKDAYS[cell.weekday]} {cell.hour:02}:00 to {cell.hour + 1:02}:00"}
        if cell.per_hour is None:
            hatched.append(box)
            told["objects an hour"] = "unknown: not watched"
        else:
            filled[round(0.06 + 0.94 * cell.per_hour / top, 2)].append(box)
            told["objects an hour"] = f"{cell.per_hour:.1f}"
            told["counted"] = f"{number(cell.count)} in {cell.watched_h:.1f} h"
        spots.append(Spot(box, told))
    shapes = [Drawing("fill", HEAT, boxes, opacity) for opacity, boxes in sorted(filled.items())]
    hours = [(float(hour), f"{hour}:00") for hour in range(0, 24, 3)]
    rows = _rows_of([day[:3] for day in WEEKDAYS])
    return Chart(
        200, NAMES_PX, Axis((0, 24), hours), rows, [*shapes, Drawing("hatch", HATCH, hatched)], spots
    )


def coverage_chart(covers: Mapping[str, Sequence[Bucket]], span: Span, zone: ZoneInfo) -> Chart:
    """One row a camera: watched, partly, not watched."""
    looks: Mapping[Cover, tuple[Look, str, float]] = {
        Cover.NOT: ("hatch", HATCH, 1.0),
        Cover.PARTLY: ("fill", PART, 0.75),
        Cover.WATCHED: ("fill", WATCHED, 0.75),
    }
    boxes: dict[Cover, list[Box]] = defaultdict(list)
    spots = []
    for index, (name, buckets) in enumerate(covers.items()):
        for start, end, cover in runs(buckets):
            if cover in looks:
                box = start, end, index + 0.85, index + 0.15
                boxes[cover].append(box)
                told = {"camera": name, "cover": cover.value, "time": _between(start, end, zone)}
                spots.append(Spot(box, told, _between(start, end, UTC)))
    shapes = [
        Drawing(look, colour, boxes[cover], opacity) for cover, (look, colour, opacity) in looks.items()
    ]
    x = Axis((span.start, span.end), [*time_ticks(span, zone).items()])
    return Chart(17 * len(covers), NAMES_PX, x, _rows_of(list(covers)), shapes, spots)


def parts_chart(rows: Mapping[str, Mapping[str, float]], colours: Mapping[str, str], unit: str) -> Chart:
    """A bar a row, of its parts one after the other, in the order of the colours."""
    limit = max(1.0, max((sum(parts.values()) for parts in rows.values()), default=0.0) * 1.02)
    boxes: dict[str, list[Box]] = defaultdict(list)
    spots = []
    for index, (name, parts) in enumerate(rows.items()):
        begin = 0.0
        for part, colour in colours.items():
            if value := parts.get(part, 0.0):
                box = begin, begin + value, index + 0.86, index + 0.14
                boxes[colour].append(box)
                spots.append(Spot(box, {"camera": name, part: f"{value:.2f} {unit}"}))
                begin += value
    shapes = [Drawing("fill", colour, of_one) for colour, of_one in boxes.items()]
    x = Axis((0, limit), number_ticks(limit), grid=True)
    return Chart(26 * len(rows), NAMES_PX, x, _rows_of(list(rows)), shapes, spots)


def _rows_of(names: Sequence[str]) -> Axis:
    """A row for each name, the first on top."""
    return Axis((float(len(names)), 0.0), [(index + 0.5, name) for index, name in enumerate(names)])


def _between(start: float, end: float, zone: tzinfo) -> str:
    """Two moments in words."""
    first, last = (datetime.fromtimestamp(value, zone).strftime("%-d %b %H:%M") for value in (start, end))
    return f"{first} to {last}"
