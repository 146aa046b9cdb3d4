"""``sightline model``: networks exported, kept as versions, measured and served."""

from __future__ import annotations

from typing import Any

from sightline.cli import evaluate_command, network_commands, version_commands


def add_to(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
    text = "networks: export, quantize, evaluate, and the versions that Triton serves"
    parser = commands.add_parser("model", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parts = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in (network_commands, version_commands, evaluate_command):
        module.add_to(parts)
