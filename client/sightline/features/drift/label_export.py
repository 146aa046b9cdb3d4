"""Sampled pictures for labellers: the pictures, and a COCO file with the detector's own boxes."""

from __future__ import annotations

import json
import os
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.errors import LabelError
from sightline.features.drift.samples import LEDGER, Sample, read_samples
from sightline.features.drift.sampling import number_of

IN_ZIP = "annotations/instances_default.json"  # where CVAT's "COCO 1.0" has it
WHAT = (
    'Boxes with "predicted": true were made by the detector, with its score. Correct them: remove wrong '
    "ones, draw missing ones, move loose ones. Every object of these categories counts."
)


@dataclass(frozen=True, slots=True)
class LabelPicture:
    """One picture to label, and the boxes that the live detector found in it."""

    sample: Sample
    record: Mapping[str, Any]

    @property
    def file_name(self) -> str:
        """Its name for the labellers; the hash at its end identifies it when it comes back."""
        return f"{self.record['camera']}_{self.sample.path.stem}_{self.record['sha256'][:16]}.jpg"


def find(folder: Path, cameras: Collection[str], span: tuple[float, float]) -> list[LabelPicture]:
    """Every sample of the cameras (none named: all) whose capture time lies in ``span``, oldest first.

    Raises:
        LabelError: a sample cannot be read.
    """
    chosen = []
    for place in sorted(path.parent for path in folder.glob(f"*/{LEDGER}")):
        if cameras and place.name not in cameras:
            continue
        for sample in read_samples(place):
            if span[0] <= sample.time < span[1]:
                chosen.append(LabelPicture(sample, _read(sample.path.with_suffix(".json"))))
    return sorted(chosen, key=lambda item: (item.sample.time, item.sample.path))


def choose(pictures: Sequence[LabelPicture], count: int, seed: int = 0) -> list[LabelPicture]:
    """At most ``count``, from every camera and stratum in turn; the same seed chooses the same ones."""
    strata: dict[tuple[str, str], list[LabelPicture]] = defaultdict(list)
    for item in sorted(pictures, key=lambda item: number_of(seed, item.file_name)):
        strata[item.record["camera"], item.sample.stratum].append(item)
    taken: list[LabelPicture] = []
    while len(taken) < count and any(strata.values()):
        taken += [items.pop() for _, items in sorted(strata.items()) if items]
    return sorted(taken[:count], key=lambda item: item.file_name)


def export(
    chosen: Sequence[LabelPicture], target: Path, classes: Sequence[str] | None, min_score: float
) -> tuple[Path, Path]:
    """Write ``TARGET.zip`` for the labellers and ``TARGET.json``, what the import checks against.

    Args:
        chosen: the pictures.
        target: without suffix.
        classes: to label; None: every class of the models.
        min_score: weaker boxes are not shown to the labellers.

    Raises:
        LabelError: nothing to export, or a class that no model has.
    """
    if not chosen:
        raise LabelError("no sampled pictures: has a camera consent (drift.consent), and is --folder right?")
    known = list(dict.fromkeys(name for item in chosen for name in item.record["class_names"]))
    strangers = sorted(set(classes or ()) - set(known))
    if strangers:
        raise LabelError(f"no model has a class {', '.join(strangers)}; they have: {', '.join(known)}")
    names = list(classes) if classes else known
    target.parent.mkdir(parents=True, exist_ok=True)
    manifest = target.with_name(f"{target.name}.json")
    records = [_record(item) for item in chosen]
    _write_private(manifest, json.dumps({"categories": names, "images": records}, indent=1) + "\n")
    archive = target.with_name(f"{target.name}.zip")
    archive.unlink(missing_ok=True)
    archive.touch(mode=0o600)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(IN_ZIP, json.dumps(_coco(records, names, min_score)))
        for item in chosen:
            file.write(item.sample.path, f"images/{item.file_name}")
    return archive, manifest


def _coco(records: Sequence[Mapping[str, Any]], names: Sequence[str], min_score: float) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, record in enumerate(records, start=1):
        images.append({"id": number, **{key: record[key] for key in ("file_name", "width", "height")}})
        for name, score, box in boxes_of(record):
            if score >= min_score and name in names:
                annotations.append(
                    _annotation(len(annotations) + 1, number, names.index(name) + 1, box, score)
                )
    categories = [{"id": place, "name": name} for place, name in enumerate(names, start=1)]
    return {
        "info": {"description": WHAT},
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


def boxes_of(record: Mapping[str, Any]) -> Iterator[tuple[str, float, list[float]]]:
    """The detector's boxes: class, score, and left, top, width, height in pixels."""
    width, height = record["width"], record["height"]
    columns = [record["predictions"][key] for key in ("classes", "scores", "xyxy")]
    for name, score, (left, top, right, bottom) in zip(*columns, strict=True):
        yield name, score, [left * width, top * height, (right - left) * width, (bottom - top) * height]


def _annotation(number: int, image: int, category: int, box: list[float], score: float) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [round(side, 2) for side in box],
        "area": round(box[2] * box[3], 2),
        "iscrowd": 0,
        "segmentation": [],
        "score": score,
        "predicted": True,
    }


def _record(item: LabelPicture) -> dict[str, Any]:
    keys = ("sha256", "width", "height", "camera", "capture_time", "stratum", "model_version", "blurred")
    record = item.record
    predictions = {key: record[key] for key in ("classes", "scores", "xyxy")}
    return {"file_name": item.file_name, **{key: record[key] for key in keys}, "predictions": predictions}


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise LabelError(f"{path} cannot be read: {error}") from error


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
