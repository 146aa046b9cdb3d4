"""The truth as files: JSON, MOT and COCO."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sightline.simulation.scenes.scene_places import in_picture, places_of
from sightline.simulation.scenes.spec import SceneSpec, camera_of
from sightline.simulation.scenes.truth import RunTruth
from sightline.simulation.scenes.visibility import FrameTruth

CLASSES = ("person", "bicycle", "car", "motorcycle", "bus", "truck", "van", "forklift", "fire", "smoke")
_COLUMNS = ("ids", "full_xyxy", "visible_xyxy", "occlusion", "truncation", "foot_xy", "position", "heading",
            "speed")  # fmt: skip


def write_truth(folder: Path, result: RunTruth, frames: Iterable[FrameTruth], fps: float) -> list[Path]:
    """Write everything into a folder: run.json, frames.jsonl, coco.json, mot/."""
    rows, lines = list(frames), []
    for i, frame in enumerate(rows):  # arrays become lists of the same names
        columns = {name: getattr(frame, name).tolist() for name in _COLUMNS}
        record = {"frame": i, "time_s": frame.time_s, "kinds": frame.kinds, **columns}
        lines.append(_text(record, separators=(",", ":")))
    texts = {
        "run.json": _text(run_record(result, fps), indent=1),
        "frames.jsonl": "".join(lines),
        "coco.json": _text(coco(result.spec, rows), indent=1),
        **{f"mot/{name}": text for name, text in mot(result.spec, rows, fps).items()},
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def run_record(result: RunTruth, fps: float) -> dict[str, Any]:
    """What happened, the camera, and the lines and zones in the picture, ready for JSON.

    A line may reach out of the picture, so crossings say whether their place is in it.
    """
    places, camera = places_of(result.spec.scene), camera_of(result.spec)
    view = {"position_m": camera.position.tolist(), "rotation": camera.rotation.tolist()}
    crossings = []
    for crossing in result.crossings:
        ((x, y),) = in_picture(((crossing.x, crossing.y),), camera)
        crossings.append({**asdict(crossing), "in_picture": 0 <= x <= 1 and 0 <= y <= 1})
    return {
        "spec": asdict(result.spec),
        "fps": fps,
        "length_s": result.length_s,
        "camera": view | {"focal_px": camera.focal_px},
        "lines": {line.name: in_picture((line.a, line.b), camera) for line in places.lines},
        "zones": {zone.name: in_picture(zone.points, camera) for zone in places.zones},
        "actors": [{"id": a.id, "kind": a.kind, "size_m": a.size, **a.attributes} for a in result.actors],
        "plates": {a.id: a.attributes["plate"] for a in result.actors if "plate" in a.attributes},
        "crossings": crossings,
        "visits": [{**asdict(v), "dwell_s": v.dwell_s} for v in result.visits],
        "occupancy": result.occupancy(),
        "violations": [asdict(v) for v in result.violations],
    }


def mot(spec: SceneSpec, rows: list[FrameTruth], fps: float) -> dict[str, str]:
    """MOTChallenge: gt/gt.txt (frame from 1, id, left, top, width, height, 1, class from 1, visibility)."""
    lines = []
    for number, frame in enumerate(rows, start=1):
        for i, (x0, y0, x1, y1) in enumerate(frame.full_xyxy.astype(float)):
            kind = CLASSES.index(frame.kinds[i]) + 1
            box = f"{x0:.2f},{y0:.2f},{x1 - x0:.2f},{y1 - y0:.2f}"
            lines.append(f"{number},{frame.ids[i]},{box},1,{kind},{1 - float(frame.occlusion[i]):.4f}\n")
    info = (
        f"[Sequence]\nname={spec.scene}-{spec.seed}\nimDir=img1\nframeRate={fps:g}\nseqLength={len(rows)}\n"
        f"imWidth={spec.width}\nimHeight={spec.height}\nimExt=.jpg\n"
    )
    return {"gt/gt.txt": "".join(lines), "seqinfo.ini": info, "labels.txt": "\n".join(CLASSES) + "\n"}


def coco(spec: SceneSpec, rows: list[FrameTruth]) -> dict[str, Any]:
    """COCO detection format: full boxes of the actors that are visible at all; image i is frame i."""
    annotations: list[dict[str, Any]] = []
    for index, frame in enumerate(rows):
        for i, (x0, y0, x1, y1) in enumerate(frame.full_xyxy.astype(float).tolist()):
            if frame.occlusion[i] >= 1:
                continue
            kind, wide, tall = CLASSES.index(frame.kinds[i]) + 1, x1 - x0, y1 - y0
            row: dict[str, Any] = {"id": len(annotations) + 1, "image_id": index, "category_id": kind}
            row |= {"bbox": [x0, y0, wide, tall], "area": wide * tall, "iscrowd": 0}
            row |= {"track_id": int(frame.ids[i]), "occlusion": float(frame.occlusion[i])}
            annotations.append(row)
    size = {"width": spec.width, "height": spec.height}
    images = [{"id": i, "file_name": f"{i:06d}.png", **size, "time_s": f.time_s} for i, f in enumerate(rows)]
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASSES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _text(record: dict[str, Any], **style: Any) -> str:
    return json.dumps(_rounded(record), **style) + "\n"


def _rounded(value: Any) -> Any:
    """Floats to four digits, so that the files are small and the same everywhere."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
