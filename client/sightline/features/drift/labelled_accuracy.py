"""Accuracy of the live detector on labelled samples, by camera and period of time, against a baseline.

The boxes scored are those that the detector reported when it was live, so neither blurring nor JPEG affects
the figures. They begin at the served score floor, not at 0.001: compare them with each other only.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.entities import Figure
from sightline.errors import EvaluationError, LabelError
from sightline.features.drift.hour_comparison import DAY_S, minute
from sightline.features.drift.labels import boxes_of
from sightline.models.evaluation import cocoset
from sightline.models.evaluation.average_precision import (
    BootstrapInterval,
    ClassMatches,
    bootstrap_draws,
    mean_average_precisions,
)
from sightline.models.evaluation.cocoset import CocoSet

ALL = "(all)"


@dataclass(frozen=True, slots=True)
class AccuracyRule:
    """When accuracy has fallen."""

    figure: str = "map50"  # ``map50`` or ``map50_95``
    fall: float = 0.03  # the smallest fall that counts; 0.03 is three points
    min_pictures: int = 30  # with fewer, on either side, there is no verdict
    min_boxes: int = 10  # only classes with this many true boxes on both sides are compared

    def __str__(self) -> str:
        return (
            f"fallen: {self.figure} is {self.fall:g} or more below the baseline and the 95 % interval of the "
            "difference lies below 0; unsure: the interval reaches 0, label more"
        )


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled samples of any number of sets as one: pictures, truth, and the live detector's boxes."""

    data: CocoSet
    rows: tuple[Sequence[float], ...]  # the boxes, as ``cocoset.to_rows`` has them

    @staticmethod
    def read(folders: Sequence[Path], work: Path) -> "Labelled":
        """Read sets, merged in ``work``; LabelError: a folder is no labelled set, or a picture is in two."""
        categories: dict[str, int] = {}  # ids of pictures and categories are given anew
        images, annotations, boxes = list[dict[str, Any]](), list[dict[str, Any]](), list[tuple[Any, ...]]()
        for folder in folders:
            try:
                coco = json.loads((folder / "annotations.json").read_text())
                found = json.loads((folder / "predictions.json").read_text())
                names = {item["id"]: item["name"] for item in coco["categories"]}
                for name in names.values():
                    categories.setdefault(name, len(categories) + 1)
                numbers = {}
                for number, image in enumerate(coco["images"], start=len(images) + 1):
                    numbers[image["id"]] = number
                    float(image["capture_time"])
                    images.append({**image, "id": number})
                    record = {**image, "predictions": found[image["file_name"]]}
                    boxes += [(number, *box) for box in boxes_of(record)]
                for number, item in enumerate(coco["annotations"], start=len(annotations) + 1):
                    ids = {"id": number, "image_id": numbers[item["image_id"]]}
                    annotations.append({**item, **ids, "category_id": categories[names[item["category_id"]]]})
            except (OSError, KeyError, TypeError, ValueError) as error:
                raise LabelError(
                    f"{folder} is no labelled set ({error!r}); `sightline drift import` makes one"
                ) from error
        files = Counter(image["file_name"] for image in images)
        if twice := [name for name, count in files.items() if count > 1]:
            raise LabelError(f"{twice[0]} stands in two sets; give each picture once")
        work.mkdir(parents=True, exist_ok=True)
        named = [{"id": number, "name": name} for name, number in categories.items()]
        merged = {"images": images, "annotations": annotations, "categories": named}
        (work / "annotations.json").write_text(json.dumps(merged))
        rows = [
            [number, *box, float(score), categories[name]]
            for number, name, score, box in boxes
            if name in categories
        ]
        return Labelled(CocoSet.read(work), tuple(rows))

    def split(self, key: Callable[[Mapping[str, Any]], Any]) -> dict[Any, "Labelled"]:
        """Parts of equal ``key`` of the pictures, in its order."""
        groups: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
        for image in self.data.images:
            groups[key(image)].append(image)
        parts = {}
        for name, images in sorted(groups.items()):
            chosen = {image["id"] for image in images}
            rows = tuple(row for row in self.rows if row[0] in chosen)
            parts[name] = Labelled(replace(self.data, images=tuple(images)), rows)
        return parts

    def by_camera(self) -> dict[str, "Labelled"]:
        """All cameras together, when there are several, then each."""
        cameras = self.split(lambda image: image["camera"])
        return cameras if len(cameras) == 1 else {ALL: self, **cameras}


Baseline = Labelled | Mapping[str, float] | None  # labelled sets; or fixed figures by name; or nothing


