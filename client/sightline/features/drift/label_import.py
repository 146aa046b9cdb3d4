"""Labels that come back: checked against what was sent, and kept as a labelled set without pictures.

A set is a folder with ``annotations.json`` (COCO; its images say camera, capture time, stratum and model
version) and ``predictions.json`` (what the live detector had found in the same pictures).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.errors import LabelError
from sightline.features.drift.label_export import boxes_of

#: Time, stratum and hash at the end of a name that was sent; labelling programs put things before it.
_KEY = re.compile(r"(\d{8}T\d{6}\.\d{3}Z-[a-z]+-[a-z]+_[0-9a-f]{16})\.jpg$")
_BEYOND_PX = 2.0  # labellers draw a little over the edge
_MAX_SHOWN = 10


def read_back(corrected: Path, manifest: Path, target: Path, *, partial: bool = False) -> dict[str, int]:
    """Check corrected labels and keep them.

    Args:
        corrected: a COCO file, or a zip with one in it; pictures in the zip must be those that were sent.
        manifest: ``NAME.json`` of the export.
        target: folder of the new set; must not be there.
        partial: pictures may be missing; they are left out of the set.

    Returns:
        Counts of pictures, boxes, and boxes that were left exactly as the detector made them.

    Raises:
        LabelError: every problem found (the first ten), each with what it is about.
    """
    if target.exists():
        raise LabelError(f"{target} is there already; give the set another name")
    sent = _json(manifest.read_bytes(), manifest)
    by_key = {_key(record["file_name"]): record for record in sent["images"]}
    labels, pictures = _open(corrected)
    problems = [
        f"{name}: is not the picture that was sent"
        for name, digest in pictures.items()
        if by_key.get(_key(name), {}).get("sha256") != digest
    ]
    images = _images(labels, by_key, problems)
    missing = sorted(record["file_name"] for key, record in by_key.items() if key not in images.values())
    if missing and not partial:
        problems.append(
            f"{len(missing)} pictures have not come back (--partial leaves them out): {missing[0]}"
        )
    annotations = _annotations(labels, images, by_key, sent["categories"], problems)
    if problems:
        more = f"\n  and {len(problems) - _MAX_SHOWN} more" if len(problems) > _MAX_SHOWN else ""
        raise LabelError(f"{corrected}:\n  " + "\n  ".join(problems[:_MAX_SHOWN]) + more)
    if not images:
        raise LabelError(f"{corrected}: no pictures in it")
    return _write(target, sent["categories"], [by_key[key] for key in images.values()], annotations)


def _open(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The COCO file, and SHA-256 by name of the pictures that came with it."""
    try:
        if not zipfile.is_zipfile(path):
            return _coco(path.read_bytes(), path), {}
        with zipfile.ZipFile(path) as file:
            names = [name for name in file.namelist() if name.endswith(".json")]
            if len(names) != 1:
                raise LabelError(f"{path}: one .json is wanted in the zip, found {len(names)}")
            pictures = {
                name: hashlib.sha256(file.read(name)).hexdigest()
                for name in file.namelist()
                if name.lower().endswith((".jpg", ".jpeg", ".png"))
            }
            return _coco(file.read(names[0]), path), pictures
    except OSError as error:
        raise LabelError(f"{path} cannot be read: {error.strerror}") from error


