"""Is the detector still as good as it was? Samples to label, accuracy against a baseline, numbers in between.

    python tools/drift.py samples                                 # what is kept
    python tools/drift.py export week47 --most 200                # week47.zip to label, week47.json to check
    python tools/drift.py import corrected.zip --sent week47.json --set labelled/week47
    python tools/drift.py report labelled/* --baseline labelled/week40
    python tools/drift.py watch -c config.yml                     # without labels
    python tools/drift.py sweep                                   # delete what is too old, when nothing runs

docs/drift.md says what the figures mean, and what is done for the privacy of those who are seen. `report` and
`watch` end with status 3 when there is an alarm; --json and --metrics keep what they found.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from drifting import accuracy, hours, labels, sending
from sightline.base.redact import redact
from sightline.config import load_config
from sightline.errors import SightlineError
from sightline.features.drift.samples import sweep_folder

log = logging.getLogger("drift")

ALARM = 3


def list_samples(options: argparse.Namespace) -> int:
    """How many pictures of each camera and stratum are kept."""
    found = sending.find(options.folder, options.camera, options.span)
    counted = Counter((item.found["camera"], item.sample.stratum) for item in found)
    for (camera, stratum), count in sorted(counted.items()):
        print(f"{camera:30} {stratum:20} {count:6}")
    kept = sum(item.sample.size_bytes for item in found)
    print(f"{len(found)} pictures, {kept / 1e6:.1f} MB")
    return 0


def export(options: argparse.Namespace) -> int:
    """Choose samples and write what labellers need."""
    found = sending.find(options.folder, options.camera, options.span)
    chosen = sending.choose(found, options.most, options.seed)
    least = 1.1 if options.without_predictions else options.least_score
    archive, manifest = sending.export(chosen, options.name, options.classes, least)
    print(f"{len(chosen)} of {len(found)} pictures in {archive}; keep {manifest} for the import")
    return 0


def read_back(options: argparse.Namespace) -> int:
    """Check corrected labels and keep them as a set."""
    counts = labels.read_back(options.corrected, options.sent, options.set, partial=options.partial)
    print(f"{options.set}: {counts['pictures']} pictures, {counts['boxes']} boxes")
    if counts["boxes"] and counts["unchanged"] == counts["boxes"]:
        print("every box is the detector's own: has anybody corrected them?", file=sys.stderr)
    return 0


def report(options: argparse.Namespace) -> int:
    """Accuracy of labelled sets against a baseline."""
    rule = accuracy.Rule(options.figure, options.fall, options.least_pictures, options.least_boxes)
    with tempfile.TemporaryDirectory(prefix="sightline-drift-") as work:
        baseline: accuracy.Labelled | dict[str, float] | None = None
        if options.baseline:
            baseline = accuracy.Labelled.read(options.baseline, Path(work) / "baseline")
        elif options.manifest:
            baseline = accuracy.fixed(options.manifest)
        given = {path.resolve() for path in options.baseline}
        judged = [path for path in options.sets if path.resolve() not in given]
        if not judged:
            raise sending.LabelError("nothing is judged: give labelled sets beside those of the baseline")
        labelled = accuracy.Labelled.read(judged, Path(work) / "judged")
        found = accuracy.report(labelled, baseline, options.days, rule)
    for camera, item in found["cameras"].items():
        for stretch in item["stretches"]:
            print(_stretch_line(camera, stretch))
    for camera in found["alarms"]:
        moved = found["cameras"][camera]["stretches"][-1]["against_baseline"]
        log.warning(
            "drift alarm: %s: %s is %+.3f against the baseline (95 %%: %+.3f to %+.3f)",
            *(camera, moved["figure"], moved["difference"], moved["low"], moved["high"]),
        )
    return _ended(found, options, _accuracy_metrics(found))


def watch(options: argparse.Namespace) -> int:
    """Numbers without labels against a camera's first days."""
    url = options.database or load_config(options.config).options.database.url.get_secret_value()
    rule = hours.HourRule(baseline_days=options.baseline_days, recent_h=options.hours)
    rows = hours.read_hours(url, time.time() - options.history_days * hours.DAY_S)
    found = hours.watch([row for row in rows if row.window_start >= options.baseline_from], rule)
    for camera, item in found["cameras"].items():
        for signal, judged in item["signals"].items():
            print(
                f"{camera:30} {signal:10} {judged['verdict']:10} {judged['hours_out']:3} of "
                f"{judged['hours_compared']:3} hours out, {judged['distance']:.3f} (threshold "
                f"{judged['threshold']:.3f})"
            )
    for alarm in found["alarms"]:
        log.warning("drift alarm: %s no longer looks like its first days: label a sample", alarm)
    return _ended(found, options, _hour_metrics(found))


