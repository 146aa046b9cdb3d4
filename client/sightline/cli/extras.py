"""Commands whose packages come with an extra of the wheel: what is missing is said with its remedy."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable

from sightline.errors import ModelError

Command = Callable[[argparse.Namespace], int]

#: What the extra ``models`` brings, by the name under which it is imported.
MODELS = frozenset({"cv2", "matplotlib", "onnx", "onnxruntime"})


def needs_models(command: Command) -> Command:
    """The command; a missing package of the extra, or a file that cannot be read, becomes a ModelError."""

    @functools.wraps(command)
    def run(arguments: argparse.Namespace) -> int:
        try:
            return command(arguments)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in MODELS:
                raise
            raise ModelError(f"{error.name} is not installed: pip install 'sightline[models]'") from error
        except OSError as error:
            raise ModelError(str(error)) from error

    return run
