"""The report: tables for a terminal, the same with pictures as one HTML file, and all of it as JSON."""

import base64
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from sightline.analysis.pairing import PairCounts
from sightline.features.shadow.episode_comparison import ComparedEpisode, ComparedEpisodes, collect
from sightline.features.shadow.promotion_rule import Decision, PromotionRule, decide

MAX_ROWS = 20
MAX_PICTURES = 20

Row = tuple[Any, ...]
Table = tuple[tuple[str, ...], Sequence[Row]]  # columns, rows


def tables(compared: ComparedEpisodes, decision: Decision) -> dict[str, Table]:
    """What operators ask for first, by title."""
    good = compared.good
    checks = [
        (c.name, c.live, c.candidate, f"{c.value:.1%}", f"{c.low:.1%}", f"{c.high:.1%}", c.bound, c.state)
        for c in decision.checks
    ]
    windows = [
        (item.head.camera, moment(start), name, counts.live, counts.candidate, counts.both)
        for item in good
        for (start, name), counts in item.windows.items()
        if counts.live != counts.candidate
    ]
    windows.sort(key=lambda row: -abs(row[3] - row[4]))
    events: defaultdict[tuple[str, ...], PairCounts] = defaultdict(PairCounts)
    for item in good:
        for key, counts in item.events.items():
            events[item.head.camera, *key] += counts
    differing = sorted(
        (moment(event.event_time), item.head.camera, str(event.kind), event.place, event.item_class, side)
        for item in good
        for side, event in item.differing
    )
    counted = ("live", "candidate", "agree")
    return {
        "Checks": (("check", "live", "candidate", "value", "from", "to", "bound", "state"), checks),
        "Windows that differ": (("camera", "window", "class", *counted), windows[:MAX_ROWS]),
        "Events": (
            ("camera", "kind", "place", "direction", "class", *counted),
            [(*key, counts.live, counts.candidate, counts.both) for key, counts in sorted(events.items())],
        ),
        "Events that only one saw": (
            ("time", "camera", "kind", "place", "class", "by"),
            differing[-MAX_ROWS:],
        ),
        "Boxes": (("what", "live", "candidate"), _boxes(good)),
        "Episodes": (("what", "number"), _budget(compared)),
    }


def as_text(compared: ComparedEpisodes, decision: Decision) -> str:
    """For a terminal."""
    parts = [_headline(compared, decision), *(f"  {reason}" for reason in decision.reasons)]
    for title, (columns, rows) in tables(compared, decision).items():
        cells = [[str(cell) for cell in row] for row in (columns, *rows)]
        widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
        if rows:
            parts += ["", title]
            parts += ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    shots = [f"  {path}: {what}" for path, what in pictures(compared.good)]
    parts += ["", "Pictures (live left, candidate right; red differs)", *shots] if shots else []
    return "\n".join(parts)


def as_html(compared: ComparedEpisodes, decision: Decision) -> str:
    """One file with everything in it."""
    parts = [
        "<!doctype html><meta charset=utf-8><title>Shadow</title>",
        "<style>body{font:15px sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:left}"
        "tr:nth-child(even){background:#eee}img{max-width:100%}</style>",
        f"<h1>{escape(_headline(compared, decision))}</h1>",
        "<ul>" + "".join(f"<li>{escape(reason)}" for reason in decision.reasons) + "</ul>",
    ]
    for title, (columns, rows) in tables(compared, decision).items():
        cells = ["".join(f"<td>{escape(str(cell))}" for cell in row) for row in (columns, *rows)]
        parts.append(f"<h2>{title}</h2><table>" + "".join(f"<tr>{row}" for row in cells) + "</table>")
    parts.append("<h2>Pictures</h2><p>Live at the left, candidate at the right; what differs is red.")
    for path, what in pictures(compared.good):
        data = base64.b64encode(path.read_bytes()).decode()
        parts.append(f'<figure><img src="data:image/jpeg;base64,{data}"><figcaption>{escape(what)}</figure>')
    return "\n".join(parts)


def as_json(compared: ComparedEpisodes, decision: Decision) -> dict[str, Any]:
    """For programs."""
    newest = compared.newest
    return {
        "candidate": {"model": newest.candidate_model, "version": newest.candidate_version},
        "live": {"model": newest.live_model, "version": newest.live_version},
        **asdict(decision),
        "tables": {
            title: [dict(zip(columns, row, strict=True)) for row in rows]
            for title, (columns, rows) in tables(compared, decision).items()
        },
        "pictures": [{"file": str(path), "what": what} for path, what in pictures(compared.good)],
    }


def report_of(folder: Path, model: str) -> dict[str, Any]:
    """The same of a candidate's newest episodes, by the stated rule.

    Raises:
        ShadowError: there is none, or one cannot be read.
    """
    compared = collect(folder, model)
    return as_json(compared, decide(compared, PromotionRule()))


def pictures(good: Sequence[ComparedEpisode]) -> list[tuple[Path, str]]:
    """Files of the largest differences that are still there, largest first, and what differs."""
    shots = [(item, shot) for item in good for shot in item.head.pictures]
    shots.sort(key=lambda shot: -shot[1]["weight"])
    return [
        (path, f"{item.head.camera} {moment(shot['time'])}: {shot['what']}")
        for item, shot in shots
        if (path := item.path.with_name(shot["file"])).is_file()
    ][:MAX_PICTURES]


def moment(time: float) -> str:
    """Epoch seconds for people, UTC."""
    return datetime.fromtimestamp(time, UTC).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")


def _headline(compared: ComparedEpisodes, decision: Decision) -> str:
    newest = compared.newest
    candidate = f"{newest.candidate_model} ({newest.candidate_version or 'never seen'})"
    live = f"{newest.live_model} ({newest.live_version})"
    scope = f"{decision.episodes} episodes, {decision.objects} objects"
    return f"{decision.verdict}: {candidate} beside {live}, {scope}"


def _boxes(good: Sequence[ComparedEpisode]) -> list[Row]:
    boxes = sum((item.boxes for item in good), PairCounts())
    if not (frames := sum(item.head.frames for item in good)):
        return []
    agreed = f"{2 * boxes.both / max(boxes.live + boxes.candidate, 1):.3f}"
    iou = f"{sum(item.iou for item in good) / max(boxes.both, 1):.3f}"
    scores = enumerate(np.sum([item.scores for item in good], axis=0).T.tolist())
    return [
        ("a frame", f"{boxes.live / frames:.3f}", f"{boxes.candidate / frames:.3f}"),
        ("share on which both agree", agreed, agreed),
        ("overlap of those", iou, iou),
        *((f"score {i / 10:.1f} to {i / 10 + 0.1:.1f}", *pair) for i, pair in scores if any(pair)),
    ]


def _budget(compared: ComparedEpisodes) -> list[Row]:
    heads = [item.head for item in compared.good]
    frames = sum(head.frames for head in heads)
    infer_s = sum(head.infer_s for head in heads)
    reasons = Counter(head.void for head in compared.void)
    return [
        ("compared", len(heads)),
        ("frames in them", frames),
        ("seconds in them", round(sum(head.seconds for head in heads), 1)),
        ("candidate, ms a frame", round(infer_s / frames * 1e3, 1) if frames else ""),
        ("void", len(compared.void)),
        *((f"void: {reason}", number) for reason, number in reasons.most_common(5)),
        ("of other versions, left out", compared.others),
    ]
