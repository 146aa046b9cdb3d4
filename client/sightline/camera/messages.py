"""What supervisor and workers tell each other over their pipes (pickled; both ends are this program)."""

import copyreg
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from sightline import entities
from sightline.base.stats import Histogram
from sightline.base.values import reader_of
from sightline.config import Camera, TritonOptions
from sightline.entities import CameraStatus, Checkpoint, Figure, Variant

#: How a worker ends whose camera hangs.
EXIT_HANGING = 70


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What a worker is started with; cameras come later."""

    name: str
    triton: TritonOptions
    gate: str = ""  # name of the program's open gate; empty: none
    open_limit: int = 8
    log_level: str = "info"


@dataclass(frozen=True, slots=True)
class Retry:
    """Where a camera's own back-off stands, so that a new worker does not start over."""

    failures: int = 0  # tries since things last went well for a while
    wait_s: float = 0.0  # until the next try, from when this was written


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """Everything a worker needs to run one camera, secrets included."""

    camera: Camera
    resume: Mapping[str, Any] = field(default_factory=dict)
    play: str = ""  # names the run of the program in which a recorded file is played once; empty: live
    retry: Retry = Retry()

    @property
    def until_end(self) -> bool:
        """Whether it is a recorded file that is played once, without drops."""
        return bool(self.play)


# -- from the supervisor: one of these; the end of the pipe means the same as Stop -------------------------


@dataclass(frozen=True, slots=True)
class AddCamera:
    """Run one more camera."""

    spec: CameraSpec


@dataclass(frozen=True, slots=True)
class UpdateCamera:
    """Apply changed options between two frames; nothing of the camera starts anew."""

    camera: Camera


@dataclass(frozen=True, slots=True)
class RemoveCamera:
    """Close a camera and report it a last time."""

    name: str


@dataclass(frozen=True, slots=True)
class UpdateWorker:
    """Apply changed options of the whole program."""

    open_limit: int
    log_level: str


@dataclass(frozen=True, slots=True)
class AskFeature:
    """Hand a request to one of a camera's features; nothing where the camera or the feature is not there."""

    camera: str
    feature: str  # its name
    request: object


@dataclass(frozen=True, slots=True)
class Stop:
    """Report every camera a last time, unregister, exit."""


Message = AddCamera | UpdateCamera | RemoveCamera | UpdateWorker | AskFeature | Stop


# -- from a worker ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Report:
    """One camera's part of a worker's report."""

    status: CameraStatus
    checkpoint: Checkpoint | None
    histograms: Mapping[str, Histogram]
    figures: tuple[Figure, ...] = ()  # of the camera and its observers
    retry: Retry = Retry()
    last: bool = False  # the camera has left the worker


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """Sent once a second for every camera; for a single camera at once when it has an event, or leaves."""

    reports: tuple[Report, ...]
    hanging: tuple[str, ...] = ()  # cameras whose decoder hangs in C: the worker ends after this


@dataclass(frozen=True, slots=True)
class LiveMessage:
    """What there is to be seen of a camera now; has a pipe of its own, and the next one replaces it."""

    camera: str
    variant: Variant
    header: Mapping[str, Any]  # JSON-able
    payload: bytes  # JPEG, or JSON


# -- how they travel --------------------------------------------------------------------------------------


def _reducer_of(kind: type) -> Callable[[Any], tuple[type, tuple[Any, ...]]]:
    read = reader_of(kind)
    return lambda value: (kind, read(value))


def _pickled_by_fields() -> list[type]:
    """The dataclasses of this module and the entities that have two fields or more."""
    modules = (entities, sys.modules[__name__])
    kinds = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    return [kind for kind in dict.fromkeys(kinds) if is_dataclass(kind) and len(fields(kind)) > 1]


# A frozen dataclass with slots asks for its fields anew whenever it is pickled or read, which takes twice as
# long as what is done with them.
PICKLED_BY_FIELDS = _pickled_by_fields()
for _kind in PICKLED_BY_FIELDS:
    copyreg.pickle(_kind, _reducer_of(_kind))
