"""``sightline selftest``: the whole path against a scene whose truth is known."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sightline.simulation.scenes.scene_arguments import above_zero
from sightline.simulation.scenes.spec import LIGHTS, SCENES, WEATHERS
from sightline.simulation.scenes.viewpoints import NUMBERS


def add_to(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
    parser = commands.add_parser(
        "selftest",
        help="how right the whole path is: a scoreboard against a scene whose truth is known",
        description="Play a simulated scene through RTSP, decoder, Triton, tracker, rules and database, and "
        "score what comes out against the truth. Exit status 3: a threshold was missed.",
    )
    parser.add_argument("--scene", choices=[*SCENES, "all"], default="street", help="default: %(default)s")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], metavar="N",
                        help="one camera for each, all at once (default: 1)")  # fmt: skip
    parser.add_argument(
        "--fps", type=above_zero(120), default=10.0, help="of the cameras (default: %(default)s)"
    )
    parser.add_argument(
        "--length",
        type=above_zero(86400),
        default=30.0,
        help="seconds that are played (default: %(default)s)",
    )
    parser.add_argument("--light", choices=LIGHTS, default="day", help="default: %(default)s")
    parser.add_argument("--weather", choices=WEATHERS, default="clear", help="default: %(default)s")
    parser.add_argument(
        "--people", type=above_zero(120), default=1.0, help="times as many as usual (default: 1)"
    )
    parser.add_argument("--camera", type=int, choices=NUMBERS, help="default: the one that sees best")
    parser.add_argument("--model", type=Path, help="network to test (default: the bundled detector)")
    parser.add_argument("--triton-url", help="a Triton that serves already, host:port")
    parser.add_argument("--database-url", help="an empty database (default: SQLite in the folder)")
    parser.add_argument("--require", action="append", default=[], metavar="FIGURE=BOUND",
                        help="another threshold; FIGURE= drops one; repeatable")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scoreboard there too")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(".sightline/selftest"),
        help="keeps videos, truth, and the last run's database and logs (default: %(default)s)",
    )
    parser.set_defaults(command=_selftest)


def _selftest(arguments: argparse.Namespace) -> int:
    from sightline.simulation.selftest.runner import run_selftest

    return run_selftest(arguments)
