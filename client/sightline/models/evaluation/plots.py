"""Curves of several runs, overlaid, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from sightline.models.evaluation.average_precision import F64, IOUS, RECALLS
from sightline.models.evaluation.metrics import CONFIDENCES

STYLES = ("-", "--", ":", "-.")


def _figure(panels: int) -> tuple[Any, Sequence[Any]]:
    """A figure with panels side by side; no window, no global state of pyplot."""
    mpl.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * panels, 4.2), layout="constrained")
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _overlay(axes: Any, x: F64, lines: Mapping[str, Any], x_label: str, y_label: str) -> None:
    """Lines over each other: thinner and dashed on top, so that equal ones are all seen."""
    for place, (label, y) in enumerate(lines.items()):
        width = 1.2 + 2.4 * (len(lines) - 1 - place) / max(len(lines) - 1, 1)
        axes.plot(x, y, STYLES[place % len(STYLES)], linewidth=width, label=label)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(visible=True, alpha=0.3)


def draw_iou(path: Path, levels: Mapping[str, Sequence[float]]) -> None:
    """The mAP at each IoU from 0.5 to 0.95, a line a run."""
    figure, (axes,) = _figure(1)
    _overlay(axes, IOUS, levels, "IoU", "mAP")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def draw_confidence(path: Path, curves: Mapping[str, Mapping[str, F64]]) -> None:
    """Precision, recall and F1 against confidence, three panels, a line a run."""
    figure, panels = _figure(3)
    for axes, name in zip(panels, ("precision", "recall", "f1"), strict=True):
        lines = {label: found[name] for label, found in curves.items()}
        _overlay(axes, CONFIDENCES, lines, "confidence", {"f1": "F1"}.get(name, name))
        axes.set_ylim(0, 1.02)
    panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def draw_precision_recall(path: Path, curves: Mapping[str, F64]) -> None:
    """Precision against recall at IoU 0.5, mean of the classes, a line a run."""
    figure, (axes,) = _figure(1)
    _overlay(axes, RECALLS, curves, "recall", "precision")
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8)
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
