"""Sampled pictures to labellers and back, as COCO with the detector's own boxes.

What comes back is checked against what was sent, and kept as a labelled set without pictures: a folder with
``annotations.json`` (COCO; its images say camera, capture time, stratum and model version) and
``predictions.json`` (what the live detector had found in the same pictures).
"""

import hashlib
import json
import math
import re
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.base.file_times import captured_time
from sightline.errors import LabelError
from sightline.features.drift.samples import camera_folders, number_of
from sightline.features.kept_files import write_private

IN_ZIP = "annotations/instances_default.json"  # where CVAT's "COCO 1.0" has it
WHAT = (
    'Boxes with "predicted": true were made by the detector, with its score. Correct them: remove wrong '
    "ones, draw missing ones, move loose ones. Every object of these categories counts."
)
#: Time, stratum and hash at the end of a name that was sent; labelling programs put things before it.
_KEY = re.compile(r"(\d{8}T\d{6}\.\d{3}Z-[a-z]+-[a-z]+_[0-9a-f]{16})\.jpg$")
_STRATUM = re.compile(r"Z-([a-z]+-[a-z]+)\.")
_BEYOND_PX = 2.0  # labellers draw a little over the edge
_MAX_SHOWN = 10

Record = Mapping[str, Any]  # of a picture, as it was sent


@dataclass(frozen=True, slots=True)
class Sample:
    """One kept picture, and the boxes that the live detector found in it."""

    path: Path  # of the JPEG; the JSON is beside it
    time: float  # capture time, UTC epoch seconds
    stratum: str  # kind and light, such as ``weak-dark``
    size_bytes: int  # of both files
    record: Record  # the JSON

    @property
    def file_name(self) -> str:
        """Its name for the labellers; the hash at its end identifies it when it comes back."""
        return f"{self.record['camera']}_{self.path.stem}_{self.record['sha256'][:16]}.jpg"


#: File name, class, left, top, width, height in pixels, and what else stands in an annotation.
Label = tuple[str, str, list[float], Record]


def find(folder: Path, cameras: Collection[str], span: tuple[float, float]) -> list[Sample]:
    """Whole samples of cameras (none: all) captured in ``span``, oldest first; LabelError: unreadable."""
    samples = []
    places = [place for place in camera_folders(folder) if not cameras or place.name in cameras]
    for path in [path for place in places for path in place.glob("*.jpg")]:
        captured, stratum, beside = captured_time(path), _STRATUM.search(path.name), path.with_suffix(".json")
        if captured is None or stratum is None or not beside.is_file() or not span[0] <= captured < span[1]:
            continue
        try:
            size = path.stat().st_size + beside.stat().st_size
            samples.append(Sample(path, captured, stratum[1], size, dict(json.loads(beside.read_text()))))
        except (OSError, ValueError) as error:
            raise LabelError(f"{beside} cannot be read: {error}") from error
    return sorted(samples, key=lambda sample: (sample.time, sample.path))


def choose(samples: Sequence[Sample], count: int, seed: int = 0) -> list[Sample]:
    """At most ``count``, from every camera and stratum in turn; the same seed chooses the same ones."""
    strata: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for item in sorted(samples, key=lambda item: number_of(seed, item.file_name)):
        strata[item.record["camera"], item.stratum].append(item)
    taken: list[Sample] = []
    while len(taken) < count and any(strata.values()):
        taken += [items.pop() for _, items in sorted(strata.items()) if items]
    return sorted(taken[:count], key=lambda item: item.file_name)


def boxes_of(record: Record) -> Iterator[tuple[str, float, list[float]]]:
    """The detector's boxes: class, score, and left, top, width, height in pixels."""
    width, height = record["width"], record["height"]
    columns = [record["predictions"][key] for key in ("classes", "scores", "xyxy")]
    for name, score, (left, top, right, bottom) in zip(*columns, strict=True):
        yield name, score, [left * width, top * height, (right - left) * width, (bottom - top) * height]


