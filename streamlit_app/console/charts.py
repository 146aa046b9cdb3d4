"""Charts in which a gap is never a zero: specifications of Vega-Lite, as ``st.vega_lite_chart`` takes them.

Time is drawn on a plain number axis (epoch seconds) with labels made here, so that the viewer's zone holds
whatever the browser's is. Hatching is made of lines, since Vega has no patterns.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from console.grid import Bucket, Cover, runs
from console.texts import WEEKDAYS, number, percent
from sightline.store.read.history import HeatCell
from sightline.store.read.spans import Span
from sightline.store.rollups import DAY_S

HATCH, PART, ZERO, WATCHED = "#8f9aa6", "#d9952c", "#76828f", "#3f9d78"
BEFORE, MARK, CHOSEN, HEAT = "#7b8794", "#8e5bd0", "#3d85d6", "#3d85d6"
PICK = "bar"
HATCH_LINES = 110  # over the whole width
LEFT_PX = 84  # left of charts above each other, so that they share their time axis
AXIS_PX = 36  # below every chart
MAX_TICKS = 12
_TICK_STEPS_MIN = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720)

LINE = ("x", "x2", "low", "high")
BOX = (*LINE, "colour", "opacity")
TIP = ("time", "UTC", "counts", "watched", "a week before")
_RULE = ("x", "x2", "low", "colour", "width")
Spec = dict[str, Any]  # of a chart, or a part of one, in Vega-Lite's words
#: How the columns of a layer's rows are drawn; x and low are the chart's axes, all others its tooltip.
_CHANNELS: Mapping[str, tuple[str, Spec]] = {
    "x2": ("x2", {"field": "x2"}),
    "high": ("y2", {"field": "high"}),
    "colour": ("color", {"field": "colour", "type": "nominal", "scale": None}),
    "opacity": ("opacity", {"field": "opacity", "type": "quantitative", "scale": None}),
    "width": ("strokeWidth", {"field": "width", "type": "quantitative", "scale": None}),
}
_SAID = "said"  # a mark in words
_RECT: Spec = {"type": "rect"}
_HATCHING: Spec = {"type": "rule", "color": HATCH, "strokeWidth": 1, "opacity": 0.55}


def time_ticks(span: Span, zone: ZoneInfo) -> dict[float, str]:
    """Labels by epoch seconds: at most about :data:`MAX_TICKS` round local times; midnights show the date."""
    length_min = (span.end - span.start) / 60
    steps_s = [60 * step for step in _TICK_STEPS_MIN if length_min / step <= MAX_TICKS]
    edges = Span.over(span.start, span.end, steps_s[0] if steps_s else DAY_S, zone).edges
    every = 1 if steps_s else max(1, -(-len(edges) // MAX_TICKS))
    times = [datetime.fromtimestamp(edge, zone) for edge in edges[::every] if span.start <= edge <= span.end]
    return {t.timestamp(): f"{t:%-d %b}" if (t.hour, t.minute) == (0, 0) else f"{t:%H:%M}" for t in times}


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


def count_chart(bars: Bars, *, height: int = 260, left_px: int = 28, picks: bool = False) -> Spec:
    """Stacked bars of counts by bucket, with what was not watched hatched behind them.

    A line at zero stands wherever something was watched: grey if all of it was, amber if a part was. With
    ``picks`` a bucket is chosen by a click: the selection :data:`PICK` has its ``x``.
    """
    buckets, span = bars.buckets, bars.span
    known = [sum(count or 0 for count in series.values()) for series in bars.counts.values()]
    top = max((*known, *bars.before.values()), default=0)
    limit = max(1.0, top * 1.08)
    bands, hatching, zeros = [], [], []
    for start, end, cover in runs(buckets):
        if cover is Cover.NOT:
            bands.append((start, end, 0, limit, HATCH, 0.13))
            hatching += hatch(start, end, span, 0, limit, slope=height / 1300)
        elif cover is Cover.PARTLY:
            bands.append((start, end, 0, limit, PART, 0.16))
            zeros.append((start, end, 0, PART, 3.0))
        elif cover is Cover.WATCHED:
            zeros.append((start, end, 0, ZERO, 1.5))
    ends = dict(pairwise(span.edges))
    if bars.chosen is not None:
        bands.append((bars.chosen, ends.get(bars.chosen, bars.chosen), 0, limit, CHOSEN, 0.22))
    boxes, tips = _boxes_and_tips(bars, limit)
    weeks = [
        (start, ends[start], count, BEFORE, 2.0) for start, count in bars.before.items() if start in ends
    ]
    counts_axis = {
        "tickMinStep": 1,
        "tickCount": 4,
        "format": "~s" if top >= 10_000 else "d",
        "gridOpacity": 0.5,
        "minExtent": left_px,
        "maxExtent": left_px,
    }
    axes = _x(span, bars.zone), _axis("low", {"domain": [0, limit]}, counts_axis)
    mark_rows = [(at, 0, limit, what) for at, what in bars.marks]
    tip = _layer({"type": "rect", "opacity": 0}, tips, (*LINE, *TIP), axes)
    if picks:
        choice = {"type": "point", "fields": ["x"], "on": "click", "toggle": False}
        tip["params"] = [{"name": PICK, "select": choice}]
    mark = {"type": "rule", "color": MARK, "strokeWidth": 2}
    layers = [
        _layer(_RECT, bands, BOX, axes),
        _layer(_HATCHING, hatching, LINE, axes),
        _layer(_RECT, boxes, BOX, axes),
        _layer({"type": "rule", "clip": False}, zeros, _RULE, axes),
        _layer({"type": "rule", "strokeDash": [5, 3]}, weeks, _RULE, axes),
        tip,
        _layer(mark, mark_rows, ("x", "low", "high", "what"), axes),
    ]
    return {"height": height, "layer": layers}


def _boxes_and_tips(bars: Bars, limit: float) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Rows of the bars, and of what is said where the pointer is."""
    boxes: list[tuple[object, ...]] = []
    tips: list[tuple[object, ...]] = []
    for bucket, (start, end) in zip(bars.buckets, pairwise(bars.span.edges), strict=True):
        if bucket.cover in {Cover.FUTURE, Cover.BEFORE}:
            continue
        series, base = bars.counts.get(start, {}), 0
        margin = (end - start) * 0.08
        for name, colour in bars.colours.items():
            if count := series.get(name) or 0:
                opacity = 1.0 if bucket.cover is Cover.WATCHED else 0.72
                boxes.append((start + margin, end - margin, base, base + count, colour, opacity))
                base += count
        text = ", ".join(f"{name} {number(count)}" for name, count in series.items() if count != 0)
        text = text or ("unknown: not watched" if bucket.cover is Cover.NOT else "0")
        when, utc = (f"{_moment(start, zone)} to {_moment(end, zone)}" for zone in (bars.zone, UTC))
        watched = f"{bucket.cover.value}, {percent(bucket.coverage)}"
        before = number(bars.before[start]) if start in bars.before else "not known"
        tips.append((start, end, 0, limit, when, utc, text, watched, before))
    return boxes, tips


