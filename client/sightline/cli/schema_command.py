"""``sightline schema``: the JSON Schema of ``config.yml``, or the sample that is its manual."""

from __future__ import annotations

import argparse
import json
from typing import Any

from sightline.base.resources import resource
from sightline.config import json_schema


def add_to(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
    parser = commands.add_parser(
        "schema",
        help="print the JSON Schema of config.yml",
        description="Print the JSON Schema of config.yml, for editors; or the sample configuration, in which "
        "every key is explained.",
    )
    parser.add_argument("--example", action="store_true", help="print the sample configuration instead")
    parser.set_defaults(command=_schema)


def _schema(arguments: argparse.Namespace) -> int:
    if arguments.example:
        print(resource("config.example.yml").read_text(encoding="utf-8"), end="")
        return 0
    print(json.dumps(json_schema(), indent=2))
    return 0
