"""``sightline model list … log``: versions of the served network.

A version is verified, loaded beside the one that serves and asked for boxes before it may serve; whatever
fails, the old one goes on. Every operation is recorded in the repository.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.cli.extras import needs_models
from sightline.errors import AdminError
from sightline.models.registry.detectors import TRITON_URL
from sightline.serving.model_configs import DETECTOR

if TYPE_CHECKING:
    from sightline.models.registry.operations import Versions

Operation = Callable[["Versions", argparse.Namespace], tuple[Any, str]]  # what was done: for JSON, and a line

SHADOW_NICE = 19


def add_to(parts: Any) -> None:
    """Add the commands to the parser's subcommands."""
    common = argparse.ArgumentParser(add_help=False)
    folder = Path(os.environ.get("SIGHTLINE_MODEL_REPOSITORY", "model_repository"))
    common.add_argument("--repository", type=Path, default=folder, help="default: %(default)s")
    url = os.environ.get("SIGHTLINE_TRITON_URL", TRITON_URL)
    common.add_argument("--url", default=url, help="Triton's gRPC (default: %(default)s)")
    common.add_argument("--offline", action="store_true", help="look at the files alone, ask no Triton")
    common.add_argument("--json", action="store_true", help="print JSON")

    def add(name: str, operation: Operation, text: str, *arguments: str, looks: bool = False) -> Any:
        parser = parts.add_parser(
            name, parents=[common], help=text, description=f"{text[0].upper()}{text[1:]}."
        )
        parser.set_defaults(command=needs_models(functools.partial(_run, operation)))
        if not looks:
            parser.add_argument("--why", default="", help="a sentence for the audit trail")
        for argument in arguments:
            kind = int if argument == "version" else str
            parser.add_argument(argument, type=kind, help=f"{'number' if kind is int else 'name'} of it")
        return parser

    add("list", _list, "what versions there are and which serve", looks=True)
    add("show", _show, "everything about one version", "version", looks=True)
    add("verify", _verify, "check hashes, classes and shapes of a version, and run it once", "version")
    add("load", _load, "serve a version beside the detectors, as detector-N", "version").add_argument(
        "--shadow", action="store_true", help="on the CPU its process gives way to all others (nice 19)"
    )
    add("unload", _unload, "end serving a version beside the detectors", "version")
    switch = add("switch", _switch, "let a detector serve this version", "version")
    rollback = add("rollback", _rollback, "let a detector serve the version that it served before")
    for parser in (switch, rollback):
        parser.add_argument(
            "--detector", default=DETECTOR, help="default: %(default)s; switch makes new ones"
        )
    add("remove", _remove, "unload and forget a detector that a switch made", "detector")
    add("retire", _retire, "take a version out of service for good", "version").add_argument(
        "--delete", action="store_true", help="delete its weights; the manifest stays"
    )
    add("restore", _restore, "take a retired version back", "version")
    add("log", _log, "the audit trail", looks=True).add_argument(
        "--last", type=int, default=20, help="lines to show (default: %(default)s)"
    )


def _run(operation: Operation, arguments: argparse.Namespace) -> int:
    from sightline.models.registry.operations import Versions
    from sightline.models.registry.triton_admin import TritonAdmin

    why = getattr(arguments, "why", "")
    try:
        if arguments.offline:
            done, text = operation(Versions(arguments.repository, None, why), arguments)
        else:
            with TritonAdmin(arguments.url) as admin:
                done, text = operation(Versions(arguments.repository, admin, why), arguments)
    except AdminError as error:
        if hasattr(arguments, "why"):
            raise
        raise AdminError(f"{error}; --offline looks at the files alone") from error
    print(json.dumps(done, indent=2, ensure_ascii=False) if arguments.json else text)
    return 1 if isinstance(done, dict) and done.get("problems") else 0


def _list(versions: Versions, _: argparse.Namespace) -> tuple[Any, str]:
    listed = versions.overview()
    columns = ("version", "model_version", "size", "classes", "precision", "exported_at")
    rows = [[*columns, "state"]]
    rows += [[*(str(item.get(key, "")) for key in columns), ", ".join(item["state"])] for item in listed]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
    return listed, "\n".join(lines)


def _show(versions: Versions, arguments: argparse.Namespace) -> tuple[Any, str]:
    shown = versions.show(arguments.version)
    lines = [
        f"{key}: {value if isinstance(value, str) else json.dumps(value)}"
        for key, value in shown.items()
        if key != "history"
    ]
    return shown, "\n".join([*lines, "history:", *(f"  {_line(entry)}" for entry in shown["history"])])


def _verify(versions: Versions, arguments: argparse.Namespace) -> tuple[Any, str]:
    problems = versions.verify(arguments.version)
    text = "\n".join(problems) or f"version {arguments.version} is good"
    return {"version": arguments.version, "problems": problems}, text


def _load(versions: Versions, arguments: argparse.Namespace) -> tuple[Any, str]:
    name = versions.load(arguments.version, nice=SHADOW_NICE if arguments.shadow else 0)
    return {"version": arguments.version, "model": name}, f"version {arguments.version} serves as {name}"


def _unload(versions: Versions, arguments: argparse.Namespace) -> tuple[Any, str]:
    versions.unload(arguments.version)
    return {"version": arguments.version}, f"version {arguments.version} does not serve beside any more"


def _switch(versions: Versions, arguments: argparse.Namespace) -> tuple[Any, str]:
    name, version = arguments.detector, arguments.version
    previous = versions.switch(version, name)
    done = {"detector": name, "version": version, "previous": previous}
    return done, f"{name} serves version {version}, after {previous or 'none'}"


def _rollback(versions: Versions, arguments: argparse.Namespace) -> tuple[Any, str]:
    name = arguments.detector
    version = versions.rollback(name)
    return {"detector": name, "version": version}, f"{name} serves version {version} again"


def _remove(versions: Versions, arguments: argparse.Namespace) -> tuple[Any, str]:
    versions.remove(arguments.detector)
    return {"detector": arguments.detector}, f"{arguments.detector} is gone"


def _retire(versions: Versions, arguments: argparse.Namespace) -> tuple[Any, str]:
    versions.retire(arguments.version, delete=arguments.delete)
    return {"version": arguments.version}, f"version {arguments.version} is retired"


def _restore(versions: Versions, arguments: argparse.Namespace) -> tuple[Any, str]:
    versions.restore(arguments.version)
    return {"version": arguments.version}, f"version {arguments.version} is back; it does not serve yet"


def _log(versions: Versions, arguments: argparse.Namespace) -> tuple[Any, str]:
    from sightline.models.registry import audit_trail

    entries = audit_trail.read(versions.folder)[-arguments.last :]
    return entries, "\n".join(map(_line, entries))


def _line(entry: dict[str, Any]) -> str:
    """One line of the trail for people."""
    who = f"{entry.get('operator', entry.get('user', '?'))}@{entry.get('host', '?')}"
    what = " ".join(str(entry[key]) for key in ("action", "detector", "version") if key in entry)
    more = "; ".join(str(entry[key]) for key in ("reason", "problems", "why") if key in entry)
    result = f"{entry.get('result', '?')} ({more})" if more else entry.get("result", "?")
    return f"{entry.get('time', '?'):29}  {who}  {what}: {result}"