def sweep(options: argparse.Namespace) -> int:
    """Delete what is older than each camera allows."""
    print(f"{sweep_folder(options.folder)} pictures deleted")
    return 0


def _stretch_line(camera: str, stretch: Mapping[str, Any]) -> str:
    moved = stretch.get("against_baseline", {"verdict": "baseline"})
    text = f"{camera:30} {stretch['from']}  {stretch['pictures']:5} pictures"
    text += f"  {stretch['true_boxes']:6} true boxes"
    text += f"  mAP50 {stretch['map50']:.3f}  mAP50-95 {stretch['map50_95']:.3f}  {moved['verdict']}"
    if "difference" in moved:
        text += f" {moved['difference']:+.3f} ({moved['low']:+.3f} to {moved['high']:+.3f})"
    if moved["verdict"] == "unsure":
        text += f"; {moved['pictures_to_tell']} pictures on each side would tell"
    return text + (f" ({moved['why']})" if "why" in moved else "")


def _accuracy_metrics(found: Mapping[str, Any]) -> dict[str, dict[tuple[str, ...], float]]:
    """Name and help of a metric → camera → value."""
    newest = {camera: item["stretches"][-1] for camera, item in found["cameras"].items()}
    moved = {camera: item.get("against_baseline", {}) for camera, item in newest.items()}
    return {
        "map50": {(camera,): item["map50"] for camera, item in newest.items()},
        "map50_95": {(camera,): item["map50_95"] for camera, item in newest.items()},
        "labelled_pictures": {(camera,): float(item["pictures"]) for camera, item in newest.items()},
        "fall": {(camera,): -item["difference"] for camera, item in moved.items() if "difference" in item},
        "accuracy_alarm": {(camera,): float(camera in found["alarms"]) for camera in newest},
    }


def _hour_metrics(found: Mapping[str, Any]) -> dict[str, dict[tuple[str, ...], float]]:
    signals = {
        (camera, signal): judged
        for camera, item in found["cameras"].items()
        for signal, judged in item["signals"].items()
    }
    return {
        "distance": {key: judged["distance"] for key, judged in signals.items()},
        "threshold": {key: judged["threshold"] for key, judged in signals.items()},
        "signal_alarm": {key: float(judged["verdict"] == "shifted") for key, judged in signals.items()},
    }


_HELP = {
    "map50": "mAP at IoU 0.5 of the newest labelled stretch.",
    "map50_95": "mAP at IoU 0.5 to 0.95 of the newest labelled stretch.",
    "labelled_pictures": "Pictures of the newest labelled stretch.",
    "fall": "How far the newest stretch lies below the baseline.",
    "accuracy_alarm": "1 when accuracy has fallen.",
    "distance": "Jensen-Shannon distance of the hour that stands out most.",
    "threshold": "What that hour is held against.",
    "signal_alarm": "1 when a signal has shifted.",
}


def _ended(
    found: Mapping[str, Any],
    options: argparse.Namespace,
    metrics: Mapping[str, Mapping[tuple[str, ...], float]],
) -> int:
    """Keep what was asked for; the exit status."""
    made = {"made": datetime.now(UTC).isoformat(timespec="seconds"), **found}
    if options.json:
        _write(options.json, json.dumps(made, indent=2) + "\n")
    if options.metrics:
        _write_metrics(options.metrics, metrics)
    return ALARM if found["alarms"] else 0


