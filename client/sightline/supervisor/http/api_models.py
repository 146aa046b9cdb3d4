"""The API for versions of the network: which there are, who uses them, and another one in their place.

What loads a network, or goes through a shadow's episodes, runs in a process of its own: this one neither
imports what that takes, nor keeps the memory.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field
from starlette.exceptions import HTTPException

from sightline.access.audit import Action, record_done
from sightline.access.rights import Right
from sightline.base.processes import apart
from sightline.config import unknown_classes
from sightline.errors import RepositoryError, SightlineError
from sightline.models.registry import audit_trail
from sightline.models.registry.repository import RETIRED, earlier_version, retired
from sightline.serving import model_configs
from sightline.store.access_store import AccessStore
from sightline.supervisor.control import Control
from sightline.supervisor.http.endpoint import Call, Endpoint, FreeText, Taken, not_there
from sightline.supervisor.supervisor import Supervisor

_MODELS = "/api/v1/models"
_OPERATE = "sightline.models.registry.operations:operate"
_REPORT = "sightline.features.shadow.shadow_report:report_of"
_BUSY = "another version is being loaded, or a shadow judged; wait for its end"
_ASK = "the model repository cannot be read; tell an engineer who sees all cameras"
_UNREADABLE = "cannot be read"
_OUTCOMES = frozenset({"reason", "problems"})  # of the audit trail: what was found, which names files
SHADOW_NICE = 19
HISTORY = 50  # lines of the audit trail


class ModelReturn(Taken):
    """Back to the version that served before."""

    why: FreeText = Field("", max_length=500, description="For the audit trail.")
    force: bool = Field(False, description="Though cameras count classes that it lacks.")
    try_only: bool = Field(False, description="Tell what it would do.")


class ModelSwitch(ModelReturn):
    """Another version in place of the one that serves."""

    version: int = Field(ge=1, lt=1 << 63)


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version of the network, by its manifest."""

    version: int
    model_version: str = ""  # its full name
    height: int = 0  # of the network's input, pixels
    width: int = 0
    classes: tuple[str, ...] = ()
    precision: str = ""
    exported_at: str = ""
    source_sha256: str = ""
    measured: dict[str, Any] | None = None  # map50_95, map50 and on what, as `sightline model evaluate` found
    retired: bool = False
    problem: str = ""  # why it cannot be read


@dataclass(frozen=True, slots=True)
class DetectorUse:
    """A detector: what it is to serve, and whom."""

    detector: str
    version: int | None  # null: none is chosen
    earlier: int | None  # to which a rollback leads; null: none is known
    cameras: list[str]
    answered: list[str]  # full names of the versions that these cameras' newest boxes are of


@dataclass(frozen=True, slots=True)
class ShadowUse:
    """A candidate that sees frames of some cameras."""

    model: str
    cameras: list[str]
    folder: str  # of its episodes; empty for those who do not see all cameras


@dataclass(frozen=True, slots=True)
class ModelsAnswer:
    """All of a model repository."""

    repository: str  # its folder; empty for those who do not see all cameras
    problem: str  # why nothing can be said of it, and what to do; empty when all is well
    detectors: list[DetectorUse]
    versions: list[ModelVersion]
    shadows: list[ShadowUse]
    history: list[dict[str, Any]]  # the newest lines of its audit trail, newest first


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """What a switch does, or did."""

    detector: str
    version: ModelVersion
    previous: ModelVersion | None
    cameras: list[str]
    gained: list[str]  # classes
    lost: list[str]
    lacking: list[str]  # sentences: classes that cameras count and the version lacks
    done: bool


