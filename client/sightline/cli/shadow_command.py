"""``sightline shadow``: what a candidate would have changed, and whether it may serve; ``docs/shadow.md``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.cli.extras import needs_models
from sightline.features.shadow.promotion_rule import PromotionRule, Verdict, decide
from sightline.models.registry.detectors import TRITON_URL

if TYPE_CHECKING:
    from sightline.features.shadow.episode_comparison import ComparedEpisodes
    from sightline.features.shadow.promotion_rule import Decision

STATUS = {Verdict.PROMOTE: 0, Verdict.REJECT: 3, Verdict.WAIT: 4}


def add_to(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
    text = "shadow models: what a candidate would have changed, and whether it may serve"
    parser = commands.add_parser("shadow", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parts = parser.add_subparsers(metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    add = common.add_argument
    add("--folder", type=Path, default=Path("shadow"), help="shadow.folder of config.yml")
    add("--model", help="the candidate, as detector-2, when there are several")
    add("--camera", help="one camera's episodes only")
    add("--html", type=Path, metavar="FILE", help="write the report with its pictures")
    add("--json", action="store_true", help="print JSON")
    for field in fields(PromotionRule):
        option = f"--{field.name.replace('_', '-')}"
        add(option, type=type(field.default), default=field.default, metavar="N")
    text = "what differs, in operators' units"
    report = parts.add_parser("report", parents=[common], help=text, description=text)
    report.set_defaults(command=_report)
    text = "promote, reject or wait, by the rule: exit status 0, 3 or 4"
    judge = parts.add_parser("decide", parents=[common], help=text, description=text)
    judge.set_defaults(command=needs_models(_decide))
    judge.add_argument("--apply", action="store_true", help="switch to it, or retire it")
    folder = Path(os.environ.get("SIGHTLINE_MODEL_REPOSITORY", "model_repository"))
    judge.add_argument("--repository", type=Path, default=folder, help="default: %(default)s")
    url = os.environ.get("SIGHTLINE_TRITON_URL", TRITON_URL)
    judge.add_argument("--url", default=url, help="Triton's gRPC (default: %(default)s)")


def _report(arguments: argparse.Namespace) -> int:
    _show(arguments)
    return 0


def _decide(arguments: argparse.Namespace) -> int:
    from sightline.features.shadow.promotion import apply
    from sightline.models.registry.triton_admin import TritonAdmin

    compared, decision = _show(arguments)
    if arguments.apply and decision.verdict is not Verdict.WAIT:
        with TritonAdmin(arguments.url) as triton:
            print(apply(arguments.repository, triton, compared, decision), file=sys.stderr)
    return STATUS[decision.verdict]


def _show(arguments: argparse.Namespace) -> tuple[ComparedEpisodes, Decision]:
    from sightline.features.shadow import shadow_report
    from sightline.features.shadow.episode_comparison import collect

    rule = PromotionRule(**{field.name: getattr(arguments, field.name) for field in fields(PromotionRule)})
    compared = collect(arguments.folder, arguments.model, arguments.camera)
    decision = decide(compared, rule)
    if arguments.html:
        arguments.html.write_text(shadow_report.as_html(compared, decision), encoding="utf-8")
    if arguments.json:
        print(json.dumps(shadow_report.as_json(compared, decision), indent=2, ensure_ascii=False))
    else:
        print(shadow_report.as_text(compared, decision))
    return compared, decision
