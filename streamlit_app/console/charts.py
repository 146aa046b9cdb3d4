"""Charts in which a gap is never a zero.

Time is drawn on a plain number axis (epoch seconds) with labels made here: so the viewer's zone holds,
whatever the browser's is. Hatching is made of lines, since the canvas has no patterns.
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
_TICK_STEPS_MIN = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720)


@dataclass(frozen=True, slots=True)
class Ticks:
    """Where the time axis has labels, and which."""

    values: tuple[float, ...]
    labels: tuple[str, ...]

    def axis(self, *, shown: bool = True) -> alt.Axis:
        """The axis with these labels."""
        names = json.dumps(
            {f"{value:.0f}": label for value, label in zip(self.values, self.labels, strict=True)}
        )
        return alt.Axis(
            values=list(self.values),
            labelExpr=f"({names})[format(datum.value, '.0f')]",
            labels=shown,
            ticks=shown,
            title=None,
            grid=False,
            labelOverlap="greedy",
            labelFlush=True,
            labelPadding=6,
        )


def time_ticks(span: Span, zone: ZoneInfo, most: int = 12) -> Ticks:
    """At most about ``most`` round local times; midnights show the date."""
    length_min = (span.end - span.start) / 60
    fitting = [step for step in _TICK_STEPS_MIN if length_min / step <= most]
    moments = _round_times(span, zone, fitting[0]) if fitting else _midnights(span, zone, most)
    labels = [_label(moment) for moment in moments]
    return Ticks(tuple(moment.timestamp() for moment in moments), tuple(labels))


def _round_times(span: Span, zone: ZoneInfo, step_min: int) -> list[datetime]:
    grid = Span.over(span.start, span.end, step_min * 60, zone).edges
    return [datetime.fromtimestamp(edge, zone) for edge in grid if span.start <= edge <= span.end]


def _midnights(span: Span, zone: ZoneInfo, most: int) -> list[datetime]:
    days = Span.over(span.start, span.end, DAY_S, zone).edges
    every = max(1, -(-len(days) // most))
    return [datetime.fromtimestamp(edge, zone) for edge in days[::every] if span.start <= edge <= span.end]


def _label(moment: datetime) -> str:
    return f"{moment:%-d %b}" if (moment.hour, moment.minute) == (0, 0) else f"{moment:%H:%M}"


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
    bars = _frame(_bars(buckets, counts, colours, span), ["x", "x2", "low", "high", "colour", "opacity"])
    layers = [
        *cover_layers(runs(buckets), span, zone, high=limit, y=y, slope=height / 1300),
        alt.Chart(bars)
        .mark_rect()
        .encode(x=x, x2="x2", y=y, y2="high", color=alt.Color("colour:N", scale=None), opacity=_opacity()),
        _baseline(buckets, x, y),
        _tips(buckets, counts, span, zone, x, y, limit),
    ]
    return alt.layer(*layers).properties(height=height)


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
    frame = _frame(boxes, ["x", "x2", "low", "high", "colour", "opacity", "camera", "cover"])
    frame["from"] = [_moment(value, zone, "%-d %b %H:%M") for value in frame["x"]]
    frame["to"] = [_moment(value, zone, "%-d %b %H:%M") for value in frame["x2"]]
    rows = (
        alt.Chart(frame)
        .mark_rect()
        .encode(
            x=x,
            x2="x2",
            y=y,
            y2="high",
            color=alt.Color("colour:N", scale=None),
            opacity=_opacity(),
            tooltip=["camera:N", "cover:N", "from:N", "to:N"],
        )
    )
    return alt.layer(rows, _hatch_layer(lines, x, y)).properties(height=row_px * len(names) + AXIS_PX)


def cover_layers(
    stretches: Sequence[tuple[float, float, Cover]],
    span: Span,
    zone: ZoneInfo,
    *,
    high: float,
    y: alt.Y,
    slope: float,
) -> list[alt.Chart]:
    """The bands behind bars: hatched where nothing was watched, tinted where a part was."""
    bands = [
        (
            start,
            end,
            0.0,
            high,
            PART if cover is Cover.PARTLY else HATCH,
            0.16 if cover is Cover.PARTLY else 0.13,
        )
        for start, end, cover in stretches
        if cover in {Cover.PARTLY, Cover.NOT}
    ]
    lines = [
        line
        for start, end, cover in stretches
        if cover is Cover.NOT
        for line in hatch(start, end, span, 0.0, high, slope=slope)
    ]
    frame = _frame(bands, ["x", "x2", "low", "high", "colour", "opacity"])
    x = _x(span, zone)
    band = (
        alt.Chart(frame)
        .mark_rect()
        .encode(x=x, x2="x2", y=y, y2="high", color=alt.Color("colour:N", scale=None), opacity=_opacity())
    )
    return [band, _hatch_layer(lines, x, y)]


def hatch(
    start: float, end: float, span: Span, low: float, high: float, *, slope: float
) -> list[tuple[float, float, float, float]]:
    """Slanted lines that fill [start, end) x [low, high), cut off at its sides.

    A line covers ``slope`` of the span on its way up. Gives x, x2, low and high of each; about
    :data:`HATCH_LINES` for a whole span.
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
    return mark.encode(x=x, x2="x2", y=y, y2="high")


