"""Which version each detector of a model repository serves, as its configuration says; and writing that.

A repository that has seen no switch is *unmanaged*: its newest version serves. From the first switch on, the
configuration of ``detector`` names one version, and so does that of every other detector. Each version that
serves has folders of its own beside it (``yolo-3``, …), because a configuration (sizes, classes, parameters)
holds for all versions of a model that Triton has loaded.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightline.errors import RepositoryError
from sightline.models.registry import repository
from sightline.models.registry.repository import ON_CPU, STEPS, config_names

DETECTOR = "detector"
TRITON_URL = "127.0.0.1:8001"  # gRPC of a Triton on this machine
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_POLICY = re.compile(r"^version_policy \{.*\}$", re.MULTILINE)
_SPECIFIC = re.compile(r"^version_policy \{ specific \{ versions: \[ (\d+) \] \} \}$", re.MULTILINE)
_STEP = re.compile(
    r'^(\s*)model_name: "(preprocess|yolo|postprocess)(?:-\d+)?"\n\s*model_version: -?\d+$', re.MULTILINE
)
_COMMENT = re.compile(r"^# The newest version serves;.*\n", re.MULTILINE)


def beside(version: int) -> str:
    """The name under which a version serves by itself, beside the detectors."""
    return f"{DETECTOR}-{version}"


def check_name(name: str) -> str:
    """A detector's name.

    Raises:
        RepositoryError: it is none that a detector can have.
    """
    if not _NAME.fullmatch(name) or name in STEPS:
        raise RepositoryError(f"{name!r} cannot be a detector's name: letters, digits and _, none of {STEPS}")
    return name


def is_managed(folder: Path, name: str = DETECTOR) -> bool:
    """Whether the configuration names one version."""
    return any(_SPECIFIC.search(path.read_text()) for path in _configs(folder / name))


def active(folder: Path, name: str = DETECTOR) -> int | None:
    """The version that serves when Triton loads this detector now; None when there is none."""
    for path in _configs(folder / name):
        found = _SPECIFIC.search(path.read_text())
        if found:
            return int(found[1])
    return max(repository.versions(folder), default=None) if name == DETECTOR else None


def names(folder: Path) -> list[str]:
    """Every detector: ``detector``, and those that a switch has made."""
    others = (path.parent.name for path in folder.glob("*/config.pbtxt"))
    known = {DETECTOR, *repository.MODELS}
    return [DETECTOR, *sorted(name for name in others if name not in known and _NAME.fullmatch(name))]


def users(folder: Path, version: int) -> list[str]:
    """Detectors that serve this version."""
    return [name for name in names(folder) if active(folder, name) == version]


def write(folder: Path, name: str, version: int, *, nice: int = 0) -> None:
    """Make ``name`` serve this version from its next load on, with the steps that it needs.

    Args:
        folder: the repository.
        name: the detector.
        version: what it serves.
        nice: on the CPU, how much its process gives way to others: 0 not at all, 19 always.

    Raises:
        RepositoryError: the version is not there.
    """
    manifest = repository.read_manifest(folder, version)
    for step in STEPS:
        _write_step(folder, step, version, manifest)
    template = folder / DETECTOR
    place = folder / name
    place.mkdir(exist_ok=True)
    _link_version(template, place, version)
    for config in config_names(template, place):
        source = next((path for path in (place / config, template / config) if path.is_file()), None)
        if source is not None:
            (place / config).parent.mkdir(exist_ok=True)
            text = _configured(source.read_text(), name, version, manifest, nice=nice)
            text = _STEP.sub(rf'\1model_name: "\2-{version}"' + "\n" + rf"\1model_version: {version}", text)
            repository.replace(place / config, text)


def remove(folder: Path, name: str) -> None:
    """Take a detector's folder away; versions and weights stay."""
    shutil.rmtree(folder / name, ignore_errors=True)


def remove_steps(folder: Path, version: int) -> None:
    """Take away the folders in which a version's steps serve; the version itself stays."""
    for step in STEPS:
        shutil.rmtree(folder / f"{step}-{version}", ignore_errors=True)


def configs(folder: Path, name: str) -> dict[Path, str | None]:
    """The texts of a detector's configurations, to be put back by :func:`restore`."""
    paths = (folder / name / config for config in config_names(folder / name, folder / DETECTOR))
    return {path: path.read_text() if path.is_file() else None for path in paths}


def restore(saved: Mapping[Path, str | None]) -> None:
    """Put configurations back as they were."""
    for path, text in saved.items():
        if text is None:
            path.unlink(missing_ok=True)
        else:
            repository.replace(path, text)


def _configs(place: Path) -> list[Path]:
    return [place / config for config in config_names(place) if (place / config).is_file()]


def _write_step(folder: Path, step: str, version: int, manifest: Mapping[str, Any]) -> None:
    name = f"{step}-{version}"
    place = folder / name
    place.mkdir(exist_ok=True)
    _link_version(folder / step, place, version)
    for config in config_names(folder / step):
        source = folder / step / config
        if source.is_file():
            (place / config).parent.mkdir(exist_ok=True)
            repository.replace(place / config, _configured(source.read_text(), name, version, manifest))


def _link_version(source: Path, place: Path, version: int) -> None:
    """The folder of a version is the one in ``source``: weights are there once."""
    link = place / str(version)
    if source != place and not link.exists():
        link.unlink(missing_ok=True)  # a link that leads nowhere
        link.symlink_to(Path("..") / source.name / str(version), target_is_directory=True)


def _configured(text: str, name: str, version: int, manifest: Mapping[str, Any], *, nice: int = 0) -> str:
    """A configuration for one version under a name; what an operator has tuned in it stays."""
    parameters = repository.parameters_of(manifest)
    if ON_CPU in text:  # the CPU's arithmetic is set in its configuration, not by the export
        own = re.search(r'key: "precision" value \{ string_value: "(\w+)" \}', text)
        parameters["precision"] = own[1] if own else "fp32"
        if nice:
            parameters["nice"] = str(nice)
    if repository.BEGIN not in text:
        text = f"{text.rstrip()}\n\n{repository.BEGIN}\n{repository.END}\n"
    text = repository.rewritten(_COMMENT.sub("", text), parameters, repository.tensors_of(manifest))
    text = re.sub(r'^name: ".*"$', f'name: "{name}"', text, count=1, flags=re.MULTILINE)
    policy = f"version_policy {{ specific {{ versions: [ {version} ] }} }}"
    if _POLICY.search(text):
        return _POLICY.sub(policy, text)
    return re.sub(r"^(max_batch_size: .*)$", rf"\1\n{policy}", text, count=1, flags=re.MULTILINE)
