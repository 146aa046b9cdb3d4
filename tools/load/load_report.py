"""What is kept of a load test: Markdown for people, JSON for programs, CSV for tables, SVG for the eye."""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from load.bound import Bracket
from load.measured import PERCENTILES, Measured
from sightline.base.machine import describe

LEGEND = (
    "Times are milliseconds as the client sees them; `in the queue` is the server's own mean.",
    "`steady` gives the largest ÷ smallest of five windows, the worse of rate and mean latency.",
    "An unstable level is what was measured, not what holds.",
)
_COLUMNS = ("transport", "kind", "value", "requests", "throughput", "mean_ms")


def machine(cpus: frozenset[int] | None = None) -> str:
    """The machine in one line."""
    text = describe()
    return text if cpus is None else f"{text}; the server on core {','.join(map(str, sorted(cpus)))}"


def now() -> str:
    """The time in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write(folder: Path, about: Mapping[str, Any], found: Sequence[Measured], bracket: Bracket | None) -> Path:
    """Write ``report.md``, ``report.json``, ``report.csv`` and ``latency.svg``; the Markdown's path."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {
        "about": dict(about),
        "measured": [item.as_json() for item in found],
        "bracket": bracket
        and {"text": str(bracket), "holds": bracket.holds, "fails": bracket.fails}
        | {"bound_ms": bracket.bound_ms, "tried": [item.as_json() for item in bracket.tried]},
    }
    (folder / "report.json").write_text(json.dumps(whole, indent=2) + "\n")
    everything = [*found, *(bracket.tried if bracket else ())]
    (folder / "report.csv").write_text(as_csv(everything))
    (folder / "latency.svg").write_text(chart(everything))
    path = folder / "report.md"
    path.write_text(as_markdown(about, found, bracket))
    return path


def as_csv(found: Iterable[Measured]) -> str:
    """One row a measurement."""
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    percentiles = [f"p{p}" for p in PERCENTILES]
    rows.writerow([*_COLUMNS, *(f"{name}_ms" for name in percentiles), "stable", "spread", "problem"])
    for item in found:
        times = [(item.percentiles_ms or {}).get(name, "") for name in percentiles]
        asked = (item.transport, item.level.kind, f"{item.level.value:g}")
        measured = (item.requests, item.throughput, item.mean_ms, *times)
        rows.writerow([*asked, *measured, item.stable, item.spread, item.problem])
    return text.getvalue()


def chart(found: Iterable[Measured]) -> str:
    """Latency against throughput, a line for each transport and kind of load."""
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for item in sorted((item for item in found if not item.problem), key=lambda item: item.level.value):
        for name in ("p50", "p99"):
            label = f"{item.transport}, {item.level.kind}, {name}"
            lines[label].append((item.throughput, (item.percentiles_ms or {})[name]))
    return line_chart("Latency against throughput", "frames a second", "latency (ms)", lines)


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


def as_markdown(about: Mapping[str, Any], found: Sequence[Measured], bracket: Bracket | None) -> str:
    """The report."""
    lines = ["# Load of the served detector", "", *(f"- {key}: {value}" for key, value in about.items()), ""]
    if found:
        lines += [*table(found), ""]
    if bracket:
        lines += ["## Highest rate under the bound", "", f"{bracket}.", "", *table(bracket.tried), ""]
    lines += ["![latency against throughput](latency.svg)", "", *LEGEND, ""]
    return "\n".join(lines)


def table(found: Iterable[Measured]) -> list[str]:
    """A Markdown table."""
    lines = [
        "| transport | asked | frames/s | p50 | p90 | p95 | p99 | in the queue | requests | steady |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    return lines + [_row(item) for item in found]


def _row(item: Measured) -> str:
    if item.problem:
        return f"| {item.transport} | {item.level} | {item.problem} | | | | | | | no |"
    times = " | ".join(f"{(item.percentiles_ms or {})[f'p{p}']:.1f}" for p in PERCENTILES)
    steady = f"yes ({item.spread:.2f})" if item.stable else f"**unstable ({item.spread:.2f})**"
    queue = f"{(item.server or {}).get('queue', 0):.1f}"
    rate = f"{item.throughput:.1f}"
    return f"| {item.transport} | {item.level} | {rate} | {times} | {queue} | {item.requests} | {steady} |"