def heat_chart(cells: Sequence[HeatCell]) -> Spec:
    """Weekdays and hours: the stronger, the more in an hour that one camera watched; hatched: none was."""
    top = max((cell.per_hour or 0.0 for cell in cells), default=0.0) or 1.0
    rows, lines = [], []
    for cell in cells:
        x, low = float(cell.hour), float(cell.weekday)
        name = f"{WEEKDAYS[cell.weekday]} {cell.hour:02}:00 to {cell.hour + 1:02}:00"
        if cell.per_hour is None:
            lines += [(x + at, x + at + 0.2, low + 1, low) for at in (0.05, 0.3, 0.55, 0.8)]
            rows.append((x, x + 1, low, low + 1, HATCH, 0.12, name, "unknown: not watched", ""))
        else:
            told = f"{cell.per_hour:.1f}", f"{number(cell.count)} in {cell.watched_h:.1f} h"
            rows.append((x, x + 1, low, low + 1, HEAT, 0.06 + 0.94 * cell.per_hour / top, name, *told))
    hours = {"values": list(range(0, 24, 3)), "labelExpr": "datum.value + ':00'", "grid": False}
    axes = _axis("x", {"domain": [0, 24]}, hours), _rows_of([day[:3] for day in WEEKDAYS])
    box = {"type": "rect", "stroke": HATCH, "strokeWidth": 0.3}
    cells_drawn = _layer(box, rows, (*BOX, "time", "objects an hour", "counted"), axes)
    return {"height": 230, "layer": [cells_drawn, _layer(_HATCHING, lines, LINE, axes)]}


