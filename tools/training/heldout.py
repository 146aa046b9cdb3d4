"""How good a detector is on pictures it never learnt from: by class, light, weather, and for counting.

    python tools/training/generate.py DATA --set heldout
    python tools/training/heldout.py models/sightline.onnx DATA/heldout

Pictures go through the same numerics as on the server, and through its OpenVINO engine where that is
installed, else through ONNX Runtime. Objects are judged by their full boxes, hidden parts included; those
that :func:`dataset.ignored` names count neither as found nor as missed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.base.geometry import iou_matrix
from sightline.serving.runtime.numerics import boxes_from_head, network_input
from sightline.simulation.scenes.spec import LIGHTS, WEATHERS

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from training.dataset import CLASS, FULL, NETWORK, OCCLUSION, Pictures, ignored
from training.generate import CLASSES

SCORE_FLOOR = 0.001
#: What the demo counts; fire and smoke are told apart from them in the table.
COUNTED = ("person", "bicycle", "car", "motorcycle", "bus", "truck", "van", "forklift")
SURE = 0.3  # a score from which on a box is taken for an object, when recall and edges are told
F32 = NDArray[np.float32]
Runner = Callable[[NDArray[np.uint8]], F32]


@dataclass(frozen=True, slots=True)
class Found:
    """Boxes of one picture: xyxy float32 [N, 4] in network pixels, scores [N], class ids [N]."""

    xyxy: F32
    scores: F32
    class_ids: NDArray[np.int32]


def runner(network: Path) -> Runner:
    """What turns an I420 picture of the network's size into a head [4 + classes, anchors]."""
    try:
        import openvino  # noqa: F401
    except ImportError:
        return _onnx_runner(network)
    from sightline.serving.runtime.engine import CpuEngine

    engine = CpuEngine(network, NETWORK)

    def run(frame: NDArray[np.uint8]) -> F32:
        heads: list[F32] = []
        engine.submit([frame], lambda _, head: heads.append(head.copy()), lambda _, error: None)
        engine.wait()
        return heads[0]

    return run


def _onnx_runner(network: Path) -> Runner:
    import onnxruntime

    session = onnxruntime.InferenceSession(network.read_bytes(), providers=["CPUExecutionProvider"])

    def run(frame: NDArray[np.uint8]) -> F32:
        head: F32 = session.run(None, {"images": network_input(frame)[None]})[0][0]
        return head

    return run


def detect(run: Runner, pictures: Pictures) -> Iterator[Found]:
    """Boxes of every picture."""
    for number in range(len(pictures)):
        frame, _ = pictures.frame(number)
        boxes, scores, class_ids = boxes_from_head(run(frame), NETWORK, SCORE_FLOOR)
        yield Found(boxes * np.array([NETWORK[1], NETWORK[0]] * 2, np.float32), scores, class_ids)


def truth_of(pictures: Pictures, numbers: Sequence[int]) -> dict[str, Any]:
    """True boxes in COCO's format; what is ignored is a crowd."""
    annotations: list[dict[str, Any]] = []
    for number in numbers:
        _, rows = pictures.frame(number)
        for row, dim in zip(rows, ignored(rows), strict=True):
            x0, y0, x1, y1 = (float(v) for v in row[FULL])
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number + 1, "category_id": int(row[CLASS]) + 1,
                 "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": int(dim)}
            )  # fmt: skip
    images = [{"id": number + 1, "width": NETWORK[1], "height": NETWORK[0]} for number in numbers]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def precisions(pictures: Pictures, found: Sequence[Found], numbers: Sequence[int]) -> dict[str, Any]:
    """COCO's average precision: by class at IoU 0.5, and means over the counted classes that occur."""
    from faster_coco_eval import COCO, COCOeval_faster

    rows = [
        [number + 1, x0, y0, x1 - x0, y1 - y0, score, class_id + 1]
        for number in numbers
        for (x0, y0, x1, y1), score, class_id in zip(
            found[number].xyxy.tolist(), found[number].scores, found[number].class_ids, strict=True
        )
    ]
    if not rows:
        return {"by_class": dict.fromkeys(CLASSES, 0.0), "map50": 0.0, "map50_95": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):  # the library talks
        truth = COCO(truth_of(pictures, numbers))
        evaluation = COCOeval_faster(truth, truth.loadRes(np.array(rows, np.float64)), iouType="bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    table = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]  # IoU, recall, class; -1: does not occur
    present = [i for i in range(len(CLASSES)) if table[0, 0, i] >= 0]
    by_class = {CLASSES[i]: float(table[0, :, i].mean()) for i in present}
    counted = [i for i in present if CLASSES[i] in COUNTED]
    means = {"map50": table[0][:, counted].mean(), "map50_95": table[:, :, counted].mean()}
    return {"by_class": by_class, **{name: float(value) for name, value in means.items()}}


def edges(pictures: Pictures, found: Sequence[Found], numbers: Sequence[int]) -> dict[str, float]:
    """For counting: recall, false boxes a picture, error of the bottom edge."""
    clear, hidden, spare, errors = list[bool](), list[bool](), 0, list[float]()
    for number in numbers:
        _, rows = pictures.frame(number)
        sure = found[number].scores >= SURE
        xyxy, class_ids = found[number].xyxy[sure], found[number].class_ids[sure]
        overlap = iou_matrix(rows[:, FULL], xyxy) * (rows[:, CLASS, None] == class_ids[None])
        spare += int((overlap.max(axis=0, initial=0) < 0.5).sum())
        for i in np.flatnonzero(~ignored(rows)):
            best = int(overlap[i].argmax()) if len(xyxy) else -1
            hit = best >= 0 and bool(overlap[i, best] >= 0.5)
            (hidden if rows[i, OCCLUSION] > 0.3 else clear).append(hit)
            if hit:
                errors.append(abs(float(xyxy[best, 3] - rows[i, FULL][3])))
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
    pictures = Pictures(folder)
    found = list(detect(runner(network), pictures))
    return {
        name: {"pictures": len(n), **precisions(pictures, found, n), **edges(pictures, found, n)}
        for name, n in groups(pictures).items()
    }


def table(result: dict[str, Any]) -> str:
    """As Markdown: figures by group, then by class."""
    names = ("pictures", "map50", "map50_95", "recall_clear", "recall_partly_hidden", "false_a_picture",
             "bottom_error_px_median", "bottom_error_px_p95")  # fmt: skip
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for group, row in result.items():
        lines.append(f"| {group} | " + " | ".join(f"{row[name]:.3g}" for name in names) + " |")
    kinds = [group for group in result if ", camera" not in group]
    lines += ["", "| AP50 | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 1) + "|"]
    for name in CLASSES:
        cells = (result[kind]["by_class"].get(name) for kind in kinds)
        lines.append(f"| {name} | " + " | ".join("-" if c is None else f"{c:.3f}" for c in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Evaluate and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
