"""The command ``sightline``: the list of its commands, each a module with its parser and its function."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import sightline
from sightline.base.redact import redact
from sightline.cli import (
    check_command,
    console_command,
    demo_command,
    drift_command,
    model_command,
    run_command,
    schema_command,
    selftest_command,
    shadow_command,
    simulate_command,
    status_command,
    triton_command,
)
from sightline.errors import SightlineError

#: In the order of ``--help``. Each module has ``add_to(commands)``, which adds its parser and sets the
#: parser's default ``command`` to a function of the parsed arguments that returns the exit status.
COMMANDS = (
    run_command,
    check_command,
    status_command,
    schema_command,
    model_command,
    triton_command,
    console_command,
    drift_command,
    shadow_command,
    demo_command,
    simulate_command,
    selftest_command,
)
EXIT_PROBLEM = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    arguments = build_parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except SightlineError as error:
        print(f"sightline: {redact(error)}", file=sys.stderr)
        return EXIT_PROBLEM
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output is gone: nothing to say, nobody to tell
        return EXIT_PROBLEM


def build_parser() -> argparse.ArgumentParser:
    """Every command with its options; the README lists the same."""
    parser = argparse.ArgumentParser(prog="sightline", description=sightline.__doc__)
    parser.add_argument("--version", action="version", version=f"sightline {sightline.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in COMMANDS:
        module.add_to(commands)
    return parser
