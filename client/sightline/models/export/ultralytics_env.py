"""Ultralytics (AGPL-3.0) in an environment of its own: for .pt checkpoints and as the benchmark's rival.

    python -m sightline.models.export.ultralytics_env     # make it, or say where it is

The package never imports Ultralytics; programs are started in the environment, with :func:`environment` so
that nothing is downloaded or installed unasked.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from sightline.base.cache import cache_folder
from sightline.errors import ModelError
from sightline.serving.install import Say

REQUIREMENTS = Path(__file__).resolve().parents[1] / "data"
TIMEOUT_S = 600
# nms=False keeps an end-to-end head where there is one, and is a raw head elsewhere.
EXPORT = (
    "import sys; from ultralytics import YOLO; YOLO(sys.argv[1]).export("
    "format='onnx', dynamic=True, simplify=False, nms=False, device='cpu', imgsz=[384, 640])"
)
# Ultralytics asks for torchvision's version when imported and for its NMS when it predicts, and nothing else
# of it here. Its builds must match torch's build exactly, and one for a CPU is not to be had everywhere; so a
# stand-in gives that one function, from Ultralytics' own code that is used where torchvision is not loaded.
STAND_IN_VERSION = "0.28.0"
STAND_IN = '''"""Stand-in for torchvision: see ultralytics_env.py of Sightline."""

__version__ = "{version}"


class ops:
    @staticmethod
    def nms(boxes, scores, iou_threshold):
        from ultralytics.utils.nms import TorchNMS

        return TorchNMS.nms(boxes, scores, iou_threshold)
'''


class UltralyticsError(ModelError):
    """The environment is missing or could not be made, or a checkpoint could not be exported."""


def folder() -> Path:
    """Where the environment is: in the cache folder."""
    return cache_folder() / "ultralytics" / "environment"


def interpreter(*, install: bool = False, say: Say = lambda _: None) -> Path:
    """The Python that can import Ultralytics: this one, ``$SIGHTLINE_ULTRALYTICS_PYTHON``, or our own.

    Raises:
        UltralyticsError: there is none, with the command that makes one.
    """
    named = os.environ.get("SIGHTLINE_ULTRALYTICS_PYTHON")
    candidates = [Path(named)] if named else [Path(sys.executable), folder() / "bin" / "python"]
    for python in candidates:
        if python.is_file() and _has_ultralytics(python):
            return python
    if install and not named:
        make(say)
        return folder() / "bin" / "python"
    raise UltralyticsError(
        "Ultralytics (AGPL-3.0) is needed for .pt files and is not installed: run `make ultralytics`, "
        "or give --install"
    )


def _has_ultralytics(python: Path) -> bool:
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('ultralytics') is None)"
    return subprocess.run([python, "-c", code], check=False, env=environment()).returncode == 0


def environment() -> dict[str, str]:
    """Variables for a program that uses Ultralytics: offline, installs nothing, settings in our cache."""
    settings = cache_folder() / "ultralytics" / "settings"
    settings.mkdir(parents=True, exist_ok=True)
    keep = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    own = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": str(settings)}
    return {**keep, **own, "YOLO_VERBOSE": "false"}


def make(say: Say = lambda _: None) -> None:
    """Build the environment from ``data/ultralytics*.txt``; a ready one is left alone.

    Raises:
        UltralyticsError: pip could not install something; its last lines are in the text.
    """
    place = folder()
    ready = place / ".ready"
    if ready.is_file():
        return
    say(f"Ultralytics environment: installing into {place} (once, some minutes)")
    shutil.rmtree(place, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(place)])
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    _run([*pip, "-r", str(REQUIREMENTS / "ultralytics.txt")])
    _run([*pip, "--no-deps", "-r", str(REQUIREMENTS / "ultralytics-nodeps.txt")])
    _write_stand_in(next(place.glob("lib/python3*/site-packages")))
    ready.touch()


def _write_stand_in(packages: Path) -> None:
    info = packages / f"torchvision-{STAND_IN_VERSION}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torchvision\nVersion: {STAND_IN_VERSION}\n")
    (packages / "torchvision.py").write_text(STAND_IN.format(version=STAND_IN_VERSION))


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise UltralyticsError(f"{' '.join(command[:4])} … failed:\n{done.stderr[-2000:]}")


def to_onnx(checkpoint: Path, work: Path, *, install: bool = False, say: Say = lambda _: None) -> Path:
    """Export a checkpoint to ONNX with dynamic batch, height and width.

    Args:
        checkpoint: a ``.pt`` file that is trusted: loading it runs its code.
        work: an empty folder; Ultralytics writes its product beside the checkpoint, so it gets a copy here.
        install: make the environment when it is missing.
        say: gets the progress of making it.

    Raises:
        UltralyticsError: there is no environment, or Ultralytics refused the checkpoint.
    """
    python = interpreter(install=install, say=say)
    copy = work / checkpoint.name
    shutil.copyfile(checkpoint, copy)
    command = [str(python), "-c", EXPORT, copy.name]
    try:
        done = subprocess.run(
            command,
            cwd=work,
            env=environment(),
            check=False,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise UltralyticsError(f"{checkpoint.name}: not exported within {TIMEOUT_S} s") from error
    product = copy.with_suffix(".onnx")
    if done.returncode or not product.is_file():
        raise UltralyticsError(
            f"{checkpoint.name} could not be exported:\n{(done.stderr or done.stdout)[-2000:]}"
        )
    return product


if __name__ == "__main__":
    make(lambda text: print(text, file=sys.stderr))  # noqa: T201 - run by hand
    print(interpreter())  # noqa: T201
