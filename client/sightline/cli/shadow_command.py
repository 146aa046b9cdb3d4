"""``sightline shadow``: what a candidate would have changed, and whether it may serve; ``docs/shadow.md``."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from sightline.cli.parsers import add_command, add_group, needs_models
from sightline.cli.version_commands import served_options
from sightline.features.shadow.promotion_rule import PromotionRule, Verdict, decide

STATUS = {Verdict.PROMOTE: 0, Verdict.REJECT: 3, Verdict.WAIT: 4}


def add_to(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
    text = "shadow models: what a candidate would have changed, and whether it may serve"
    parts = add_group(commands, "shadow", text)
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
    report = add_command(parts, "report", _judge, "what differs, in operators' units", parents=[common])
    report.set_defaults(decide=False, apply=False)
    text = "promote, reject or wait, by the rule: exit status 0, 3 or 4"
    judge = add_command(parts, "decide", needs_models(_judge), text, parents=[common, served_options()])
    judge.set_defaults(decide=True)
    judge.add_argument("--apply", action="store_true", help="switch to it, or retire it")


def _judge(arguments: argparse.Namespace) -> int:
    from sightline.features.shadow import shadow_report
    from sightline.features.shadow.episode_comparison import collect
    from sightline.features.shadow.promotion import apply
    from sightline.models.registry.triton_admin import TritonAdmin

    rule = PromotionRule(**{field.name: getattr(arguments, field.name) for field in fields(PromotionRule)})
    compared = collect(arguments.folder, arguments.model, arguments.camera)
    decision = decide(compared, rule)
    if arguments.html:
        arguments.html.write_text(shadow_report.as_html(compared, decision), encoding="utf-8")
    if arguments.json:
        print(json.dumps(shadow_report.as_json(compared, decision), indent=2, ensure_ascii=False))
    else:
        print(shadow_report.as_text(compared, decision))
    if arguments.apply and decision.verdict is not Verdict.WAIT:
        with TritonAdmin(arguments.url) as triton:
            print(apply(arguments.repository, triton, compared, decision), file=sys.stderr)
    return STATUS[decision.verdict] if arguments.decide else 0
