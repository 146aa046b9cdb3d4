"""``sightline check``: every mistake of a configuration, without running it."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from sightline.base.redact import redact
from sightline.cli.config_option import add_config_option, require_cameras
from sightline.config import load_config
from sightline.errors import ConfigError


def add_to(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
    parser = commands.add_parser(
        "check",
        help="list every mistake in a config.yml, without running it",
        description="List every mistake in a config.yml, with its place and its cure, without running it.",
    )
    add_config_option(parser)
    parser.set_defaults(command=_check)


def _check(arguments: argparse.Namespace) -> int:
    try:
        config = load_config(arguments.config)
        require_cameras(config)
    except ConfigError as error:
        problems = error.problems
    else:
        problems = config.problems
        for name in config.cameras:
            print(f"camera {name!r}: ok")
        for warning in config.warnings:
            print(f"warning: {warning}", file=sys.stderr)
    for problem in problems:
        print(redact(problem), file=sys.stderr)
    return 1 if problems else 0
