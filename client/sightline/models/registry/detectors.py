"""Which version each detector of a model repository serves; see :mod:`sightline.serving.model_configs`.

A repository that has seen no switch is *unmanaged*: ``detector`` serves its newest version.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from sightline.errors import RepositoryError
from sightline.serving import model_configs
from sightline.serving.model_configs import DETECTOR, STEPS, Choice

TRITON_URL = "127.0.0.1:8001"  # gRPC of a Triton on this machine
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")


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
    """Whether one version was chosen for this detector."""
    return name in model_configs.read_choices(folder)


def active(folder: Path, name: str = DETECTOR) -> int | None:
    """The version that serves when Triton loads this detector now; None when there is none."""
    choice = model_configs.serving(folder).get(name)
    return choice.version if choice else None


def names(folder: Path) -> list[str]:
    """Every detector: ``detector``, and those that a switch has made."""
    return [
        DETECTOR,
        *sorted(filter(_NAME.fullmatch, model_configs.read_choices(folder).keys() - {DETECTOR})),
    ]


def users(folder: Path, version: int) -> list[str]:
    """Detectors that serve this version."""
    return [name for name in names(folder) if active(folder, name) == version]


def write(folder: Path, name: str, version: int, *, nice: int = 0) -> None:
    """Make ``name`` serve this version from its next load on, with the steps that it needs.

    Args:
        folder: the repository.
        name: the detector.
        version: what it serves.
        nice: see :class:`sightline.serving.model_configs.Choice`.

    Raises:
        RepositoryError: the version is not there.
    """
    model_configs.choose(folder, model_configs.read_choices(folder) | {name: Choice(version, nice)})


def remove(folder: Path, name: str) -> None:
    """Forget a detector and take its folder away; versions and weights stay."""
    choices = model_configs.read_choices(folder)
    if choices.pop(name, None):
        model_configs.choose(folder, choices)
    if name != DETECTOR:
        shutil.rmtree(folder / name, ignore_errors=True)


def remove_steps(folder: Path, version: int) -> None:
    """Take away the folders in which a version's steps serve; the version itself stays."""
    for step in STEPS:
        shutil.rmtree(folder / f"{step}-{version}", ignore_errors=True)
