"""``sightline camera``: cameras of the running program, switched on and off."""

import argparse
import getpass
from typing import Any

from sightline.cli.parsers import add_command, add_config_option, add_group, require_name
from sightline.cli.running_program import ask_running
from sightline.config import load_outline


def add_to(commands: Any) -> None:
    """Add the commands to the parser's subcommands."""
    parts = add_group(commands, "camera", "cameras of the running program")
    for command in (_enable, _disable):
        parser = add_config_option(add_command(parts, command))
        parser.add_argument("camera", metavar="CAMERA", help="its name in the configuration")


def _enable(arguments: argparse.Namespace) -> None:
    """Let a camera run from now on, and write that into the configuration."""
    _set_enabled(arguments, True)


def _disable(arguments: argparse.Namespace) -> None:
    """Stop a camera until it is enabled again, and write that into the configuration."""
    _set_enabled(arguments, False)


def _set_enabled(arguments: argparse.Namespace, enabled: bool) -> None:
    config, camera = load_outline(arguments.config), arguments.camera
    require_name("camera", camera, config.cameras)
    ask_running(config, "set_enabled", camera=camera, enabled=enabled, by=getpass.getuser())
    print(f"camera {camera}: {'enabled' if enabled else 'disabled'}")
