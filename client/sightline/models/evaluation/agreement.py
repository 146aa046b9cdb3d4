"""How far two networks agree on a site's videos that nobody has labelled, box by box and in counts: a report.

Neither is the truth. A box counts when its score is sure (``min_score`` of the configuration); the other
network has it when it gives a box of the same class there (IoU 0.5) with any score that it serves: so a score
that moves from 0.26 to 0.24 is a shift of scores and no missing box.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from sightline.analysis.chain import CameraAnalysis, frame_at
from sightline.analysis.options import AnalysisOptions, analysis_options
from sightline.analysis.pairing import pair_boxes, pair_events
from sightline.base import machine
from sightline.config import load_config
from sightline.entities import CountWindow, Detections, Event, Frame, ModelInfo
from sightline.errors import EvaluationError
from sightline.models.evaluation import accuracy_report, comparison
from sightline.models.evaluation.cocoset import frames_of, scaled_i420
from sightline.models.evaluation.onnx_engine import WHAT_IS_RUN, BareEngine
from sightline.models.export.exporter import SCORE_FLOOR
from sightline.video.picture import written

SAME_EVENT_S = 1.0  # two events of one kind, place, direction and class this near in time are one
COLOURS = ((0, 160, 255), (255, 120, 0))  # BGR of the first and the second candidate
_SPACING = 5  # frames between two pictures of the report: neighbours show the same


class Watcher:
    """What one network makes of one video, by the analysis of a live camera."""

    def __init__(self, engine: BareEngine, site: AnalysisOptions) -> None:
        self.engine = engine
        self.detections: list[Detections] = []  # of every frame
        self._analysis = CameraAnalysis(site)
        self._analysis.use_model(ModelInfo("", "candidate", tuple(engine.class_names), 0, 0, "", 0.0))
        self._last = 0.0

    def see(self, frame: Frame) -> Detections:
        """Detect, track, count and judge one frame."""
        boxes = self.engine.detect(scaled_i420(frame, self.engine.network), SCORE_FLOOR)
        self._analysis.observe(frame_at(frame.capture_time), boxes)
        self.detections.append(boxes)
        self._last = frame.capture_time
        return boxes

    def finish(self) -> tuple[tuple[CountWindow, ...], list[Event]]:
        """The counts of every window, and what the rules saw; call it once, after the last frame."""
        self._analysis.end(self._last)
        events = [result for result in self._analysis.take_results() if isinstance(result, Event)]
        return self._analysis.rows()[0], events


@dataclass(slots=True)
class BoxAgreement:
    """Sums over the frames of one or more videos."""

    boxes: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))
    #: Of these, what the other side has; both are of each side, by class.
    found: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))
    #: The second's score minus the first's of what both have.
    shifts: list[float] = field(default_factory=list)
    overlaps: list[float] = field(default_factory=list)  # IoU of these
    missing: list[float] = field(default_factory=list)  # of each frame, the scores of what one side has alone

    def add(self, one: Detections, other: Detections, names: Sequence[Sequence[str]], sure: float) -> None:
        """Take in one frame."""
        pairs = pair_boxes(one, other, names, sure)
        alone = 0.0
        for side, detections in enumerate((one, other)):
            rows = np.flatnonzero(detections.scores >= sure)
            both = np.isin(rows, pairs.same[side])
            classes = [names[side][number] for number in detections.class_ids[rows]]
            self.boxes[side].update(classes)
            self.found[side].update(compress(classes, both))
            alone += float(detections.scores[rows[~both]].sum())
        self.missing.append(alone)
        self.shifts += (other.scores[pairs.same[1]] - one.scores[pairs.same[0]]).tolist()
        self.overlaps += pairs.iou.tolist()

    def describe(self) -> dict[str, Any]:
        """Shares and shifts, JSON-able."""
        shifts, totals = np.array(self.shifts or [0.0]), [side.total() for side in self.boxes]
        low, high = np.percentile(shifts, [5, 95]).tolist()
        return {
            "boxes": totals,
            "found_by_the_other": [
                side.total() / total if total else 1.0 for side, total in zip(self.found, totals, strict=True)
            ],
            "score_shift": {"mean": float(shifts.mean()), "p5": low, "p95": high},
            "mean_iou": float(np.mean(self.overlaps or [1.0])),
            "classes": {
                name: {
                    "boxes": [side[name] for side in self.boxes],
                    "found_by_the_other": [side[name] for side in self.found],
                }
                for name in sorted(self.boxes[0] | self.boxes[1])
            },
        }


def compare_counts(one: Sequence[CountWindow], other: Sequence[CountWindow]) -> dict[str, Any]:
    """Counts by class over all windows, and every window whose counts differ."""
    sides = [{(row.window_start, row.item_class): row.count for row in rows} for rows in (one, other)]
    counts = {key: [side.get(key, 0) for side in sides] for key in sorted(sides[0] | sides[1])}
    totals: dict[str, list[int]] = {name: [0, 0] for name in sorted({name for _, name in counts})}
    for (_, name), both in counts.items():
        totals[name] = [total + count for total, count in zip(totals[name], both, strict=True)]
    differing = [
        {"window_start": start, "item_class": name, "counts": both}
        for (start, name), both in counts.items()
        if both[0] != both[1]
    ]
    return {
        "windows": len({start for start, _ in counts}),
        "totals": totals,
        "equal": len(counts) - len(differing),
        "differing": differing,
    }


def compare_events(one: Sequence[Event], other: Sequence[Event]) -> dict[str, Any]:
    """Events of one kind, place, direction and class, paired by time; and those that one side has alone."""

    def what(*parts: str | None) -> str:
        return " ".join(filter(None, parts))

    counts, alone = pair_events(one, other, SAME_EVENT_S)
    kinds = {what(place, kind, *rest): pair for (kind, place, *rest), pair in counts.items()}
    return {
        "kinds": [
            {"what": name, "events": [pair.live, pair.candidate], "both": pair.both}
            for name, pair in sorted(kinds.items())
        ],
        "alone": [
            {
                "candidate": side,
                "what": what(event.place, str(event.kind), event.direction, event.item_class),
                "event_time": event.event_time,
            }
            for side, event in sorted(alone, key=lambda item: item[1].event_time)
        ],
    }


def report(options: argparse.Namespace, command: str) -> Path:
    """Watch the videos with both candidates and write how far they agree; gives the report's path.

    Raises a ConfigError or an EvaluationError when the configuration, its camera or a video cannot be used.
    """
    folder, site = options.report, AnalysisOptions("video", window_s=10)
    with tempfile.TemporaryDirectory(prefix="sightline-evaluate-") as work:
        files = comparison.files_by_precision(options, Path(work))
        pair, _ = comparison.contenders(files, options.precision, ("engine",))
        if len(files) > 1:  # one of each model
            pair = [next(each for each in pair if each.path in by.values()) for by in files.values()]
        if len(pair) != 2:
            raise EvaluationError("an agreement is of two networks: two models, or two --precision of one")
        engines = [BareEngine.load(each.path, each.precision, options.shape) for each in pair]
    if options.config:
        camera = load_config(options.config).cameras.get(options.camera)
        if camera is None:
            raise EvaluationError(f"{options.config} has no usable camera {options.camera!r}")
        site = analysis_options(camera)
    folder.mkdir(parents=True, exist_ok=True)
    labels = [each.label for each in pair]
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine.describe(),
        "command": command,
        "candidates": [
            {
                "label": each.label,
                "model": each.path.name,
                "network": list(engine.network),
                "what": WHAT_IS_RUN[each.precision],
            }
            for each, engine in zip(pair, engines, strict=True)
        ],
        "window_s": site.window_s,
        "places": [*site.lines, *site.zones],
        "min_score": site.tracker.min_score,
        "videos": [_watch_both(folder, engines, video, site, options) for video in options.video],
    }
    for video in found["videos"]:
        path = folder / f"{video['stem']}-counts.png"
        accuracy_report.draw_counts(path, labels, video["counts"]["totals"])
    return accuracy_report.save(folder, found, _blocks(found, labels))


def _watch_both(
    folder: Path,
    engines: Sequence[BareEngine],
    video: Path,
    site: AnalysisOptions,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """One video through both, frame by frame; the frames that differ most are decoded again and drawn."""
    watchers = [Watcher(engine, site) for engine in engines]
    names, sure = [engine.class_names for engine in engines], site.tracker.min_score
    boxes, frames = BoxAgreement(), list[int]()
    for frame in frames_of(video, options.fps, options.seconds):
        one, other = (watcher.see(frame) for watcher in watchers)
        boxes.add(one, other, names, sure)
        frames.append(frame.index)
    (rows, events), (other_rows, other_events) = (watcher.finish() for watcher in watchers)
    worst = {frames[place]: place for place in _worst_frames(boxes.missing, options.pictures)}
    pictures = {index: f"{video.stem}-{index:06d}.jpg" for index in worst}
    for frame in frames_of(video) if worst else ():
        if frame.index in worst:
            seen = [watcher.detections[worst[frame.index]] for watcher in watchers]
            seen = [each.take(each.scores >= sure) for each in seen]
            _draw_frame(folder / pictures[frame.index], frame, seen, names)
        if frame.index >= max(worst):
            break
    return {
        "video": video.name,
        "stem": video.stem,
        "frames": len(frames),
        "boxes": boxes.describe(),
        "counts": compare_counts(rows, other_rows),
        "events": compare_events(events, other_events),
        "pictures": [*pictures.values()],
    }


def _worst_frames(missing: Sequence[float], most: int) -> list[int]:
    """Places of the frames in which most is seen by one side alone, neighbours left out, the worst first."""
    chosen: list[int] = []
    for place in np.argsort(-np.array(missing), kind="stable").tolist():
        if len(chosen) == most or missing[place] == 0:
            break
        if all(abs(place - other) > _SPACING for other in chosen):
            chosen.append(place)
    return chosen


def _draw_frame(
    path: Path, frame: Frame, detections: Sequence[Detections], classes: Sequence[Sequence[str]]
) -> None:
    """A picture with the boxes of both: the first's thick, the second's thin."""
    import cv2

    canvas = cv2.cvtColor(written(frame.picture), cv2.COLOR_YUV2BGR_I420)
    height, width = canvas.shape[:2]
    for side, boxes in enumerate(detections):
        for box, score, number in zip(boxes.xyxy, boxes.scores, boxes.class_ids, strict=True):
            left, top, right, bottom = (box * [width, height, width, height]).astype(int).tolist()
            cv2.rectangle(canvas, (left, top), (right, bottom), COLOURS[side], 3 - 2 * side)
            place = (left, top - 4) if side else (left, bottom + 14)
            label = f"{classes[side][number]} {score:.2f}"
            cv2.putText(canvas, label, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, COLOURS[side], 1, cv2.LINE_AA)
    cv2.imwrite(str(path), canvas)


def _blocks(report: Mapping[str, Any], labels: Sequence[str]) -> Iterator[str]:
    """The report."""
    yield f"# Agreement of {labels[0]} and {labels[1]}"
    yield f"{report['date']}, {report['machine']}. Command: `{report['command']}`"
    yield (
        "Nothing is labelled here: neither candidate is the truth. A box counts from score "
        f"{report['min_score']} on; the other has it when it gives a box of that class there "
        "(IoU 0.5) with any score that is served."
    )
    for each in report["candidates"]:
        sides = "x".join(map(str, each["network"]))
        yield f"- **{each['label']}**: {each['model']}, {sides}; {each['what']}."
    for video in report["videos"]:
        yield f"## {video['video']}: {video['frames']} frames"
        boxes, counts, events = video["boxes"], video["counts"], video["events"]
        shift, differing = boxes["score_shift"], counts["differing"]
        rows = [
            [label, str(total), f"{share:.4f}"]
            for label, total, share in zip(labels, boxes["boxes"], boxes["found_by_the_other"], strict=True)
        ]
        yield accuracy_report.table(["", "boxes", "share that the other has"], rows)
        yield (
            f"Boxes that both have: mean IoU {boxes['mean_iou']:.4f}; "
            f"score of {labels[1]} minus {labels[0]}: mean {shift['mean']:+.4f}, "
            f"5 % below {shift['p5']:+.4f}, 5 % above {shift['p95']:+.4f}."
        )
        rows = [
            [name, *map(str, both), str(sum(item["item_class"] == name for item in differing))]
            for name, both in counts["totals"].items()
        ]
        head = [f"tracks counted, windows of {report['window_s']} s", *labels, "windows that differ"]
        yield accuracy_report.table(head, rows)
        yield f"{counts['windows']} windows. ![counts by class]({video['stem']}-counts.png)"
        if report["places"]:
            rows = [[each["what"], *map(str, each["events"]), str(each["both"])] for each in events["kinds"]]
            head = ["events (place, kind, direction, class)", *labels, f"both, within {SAME_EVENT_S:g} s"]
            yield accuracy_report.table(head, rows)
            for each in events["alone"]:
                yield f"- {each['event_time']:.1f} s: {each['what']}, {labels[each['candidate']]} alone"
        if video["pictures"]:
            yield "Where they differ most (first: thick, orange; second: thin, blue):"
            yield from (f"![{name}]({name})" for name in video["pictures"])
