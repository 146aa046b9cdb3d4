"""What supervisor and worker say to each other over their pipe (pickled; both ends are this program)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

from sightline.base.stats import HistogramSnapshot
from sightline.config import Camera, TritonOptions
from sightline.entities import CameraStatus, Checkpoint, Figure


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """Everything a worker needs to know; secrets travel in here, never in arguments or the environment."""

    camera: Camera
    triton: TritonOptions
    resume: Mapping[str, Any] = field(default_factory=dict)
    until_end: bool = False
    gate_folder: Path | None = None
    open_limit: int = 8
    log_level: str = "info"


@dataclass(frozen=True, slots=True)
class Report:
    """Sent by a worker once a second, and once more when it ends."""

    status: CameraStatus
    checkpoint: Checkpoint | None
    histograms: Mapping[str, HistogramSnapshot]
    events_total: Mapping[tuple[str, str], int] = field(default_factory=dict)  # by kind and place
    figures: tuple[Figure, ...] = ()  # of the analysis and the features


class Command(Enum):
    """Sent by the supervisor."""

    STOP = auto()  # flush, unregister, exit; the end of the pipe means the same
