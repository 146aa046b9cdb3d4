"""``sightline model list … log``: versions of the served network.

A version is verified, loaded beside the one that serves and asked for boxes before it may serve; whatever
fails, the old one goes on. Every operation is recorded in the repository.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.base.redact import harmless
from sightline.cli.parsers import add_command, add_config_option
from sightline.config import load_config, load_outline, unknown_classes
from sightline.errors import AdminError, SightlineError, TritonAway
from sightline.models.registry import audit_trail
from sightline.serving.model_configs import DETECTOR, TRITON_URL

if TYPE_CHECKING:
    from sightline.models.registry.operations import MissingClasses, Versions

SHADOW_NICE = 19
_CHANGES = {"load", "unload", "switch", "rollback", "remove", "retire", "restore"}


def add_to(parts: Any) -> None:
    """Add the commands to the parser's subcommands."""
    common = served_options()
    common.add_argument("--offline", action="store_true", help="work on the files alone, ask no Triton")
    common.add_argument("--json", action="store_true", help="print JSON")

    def add(name: str, text: str, *arguments: str, looks: bool = False) -> argparse.ArgumentParser:
        parser = add_command(parts, _run, common, name=name, text=text)
        parser.set_defaults(operation=name)
        if not looks:
            parser.add_argument("--why", type=harmless, default="", help="a sentence for the audit trail")
        if name in _CHANGES:
            add_config_option(parser)
        for argument in arguments:
            kind = int if argument == "version" else str
            parser.add_argument(argument, type=kind, help=f"{'number' if kind is int else 'name'} of it")
        return parser

    add("list", "What versions there are and which serve.", looks=True)
    add("show", "Everything about one version.", "version", looks=True)
    add("verify", "Check hashes, classes and shapes of a version, and run it once.", "version")
    add("load", "Serve a version beside the detectors, as detector-N.", "version").add_argument(
        "--shadow", action="store_true", help="on the CPU its process gives way to all others (nice 19)"
    )
    add("unload", "End serving a version beside the detectors.", "version")
    switch = add("switch", "Let a detector serve this version.", "version")
    rollback = add("rollback", "Let a detector serve the version that it served before.")
    text = "default: %(default)s; switch makes new ones"
    for parser in (switch, rollback):
        parser.add_argument("--detector", default=DETECTOR, help=text)
        add_force_option(parser)
    add("remove", "Unload and forget a detector that a switch made.", "detector")
    add("retire", "Take a version out of service for good.", "version").add_argument(
        "--delete", action="store_true", help="delete its weights; the manifest stays"
    )
    add("restore", "Take a retired version back.", "version")
    add("log", "The audit trail.", looks=True).add_argument(
        "--last", type=int, default=20, help="lines to show (default: %(default)s)"
    )


def add_class_options(parser: argparse.ArgumentParser) -> None:
    """Add what :func:`missing_classes` needs."""
    add_config_option(parser)
    add_force_option(parser)


