"""What can be done with the versions of a model repository; ``sightline model`` is its command line.

One rule: a version is verified, loaded beside the one that serves and asked for boxes before it may serve;
whatever fails, the old one goes on.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sightline.errors import AdminError, RepositoryError
from sightline.models.registry import audit_trail, repository
from sightline.models.registry.audit_trail import Refused
from sightline.models.registry.repository import RETIRED
from sightline.models.registry.triton_admin import TritonAdmin
from sightline.serving import model_configs
from sightline.serving.model_configs import DETECTOR, MODELS, STEPS, Choice, beside

#: Takes a detector, a version's full name and its class names; says which classes that are counted it lacks.
MissingClasses = Callable[[str, str, Sequence[str]], Sequence[str]]
LOADING = {"load", "switch", "rollback"}  # operations that change what Triton serves
LEAVE_TIMEOUT_S = 30.0  # what an old version may take to answer what it was asked


class Versions:
    """Operations on one model repository and the Triton that serves it.

    Every one raises a Refused when it would do harm, a RepositoryError when something is not there, and an
    AdminError when Triton fails; then files and Triton are as they were before.
    """

    def __init__(
        self,
        folder: Path,
        admin: TritonAdmin | None,
        why: str = "",
        missing: MissingClasses = lambda *_: (),
    ) -> None:
        if not (folder / "yolo").is_dir():
            raise RepositoryError(f"{folder} is no model repository: it holds no yolo")
        self.folder = folder
        self._admin, self._missing = admin, missing
        self._why = {"why": why} if why else {}

    def overview(self) -> list[dict[str, Any]]:
        """One dictionary a version, ascending; retired ones too."""
        listed = [{"version": version, "state": ["retired"]} for version in repository.retired(self.folder)]
        for version in model_configs.versions(self.folder):
            try:
                manifest = model_configs.read_manifest(self.folder, version)
            except RepositoryError as error:
                listed.append({"version": version, "state": [f"broken: {error}"]})
                continue
            size = f"{manifest['network_height']}x{manifest['network_width']}"
            keys = ("model_version", "precision", "exported_at", "measured_map")
            described = {"version": version, "size": size, "classes": len(manifest["class_names"])}
            described |= {key: manifest.get(key) for key in keys}
            described["served_precision"] = self._served_precision(version, manifest)
            listed.append(described | {"state": self._state(version)})
        return sorted(listed, key=lambda item: item["version"])

    def show(self, version: int) -> dict[str, Any]:
        """Manifest, state, and what the audit trail knows of a version."""
        manifest = model_configs.read_manifest(self.folder, version)
        history = [entry for entry in audit_trail.read(self.folder) if entry.get("version") == version]
        served = {"served_precision": self._served_precision(version, manifest)}
        return {"version": version, "state": self._state(version), **served, **manifest, "history": history}

    def verify(self, version: int) -> list[str]:
        """What is wrong with a version; recorded."""
        with self._operation("verify", version=version) as entry:
            if problems := repository.problems(self.folder, version):
                entry |= {"result": "failed", "problems": problems}
        return problems

    def load(self, version: int, *, nice: int = 0) -> str:
        """Serve a version beside the detectors; returns its name there, ``detector-N``.

        ``nice``: on the CPU, how much its process gives way to others: 19 for a shadow.
        """
        with self._operation("load", version=version) as entry:
            entry["model_version"] = self._require_good(version)
            self._load_beside(version, nice=nice)
        return beside(version)

    def unload(self, version: int) -> None:
        """End serving a version beside the detectors; steps that a detector uses stay."""
        with self._operation("unload", version=version):
            known = {*model_configs.versions(self.folder), *model_configs.read_choices(self.folder)}
            if not known & {version, beside(version)}:
                raise RepositoryError(f"version {version} is not in {self.folder}")
            self._unload_beside(version)

    def switch(self, version: int, name: str = DETECTOR) -> int | None:
        """Let a detector serve this version; gives the one that served before.

        Without a Triton it is verified, and serves from the next start on.
        """
        model_configs.check_name(name)
        with self._operation("switch", detector=name, version=version) as entry:
            return self._switch(name, version, entry)

    def rollback(self, name: str = DETECTOR) -> int:
        """Let a detector serve the version that it served before the present one; gives it."""
        with self._operation("rollback", detector=name) as entry:
            version = repository.earlier_version(self.folder, name)
            if version is None:
                raise Refused(f"no earlier version of {name} is known: name one with switch N")
            entry["version"] = version
            self._switch(name, version, entry)
            return version

    def remove(self, name: str) -> None:
        """Unload a detector that a switch has made, and forget it; ``detector`` itself stays."""
        with self._operation("remove", detector=model_configs.check_name(name)):
            if name == DETECTOR or name not in model_configs.detectors(self.folder):
                raise Refused(f"{name!r} is not a detector that can be removed")
            version = model_configs.active(self.folder, name)
            self._triton.unload(name)
            model_configs.forget(self.folder, name)
            if version is not None:
                self._tidy(version)

    def retire(self, version: int, *, delete: bool = False) -> None:
        """Put a version that does not serve where Triton does not find it; its number is never given again.

        With ``delete`` its weights are deleted for good, all but the manifest.
        """
        with self._operation("retire", version=version) as entry:
            entry["model_version"] = model_configs.read_manifest(self.folder, version)["model_version"]
            names = model_configs.detectors(self.folder)
            used = {*names}.intersection(self._models(version, "READY"))
            used.update(model_configs.users(self.folder, version))
            if used:
                raise Refused(f"version {version} serves ({', '.join(sorted(used))}): switch first")
            self._unload_beside(version)
            self._rename(str(version), f"{RETIRED}{version}")
            for name in names[1:]:
                (self.folder / name / str(version)).unlink(missing_ok=True)  # links to what has moved
        if delete:
            with self._operation("delete", version=version):
                yolo = self.folder / "yolo" / f"{RETIRED}{version}"
                (yolo / "deleted").touch()
                for path in yolo.iterdir():
                    if path.name not in {"manifest.json", "deleted"}:
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
                for model in {*MODELS} - {"yolo"}:
                    shutil.rmtree(self.folder / model / f"{RETIRED}{version}", ignore_errors=True)

    def restore(self, version: int) -> None:
        """Take a retired version back."""
        with self._operation("restore", version=version):
            if version not in repository.retired(self.folder):
                raise RepositoryError(f"version {version} has not been retired")
            if (self.folder / "yolo" / f"{RETIRED}{version}" / "deleted").exists():
                raise RepositoryError(f"the weights of version {version} have been deleted")
            model_configs.settle(self.folder)  # it may be the newest
            self._rename(f"{RETIRED}{version}", str(version))

    @property
    def _triton(self) -> TritonAdmin:
        if self._admin is None:
            raise Refused("this needs the running Triton: leave --offline out")
        return self._admin

    def _rename(self, name: str, new: str) -> None:
        with ExitStack() as undo:
            for model in MODELS:
                old, place = self.folder / model / name, self.folder / model / new
                if old.is_dir():
                    old.rename(place)
                    undo.callback(place.rename, old)
            undo.pop_all()

    @contextmanager
    def _operation(self, action: str, **values: Any) -> Iterator[dict[str, Any]]:
        """Record an operation; when it fails, files are as they were, and then what Triton serves."""
        with audit_trail.operation(self.folder, action, **values, **self._why) as entry:
            before = self._admin.states() if self._admin and action in LOADING else None
            try:
                with model_configs.unchanged_on_failure(self.folder):
                    yield entry
            except BaseException as error:
                try:
                    if before is not None:
                        self._put_back(before)
                except AdminError as left:
                    raise AdminError(f"{error}; what was loaded of it stays: {left}") from error
                raise

    def _put_back(self, before: Mapping[str, Mapping[int, str]]) -> None:
        """Have Triton serve what it served; an ensemble that goes, goes before its steps."""
        now = self._triton.states()
        for name in sorted(now, key=lambda name: name.partition("-")[0] in STEPS):
            served, serves = (
                {version for version, state in states.get(name, {}).items() if state == "READY"}
                for states in (before, now)
            )
            if served != serves:
                (self._triton.load if served else self._triton.unload)(name)

    def _models(self, version: int, state: str) -> list[str]:
        """Names of the models whose version is in this state in Triton."""
        states = self._admin.states() if self._admin else {}
        return [name for name, by_version in states.items() if by_version.get(version) == state]

    def _serving(self, version: int) -> list[str]:
        """Names under which a version answers now."""
        ready, names = self._models(version, "READY"), model_configs.detectors(self.folder)
        return [name for name in [*names, beside(version)] if name in ready]

    def _state(self, version: int) -> list[str]:
        """Which detectors are configured to serve a version, and which do."""
        return [
            *(f"configured: {name}" for name in model_configs.users(self.folder, version)),
            *(f"serves: {name}" for name in self._serving(version)),
        ]

    def _served_precision(self, version: int, manifest: Mapping[str, Any]) -> str:
        """What a version is computed in, if it serves: a CPU's configuration may differ from its file."""
        served = {self._triton.precision(name, version) for name in self._serving(version)}
        own = manifest["precision"]
        if own != manifest.get("floating_point", own):  # quantised in part; the rest is what Triton names
            served = {name if name == own else f"{own} and {name}" for name in served}
        return ", ".join(sorted(served))

    def _require_good(self, version: int) -> str:
        """The version's full name, or a :class:`Refused` with what is wrong with it."""
        if problems := repository.problems(self.folder, version):
            raise Refused(f"version {version} is not good: {'; '.join(problems)}")
        return str(model_configs.read_manifest(self.folder, version)["model_version"])

    def _switch(self, name: str, version: int, entry: dict[str, Any]) -> int | None:
        """Have a detector serve a version that has answered beside it, or put the old one back."""
        entry["model_version"] = full_name = self._require_good(version)
        class_names = model_configs.read_manifest(self.folder, version)["class_names"]
        if missing := self._missing(name, full_name, class_names):
            raise Refused("\n".join([*missing, "change the configuration first, or give --force"]))
        active, choices = model_configs.active(self.folder, name), model_configs.read_choices(self.folder)
        ready = self._admin.ready(name) if self._admin else [active]
        entry["previous"] = previous = ready[-1] if ready else active
        if ready == [version] == [active]:
            raise Refused(f"version {version} serves as {name} already")
        if self._admin is None:
            model_configs.choose(self.folder, name, version)
            return previous
        stood = version in self._admin.ready(beside(version))
        self._load_beside(version, nice=choices.get(beside(version), Choice(version)).nice)
        model_configs.choose(self.folder, name, version)
        self._admin.load(name)
        self._probe(name, version)
        if not stood and not self._admin.is_ensemble(name, version):
            self._unload_beside(version)  # the detector has a copy of its own
        return previous

    def _load_beside(self, version: int, *, nice: int = 0) -> None:
        """Load a version under its own name and have it answer."""
        model_configs.choose(self.folder, beside(version), version, nice=nice)
        self._triton.load(beside(version))
        self._probe(beside(version), version)

    def _probe(self, name: str, version: int) -> None:
        wanted = model_configs.read_manifest(self.folder, version)["model_version"]
        deadline = time.monotonic() + LEAVE_TIMEOUT_S
        while (answered := self._triton.probe(name)) != wanted:
            if time.monotonic() > deadline:
                raise AdminError(f"{name} is answered by {answered!r}, not by {wanted!r}")
            time.sleep(0.05)

    def _unload_beside(self, version: int) -> None:
        """Nothing serves under the version's own name any more; ends well when nothing did."""
        if self._admin is not None and self._admin.states().get(beside(version)):
            self._admin.unload(beside(version))
        model_configs.forget(self.folder, beside(version))
        self._tidy(version)

    def _tidy(self, version: int) -> None:
        """Take away the folders in which a version's steps serve when no detector uses them."""
        if model_configs.users(self.folder, version) or (self.folder / beside(version)).exists():
            return
        names, steps = model_configs.detectors(self.folder), [f"{step}-{version}" for step in STEPS]
        loaded = {*steps}.intersection(self._models(version, "READY"))
        # An ensemble that leaves answers first what it was asked.
        deadline = time.monotonic() + LEAVE_TIMEOUT_S if loaded else 0.0
        while time.monotonic() < deadline and {*names}.intersection(self._models(version, "UNLOADING")):
            time.sleep(0.05)
        for name in loaded:
            self._triton.unload(name)
        for name in steps:
            shutil.rmtree(self.folder / name, ignore_errors=True)


def operate(folder: Path, url: str, operator: str, why: str, operation: str, *values: Any) -> Any:
    """One operation by its name, on the Triton at ``url``, in a process of its own: for ``operator``."""
    os.environ[audit_trail.OPERATOR] = operator
    with TritonAdmin(url) as admin:
        return getattr(Versions(folder, admin, why), operation)(*values)
