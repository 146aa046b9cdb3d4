"""The report: tables for a terminal, the same with pictures as one HTML file, and all of it as JSON."""

from __future__ import annotations

import base64
import html
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sightline.analysis.event_pairs import PairCounts
from sightline.features.shadow.episode_comparison import ComparedEpisode, ComparedEpisodes
from sightline.features.shadow.promotion_rule import Decision

MAX_ROWS = 20
MAX_PICTURES = 20


@dataclass(frozen=True)
class Table:
    """Rows under a title."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def tables(compared: ComparedEpisodes, decision: Decision) -> list[Table]:
    """What operators ask for first."""
    counted = ("live", "candidate", "agree")
    return [
        Table(
            "Checks",
            ("check", "live", "candidate", "value", "from", "to", "bound", "state"),
            [
                (
                    c.name,
                    c.live,
                    c.candidate,
                    *(f"{v:.1%}" for v in (c.value, c.low, c.high)),
                    c.bound,
                    c.state,
                )
                for c in decision.checks
            ],
        ),
        Table("Windows that differ", ("camera", "window", "class", *counted), _windows(compared.good)),
        Table("Events", ("camera", "kind", "place", "direction", "class", *counted), _events(compared.good)),
        Table(
            "Events that only one saw",
            ("time", "camera", "kind", "place", "class", "by"),
            _differing(compared.good),
        ),
        Table("Boxes", ("what", "live", "candidate"), _boxes(compared.good)),
        Table("Episodes", ("what", "number"), _budget(compared)),
    ]


def as_text(compared: ComparedEpisodes, decision: Decision) -> str:
    """For a terminal."""
    parts = [_headline(compared, decision), *(f"  {reason}" for reason in decision.reasons)]
    for table in tables(compared, decision):
        if table.rows:
            parts += ["", table.title, *_lines(table)]
    shots = pictures(compared.good)
    if shots:
        parts += ["", "Pictures (live left, candidate right; red differs)"]
        parts += [f"  {path}: {what}" for path, what in shots]
    return "\n".join(parts)


def as_html(compared: ComparedEpisodes, decision: Decision) -> str:
    """One file with everything in it."""
    escape = html.escape
    parts = [
        "<!doctype html><meta charset=utf-8><title>Shadow</title>",
        "<style>body{font:15px sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:left}"
        "tr:nth-child(even){background:#eee}img{max-width:100%}</style>",
        f"<h1>{escape(_headline(compared, decision))}</h1>",
        "<ul>" + "".join(f"<li>{escape(reason)}" for reason in decision.reasons) + "</ul>",
    ]
    for table in tables(compared, decision):
        rows = [table.columns, *table.rows]
        cells = ["".join(f"<td>{escape(str(cell))}" for cell in row) for row in rows]
        parts.append(f"<h2>{table.title}</h2><table>" + "".join(f"<tr>{row}" for row in cells) + "</table>")
    parts.append("<h2>Pictures</h2><p>Live at the left, candidate at the right; what differs is red.")
    for path, what in pictures(compared.good):
        data = base64.b64encode(path.read_bytes()).decode()
        parts.append(f'<figure><img src="data:image/jpeg;base64,{data}"><figcaption>{escape(what)}</figure>')
    return "\n".join(parts)


def as_json(compared: ComparedEpisodes, decision: Decision) -> dict[str, Any]:
    """For programs."""
    return {
        "candidate": {"model": compared.model, "version": compared.version},
        "live": {"model": compared.live_model, "version": compared.live_version},
        **asdict(decision),
        "tables": {
            table.title: [dict(zip(table.columns, row, strict=True)) for row in table.rows]
            for table in tables(compared, decision)
        },
        "pictures": [{"file": str(path), "what": what} for path, what in pictures(compared.good)],
    }


def pictures(good: Sequence[ComparedEpisode]) -> list[tuple[Path, str]]:
    """Files of the largest differences that are still there, largest first, and what differs."""
    shots = [(shot["weight"], item, shot) for item in good for shot in item.head.pictures]
    shots.sort(key=lambda shot: -shot[0])
    files = [
        (item.path.with_name(shot["file"]), f"{item.head.camera} {moment(shot['time'])}: {shot['what']}")
        for _, item, shot in shots
    ]
    return [(path, what) for path, what in files if path.is_file()][:MAX_PICTURES]


def moment(time: float) -> str:
    """Epoch seconds for people, UTC."""
    return datetime.fromtimestamp(time, UTC).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")


def _headline(compared: ComparedEpisodes, decision: Decision) -> str:
    candidate = f"{compared.model} ({compared.version or 'never seen'})"
    live = f"{compared.live_model} ({compared.live_version})"
    scope = f"{decision.episodes} episodes, {decision.objects} objects"
    return f"{decision.verdict}: {candidate} beside {live}, {scope}"


def _windows(good: Sequence[ComparedEpisode]) -> list[tuple[Any, ...]]:
    rows = [
        (counts, item.head.camera, start, name)
        for item in good
        for (start, name), counts in item.windows.items()
        if counts.live != counts.candidate
    ]
    rows.sort(key=lambda row: -abs(row[0].live - row[0].candidate))
    return [
        (camera, moment(start), name, counts.live, counts.candidate, counts.both)
        for counts, camera, start, name in rows[:MAX_ROWS]
    ]


def _events(good: Sequence[ComparedEpisode]) -> list[tuple[Any, ...]]:
    totals: defaultdict[tuple[str, ...], PairCounts] = defaultdict(PairCounts)
    for item in good:
        for key, counts in item.events.items():
            totals[key] += counts
    return [(*key, counts.live, counts.candidate, counts.both) for key, counts in sorted(totals.items())]


def _differing(good: Sequence[ComparedEpisode]) -> list[tuple[Any, ...]]:
    rows = [
        (moment(event.event_time), item.head.camera, str(event.kind), event.place, event.item_class, side)
        for item in good
        for side, event in item.differing
    ]
    return sorted(rows)[-MAX_ROWS:]


def _boxes(good: Sequence[ComparedEpisode]) -> list[tuple[Any, ...]]:
    boxes = sum((item.boxes for item in good), PairCounts())
    frames = sum(item.head.frames for item in good)
    if not frames:
        return []
    agreed = 2 * boxes.both / max(boxes.live + boxes.candidate, 1)
    scores = [
        [sum(column) for column in zip(*(item.scores[side] for item in good), strict=True)] for side in (0, 1)
    ]
    rows: list[tuple[Any, ...]] = [
        ("a frame", f"{boxes.live / frames:.3f}", f"{boxes.candidate / frames:.3f}"),
        ("share on which both agree", f"{agreed:.3f}", f"{agreed:.3f}"),
        ("overlap of those", *[f"{sum(item.iou for item in good) / max(boxes.both, 1):.3f}"] * 2),
    ]
    for tenth, pair in enumerate(zip(*scores, strict=True)):
        if any(pair):
            rows.append((f"score {tenth / 10:.1f} to {tenth / 10 + 0.1:.1f}", *pair))
    return rows


def _budget(compared: ComparedEpisodes) -> list[tuple[Any, ...]]:
    frames = sum(item.head.frames for item in compared.good)
    seconds = sum(item.head.seconds for item in compared.good)
    infer_s = sum(item.head.infer_s for item in compared.good)
    rows: list[tuple[Any, ...]] = [
        ("compared", len(compared.good)),
        ("frames in them", frames),
        ("seconds in them", round(seconds, 1)),
        ("candidate, ms a frame", round(infer_s / frames * 1e3, 1) if frames else ""),
        ("void", len(compared.void)),
    ]
    reasons = Counter(head.void for head in compared.void)
    rows += [(f"void: {reason}", number) for reason, number in reasons.most_common(5)]
    return [*rows, ("of other versions, left out", compared.others)]


def _lines(table: Table) -> list[str]:
    rows = [table.columns, *(tuple(str(cell) for cell in row) for row in table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
