"""Shadow models: what a candidate would have changed, and whether it may serve.

    sightline model load 2 --shadow             # serve the candidate beside, as detector-2
    python tools/shadow.py report --html report.html     # windows, crossings and events that differ
    python tools/shadow.py decide --apply                # promote or reject it by the stated rule
    python tools/shadow.py bench --video VIDEO.mp4       # what the live path pays for it

`config.yml` says which frames the candidate sees (`shadow`). `decide` ends with 0 for promote, 3 for reject
and 4 for wait. See docs/shadow.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from shadowing import bench, show
from shadowing.episodes import Collected, collect
from shadowing.rule import Decision, Rule, Verdict, decide
from sightline.errors import AdminError, RepositoryError, ServerError, ShadowError
from sightline.models.registry import detectors, repository
from sightline.models.registry.detectors import TRITON_URL
from sightline.models.registry.operations import Versions
from sightline.models.registry.triton_admin import TritonAdmin

STATUS = {Verdict.PROMOTE: 0, Verdict.REJECT: 3, Verdict.WAIT: 4}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    given = build_parser().parse_args(arguments)
    try:
        status: int = given.run(given)
    except (ShadowError, RepositoryError, AdminError, ServerError, OSError) as error:
        print(f"shadow: {error}", file=sys.stderr)
        return 1
    return status


def build_parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="tools/shadow.py"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    looks = argparse.ArgumentParser(add_help=False)
    looks.add_argument("--folder", type=Path, default=Path("shadow"), help="shadow.folder of config.yml")
    looks.add_argument("--model", help="the candidate, as detector-2, when there are several")
    looks.add_argument("--camera", help="one camera's episodes only")
    looks.add_argument("--html", type=Path, metavar="FILE", help="write the report with its pictures")
    looks.add_argument("--json", action="store_true", help="print JSON")
    for field in fields(Rule):
        looks.add_argument(
            f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default, metavar="N"
        )
    report = commands.add_parser("report", parents=[looks], help="what differs, in operators' units")
    report.set_defaults(run=_report)
    judge = commands.add_parser("decide", parents=[looks], help="promote, reject or wait, by the rule")
    judge.set_defaults(run=_decide)
    judge.add_argument("--apply", action="store_true", help="switch to it, or retire it")
    folder = Path(os.environ.get("SIGHTLINE_MODEL_REPOSITORY", "model_repository"))
    judge.add_argument("--repository", type=Path, default=folder, help="default: %(default)s")
    judge.add_argument(
        "--url", default=os.environ.get("SIGHTLINE_TRITON_URL", TRITON_URL), help="Triton's gRPC"
    )
    bench.add_to(commands)
    return parser


def _report(given: argparse.Namespace) -> int:
    _show(given)
    return 0


def _decide(given: argparse.Namespace) -> int:
    found, decision = _show(given)
    if given.apply and decision.verdict is not Verdict.WAIT:
        with TritonAdmin(given.url) as control:
            apply(given.repository, control, found, decision)
    return STATUS[decision.verdict]


def _show(given: argparse.Namespace) -> tuple[Collected, Decision]:
    rule = Rule(**{field.name: getattr(given, field.name) for field in fields(Rule)})
    found = collect(given.folder, given.model, given.camera)
    decision = decide(found, rule)
    if given.html:
        given.html.write_text(show.as_html(found, decision), encoding="utf-8")
    if given.json:
        print(json.dumps(show.as_json(found, decision), indent=2, ensure_ascii=False))
    else:
        print(show.as_text(found, decision))
    return found, decision


def apply(folder: Path, control: TritonAdmin, found: Collected, decision: Decision) -> None:
    """Switch the live detector to the candidate, or retire it; the audit trail says why.

    Raises:
        RepositoryError: the versions are not those that were compared, or the operation is refused.
        AdminError: Triton fails; what serves goes on.
    """
    version = _same_version(folder, found.model, found.version)
    _same_version(folder, found.live_model, found.live_version)
    why = f"shadow, {decision.episodes} episodes, {decision.objects} objects: {'; '.join(decision.reasons)}"
    operations = Versions(folder, control, why)
    if decision.verdict is Verdict.PROMOTE:
        operations.switch(version, found.live_model)
        print(f"{found.live_model} serves version {version}", file=sys.stderr)
    else:
        operations.retire(version)
        print(f"version {version} is retired", file=sys.stderr)


def _same_version(folder: Path, model: str, full_name: str) -> int:
    """The number of the version that a detector serves, if it is the one that was compared."""
    beside = re.fullmatch(rf"{detectors.DETECTOR}-(\d+)", model)
    number = int(beside[1]) if beside else detectors.active(folder, model)
    if number is None:
        raise RepositoryError(f"{model} is no detector of {folder}")
    serves = repository.read_manifest(folder, number)["model_version"]
    if serves != full_name:
        raise RepositoryError(f"{model} is {serves} now; what was compared is {full_name}")
    return number


if __name__ == "__main__":
    sys.exit(main())
