"""Charts in which a gap is never a zero.

Time is drawn on a plain number axis (epoch seconds) with labels made here, so that the viewer's zone holds
whatever the browser's is. Hatching is made of lines, since Vega has no patterns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import altair as alt
import pandas as pd

from console.grid import Bucket, Cover, runs
from console.texts import number, percent
from sightline.store.read.queries import DAY_S, Span

HATCH, PART, ZERO = "#8f9aa6", "#d9952c", "#76828f"
HATCH_LINES = 110  # over the whole width
LEFT_PX = 84  # left of charts above each other, so that they share their time axis
AXIS_PX = 36  # below every chart
MAX_TICKS = 12
BOX = ("x", "x2", "low", "high", "colour", "opacity")
_TICK_STEPS_MIN = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720)


@dataclass(frozen=True, slots=True)
class Ticks:
    """Labels of the time axis, and the epoch seconds at which they stand."""

    values: tuple[float, ...]
    labels: tuple[str, ...]

    def axis(self) -> alt.Axis:
        """The axis with these labels."""
        names = {f"{value:.0f}": label for value, label in zip(self.values, self.labels, strict=True)}
        return alt.Axis(
            values=list(self.values),
            labelExpr=f"({json.dumps(names)})[format(datum.value, '.0f')]",
            title=None,
            grid=False,
            labelOverlap="greedy",
            labelFlush=True,
            labelPadding=6,
        )


def time_ticks(span: Span, zone: ZoneInfo) -> Ticks:
    """At most about :data:`MAX_TICKS` round local times; midnights show the date."""
    length_min = (span.end - span.start) / 60
    steps_s = [60 * step for step in _TICK_STEPS_MIN if length_min / step <= MAX_TICKS]
    edges = Span.over(span.start, span.end, steps_s[0] if steps_s else DAY_S, zone).edges
    every = 1 if steps_s else max(1, -(-len(edges) // MAX_TICKS))
    values = tuple(edge for edge in edges[::every] if span.start <= edge <= span.end)
    times = [datetime.fromtimestamp(value, zone) for value in values]
    labels = (f"{t:%-d %b}" if (t.hour, t.minute) == (0, 0) else f"{t:%H:%M}" for t in times)
    return Ticks(values, tuple(labels))


def count_chart(
    buckets: Sequence[Bucket],
    counts: Mapping[float, Mapping[str, int]],
    colours: Mapping[str, str],
    span: Span,
    zone: ZoneInfo,
    *,
    height: int = 260,
    left_px: int = 28,
) -> alt.LayerChart:
    """Stacked bars of counts by bucket, with what was not watched hatched behind them.

    ``counts`` is bucket -> series -> count; ``colours`` is series -> colour, in the order of stacking.
    """
    top = max((sum(series.values()) for series in counts.values()), default=0)
    limit = max(1.0, top * 1.08)
    x = _x(span, zone)
    y_axis = alt.Axis(
        title=None,
        tickMinStep=1,
        tickCount=4,
        format="~s" if top >= 10_000 else "d",
        gridOpacity=0.5,
        minExtent=left_px,
        maxExtent=left_px,
    )
    y = alt.Y("low:Q", scale=alt.Scale(domain=[0, limit], nice=False), axis=y_axis)
    layers = [
        *_cover_layers(buckets, span, x, y, high=limit, slope=height / 1300),
        _boxes(_frame(_bars(buckets, counts, colours, span), BOX), x, y),
        _baseline(buckets, x, y),
        _tips(buckets, counts, span, zone, x, y, limit),
    ]
    return alt.LayerChart(layer=layers).properties(height=height)


def coverage_chart(
    covers: Mapping[str, Sequence[Bucket]], span: Span, zone: ZoneInfo, *, row_px: int = 17
) -> alt.LayerChart:
    """One row a camera: watched, partly, not watched."""
    names = list(covers)
    centres = [index + 0.5 for index in range(len(names))]
    axis = alt.Axis(
        values=centres,
        labelExpr=f"{json.dumps(names)}[floor(datum.value)]",
        title=None,
        grid=False,
        ticks=False,
        domain=False,
        labelLimit=LEFT_PX - 8,
        minExtent=LEFT_PX,
        maxExtent=LEFT_PX,
        labelOverlap=False,
    )
    y = alt.Y("low:Q", scale=alt.Scale(domain=[0, len(names)], reverse=True, nice=False), axis=axis)
    x, boxes, lines = _x(span, zone), [], []
    for index, name in enumerate(names):
        low, high = index + 0.15, index + 0.85
        for start, end, cover in runs(covers[name]):
            if cover is Cover.NOT:
                boxes.append((start, end, low, high, HATCH, 0.14, name, cover.value))
                if len(names) <= 16:
                    lines += hatch(start, end, span, high, low, slope=0.012)
            elif cover is not Cover.FUTURE:
                colour = "#3f9d78" if cover is Cover.WATCHED else PART
                boxes.append((start, end, low, high, colour, 0.75, name, cover.value))
    frame = _frame(boxes, [*BOX, "camera", "cover"])
    frame["from"] = [_moment(value, zone, "%-d %b %H:%M") for value in frame["x"]]
    frame["to"] = [_moment(value, zone, "%-d %b %H:%M") for value in frame["x2"]]
    rows = _boxes(frame, x, y).encode(tooltip=["camera:N", "cover:N", "from:N", "to:N"])
    chart = alt.LayerChart(layer=[rows, _hatch_layer(lines, x, y)])
    return chart.properties(height=row_px * len(names) + AXIS_PX)


def _cover_layers(
    buckets: Sequence[Bucket], span: Span, x: alt.X, y: alt.Y, *, high: float, slope: float
) -> list[alt.Chart]:
    """The bands behind bars: hatched where nothing was watched, tinted where a part was."""
    looks = {Cover.PARTLY: (PART, 0.16), Cover.NOT: (HATCH, 0.13)}
    bands = [(start, end, 0.0, high, *looks[cover]) for start, end, cover in runs(buckets) if cover in looks]
    lines = [
        line
        for start, end, cover in runs(buckets)
        if cover is Cover.NOT
        for line in hatch(start, end, span, 0.0, high, slope=slope)
    ]
    return [_boxes(_frame(bands, BOX), x, y), _hatch_layer(lines, x, y)]


def _boxes(frame: pd.DataFrame, x: alt.X, y: alt.Y) -> alt.Chart:
    """A rectangle for each row of columns :data:`BOX`."""
    colour = alt.Color("colour:N", scale=None)
    opacity = alt.Opacity("opacity:Q", scale=None)
    chart: alt.Chart = alt.Chart(frame).mark_rect().encode(x, y, x2="x2", y2="high").encode(colour, opacity)
    return chart


def hatch(
    start: float, end: float, span: Span, low: float, high: float, *, slope: float
) -> list[tuple[float, float, float, float]]:
    """Slanted lines that fill [start, end) x [low, high), clipped at its sides.

    A line covers ``slope`` of the span on its way up; a whole span has about :data:`HATCH_LINES` of them.

    Returns:
        (x, x2, low, high) of each line.
    """
    length = span.end - span.start
    pitch, width = length / HATCH_LINES, length * slope
    first = int((start - width - span.start) // pitch)
    last = int((end - span.start) // pitch)
    lines = []
    for index in range(first, last + 1):
        foot = span.start + index * pitch
        left, right = max(foot, start), min(foot + width, end)
        if right > left:
            rise = (high - low) / width
            lines.append((left, right, low + (left - foot) * rise, low + (right - foot) * rise))
    return lines


def _hatch_layer(lines: Sequence[tuple[float, float, float, float]], x: alt.X, y: alt.Y) -> alt.Chart:
    frame = _frame(lines, ["x", "x2", "low", "high"])
    mark = alt.Chart(frame).mark_rule(color=HATCH, strokeWidth=1, opacity=0.55)
    chart: alt.Chart = mark.encode(x, y, x2="x2", y2="high")
    return chart


def _x(span: Span, zone: ZoneInfo) -> alt.X:
    scale = alt.Scale(domain=[span.start, span.end], nice=False, zero=False)
    return alt.X("x:Q", scale=scale, axis=time_ticks(span, zone).axis())


def _bars(
    buckets: Sequence[Bucket],
    counts: Mapping[float, Mapping[str, int]],
    colours: Mapping[str, str],
    span: Span,
) -> list[tuple[float, float, float, float, str, float]]:
    rows: list[tuple[float, float, float, float, str, float]] = []
    ends = dict(pairwise(span.edges))
    for bucket in buckets:
        base, end = 0, ends[bucket.start]
        margin = (end - bucket.start) * 0.08
        opacity = 1.0 if bucket.cover is Cover.WATCHED else 0.72
        for name, colour in colours.items():
            if count := counts.get(bucket.start, {}).get(name, 0):
                rows.append((bucket.start + margin, end - margin, base, base + count, colour, opacity))
                base += count
    return rows


def _baseline(buckets: Sequence[Bucket], x: alt.X, y: alt.Y) -> alt.Chart:
    """A line at zero wherever something was watched: grey if all of it was, amber if a part was."""
    rows = [
        (start, end, 0.0, PART if cover is Cover.PARTLY else ZERO, 3.0 if cover is Cover.PARTLY else 1.5)
        for start, end, cover in runs(buckets)
        if cover in {Cover.WATCHED, Cover.PARTLY}
    ]
    mark = alt.Chart(_frame(rows, ["x", "x2", "low", "colour", "width"])).mark_rule(clip=False)
    colour, width = alt.Color("colour:N", scale=None), alt.StrokeWidth("width:Q", scale=None)
    chart: alt.Chart = mark.encode(x, y, colour, width, x2="x2")
    return chart


def _tips(
    buckets: Sequence[Bucket],
    counts: Mapping[float, Mapping[str, int]],
    span: Span,
    zone: ZoneInfo,
    x: alt.X,
    y: alt.Y,
    limit: float,
) -> alt.Chart:
    rows = []
    ends = dict(pairwise(span.edges))
    for bucket in buckets:
        if bucket.cover is Cover.FUTURE:
            continue
        start, end = bucket.start, ends[bucket.start]
        series = counts.get(start, {})
        text = ", ".join(f"{name} {number(count)}" for name, count in series.items() if count)
        text = text or ("unknown: not watched" if bucket.cover is Cover.NOT else "0")
        when = f"{_moment(start, zone, '%-d %b %H:%M')} to {_moment(end, zone, '%H:%M')}"
        watched = f"{bucket.cover.value}, {percent(bucket.coverage)}"
        rows.append((start, end, 0.0, limit, when, text, watched))
    mark = alt.Chart(_frame(rows, [*BOX[:4], "time", "counts", "watched"])).mark_rect(opacity=0)
    chart: alt.Chart = mark.encode(x, y, x2="x2", y2="high", tooltip=["time:N", "counts:N", "watched:N"])
    return chart


def _moment(value: float, zone: ZoneInfo, form: str) -> str:
    return datetime.fromtimestamp(value, zone).strftime(form)


def _frame(rows: Sequence[Sequence[object]], columns: Sequence[str]) -> pd.DataFrame:
    """Rows as a table whose numbers are numbers even when there are none."""
    frame = pd.DataFrame(rows, columns=list(columns))
    numbers = [name for name in columns if name in {"x", "x2", "low", "high", "opacity", "width"}]
    return frame.astype(dict.fromkeys(numbers, float))
