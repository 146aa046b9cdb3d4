"""``sightline schema``: the JSON Schema of ``config.yml``."""

from __future__ import annotations

import argparse
import json
from typing import Any

from sightline.config import json_schema


def add_to(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
    parser = commands.add_parser(
        "schema",
        help="print the JSON Schema of config.yml",
        description="Print the JSON Schema of config.yml, for editors.",
    )
    parser.set_defaults(command=_schema)


def _schema(_: argparse.Namespace) -> int:
    print(json.dumps(json_schema(), indent=2))
    return 0
