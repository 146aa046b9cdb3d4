"""Accuracy of the live detector on labelled samples, by camera and period of time, against a baseline.

The boxes scored are those that the detector reported when it was live, so neither blurring nor JPEG affects
the figures. They begin at the served score floor, not at 0.001: compare them with each other only.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import EvaluationError, LabelError
from sightline.features.drift.hour_comparison import DAY_S, minute
from sightline.features.drift.label_export import boxes_of
from sightline.models.evaluation import cocoset
from sightline.models.evaluation.average_precision import (
    BootstrapInterval,
    ClassMatches,
    bootstrap_draws,
    mean_average_precisions,
)
from sightline.models.evaluation.cocoset import CocoSet

FALL = 0.03  # three points
ALL = "(all)"


@dataclass(frozen=True, slots=True)
class AccuracyRule:
    """When accuracy has fallen.

    Attributes:
        figure: ``map50`` or ``map50_95``.
        fall: the smallest fall that counts; 0.03 is three points.
        min_pictures: with fewer, on either side, there is no verdict.
        min_boxes: only classes with this many true boxes on both sides are compared.
    """

    figure: str = "map50"
    fall: float = FALL
    min_pictures: int = 30
    min_boxes: int = 10


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled samples of any number of sets as one: pictures, truth, and the live detector's boxes."""

    data: CocoSet
    rows: tuple[Sequence[float], ...]

    @staticmethod
    def read(folders: Sequence[Path], work: Path) -> Labelled:
        """Read sets; the merged COCO file is written into ``work``.

        Raises:
            LabelError: a folder is no labelled set, or a picture stands in two.
        """
        names: list[str] = []
        merged: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
        predictions: dict[int, Mapping[str, Any]] = {}
        for folder in folders:
            _add(folder, merged, names, predictions)
        files = Counter(image["file_name"] for image in merged["images"])
        if twice := [name for name, count in files.items() if count > 1]:
            raise LabelError(f"{twice[0]} stands in two sets; give each picture once")
        merged["categories"] = [{"id": place, "name": name} for place, name in enumerate(names, start=1)]
        work.mkdir(parents=True, exist_ok=True)
        (work / "annotations.json").write_text(json.dumps(merged))
        data = CocoSet.read(work)
        rows = [row for image in data.images for row in _rows(image, predictions[image["id"]], data)]
        return Labelled(data, tuple(rows))

    def part(self, images: Sequence[Mapping[str, Any]]) -> Labelled:
        """Only these pictures."""
        chosen = {image["id"] for image in images}
        data = CocoSet(self.data.folder, self.data.annotations, tuple(images), self.data.category_ids)
        return Labelled(data, tuple(row for row in self.rows if row[0] in chosen))

    def by_camera(self) -> dict[str, Labelled]:
        """All cameras together, then each."""
        cameras = sorted({image["camera"] for image in self.data.images})
        parts = {ALL: self} if len(cameras) != 1 else {}
        for camera in cameras:
            parts[camera] = self.part([image for image in self.data.images if image["camera"] == camera])
        return parts

    def by_period(self, days: float) -> list[tuple[float, Labelled]]:
        """Stretches of so many days that hold pictures, oldest first: when each begins, and its part."""
        periods: dict[float, list[Mapping[str, Any]]] = defaultdict(list)
        for image in self.data.images:
            periods[image["capture_time"] // (days * DAY_S) * days * DAY_S].append(image)
        return [(start, self.part(images)) for start, images in sorted(periods.items())]


def report(
    labelled: Labelled, baseline: Labelled | Mapping[str, float] | None, days: float, rule: AccuracyRule
) -> dict[str, Any]:
    """Accuracy of every camera and period as JSON; ``alarms`` names cameras whose newest period has fallen.

    Args:
        labelled: what is judged.
        baseline: a labelled set of its own; or fixed figures by name; or None: a camera's first period.
        days: length of a period.
        rule: what counts as a fall.
    """
    cameras = {}
    base_by_camera = baseline.by_camera() if isinstance(baseline, Labelled) else {}
    for camera, part in labelled.by_camera().items():
        periods = part.by_period(days)
        if baseline is None:
            base: Labelled | Mapping[str, float] | None = periods[0][1]
        elif isinstance(baseline, Labelled):
            base = base_by_camera.get(camera)
        else:
            base = baseline
        first = 1 if baseline is None else 0
        entries = [_described(start, period, days) for start, period in periods]
        for entry, (_, period) in list(zip(entries, periods, strict=True))[first:]:
            entry["against_baseline"] = compare(base, period, rule)
        cameras[camera] = {"baseline": _baseline(base, baseline), "periods": entries}
    alarms = [name for name, item in cameras.items() if verdict(item) == "fallen"]
    return {"rule": _rule(rule), "days": days, "cameras": cameras, "alarms": alarms}


def verdict(camera: Mapping[str, Any]) -> str:
    """Of a camera's newest period: ``ok``, ``fallen``, ``unsure``, ``too few``, or ``baseline``."""
    newest = camera["periods"][-1]
    return str(newest["against_baseline"]["verdict"]) if "against_baseline" in newest else "baseline"


def compare(base: Labelled | Mapping[str, float] | None, now: Labelled, rule: AccuracyRule) -> dict[str, Any]:
    """``now`` minus ``base`` over the classes that both have enough true boxes of, with a 95 % interval.

    The pictures are different ones, so both sides are redrawn independently of each other. A fixed baseline
    has no interval of its own.
    """
    if base is None:
        return {"verdict": "too few", "why": "this camera has no baseline"}
    matches = cocoset.match(now.rows, now.data)
    classes = {name for name, found in matches.items() if found.truth.sum() >= rule.min_boxes}
    pictures = [len(now.data.images)]
    draws = bootstrap_draws(len(now.data.images), seed=2)
    if isinstance(base, Labelled):
        base_matches = cocoset.match(base.rows, base.data)
        classes &= {name for name, found in base_matches.items() if found.truth.sum() >= rule.min_boxes}
        pictures.append(len(base.data.images))
        before = _precisions(base_matches, classes, bootstrap_draws(len(base.data.images), seed=1), rule)
    else:
        before = np.full(len(draws), base[rule.figure])
    if min(pictures) < rule.min_pictures or not classes:
        enough = f"{len(classes)} classes with {rule.min_boxes} true boxes on both sides"
        why = f"{min(pictures)} pictures, {enough}"
        return {"verdict": "too few", "why": why}
    moved = BootstrapInterval.of(before, _precisions(matches, classes, draws, rule))
    fell = moved.value <= -rule.fall
    half = (moved.high - moved.low) / 2
    return {
        "verdict": ("fallen" if moved.high < 0 else "unsure") if fell else "ok",
        "figure": rule.figure,
        "classes": sorted(classes),
        "difference": round(moved.value, 4),
        "low": round(moved.low, 4),
        "high": round(moved.high, 4),
        # The interval narrows with the square root of the pictures: with this many on each side, half of it
        # is as large as the fall.
        "pictures_to_tell": math.ceil(min(pictures) * (half / rule.fall) ** 2),
    }


def _precisions(
    matches: Mapping[str, ClassMatches],
    classes: set[str],
    draws: NDArray[np.float64],
    rule: AccuracyRule,
) -> NDArray[np.float64]:
    chosen = {name: found for name, found in matches.items() if name in classes}
    return mean_average_precisions(chosen, draws)[rule.figure]


def _described(start: float, part: Labelled, days: float) -> dict[str, Any]:
    images = part.data.images
    truth = sum(int(found.truth.sum()) for found in cocoset.match((), part.data).values())
    return {
        "from": minute(start),
        "to": minute(start + days * DAY_S),
        "pictures": len(images),
        "true_boxes": truth,
        "detections": len(part.rows),
        "model_versions": sorted({str(image["model_version"]) for image in images}),
        "strata": dict(sorted(Counter(str(image["stratum"]) for image in images).items())),
        **_figures(part, truth),
    }


def _figures(part: Labelled, truth: int) -> dict[str, float]:
    """COCO's figures; 0 where there is nothing to find: the verdict says that it is too few."""
    names = ("map50_95", "map50", "map75")
    return cocoset.score(part.rows, part.data) if truth else dict.fromkeys(names, 0.0)


def _baseline(
    base: Labelled | Mapping[str, float] | None, wanted: Labelled | Mapping[str, float] | None
) -> Any:
    if wanted is None:
        return "its first period"
    if isinstance(base, Labelled):
        return {"pictures": len(base.data.images), **cocoset.score(base.rows, base.data)}
    return dict(base) if base else None


def _rule(rule: AccuracyRule) -> dict[str, Any]:
    text = (
        f"fallen: {rule.figure} is {rule.fall:g} or more below the baseline and the 95 % interval of the "
        "difference lies below 0; unsure: the interval reaches 0, label more"
    )
    return {
        "text": text,
        **{key: getattr(rule, key) for key in ("figure", "fall", "min_pictures", "min_boxes")},
    }


def _add(
    folder: Path,
    merged: dict[str, list[Any]],
    names: list[str],
    predictions: dict[int, Mapping[str, Any]],
) -> None:
    """Add one set; ids of pictures and categories are given anew."""
    try:
        coco = json.loads((folder / "annotations.json").read_text())
        found = json.loads((folder / "predictions.json").read_text())
        places = {}
        for item in coco["categories"]:
            if item["name"] not in names:
                names.append(item["name"])
            places[item["id"]] = names.index(item["name"]) + 1
        numbers = {}
        for image in coco["images"]:
            number = numbers[image["id"]] = len(merged["images"]) + 1
            float(image["capture_time"])
            merged["images"].append({**image, "id": number})
            predictions[number] = found[image["file_name"]]
        for item in coco["annotations"]:
            ids = {"id": len(merged["annotations"]) + 1, "image_id": numbers[item["image_id"]]}
            merged["annotations"].append({**item, **ids, "category_id": places[item["category_id"]]})
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise LabelError(
            f"{folder} is no labelled set ({error!r}); `sightline drift import` makes one"
        ) from error


def _rows(image: Mapping[str, Any], found: Mapping[str, Any], data: CocoSet) -> Iterator[list[float]]:
    """The live boxes as rows of :func:`sightline.models.evaluation.cocoset.to_rows`."""
    for name, score, box in boxes_of({**image, "predictions": found}):
        category = data.category_ids.get(name)
        if category is not None:
            yield [image["id"], *box, float(score), category]


def read_measured_map(manifest: Path) -> dict[str, float]:
    """The accuracy that was measured of a version and stands in its manifest.

    Raises:
        EvaluationError: there is none in it.
    """
    try:
        measured = json.loads(manifest.read_text())["measured_map"]
        return {name: float(measured[name]) for name in ("map50", "map50_95")}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise EvaluationError(
            f"{manifest} names no measured mAP: sightline model evaluate --record"
        ) from error
