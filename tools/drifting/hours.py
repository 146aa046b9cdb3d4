"""Numbers without labels: whether a camera's hour still looks like the same hour of its first days.

Five histograms of an hour (scores, boxes of a frame, classes, luma, sharpness) are held against the sum of
the baseline's hours of the same time of day, by the Jensen-Shannon distance, 0 (the same) to 1 (nothing in
common). What the baseline's own hours differ by among themselves sets the threshold.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlmodel import col

from sightline.entities import DriftWindow
from sightline.errors import StoreUnavailable
from sightline.store.read.readonly import Database, DatabaseState
from sightline.store.tables import DriftWindowRow

HOUR_S, DAY_S = 3600, 86_400
SIGNALS = ("scores", "per_frame", "classes", "luma", "sharpness")
#: An hour with less says nothing: boxes (all scores), frames, boxes, pictures, pictures.
LEAST = {"scores": 100, "per_frame": 100, "classes": 100, "luma": 60, "sharpness": 60}
F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HourRule:
    """When numbers have shifted.

    Attributes:
        baseline_days: a camera's first days with a version of the model are its baseline.
        near_h: hours of the day up to so far apart are compared.
        least_days: of the baseline, with such an hour.
        least_distance: smaller distances never stand out.
        times: an hour stands out from so many times the baseline's own largest distance on.
        recent_h: how many of the newest hours are looked at.
        least_hours: so many of them must stand out.
    """

    baseline_days: float = 7.0
    near_h: int = 1
    least_days: int = 3
    least_distance: float = 0.1
    times: float = 1.5
    recent_h: int = 24
    least_hours: int = 3


def read_hours(url: str, since: float = 0.0) -> list[DriftWindow]:
    """Every hour in the database that began at ``since`` or later, oldest first of each camera.

    Raises:
        StoreUnavailable: the database cannot be read; the text says why.
    """
    row = DriftWindowRow
    names = (
        "source",
        "window_start",
        "window_end",
        "model_version",
        "frames",
        "boxes",
        "pictures",
        "figures",
    )
    query = sa.select(*(col(getattr(row, name)) for name in names))
    query = query.where(col(row.window_start) >= datetime.fromtimestamp(since, UTC))
    query = query.order_by(col(row.source), col(row.window_start), col(row.model_version))
    database = Database(url)
    condition = database.condition()
    if condition.state is not DatabaseState.READY:
        raise StoreUnavailable(f"{condition.problem} {condition.detail}".strip())
    try:
        with database.reading() as connection:
            found = [item._asdict() for item in connection.execute(query)]
    finally:
        database.close()
    times = ("window_start", "window_end")
    return [DriftWindow(**{**item, **{name: item[name].timestamp() for name in times}}) for item in found]


def watch(hours: Sequence[DriftWindow], rule: HourRule) -> dict[str, Any]:
    """What has shifted, JSON-able; ``alarms`` names camera and signal."""
    by_camera: dict[str, list[DriftWindow]] = defaultdict(list)
    for hour in hours:
        by_camera[hour.source].append(hour)
    cameras = {camera: watch_camera(mine, rule) for camera, mine in sorted(by_camera.items())}
    alarms = [
        f"{camera}: {signal}"
        for camera, found in cameras.items()
        for signal, item in found["signals"].items()
        if item["verdict"] == "shifted"
    ]
    return {"rule": _rule(rule), "cameras": cameras, "alarms": alarms}


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
    for hour in recent:
        alike = [item for item in baseline if _near(item, hour, rule.near_h) and enough(signal, item)]
        days = {int(item.window_start // DAY_S) for item in alike}
        if not enough(signal, hour) or len(days) < rule.least_days:
            continue
        found = distance(signal, hour, alike)
        own = [distance(signal, item, [other for other in alike if other is not item]) for item in alike]
        threshold = max(rule.least_distance, rule.times * max(own))
        compared += 1
        out += found > threshold
        worst = max(worst, (found, threshold), key=lambda pair: pair[0] - pair[1])
    shifted = "shifted" if out >= rule.least_hours else "ok"
    return {
        "verdict": shifted if compared else "collecting",
        "hours_compared": compared,
        "hours_out": out,
        "distance": round(worst[0], 4),
        "threshold": round(worst[1], 4),
    }


def enough(signal: str, hour: DriftWindow) -> bool:
    """Whether an hour holds enough to compare."""
    counted = {
        "scores": hour.boxes + int(hour.figures["weak"]),
        "per_frame": hour.frames,
        "classes": hour.boxes,
    }
    return counted.get(signal, hour.pictures) >= LEAST[signal]


def distance(signal: str, hour: DriftWindow, others: Sequence[DriftWindow]) -> float:
    """Jensen-Shannon distance between an hour and the mean of others, each hour with the same weight."""
    whole = [hour, *others]
    if signal == "classes":
        names = sorted({name for item in whole for name in item.figures["classes"]})
        table = [[item.figures["classes"].get(name, 0) for name in names] for item in whole]
    else:
        table = [item.figures[signal] for item in whole]
    shares = np.array(table, np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    return jensen_shannon(shares[0], shares[1:].mean(axis=0))


def jensen_shannon(one: F64, other: F64) -> float:
    """Square root of the Jensen-Shannon divergence in bits of two distributions [N]: 0..1."""
    middle = (one + other) / 2
    halves = [
        float(np.sum(part * np.log2(np.divide(part, middle, out=np.ones_like(part), where=part > 0))))
        for part in (one, other)
    ]
    return math.sqrt(max(0.0, sum(halves) / 2))


def _near(one: DriftWindow, other: DriftWindow, most_h: int) -> bool:
    """Whether the hours of the day are close, around midnight too."""
    apart = abs(one.window_start - other.window_start) % DAY_S
    return min(apart, DAY_S - apart) <= most_h * HOUR_S


def _rule(rule: HourRule) -> Mapping[str, Any]:
    text = (
        f"shifted: of the newest {rule.recent_h} hours at least {rule.least_hours} lie further from the "
        f"baseline than {rule.least_distance:g} and {rule.times:g} times what its own hours differ by"
    )
    return {"text": text, **{name: getattr(rule, name) for name in HourRule.__slots__}}


def minute(time: float) -> str:
    """A time of reports, to the minute, UTC."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%MZ")
