"""The rows of all runs in one table, and what they decide."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sightline.base import machine

#: The ensemble stays the default unless one plan is faster by more than runs differ by.
MARGIN = 1.03
ENOUGH = 0.95  # of the bare engine


def measured_on() -> dict[str, str]:
    """Card, driver, cores and date."""
    return {
        "gpu": machine.gpu("name,driver_version") or "none",
        "machine": machine.describe(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write(folder: Path, about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Path:
    """Add the rows to those of earlier runs; newer ones take the place of the same case and way."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "gpu.json"
    earlier = json.loads(path.read_text())["rows"] if path.is_file() else []
    kept = {(one["case"], one["way"]): one for one in earlier}
    kept |= {(one["case"], one["way"]): {**one, "about": dict(about)} for one in rows}
    whole = list(kept.values())
    path.write_text(json.dumps({"rows": whole}, indent=2, ensure_ascii=False) + "\n")
    page = folder / "gpu.md"
    page.write_text(markdown(whole))
    return page


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """What a person reads, and copies into docs/gpu.md."""
    lines = ["| case | way | frames/s | p50 ms | p99 ms | of the bare engine |", "|---|---|---|---|---|---|"]
    for one in rows:
        if "fps" not in one:
            text = one.get("note") or one.get("problem", "not measured")
            lines.append(f"| {one['case']} | {one['way']} | {text} | | | |")
            continue
        figures = (f"{one['fps']:.1f}", one["p50_ms"], one["p99_ms"], one.get("of_bare", ""))
        lines.append(f"| {one['case']} | {one['way']} | {' | '.join(map(str, figures))} |")
    runs = {json.dumps(one["about"], sort_keys=True): one["about"] for one in rows}
    for about in runs.values():
        dry = ", dry run: no figure of it counts" if about["dry_run"] else ""
        lines.append(f"\n{about['date']}, GPU {about['gpu']}, {about['machine']}{dry}: `{about['command']}`")
    lines += ["", *decide(rows)]
    return "\n".join(lines) + "\n"


def decide(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences that follow from the rows; nothing is said of what was not measured."""
    found = []
    real = [one for one in rows if "fps" in one and not one["about"]["dry_run"]]
    fused, ensemble = (
        max((one["fps"] for one in real if form in one["case"]), default=0.0)
        for form in ("fused", "ensemble")
    )
    if fused and ensemble:
        ratio = fused / ensemble
        default = "fused" if ratio > MARGIN else "ensemble"
        found.append(f"Default form: **{default}**; one plan reaches {ratio:.3f} of the ensemble's rate.")
    for one in real:
        if one["way"] == "video to boxes" and "of_bare" in one:
            verdict = "enough" if one["of_bare"] >= ENOUGH else "too little"
            found.append(f"{one['case']}: the whole path reaches {one['of_bare']} of the engine: {verdict}.")
    return found
