"""The command ``sightline``: the list of its commands, in modules of those that belong together."""

import argparse
import signal
import sys
from collections.abc import Sequence

import sightline
from sightline.base.redact import harmless, redact
from sightline.cli import (
    access_commands,
    alert_commands,
    camera_commands,
    feature_commands,
    live_commands,
    model_commands,
    simulation_commands,
)
from sightline.cli.parsers import Command
from sightline.errors import SightlineError

#: In the order of ``--help``. Each module has ``add_to(commands)``, which adds its parsers and sets each
#: parser's default ``command`` to a function of the parsed arguments that returns the exit status.
COMMANDS = (
    live_commands,
    camera_commands,
    alert_commands,
    access_commands,
    model_commands,
    feature_commands,
    simulation_commands,
)
#: What the extra ``models`` brings, by the name under which it is imported.
MODELS = frozenset({"cv2", "matplotlib", "onnx", "onnxruntime"})
EXIT_PROBLEM, EXIT_TERMINATED = 1, 128 + signal.SIGTERM


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    arguments = build_parser().parse_args(argv)
    command: Command = arguments.command
    # Temporary files go, whatever is under way; a command that has more to end takes the signal over.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    try:
        return command(arguments) or 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output is gone: nothing to say, nobody to tell
    except (SightlineError, OSError) as error:
        print(f"sightline: {redact(harmless(error))}", file=sys.stderr)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in MODELS:
            raise
        print(f"sightline: {error.name} is not installed: pip install 'sightline[models]'", file=sys.stderr)
    return EXIT_PROBLEM


def build_parser() -> argparse.ArgumentParser:
    """Every command with its options; the README lists the same."""
    parser = argparse.ArgumentParser(prog="sightline", description=sightline.__doc__)
    parser.add_argument("--version", action="version", version=f"sightline {sightline.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in COMMANDS:
        module.add_to(commands)
    return parser
