"""Two candidates over a site's own videos: the report of how far they agree, and where they least do."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sightline.analysis.options import AnalysisOptions
from sightline.base import machine
from sightline.entities import Detections, Frame
from sightline.models.evaluation import accuracy_report, plots
from sightline.models.evaluation.agreement import (
    SAME_EVENT_S,
    BoxAgreement,
    Watcher,
    compare_counts,
    compare_events,
    frames_of,
    site_of,
)
from sightline.models.evaluation.comparison import Contender
from sightline.models.evaluation.onnx_engine import WHAT_IS_RUN, BareEngine

COLOURS = ((0, 160, 255), (255, 120, 0))  # BGR of the first and the second candidate
_SPACING = 5  # frames between two pictures of the report: neighbours show the same


def write(
    folder: Path,
    pair: Sequence[Contender],
    options: argparse.Namespace,
    command: str,
) -> Path:
    """Watch the videos with both candidates and write the report; gives its path."""
    folder.mkdir(parents=True, exist_ok=True)
    site = AnalysisOptions("video", window_s=10)
    if options.config:
        site = site_of(options.config, options.camera)
    engines = [BareEngine.load(each.path, each.precision, options.shape) for each in pair]
    agreement: dict[str, Any] = {
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
        "videos": [watch_both(folder, engines, video, site, options) for video in options.video],
    }
    labels = [each.label for each in pair]
    for video in agreement["videos"]:
        totals = video["counts"]["totals"]
        plots.draw_counts(
            folder / f"{video['stem']}-counts.png",
            {label: {name: both[side] for name, both in totals.items()} for side, label in enumerate(labels)},
        )
    return accuracy_report.save(folder, agreement, text(agreement, labels))


def watch_both(
    folder: Path,
    engines: Sequence[BareEngine],
    video: Path,
    site: AnalysisOptions,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """One video through both, frame by frame."""
    watchers = [Watcher(engine, site) for engine in engines]
    names = [engine.class_names for engine in engines]
    boxes, frames = BoxAgreement(), []
    for frame in frames_of(video, options.fps, options.seconds):
        for watcher in watchers:
            watcher.see(frame)
        one, other = (watcher.detections[-1] for watcher in watchers)
        boxes.add(one, other, names, site.tracker.min_score)
        frames.append(frame.index)
    counts = compare_counts(watchers[0].finish(), watchers[1].finish())
    worst = worst_frames(boxes.missing, options.pictures)
    drawn = draw(folder, video, {frames[place]: place for place in worst}, watchers, site.tracker.min_score)
    return {
        "video": video.name,
        "stem": video.stem,
        "frames": len(frames),
        "boxes": boxes.describe(),
        "counts": counts,
        "events": compare_events(watchers[0].events, watchers[1].events),
        "pictures": drawn,
    }


def worst_frames(missing: Sequence[float], most: int) -> list[int]:
    """Places of the frames in which most is seen by one side alone, neighbours left out, the worst first."""
    chosen: list[int] = []
    for place in np.argsort(-np.array(missing), kind="stable"):
        if len(chosen) == most or missing[place] == 0:
            break
        if all(abs(int(place) - other) > _SPACING for other in chosen):
            chosen.append(int(place))
    return chosen


def draw(
    folder: Path, video: Path, wanted: dict[int, int], watchers: Sequence[Watcher], min_score: float
) -> list[str]:
    """Decode the video once more and draw both networks' boxes into the wanted frames.

    Args:
        folder: of the report.
        video: the file.
        wanted: index of the frame in the file → its place among those that were watched.
        watchers: what both saw.
        min_score: of the boxes that are drawn.

    Returns:
        Names of the pictures, in the order of ``wanted``.
    """
    if not wanted:
        return []
    names = {}
    for frame in frames_of(video):
        if frame.index in wanted:
            names[frame.index] = f"{video.stem}-{frame.index:06d}.jpg"
            detections = [watcher.detections[wanted[frame.index]] for watcher in watchers]
            detections = [each.take(each.scores >= min_score) for each in detections]
            classes = [watcher.engine.class_names for watcher in watchers]
            draw_frame(folder / names[frame.index], frame, detections, classes)
        if len(names) == len(wanted):
            break
    return [names[index] for index in wanted]


def draw_frame(
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


def text(agreement: dict[str, Any], labels: Sequence[str]) -> list[str]:
    """The report."""
    lines = [
        f"# Agreement of {labels[0]} and {labels[1]}",
        "",
        f"{agreement['date']}, {agreement['machine']}. Command: `{agreement['command']}`",
        "",
        "Nothing is labelled here: neither candidate is the truth. A box counts from score "
        f"{agreement['min_score']} on; the other has it when it gives a box of that class there "
        "(IoU 0.5) with any score that is served.",
        "",
    ]
    for each in agreement["candidates"]:
        sides = "x".join(map(str, each["network"]))
        lines.append(f"- **{each['label']}**: {each['model']}, {sides}; {each['what']}.")
    for video in agreement["videos"]:
        lines += ["", f"## {video['video']}: {video['frames']} frames", ""]
        lines += box_lines(video, labels) + count_lines(video, labels, agreement["window_s"])
        lines += event_lines(video, labels) if agreement["places"] else []
        if video["pictures"]:
            lines += ["Where they differ most (first: thick, orange; second: thin, blue):", ""]
            lines += [f"![{name}]({name})" for name in video["pictures"]]
    return lines


def box_lines(video: dict[str, Any], labels: Sequence[str]) -> list[str]:
    """Boxes of each, and how many of them the other has."""
    boxes = video["boxes"]
    rows = [
        [label, str(boxes["boxes"][side]), f"{boxes['found_by_the_other'][side]:.4f}"]
        for side, label in enumerate(labels)
    ]
    shift = boxes["score_shift"]
    return [
        *accuracy_report.table(["", "boxes", "share that the other has"], rows),
        f"Boxes that both have: mean IoU {boxes['mean_iou']:.4f}; score of {labels[1]} minus {labels[0]}: "
        f"mean {shift['mean']:+.4f}, 5 % below {shift['p5']:+.4f}, 5 % above {shift['p95']:+.4f}.",
        "",
    ]


def count_lines(video: dict[str, Any], labels: Sequence[str], window_s: int) -> list[str]:
    """Counts by class: the sum over all windows, and how many windows differ."""
    counts = video["counts"]
    differing = counts["differing"]
    rows = [
        [name, *map(str, both), str(sum(item["item_class"] == name for item in differing))]
        for name, both in counts["totals"].items()
    ]
    head = [f"tracks counted, windows of {window_s} s", *labels, "windows that differ"]
    return [
        *accuracy_report.table(head, rows),
        f"{counts['windows']} windows. ![counts by class]({video['stem']}-counts.png)",
        "",
    ]


def event_lines(video: dict[str, Any], labels: Sequence[str]) -> list[str]:
    """Events by place, kind, direction and class, and every one that one side has alone."""
    events = video["events"]
    rows = [[each["what"], *map(str, each["events"]), str(each["both"])] for each in events["kinds"]]
    alone = [
        f"- {each['event_time']:.1f} s: {each['what']}, {labels[each['candidate']]} alone"
        for each in events["alone"]
    ]
    head = ["events (place, kind, direction, class)", *labels, f"both, within {SAME_EVENT_S:g} s"]
    return [*accuracy_report.table(head, rows), *alone, *([""] if alone else [])]
