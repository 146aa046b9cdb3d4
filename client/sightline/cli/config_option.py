"""The option ``-c FILE``, shared by the commands that read a configuration."""

from __future__ import annotations

import argparse
from pathlib import Path

from sightline.config import LoadedConfig
from sightline.errors import ConfigError


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """Add ``-c FILE``."""
    parser.add_argument(
        "-c", "--config", type=Path, default=Path("config.yml"), metavar="FILE", help="default: %(default)s"
    )


def require_cameras(config: LoadedConfig) -> None:
    """Raise ConfigError when the file names no camera at all."""
    if not config.cameras and not config.problems:
        raise ConfigError("cameras", "names no camera; add one with a url")
