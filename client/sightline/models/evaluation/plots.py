"""Curves of several runs, overlaid, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from sightline.models.evaluation.average_precision import F64

STYLES = ("-", "--", ":", "-.")


def _figure(panels: int) -> tuple[Any, Sequence[Any]]:
    """A figure with panels side by side; no window, no global state of pyplot."""
    mpl.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * panels, 4.2), layout="constrained")
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def draw_lines(
    path: Path, x: F64, panels: Mapping[str, Mapping[str, Any]], x_label: str, top: float | None = 1.02
) -> None:
    """Panels side by side, a line a run in each.

    Args:
        path: the PNG file.
        x: of every line.
        panels: label of the y axis → run → y.
        x_label: of the x axis.
        top: of the y axis; None: what the lines need.
    """
    figure, all_axes = _figure(len(panels))
    for axes, (y_label, lines) in zip(all_axes, panels.items(), strict=True):
        for place, (label, y) in enumerate(lines.items()):  # thinner and dashed on top: equal ones are seen
            width = 1.2 + 2.4 * (len(lines) - 1 - place) / max(len(lines) - 1, 1)
            axes.plot(x, y, STYLES[place % len(STYLES)], linewidth=width, label=label)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(visible=True, alpha=0.3)
        axes.set_ylim(0, top)
    all_axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def draw_counts(path: Path, counts: Mapping[str, Mapping[str, int]]) -> None:
    """Counts by class, a bar a model; ``counts`` is model → class → count."""
    names = sorted({name for found in counts.values() for name in found})
    figure, (axes,) = _figure(1)
    places = np.arange(len(names))
    width = 0.8 / max(len(counts), 1)
    for place, (label, found) in enumerate(counts.items()):
        axes.bar(places + place * width, [found.get(name, 0) for name in names], width, label=label)
    axes.set_xticks(places + 0.4 - width / 2, names, rotation=60, ha="right", fontsize=8)
    axes.set_ylabel("tracks counted")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
