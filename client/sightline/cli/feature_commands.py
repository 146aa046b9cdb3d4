"""``sightline drift``: is the detector still as good as it was; ``sightline shadow``: may a candidate serve.

``docs/drift.md`` and ``docs/shadow.md`` explain the figures.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sightline.cli.parsers import add_command, add_config_option, add_group, parse_day
from sightline.cli.version_commands import (
    add_class_options,
    keep_in_audit,
    missing_classes,
    served_options,
)
from sightline.config import load_outline
from sightline.entities import Figure
from sightline.errors import LabelError
from sightline.features.shadow.promotion_rule import PromotionRule, Verdict, decide

#: Exit statuses.
ALARM = 3
STATUS = {Verdict.PROMOTE: 0, Verdict.REJECT: 3, Verdict.WAIT: 4}


def add_to(commands: Any) -> None:
    """Add the commands to the parser's subcommands."""
    text = "is the detector still as good as it was: samples to label, accuracy, numbers without labels"
    parts = add_group(commands, "drift", text)
    folder, period, outputs = (argparse.ArgumentParser(add_help=False) for _ in range(3))
    folder.add_argument("--folder", type=Path, default="drift", help="drift.folder of the config")
    period.add_argument("--camera", nargs="+", default=[], help="default: all")
    text = "of capture, UTC: 2026-11-20"
    period.add_argument("--since", type=parse_day, default=0.0, metavar="DAY", help=text)
    period.add_argument("--until", type=parse_day, default=float("inf"), metavar="DAY")
    outputs.add_argument("--json", type=Path, help="keep the whole report in this file")
    outputs.add_argument("--metrics", type=Path, help="Prometheus text file (node exporter's collector)")
    add_command(parts, _samples, folder, period)
    add = add_command(parts, _export, folder, period).add_argument
    add("name", type=Path, help="writes NAME.zip and NAME.json")
    add("--max", type=int, default=200, help="pictures, from all strata in turn (default: %(default)s)")
    add("--classes", type=lambda text: text.split(","), help="A,B,…: to label (default: all)")
    add("--min-score", type=float, default=0.25, help="weaker boxes are not shown (default: %(default)s)")
    add("--without-predictions", action="store_true", help="show no boxes, so that they bias no labels")
    add("--seed", type=int, default=0)
    add = add_command(parts, _import).add_argument
    add("corrected", type=Path, help="COCO .json, or a .zip with one in it")
    add("--sent", type=Path, required=True, help="NAME.json of the export")
    add("--set", type=Path, required=True, help="folder of the new labelled set")
    add("--partial", action="store_true", help="leave out pictures that have not come back")
    add = add_command(parts, _report, outputs).add_argument
    add("sets", type=Path, nargs="+", help="folders that import made")
    add("--baseline", type=Path, nargs="+", default=[], help="labelled sets (default: the first period)")
    add("--manifest", type=Path, help="a version's manifest.json with measured_map as baseline")
    add("--days", type=float, default=7, help="length of a period (default: %(default)g)")
    add("--figure", choices=("map50", "map50_95"), default="map50")
    add("--fall", type=float, default=0.03, help="that raises the alarm (default: %(default)s)")
    add("--min-pictures", type=int, default=30, help="on both sides (default: %(default)s)")
    add("--min-boxes", type=int, default=10, help="of a class, on both sides (default: %(default)s)")
    add = add_config_option(add_command(parts, _watch, outputs)).add_argument
    add("--database", help="URL, in place of the config's")
    add("--baseline-days", type=float, default=7, help="of a camera with a version (default: %(default)g)")
    text = "where they begin (default: at the first)"
    add("--baseline-from", type=parse_day, default=0.0, metavar="DAY", help=text)
    add("--hours", type=int, default=24, help="newest hours to examine (default: %(default)s)")
    add("--history-days", type=float, default=400, help="how far back rows are read (default: %(default)g)")
    add_command(parts, _sweep, folder)
    _add_shadow(commands)


def _samples(arguments: argparse.Namespace) -> None:
    """List the pictures that are kept."""
    from sightline.features.drift import labels

    kept = labels.find(arguments.folder, arguments.camera, (arguments.since, arguments.until))
    counts = Counter((item.record["camera"], item.stratum) for item in kept)
    for (camera, stratum), count in sorted(counts.items()):
        print(f"{camera:30} {stratum:20} {count:6}")
    size = sum(item.size_bytes for item in kept)
    print(f"{len(kept)} pictures, {size / 1e6:.1f} MB")


def _export(arguments: argparse.Namespace) -> None:
    """Write pictures and the detector's boxes for labellers, as COCO."""
    from sightline.features.drift import labels

    kept = labels.find(arguments.folder, arguments.camera, (arguments.since, arguments.until))
    chosen = labels.choose(kept, arguments.max, arguments.seed)
    min_score = float("inf") if arguments.without_predictions else arguments.min_score
    archive, manifest = labels.export(chosen, arguments.name, arguments.classes, min_score)
    print(f"{len(chosen)} of {len(kept)} pictures in {archive}; keep {manifest} for the import")


def _import(arguments: argparse.Namespace) -> None:
    """Check corrected labels against what was sent, and keep them as a set."""
    from sightline.features.drift.labels import read_back

    counts = read_back(arguments.corrected, arguments.sent, arguments.set, partial=arguments.partial)
    print(f"{arguments.set}: {counts['pictures']} pictures, {counts['boxes']} boxes")
    if counts["boxes"] and counts["unchanged"] == counts["boxes"]:
        print("every box is the detector's own: were they corrected at all?", file=sys.stderr)