def report(labelled: Labelled, baseline: Baseline, days: float, rule: AccuracyRule) -> dict[str, Any]:
    """Accuracy of every camera and period as JSON; ``alarms`` names cameras whose newest period has fallen.

    Without a baseline it is each camera's first period of so many days.
    """
    cameras, alarms = {}, []
    base_by_camera = baseline.by_camera() if isinstance(baseline, Labelled) else {}
    for camera, part in labelled.by_camera().items():
        stretches = part.split(lambda image: image["capture_time"] // (days * DAY_S) * days * DAY_S)
        entries = [_described(start, period, days) for start, period in stretches.items()]
        periods = list(stretches.values())
        base = base_by_camera.get(camera) if isinstance(baseline, Labelled) else baseline
        about: Any = base
        if baseline is None:
            base, about = periods[0], "its first period"
        elif isinstance(base, Labelled):
            about = {"pictures": len(base.data.images), **cocoset.score(base.rows, base.data)}
        for entry, period in [*zip(entries, periods, strict=True)][1 if baseline is None else 0 :]:
            entry["against_baseline"] = compare(base, period, rule)
        if entries[-1].get("against_baseline", {}).get("verdict") == "fallen":
            alarms.append(camera)
        cameras[camera] = {"baseline": about, "periods": entries}
    return {"rule": {"text": str(rule), **asdict(rule)}, "days": days, "cameras": cameras, "alarms": alarms}


def figures(report: Mapping[str, Any]) -> Iterator[Figure]:
    """What :func:`report` found, for monitoring: each camera's newest period."""
    for camera, item in report["cameras"].items():
        newest, labels = item["periods"][-1], {"camera": camera}
        for name, figure, text in (
            ("map50_95", "map50_95", "mAP at IoU 0.5 to 0.95 of the newest labelled period."),
            ("map50", "map50", "mAP at IoU 0.5 of the newest labelled period."),
            ("labelled_pictures", "pictures", "Pictures of the newest labelled period."),
        ):
            yield Figure(f"drift_{name}", float(newest[figure]), labels, text)
        if (fall := newest.get("against_baseline", {}).get("difference")) is not None:
            yield Figure("drift_fall", -fall, labels, "How far the newest period lies below the baseline.")
        alarm = float(camera in report["alarms"])
        yield Figure("drift_accuracy_alarm", alarm, labels, "1 when accuracy has fallen.")


def compare(base: Baseline, now: Labelled, rule: AccuracyRule) -> dict[str, Any]:
    """``now`` minus ``base`` over the classes that both have enough true boxes of, with a 95 % interval.

    The pictures are different ones, so both sides are redrawn independently of each other. A fixed baseline
    has no interval of its own.
    """
    if base is None:
        return {"verdict": "too few", "why": "this camera has no baseline"}
    sides = [cocoset.match(side.rows, side.data) for side in (now, base) if isinstance(side, Labelled)]
    pictures = min(len(side.data.images) for side in (now, base) if isinstance(side, Labelled))
    classes = set.intersection(
        *({name for name, found in side.items() if found.truth.sum() >= rule.min_boxes} for side in sides)
    )
    if pictures < rule.min_pictures or not classes:
        why = f"{pictures} pictures, {len(classes)} classes with {rule.min_boxes} true boxes on both sides"
        return {"verdict": "too few", "why": why}

    def precisions(matches: Mapping[str, ClassMatches], images: int, seed: int) -> NDArray[np.float64]:
        chosen = {name: found for name, found in matches.items() if name in classes}
        return mean_average_precisions(chosen, bootstrap_draws(images, seed=seed))[rule.figure]

    after = precisions(sides[0], len(now.data.images), seed=2)
    if isinstance(base, Labelled):
        before = precisions(sides[1], len(base.data.images), seed=1)
    else:
        before = np.full(len(after), base[rule.figure])
    moved = BootstrapInterval.of(before, after)
    half = (moved.high - moved.low) / 2
    fell = moved.value <= -rule.fall
    return {
        "verdict": "ok" if not fell else "fallen" if moved.high < 0 else "unsure",
        "figure": rule.figure,
        "classes": sorted(classes),
        "difference": round(moved.value, 4),
        "low": round(moved.low, 4),
        "high": round(moved.high, 4),
        # The interval narrows with the square root of the pictures: with this many on each side, half of it
        # is as large as the fall.
        "pictures_to_tell": math.ceil(pictures * (half / rule.fall) ** 2),
    }


def _described(start: float, part: Labelled, days: float) -> dict[str, Any]:
    """A period and its figures; 0 where there is nothing to find: the verdict says that it is too few."""
    images = part.data.images
    truth = sum(int(found.truth.sum()) for found in cocoset.match((), part.data).values())
    nothing = dict.fromkeys(("map50_95", "map50", "map75"), 0.0)
    return {
        "from": minute(start),
        "to": minute(start + days * DAY_S),
        "pictures": len(images),
        "true_boxes": truth,
        "detections": len(part.rows),
        "model_versions": sorted({str(image["model_version"]) for image in images}),
        "strata": dict(sorted(Counter(str(image["stratum"]) for image in images).items())),
        **(cocoset.score(part.rows, part.data) if truth else nothing),
    }


def read_measured_map(manifest: Path) -> dict[str, float]:
    """The accuracy measured of a version, as its manifest says; an EvaluationError when it says nothing."""
    try:
        measured = json.loads(manifest.read_text())["measured_map"]
        return {name: float(measured[name]) for name in ("map50", "map50_95")}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise EvaluationError(
            f"{manifest} names no measured mAP: sightline model evaluate --record"
        ) from error