def coverage_chart(
    covers: Mapping[str, Sequence[Bucket]], span: Span, zone: ZoneInfo, *, row_px: int = 17
) -> Spec:
    """One row a camera: watched, partly, not watched."""
    names = list(covers)
    looks = {Cover.NOT: (HATCH, 0.14), Cover.PARTLY: (PART, 0.75), Cover.WATCHED: (WATCHED, 0.75)}
    boxes, hatching = [], []
    for index, name in enumerate(names):
        low, high = index + 0.15, index + 0.85
        for start, end, cover in runs(covers[name]):
            if cover in looks:
                moments = (
                    _moment(start, zone),
                    _moment(end, zone),
                    f"{_moment(start, UTC)} to {_moment(end, UTC)}",
                )
                boxes.append((start, end, low, high, *looks[cover], name, cover.value, *moments))
            if cover is Cover.NOT and len(names) <= 16:
                hatching += hatch(start, end, span, high, low, slope=0.012)
    axes = _x(span, zone), _rows_of(names)
    rows = _layer(_RECT, boxes, (*BOX, "camera", "cover", "from", "to", "UTC"), axes)
    layers = [rows, _layer(_HATCHING, hatching, LINE, axes)]
    return {"height": row_px * len(names) + AXIS_PX, "layer": layers}


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
    rise = (high - low) / width
    lines = []
    for index in range(int((start - width - span.start) // pitch), int((end - span.start) // pitch) + 1):
        foot = span.start + index * pitch
        left, right = max(foot, start), min(foot + width, end)
        if right > left:
            lines.append((left, right, low + (left - foot) * rise, low + (right - foot) * rise))
    return lines


def _layer(
    mark: Spec, rows: Sequence[Sequence[object]], columns: Sequence[str], axes: tuple[Spec, Spec]
) -> Spec:
    """A mark for each row, drawn as its columns say.

    What a tooltip tells is told to screen readers, too, without the numbers of the axes; the axes and the
    other marks, such as the lines of a hatching, are not there for them.
    """
    values = [dict(zip(columns, row, strict=True)) for row in rows]
    told = [name for name in columns if name not in {"x", "low", *_CHANNELS}]
    x, y = axes
    encoding: Spec = {"x": x, "y": y, **dict(_CHANNELS[name] for name in columns if name in _CHANNELS)}
    if told:
        encoding["tooltip"] = [{"field": name, "type": "nominal"} for name in told]
    if rows and told:
        values = [{**row, _SAID: _said(row, told)} for row in values]
        encoding["description"] = {"field": _SAID, "type": "nominal"}
    else:
        mark = {**mark, "aria": False}
    # Rows that stand in a layer are sent as they are; Streamlit would turn those of a whole chart into Arrow.
    return {"data": {"values": values}, "mark": mark, "encoding": encoding}


def _said(row: Mapping[str, object], names: Sequence[str]) -> str:
    """A mark in words; the moment in UTC is for whoever points at it."""
    return "; ".join(f"{name}: {row[name]}" for name in names if name != "UTC" and row[name])


def _x(span: Span, zone: ZoneInfo) -> Spec:
    ticks = time_ticks(span, zone)
    labels = json.dumps({f"{at:.0f}": label for at, label in ticks.items()})
    axis = {
        "values": list(ticks),
        "labelExpr": f"({labels})[format(datum.value, '.0f')]",
        "grid": False,
        "labelOverlap": "greedy",
        "labelFlush": True,
        "labelPadding": 6,
    }
    return _axis("x", {"domain": [span.start, span.end], "zero": False}, axis)


def _rows_of(names: Sequence[str]) -> Spec:
    """A row for each name, the first on top."""
    axis = {
        "values": [index + 0.5 for index in range(len(names))],
        "labelExpr": f"{json.dumps(names)}[floor(datum.value)]",
        "grid": False,
        "ticks": False,
        "domain": False,
        "labelLimit": LEFT_PX - 8,
        "minExtent": LEFT_PX,
        "maxExtent": LEFT_PX,
        "labelOverlap": False,
    }
    return _axis("low", {"domain": [0, len(names)], "reverse": True}, axis)


def _axis(column: str, scale: Spec, axis: Spec) -> Spec:
    """An axis that ends where its domain does, has no title, and is not read out."""
    whole_scale, own_axis = {**scale, "nice": False}, {**axis, "aria": False, "title": None}
    return {"field": column, "type": "quantitative", "scale": whole_scale, "axis": own_axis}


def _moment(value: float, zone: tzinfo, form: str = "%-d %b %H:%M") -> str:
    return datetime.fromtimestamp(value, zone).strftime(form)