def _json(text: bytes, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise LabelError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise LabelError(f"{path} is not a JSON object")
    return found


def _coco(text: bytes, path: Path) -> dict[str, Any]:
    found = _json(text, path)
    for key in ("images", "annotations", "categories"):
        items = found.get(key)
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise LabelError(f"{path} is no COCO file: it has no list of {key}")
    return found


def _images(
    labels: Mapping[str, Any], by_key: Mapping[str, Mapping[str, Any]], problems: list[str]
) -> dict[Any, str]:
    """The file's image id → the key of the picture that was sent."""
    found: dict[Any, str] = {}
    for image in labels["images"]:
        name, key = str(image.get("file_name")), _key(str(image.get("file_name")))
        sent = by_key.get(key)
        if sent is None:
            problems.append(f"{name}: was not in this export (its hash is not)")
        elif (image.get("width"), image.get("height")) != (sent["width"], sent["height"]):
            size = f"{image.get('width')}x{image.get('height')}"
            problems.append(f"{name}: is {size}, was sent as {sent['width']}x{sent['height']}")
        elif key in found.values():
            problems.append(f"{name}: stands in the file twice")
        elif image.get("id") in found:
            problems.append(f"{name}: its id {image.get('id')} is another picture's too")
        else:
            found[image.get("id")] = key
    return found


def _annotations(
    labels: Mapping[str, Any],
    images: Mapping[Any, str],
    by_key: Mapping[str, Mapping[str, Any]],
    known: Sequence[str],
    problems: list[str],
) -> list[tuple[str, str, list[float], bool]]:
    """Of each label the picture's key, class, box (left, top, width, height), and whether it is a crowd."""
    names = {item.get("id"): str(item.get("name")) for item in labels["categories"]}
    for stranger in sorted(set(names.values()) - set(known)):
        problems.append(f"category {stranger!r} was not in this export; it had: {', '.join(known)}")
    found = []
    for item in labels["annotations"]:
        label = f"annotation {item.get('id')}"
        key, name = images.get(item.get("image_id")), names.get(item.get("category_id"))
        if key is None or name is None:
            problems.append(f"{label}: its image or its category is not in the file")
            continue
        problem = _box_problem(item.get("bbox"), by_key[key])
        if problem:
            problems.append(f"{label} of {by_key[key]['file_name']}: {problem}")
        else:
            found.append((key, name, [float(side) for side in item["bbox"]], bool(item.get("iscrowd"))))
    return found


def _box_problem(box: Any, sent: Mapping[str, Any]) -> str:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(side, int | float) for side in box):
        return "a box is [left, top, width, height]"
    left, top, width, height = box
    if not all(math.isfinite(side) for side in box) or width <= 0 or height <= 0:
        return f"the box {box} has no area"
    inside = left >= -_BEYOND_PX and top >= -_BEYOND_PX
    inside &= left + width <= sent["width"] + _BEYOND_PX and top + height <= sent["height"] + _BEYOND_PX
    return "" if inside else f"the box {box} lies outside of the picture"


def _write(
    target: Path,
    names: Sequence[str],
    records: Sequence[Mapping[str, Any]],
    annotations: Sequence[tuple[str, str, list[float], bool]],
) -> dict[str, int]:
    numbers = {_key(record["file_name"]): number for number, record in enumerate(records, start=1)}
    images = [
        {"id": number, **{key: value for key, value in record.items() if key != "predictions"}}
        for number, record in enumerate(records, start=1)
    ]
    made = [
        {
            "id": number,
            "image_id": numbers[key],
            "category_id": names.index(name) + 1,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": int(crowd),
        }
        for number, (key, name, box, crowd) in enumerate(annotations, start=1)
    ]
    categories = [{"id": place, "name": name} for place, name in enumerate(names, start=1)]
    coco = {"images": images, "annotations": made, "categories": categories}
    predictions = {record["file_name"]: record["predictions"] for record in records}
    draft = target.with_name(f".{target.name}.new")
    draft.mkdir(parents=True)
    (draft / "annotations.json").write_text(json.dumps(coco) + "\n")
    (draft / "predictions.json").write_text(json.dumps(predictions) + "\n")
    draft.rename(target)
    return {"pictures": len(images), "boxes": len(made), "unchanged": _unchanged(records, annotations)}


def _unchanged(
    records: Sequence[Mapping[str, Any]], annotations: Sequence[tuple[str, str, list[float], bool]]
) -> int:
    """Labels that are the detector's own boxes to a hundredth of a pixel: all of them says nobody looked."""
    own = {
        (_key(record["file_name"]), name, *(round(side, 1) for side in box))
        for record in records
        for name, _, box in boxes_of(record)
    }
    return sum((key, name, *(round(side, 1) for side in box)) in own for key, name, box, _ in annotations)


def _key(file_name: str) -> str:
    match = _KEY.search(file_name)
    return match[1] if match else ""
