"""Versions of the served network: list, show, verify, load beside, switch, roll back, retire.

    python tools/versions.py list
    python tools/versions.py switch 3 --why "trained on night scenes"
    python tools/versions.py rollback

A version is verified, loaded beside the one that serves and asked for boxes before it may serve; whatever
fails, the old one goes on. Every operation is recorded in the repository. See docs/versions.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import audit
import repository
from control import Control, ControlError
from detectors import DETECTOR, beside
from operations import Versions
from repository import RepositoryError

URL = "127.0.0.1:8001"
SHADOW_NICE = 19


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did what was asked."""
    given = build_parser().parse_args(arguments)
    run: Callable[[Versions, argparse.Namespace], int] = given.run
    try:
        if given.offline:
            return run(Versions(given.repository, None, getattr(given, "why", "")), given)
        with Control(given.url) as control:
            return run(Versions(given.repository, control, getattr(given, "why", "")), given)
    except (RepositoryError, ControlError, OSError) as error:
        looks = isinstance(error, ControlError) and not hasattr(given, "why")
        hint = "; --offline looks at the files alone" if looks else ""
        print(f"versions: {error}{hint}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    common = argparse.ArgumentParser(add_help=False)
    folder = Path(os.environ.get("SIGHTLINE_MODEL_REPOSITORY", repository.SKELETON))
    common.add_argument("--repository", type=Path, default=folder, help="default: %(default)s")
    url = os.environ.get("SIGHTLINE_TRITON_URL", URL)
    common.add_argument("--url", default=url, help="Triton's gRPC (default: %(default)s)")
    common.add_argument("--offline", action="store_true", help="look at the files alone, ask no Triton")
    common.add_argument("--json", action="store_true", help="print JSON")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="tools/versions.py"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(
        name: str, run: Callable[[Versions, argparse.Namespace], int], text: str, *, writes: bool = True
    ) -> Any:
        command = commands.add_parser(
            name, parents=[common], help=text, description=f"{text[0].upper()}{text[1:]}."
        )
        command.set_defaults(run=run)
        if writes:
            command.add_argument("--why", default="", help="a sentence for the audit trail")
        return command

    def add_for_version(
        name: str, run: Callable[[Versions, argparse.Namespace], int], text: str, **options: Any
    ) -> Any:
        command = add(name, run, text, **options)
        command.add_argument("version", type=int, help="number of the version")
        return command

    add("list", _list, "what versions there are and which serve", writes=False)
    add_for_version("show", _show, "everything about one version", writes=False)
    add_for_version("verify", _verify, "check hashes, classes and shapes of a version, and run it once")
    load = add_for_version("load", _load, "serve a version beside the detectors, as detector-N")
    load.add_argument(
        "--shadow", action="store_true", help="on the CPU its process gives way to all others (nice 19)"
    )
    add_for_version("unload", _unload, "end serving it there")
    switch = add_for_version("switch", _switch, "let a detector serve this version")
    rollback = add("rollback", _rollback, "let a detector serve the version that it served before")
    for command in (switch, rollback):
        command.add_argument(
            "--detector", default=DETECTOR, help="default: %(default)s; switch makes new ones"
        )
    add("remove", _remove, "unload and forget a detector that a switch made").add_argument("detector")
    retire = add_for_version("retire", _retire, "take a version out of service for good")
    retire.add_argument("--delete", action="store_true", help="delete its weights; the manifest stays")
    add_for_version("restore", _restore, "take a retired version back")
    log = add("log", _log, "the audit trail", writes=False)
    log.add_argument("--last", type=int, default=20, help="lines to show (default: %(default)s)")
    return parser


def _say(given: argparse.Namespace, found: Any, text: str) -> int:
    print(json.dumps(found, indent=2, ensure_ascii=False) if given.json else text)
    return 0


def _list(versions: Versions, given: argparse.Namespace) -> int:
    found = versions.overview()
    columns = ("version", "model_version", "size", "classes", "precision", "exported_at")
    rows = [[*columns, "state"]]
    rows += [[*(str(item.get(key, "")) for key in columns), ", ".join(item["state"])] for item in found]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return _say(given, found, "\n".join(lines))


def _show(versions: Versions, given: argparse.Namespace) -> int:
    found = versions.show(given.version)
    lines = [
        f"{key}: {value if isinstance(value, str) else json.dumps(value)}" for key, value in found.items()
    ]
    history = [_line(entry) for entry in found["history"]]
    return _say(given, found, "\n".join([*lines[:-1], "history:", *(f"  {line}" for line in history)]))


def _verify(versions: Versions, given: argparse.Namespace) -> int:
    found = versions.verify(given.version)
    text = "\n".join(found) or f"version {given.version} is good"
    _say(given, {"version": given.version, "problems": found}, text)
    return 1 if found else 0


def _load(versions: Versions, given: argparse.Namespace) -> int:
    versions.load(given.version, nice=SHADOW_NICE if given.shadow else 0)
    name = beside(given.version)
    return _say(given, {"version": given.version, "model": name}, f"version {given.version} serves as {name}")


def _unload(versions: Versions, given: argparse.Namespace) -> int:
    versions.unload(given.version)
    return _say(given, {"version": given.version}, f"{beside(given.version)} is gone")


def _switch(versions: Versions, given: argparse.Namespace) -> int:
    previous = versions.switch(given.version, given.detector)
    found = {"detector": given.detector, "version": given.version, "previous": previous}
    return _say(given, found, f"{given.detector} serves version {given.version}, after {previous or 'none'}")


def _rollback(versions: Versions, given: argparse.Namespace) -> int:
    version = versions.rollback(given.detector)
    found = {"detector": given.detector, "version": version}
    return _say(given, found, f"{given.detector} serves version {version} again")


def _remove(versions: Versions, given: argparse.Namespace) -> int:
    versions.remove(given.detector)
    return _say(given, {"detector": given.detector}, f"{given.detector} is gone")


def _retire(versions: Versions, given: argparse.Namespace) -> int:
    versions.retire(given.version, delete=given.delete)
    return _say(given, {"version": given.version}, f"version {given.version} is retired")


def _restore(versions: Versions, given: argparse.Namespace) -> int:
    versions.restore(given.version)
    return _say(given, {"version": given.version}, f"version {given.version} is back; it does not serve yet")


def _log(versions: Versions, given: argparse.Namespace) -> int:
    found = audit.read(versions.folder)[-given.last :]
    return _say(given, found, "\n".join(_line(entry) for entry in found))


def _line(entry: dict[str, Any]) -> str:
    """One line of the trail for people."""
    who = f"{entry.get('operator', entry.get('user', '?'))}@{entry.get('host', '?')}"
    what = " ".join(str(entry[key]) for key in ("action", "detector", "version") if key in entry)
    more = "; ".join(str(entry[key]) for key in ("reason", "problems", "why") if key in entry)
    result = f"{entry.get('result', '?')} ({more})" if more else entry.get("result", "?")
    return f"{entry.get('time', '?'):29}  {who}  {what}: {result}"


if __name__ == "__main__":
    sys.exit(main())