class ModelsApi:
    """The versions.

    Args:
        supervisor: whose cameras use them.
        control: of the configuration: it names the repository, and Triton.
        store: where it is kept who changed what.
    """

    def __init__(self, supervisor: Supervisor, control: Control, store: AccessStore) -> None:
        self._supervisor, self._control, self._store = supervisor, control, store
        self._one = threading.Lock()  # of what takes long

    def endpoints(self) -> list[Endpoint]:
        """All of them."""
        see = partial(Endpoint, "GET", right=Right.SEE_CONFIG)
        post = partial(Endpoint, "POST", right=Right.SWITCH_MODEL, gives=ModelPlan, long=True)
        return [
            see(_MODELS, handler=self._read, each=True, gives=ModelsAnswer),
            post(f"{_MODELS}/{{detector}}/switch", handler=self._switch, takes=ModelSwitch),
            post(f"{_MODELS}/{{detector}}/rollback", handler=self._rollback, takes=ModelReturn),
            see("/api/v1/shadows/{model}", handler=self._shadow, gives=dict[str, Any], long=True),
        ]

    def _read(self, call: Call) -> ModelsAnswer:
        """Versions of the network, which detector serves which, to which cameras, and what was changed."""
        answer = self._answer(call)
        return answer if call.sees(None) else _without_paths(answer)

    def _answer(self, call: Call) -> ModelsAnswer:
        folder = self._folder
        shadows = self._shadows(call)
        try:
            self._check()
            detectors = [self._use(name, call) for name in self._detectors()]
            numbers = [*model_configs.versions(folder), *retired(folder)]
            found = [_version(folder, number) for number in sorted(numbers, reverse=True)]
        except RepositoryError as error:
            return ModelsAnswer(str(folder), str(error), [], [], shadows, [])
        # The trail names detectors and versions alone.
        history = audit_trail.read(folder)[: -HISTORY - 1 : -1]
        return ModelsAnswer(str(folder), "", detectors, found, shadows, history)

    def _switch(self, call: Call) -> ModelPlan:
        """Let a detector serve another version, if that is good and answers; or tell what that would do."""
        taken: ModelSwitch = call.taken
        return self._change(call, "switch", taken.version)

    def _rollback(self, call: Call) -> ModelPlan:
        """Let a detector serve the version that served before; or tell what that would do."""
        self._check()
        name = call.connection.path_params["detector"]
        if (version := earlier_version(self._folder, name)) is None:
            raise HTTPException(409, f"no earlier version of {name} is known: choose one")
        return self._change(call, "rollback", version)

    def _shadow(self, call: Call) -> dict[str, Any]:
        """What a candidate would have changed, by all its episodes, and what the rule says of it."""
        model = call.connection.path_params["model"]
        for shadow in self._shadows(call):
            if shadow.model == model:
                with self._alone():
                    report: dict[str, Any] = apart(_REPORT, Path(shadow.folder), model, nice=SHADOW_NICE)
                return {key: value for key, value in report.items() if key != "pictures"}
        raise not_there(f"shadow {model!r}")

    def _change(self, call: Call, operation: str, number: int) -> ModelPlan:
        self._check()
        detector, taken = call.connection.path_params["detector"], call.taken
        if detector not in self._detectors():
            raise not_there(f"detector {detector!r}")
        plan = self._plan(detector, number)
        if taken.try_only:
            return plan
        if plan.lacking and not taken.force:
            raise HTTPException(409, "; ".join(plan.lacking))
        said = f"{operation} to {plan.version.model_version}"
        if plan.previous is not None:
            said += f" after {plan.previous.model_version}"
        detail = ": ".join(filter(None, (said, taken.why)))
        values = (number, detector) if operation == "switch" else (detector,)
        place = (self._folder.absolute(), self._control.config.options.triton.url)
        # Kept once it has ended; the repository's own trail has it whatever the database does.
        keep = partial(record_done, self._store, Action.CHANGE_MODEL, detector, call.caller)
        with self._alone():
            try:
                apart(_OPERATE, *place, call.caller.name, taken.why, operation, *values)
            except SightlineError as error:
                keep(detail=f"{detail}: {error}", refused=True)
                raise
            keep(detail=detail)
        return replace(plan, done=True)

    def _plan(self, detector: str, number: int) -> ModelPlan:
        folder = self._folder
        version = _version(folder, number)
        if version.problem or version.retired:
            raise HTTPException(409, version.problem or f"version {number} is retired")
        present = model_configs.active(folder, detector)
        previous = None if present is None else _version(folder, present)
        before = previous.classes if previous else ()
        cameras = self._control.config.cameras_of(detector)
        return ModelPlan(
            detector,
            version,
            previous,
            [camera.name for camera in cameras],
            [name for name in version.classes if name not in before],
            [name for name in before if name not in version.classes],
            [
                str(problem)
                for camera in cameras
                for problem in unknown_classes(camera, version.model_version, version.classes)
            ],
            done=False,
        )

    @property
    def _folder(self) -> Path:
        return self._control.config.options.models.repository

    def _check(self) -> None:
        if not (self._folder / "yolo").is_dir():
            raise RepositoryError(
                f"{self._folder} is no model repository on Sightline's machine: name the one that Triton "
                "serves (models.repository in config.yml), or use `sightline model` where that is"
            )

    def _detectors(self) -> list[str]:
        """Those of the repository."""
        return model_configs.detectors(self._folder)

    def _use(self, detector: str, call: Call) -> DetectorUse:
        used_by = self._control.config.cameras_of(detector)
        cameras = [camera.name for camera in used_by if call.sees(camera.name)]
        answered = {
            status.model_version for status in self._supervisor.statuses() if status.source in cameras
        }
        chosen = model_configs.active(self._folder, detector)
        earlier = earlier_version(self._folder, detector)
        return DetectorUse(detector, chosen, earlier, cameras, sorted(answered - {""}))

    def _shadows(self, call: Call) -> list[ShadowUse]:
        found: dict[tuple[str, str], list[str]] = {}
        for camera in self._control.config.cameras.values():
            if camera.shadow.model is not None and call.sees(camera.name):
                found.setdefault((camera.shadow.model, str(camera.shadow.folder)), []).append(camera.name)
        return [ShadowUse(model, cameras, folder) for (model, folder), cameras in found.items()]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._one.acquire(blocking=False):
            raise HTTPException(409, _BUSY)
        try:
            yield
        finally:
            self._one.release()


def _without_paths(answer: ModelsAnswer) -> ModelsAnswer:
    """For those who do not see all cameras: where files lie stands in no text of theirs."""
    return replace(
        answer,
        repository="",
        problem=answer.problem and _ASK,
        versions=[replace(item, problem=item.problem and _UNREADABLE) for item in answer.versions],
        shadows=[replace(item, folder="") for item in answer.shadows],
        history=[
            {key: value for key, value in entry.items() if key not in _OUTCOMES} for entry in answer.history
        ],
    )


def _version(folder: Path, number: int) -> ModelVersion:
    """By its manifest, also of a retired one."""
    gone = number in retired(folder)
    try:
        manifest = model_configs.read_manifest(folder, f"{RETIRED}{number}" if gone else number)
    except RepositoryError as error:
        return ModelVersion(number, retired=gone, problem=str(error))
    return ModelVersion(
        number,
        str(manifest["model_version"]),
        int(manifest["network_height"]),
        int(manifest["network_width"]),
        tuple(map(str, manifest["class_names"])),
        str(manifest.get("precision") or ""),
        str(manifest.get("exported_at") or ""),
        str(manifest.get("source_sha256") or ""),
        manifest.get("measured_map"),
        gone,
    )
