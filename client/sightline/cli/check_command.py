"""``sightline check``: every mistake of a configuration, without running it."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from sightline.base.redact import redact
from sightline.cli.config_option import add_config_option, require_cameras
from sightline.config.loader import load_config


def add_to(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
    parser = commands.add_parser(
        "check",
        help="check a config.yml without running it",
        description="Check a config.yml without running it.",
    )
    add_config_option(parser)
    parser.set_defaults(command=_check)


def _check(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config)
    for name in config.cameras:
        print(f"camera {name!r}: ok")
    for problem in config.problems:
        print(redact(problem), file=sys.stderr)
    require_cameras(config)
    return 1 if config.problems else 0
