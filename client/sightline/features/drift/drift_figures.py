"""What the reports on drift found, as figures for monitoring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sightline.entities import Figure

_HELP = {
    "map50": "mAP at IoU 0.5 of the newest labelled period.",
    "map50_95": "mAP at IoU 0.5 to 0.95 of the newest labelled period.",
    "labelled_pictures": "Pictures of the newest labelled period.",
    "fall": "How far the newest period lies below the baseline.",
    "accuracy_alarm": "1 when accuracy has fallen.",
    "distance": "Jensen-Shannon distance of the hour that stands out most.",
    "threshold": "The threshold that this hour is compared with.",
    "signal_alarm": "1 when a signal has shifted.",
}


def accuracy_figures(report: Mapping[str, Any]) -> Iterator[Figure]:
    """Of a report of :mod:`labelled_accuracy`: each camera's newest period."""
    for camera, item in report["cameras"].items():
        newest = item["periods"][-1]
        values = {name: newest[name] for name in ("map50", "map50_95")}
        values["labelled_pictures"] = newest["pictures"]
        if "difference" in (change := newest.get("against_baseline", {})):
            values["fall"] = -change["difference"]
        values["accuracy_alarm"] = camera in report["alarms"]
        yield from (_figure(name, value, {"camera": camera}) for name, value in values.items())


def hour_figures(report: Mapping[str, Any]) -> Iterator[Figure]:
    """Of a report of :mod:`hour_comparison`: each camera's signals."""
    for camera, item in report["cameras"].items():
        for signal, judged in item["signals"].items():
            values = {"distance": judged["distance"], "threshold": judged["threshold"]}
            values["signal_alarm"] = judged["verdict"] == "shifted"
            labels = {"camera": camera, "signal": signal}
            yield from (_figure(name, value, labels) for name, value in values.items())


def _figure(name: str, value: float, labels: Mapping[str, str]) -> Figure:
    return Figure(f"drift_{name}", float(value), labels, _HELP[name])