def _x(span: Span, zone: ZoneInfo) -> alt.X:
    scale = alt.Scale(domain=[span.start, span.end], nice=False, zero=False)
    return alt.X("x:Q", scale=scale, axis=time_ticks(span, zone).axis())


def _opacity() -> alt.Opacity:
    return alt.Opacity("opacity:Q", scale=None)


def _bars(
    buckets: Sequence[Bucket],
    counts: Mapping[float, Mapping[str, int]],
    colours: Mapping[str, str],
    span: Span,
) -> list[tuple[float, float, float, float, str, float]]:
    rows = []
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
    """A line at zero wherever somebody looked: grey when all did, amber when some did."""
    shown = [
        (start, end, 0.0, PART if cover is Cover.PARTLY else ZERO, 3.0 if cover is Cover.PARTLY else 1.5)
        for start, end, cover in runs(buckets)
        if cover in {Cover.WATCHED, Cover.PARTLY}
    ]
    frame = _frame(shown, ["x", "x2", "low", "colour", "width"])
    return (
        alt.Chart(frame)
        .mark_rule(clip=False)
        .encode(
            x=x,
            x2="x2",
            y=y,
            color=alt.Color("colour:N", scale=None),
            strokeWidth=alt.StrokeWidth("width:Q", scale=None),
        )
    )


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
        end = ends[bucket.start]
        found = {name: count for name, count in counts.get(bucket.start, {}).items() if count}
        said = ", ".join(f"{name} {number(count)}" for name, count in found.items())
        if not said:
            said = "unknown: not watched" if bucket.cover is Cover.NOT else "0"
        rows.append(
            {
                "x": bucket.start,
                "x2": end,
                "low": 0.0,
                "high": limit,
                "time": f"{_moment(bucket.start, zone, '%-d %b %H:%M')} to {_moment(end, zone, '%H:%M')}",
                "counts": said,
                "watched": f"{bucket.cover.value}, {percent(bucket.coverage)}",
            }
        )
    frame = _frame(rows, ["x", "x2", "low", "high", "time", "counts", "watched"])
    mark = alt.Chart(frame).mark_rect(opacity=0)
    return mark.encode(x=x, x2="x2", y=y, y2="high", tooltip=["time:N", "counts:N", "watched:N"])


def _moment(value: float, zone: ZoneInfo, form: str) -> str:
    return datetime.fromtimestamp(value, zone).strftime(form)


def _frame(rows: Sequence[Sequence[object]], columns: Sequence[str]) -> pd.DataFrame:
    """Rows as a table whose numbers are numbers even when there are none."""
    frame = pd.DataFrame(rows, columns=list(columns))
    numbers = [name for name in columns if name in {"x", "x2", "low", "high", "opacity", "width"}]
    return frame.astype(dict.fromkeys(numbers, float))
