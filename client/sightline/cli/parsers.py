"""How commands are added, and what several of them share."""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sightline.config import LoadedConfig
from sightline.errors import ConfigError, ModelError

#: Takes the parsed arguments, returns the exit status; None is 0.
Command = Callable[[argparse.Namespace], int | None]

#: What the extra ``models`` brings, by the name under which it is imported.
MODELS = frozenset({"cv2", "matplotlib", "onnx", "onnxruntime"})


def add_command(
    commands: Any, name: str, command: Command, text: str, *parents: argparse.ArgumentParser
) -> argparse.ArgumentParser:
    """Add a command with the options of its ``parents``, and return its parser.

    ``text`` is its line in the list of commands; its description is ``command``'s docstring, or that line.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=command.__doc__ or f"{text[0].upper()}{text[1:]}.", parents=parents
    )
    parser.set_defaults(command=command)
    return parser


def add_group(commands: Any, name: str, text: str) -> Any:
    """Add a command that has commands of its own, and return what those are added to."""
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    return parser.add_subparsers(metavar="COMMAND", required=True)


def add_config_option(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add ``-c FILE``, and return the parser."""
    parser.add_argument(
        "-c", "--config", type=Path, default="config.yml", metavar="FILE", help="default: %(default)s"
    )
    return parser


def require_cameras(config: LoadedConfig) -> None:
    """Raise ConfigError when the file names no camera at all."""
    if not config.cameras and not config.problems:
        raise ConfigError("cameras", "names no camera; add one with a url")


def needs_models(command: Command) -> Command:
    """The command; a missing package of the extra, or a file that cannot be read, becomes a ModelError."""

    @functools.wraps(command)
    def run(arguments: argparse.Namespace) -> int | None:
        try:
            return command(arguments)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in MODELS:
                raise
            raise ModelError(f"{error.name} is not installed: pip install 'sightline[models]'") from error
        except OSError as error:
            raise ModelError(str(error)) from error

    return run