def export(
    chosen: Sequence[Sample], target: Path, classes: Sequence[str] | None, min_score: float
) -> tuple[Path, Path]:
    """Write ``TARGET.zip`` for the labellers and ``TARGET.json``, what the import checks against.

    ``target`` is without suffix, ``classes`` are those to label (None: all of the models'), and boxes weaker
    than ``min_score`` are not shown to the labellers. LabelError: no picture, or a class that no model has.
    """
    if not chosen:
        raise LabelError("no sampled pictures: has a camera consent (drift.consent), and is --folder right?")
    known = list(dict.fromkeys(name for item in chosen for name in item.record["class_names"]))
    if strangers := sorted(set(classes or ()) - set(known)):
        raise LabelError(f"no model has a class {', '.join(strangers)}; they have: {', '.join(known)}")
    names = list(classes or known)
    about = ("sha256", "width", "height", "camera", "capture_time", "stratum", "model_version", "blurred")
    records = [
        {
            "file_name": item.file_name,
            **{key: item.record[key] for key in about},
            "predictions": {key: item.record[key] for key in ("classes", "scores", "xyxy")},
        }
        for item in chosen
    ]
    more = {"segmentation": [], "iscrowd": 0, "predicted": True}
    shown: list[Label] = [
        (record["file_name"], name, [round(px, 2) for px in box], {"score": score, **more})
        for record in records
        for name, score, box in boxes_of(record)
        if score >= min_score and name in names
    ]
    images = [{key: record[key] for key in ("file_name", "width", "height")} for record in records]
    target.parent.mkdir(parents=True, exist_ok=True)
    manifest, archive = (target.with_name(f"{target.name}{suffix}") for suffix in (".json", ".zip"))
    write_private(manifest, (json.dumps({"categories": names, "images": records}, indent=1) + "\n").encode())
    archive.unlink(missing_ok=True)
    archive.touch(mode=0o600)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(IN_ZIP, json.dumps({"info": {"description": WHAT}, **_coco(names, images, shown)}))
        for item in chosen:
            file.write(item.path, f"images/{item.file_name}")
    return archive, manifest


def _coco(names: Sequence[str], images: Sequence[Record], labels: Sequence[Label]) -> dict[str, Any]:
    """A COCO file; ids are places."""
    ids = {image["file_name"]: number for number, image in enumerate(images, start=1)}
    annotations = [
        {
            "id": number,
            "image_id": ids[file],
            "category_id": names.index(name) + 1,
            "bbox": box,
            "area": round(box[2] * box[3], 2),
            **more,
        }
        for number, (file, name, box, more) in enumerate(labels, start=1)
    ]
    categories = [{"id": place, "name": name} for place, name in enumerate(names, start=1)]
    numbered = [{"id": ids[image["file_name"]], **image} for image in images]
    return {"images": numbered, "annotations": annotations, "categories": categories}


def read_back(corrected: Path, manifest: Path, target: Path, *, partial: bool = False) -> dict[str, int]:
    """Check corrected labels and keep them in ``target``, a folder that must not be there.

    ``corrected`` is a COCO file, or a zip with one in it; pictures in the zip must be those that were sent.
    ``manifest`` is ``NAME.json`` of the export. With ``partial`` pictures may be missing; they are left out
    of the set. Returns counts of pictures, boxes, and boxes that were left exactly as the detector made them.
    LabelError: every problem found (the first ten), each with what it is about.
    """
    if target.exists():
        raise LabelError(f"{target} is there already; give the set another name")
    sent = _json(manifest.read_bytes(), manifest)
    by_key = {_key(record["file_name"]): record for record in sent["images"]}
    coco, pictures = _open(corrected)
    problems = [
        f"{name}: is not the picture that was sent"
        for name, digest in pictures.items()
        if by_key.get(_key(name), {}).get("sha256") != digest
    ]
    images = _images(coco, by_key, problems)
    back = {record["file_name"] for record in images.values()}
    missing = sorted({record["file_name"] for record in sent["images"]} - back)
    if missing and not partial:
        text = "pictures have not come back (--partial leaves them out)"
        problems.append(f"{len(missing)} {text}: {missing[0]}")
    labels = _labels(coco, images, sent["categories"], problems)
    if problems:
        more = f"\n  and {len(problems) - _MAX_SHOWN} more" if len(problems) > _MAX_SHOWN else ""
        raise LabelError(f"{corrected}:\n  " + "\n  ".join(problems[:_MAX_SHOWN]) + more)
    if not images:
        raise LabelError(f"{corrected}: no pictures in it")
    return _write(target, sent["categories"], list(images.values()), labels)


