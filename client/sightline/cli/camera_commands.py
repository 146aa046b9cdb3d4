"""``sightline camera``: cameras switched on and off, and whether they see what they were set up to see."""

import argparse
import getpass
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sightline.cli.parsers import add_command, add_config_option, add_group, require_name
from sightline.cli.running_program import ask_running
from sightline.config import load_outline


def add_to(commands: Any) -> None:
    """Add the commands to the parser's subcommands."""
    parts = add_group(commands, "camera", "cameras of the running program, and what they see")
    for command in (_enable, _disable):
        parser = add_config_option(add_command(parts, command))
        parser.add_argument("camera", metavar="CAMERA", help="its name in the configuration")
    parser = add_config_option(add_command(parts, _views))
    parser.add_argument("--json", action="store_true", help="print JSON")


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


def _views(arguments: argparse.Namespace) -> None:
    """Show whether each camera is covered, frozen, out of focus or moved, and where its places are then."""
    from sightline.store.read.camera_views import read_camera_views
    from sightline.store.read.readonly import reading_from

    url = load_outline(arguments.config, "url").database.url.get_secret_value()
    with reading_from(url) as connection:
        views = read_camera_views(connection, None)
    if arguments.json:
        print(json.dumps([asdict(view) for view in views], indent=2))
        return
    for view in views:
        since = datetime.fromtimestamp(view.since, UTC).strftime("%Y-%m-%d %H:%M:%S")
        lights = ", ".join(view.lights) or "no light"
        print(f"{view.source:30} {view.state:16} since {since} UTC; known by {lights}")
    for view in views:
        if view.proposal is None:
            continue
        print(f"\n# {view.source} was turned; what its lines and zones would be now (docs/view.md):")
        print(view.proposal["text"], end="")
        if view.proposal["gone"]:
            print(f"# out of its sight: {', '.join(view.proposal['gone'])}")