def _report(arguments: argparse.Namespace) -> int:
    """Accuracy of the live detector on labelled sets, against a baseline; alarm: status 3."""
    from sightline.features.drift import labelled_accuracy as accuracy

    rule = accuracy.AccuracyRule(
        arguments.figure, arguments.fall, arguments.min_pictures, arguments.min_boxes
    )
    with tempfile.TemporaryDirectory(prefix="sightline-drift-") as work:
        baseline: accuracy.Labelled | dict[str, float] | None = None
        if arguments.baseline:
            baseline = accuracy.Labelled.read(arguments.baseline, Path(work) / "baseline")
        elif arguments.manifest:
            baseline = accuracy.read_measured_map(arguments.manifest)
        own = {path.resolve() for path in arguments.baseline}
        sets = [path for path in arguments.sets if path.resolve() not in own]
        if not sets:
            raise LabelError("there is nothing to judge: give labelled sets beside those of the baseline")
        labelled = accuracy.Labelled.read(sets, Path(work) / "judged")
        report = accuracy.report(labelled, baseline, arguments.days, rule)
    for camera, item in report["cameras"].items():
        for period in item["periods"]:
            print(_period_line(camera, period))
    alarms = []
    for camera in report["alarms"]:
        change = report["cameras"][camera]["periods"][-1]["against_baseline"]
        difference = f"{change['difference']:+.3f} against the baseline"
        interval = f"{change['low']:+.3f} to {change['high']:+.3f}"
        alarms.append(f"{camera}: {change['figure']} is {difference} (95 %: {interval})")
    return _ended(report, arguments, accuracy.figures(report), alarms)


def _period_line(camera: str, period: Mapping[str, Any]) -> str:
    change = period.get("against_baseline", {"verdict": "baseline"})
    text = f"{camera:30} {period['from']}  {period['pictures']:5} pictures  "
    text += f"{period['true_boxes']:6} true boxes  mAP50 {period['map50']:.3f}  "
    text += f"mAP50-95 {period['map50_95']:.3f}  {change['verdict']}"
    if "difference" in change:
        text += f" {change['difference']:+.3f} ({change['low']:+.3f} to {change['high']:+.3f})"
    if change["verdict"] == "unsure":
        text += f"; {change['pictures_to_tell']} pictures on each side would tell"
    return text + (f" ({change['why']})" if "why" in change else "")


def _watch(arguments: argparse.Namespace) -> int:
    """Numbers without labels, against each camera's first days; alarm: status 3."""
    from sightline.features.drift import hour_comparison
    from sightline.store.read.queries import read_hours

    url = arguments.database or load_outline(arguments.config, "url").database.url.get_secret_value()
    rule = hour_comparison.HourRule(baseline_days=arguments.baseline_days, recent_h=arguments.hours)
    rows = read_hours(url, None, time.time() - arguments.history_days * hour_comparison.DAY_S)
    report = hour_comparison.watch([row for row in rows if row.window_start >= arguments.baseline_from], rule)
    for camera, item in report["cameras"].items():
        for signal, judged in item["signals"].items():
            hours = f"{judged['hours_out']:3} of {judged['hours_compared']:3} hours out"
            distance = f"{judged['distance']:.3f} (threshold {judged['threshold']:.3f})"
            print(f"{camera:30} {signal:10} {judged['verdict']:10} {hours}, {distance}")
    alarms = [f"{alarm} no longer looks like its first days: label a sample" for alarm in report["alarms"]]
    return _ended(report, arguments, hour_comparison.figures(report), alarms)


def _sweep(arguments: argparse.Namespace) -> None:
    """Delete pictures that are too old; running workers do so by themselves."""
    from sightline.features.drift.samples import sweep_folder

    print(f"{sweep_folder(arguments.folder)} pictures deleted")


def _ended(
    report: Mapping[str, Any], arguments: argparse.Namespace, figures: Iterable[Figure], alarms: Iterable[str]
) -> int:
    """Print the alarms, and keep the report where the options say; the exit status."""
    from sightline.supervisor.http.prometheus import write_metrics_file

    for alarm in alarms:
        print(f"drift alarm: {alarm}", file=sys.stderr)
    if arguments.json:
        record = {"made": datetime.now(UTC).isoformat(timespec="seconds"), **report}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    if arguments.metrics:
        write_metrics_file(arguments.metrics, figures)
    return ALARM if report["alarms"] else 0


def _add_shadow(commands: Any) -> None:
    text = "shadow models: what a candidate would have changed, and whether it may serve"
    parts = add_group(commands, "shadow", text)
    common = argparse.ArgumentParser(add_help=False)
    add = common.add_argument
    add("--folder", type=Path, default="shadow", help="shadow.folder of config.yml")
    add("--model", help="the candidate, as detector-2, when there are several")
    add("--camera", help="one camera's episodes only")
    add("--html", type=Path, metavar="FILE", help="write the report with its pictures")
    add("--json", action="store_true", help="print JSON")
    for field in fields(PromotionRule):
        option = f"--{field.name.replace('_', '-')}"
        add(option, type=type(field.default), default=field.default, metavar="N")
    text = "What differs, in operators' units."
    report = add_command(parts, _judge, common, name="report", text=text)
    report.set_defaults(decide=False, apply=False)
    text = "Promote, reject or wait, by the rule: exit status 0, 3 or 4."
    judge = add_command(parts, _judge, common, served_options(), name="decide", text=text)
    judge.set_defaults(decide=True)
    judge.add_argument("--apply", action="store_true", help="switch to it, or retire it")
    add_class_options(judge)


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
        missing = missing_classes(arguments)
        with TritonAdmin(arguments.url) as triton:
            done = apply(arguments.repository, triton, missing, compared, decision)
        keep_in_audit(arguments.config, compared.newest.candidate_model, f"{done}, by its shadow")
        print(done, file=sys.stderr)
    return STATUS[decision.verdict] if arguments.decide else 0