def add_force_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--force`` alone."""
    parser.add_argument("--force", action="store_true", help="though cameras count classes it lacks")


def served_options() -> argparse.ArgumentParser:
    """A parent parser: the model repository, and the Triton that serves it."""
    parent = argparse.ArgumentParser(add_help=False)
    folder = os.environ.get("SIGHTLINE_MODEL_REPOSITORY", "model_repository")
    parent.add_argument("--repository", type=Path, default=folder, help="default: %(default)s")
    url = os.environ.get("SIGHTLINE_TRITON_URL", TRITON_URL)
    parent.add_argument("--url", default=url, help="Triton's gRPC (default: %(default)s)")
    return parent


def _run(arguments: argparse.Namespace) -> int:
    from sightline.models.registry.operations import Versions
    from sightline.models.registry.triton_admin import TritonAdmin

    why = getattr(arguments, "why", "")
    admin = nullcontext() if arguments.offline else TritonAdmin(arguments.url)
    try:
        with admin as triton:
            missing = missing_classes(arguments)
            done, text = _operate(Versions(arguments.repository, triton, why, missing), arguments)
    except AdminError as error:
        changes = hasattr(arguments, "why")
        if arguments.operation == "load" or (changes and not isinstance(error, TritonAway)):
            raise
        raise AdminError(
            f"{error}; --offline {'changes' if changes else 'looks at'} the files alone"
        ) from error
    if arguments.operation in _CHANGES:
        keep_in_audit(arguments.config, done.get("detector") or f"version {done['version']}", text)
    print(json.dumps(done, indent=2, ensure_ascii=False) if arguments.json else text)
    return 1 if isinstance(done, dict) and done.get("problems") else 0


def keep_in_audit(config: Path, target: str, done: str) -> None:
    """Keep in the audit, too, what this user has done; said where there is none, or that fails."""
    from sightline.access.audit import Action, record_alone
    from sightline.access.rights import Caller, own_user
    from sightline.store.access_store import AccessStore
    from sightline.store.dialects import sqlite_file

    if not config.exists():
        return  # no program that would show it
    try:
        url = load_outline(config, "url").database.url.get_secret_value()
        if (file := sqlite_file(url)) is not None and not file.exists():
            return
        store = AccessStore(url)
        try:
            record_alone(store, Action.CHANGE_MODEL, target, Caller(own_user()), detail=done)
        finally:
            store.close()
    except SightlineError as error:
        print(f"done, but not kept in the audit: {error}", file=sys.stderr)


def missing_classes(arguments: argparse.Namespace) -> "MissingClasses":
    """Tells, for a detector that is to serve a version, which classes of the configured cameras it lacks."""
    if getattr(arguments, "force", True):
        return lambda *_: []
    if not arguments.config.exists():
        print(f"classes are not compared: there is no {arguments.config}; give -c FILE", file=sys.stderr)
        return lambda *_: []
    config = load_config(arguments.config)
    for problem in config.problems:
        print(f"classes are not compared: {problem}", file=sys.stderr)

    def missing(detector: str, version: str, class_names: Sequence[str]) -> list[str]:
        cameras = config.cameras_of(detector)
        return [str(text) for item in cameras for text in unknown_classes(item, version, class_names)]

    return missing


def _operate(versions: "Versions", arguments: argparse.Namespace) -> tuple[Any, str]:
    """Do what the command says; what was done, for JSON and for people."""
    version: int = getattr(arguments, "version", 0)
    name: str = getattr(arguments, "detector", "")
    done: Any = {"detector": name} if name else {"version": version}
    later = " from Triton's next start on" if arguments.offline else ""
    match arguments.operation:
        case "list":
            done = versions.overview()
            text = _table(done)
        case "show":
            done = versions.show(version)
            values = [(key, value) for key, value in done.items() if key != "history"]
            lines = [
                f"{key}: {value if isinstance(value, str) else json.dumps(value)}" for key, value in values
            ]
            text = "\n".join([*lines, "history:", *(f"  {_line(entry)}" for entry in done["history"])])
        case "verify":
            done["problems"] = versions.verify(version)
            text = "\n".join(done["problems"]) or f"version {version} is good"
        case "load":
            done["model"] = versions.load(version, nice=SHADOW_NICE if arguments.shadow else 0)
            text = f"version {version} serves as {done['model']}"
        case "unload":
            versions.unload(version)
            text = f"version {version} does not serve beside any more"
        case "switch":
            done |= {"version": version, "previous": versions.switch(version, name)}
            text = f"{name} serves version {version}{later}, after {done['previous'] or 'none'}"
        case "rollback":
            done["version"] = versions.rollback(name)
            text = f"{name} serves version {done['version']} again{later}"
        case "remove":
            versions.remove(name)
            text = f"{name} is gone"
        case "retire":
            versions.retire(version, delete=arguments.delete)
            text = f"version {version} is retired"
        case "restore":
            versions.restore(version)
            text = f"version {version} is back; it does not serve yet"
        case _:
            done = audit_trail.read(versions.folder)[-arguments.last :]
            text = "\n".join(map(_line, done))
    return done, text


def _table(versions: Sequence[Mapping[str, Any]]) -> str:
    columns = ("version", "model_version", "size", "classes", "precision", "exported_at")
    rows = [[*columns, "state"]]
    for item in versions:
        cells = {**item, "state": ", ".join(item["state"])}
        if "precision" in item:  # the file's is what a GPU computes in
            cells["precision"] = item["served_precision"] or f"{item['precision']} on a GPU"
        rows.append([str(cells.get(key, "")) for key in (*columns, "state")])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (map(str.ljust, row, widths) for row in rows)
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _line(entry: dict[str, Any]) -> str:
    """One line of the trail for people."""
    who = f"{entry.get('operator', entry.get('user', '?'))}@{entry.get('host', '?')}"
    what = " ".join(str(entry[key]) for key in ("action", "detector", "version") if key in entry)
    more = "; ".join(str(entry[key]) for key in ("reason", "problems", "why") if key in entry)
    result = f"{entry.get('result', '?')} ({more})" if more else entry.get("result", "?")
    return f"{entry.get('time', '?'):29}  {who}  {what}: {result}"
