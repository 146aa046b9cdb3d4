"""``sightline demo``: cameras, Triton, an RTSP server and the console by one command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_to(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
    parser = commands.add_parser(
        "demo",
        help="four cameras, Triton, an RTSP server and the console, by one command",
        description="Start an embedded Triton, an RTSP server with four looped cameras, the clients and the "
        "console. Ctrl-C stops everything.",
    )
    parser.add_argument("--video", type=Path, action="append", help="video to loop as a camera; repeatable")
    parser.add_argument("--model", type=Path, help="network to serve: an .onnx file, or an Ultralytics .pt")
    parser.add_argument("--cameras", type=int, default=4, help="how many cameras (default: %(default)s)")
    parser.add_argument(
        "--fps", type=float, default=5.0, help="frames a second a camera (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=8501, help="the console's port (default: %(default)s)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(".sightline/demo"),
        help="where the demo keeps its database, model and logs (default: %(default)s)",
    )
    parser.set_defaults(command=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    from sightline.simulation.demo import run_demo

    return run_demo(arguments)
