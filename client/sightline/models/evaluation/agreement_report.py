"""Two candidates over a site's own videos: the report of how far they agree, and where they least do."""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sightline.analysis.options import AnalysisOptions, analysis_options
from sightline.base import machine
from sightline.config import load_config
from sightline.entities import Detections, Frame
from sightline.errors import EvaluationError
from sightline.models.evaluation import accuracy_report, agreement
from sightline.models.evaluation.cocoset import frames_of
from sightline.models.evaluation.comparison import Contender
from sightline.models.evaluation.onnx_engine import WHAT_IS_RUN, BareEngine

COLOURS = ((0, 160, 255), (255, 120, 0))  # BGR of the first and the second candidate
_SPACING = 5  # frames between two pictures of the report: neighbours show the same


def write(folder: Path, pair: Sequence[Contender], options: argparse.Namespace, command: str) -> Path:
    """Watch the videos with both candidates and write the report; gives its path.

    Raises a ConfigError or an EvaluationError when the configuration, its camera or a video cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    site = AnalysisOptions("video", window_s=10)
    if options.config:
        camera = load_config(options.config).cameras.get(options.camera)
        if camera is None:
            raise EvaluationError(f"{options.config} has no usable camera {options.camera!r}")
        site = analysis_options(camera)
    engines = [BareEngine.load(each.path, each.precision, options.shape) for each in pair]
    labels = [each.label for each in pair]
    report: dict[str, Any] = {
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
    for video in report["videos"]:
        path = folder / f"{video['stem']}-counts.png"
        accuracy_report.draw_counts(path, labels, video["counts"]["totals"])
    return accuracy_report.save(folder, report, _blocks(report, labels))


def _watch_both(
    folder: Path,
    engines: Sequence[BareEngine],
    video: Path,
    site: AnalysisOptions,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """One video through both, frame by frame; the frames that differ most are decoded again and drawn."""
    watchers = [agreement.Watcher(engine, site) for engine in engines]
    names, sure = [engine.class_names for engine in engines], site.tracker.min_score
    boxes, frames = agreement.BoxAgreement(), list[int]()
    for frame in frames_of(video, options.fps, options.seconds):
        one, other = (watcher.see(frame) for watcher in watchers)
        boxes.add(one, other, names, sure)
        frames.append(frame.index)
    counts = agreement.compare_counts(watchers[0].finish(), watchers[1].finish())
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
        "counts": counts,
        "events": agreement.compare_events(watchers[0].events, watchers[1].events),
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

    width, height = frame.picture.width // 2 * 2, frame.picture.height // 2 * 2
    planes = np.empty((height * 3 // 2, width), np.uint8)
    frame.picture.write_i420(planes)
    canvas = cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420)
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
        yield from _box_and_count_blocks(video, labels, report["window_s"])
        if report["places"]:
            yield from _event_blocks(video["events"], labels)
        if video["pictures"]:
            yield "Where they differ most (first: thick, orange; second: thin, blue):"
            yield from (f"![{name}]({name})" for name in video["pictures"])


def _box_and_count_blocks(video: Mapping[str, Any], labels: Sequence[str], window_s: int) -> Iterator[str]:
    """Boxes of each and how many of them the other has; counts by class, and how many windows differ."""
    boxes, counts = video["boxes"], video["counts"]
    shift, differing = boxes["score_shift"], counts["differing"]
    rows = [
        [label, str(total), f"{share:.4f}"]
        for label, total, share in zip(labels, boxes["boxes"], boxes["found_by_the_other"], strict=True)
    ]
    yield accuracy_report.table(["", "boxes", "share that the other has"], rows)
    yield (
        f"Boxes that both have: mean IoU {boxes['mean_iou']:.4f}; score of {labels[1]} minus {labels[0]}: "
        f"mean {shift['mean']:+.4f}, 5 % below {shift['p5']:+.4f}, 5 % above {shift['p95']:+.4f}."
    )
    rows = [
        [name, *map(str, both), str(sum(item["item_class"] == name for item in differing))]
        for name, both in counts["totals"].items()
    ]
    head = [f"tracks counted, windows of {window_s} s", *labels, "windows that differ"]
    yield accuracy_report.table(head, rows)
    yield f"{counts['windows']} windows. ![counts by class]({video['stem']}-counts.png)"


def _event_blocks(events: Mapping[str, Any], labels: Sequence[str]) -> Iterator[str]:
    """Events by place, kind, direction and class, and every one that one side has alone."""
    rows = [[each["what"], *map(str, each["events"]), str(each["both"])] for each in events["kinds"]]
    head = ["events (place, kind, direction, class)", *labels, f"both, within {agreement.SAME_EVENT_S:g} s"]
    yield accuracy_report.table(head, rows)
    for each in events["alone"]:
        yield f"- {each['event_time']:.1f} s: {each['what']}, {labels[each['candidate']]} alone"
