"""``sightline console``: the operators' console."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sightline.base.resources import resource
from sightline.errors import SightlineError


def add_to(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
    parser = commands.add_parser(
        "console",
        help="serve the operators' console",
        description="Serve the operators' console. Its database is that of SIGHTLINE_DATABASE_URL, else that "
        "of the configuration.",
    )
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="default: config.yml, if it is there"
    )
    parser.add_argument("--address", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8501, help="port to listen on (default: %(default)s)")
    parser.set_defaults(command=_console)


def _console(arguments: argparse.Namespace) -> int:
    if find_spec("streamlit") is None:
        raise SightlineError("the console needs Streamlit: pip install 'sightline[console]'")
    flags = [
        f"--server.address={arguments.address}",
        f"--server.port={arguments.port}",
        "--server.headless=true",
        "--browser.gatherUsageStats=false",
    ]
    if arguments.config is not None:
        flags += ["--", "--config", str(arguments.config)]
    app = str(resource("streamlit_app/app.py"))
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", app, *flags])  # noqa: S606  no shell is wanted
