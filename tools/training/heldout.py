"""How good a detector is on pictures it never learnt from: by class, light, weather, and for counting.

    python tools/training/generate.py DATA --set heldout
    python tools/training/heldout.py models/sightline.onnx DATA/heldout

Pictures go through the same numerics as on the server, and through ONNX Runtime. Objects are judged by their
full boxes, hidden parts included; those that :func:`dataset.ignored` names count neither as found nor as
missed.
"""

import json
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.base.geometry import iou_matrix
from sightline.entities import Detections
from sightline.models.evaluation import average_precision as coco
from sightline.models.evaluation.onnx_engine import BareEngine, open_session
from sightline.simulation.scenes.spec import LIGHTS, WEATHERS

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from load.reports import markdown_table
from training.dataset import CLASS, FULL, NETWORK, OCCLUSION, Pictures, ignored
from training.generate import CLASSES

SCORE_FLOOR = 0.001
#: What the demo counts; fire and smoke are told apart from them in the table.
COUNTED = ("person", "bicycle", "car", "motorcycle", "bus", "truck", "van", "forklift")
SURE = 0.3  # a score from which on a box is taken for an object, when recall and edges are told


def precisions(pictures: Pictures, found: Sequence[Detections], numbers: Sequence[int]) -> dict[str, Any]:
    """COCO's average precision: by class at IoU 0.5, and over counted classes; what is ignored is a crowd."""

    def ltwh(xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1).astype(np.float64)

    def of_class(class_id: int) -> Iterator[coco.ClassInPicture]:
        for number in numbers:
            _, rows = pictures.frame(number)
            true = rows[rows[:, CLASS] == class_id]
            mine = found[number].take(found[number].class_ids == class_id)
            crowd = ignored(true)
            yield mine.scores, coco.box_ious(ltwh(mine.xyxy), ltwh(true[:, FULL]), crowd), crowd

    matches = {name: coco.match_class(of_class(class_id)) for class_id, name in enumerate(CLASSES)}
    levels = {name: coco.average_precision(each)[:, 0] for name, each in matches.items() if each.truth.any()}
    counted = np.mean([each for name, each in levels.items() if name in COUNTED] or [np.zeros(10)], axis=0)
    by_class = {name: float(each[0]) for name, each in levels.items()}
    return {"by_class": by_class, "map50": float(counted[0]), "map50_95": float(counted.mean())}


def edges(pictures: Pictures, found: Sequence[Detections], numbers: Sequence[int]) -> dict[str, float]:
    """For counting: recall, false boxes a picture, error of the bottom edge."""
    clear, hidden, spare, errors = list[bool](), list[bool](), 0, list[float]()
    for number in numbers:
        _, rows = pictures.frame(number)
        sure = found[number].take(found[number].scores >= SURE)
        overlap = iou_matrix(rows[:, FULL], sure.xyxy) * (rows[:, CLASS, None] == sure.class_ids[None])
        spare += int((overlap.max(axis=0, initial=0) < 0.5).sum())
        for i in np.flatnonzero(~ignored(rows)):
            best = int(overlap[i].argmax()) if len(sure) else -1
            hit = best >= 0 and bool(overlap[i, best] >= 0.5)
            (hidden if rows[i, OCCLUSION] > 0.3 else clear).append(hit)
            if hit:
                errors.append(abs(float(sure.xyxy[best, 3] - rows[i, FULL][3])))
    return {
        "recall_clear": float(np.mean(clear) if clear else np.nan),
        "recall_partly_hidden": float(np.mean(hidden) if hidden else np.nan),
        "false_a_picture": spare / max(len(numbers), 1),
        "bottom_error_px_median": float(np.median(errors or [np.nan])),
        "bottom_error_px_p95": float(np.percentile(errors or [np.nan], 95)),
    }


def groups(pictures: Pictures) -> dict[str, list[int]]:
    """Numbers of the pictures by scene, by light and weather, and all of them."""
    result: dict[str, list[int]] = {"all": [], **{f"{a}, {b}": [] for a in LIGHTS for b in WEATHERS}}
    for number, (file, _) in enumerate(pictures.places):
        scene, _, light, weather, camera = pictures.files[file].stem.split("-")
        for key in ("all", f"{light}, {weather}", scene, f"{scene}, camera {camera}"):
            result.setdefault(key, []).append(number)
    return {name: numbers for name, numbers in result.items() if numbers}


def evaluate(network: Path, folder: Path) -> dict[str, Any]:
    """Every figure of every group."""
    pictures, found = Pictures(folder), []
    engine = BareEngine(open_session(network.read_bytes()), NETWORK, CLASSES)
    size = np.array([NETWORK[1], NETWORK[0]] * 2, np.float32)
    for number in range(len(pictures)):
        boxes = engine.detect(pictures.frame(number)[0], SCORE_FLOOR)
        found.append(replace(boxes, xyxy=boxes.xyxy * size))  # in network pixels
    return {
        name: {"pictures": len(n), **precisions(pictures, found, n), **edges(pictures, found, n)}
        for name, n in groups(pictures).items()
    }


def table(result: dict[str, Any]) -> str:
    """As Markdown: figures by group, then by class."""
    names = ("pictures", "map50", "map50_95", "recall_clear", "recall_partly_hidden", "false_a_picture",
             "bottom_error_px_median", "bottom_error_px_p95")  # fmt: skip
    by_group = [[group, *(f"{row[name]:.3g}" for name in names)] for group, row in result.items()]
    kinds = [group for group in result if ", camera" not in group]
    by_class = []
    for name in CLASSES:
        cells = (result[kind]["by_class"].get(name) for kind in kinds)
        by_class.append([name, *("-" if cell is None else f"{cell:.3f}" for cell in cells)])
    tables = markdown_table(["", *names], by_group), markdown_table(["AP50", *kinds], by_class)
    return "\n".join([*tables[0], "", *tables[1]])


def main() -> None:
    """Evaluate and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path, help="keep the figures in this file")
    given = parser.parse_args()
    result = evaluate(given.network, given.data)
    print(table(result))
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
