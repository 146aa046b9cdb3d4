"""Ultralytics (AGPL-3.0) in an environment of its own: for .pt checkpoints and as the benchmark's rival.

    python -m sightline.models.export.ultralytics_env     # make it, or say where it is

The package never imports Ultralytics; programs are started in the environment, with :func:`environment` so
that nothing is downloaded or installed unasked.
"""

import os
import shutil
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

from sightline.base.resources import cache_folder
from sightline.errors import ModelError
from sightline.serving.install import Installation, Say, install_packages, pip

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
    """The environment is missing, or a checkpoint could not be exported."""


def folder() -> Path:
    """Where the environment is: in the cache folder."""
    return cache_folder() / "ultralytics" / "environment"


def interpreter(*, install: bool = False, say: Say = lambda _: None) -> Path:
    """The Python that can import Ultralytics: this one, ``$SIGHTLINE_ULTRALYTICS_PYTHON``, or our own.

    Raises an UltralyticsError with the command that makes one, a ServerError when it could not be made.
    """
    named = os.environ.get("SIGHTLINE_ULTRALYTICS_PYTHON")
    env = environment()
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('ultralytics') is None)"
    for python in [Path(named)] if named else [Path(sys.executable), folder() / "bin" / "python"]:
        if python.is_file() and not subprocess.run([python, "-c", code], check=False, env=env).returncode:
            return python
    if install and not named:
        make(say)
        return folder() / "bin" / "python"
    raise UltralyticsError(
        "Ultralytics (AGPL-3.0) is needed for .pt files and is not installed: run `make ultralytics`, "
        "or give --install"
    )


def environment() -> dict[str, str]:
    """Variables for a program that uses Ultralytics: offline, installs nothing, settings in our cache."""
    settings = cache_folder() / "ultralytics" / "settings"
    settings.mkdir(parents=True, exist_ok=True)
    keep = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    own = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": str(settings)}
    return {**keep, **own, "YOLO_VERBOSE": "false"}


def make(say: Say = lambda _: None) -> None:
    """Build the environment from ``data/ultralytics*.txt``, unless it is there; may raise a ServerError."""

    def finish(draft: Path) -> None:
        pip(draft, ["--no-deps", "-r", str(REQUIREMENTS / "ultralytics-nodeps.txt")], say)
        packages = Installation(draft).packages
        info = packages / f"torchvision-{STAND_IN_VERSION}.dist-info"
        info.mkdir(exist_ok=True)
        metadata = f"Metadata-Version: 2.1\nName: torchvision\nVersion: {STAND_IN_VERSION}\n"
        (info / "METADATA").write_text(metadata)
        (packages / "torchvision.py").write_text(STAND_IN.format(version=STAND_IN_VERSION))

    wanted = (REQUIREMENTS / "ultralytics.txt").read_bytes()
    install_packages("ultralytics/environment", wanted, say, options=(), finish=finish)


def to_onnx(checkpoint: Path, work: Path, *, install: bool = False, say: Say = lambda _: None) -> Path:
    """Export a checkpoint to ONNX with dynamic batch, height and width.

    It is trusted: loading it runs its code. Ultralytics writes its product beside it, so it is copied into
    ``work``, an empty folder.

    Raises an UltralyticsError when there is no environment or Ultralytics refuses the checkpoint.
    """
    copy = work / checkpoint.name
    shutil.copyfile(checkpoint, copy)
    python = interpreter(install=install, say=say)
    command, env = [str(python), "-c", EXPORT, copy.name], environment()
    try:
        done = subprocess.run(
            command, cwd=work, env=env, check=False, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise UltralyticsError(f"{checkpoint.name}: not exported within {TIMEOUT_S} s") from error
    product = copy.with_suffix(".onnx")
    if done.returncode or not product.is_file():
        lines = (done.stderr or done.stdout).splitlines()
        tail = [*takewhile(lambda line: not line.startswith(" "), reversed(lines))]  # after the traceback
        raise UltralyticsError(f"{checkpoint.name} could not be exported: " + "\n".join(tail[::-1])[-2000:])
    return product


if __name__ == "__main__":
    make(lambda text: print(text, file=sys.stderr))  # noqa: T201 - run by hand
    print(interpreter())  # noqa: T201
