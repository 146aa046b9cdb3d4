"""A report on disk: ``report.md``, ``report.json``, and the plots beside them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sightline.base import machine
from sightline.models.evaluation.average_precision import CONFIDENCES, F64, IOUS, RECALLS

#: Classes in the table of differences; the JSON has all.
MAX_CLASSES = 15
STYLES = ("-", "--", ":", "-.")


def write(folder: Path, comparison: Mapping[str, Any], command: str) -> Path:
    """Write everything about one comparison on a labelled set; gives the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = comparison["runs"]

    def curves(**names: str) -> dict[str, dict[str, Any]]:
        return {axis: {run["label"]: run["curves"][key] for run in runs} for axis, key in names.items()}

    levels = {"mAP": {run["label"]: run["map_at"] for run in runs}}
    draw_lines(folder / "map-by-iou.png", IOUS, levels, "IoU", top=None)
    confidence = curves(precision="precision", recall="recall", F1="f1")
    draw_lines(folder / "confidence.png", CONFIDENCES, confidence, "confidence")
    draw_lines(folder / "precision-recall.png", RECALLS, curves(precision="precision_at_recall"), "recall")
    blocks = [
        f"# Accuracy on {comparison['data']}",
        f"{comparison['images']} pictures, {comparison['date']}, {machine.describe()}. Command: `{command}`",
        *_tables(comparison),
        "## What was run",
        *(
            f"- **{run['label']}**: {run['model']}, {'x'.join(map(str, run['network']))}; {run['what']}."
            for run in runs
        ),
        *(f"- **{label}** was not run: {why}." for label, why in comparison["not_run"].items()),
    ]
    return save(folder, {**comparison, "command": command, "machine": machine.describe()}, blocks)


def _tables(comparison: Mapping[str, Any]) -> list[str]:
    """The figures of each run, every other run against the first, and the classes where runs differ most."""
    runs, differences = comparison["runs"], comparison["differences"]
    labels = [run["label"] for run in runs]
    main = [
        [
            run["label"],
            *(f"{run[key]:.4f}" for key in ("map50_95", "map50", "map75")),
            f"{run['best_f1']['f1']:.3f} ({run['best_f1']['confidence']:.3f})",
            f"{run['bytes'] / 1e6:.1f}" if run["bytes"] else "?",
            f"{run['ms']:.1f}",
        ]
        for run in runs
    ]
    against = [
        [label, *(f"{one['value']:+.4f} ({one['low']:+.4f} to {one['high']:+.4f})" for one in two.values())]
        for label, two in differences.items()
    ]
    by_iou = [[run["label"], *(f"{value:.3f}" for value in run["map_at"])] for run in runs]
    names = sorted({name for run in runs for name in run["per_class"]})
    values = {name: [run["per_class"].get(name, (0.0, 0.0))[0] for run in runs] for name in names}
    shown = sorted(names, key=lambda name: min(values[name]) - max(values[name]))[:MAX_CLASSES]
    by_class = [[name, *(f"{value:.3f}" for value in values[name])] for name in shown]
    figures = ["mAP50-95", "mAP50", "mAP75", "best F1 (at confidence)", "MB", "ms a picture"]
    compared = [
        "## Differences",
        table([f"against {comparison['compared_with']}", "mAP50-95", "mAP50"], against),
        f"In brackets the middle 95 % of {comparison['draws']} paired bootstrap draws over the pictures; "
        "an interval that holds 0 says that this set cannot tell the two apart.",
    ]
    return [
        table(["", *figures], main),
        *(compared if differences else ()),
        "## Curves",
        "![mAP at each IoU](map-by-iou.png)",
        "![precision, recall and F1 against confidence, IoU 0.5, all classes together](confidence.png)",
        "![precision against recall, IoU 0.5, mean of the classes](precision-recall.png)",
        table(["mAP at IoU", *(f"{iou:.2f}" for iou in IOUS)], by_iou),
        "## Classes",
        table(["AP50-95 of a class", *labels], by_class),
        f"The {len(shown)} classes of {len(names)} that differ most; all are in `report.json`.",
    ]


def save(folder: Path, comparison: Mapping[str, Any], blocks: Iterable[str]) -> Path:
    """Write ``report.json`` and, with an empty line between the blocks, ``report.md``; gives its path."""
    (folder / "report.json").write_text(json.dumps(comparison, indent=1) + "\n")
    path = folder / "report.md"
    path.write_text("\n\n".join(blocks) + "\n")
    return path


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the columns after the first are numbers."""
    ruler = f"|---|{'---:|' * (len(head) - 1)}"
    return "\n".join([f"| {' | '.join(head)} |", ruler, *(f"| {' | '.join(row)} |" for row in rows)])


def _panels(count: int) -> tuple[Figure, Sequence[Any]]:
    """A figure with panels side by side; no window, no global state of pyplot."""
    figure = Figure(figsize=(5.2 * count, 4.2), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0]


def draw_lines(
    path: Path, x: F64, panels: Mapping[str, Mapping[str, Any]], x_label: str, top: float | None = 1.02
) -> None:
    """Panels (label of the y axis → run → y) side by side; a ``top`` of None is what the lines need."""
    figure, all_axes = _panels(len(panels))
    for axes, (y_label, lines) in zip(all_axes, panels.items(), strict=True):
        for place, (label, y) in enumerate(lines.items()):  # thinner and dashed on top: equal ones are seen
            width = 1.2 + 2.4 * (len(lines) - 1 - place) / max(len(lines) - 1, 1)
            axes.plot(x, y, STYLES[place % len(STYLES)], linewidth=width, label=label)
        axes.set(xlabel=x_label, ylabel=y_label, ylim=(0, top))
        axes.grid(visible=True, alpha=0.3)
    all_axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def draw_counts(path: Path, labels: Sequence[str], totals: Mapping[str, Sequence[int]]) -> None:
    """Counts by class, a bar a model; ``totals`` is class → the count of each model."""
    figure, (axes,) = _panels(1)
    places, width = np.arange(len(totals)), 0.8 / len(labels)
    for place, label in enumerate(labels):
        counts = [counted[place] for counted in totals.values()]
        axes.bar(places + place * width, counts, width, label=label)
    axes.set_xticks(places + 0.4 - width / 2, list(totals), rotation=60, ha="right", fontsize=8)
    axes.set_ylabel("tracks counted")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
