"""A line chart as SVG, which browsers, editors and Markdown show as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 36, 52
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")

Points = Sequence[tuple[float, float]]


def line_chart(title: str, x_label: str, y_label: str, lines: Mapping[str, Points]) -> str:
    """The chart as text of an SVG file; both axes begin at 0, points that are not finite are left out.

    Args:
        title: above the chart.
        x_label: below it, with the unit.
        y_label: left of it, with the unit.
        lines: name in the legend to its points, in the order in which they are joined.
    """
    finite = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in lines.items()}
    x_step, x_end = _axis(max((x for points in finite.values() for x, _ in points), default=1.0))
    y_step, y_end = _axis(max((y for points in finite.values() for _, y in points), default=1.0))
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return round(LEFT + x / x_end * width, 1), round(TOP + height - y / y_end * height, 1)

    parts = [_text(LEFT, 20, title, weight="bold")]
    for index in range(round(y_end / y_step) + 1):
        left, y = place(0, index * y_step)
        parts.append(f'<line x1="{left}" y1="{y}" x2="{LEFT + width}" y2="{y}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{index * y_step:g}", anchor="end"))
    for index in range(round(x_end / x_step) + 1):
        x, bottom = place(index * x_step, 0)
        parts.append(f'<line x1="{x}" y1="{TOP}" x2="{x}" y2="{bottom}" stroke="#eee"/>')
        parts.append(_text(x, bottom + 18, f"{index * x_step:g}", anchor="middle"))
    parts.append(_text(LEFT + width / 2, HEIGHT - 10, x_label, anchor="middle"))
    parts.append(
        _text(0, 0, y_label, anchor="middle", transform=f"translate(16 {TOP + height / 2}) rotate(-90)")
    )
    for index, (name, points) in enumerate(finite.items()):
        parts += _line(name, [place(*point) for point in points], index)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
    return "\n".join(
        [f'{head} font-size="12">', '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>\n"]
    )


def _line(name: str, places: Points, index: int) -> list[str]:
    colour = COLOURS[index % len(COLOURS)]
    path = " ".join(f"{x},{y}" for x, y in places)
    legend_y = TOP + 10 + 20 * index
    legend_x = WIDTH - RIGHT + 16
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *(f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>' for x, y in places),
        f'<path d="M{legend_x} {legend_y} h18" stroke="{colour}" stroke-width="3"/>',
        _text(legend_x + 24, legend_y + 4, name),
    ]


def _text(x: float, y: float, text: str, **attributes: str) -> str:
    names = {"anchor": "text-anchor", "weight": "font-weight", "transform": "transform"}
    more = "".join(f' {names[key]}="{escape(value)}"' for key, value in attributes.items())
    return f'<text x="{x:g}" y="{y:g}"{more}>{escape(text)}</text>'


def _axis(largest: float) -> tuple[float, float]:
    """Distance of the marks (1, 2 or 5 times a power of ten), and the end of an axis for ``largest``."""
    largest = largest if largest > 0 else 1.0
    power = 10.0 ** math.floor(math.log10(largest / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if largest / (factor * power) <= 6)
    return step, step * math.ceil(largest / step - 1e-9)
