"""Drift without labels: whether a camera's hour still looks like the same hour of its first days.

Five histograms of an hour (scores, boxes per frame, classes, luma, sharpness) are compared with the mean of
the baseline's hours at the same time of day, by their Jensen-Shannon distance: 0 (equal) to 1 (disjoint). The
threshold follows from how much the baseline's own hours differ from each other.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.entities import DriftWindow, Figure

HOUR_S, DAY_S = 3600, 86_400
SIGNALS = ("scores", "per_frame", "classes", "luma", "sharpness")
#: An hour with fewer is not compared: boxes (all scores), frames, boxes, pictures, pictures.
MIN_COUNTS = {"scores": 100, "per_frame": 100, "classes": 100, "luma": 60, "sharpness": 60}
F64 = NDArray[np.float64]
HELP = {
    "distance": "Jensen-Shannon distance of the hour that stands out most.",
    "threshold": "The threshold that this hour is compared with.",
    "signal_alarm": "1 when a signal has shifted.",
}


@dataclass(frozen=True, slots=True)
class HourRule:
    """When a signal has shifted."""

    baseline_days: float = 7.0  # a camera's first days with a version of the model are its baseline
    near_h: int = 1  # hours of the day at most this far apart are compared
    min_days: int = 3  # days of the baseline that must hold such an hour
    min_distance: float = 0.1  # smaller distances never stand out
    times: float = 1.5  # an hour stands out at this many times the baseline's own largest distance
    recent_h: int = 24  # how many of the newest hours are examined
    min_hours: int = 3  # how many of them must stand out

    def __str__(self) -> str:
        return (
            f"shifted: of the newest {self.recent_h} hours at least {self.min_hours} lie further from the "
            f"baseline than {self.min_distance:g} and {self.times:g} times what its own hours differ by"
        )


def watch(hours: Sequence[DriftWindow], rule: HourRule) -> dict[str, Any]:
    """Every camera's signals as JSON; ``alarms`` names camera and signal of those that have shifted."""
    by_camera: dict[str, list[DriftWindow]] = defaultdict(list)
    for hour in hours:
        by_camera[hour.source].append(hour)
    cameras = {camera: watch_camera(mine, rule) for camera, mine in sorted(by_camera.items())}
    alarms = [
        f"{camera}: {signal}"
        for camera, report in cameras.items()
        for signal, item in report["signals"].items()
        if item["verdict"] == "shifted"
    ]
    return {"rule": {"text": str(rule), **asdict(rule)}, "cameras": cameras, "alarms": alarms}


def figures(report: Mapping[str, Any]) -> Iterator[Figure]:
    """What :func:`watch` found, for monitoring: each camera's signals."""
    for camera, item in report["cameras"].items():
        for signal, judged in item["signals"].items():
            values = {**judged, "signal_alarm": judged["verdict"] == "shifted"}
            for name, text in HELP.items():
                yield Figure(f"drift_{name}", float(values[name]), {"camera": camera, "signal": signal}, text)


def watch_camera(hours: Sequence[DriftWindow], rule: HourRule) -> dict[str, Any]:
    """One camera's newest hours, all of the version that serves now, against that version's first days."""
    newest = max(hours, key=lambda hour: (hour.window_start, hour.frames))
    mine = [hour for hour in hours if hour.model_version == newest.model_version]
    ends = mine[0].window_start + rule.baseline_days * DAY_S
    baseline = [hour for hour in mine if hour.window_start < ends]
    since = newest.window_end - rule.recent_h * HOUR_S
    recent = [hour for hour in mine if hour.window_start >= max(since, ends)]
    return {
        "model_version": newest.model_version,
        "baseline_from": minute(mine[0].window_start),
        "baseline_to": minute(ends),
        "newest": minute(newest.window_start),
        "hours": len(recent),
        "signals": {signal: judge(signal, baseline, recent, rule) for signal in SIGNALS},
    }


def judge(
    signal: str, baseline: Sequence[DriftWindow], recent: Sequence[DriftWindow], rule: HourRule
) -> dict[str, Any]:
    """One signal: ``ok``, ``shifted``, or ``collecting`` while there is too little to compare."""
    out, compared, worst = 0, 0, (0.0, 0.0)
    whole = [item for item in baseline if enough(signal, item)]
    for hour in recent:
        apart_s = [(item, abs(item.window_start - hour.window_start) % DAY_S) for item in whole]
        alike = [item for item, s in apart_s if min(s, DAY_S - s) <= rule.near_h * HOUR_S]
        days = {int(item.window_start // DAY_S) for item in alike}
        if not enough(signal, hour) or len(days) < rule.min_days:
            continue
        apart = distance(signal, hour, alike)
        own = [distance(signal, item, [other for other in alike if other is not item]) for item in alike]
        threshold = max(rule.min_distance, rule.times * max(own))
        compared += 1
        out += apart > threshold
        worst = max(worst, (apart, threshold), key=lambda pair: pair[0] - pair[1])
    verdict = "collecting" if not compared else "shifted" if out >= rule.min_hours else "ok"
    found = {"verdict": verdict, "hours_compared": compared, "hours_out": out}
    return {**found, "distance": round(worst[0], 4), "threshold": round(worst[1], 4)}


def enough(signal: str, hour: DriftWindow) -> bool:
    """Whether an hour holds enough to compare."""
    scored = hour.boxes + int(hour.figures["weak"])
    counted = {"scores": scored, "per_frame": hour.frames, "classes": hour.boxes}
    return counted.get(signal, hour.pictures) >= MIN_COUNTS[signal]


def distance(signal: str, hour: DriftWindow, others: Sequence[DriftWindow]) -> float:
    """Jensen-Shannon distance between an hour and the mean of others, each hour with the same weight."""
    table = [item.figures[signal] for item in (hour, *others)]
    if signal == "classes":
        names = sorted({name for counts in table for name in counts})
        table = [[counts.get(name, 0) for name in names] for counts in table]
    shares = np.array(table, np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    return jensen_shannon(shares[0], shares[1:].mean(axis=0))


def jensen_shannon(one: F64, other: F64) -> float:
    """Square root of the Jensen-Shannon divergence in bits of two distributions [N]: 0..1."""
    middle = (one + other) / 2
    both = np.stack([one, other])
    ratios = np.divide(both, middle, out=np.ones_like(both), where=both > 0)
    return math.sqrt(max(0.0, float(np.sum(both * np.log2(ratios))) / 2))


def minute(time: float) -> str:
    """Epoch seconds as UTC to the minute, for reports."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%MZ")
