"""A report on disk: ``report.md``, ``report.json``, and the plots beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sightline.base import machine
from sightline.models.evaluation import plots
from sightline.models.evaluation.average_precision import IOUS, RECALLS
from sightline.models.evaluation.metrics import CONFIDENCES

#: Classes in the table of differences; the JSON has all.
MAX_CLASSES = 15


def write(folder: Path, comparison: Mapping[str, Any], command: str) -> Path:
    """Write everything about one comparison on a labelled set; gives the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = comparison["runs"]
    labels = [run["label"] for run in runs]
    curves = {run["label"]: {key: np.array(line) for key, line in run["curves"].items()} for run in runs}

    def of_runs(name: str) -> dict[str, Any]:
        return {label: curves[label][name] for label in labels}

    levels = {"mAP": {run["label"]: run["map_at"] for run in runs}}
    plots.draw_lines(folder / "map-by-iou.png", IOUS, levels, "IoU", top=None)
    confidence = {"precision": of_runs("precision"), "recall": of_runs("recall"), "F1": of_runs("f1")}
    plots.draw_lines(folder / "confidence.png", CONFIDENCES, confidence, "confidence")
    recall = {"precision": of_runs("precision_at_recall")}
    plots.draw_lines(folder / "precision-recall.png", RECALLS, recall, "recall")
    lines = [
        f"# Accuracy on {comparison['data']}",
        "",
        f"{comparison['images']} pictures, {comparison['date']}, {machine.describe()}. Command: `{command}`",
        "",
        *main_table(runs),
        *differences_table(comparison),
        "## Curves",
        "",
        "![mAP at each IoU](map-by-iou.png)",
        "![precision, recall and F1 against confidence, IoU 0.5, all classes together](confidence.png)",
        "![precision against recall, IoU 0.5, mean of the classes](precision-recall.png)",
        "",
        *iou_table(runs),
        *class_table(comparison),
        "## What was run",
        "",
        *(f"- **{run['label']}**: {run['model']}, {_sides(run['network'])}; {run['what']}." for run in runs),
        *(f"- **{label}** was not run: {why}." for label, why in comparison["not_run"].items()),
    ]
    return save(folder, {**comparison, "command": command, "machine": machine.describe()}, lines)


def save(folder: Path, comparison: Mapping[str, Any], lines: Sequence[str]) -> Path:
    """Write ``report.json`` and ``report.md``; gives the latter's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(comparison, indent=1) + "\n")
    path = folder / "report.md"
    path.write_text("\n".join(lines) + "\n")
    return path


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table and an empty line; the columns after the first are numbers."""
    return [
        f"| {' | '.join(head)} |",
        f"|---|{'---:|' * (len(head) - 1)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]


def main_table(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line a run."""
    head = ["", "mAP50-95", "mAP50", "mAP75", "best F1 (at confidence)", "MB", "ms a picture"]
    rows = []
    for run in runs:
        best = run["best_f1"]
        size = f"{run['bytes'] / 1e6:.1f}" if run["bytes"] else "?"
        figures = [f"{run[key]:.4f}" for key in ("map50_95", "map50", "map75")]
        f1 = f"{best['f1']:.3f} ({best['confidence']:.3f})"
        rows.append([run["label"], *figures, f1, size, f"{run['ms']:.1f}"])
    return table(head, rows)


def differences_table(comparison: Mapping[str, Any]) -> list[str]:
    """Every other run against the first, with intervals."""
    if not comparison["differences"]:
        return []
    rows = [
        [
            label,
            *(f"{part['value']:+.4f} ({part['low']:+.4f} to {part['high']:+.4f})" for part in two.values()),
        ]
        for label, two in comparison["differences"].items()
    ]
    note = (
        f"In brackets the middle 95 % of {comparison['draws']} paired bootstrap draws over the pictures; "
        "an interval that holds 0 says that this set cannot tell the two apart."
    )
    head = [f"against {comparison['compared_with']}", "mAP50-95", "mAP50"]
    return ["## Differences", "", *table(head, rows), note, ""]


def iou_table(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The mAP at each IoU."""
    head = ["mAP at IoU", *(f"{0.5 + 0.05 * level:.2f}" for level in range(10))]
    return table(head, [[run["label"], *(f"{value:.3f}" for value in run["map_at"])] for run in runs])


def class_table(comparison: Mapping[str, Any]) -> list[str]:
    """AP50-95 by class: where the runs differ most, or the first ones when there is one run."""
    runs = comparison["runs"]
    names = sorted({name for run in runs for name in run["per_class"]})
    values = {name: [run["per_class"].get(name, (0.0, 0.0))[0] for run in runs] for name in names}
    names.sort(key=lambda name: min(values[name]) - max(values[name]))
    shown = names[:MAX_CLASSES]
    note = f"The {len(shown)} classes of {len(names)} that differ most; all are in `report.json`."
    head = ["AP50-95 of a class", *(run["label"] for run in runs)]
    rows = [[name, *(f"{value:.3f}" for value in values[name])] for name in shown]
    return ["## Classes", "", *table(head, rows), note, ""]


def _sides(network: Sequence[int]) -> str:
    return f"{network[0]}x{network[1]}"
