"""What the reports of all tools have in common: command, date and machine, tables, the two files."""

import json
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sightline.base import machine


def about_run(
    program: str, arguments: Sequence[str] | None, cpus: Iterable[int] | None = None
) -> dict[str, str]:
    """What a report says of itself: command, date, machine."""
    given = sys.argv[1:] if arguments is None else arguments
    where = f"; the server on core {','.join(map(str, sorted(cpus)))}" if cpus else ""
    return {
        "command": shlex.join(["python", f"tools/{program}", *given]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe() + where,
    }


def markdown_table(head: Sequence[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = (f"| {' | '.join(map(str, row))} |" for row in (head, *rows))
    return [next(lines), "|" + "---|" * len(head), *lines]


def write_report(
    folder: Path,
    name: str,
    title: str,
    about: Mapping[str, str],
    report: Mapping[str, Any],
    body: Iterable[str],
) -> str:
    """Write ``<name>.json`` and ``<name>.md``, both with what the run says of itself; gives the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"about": about, **report}, indent=2) + "\n")
    text = "\n".join([f"# {title}", "", *(f"- {key}: {said}" for key, said in about.items()), "", *body, ""])
    (folder / f"{name}.md").write_text(text)
    return text
