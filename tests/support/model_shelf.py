"""A model repository of manifests alone: what can be told of versions without a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sightline.models.registry import audit_trail
from sightline.serving import model_configs
from sightline.serving.model_configs import Choice


def put_version(folder: Path, version: int, *classes: str, **values: Any) -> None:
    """A version with this manifest."""
    known = {
        "model_version": f"street-{version}-0a1b2c3d4e5f",
        "source_sha256": f"{version:064x}",
        "exported_at": "2026-11-20T10:00:00+00:00",
        "class_names": classes or ("person", "car"),
        "head": "anchors",
        "output_shape": [6, 1260],
        "network_height": 192,
        "network_width": 320,
        "precision": "fp16",
        "score_floor": 0.05,
        "measured_map": None,
    }
    place = folder / "yolo" / str(version)
    place.mkdir(parents=True)
    (place / "manifest.json").write_text(json.dumps({**known, **values}))


def serve_version(folder: Path, version: int, detector: str = "detector") -> None:
    """Let a detector serve a version, as a switch leaves files and trail; no Triton is asked."""
    previous = model_configs.active(folder, detector)
    choices = model_configs.read_choices(folder) | {detector: Choice(version)}
    chosen = {name: {"version": choice.version, "nice": 0} for name, choice in choices.items()}
    (folder / model_configs.CHOICES).write_text(json.dumps(chosen))
    audit_trail.record(
        folder, action="switch", detector=detector, version=version, previous=previous, result="ok"
    )
