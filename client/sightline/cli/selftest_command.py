"""``sightline selftest``: the whole path against a scene whose truth is known."""

from __future__ import annotations

import argparse
from typing import Any


def add_to(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
    from sightline.simulation.selftest.selftest_options import add_options

    parser = commands.add_parser(
        "selftest",
        help="how right the whole path is: a scoreboard against a scene whose truth is known",
        description="Play a simulated scene through RTSP, decoder, Triton, tracker, rules and database, and "
        "score what comes out against the truth. Exit status 3: a threshold was missed.",
    )
    add_options(parser)
    parser.set_defaults(command=_selftest)


def _selftest(arguments: argparse.Namespace) -> int:
    from sightline.simulation.selftest.selftest_run import run_selftest

    return run_selftest(arguments)