def _write_metrics(path: Path, metrics: Mapping[str, Mapping[tuple[str, ...], float]]) -> None:
    """A file for the text-file collector of Prometheus' node exporter."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    for name, values in metrics.items():
        width = max((len(key) for key in values), default=1)
        gauge = Gauge(f"sightline_drift_{name}", _HELP[name], ["camera", "signal"][:width], registry=registry)
        for key, value in values.items():
            gauge.labels(*key).set(value)
    _write(path, generate_latest(registry).decode())


def _write(path: Path, text: str) -> None:
    """In one piece: somebody may be reading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(text)
    draft.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked for; 3 when there is an alarm."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING, stream=sys.stderr)
    options = parse(arguments)
    try:
        return int(options.run(options))
    except (ValueError, OSError, SightlineError) as error:
        print(f"drift: {redact(error)}", file=sys.stderr)
        return 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="tools/drift.py"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_sampled(commands)
    _add_import(commands)
    _add_report(commands)
    _add_watch(commands)
    given = parser.parse_args(arguments)
    if hasattr(given, "since"):
        given.span = (given.since or 0.0, given.until or float("inf"))
    return given


def _add_sampled(commands: Any) -> None:
    for name, run, text in (
        ("samples", list_samples, "list the pictures that are kept"),
        (
            "export",
            export,
            "write pictures and the detector's boxes for labellers (CVAT, Label Studio: COCO)",
        ),
        ("sweep", sweep, "delete pictures that are too old; running workers do so by themselves"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        add = command.add_argument
        add("--folder", type=Path, default=Path("drift"), help="drift.folder of the config (default: drift)")
        if name == "sweep":
            continue
        add("--camera", nargs="+", default=[], help="default: all")
        add("--since", type=_day, metavar="DAY", help="of capture, UTC: 2026-11-20")
        add("--until", type=_day, metavar="DAY")
        if name == "export":
            add("name", type=Path, help="writes NAME.zip and NAME.json")
            add("--most", type=int, default=200, help="pictures, from all strata in turn (default: 200)")
            add("--classes", type=lambda text: text.split(","), help="A,B,…: to label (default: all)")
            add("--least-score", type=float, default=0.25, help="weaker boxes are not shown (default: 0.25)")
            add("--without-predictions", action="store_true", help="show no boxes: labels are not biased")
            add("--seed", type=int, default=0)


def _add_import(commands: Any) -> None:
    text = "check corrected labels against what was sent, and keep them as a set"
    command = commands.add_parser("import", help=text, description=text)
    command.set_defaults(run=read_back)
    command.add_argument("corrected", type=Path, help="COCO .json, or a .zip with one in it")
    command.add_argument("--sent", type=Path, required=True, help="NAME.json of the export")
    command.add_argument("--set", type=Path, required=True, help="folder of the new labelled set")
    command.add_argument("--partial", action="store_true", help="leave out pictures that have not come back")


def _add_report(commands: Any) -> None:
    text = "accuracy of the live detector on labelled sets, against a baseline"
    command = commands.add_parser("report", help=text, description=text)
    command.set_defaults(run=report)
    add = command.add_argument
    add("sets", type=Path, nargs="+", help="folders that import made")
    add("--baseline", type=Path, nargs="+", default=[], help="labelled sets (default: the first stretch)")
    add("--manifest", type=Path, help="a version's manifest.json with measured_map as baseline")
    add("--days", type=float, default=7, help="length of a stretch (default: 7)")
    add("--figure", choices=("map50", "map50_95"), default="map50")
    add("--fall", type=float, default=accuracy.FALL, help="that raises the alarm (default: 0.03)")
    add("--least-pictures", type=int, default=30, help="on both sides (default: 30)")
    add("--least-boxes", type=int, default=10, help="of a class, on both sides (default: 10)")
    _add_outputs(command)


def _add_watch(commands: Any) -> None:
    text = "numbers without labels, against each camera's first days"
    command = commands.add_parser("watch", help=text, description=text)
    command.set_defaults(run=watch)
    add = command.add_argument
    add("-c", "--config", type=Path, default=Path("config.yml"), help="names the database")
    add("--database", help="URL, in place of the config's")
    add("--baseline-days", type=float, default=7, help="of a camera with a version (default: 7)")
    add(
        "--baseline-from",
        type=_day,
        default=0.0,
        metavar="DAY",
        help="they begin here (default: at the first)",
    )
    add("--hours", type=int, default=24, help="newest hours to look at (default: 24)")
    add("--history-days", type=float, default=400, help="how far back rows are read (default: 400)")
    _add_outputs(command)


def _add_outputs(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", type=Path, help="keep everything in this file")
    command.add_argument("--metrics", type=Path, help="Prometheus text file (node exporter's collector)")


def _day(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()


if __name__ == "__main__":
    sys.exit(main())
