"""The truth as files: JSON, MOT and COCO."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sightline.simulation.scenes.happenings import Crossing
from sightline.simulation.scenes.scene_places import Places, in_picture, places_of
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.scenes.truth import RunTruth
from sightline.simulation.scenes.viewpoints import PinholeCamera, camera_of
from sightline.simulation.scenes.visibility import FrameTruth

CLASSES = ("person", "bicycle", "car", "motorcycle", "bus", "truck", "van", "forklift", "fire", "smoke")
_DIGITS = 4
_COLUMNS = ("ids", "full_xyxy", "visible_xyxy", "occlusion", "truncation", "foot_xy", "position", "heading",
            "speed")  # fmt: skip


def write_truth(
    folder: Path, result: RunTruth, frames: Iterable[FrameTruth], fps: float, places: Places | None = None
) -> list[Path]:
    """Write everything into a folder: run.json, frames.jsonl, mot/, coco.json."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = list(frames)
    written = [folder / "run.json", folder / "frames.jsonl", folder / "coco.json"]
    _write_json(written[0], run_record(result, fps, places))
    with written[1].open("w", encoding="utf-8") as lines:
        for i, frame in enumerate(rows):
            lines.write(json.dumps(frame_record(i, frame), separators=(",", ":")) + "\n")
    _write_json(written[2], coco(result.spec, rows))
    written += write_mot(folder / "mot", result.spec, rows, fps)
    return written


def run_record(result: RunTruth, fps: float, places: Places | None = None) -> dict[str, Any]:
    """What happened, the camera, and the lines and zones in the picture, ready for JSON."""
    places = places or places_of(result.spec.scene)
    camera = camera_of(result.spec)
    actors = [
        {"id": a.id, "kind": a.kind, "size_m": list(a.size), **dict(a.attributes)} for a in result.actors
    ]
    visits = [{**asdict(v), "dwell_s": v.dwell_s} for v in result.visits]
    return _record(
        {
            "spec": asdict(result.spec),
            "fps": fps,
            "length_s": result.length_s,
            "camera": {
                "position_m": camera.position.tolist(),
                "rotation": camera.rotation.tolist(),
                "focal_px": camera.focal_px,
            },
            "lines": {line.name: in_picture((line.a, line.b), camera) for line in places.lines},
            "zones": {zone.name: in_picture(zone.points, camera) for zone in places.zones},
            "actors": actors,
            "plates": {a.id: a.attributes["plate"] for a in result.actors if "plate" in a.attributes},
            "crossings": [_crossing(c, camera) for c in result.crossings],
            "visits": visits,
            "occupancy": result.occupancy(),
            "violations": [asdict(v) for v in result.violations],
        }
    )


def _crossing(crossing: Crossing, camera: PinholeCamera) -> dict[str, Any]:
    """A crossing, and whether the camera could see the place: a line may reach out of the picture."""
    ((x, y),) = in_picture(((crossing.x, crossing.y),), camera)
    return {**asdict(crossing), "in_picture": 0 <= x <= 1 and 0 <= y <= 1}


def frame_record(index: int, frame: FrameTruth) -> dict[str, Any]:
    """One frame, ready for JSON: arrays become lists of the same names."""
    columns = {name: getattr(frame, name).tolist() for name in _COLUMNS}
    return _record({"frame": index, "time_s": frame.time_s, "kinds": list(frame.kinds), **columns})


def write_mot(folder: Path, spec: SceneSpec, rows: list[FrameTruth], fps: float) -> list[Path]:
    """MOTChallenge: gt/gt.txt (frame from 1, id, left, top, width, height, 1, class from 1, visibility)."""
    (folder / "gt").mkdir(parents=True, exist_ok=True)
    lines = []
    for number, frame in enumerate(rows, start=1):
        for i, (x0, y0, x1, y1) in enumerate(frame.full_xyxy.astype(float)):
            kind = CLASSES.index(frame.kinds[i]) + 1
            box = f"{x0:.2f},{y0:.2f},{x1 - x0:.2f},{y1 - y0:.2f}"
            lines.append(f"{number},{frame.ids[i]},{box},1,{kind},{1 - float(frame.occlusion[i]):.4f}\n")
    gt, info, labels = folder / "gt" / "gt.txt", folder / "seqinfo.ini", folder / "labels.txt"
    gt.write_text("".join(lines), encoding="utf-8")
    info.write_text(
        f"[Sequence]\nname={spec.scene}-{spec.seed}\nimDir=img1\nframeRate={fps:g}\nseqLength={len(rows)}\n"
        f"imWidth={spec.width}\nimHeight={spec.height}\nimExt=.jpg\n",
        encoding="utf-8",
    )
    labels.write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    return [gt, info, labels]


def coco(spec: SceneSpec, rows: list[FrameTruth]) -> dict[str, Any]:
    """COCO detection format: full boxes of the actors that are visible at all; image i is frame i."""
    annotations: list[dict[str, Any]] = []
    for index, frame in enumerate(rows):
        for i, (x0, y0, x1, y1) in enumerate(frame.full_xyxy.astype(float).tolist()):
            if frame.occlusion[i] >= 1:
                continue
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index,
                    "category_id": CLASSES.index(frame.kinds[i]) + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                    "track_id": int(frame.ids[i]),
                    "occlusion": float(frame.occlusion[i]),
                }
            )
    images = [
        {"id": i, "file_name": f"{i:06d}.png", "width": spec.width, "height": spec.height, "time_s": f.time_s}
        for i, f in enumerate(rows)
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASSES, start=1)]
    return _record({"images": images, "annotations": annotations, "categories": categories})


def _record(value: dict[str, Any]) -> dict[str, Any]:
    return {key: _rounded(item) for key, item in value.items()}


def _rounded(value: Any) -> Any:
    """Floats to four digits, so that the files are small and the same everywhere."""
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def _write_json(path: Path, record: dict[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
