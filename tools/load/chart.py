"""A line chart as SVG, which browsers, editors and Markdown show as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import StringIO

from matplotlib.figure import Figure


def line_chart(
    title: str, x_label: str, y_label: str, lines: Mapping[str, Sequence[tuple[float, float]]]
) -> str:
    """The chart as text of an SVG file; both axes begin at 0, points that are not finite are left out.

    Args:
        title: above the chart.
        x_label: below it, with the unit.
        y_label: left of it, with the unit.
        lines: name in the legend to its points, in the order in which they are joined.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, points in lines.items():
        finite = [point for point in points if all(map(math.isfinite, point))]
        axes.plot([x for x, _ in finite], [y for _, y in finite], marker="o", label=name, gid=name)
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    if lines:
        axes.legend()
    text = StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()