def _open(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The COCO file, and SHA-256 by name of the pictures that came with it."""
    pictures: dict[str, str] = {}
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                names = [name for name in file.namelist() if name.endswith(".json")]
                if len(names) != 1:
                    raise LabelError(f"{path}: one .json is wanted in the zip, found {len(names)}")
                text = file.read(names[0])
                shots = [name for name in file.namelist() if name.lower().endswith((".jpg", ".jpeg", ".png"))]
                pictures = {name: hashlib.sha256(file.read(name)).hexdigest() for name in shots}
        else:
            text = path.read_bytes()
    except OSError as error:
        raise LabelError(f"{path} cannot be read: {error.strerror}") from error
    coco = _json(text, path)
    for key in ("images", "annotations", "categories"):
        items = coco.get(key)
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise LabelError(f"{path} is no COCO file: it has no list of {key}")
    return coco, pictures


def _json(text: bytes, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise LabelError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise LabelError(f"{path} is not a JSON object")
    return found


def _images(coco: Mapping[str, Any], by_key: Mapping[str, Record], problems: list[str]) -> dict[Any, Record]:
    """The file's image id → what was sent."""
    images: dict[Any, Record] = {}
    for image in coco["images"]:
        name, number = str(image.get("file_name")), image.get("id")
        width, height, sent = image.get("width"), image.get("height"), by_key.get(_key(name))
        if sent is None:
            problems.append(f"{name}: was not in this export (its hash is not)")
        elif (width, height) != (sent["width"], sent["height"]):
            problems.append(f"{name}: is {width}x{height}, was sent as {sent['width']}x{sent['height']}")
        elif any(sent is other for other in images.values()):
            problems.append(f"{name}: stands in the file twice")
        elif number in images:
            problems.append(f"{name}: its id {number} is another picture's too")
        else:
            images[number] = sent
    return images


def _labels(
    coco: Record, images: Mapping[Any, Record], known: Sequence[str], problems: list[str]
) -> list[Label]:
    names = {item.get("id"): str(item.get("name")) for item in coco["categories"]}
    for stranger in sorted(set(names.values()) - set(known)):
        problems.append(f"category {stranger!r} was not in this export; it had: {', '.join(known)}")
    labels: list[Label] = []
    for item in coco["annotations"]:
        sent, name = images.get(item.get("image_id")), names.get(item.get("category_id"))
        if sent is None or name is None:
            problems.append(f"annotation {item.get('id')}: its image or its category is not in the file")
        elif problem := _box_problem(item.get("bbox"), sent):
            problems.append(f"annotation {item.get('id')} of {sent['file_name']}: {problem}")
        else:
            crowd = {"iscrowd": int(bool(item.get("iscrowd")))}
            labels.append((sent["file_name"], name, [*map(float, item["bbox"])], crowd))
    return labels


def _box_problem(box: Any, sent: Record) -> str:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(side, int | float) for side in box):
        return "a box is [left, top, width, height]"
    left, top, width, height = box
    if not all(math.isfinite(side) for side in box) or width <= 0 or height <= 0:
        return f"the box {box} has no area"
    inside = left >= -_BEYOND_PX and top >= -_BEYOND_PX
    inside &= left + width <= sent["width"] + _BEYOND_PX and top + height <= sent["height"] + _BEYOND_PX
    return "" if inside else f"the box {box} lies outside of the picture"


def _write(
    target: Path, names: Sequence[str], records: Sequence[Record], labels: Sequence[Label]
) -> dict[str, int]:
    predictions = {record["file_name"]: record["predictions"] for record in records}
    images = [{key: value for key, value in record.items() if key != "predictions"} for record in records]
    draft = target.with_name(f".{target.name}.new")
    draft.mkdir(parents=True)
    (draft / "annotations.json").write_text(json.dumps(_coco(names, images, labels)) + "\n")
    (draft / "predictions.json").write_text(json.dumps(predictions) + "\n")
    draft.rename(target)
    # Labels that are the detector's own boxes to a tenth of a pixel: all of them says nobody looked.
    own = {
        (record["file_name"], name, *(round(side, 1) for side in box))
        for record in records
        for name, _, box in boxes_of(record)
    }
    unchanged = sum((file, name, *(round(side, 1) for side in box)) in own for file, name, box, _ in labels)
    return {"pictures": len(images), "boxes": len(labels), "unchanged": unchanged}


def _key(file_name: str) -> str:
    match = _KEY.search(file_name)
    return match[1] if match else ""
